"""The whole way with a tiny network: learn, stop and go on, make small, judge, compare."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.models.study import trees
from tocsin_models.corpus import Split
from tocsin_models.study.ablation import ablation, calibrations
from tocsin_models.study.calibration import calibration
from tocsin_models.study.compare import compare
from tocsin_models.study.gate import judge
from tocsin_models.study.prepare import Task, prepare, read_prepared
from tocsin_models.study.quantizing import EVERY, held_out, measure, quantize
from tocsin_models.study.reading import Store
from tocsin_models.study.report import keras_logits, reported, write_report
from tocsin_models.study.settings import (
    DataSettings,
    FeatureSettings,
    NetworkSettings,
    QuantizeSettings,
    StudySettings,
    TrainingSettings,
)
from tocsin_models.study.sources import Layout
from tocsin_models.study.tables import THE_STUDY, Comparison
from tocsin_models.study.training import Run, learn, trained
from tocsin_models.variants import VARIANTS, convert
from tocsin_shared.errors import BadInputError, UnavailableError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

SETTINGS = StudySettings(
    name="tiny",
    data=DataSettings(test_share=0.3),
    features=FeatureSettings(hop_ms=40.0, frame_ms=64.0, mel_bands=24),
    network=NetworkSettings(stem=8, stages=(1, 1), widths=(8, 16), dropout=0.0),
    training=TrainingSettings(epochs=8, batch=8, rate=5e-3, mixup=0.0, smoothing=0.0, threads=2),
    # A network this small has logits of few steps, and 96 windows have few labels to agree on.
    quantize=QuantizeSettings(windows=60, min_agreement=0.95, max_f1_drop_points=3.0),
)


@pytest.fixture(name="run", scope="module")
def _run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A tiny network that tells four pitches apart."""
    root = tmp_path_factory.mktemp("study")
    data = trees.folders(root / "set", ("a", "b", "c", "d"), each=30, seconds=3.8)
    prepare(Task((data,), Layout.FOLDERS, SETTINGS, root / "prepared"), lambda _: None)
    run = Run(root / "prepared", root / "run", SETTINGS)
    learn(run, lambda _: None)
    return run


def test_it_learns_and_its_report_says_so(run: Run, tmp_path: Path) -> None:
    test = Store.open(run.prepared, read_prepared(run.prepared), Split.TEST)
    report = reported(keras_logits(trained(run), test), test)
    assert report.windows.averages.f1 > 0.9
    assert report.recordings.count == 36
    assert report.windows.intervals["f1"].low <= report.windows.averages.f1
    history = json.loads((run.folder / "training.json").read_text())["epochs"]
    assert len(history) == 8
    write_report(report, history, tmp_path, "tiny")
    assert {path.name for path in tmp_path.iterdir()} == {
        "curves.png",
        "confusion.png",
        "report.md",
        "report.json",
    }


