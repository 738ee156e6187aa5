"""Breaking glass, and other things that fall or knock but do not break."""

import numpy as np

from tocsin_shared.features import Samples
from tocsin_shared.synthesis.levels import finished
from tocsin_shared.synthesis.tones import (
    Wave,
    add_at,
    band_pass,
    between,
    coloured_noise,
    decay,
    fitted,
    length,
    steady,
)


def glass_breaking(seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Samples:
    """A pane breaks at the start and its shards fall for a second or so; silence to the end.

    A broadband burst of a few milliseconds, many inharmonic partials of 2 to 7.5 kHz that decay
    within a tenth of a second, then shards that each ring briefly, ever fewer and softer.
    """
    wave = np.zeros(length(max(seconds, 2.5), rate_hz))
    add_at(wave, 0, _crack(rng, rate_hz))
    add_at(wave, 0, 0.8 * _ringing(rng, rate_hz, int(rng.integers(20, 50)), 0.03, 0.15))
    _add_shards(wave, rng, rate_hz)
    return finished(fitted(wave, length(seconds, rate_hz)))


def _crack(rng: np.random.Generator, rate_hz: int) -> Wave:
    noise = coloured_noise(length(0.3, rate_hz), 0.0, rng) * decay(0.3, between(rng, 0.006, 0.03), rate_hz)
    return band_pass(noise, between(rng, 300.0, 1_500.0), 7_500.0, rate_hz)


def _add_shards(wave: Wave, rng: np.random.Generator, rate_hz: int) -> None:
    spread = between(rng, 0.2, 0.5)
    for _ in range(int(rng.integers(15, 60))):
        at = 0.05 + float(rng.exponential(spread))
        loudness = between(rng, 0.15, 0.7) * float(np.exp(-at))
        add_at(
            wave, length(at, rate_hz), loudness * _ringing(rng, rate_hz, int(rng.integers(2, 8)), 0.006, 0.05)
        )


def _ringing(rng: np.random.Generator, rate_hz: int, count: int, shortest: float, longest: float) -> Wave:
    """``count`` partials of 2 to 7.5 kHz, each with a half-life of its own between the two given."""
    wave = np.zeros(length(4.0 * longest, rate_hz))
    for _ in range(count):
        tone = steady(between(rng, 2_000.0, 7_400.0), 4.0 * longest, (1.0,), rate_hz)
        wave += between(rng, 0.3, 1.0) * tone * decay(4.0 * longest, between(rng, shortest, longest), rate_hz)
    return wave / float(np.sqrt(count))


def knock(rng: np.random.Generator, rate_hz: int = 16_000) -> Samples:
    """A dull blow on wood, metal or a floor, about a third of a second: no glass, no alarm."""
    base = between(rng, 60.0, 900.0)
    wave = np.zeros(length(0.35, rate_hz))
    for ratio in (1.0, between(rng, 1.4, 1.9), between(rng, 2.2, 3.1)):
        wave += (
            steady(base * ratio, 0.35, (1.0,), rate_hz)
            * decay(0.35, between(rng, 0.008, 0.05), rate_hz)
            / ratio
        )
    thud = band_pass(coloured_noise(len(wave), 1.0, rng), 40.0, between(rng, 500.0, 4_000.0), rate_hz)
    return finished(wave + between(rng, 0.2, 1.0) * thud * decay(0.35, between(rng, 0.004, 0.02), rate_hz))


def knocks(seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Samples:
    """Footsteps, hammering or things put down: one kind of knock, more or less evenly repeated."""
    wave, at, period = np.zeros(length(seconds, rate_hz)), rng.random() * 0.3, between(rng, 0.25, 1.2)
    blow = knock(rng, rate_hz).astype(np.float64)
    while at < seconds:
        add_at(wave, length(at, rate_hz), between(rng, 0.5, 1.0) * blow)
        at += period * between(rng, 0.8, 1.2)
    return finished(wave)
