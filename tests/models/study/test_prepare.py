"""Shards are whole, resumable and the same every time; bad data are named and change the exit status."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.models.study import trees
from tocsin_models.corpus import Split
from tocsin_models.study.prepare import Prepared, Task, prepare, read_prepared, shards_of
from tocsin_models.study.settings import DataSettings, FeatureSettings, StudySettings
from tocsin_models.study.sources import Layout
from tocsin_models.study.windows import is_silent, windows
from tocsin_shared.errors import BadInputError, UnavailableError
from tocsin_shared.features import log_mel

FEATURES = FeatureSettings(hop_ms=20.0, mel_bands=16)


def task(data: Path, out: Path, **changes: object) -> Task:
    return replace(
        Task((data,), Layout.AUTO, StudySettings(features=FEATURES), out),
        **changes,  # type: ignore[arg-type]
    )


def run(one: Task) -> tuple[Prepared, list[str]]:
    told: list[str] = []
    return prepare(one, told.append), told


def test_windows_are_two_seconds_every_sixteen_tenths() -> None:
    samples = trees.tone(500.0, 5.4)
    spec = FEATURES.spec
    made = list(windows(np.array_split(samples, 13), spec, FEATURES.stride_frames))
    frames = log_mel(samples, spec)
    assert len(made) == 3
    for number, window in enumerate(made):
        np.testing.assert_allclose(window, frames[80 * number : 80 * number + 100], atol=1e-5)


def test_a_short_recording_is_filled_up_with_silence() -> None:
    (window,) = windows([trees.tone(500.0, 0.5)], FEATURES.spec, FEATURES.stride_frames)
    assert window.shape == (100, 16)
    assert window[:20].max() > window[40:].max()
    assert not is_silent(window, FEATURES.spec)
    (empty,) = windows([np.zeros(100, dtype=np.float32)], FEATURES.spec, FEATURES.stride_frames)
    assert is_silent(empty, FEATURES.spec)


def test_a_clean_data_set_is_split_counted_and_written(tmp_path: Path) -> None:
    result, _ = run(task(trees.folders(tmp_path / "set", seconds=3.8), tmp_path / "out"))
    assert result.classes == ("hum", "whine")
    assert (result.problems, result.misleading) == ((), ())
    assert result.windows["hum"] == {Split.TRAIN: 14, Split.VALIDATION: 2, Split.TEST: 4}
    assert result.weights == (1.0, 1.0)
    assert read_prepared(tmp_path / "out") == result
    (shard,) = shards_of(tmp_path / "out", result, Split.TEST)
    assert shard.frames(tmp_path / "out" / "shards").shape == (8, 100, 16)


def test_finished_shards_are_taken_as_they_are_and_changed_recordings_made_again(tmp_path: Path) -> None:
    data, out = trees.folders(tmp_path / "set"), tmp_path / "out"
    first, _ = run(task(data, out))
    times = {path.name: path.stat().st_mtime_ns for path in (out / "shards").iterdir()}
    assert run(task(data, out))[0] == first
    assert {path.name: path.stat().st_mtime_ns for path in (out / "shards").iterdir()} == times
    (shard,) = shards_of(out, first, Split.TEST)
    trees.write(Path(shard.recordings[0].name), trees.tone(777.0))
    second, _ = run(task(data, out))
    assert second.shards[Split.TEST] != first.shards[Split.TEST]
    assert second.shards[Split.TRAIN] == first.shards[Split.TRAIN]


def test_a_torn_shard_is_made_again(tmp_path: Path) -> None:
    data, out = trees.folders(tmp_path / "set"), tmp_path / "out"
    first, _ = run(task(data, out))
    path = out / "shards" / f"{first.shards[Split.TRAIN][0]}.f16"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BadInputError, match="gone or damaged"):
        shards_of(out, first, Split.TRAIN)
    run(task(data, out))
    assert shards_of(out, first, Split.TRAIN)


def test_every_kind_of_bad_recording_is_named(tmp_path: Path) -> None:
    data = trees.folders(tmp_path / "set")
    (data / "hum" / "broken.wav").write_bytes(b"RIFF and nothing else")
    (data / "hum" / "empty.wav").write_bytes(b"")
    trees.write(data / "hum" / "nothing.wav", np.zeros(0, dtype=np.float32))
    trees.write(data / "hum" / "silent.wav", np.zeros(40_000, dtype=np.float32))
    trees.write(data / "lone" / "only.wav", trees.tone(200.0))
    whole = (data / "whine" / "0.wav").read_bytes()
    (data / "whine" / "0.wav").write_bytes(whole[: len(whole) // 2])
    result, _ = run(task(data, tmp_path / "out"))
    named = {(one.kind, Path(one.where).name) for one in result.problems}
    assert {("unreadable", f"{name}.wav") for name in ("broken", "empty", "nothing")} <= named
    assert {("silent", "silent.wav"), ("class", "lone")} <= named
    assert any("recordings cannot be used" in reason for reason in result.misleading)
    assert any("left out" in reason for reason in result.misleading)


def test_stereo_at_96_khz_and_24_bits_is_heard_like_any_other(tmp_path: Path) -> None:
    data = trees.folders(tmp_path / "set")
    mono = trees.tone(300.0, rate=96_000)
    for clip in range(10):
        soundfile.write(
            data / "hum" / f"{clip}.wav", np.stack([mono, mono], axis=1), 96_000, subtype="PCM_24"
        )
    result, _ = run(task(data, tmp_path / "out"))
    assert result.windows["hum"][Split.TRAIN] == 7
    assert [one.kind for one in result.problems] == ["leak"]  # ten times the same sound


def test_wrong_labels_are_named_with_the_nearest_right_one(tmp_path: Path) -> None:
    data = trees.folders(tmp_path / "set", ("siren", "whine"))
    trees.write(data / "sirne" / "x.wav", trees.tone(100.0))
    result, _ = run(task(data, tmp_path / "out", classes=("siren", "whine")))
    assert "the label 'sirne' is none of the classes; the nearest is 'siren'" in result.problems[0].text
    assert result.misleading == ("1 × a label that is missing or wrong",)


def test_two_spellings_of_one_label_are_told(tmp_path: Path) -> None:
    data = trees.folders(tmp_path / "set", ("car horn", "Car_Horn", "whine"))
    result, _ = run(task(data, tmp_path / "out"))
    assert "Car_Horn and car horn: are probably one label" in str(result.problems[0])
    merged = StudySettings(features=FEATURES, data=DataSettings(merge=("Car_Horn = car horn",)))
    result, _ = run(task(data, tmp_path / "out", settings=merged))
    assert result.problems == ()
    assert result.before == {"car horn": 20, "whine": 10}


def test_the_same_sound_under_two_names_in_two_splits_is_a_leak(tmp_path: Path) -> None:
    data = trees.folders(tmp_path / "set")
    for clip in range(1, 10):
        (data / "hum" / f"{clip}.wav").write_bytes((data / "hum" / "0.wav").read_bytes())
    result, _ = run(task(data, tmp_path / "out"))
    assert any("a sound that is in two splits" in reason for reason in result.misleading)


def test_fewer_than_two_classes_are_refused_with_reasons(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="lone: 1 recordings, 3 are needed"):
        run(task(trees.folders(tmp_path / "set", ("lone",), each=1), tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_disk_that_fills_up_leaves_nothing_half_written(tmp_path: Path) -> None:
    data, out = trees.folders(tmp_path / "set", seconds=60.0, each=4), tmp_path / "out"
    code = f"""