def test_a_run_that_was_stopped_goes_on_to_the_same_end(run: Run, tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from tests.models.study.test_way import SETTINGS
from tocsin_models.study.training import Run, learn
def tell(text):
    if text.startswith("epoch 3 "):
        sys.exit(9)
learn(Run(Path({str(run.prepared)!r}), Path({str(tmp_path / "run")!r}), SETTINGS), tell)
"""
    stopped = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert stopped.returncode == 9, stopped.stderr
    again = replace(run, folder=tmp_path / "run")
    told: list[str] = []
    history = learn(again, told.append)
    assert told[0] == "goes on after epoch 3"
    assert len(told) == 6
    whole = json.loads((run.folder / "training.json").read_text())["epochs"]
    assert history[-1]["validation_loss"] == pytest.approx(whole[-1]["validation_loss"], rel=0.2, abs=0.05)


def test_another_setting_does_not_go_on_with_the_same_run(run: Run) -> None:
    other = replace(SETTINGS, training=replace(SETTINGS.training, rate=1e-3))
    with pytest.raises(BadInputError, match="other settings"):
        learn(replace(run, settings=other), lambda _: None)


def test_all_six_files_pass_the_gate_on_a_network_that_knows(run: Run) -> None:
    verdicts = quantize(run, lambda _: None)
    assert list(verdicts) == list(VARIANTS)
    assert {name: one.failures for name, one in verdicts.items()} == dict.fromkeys(VARIANTS, ())
    summary = json.loads((run.folder / "variants.json").read_text())
    assert summary["calibration"]["windows"] == 60
    assert len(summary["calibration"]["sha256"]) == 64
    sizes = {name: one["bytes"] for name, one in summary["variants"].items()}
    assert sizes["full-int8"] < 0.7 * sizes["float32"]


def test_calibration_is_stratified_and_named_by_its_hash(run: Run) -> None:
    train = Store.open(run.prepared, read_prepared(run.prepared), Split.TRAIN)
    one, same, other = (calibration(train, 40, seed) for seed in (1, 1, 2))
    assert one.sha256 == same.sha256 != other.sha256
    np.testing.assert_array_equal(one.windows, same.windows)
    everything = calibration(train, 10_000, 1)
    assert len(everything.windows) == len(train)
    spec = SETTINGS.features.spec
    assert everything.windows.min() >= spec.clip_low
    assert everything.windows.max() <= spec.clip_high


@pytest.mark.parametrize("number", range(2))
def test_the_gate_refuses_a_wrong_calibration(run: Run, tmp_path: Path, number: int) -> None:
    train = Store.open(run.prepared, read_prepared(run.prepared), Split.TRAIN)
    held = held_out(run, trained(run), (Split.TEST,))
    right = calibration(train, 60, 1)
    np.save(tmp_path / "windows.npy", held.windows)
    mistake, wrong = list(calibrations(right.windows, 1).items())[number]
    assert mistake in {"calibrated with random numbers from 0 to 1", "calibrated with windows divided by 255"}
    file = tmp_path / "wrong.tflite"
    file.write_bytes(convert(trained(run, batch=1), "int8", wrong))
    logits = measure(file, tmp_path / "windows.npy").logits
    assert logits is not None
    assert not judge(logits, held.logits, held.true, SETTINGS.quantize).passed
    file.write_bytes(convert(trained(run, batch=1), "int8", right.windows))
    logits = measure(file, tmp_path / "windows.npy").logits
    assert logits is not None
    assert judge(logits, held.logits, held.true, SETTINGS.quantize).passed


def test_the_gate_refuses_a_forgotten_scale(run: Run, tmp_path: Path) -> None:
    train = Store.open(run.prepared, read_prepared(run.prepared), Split.TRAIN)
    held = held_out(run, trained(run), (Split.TEST,))
    np.save(tmp_path / "windows.npy", held.windows)
    file = tmp_path / "full.tflite"
    file.write_bytes(convert(trained(run, batch=1), "full-int8", calibration(train, 60, 1).windows))
    for forget, passes in ((False, True), (True, False)):
        logits = measure(file, tmp_path / "windows.npy", forget_scale=forget).logits
        assert logits is not None
        assert judge(logits, held.logits, held.true, SETTINGS.quantize).passed is passes


def test_a_file_that_is_no_model_and_a_python_without_runtime_are_named(tmp_path: Path) -> None:
    np.save(tmp_path / "windows.npy", np.zeros((1, 4, 4, 1), dtype=np.float32))
    (tmp_path / "x.tflite").write_bytes(b"nothing")
    with pytest.raises(UnavailableError, match=r"x\.tflite"):
        measure(tmp_path / "x.tflite", tmp_path / "windows.npy")
    with pytest.raises(UnavailableError, match="no/python"):
        measure(tmp_path / "x.tflite", tmp_path / "windows.npy", python=Path("no/python"))


def test_the_table_stands_beside_the_studys(run: Run, tmp_path: Path) -> None:
    if not (run.folder / "variants.json").exists():
        quantize(run, lambda _: None)
    out = tmp_path / "out"
    done = compare(Comparison(run, out, (Path("no/python"),), (1,), with_ablation=False), lambda _: None)
    assert {path.name for path in out.iterdir()} == {
        "tiny.md", "tiny.csv", "tiny.json", "tiny-size.png", "tiny-time.png"
    }  # fmt: skip
    for name in THE_STUDY:
        assert f"| {name} |" in done.text
    assert "no/python" not in (out / "tiny.json").read_text()
    here = [row for row in done.rows if not row.python]
    assert [row.variant for row in here] == ["original (HDF5)", *VARIANTS]
    assert all(row.median_ms and row.macro_f1 is not None and row.peak_mib for row in here)
    assert all(row.failure for row in done.rows if row.python)
    lines = (out / "tiny.csv").read_text().splitlines()
    assert len(lines) == 1 + len(done.rows)


def test_mistakes_on_purpose_are_refused(run: Run, tmp_path: Path) -> None:
    if not (run.folder / "variants.json").exists():
        quantize(run, lambda _: None)
    held = held_out(run, trained(run), (Split.TEST,))
    np.save(tmp_path / "windows.npy", held.windows)
    np.save(tmp_path / "few.npy", held.windows[::EVERY])
    found = ablation(run, held, tmp_path / "windows.npy", tmp_path / "few.npy", lambda _: None)
    assert [one.variant for one in found] == ["int8", "int8", "int8", "16x8", "full-int8"]
    refused = {one.mistake for one in found if not one.verdict.passed}
    assert refused >= {"calibrated with windows divided by 255", "fed without scale and zero point"}
