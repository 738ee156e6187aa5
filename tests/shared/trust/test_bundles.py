"""Archives of bundles: the same bytes for the same content, and nothing but files in them."""

import contextlib
import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin_shared.errors import BundleError
from tocsin_shared.manifest import read_manifest, shipped_bundle
from tocsin_shared.trust.bundles import bundle_files, hash_of_folder, pack, read_notes, unpack

names = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,20}(/[a-z0-9][a-z0-9._-]{0,20})?", fullmatch=True)


@given(st.dictionaries(names, st.binary(max_size=1000), min_size=1, max_size=8))
def test_what_is_packed_is_unpacked_and_the_order_does_not_matter(files: dict[str, bytes]) -> None:
    """Byte for byte."""
    archive = pack(files)
    assert unpack(archive) == files
    assert pack(dict(reversed(files.items()))) == archive


@given(st.data())
def test_a_cut_or_changed_archive_is_refused_or_has_other_files(data: st.DataObject) -> None:
    """Never the same files from other bytes."""
    files = {"manifest.json": b"{}", "golden/a.wav": b"abc" * 300}
    archive = bytearray(pack(files))
    at = data.draw(st.integers(0, len(archive) - 1))
    archive[at] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(BundleError):
        assert unpack(bytes(archive)) != files


@pytest.mark.parametrize(
    "name", ["../escape", "/etc/passwd", "a/../../b", "%2e%2e/x", "a\x00b", "x" * 300, "A", "a//b", ".hidden"]
)
def test_a16_names_that_lead_elsewhere_are_refused(name: str) -> None:
    """No file outside the folder, whatever the archive says."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    with pytest.raises(BundleError):
        unpack(buffer.getvalue())


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE])
def test_nothing_but_files_is_unpacked(kind: bytes) -> None:
    """No link, no device."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        entry = tarfile.TarInfo("link")
        entry.type, entry.linkname = kind, "/etc/passwd"
        archive.addfile(entry)
    with pytest.raises(BundleError):
        unpack(buffer.getvalue())


def test_the_shipped_bundle_as_an_archive_is_a_bundle_of_one_variant(tmp_path: Path) -> None:
    """Unpacked it is read as any bundle, and its hash is that of the archive."""
    import hashlib

    archive = pack(bundle_files(shipped_bundle(), "float16"))
    for name, content in unpack(archive).items():
        path = tmp_path / "bundle" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    manifest = read_manifest(tmp_path / "bundle")
    assert [one.name for one in manifest.variants] == ["float16"]
    assert len(manifest.golden) == len(read_manifest(shipped_bundle()).golden)
    assert hash_of_folder(tmp_path / "bundle") == hashlib.sha256(archive).hexdigest()
    (tmp_path / "bundle" / "extra").touch()
    assert hash_of_folder(tmp_path / "bundle") != hashlib.sha256(archive).hexdigest()


@pytest.mark.parametrize(
    "custom",
    [
        None,
        3,
        {},
        {"name": "../x"},
        {"format": 99, "name": "a", "release": "1.0.0", "variant": "b", "floor": "1.0.0"},
    ],
)
def test_notes_that_cannot_be_read_are_refused(custom: object) -> None:
    """Signed, but not understood."""
    with pytest.raises(BundleError):
        read_notes(custom)