import resource
from pathlib import Path
from tests.models.study.test_prepare import task
from tocsin_models.study.prepare import prepare
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
prepare(task(Path({str(data)!r}), Path({str(out)!r})), print)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "UnavailableError" in done.stderr
    assert "make room and run the same command again" in done.stderr
    left = sorted(path.name for path in out.rglob("*") if path.is_file())
    assert [name for name in left if ".part" in name or name == "prepared.json"] == []
    for name in left:
        assert name.endswith(".json") or Path(out / "shards" / name).with_suffix(".json").exists()
    assert run(task(data, out))[0].misleading == ()


@pytest.mark.slow
def test_processes_of_dask_make_the_same_shards(tmp_path: Path) -> None:
    data = trees.aihub(tmp_path / "set", packed=True)
    alone, _ = run(task(data, tmp_path / "alone"))
    many, told = run(task(data, tmp_path / "many", workers=2))
    assert many == alone
    assert len([line for line in told if "of 3 shards" in line]) == 3
    for shard in shards_of(tmp_path / "alone", alone, Split.TRAIN):
        one, other = (np.array(shard.frames(tmp_path / name / "shards")) for name in ("alone", "many"))
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_a_scheduler_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tocsin_models.study.work.CONNECT_SECONDS", 1)
    with pytest.raises(UnavailableError, match=r"tcp://127\.0\.0\.1:9: no Dask scheduler answers"):
        run(task(trees.folders(tmp_path / "set"), tmp_path / "out", scheduler="tcp://127.0.0.1:9"))


PEAK = r"""
import re, sys
from pathlib import Path
from tests.models.study.test_prepare import task
from tocsin_models.study.prepare import prepare
prepare(task(Path(sys.argv[1]), Path(sys.argv[2])), lambda text: None)
print(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1])
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_data_set(tmp_path: Path) -> None:
    peaks = []
    for times in (1, 10):
        data = trees.folders(tmp_path / f"set{times}", each=20 * times, seconds=12.0)
        done = subprocess.run(
            [sys.executable, "-c", PEAK, str(data), str(tmp_path / f"out{times}")],
            capture_output=True,
            text=True,
            check=True,
        )
        peaks.append(int(done.stdout) / 1024)
    assert peaks[1] < peaks[0] + 24, f"peaks of {peaks} MiB"
