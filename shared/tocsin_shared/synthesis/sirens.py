"""Sirens of emergency vehicles, mechanical and electronic.

Rates and ranges are those in use: wail and yelp as SAE J1849 names them, two-tone horns as DIN 14610
has them. Those of buildings stand in :mod:`tocsin_shared.synthesis.evacuation`.
"""

import numpy as np

from tocsin_shared.features import Samples
from tocsin_shared.synthesis.evacuation import distance, timbre
from tocsin_shared.synthesis.levels import finished
from tocsin_shared.synthesis.tones import between, clock, partials


def emergency_siren(seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Samples:
    """One of the sirens below; wail and yelp, which are heard most, twice as often as the others."""
    kinds = (wail, wail, yelp, yelp, hi_lo, phaser)
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
    return finished(partials(frequency, timbre(rng), rate_hz))


def phaser(seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Samples:
    """The sweep 8 to 16 times a second, as in traffic that does not give way."""
    return _sweeping(seconds, 1.0 / between(rng, 8.0, 16.0), between(rng, 0.3, 0.7), rng, rate_hz)


def _sweeping(
    seconds: float, period: float, rising_share: float, rng: np.random.Generator, rate_hz: int
) -> Samples:
    low, high = between(rng, 450.0, 800.0), between(rng, 1_200.0, 1_800.0)
    place = (clock(seconds, rate_hz) / period + rng.random()) % 1.0
    swept = np.where(place < rising_share, place / rising_share, (1.0 - place) / (1.0 - rising_share))
    bent = swept ** between(rng, 0.6, 1.4)
    wave = partials(low * (high / low) ** bent, timbre(rng), rate_hz)
    return finished(wave * distance(seconds, rng, rate_hz))
