"""A bundle's variants are compared on every runtime, beside a peer, and the tables say what was measured."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from tocsin_models.cli import main
from tocsin_models.dataset import Windows, save_windows
from tocsin_shared.classifier import Classifier
from tocsin_shared.errors import BadInputError
from tocsin_shared.manifest import read_manifest, shipped_bundle


def windows_for(bundle: Path, path: Path, count: int = 12) -> Path:
    """Windows of noise that hold what the float32 variant hears in them."""
    manifest, rng = read_manifest(bundle), np.random.default_rng(3)
    spec = manifest.features
    frames = rng.uniform(-2.0, 3.0, (count, spec.window_frames, spec.mel_bands)).astype(np.float16)
    plain = Classifier.load(bundle, "float32")
    logits = np.array([plain.logits(one.astype(np.float32)).copy() for one in frames])
    targets = (logits >= np.sort(logits, axis=1)[:, -2:-1]).astype(np.float32)
    nothing = np.zeros((count, 0), dtype=np.float16)
    save_windows(Windows(frames, targets, np.ones_like(targets), nothing), path)
    return path


@pytest.mark.slow
def test_every_variant_stands_in_the_table_beside_the_peer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, out = shipped_bundle(), tmp_path / "out"
    windows = windows_for(bundle, tmp_path / "windows.npz")
    peer = bundle / "float32.tflite"  # any file that takes a window will do for a peer here
    command = ["compare", "--bundle", str(bundle), "--windows", str(windows), "--out", str(out)]
    assert main([*command, "--threads", "1", "--peer", str(peer)]) == 0
    assert "× peer" in capsys.readouterr().out
    names = {path.name for path in out.iterdir()}
    assert names == {f"sentry{ending}" for ending in (".md", ".csv", ".json", "-size.png", "-time.png")}
    found = json.loads((out / "sentry.json").read_text(encoding="utf-8"))
    rows = {row["variant"]: row for row in found["rows"]}
    assert set(rows) == {variant.name for variant in read_manifest(bundle).variants} | {"peer: float32"}
    assert rows["float32"]["agreement"] == 1.0
    assert rows["float32"]["macro_f1"] >= rows["float16"]["macro_f1"] - 0.01
    assert rows["peer: float32"]["failure"], "a window of sound is no window of frames, and that is said"
    with (out / "sentry.csv").open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == len(rows)


def test_windows_of_another_bundle_are_refused(tmp_path: Path) -> None:
    nothing = np.zeros((2, 0), dtype=np.float16)
    wrong = Windows(
        np.zeros((2, 5, 64), dtype=np.float16),
        np.zeros((2, 3), np.float32),
        np.ones((2, 3), np.float32),
        nothing,
    )
    save_windows(wrong, tmp_path / "windows.npz")
    command = ["compare", "--bundle", str(shipped_bundle()), "--windows", str(tmp_path / "windows.npz")]
    with pytest.raises(BadInputError, match="are not those of sentry"):
        main([*command, "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_half_of_the_options_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "--bundle", "x", "--out", "y"]) == 2
    assert "--bundle needs --windows" in capsys.readouterr().err
    assert main(["compare", "--out", "y"]) == 2
    assert "needs --config, --data, --run" in capsys.readouterr().err
