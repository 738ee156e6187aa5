"""Which bundle a node runs, and which it refuses."""

import shutil
from pathlib import Path

import msgspec
import pytest

from tocsin_node.bundle import load_bundle
from tocsin_shared.errors import BundleError
from tocsin_shared.manifest import Manifest, read_manifest, shipped_bundle


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(shipped_bundle(), tmp_path / "bundle"))


def change(folder: Path, **changes: str) -> Manifest:
    changed = msgspec.structs.replace(read_manifest(folder), **changes)
    (folder / "manifest.json").write_bytes(msgspec.json.encode(changed))
    return changed


def test_a_bundle_is_found_by_its_shipped_name_or_by_its_folder(folder: Path) -> None:
    assert load_bundle("sentry").name == load_bundle(str(folder)).name
    assert load_bundle(str(folder), "float32").name.endswith("+float32")


def test_a_bundle_for_a_newer_node_is_refused(folder: Path) -> None:
    change(folder, min_node="99.0.0")
    with pytest.raises(BundleError, match=r"needs node 99\.0\.0 or newer, but this is"):
        load_bundle(str(folder))


def test_a_bundle_for_an_older_node_is_taken(folder: Path) -> None:
    change(folder, min_node="0.0.9")
    assert load_bundle(str(folder)).manifest.min_node == "0.0.9"
