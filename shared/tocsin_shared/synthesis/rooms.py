"""What a room sounds like when nothing happens: hiss, hum, fans, machines, steps."""

import numpy as np

from tocsin_shared.features import Samples
from tocsin_shared.synthesis.impacts import knocks
from tocsin_shared.synthesis.levels import at_level, finished
from tocsin_shared.synthesis.tones import (
    Wave,
    band_pass,
    between,
    clock,
    coloured_noise,
    length,
    one_of,
    saw_weights,
    steady,
)

ROOM_DBFS = -50.0
"""Level of :func:`ambience`: an office or a quiet workshop at a microphone of usual gain."""


def ambience(seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Samples:
    """The bed of a room at about −50 dBFS: air, mains hum, now and then a fan, a machine or steps."""
    return at_level(room(seconds, rng, rate_hz), ROOM_DBFS)


def room(seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Samples:
    """As :func:`ambience`, louder: peak 0.5."""
    count = length(seconds, rate_hz)
    wave = coloured_noise(count, between(rng, 0.6, 2.0), rng)
    for part, chance, loudest in ((hum, 0.6, 0.5), (fan, 0.5, 1.5), (machine, 0.3, 1.5), (_steps, 0.25, 2.0)):
        if rng.random() < chance:
            wave += between(rng, 0.1, loudest) * _unit(part(seconds, rng, rate_hz))
    return finished(wave)


def hum(seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Wave:
    """Mains hum: 50 or 60 Hz with harmonics, the even ones stronger as transformers have them."""
    weights = [
        weight * (2.0 if number % 2 == 0 else 1.0) for number, weight in enumerate(saw_weights(12, 1.2), 1)
    ]
    return steady(one_of(rng, (50.0, 60.0)), seconds, weights, rate_hz)


def fan(seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Wave:
    """Air through blades: noise below 1 to 4 kHz, a weak blade tone, and a slow waver."""
    noise = band_pass(
        coloured_noise(length(seconds, rate_hz), 0.8, rng), 40.0, between(rng, 1_000.0, 4_000.0), rate_hz
    )
    blades = steady(between(rng, 80.0, 400.0), seconds, (1.0, 0.5, 0.25), rate_hz)
    waver = 1.0 + 0.2 * np.sin(2.0 * np.pi * between(rng, 0.2, 8.0) * clock(seconds, rate_hz))
    return waver * (noise + between(rng, 0.0, 0.4) * blades)


def machine(seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Wave:
    """A motor under load: a saw-toothed tone of 25 to 150 Hz in noise that throbs with it."""
    turn = between(rng, 1.0, 12.0)
    throb = 0.5 + 0.5 * np.sin(2.0 * np.pi * turn * clock(seconds, rate_hz)) ** 2
    noise = band_pass(
        coloured_noise(length(seconds, rate_hz), 1.0, rng), 60.0, between(rng, 800.0, 5_000.0), rate_hz
    )
    return throb * (
        noise + between(rng, 0.1, 0.8) * steady(between(rng, 25.0, 150.0), seconds, saw_weights(20), rate_hz)
    )


def _steps(seconds: float, rng: np.random.Generator, rate_hz: int) -> Wave:
    return knocks(seconds, rng, rate_hz).astype(np.float64)


def _unit(wave: Wave) -> Wave:
    return wave / max(float(np.sqrt(np.mean(wave**2))) if len(wave) else 1.0, 1e-9)
