"""Sirens of emergency vehicles and of buildings, mechanical and electronic.

Rates and ranges are those in use: wail and yelp as SAE J1849 names them, two-tone horns as DIN 14610
has them, the slow whoop as NEN 2575 prescribes it for evacuation.
"""

import numpy as np

from tocsin_shared.features import Samples
from tocsin_shared.synthesis.levels import finished
from tocsin_shared.synthesis.tones import (
    Wave,
    between,
    clock,
    gate,
    partials,
    repeat,
    saw_weights,
    square_weights,
    uneven,
)


def siren(seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Samples:
    """One of the sirens below, drawn evenly."""
    kinds = (wail, yelp, hi_lo, slow_whoop)
    return kinds[int(rng.integers(len(kinds)))](seconds, rng, rate_hz)


def wail(seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Samples:
    """A slow rise and fall, once every 2 to 6 s, between about 600 and 1,500 Hz."""
    return _sweeping(seconds, between(rng, 2.0, 6.0), between(rng, 0.35, 0.65), rng, rate_hz)


def yelp(seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Samples:
    """The same sweep 2.5 to 4.2 times a second."""
    return _sweeping(seconds, 1.0 / between(rng, 2.5, 4.2), between(rng, 0.4, 0.8), rng, rate_hz)


def hi_lo(seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Samples:
    """Two tones in turn, 0.35 to 0.8 s each, the upper 1.1 to 1.4 times the lower (DIN 14610: 4 to 3)."""
    low, ratio, each = between(rng, 370.0, 800.0), between(rng, 1.1, 1.4), between(rng, 0.35, 0.8)
    time = clock(seconds, rate_hz) + between(rng, 0.0, each)
    upper = np.floor(time / each) % 2 > 0
    frequency = np.where(upper, low * ratio, low)
    return finished(partials(frequency, _timbre(rng), rate_hz))


def slow_whoop(seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Samples:
    """Evacuation signal of NEN 2575: 500 rising to 1,200 Hz in 3.5 s, half a second of silence, again."""
    stretch = between(rng, 0.9, 1.1)
    period = 4.0 * stretch
    rising = np.minimum(1.0, (clock(seconds, rate_hz) % period) / (3.5 * stretch))
    wave = partials(500.0 + 700.0 * rising, _timbre(rng), rate_hz)
    return finished(wave * gate(repeat([(0.0, 3.5 * stretch)], period, seconds), seconds, rate_hz, 0.02))


def _sweeping(
    seconds: float, period: float, rising_share: float, rng: np.random.Generator, rate_hz: int
) -> Samples:
    low, high = between(rng, 450.0, 800.0), between(rng, 1_200.0, 1_800.0)
    place = (clock(seconds, rate_hz) / period + rng.random()) % 1.0
    swept = np.where(place < rising_share, place / rising_share, (1.0 - place) / (1.0 - rising_share))
    bent = swept ** between(rng, 0.6, 1.4)
    wave = partials(low * (high / low) ** bent, _timbre(rng), rate_hz)
    return finished(wave * _distance(seconds, rng, rate_hz))


def _timbre(rng: np.random.Generator) -> list[float]:
    """Harmonics: an electronic siren is near a square wave, a mechanical one falls off more gently."""
    if rng.random() < 0.4:
        return square_weights(15)
    return uneven(saw_weights(12, between(rng, 0.8, 2.0)), 4.0, rng)


def _distance(seconds: float, rng: np.random.Generator, rate_hz: int) -> Wave:
    """A slow change of level of up to 6 dB, as of a vehicle that drives."""
    time = clock(seconds, rate_hz)
    swing: Wave = 10.0 ** (
        between(rng, 0.0, 3.0) * np.sin(2.0 * np.pi * time / between(rng, 4.0, 20.0)) / 20.0
    )
    return swing
