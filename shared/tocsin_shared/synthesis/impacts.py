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


def door_knock(seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Samples:
    """Somebody at the door: two to six blows 0.12 to 0.4 s apart, and again after a second or two."""
    blow = _on_a_panel(rng, rate_hz)
    wave, at, apart = np.zeros(length(seconds, rate_hz)), 0.0, between(rng, 0.12, 0.4)
    while at < seconds:
        for _ in range(int(rng.integers(2, 7))):
            add_at(wave, length(at, rate_hz), between(rng, 0.6, 1.0) * blow)
            at += apart * between(rng, 0.9, 1.1)
        at += between(rng, 0.8, 2.5)
    return finished(wave)


def _on_a_panel(rng: np.random.Generator, rate_hz: int) -> Wave:
    """Knuckles on wood or a fist on sheet metal: a panel that sounds from 80 to 600 Hz, and a click."""
    metal = rng.random() < 0.2
    wave = np.zeros(length(0.4, rate_hz))
    for _ in range(int(rng.integers(5, 14))):
        hertz = 80.0 * 2.0 ** between(rng, 0.0, 4.5)
        half_life = (between(rng, 0.02, 0.08) if metal else between(rng, 0.003, 0.012)) * (
            200.0 / hertz
        ) ** 0.3
        tone = steady(hertz, 0.4, (1.0,), rate_hz) * decay(0.4, half_life, rate_hz)
        wave += between(rng, 0.2, 1.0) * (200.0 / hertz) ** between(rng, 0.3, 1.0) * tone
    click = band_pass(coloured_noise(len(wave), 0.5, rng), 150.0, between(rng, 1_500.0, 5_000.0), rate_hz)
    return wave + between(rng, 0.5, 3.0) * click * decay(0.4, between(rng, 0.002, 0.008), rate_hz)


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
    """Footsteps, or things put down: one kind of blow, evenly at a walking pace or far apart."""
    wave, at = np.zeros(length(seconds, rate_hz)), rng.random() * 0.3
    period = between(rng, 0.45, 0.7) if rng.random() < 0.5 else between(rng, 1.2, 3.0)
    blow = knock(rng, rate_hz).astype(np.float64)
    while at < seconds:
        add_at(wave, length(at, rate_hz), between(rng, 0.5, 1.0) * blow)
        at += period * between(rng, 0.8, 1.2)
    return finished(wave)


def clinks(seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Samples:
    """Crockery, cutlery, keys or tools that touch: single bright rings far apart, or a light jingle."""
    wave, at = np.zeros(length(seconds, rate_hz)), between(rng, 0.0, 0.3)
    step = between(rng, 0.05, 0.15) if rng.random() < 0.3 else between(rng, 0.4, 1.5)
    partials = [between(rng, 1_000.0, 7_000.0) for _ in range(int(rng.integers(2, 7)))]
    while at < seconds:
        half_life, loudness = between(rng, 0.01, 0.12), between(rng, 0.3, 1.0)
        for hertz in partials:
            tone = steady(hertz * between(rng, 0.98, 1.02), 6.0 * half_life, (1.0,), rate_hz)
            add_at(wave, length(at, rate_hz), loudness * tone * decay(6.0 * half_life, half_life, rate_hz))
        at += float(rng.exponential(step)) + 0.02
    return finished(wave)


def clicks(seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Samples:
    """Keys of a keyboard, switches, claps: bursts of a few milliseconds, up to eight in a second."""
    wave, at, step = np.zeros(length(seconds, rate_hz)), between(rng, 0.0, 0.2), between(rng, 0.12, 1.0)
    half_life, low = between(rng, 0.0007, 0.012), between(rng, 100.0, 2_500.0)
    while at < seconds:
        noise = coloured_noise(length(0.1, rate_hz), between(rng, 0.0, 1.0), rng) * decay(
            0.1, half_life, rate_hz
        )
        burst = band_pass(noise, low, between(rng, 4_000.0, 7_800.0), rate_hz)
        add_at(wave, length(at, rate_hz), between(rng, 0.3, 1.0) * burst)
        at += step * between(rng, 0.6, 1.6)
    return finished(wave)
