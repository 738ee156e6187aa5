"""Sound files of any kind, as the mono float32 samples that the features need.

WAV, FLAC, Ogg and MP3 through libsndfile; any sample rate through soxr; channels are averaged. Files
are read block by block, so an hour costs no more memory than a second.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr

from tocsin_shared.errors import AudioError
from tocsin_shared.features import Samples

SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".mp3")
BLOCK_SECONDS = 0.5
MIN_RATE_HZ, MAX_RATE_HZ = 1_000, 768_000


def read_clip(path: Path, sample_rate_hz: int = 16_000) -> Samples:
    """All sound of ``path``, shape (samples,), at ``sample_rate_hz``.

    Raises:
        AudioError: not a sound file, damaged, empty, or holding values that are no numbers.
    """
    blocks = list(read_blocks(path, sample_rate_hz))
    return np.concatenate(blocks) if blocks else np.empty(0, dtype=np.float32)


def read_blocks(path: Path, sample_rate_hz: int = 16_000) -> Iterator[Samples]:
    """Sound of ``path`` in blocks of about half a second, at ``sample_rate_hz``.

    Raises:
        AudioError: as :func:`read_clip`; a file that is damaged in the middle yields what comes before.
    """
    try:
        if path.stat().st_size == 0:
            raise AudioError(f"{path}: the file is empty (0 bytes)")
        with _InOrder(path) as file:
            yield from _blocks(file, path, sample_rate_hz)
    except soundfile.LibsndfileError as error:
        raise AudioError(f"{path}: not a readable sound file: {error.error_string}") from error
    except (soundfile.SoundFileError, OSError) as error:
        raise AudioError(f"{path}: cannot be read: {error}") from error


class _InOrder(soundfile.SoundFile):  # type: ignore[misc]  # soundfile has no types
    """A file that is read from front to end and never sought.

    soundfile seeks to the place it has just read up to after every read, and a seek makes the MP3 decoder
    lose the frames that it still needs: each block of an MP3 would begin with some 50 ms of damage.
    """

    def seekable(self) -> bool:
        """Never, so that nobody does."""
        return False


def _blocks(file: "soundfile.SoundFile", path: Path, sample_rate_hz: int) -> Iterator[Samples]:
    if not MIN_RATE_HZ <= file.samplerate <= MAX_RATE_HZ:
        raise AudioError(f"{path}: a sample rate of {file.samplerate} Hz is not one of sound")
    mono = Resampler(file.samplerate, sample_rate_hz)
    heard = 0
    size = max(1, round(file.samplerate * BLOCK_SECONDS))
    while len(block := file.read(size, dtype="float32", always_2d=True)):
        heard += len(block)
        if not np.isfinite(block).all():
            raise AudioError(f"{path}: holds values that are no numbers (NaN or infinity)")
        if len(samples := mono.push(to_mono(block))):
            yield samples
    if heard == 0:
        raise AudioError(f"{path}: holds no sound (0 samples)")
    if len(samples := mono.finish()):
        yield samples


def to_mono(block: Samples) -> Samples:
    """Average of the channels of ``block``, shape (samples, channels) → (samples,), within [−1, 1]."""
    mixed: Samples = np.clip(block.mean(axis=1, dtype=np.float32), -1.0, 1.0)
    return mixed


class Resampler:
    """Changes the sample rate of sound that arrives in pieces; does nothing where the rates agree."""

    def __init__(self, from_hz: int, to_hz: int) -> None:
        self._stream = None if from_hz == to_hz else soxr.ResampleStream(from_hz, to_hz, 1, dtype="float32")

    def push(self, samples: Samples) -> Samples:
        """What is ready after ``samples``; the resampler holds back some 10 to 70 ms."""
        return samples if self._stream is None else self._bounded(samples, last=False)

    def finish(self) -> Samples:
        """What was held back."""
        empty = np.empty(0, dtype=np.float32)
        return empty if self._stream is None else self._bounded(empty, last=True)

    def _bounded(self, samples: Samples, *, last: bool) -> Samples:
        assert self._stream is not None  # noqa: S101  # the callers above have looked
        bounded: Samples = np.clip(self._stream.resample_chunk(samples, last=last), -1.0, 1.0)
        return bounded


def sound_files(path: Path) -> list[Path]:
    """``path`` itself, or every sound file below it, in order of name.

    A file is taken whatever it is called, because the user named it; in a folder only the known
    suffixes are.

    Raises:
        AudioError: there is no such file or folder, or the folder holds no sound file.
    """
    if not path.is_dir():
        if not path.exists():
            raise AudioError(f"{path}: there is no such file or folder")
        return [path]
    found = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    if not found:
        raise AudioError(f"{path}: the folder holds no sound file ({', '.join(SUFFIXES)})")
    return found
