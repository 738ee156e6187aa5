"""Measures sound second by second, for the rules in :mod:`tocsin_node.ears`; under 1 ms for each second."""

import math

import numpy as np

from tocsin_node.ears import Second
from tocsin_node.pipeline import FULL_SCALE, Sound
from tocsin_shared.features import Samples

SAME = 1e-6
"""Samples that differ by less are one value: a step of 16 bit sound is 3e-5, resampling errs by 1e-7."""
MAINS_HZ = (50, 60)
HARMONICS = 6
"""Hum has its power below 360 Hz; beyond stand horns and alarms that last as long as they like."""
_WIDTH_HZ = 2
LOW_HZ = 1000
"""Rate at which hum is looked for, at least; what is folded down counts in all power, not in hum alone."""
"""Hann's main lobe, and mains that are half a hertz off."""


class Meter:
    """Cuts blocks into seconds and measures each. Not thread-safe."""

    def __init__(self, sample_rate_hz: int) -> None:
        self._rate = sample_rate_hz
        self._window = np.hanning(sample_rate_hz).astype(np.float32)
        self._hums = [_hum_bins(mains) for mains in MAINS_HZ]
        self._factor = next(
            factor for factor in range(sample_rate_hz // LOW_HZ, 0, -1) if sample_rate_hz % factor == 0
        )
        self._gain = _power_gain(self._factor, sample_rate_hz)
        self._dropped_before = 0
        self.restart()

    def restart(self) -> None:
        """Forget the begun second, as after a microphone that was away."""
        self._waiting: list[Samples] = []
        self._count = self._blocks = 0

    def push(self, sound: Sound, dropped_blocks: int) -> list[Second]:
        """The seconds that ``sound`` completes; ``dropped_blocks`` counts all that were lost so far."""
        self._waiting.append(sound.samples)
        self._count += len(sound.samples)
        self._blocks += 1
        if self._count < self._rate:
            return []
        samples = np.concatenate(self._waiting)
        whole = len(samples) // self._rate
        self._waiting = [samples[whole * self._rate :]]
        self._count = len(self._waiting[0])
        dropped, self._dropped_before = dropped_blocks - self._dropped_before, dropped_blocks
        blocks, self._blocks = self._blocks, 0
        seconds = []
        for number in range(whole):
            behind = (self._count + (whole - 1 - number) * self._rate) / self._rate
            piece = samples[number * self._rate : (number + 1) * self._rate]
            first = number == 0  # what was counted belongs to one second, not to each
            seconds.append(
                self._measure(piece, sound.arrived - behind, dropped * first, blocks if first else 0)
            )
        return seconds

    def _measure(self, samples: Samples, at: float, dropped: int, blocks: int) -> Second:
        """Measure ``samples``, shape (sample_rate_hz,)."""
        lowest, highest = float(samples.min()), float(samples.max())
        mean = float(samples.mean())
        same = highest - lowest < SAME
        centred = samples - np.float32(mean)
        power = 0.0 if same else float(np.dot(centred, centred)) / len(samples)
        clipped = 0
        if not -FULL_SCALE < lowest <= highest < FULL_SCALE:
            clipped = int(np.count_nonzero(np.abs(samples) >= FULL_SCALE))
        return Second(
            at=at,
            level_dbfs=10.0 * math.log10(power) if power > 0.0 else -math.inf,
            mean=0.0 if same and abs(mean) < SAME else mean,
            clipped_share=clipped / len(samples),
            hum_share=self._hum_share(centred) if power > 0.0 else 0.0,
            dropped_blocks=dropped,
            blocks=blocks,
        )

    def _hum_share(self, centred: Samples) -> float:
        """Share of hum in all power, by Parseval's theorem; a spectrum of a low rate is cheap."""
        windowed = centred * self._window
        total = float(np.dot(windowed, windowed))
        low = windowed.reshape(-1, self._factor).sum(axis=1)
        spectrum = np.fft.rfft(low)
        power = (spectrum.real**2 + spectrum.imag**2) / self._gain
        hum = max(float(power[bins].sum()) for bins in self._hums) * 2.0 / self._rate
        return min(1.0, hum / total) if total > 0.0 else 0.0


def _hum_bins(mains_hz: int) -> "np.typing.NDArray[np.intp]":
    """Bins, 1 Hz apart, of mains hum and its harmonics."""
    centres = mains_hz * np.arange(1, HARMONICS + 1)
    bins: np.typing.NDArray[np.intp] = centres[:, None] + np.arange(-_WIDTH_HZ, _WIDTH_HZ + 1)[None, :]
    return bins.ravel()


def _power_gain(factor: int, sample_rate_hz: int) -> "np.typing.NDArray[np.float64]":
    """What the mean of ``factor`` samples leaves of the power at each bin, 1 Hz apart (Dirichlet kernel)."""
    angle = np.pi * np.arange(sample_rate_hz // factor // 2 + 1) / sample_rate_hz
    angle[0] = 1e-9
    gain: np.typing.NDArray[np.float64] = (np.sin(factor * angle) / (factor * np.sin(angle))) ** 2
    return gain
