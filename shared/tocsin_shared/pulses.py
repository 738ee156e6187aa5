"""Pulses of sound in the bands in which alarms sound: what the matcher of rhythms is fed with.

The bands have the width of a tone, so that a tone as loud as all the noise around it stands 10 to 20 dB
above the noise in its own band. They cover the fundamental of the 520 Hz sounder and of horns
(450 to 1,000 Hz), the strong harmonics of horns, and piezo discs around 3.1 kHz (2.8 to 3.6 kHz).

Features of a bundle are not used: they are clipped where sound is loud, and an alarm in a loud room is
where a rhythm must not be lost. One short transform for each 20 ms is what is paid for that.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tocsin_shared.features import Samples, hann
from tocsin_shared.rhythm import PATTERNS, Match, Pattern, Pulse, match, strongest
from tocsin_shared.events import Rhythm

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
    _Cut(PATTERNS[0], 5, 8.0, 0.85, 0.30, 8.0, 0.0, 0.0, 0.11),
    _Cut(PATTERNS[1], 2, 7.0, 0.97, 0.50, 9.0, 0.2, 0.5, 0.03),
)


def alarm_bands(sample_rate_hz: int) -> list[tuple[int, int]]:
    """First and last bin (exclusive) of every band, bins of 50 Hz."""
    low = [(start, start + 3) for start in range(9, 21, 3)]
    horn = [(start, start + 3) for start in range(30, 54, 3)]
    piezo = [(start, start + 3) for start in range(56, 74, 3)]
    return [band for band in low + horn + piezo if band[1] * 50 <= sample_rate_hz / 2]


class RhythmStream:
    """The rhythm that sounds, from sound that arrives in pieces. Not thread-safe."""

    def __init__(self, sample_rate_hz: int) -> None:
        self._frame = round(FRAME_SECONDS * sample_rate_hz)
        self._window = hann(self._frame)
        self._bands = alarm_bands(sample_rate_hz)
        first = self._bands[0][0]
        weights = np.zeros((self._frame // 2 + 1, len(self._bands)), dtype=np.float32)
        for number, (low, high) in enumerate(self._bands):
            weights[low:high, number] = 1.0
        self._first, self._last = first, self._bands[-1][1]
        self._weights = weights[self._first : self._last] * np.float32(4.0 / float(np.sum(self._window)) ** 2)
        self._memory = round(max(cut.pattern.memory for cut in _CUTS) / FRAME_SECONDS) + 10
        self._power = np.full((self._memory, len(self._bands)), FLOOR, dtype=np.float32)
        self._filled = 0
        self._rest = np.empty(0, dtype=np.float32)
        self._frames = 0
        self._fresh = 0

    def push(self, samples: Samples) -> list[Match] | None:
        """What sounds now, one match at most for each pattern; ``None`` while nothing was looked for."""
        pending = np.concatenate([self._rest, samples])
        count = len(pending) // self._frame
        self._rest = pending[count * self._frame :].copy()
        if count:
            self._take(pending[: count * self._frame].reshape(count, self._frame))
        if self._fresh < EVALUATE_SECONDS / FRAME_SECONDS:
            return None
        self._fresh = 0
        return self._evaluate()

    def _take(self, framed: npt.NDArray[np.float32]) -> None:
        spectrum = np.fft.rfft(framed * self._window)[:, self._first : self._last]
        power = (np.square(spectrum.real) + np.square(spectrum.imag)).astype(np.float32, copy=False) @ self._weights
        power = power[-self._memory :]
        self._power = np.concatenate([self._power[len(power) :], power + FLOOR])
        self._frames += len(framed)
        self._filled = min(self._memory, self._filled + len(framed))
        self._fresh += len(framed)

    def _evaluate(self) -> list[Match]:
        now = self._frames * FRAME_SECONDS
        found = []
        for cut in _CUTS:
            best = strongest(self._matches(cut, now))
            if best is not None:
                found.append(best)
        return found

    def _matches(self, cut: _Cut, now: float) -> list[Match]:
        count = min(self._filled, round(cut.pattern.memory / FRAME_SECONDS))
        levels = _levels(self._power[-count:], cut.smooth_frames)
        start = now - len(levels) * FRAME_SECONDS
        matches = []
        for pulses in pulses_of(levels, cut):
            timed = [Pulse(start + a * FRAME_SECONDS, start + b * FRAME_SECONDS) for a, b in pulses]
            one = match(timed, cut.pattern, now)
            if one is not None:
                matches.append(one)
        return matches


def _levels(power: npt.NDArray[np.float32], smooth: int) -> Decibels:
    """Decibels of ``power`` averaged over ``smooth`` frames (centred); same shape."""
    sums = np.cumsum(np.pad(power, ((smooth // 2 + 1, (smooth - 1) // 2), (0, 0)), mode="edge"), axis=0, dtype=np.float64)
    mean = (sums[smooth:] - sums[:-smooth]) / smooth
    return 10.0 * np.log10(np.maximum(mean, FLOOR))


def pulses_of(levels, cut) -> list[list[tuple[int, int]]]:
    recent = levels[-round(cut.loud_seconds / FRAME_SECONDS) :: 2]
    ordered = np.sort(recent, axis=0)
    loud = ordered[int(cut.loud_share * (len(ordered) - 1))]
    quiet = ordered[int(cut.quiet_share * (len(ordered) - 1))]
    chosen = np.flatnonzero(loud - quiet >= CONTRAST_DB)
    if not len(chosen):
        return []
    levels = levels[:, chosen]
    threshold = np.maximum((loud + quiet)[chosen] / 2.0, loud[chosen] - cut.below_loud_db)
    on = levels >= threshold
    if cut.trend_seconds:
        n = round(cut.trend_seconds / FRAME_SECONDS)
        sums = np.cumsum(np.pad(levels, ((n // 2 + 1, (n - 1) // 2), (0, 0)), mode="edge"), axis=0)
        on &= levels >= (sums[n:] - sums[:-n]) / n + cut.trend_db
    out = []
    shortest = cut.shortest / FRAME_SECONDS
    for column in on.T:
        edges = np.flatnonzero(np.diff(np.concatenate(([False], column, [False])).astype(np.int8)))
        out.append(_cleaned(edges[::2].tolist(), edges[1::2].tolist(), shortest))
    return out


def _cleaned(starts, ends, shortest):
    merged = []
    for start, end in zip(starts, ends, strict=True):
        if merged and start - merged[-1][1] < shortest:
            merged[-1] = (merged[-1][0], end)
        else:
            merged.append((start, end))
    return [(a, b) for a, b in merged if b - a >= shortest]
