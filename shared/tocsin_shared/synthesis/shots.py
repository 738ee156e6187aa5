"""Shots and explosions: a front of a millisecond or two, a body, and an echo."""

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
)


def gunshot_or_explosion(seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Samples:
    """Shots, alone, in a row or in bursts, or one explosion; they begin at once.

    A shot rises within a millisecond and falls by half in 5 to 40 ms; an explosion is deeper and rolls on
    for a second or more. Both come back from walls, later and duller.
    """
    wave = np.zeros(length(seconds, rate_hz))
    if rng.random() < 0.4:
        add_at(wave, 0, explosion(rng, rate_hz))
        return finished(wave)
    shot, at = gunshot(rng, rate_hz), 0.0
    for _ in range(int(rng.choice([1, 1, 2, 3, 6, 10]))):
        add_at(wave, length(at, rate_hz), between(rng, 0.8, 1.0) * shot)
        at += between(rng, 0.08, 0.15) if rng.random() < 0.3 else between(rng, 0.25, 1.2)
    return finished(wave)


def gunshot(rng: np.random.Generator, rate_hz: int) -> Wave:
    """One shot with its echoes, a second and a half long."""
    front = coloured_noise(length(0.5, rate_hz), between(rng, 0.0, 0.8), rng)
    front = front * decay(0.5, between(rng, 0.005, 0.04), rate_hz)
    front = band_pass(front, between(rng, 60.0, 400.0), between(rng, 3_000.0, 7_800.0), rate_hz, 1)
    return _echoing(front, 1.5, between(rng, 0.02, 0.25), rng, rate_hz)


def explosion(rng: np.random.Generator, rate_hz: int) -> Wave:
    """A blast that rumbles on, two to four seconds long."""
    lasts = between(rng, 2.0, 4.0)
    body = coloured_noise(length(lasts, rate_hz), between(rng, 0.8, 1.8), rng)
    body = band_pass(body, 20.0, between(rng, 400.0, 3_000.0), rate_hz, 1)
    body = body * decay(lasts, between(rng, 0.1, 0.6), rate_hz)
    front = coloured_noise(len(body), 0.3, rng) * decay(lasts, between(rng, 0.005, 0.05), rate_hz)
    debris = band_pass(coloured_noise(len(body), 0.0, rng), 500.0, 6_000.0, rate_hz)
    crackle = debris * np.clip(coloured_noise(len(body), 0.0, rng) - 2.2, 0.0, None)
    body += between(rng, 0.3, 1.5) * front
    body += between(rng, 0.0, 1.0) * crackle * decay(lasts, between(rng, 0.2, 0.8), rate_hz)
    return _echoing(body, lasts, between(rng, 0.05, 0.4), rng, rate_hz)


def _echoing(front: Wave, lasts: float, half_life: float, rng: np.random.Generator, rate_hz: int) -> Wave:
    """``front`` with a few single echoes and the diffuse tail of a street, a hall or a valley."""
    wave = fitted(front, length(lasts, rate_hz)).copy()
    for _ in range(int(rng.integers(0, 5))):
        at = between(rng, 0.02, 0.5)
        duller = band_pass(front, 30.0, between(rng, 800.0, 4_000.0), rate_hz, 1)
        add_at(wave, length(at, rate_hz), between(rng, 0.1, 0.5) * 0.5 ** (at / 0.3) * duller)
    peak = float(np.max(np.abs(front), initial=1e-9))
    tail = band_pass(coloured_noise(len(wave), 0.8, rng), 60.0, between(rng, 800.0, 4_000.0), rate_hz)
    return wave + peak * between(rng, 0.01, 0.12) * tail * decay(lasts, half_life, rate_hz)
