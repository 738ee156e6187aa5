"""A bundle is read as a whole or refused, and nothing in it is trusted before its hash agrees."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from tocsin_shared.errors import BundleError
from tocsin_shared.manifest import read_manifest, read_variant, shipped_bundle

MODEL = b"TFL3 pretended"


def bundle(folder: Path, **changes: Any) -> Path:
    """A small bundle in ``folder``; ``changes`` replace keys of the manifest."""
    manifest = {
        "name": "tiny",
        "release": "1.2.3",
        "created": "2026-11-23",
        "features": {},
        "labels": [
            {"name": "siren", "rule": {"on_threshold": 0.5, "off_threshold": 0.3}},
            {"name": "background"},
        ],
        "variants": [
            {
                "name": "full-int8",
                "file": "full-int8.tflite",
                "sha256": hashlib.sha256(MODEL).hexdigest(),
                "size_bytes": len(MODEL),
            }
        ],
        **changes,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    (folder / "full-int8.tflite").write_bytes(MODEL)
    return folder


def test_a_bundle_is_read(tmp_path: Path) -> None:
    """Labels keep their order, and a window covers two seconds by default."""
    manifest = read_manifest(bundle(tmp_path))
    assert manifest.label_names == ("siren", "background")
    assert manifest.features.window_seconds == 2.0
    assert read_variant(tmp_path, manifest.variant("full-int8")) == MODEL


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"labels": []}, "labels"),
        ({"labels": [{"name": "a"}, {"name": "a"}]}, "stands twice"),
        ({"labels": [{"name": "../a"}]}, "labels"),
        ({"schema": 99}, "schema 99"),
        ({"release": "one"}, "release"),
        ({"features": {"mel_low_hz": 9000.0}}, "mel_low_hz"),
        ({"features": {"fft_length": 256}}, "fft_length"),
        ({"features": {"mean": "x"}}, "mean"),
        ({"variants": [{"name": "x", "file": "../x", "sha256": "0" * 64, "size_bytes": 1}]}, "file"),
        ({"variants": [{"name": "x", "file": "/etc/passwd", "sha256": "0" * 64, "size_bytes": 1}]}, "file"),
    ],
)
def test_a_wrong_manifest_is_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    """The error names the file and the key."""
    with pytest.raises(BundleError, match=said):
        read_manifest(bundle(tmp_path, **changes))


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 5000, b" " * (1024 * 1024 + 1)])
def test_a_broken_manifest_is_refused(tmp_path: Path, content: bytes) -> None:
    """Whatever stands in the file, the error is a BundleError."""
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(BundleError, match=r"manifest\.json"):
        read_manifest(tmp_path)


def test_a_folder_without_manifest_is_no_bundle(tmp_path: Path) -> None:
    """The remedy is in the words: name a bundle."""
    with pytest.raises(BundleError, match="is not a model bundle"):
        read_manifest(tmp_path)


def test_a_changed_model_file_is_refused(tmp_path: Path) -> None:
    """One changed byte, a missing file, or another length: never loaded."""
    manifest = read_manifest(bundle(tmp_path))
    variant = manifest.variant("full-int8")
    path = tmp_path / variant.file
    path.write_bytes(MODEL[:-1] + b"!")
    with pytest.raises(BundleError, match="SHA-256"):
        read_variant(tmp_path, variant)
    path.write_bytes(MODEL[:-1])
    with pytest.raises(BundleError, match="13 bytes, but the manifest says 14"):
        read_variant(tmp_path, variant)
    path.unlink()
    with pytest.raises(BundleError, match="No such file"):
        read_variant(tmp_path, variant)


def test_an_unknown_variant_lists_the_known_ones(tmp_path: Path) -> None:
    """The remedy is in the words."""
    with pytest.raises(BundleError, match="it has: full-int8"):
        read_manifest(bundle(tmp_path)).variant("float16")


def test_the_shipped_bundle_is_found() -> None:
    """The newest release of the shipped model has a valid manifest; an unknown name is an error."""
    assert read_manifest(shipped_bundle()).name == "sentry"
    with pytest.raises(BundleError, match="no bundle 'nothing'"):
        shipped_bundle("nothing")
