"""``tocsin models publish``: what passes is signed, and what does not is refused with the reason."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from tests.shared.trust.site import NOW, Site
from tocsin_models.cli import main
from tocsin_models.gate import Bounds
from tocsin_models.publish import Publication, publish
from tocsin_shared.errors import BadInputError, BundleError
from tocsin_shared.manifest import read_manifest, shipped_bundle
from tocsin_shared.trust.bundles import REFERENCE, read_notes, read_references, unpack
from tocsin_shared.trust.roles import MODELS

pytestmark = pytest.mark.slow


@pytest.fixture(name="bundle")
def _bundle(tmp_path: Path) -> Path:
    return Path(shutil.copytree(shipped_bundle(), tmp_path / "bundle"))


@pytest.fixture(name="site")
def _site(tmp_path: Path) -> Site:
    return Site(tmp_path / "repository")


def order(bundle: Path, site: Site, floor: str = "") -> Publication:
    return Publication(bundle, site.repository, [site.models], ("float16",), floor)


def test_the_shipped_bundle_is_published_with_what_it_hears_in_its_clips(bundle: Path, site: Site) -> None:
    """And can be read back whole."""
    (path,) = publish(order(bundle, site), NOW, lambda _text: None)
    target = site.repository.role(MODELS).signed.targets[path]
    folder, _, name = path.rpartition("/")
    content = (site.repository.targets / folder / f"{target.hashes['sha256']}.{name}").read_bytes()
    files = unpack(content)
    references = read_references(files[REFERENCE])
    manifest = read_manifest(bundle)
    assert set(references) == {clip.file for clip in manifest.golden}
    for clip in manifest.golden:
        assert manifest.label_names[int(np.argmax(references[clip.file].scores))] == clip.label
    assert read_notes(target.custom).floor == manifest.release


def _edited(bundle: Path, **change: object) -> None:
    path = bundle / "manifest.json"
    content = msgspec.json.decode(path.read_bytes()) | change
    path.write_bytes(msgspec.json.encode(content))


def _swapped_labels(bundle: Path) -> None:
    labels = msgspec.to_builtins(read_manifest(bundle).labels)
    _edited(bundle, labels=[*labels[1:], labels[0]])


def _no_clips(bundle: Path) -> None:
    _edited(bundle, golden=[])


def _cut(bundle: Path) -> None:
    (bundle / "float16.tflite").write_bytes((bundle / "float16.tflite").read_bytes()[:-1])


def _broken_manifest(bundle: Path) -> None:
    (bundle / "manifest.json").write_text("{")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_swapped_labels, "hears"),
        (_no_clips, "no golden clips"),
        (_cut, "bytes, but the manifest says"),
        (_broken_manifest, "manifest.json"),
    ],
)
def test_a_bundle_that_fails_is_refused_and_nothing_is_signed(
    bundle: Path, site: Site, spoil: Callable[[Path], None], reason: str
) -> None:
    """Permuted labels, no clips, a cut model, a broken manifest."""
    spoil(bundle)
    with pytest.raises(BundleError, match=reason):
        publish(order(bundle, site), NOW, lambda _text: None)
    assert site.repository.role(MODELS).signed.targets == {}


def test_a_floor_above_the_release_is_refused(bundle: Path, site: Site) -> None:
    """No node could ever run what it has just proven."""
    with pytest.raises(BundleError, match="above the release"):
        publish(order(bundle, site, "9.0.0"), NOW, lambda _text: None)


def test_a_variant_that_is_not_as_good_as_the_exact_one_is_refused(bundle: Path, site: Site) -> None:
    """The gate of the models is asked again, on sounds made here."""
    strict = replace(order(bundle, site), bounds=Bounds(min_cosine=1.1))
    with pytest.raises(BundleError, match="the gate refuses float16: the cosine"):
        publish(strict, NOW, lambda _text: None)


def test_the_command_signs_with_a_key_file(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the keys that ``tocsin trust init`` made to a timestamp that names the bundle."""
    from tocsin_shared.trust.cli import PASSPHRASE
    from tocsin_shared.trust.cli import main as trust
    from tocsin_shared.trust.repository import Repository

    monkeypatch.setenv(PASSPHRASE, "correct horse battery")
    trust(["init", *(f"--{name}={tmp_path / 'site' / name}" for name in ("keys", "online", "repository"))])
    common = [f"--repository={tmp_path / 'site/repository'}", f"--online={tmp_path / 'site/online'}"]
    publishing = ["publish", str(bundle), "--variant=float16", *common]
    with pytest.raises(BadInputError, match="may not sign"):
        main([*publishing, f"--key={tmp_path / 'site/keys/targets.key'}"])
    assert main([*publishing, f"--key={tmp_path / 'site/keys/models.key'}"]) == 0
    snapshot = Repository(tmp_path / "site/repository").role("snapshot").signed
    assert snapshot.meta["models.json"].version == 2
