"""Any sound file becomes mono float32, or one clear error."""

import contextlib
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tocsin_shared.audio import Resampler, read_blocks, read_clip, sound_files
from tocsin_shared.errors import AudioError
from tocsin_shared.features import Samples


def tone(rate_hz: int, seconds: float = 1.0, channels: int = 1) -> Samples:
    time = np.arange(round(rate_hz * seconds)) / rate_hz
    one = (0.5 * np.sin(2 * np.pi * 440.0 * time)).astype(np.float32)
    return np.repeat(one[:, None], channels, axis=1)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize(("rate_hz", "channels"), [(8_000, 1), (16_000, 1), (44_100, 2), (48_000, 2)])
def test_every_format_is_read(tmp_path: Path, suffix: str, rate_hz: int, channels: int) -> None:
    """The tone keeps its level and its frequency, whatever the file."""
    path = tmp_path / f"tone.{suffix}"
    soundfile.write(path, tone(rate_hz, channels=channels), rate_hz)
    samples = read_clip(path)
    assert samples.dtype == np.float32
    assert len(samples) == pytest.approx(16_000, abs=1_700)  # MP3 pads with silence
    middle = samples[4000:12000]
    assert float(np.sqrt(np.mean(middle**2))) == pytest.approx(0.354, abs=0.02)
    assert int(np.abs(np.fft.rfft(middle)).argmax()) == pytest.approx(220, abs=1)


def test_96_khz_24_bit_six_channels(tmp_path: Path) -> None:
    """Studio formats are read, too."""
    path = tmp_path / "tone.wav"
    soundfile.write(path, tone(96_000, channels=6), 96_000, subtype="PCM_24")
    assert len(read_clip(path)) == pytest.approx(16_000, abs=2)


def test_pieces_resample_as_the_whole() -> None:
    """The streaming resampler gives the same sound however it is fed."""
    sound = tone(44_100)[:, 0]
    whole = Resampler(44_100, 16_000)
    once = np.concatenate([whole.push(sound), whole.finish()])
    stream = Resampler(44_100, 16_000)
    pieces = [stream.push(sound[start : start + 441]) for start in range(0, len(sound), 441)]
    assert np.allclose(np.concatenate([*pieces, stream.finish()]), once, atol=1e-5)


def _write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_broken_files_are_named(tmp_path: Path) -> None:
    """Text, nothing, a header alone, NaN: each is an AudioError that names the file."""
    soundfile.write(tmp_path / "empty.wav", np.empty((0, 1), dtype=np.float32), 16_000)
    soundfile.write(
        tmp_path / "nan.wav", np.full((100, 1), np.nan, dtype=np.float32), 16_000, subtype="FLOAT"
    )
    _write(tmp_path / "text.wav", b"this is no sound at all")
    _write(tmp_path / "nothing.ogg", b"")
    for name, said in [
        ("empty.wav", "0 samples"),
        ("nan.wav", "no numbers"),
        ("text.wav", "not a readable sound file"),
        ("nothing.ogg", "empty"),
        ("missing.wav", "No such file"),
    ]:
        with pytest.raises(AudioError, match=rf"{name}: .*{said}"):
            read_clip(tmp_path / name)


def test_a_truncated_file_gives_what_it_has(tmp_path: Path) -> None:
    """A recording that was cut off is heard up to the cut."""
    soundfile.write(tmp_path / "whole.flac", tone(16_000, 5.0), 16_000)
    content = (tmp_path / "whole.flac").read_bytes()
    _write(tmp_path / "cut.flac", content[: len(content) // 2])
    heard = 0
    with contextlib.suppress(AudioError):
        for block in read_blocks(tmp_path / "cut.flac"):
            heard += len(block)
    assert 0 < heard < 80_000


def test_sound_files_of_a_folder(tmp_path: Path) -> None:
    """A folder is searched for known suffixes, a file is taken as it is, nothing is an error."""
    (tmp_path / "a").mkdir()
    for name in ("a/x.WAV", "b.flac", "notes.txt"):
        _write(tmp_path / name, b"")
    assert sound_files(tmp_path) == [tmp_path / "a/x.WAV", tmp_path / "b.flac"]
    assert sound_files(tmp_path / "notes.txt") == [tmp_path / "notes.txt"]
    with pytest.raises(AudioError, match="no such file"):
        sound_files(tmp_path / "none")
    (tmp_path / "c").mkdir()
    with pytest.raises(AudioError, match="holds no sound file"):
        sound_files(tmp_path / "c")
