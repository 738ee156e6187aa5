"""The parts that sounds are built of: tones with harmonics, gates, shaped noise, filters.

Everything here takes and gives float64 arrays of shape (samples,), and works in seconds and hertz;
the modules that use it hand out float32.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

Wave = npt.NDArray[np.float64]
"""Sound while it is being made, shape (samples,)."""
Pulses = Sequence[tuple[float, float]]
"""Start and end of each pulse, seconds."""

TOP_OF_BAND = 0.47
"""Partials above this share of the sample rate are left out: they would fold back as false tones."""
EDGE_SECONDS = 0.004
"""Rise and fall of a pulse; a hard edge would click across the whole spectrum."""


def length(seconds: float, rate_hz: int) -> int:
    """Samples in ``seconds``."""
    return max(0, round(seconds * rate_hz))


def clock(seconds: float, rate_hz: int) -> Wave:
    """Time of every sample, seconds."""
    return np.arange(length(seconds, rate_hz), dtype=np.float64) / rate_hz


def partials(frequency_hz: Wave, weights: Iterable[float], rate_hz: int) -> Wave:
    """Sum of the harmonics of a tone that may glide; ``weights`` start with the fundamental.

    ``frequency_hz`` is the fundamental at every sample.
    """
    phase = 2.0 * np.pi * np.cumsum(frequency_hz) / rate_hz
    wave = np.zeros_like(phase)
    for number, weight in enumerate(weights, start=1):
        if weight == 0.0:
            continue
        audible = frequency_hz * number < TOP_OF_BAND * rate_hz
        wave += weight * audible * np.sin(number * phase)
    return wave


def steady(frequency_hz: float, seconds: float, weights: Iterable[float], rate_hz: int) -> Wave:
    """A tone of one frequency with harmonics."""
    return partials(np.full(length(seconds, rate_hz), frequency_hz), weights, rate_hz)


def square_weights(count: int = 31) -> list[float]:
    """Harmonics of a square wave: odd ones, falling as one over their number."""
    return [1.0 / number if number % 2 else 0.0 for number in range(1, count + 1)]


def saw_weights(count: int = 31, slope: float = 1.0) -> list[float]:
    """All harmonics, falling as number to the power of −``slope``."""
    return [number**-slope for number in range(1, count + 1)]


def uneven(weights: Iterable[float], spread_db: float, rng: np.random.Generator) -> list[float]:
    """``weights``, each made stronger or weaker by chance, as the harmonics of real bodies are."""
    return [weight * 10.0 ** (float(rng.normal(0.0, spread_db)) / 20.0) for weight in weights]


def gate(pulses: Pulses, seconds: float, rate_hz: int, edge_seconds: float = EDGE_SECONDS) -> Wave:
    """Envelope that is 1 within each pulse and 0 outside, with edges of a raised cosine."""
    time = clock(seconds, rate_hz)
    envelope = np.zeros_like(time)
    for start, end in pulses:
        edge = min(edge_seconds, max(1e-4, (end - start) / 2))
        rise = np.clip((time - start) / edge, 0.0, 1.0)
        fall = np.clip((end - time) / edge, 0.0, 1.0)
        envelope += 0.25 * (1.0 - np.cos(np.pi * rise)) * (1.0 - np.cos(np.pi * fall))
    return np.minimum(envelope, 1.0)


def repeat(cycle: Pulses, period_seconds: float, seconds: float) -> list[tuple[float, float]]:
    """The pulses of ``cycle`` again and again, every ``period_seconds``, until ``seconds``."""
    starts = np.arange(0.0, seconds, period_seconds)
    return [(at + start, at + end) for at in starts for start, end in cycle if at + start < seconds]


def decay(seconds: float, half_life_seconds: float, rate_hz: int) -> Wave:
    """Envelope that starts at 1 and halves every ``half_life_seconds``."""
    envelope: Wave = np.exp2(-clock(seconds, rate_hz) / half_life_seconds)
    return envelope


def coloured_noise(count: int, exponent: float, rng: np.random.Generator) -> Wave:
    """Noise whose power falls as frequency to the power of −``exponent``: 0 white, 1 pink, 2 brown.

    Root mean square is 1. Below about 20 Hz of a 16 kHz signal the fall stops.
    """
    spectrum = np.fft.rfft(rng.standard_normal(max(count, 2)))
    place = np.maximum(np.arange(len(spectrum)) / max(count, 2), 1.25e-3)
    noise = np.fft.irfft(spectrum * place ** (-exponent / 2.0), n=max(count, 2))[:count]
    return noise / max(float(np.sqrt(np.mean(noise**2))) if count else 1.0, 1e-12)


def band_pass(wave: Wave, low_hz: float, high_hz: float, rate_hz: int, order: int = 2) -> Wave:
    """``wave`` between two corner frequencies, with the slopes of a Butterworth filter, zero phase."""
    if len(wave) == 0:
        return wave
    padded = len(wave) + rate_hz // 4
    hertz = np.fft.rfftfreq(padded, 1.0 / rate_hz)
    response = 1.0 / np.sqrt(1.0 + (hertz / high_hz) ** (2 * order))
    if low_hz > 0.0:
        safe = np.maximum(hertz, 1e-3)
        response /= np.sqrt(1.0 + (low_hz / safe) ** (2 * order))
    filtered: Wave = np.fft.irfft(np.fft.rfft(wave, padded) * response, n=padded)[: len(wave)]
    return filtered


def wander(seconds: float, hertz: float, rng: np.random.Generator, rate_hz: int) -> Wave:
    """A value that changes by chance about ``hertz`` times a second, with a standard deviation near 1."""
    knots = np.arange(0.0, seconds + 2.0 / hertz, 1.0 / hertz)
    drawn: Wave = np.interp(clock(seconds, rate_hz), knots, rng.standard_normal(len(knots)))
    return drawn


def add_at(wave: Wave, start: int, part: Wave) -> None:
    """Add ``part`` to ``wave`` from sample ``start`` on, in place; what does not fit is left out."""
    end = min(len(wave), start + len(part))
    if 0 <= start < end:
        wave[start:end] += part[: end - start]


def fitted(wave: Wave, count: int) -> Wave:
    """``wave`` cut, or filled with silence, to ``count`` samples."""
    return wave[:count] if len(wave) >= count else np.pad(wave, (0, count - len(wave)))


def between(rng: np.random.Generator, low: float, high: float) -> float:
    """A number drawn evenly from [low, high)."""
    return float(rng.uniform(low, high))


def one_of(rng: np.random.Generator, choices: Sequence[float]) -> float:
    """One of ``choices``."""
    return choices[int(rng.integers(len(choices)))]
