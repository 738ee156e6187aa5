"""Pulses of sound in the bands in which alarms sound: what the matcher of rhythms is fed with.

The bands have the width of a tone, so that a tone as loud as all the noise around it stands 10 to 20 dB
above the noise in its own band. They cover the fundamental of the 520 Hz sounder and of horns
(450 to 1,000 Hz), the strong harmonics of horns, and piezo discs around 3.1 kHz (2.8 to 3.6 kHz).

Features of a bundle are not used: they are clipped where sound is loud, and an alarm in a loud room is
where a rhythm must not be lost. One short transform for each 20 ms is what is paid for that.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tocsin_shared.features import Samples, hann
from tocsin_shared.rhythm import T3, T4, Match, Pattern, Pulse, match, strongest

FRAME_SECONDS = 0.02
"""Length of a frame; frames do not overlap."""
EVALUATE_SECONDS = 0.5
"""How often pulses are looked for."""
FLOOR = 1e-12
"""Power that is silence: keeps the logarithm finite, 120 dB below full scale."""
CONTRAST_DB = 5.0
"""Loud and quiet frames of a band must lie this far apart before anything in it is a pulse."""

Decibels = npt.NDArray[np.float32]
"""Power of each band, shape (frames, bands)."""


@dataclass(frozen=True)
class _Cut:
    """How the power of a band is cut into pulses for one pattern."""

    pattern: Pattern
    smooth_frames: int
    """Power is averaged over this many frames."""
    loud_seconds: float
    """The loud level is that of the last this many seconds …"""
    loud_share: float
    """… that this share of frames does not reach."""
    quiet_share: float
    below_loud_db: float
    """A pulse is at most this far below the loud level …"""
    trend_seconds: float
    """… and above the mean of this long around it: in a room that rings, gaps are no more than dents."""
    trend_db: float
    shortest: float
    """Pulses and gaps shorter than this are noise, seconds."""


_CUTS = (
    _Cut(
        T3,
        smooth_frames=5,
        loud_seconds=8.0,
        loud_share=0.85,
        quiet_share=0.30,
        below_loud_db=8.0,
        trend_seconds=0.0,
        trend_db=0.0,
        shortest=0.11,
    ),
    _Cut(
        T4,
        smooth_frames=2,
        loud_seconds=7.0,
        loud_share=0.97,
        quiet_share=0.50,
        below_loud_db=9.0,
        trend_seconds=0.2,
        trend_db=0.5,
        shortest=0.03,
    ),
)


def alarm_bands(sample_rate_hz: int) -> list[tuple[int, int]]:
    """First and last bin (exclusive) of every band that ``sample_rate_hz`` has; a bin is 50 Hz wide."""
    starts = [*range(9, 21, 3), *range(30, 54, 3), *range(56, 74, 3)]
    return [(start, start + 3) for start in starts if (start + 3) / FRAME_SECONDS <= sample_rate_hz / 2]


class RhythmStream:
    """The rhythms that sound, from sound that arrives in pieces.

    ``begin_seconds`` is the stream's time at the first sample; matches are told in it. Not thread-safe.
    """

    def __init__(self, sample_rate_hz: int, begin_seconds: float = 0.0) -> None:
        self._frame = round(FRAME_SECONDS * sample_rate_hz)
        self._window = hann(self._frame)
        bands = alarm_bands(sample_rate_hz)
        self._bins = slice(bands[0][0], bands[-1][1])
        weights = np.zeros((self._frame // 2 + 1, len(bands)), dtype=np.float32)
        for number, (low, high) in enumerate(bands):
            # 4 / (sum of the window)² makes a full-scale sine 0 dB.
            weights[low:high, number] = 4.0 / float(np.sum(self._window)) ** 2
        self._weights = weights[self._bins]
        self._tail = np.zeros((max(cut.smooth_frames for cut in _CUTS) - 1, len(bands)), dtype=np.float32)
        self._levels = [np.empty((0, len(bands)), dtype=np.float32) for _ in _CUTS]
        self._rest = np.empty(0, dtype=np.float32)
        self._begin_seconds = begin_seconds
        self._frames = self._fresh = 0

    def push(self, samples: Samples) -> list[Match] | None:
        """What sounds now, at most one match for each pattern; ``None`` while it was too soon to look."""
        pending = np.concatenate([self._rest, samples])
        whole = len(pending) // self._frame
        self._rest = pending[whole * self._frame :].copy()
        if whole:
            self._take(pending[: whole * self._frame].reshape(whole, self._frame))
        if self._fresh * FRAME_SECONDS < EVALUATE_SECONDS:
            return None
        self._fresh = 0
        now = self._begin_seconds + self._frames * FRAME_SECONDS
        best = (
            strongest(_matches(levels, cut, now)) for levels, cut in zip(self._levels, _CUTS, strict=True)
        )
        return [one for one in best if one is not None]

    def _take(self, framed: npt.NDArray[np.float32]) -> None:
        spectrum = np.fft.rfft(framed * self._window)[:, self._bins]
        squared = (np.square(spectrum.real) + np.square(spectrum.imag)).astype(np.float32, copy=False)
        power = np.concatenate([self._tail, squared @ self._weights])
        for place, cut in enumerate(_CUTS):
            fresh = _levels(power[len(self._tail) - cut.smooth_frames + 1 :], cut.smooth_frames)
            kept = round(cut.pattern.memory / FRAME_SECONDS)
            self._levels[place] = np.concatenate([self._levels[place], fresh])[-kept:]
        self._tail = power[len(power) - len(self._tail) :]
        self._frames += len(framed)
        self._fresh += len(framed)


def _matches(levels: Decibels, cut: _Cut, now: float) -> list[Match]:
    """The match in each band that has one; the newest row of ``levels`` ends ``now``."""
    # A row is the mean of frames that end with its own, so what it shows lies half as many before it.
    start = now - (len(levels) + (cut.smooth_frames - 1) / 2.0) * FRAME_SECONDS
    found = []
    for spans in _spans(levels, cut):
        pulses = [Pulse(start + a * FRAME_SECONDS, start + b * FRAME_SECONDS) for a, b in spans]
        found.append(match(pulses, cut.pattern, now))
    return [one for one in found if one is not None]


def _levels(power: npt.NDArray[np.float32], smooth_frames: int) -> Decibels:
    """Decibels of the mean of each ``smooth_frames`` rows of ``power``, as one row."""
    rows = len(power) - smooth_frames + 1
    mean = sum((power[late : late + rows] for late in range(smooth_frames)), start=np.float32(FLOOR))
    levels: Decibels = np.log10(mean / np.float32(smooth_frames))
    levels *= np.float32(10.0)
    return levels


def _around(values: npt.NDArray[np.float32], frames: int) -> npt.NDArray[np.float32]:
    """Mean of ``frames`` rows around each row; same shape."""
    padded = np.pad(values, ((frames // 2 + 1, (frames - 1) // 2), (0, 0)), mode="edge")
    sums = np.cumsum(padded, axis=0, dtype=np.float64)
    mean: npt.NDArray[np.float32] = ((sums[frames:] - sums[:-frames]) / frames).astype(np.float32)
    return mean


def _spans(levels: Decibels, cut: _Cut) -> list[list[tuple[int, int]]]:
    """First and last frame (exclusive) of each pulse, for every band that has enough contrast."""
    recent = levels[-round(cut.loud_seconds / FRAME_SECONDS) :: 4]
    places = [int(share * (len(recent) - 1)) for share in (cut.loud_share, cut.quiet_share)]
    loud, quiet = np.partition(recent, places, axis=0)[places]
    chosen = np.flatnonzero(loud - quiet >= CONTRAST_DB)
    threshold = np.maximum((loud + quiet)[chosen] / 2.0, loud[chosen] - cut.below_loud_db)
    on = levels[:, chosen] >= threshold
    if cut.trend_seconds and len(chosen):
        trend = _around(levels[:, chosen], round(cut.trend_seconds / FRAME_SECONDS))
        on &= levels[:, chosen] >= trend + cut.trend_db
    return [_cleaned(column, cut.shortest / FRAME_SECONDS) for column in on.T]


def _cleaned(on: npt.NDArray[np.bool_], shortest: float) -> list[tuple[int, int]]:
    """Stretches of ``on`` as first and last frame, without gaps and then pulses below ``shortest`` frames."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], on.astype(np.int8), [0])))).tolist()
    merged: list[tuple[int, int]] = []
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        if merged and start - merged[-1][1] < shortest:
            merged[-1] = (merged[-1][0], end)
        else:
            merged.append((start, end))
    return [(start, end) for start, end in merged if end - start >= shortest]
