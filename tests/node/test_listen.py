"""``tocsin node listen`` as its user sees it, on recordings made here and with the shipped model."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from tests.node.fake_judge import FakeJudge, tone
from tocsin_node import listen as listening
from tocsin_node.cli import main
from tocsin_node.listen import Heard, detections
from tocsin_shared.audio import read_clip
from tocsin_shared.errors import BundleError
from tocsin_shared.features import Samples
from tocsin_shared.manifest import shipped_bundle

RATE = 16_000


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> FakeJudge:
    """Loudness in place of the network, for what does not hang on what is heard."""
    made = FakeJudge()
    monkeypatch.setattr(listening, "load_bundle", lambda *_: made)
    return made


def write(path: Path, samples: Samples, rate: int = RATE, channels: int = 1) -> Path:
    if rate != RATE:
        samples = soxr.resample(samples, RATE, rate)
    soundfile.write(path, np.stack([samples] * channels, axis=1), rate)
    return path


def heard(judge: FakeJudge, path: Path, hop: float = 0.5) -> list[Heard]:
    return [item for item in detections(judge, hop, path) if isinstance(item, Heard)]


def quiet(seconds: float) -> Samples:
    return tone(seconds, amplitude=0.001)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize(
    ("rate", "channels"), [(8_000, 1), (22_050, 2), (44_100, 1), (48_000, 2), (96_000, 2)]
)
def test_the_same_sound_is_heard_in_every_format_rate_and_number_of_channels(
    judge: FakeJudge, tmp_path: Path, suffix: str, rate: int, channels: int
) -> None:
    if suffix == "mp3" and rate > 48_000:
        rate = 32_000  # MP3 knows no higher rate than 48 kHz
    samples = np.concatenate([quiet(3.0), tone(3.0), quiet(3.0)])
    (one,) = heard(judge, write(tmp_path / f"a.{suffix}", samples, rate, channels))
    assert one.label == "siren"
    assert one.onset_s == pytest.approx(3.5, abs=0.6)
    assert one.offset_s == pytest.approx(7.5, abs=0.6)
    assert one.level_dbfs == pytest.approx(-9.0, abs=0.5)


@pytest.mark.parametrize("seconds", [0.7, 1.0, 2.0])
@pytest.mark.parametrize("hop", [0.1, 0.5, 1.0])
def test_a_clip_shorter_than_a_window_is_heard_from_its_begin_to_its_end(
    judge: FakeJudge, tmp_path: Path, seconds: float, hop: float
) -> None:
    judge.sureness = 3.0
    (one,) = heard(judge, write(tmp_path / "a.wav", tone(seconds)), hop)
    assert 0.0 <= one.onset_s < one.offset_s <= seconds
    assert one.onset_s <= 0.6


def test_what_sounds_last_in_a_recording_is_heard_too(judge: FakeJudge, tmp_path: Path) -> None:
    judge.sureness = 3.0
    (one,) = heard(judge, write(tmp_path / "a.wav", np.concatenate([quiet(7.3), tone(0.6)])))
    assert one.onset_s == pytest.approx(7.6, abs=0.6)
    assert one.offset_s <= 7.9


def test_where_a_recording_is_cut_into_blocks_changes_nothing(judge: FakeJudge, tmp_path: Path) -> None:
    samples = np.concatenate([quiet(1.234), tone(2.5), quiet(4.0), tone(2.5), quiet(3.0)])
    found = heard(judge, write(tmp_path / "a.wav", samples))
    assert len(found) == 2
    assert heard(judge, write(tmp_path / "b.flac", samples))[1].onset_s == found[1].onset_s


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[str], list[str]]:
    status = main(["listen", *arguments])
    out, err = capsys.readouterr()
    return status, out.splitlines(), err.splitlines()


def test_what_cannot_be_heard_gets_one_line_and_the_rest_goes_on(
    judge: FakeJudge, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alarm = np.concatenate([quiet(1.0), tone(3.0), quiet(3.0)])
    write(tmp_path / "1-good.wav", alarm)
    (tmp_path / "2-empty.wav").write_bytes(b"")
    (tmp_path / "3-text.wav").write_text("this is no sound\n" * 9)
    soundfile.write(tmp_path / "4-nan.wav", np.full(RATE, np.nan, dtype=np.float32), RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "5-no-samples.wav", np.zeros(0), RATE)
    whole = write(tmp_path / "6-cut.flac", np.random.default_rng(1).uniform(-0.1, 0.1, RATE * 3).astype("f4"))
    whole.write_bytes(whole.read_bytes()[:20_000])
    (tmp_path / "7-folder.wav").mkdir()
    write(tmp_path / "8-good.wav", alarm)
    status, out, err = run(capsys, str(tmp_path), str(tmp_path / "nowhere.wav"))
    assert status == 1
    assert [line.split(":")[0] for line in out] == [str(tmp_path / f"{n}-good.wav") for n in (1, 8)]
    assert [line.split(": ")[1] for line in err] == [
        str(tmp_path / name)
        for name in (
            "2-empty.wav",
            "3-text.wav",
            "4-nan.wav",
            "5-no-samples.wav",
            "6-cut.flac",
            "nowhere.wav",
        )
    ]
    assert not any("Traceback" in line for line in err)


def test_digital_silence_is_told_and_is_no_failure(
    judge: FakeJudge, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "a.wav", np.zeros(RATE * 3, dtype=np.float32))
    status, out, err = run(capsys, str(path))
    assert (status, out) == (0, [])
    assert err == [f"tocsin node listen: {path}: digital silence throughout, so there is nothing to hear"]


def test_a_quiet_room_without_a_sound_worth_telling_prints_nothing(
    judge: FakeJudge, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, str(write(tmp_path / "a.wav", quiet(3.0)))) == (0, [], [])


def test_each_line_of_json_is_one_detection(
    judge: FakeJudge, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = np.concatenate([tone(3.0), quiet(4.0), tone(3.0)])
    path = write(tmp_path / "사이렌.wav", samples)
    status, out, err = run(capsys, "--json", str(path))
    assert (status, err) == (0, [])
    first, second = (json.loads(line) for line in out)
    assert list(first) == ["file", "label", "score", "top", "onset_s", "offset_s", "level_dbfs"]
    assert (first["file"], first["label"]) == (str(path), "siren")
    assert first["top"][0] == {"label": "siren", "score": first["score"]}
    assert first["offset_s"] <= second["onset_s"]


@pytest.mark.parametrize(
    "arguments",
    [[], ["listen"], ["listen", "a.wav", "--hop-seconds", "5"], ["run"], ["config"], ["lisen", "a.wav"]],
)
def test_wrong_usage_is_told_with_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: tocsin node" in capsys.readouterr().err


def test_a_bundle_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"holds no manifest\.json"):
        main(["listen", "a.wav", "--bundle", str(tmp_path)])
    with pytest.raises(BundleError, match="no bundle 'violin' was shipped"):
        main(["listen", "a.wav", "--bundle", "violin"])


def test_the_example_of_the_settings_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "example"]) == 0
    assert 'node = "press-1"' in capsys.readouterr().out


@pytest.mark.parametrize("label", ["smoke_alarm", "emergency_siren", "glass_breaking", "vehicle_horn"])
def test_the_shipped_model_hears_the_shipped_clips(label: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Through features, network and detector, at the threshold that ships: each clip its own label only."""
    clip = shipped_bundle() / "golden" / f"{label}.wav"
    status, out, _ = run(capsys, "--json", str(clip))
    assert status == 0
    assert [json.loads(line)["label"] for line in out] == [label]


@pytest.mark.slow
def test_a_long_recording_costs_no_more_memory_than_a_short_one(tmp_path: Path) -> None:
    """By the kernel's count of the largest size of a child; five minutes are 19 MB of samples."""
    clip = read_clip(shipped_bundle() / "golden" / "speech.wav")
    program = (
        "import sys; from tocsin_node.cli import main; main(['listen', sys.argv[1]]);"
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    largest = []
    for minutes in (1, 5):
        path = tmp_path / f"{minutes}.wav"
        soundfile.write(path, np.tile(clip, minutes * 60 * RATE // len(clip)), RATE)
        done = subprocess.run(
            [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True
        )
        largest.append(int(done.stdout.splitlines()[-1]))
    assert largest[1] < largest[0] + 8_000


@pytest.mark.slow
def test_help_answers_at_once() -> None:
    began = time.monotonic()
    subprocess.run([sys.executable, "-m", "tocsin_shared", "node", "--help"], capture_output=True, check=True)
    first = time.monotonic() - began
    loaded = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "tocsin_shared", "node", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "numpy" not in loaded.stderr
    assert first < 1.0
