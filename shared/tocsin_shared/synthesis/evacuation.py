"""Signals that tell people to leave a building or a site, and the sirens that warn a town.

Patterns as the standards have them; each function names its own. What a standard leaves open, such as
the timbre of the sounder, is drawn.
"""

import numpy as np

from tocsin_shared.features import Samples
from tocsin_shared.synthesis.levels import finished
from tocsin_shared.synthesis.tones import (
    Wave,
    between,
    clock,
    gate,
    one_of,
    partials,
    repeat,
    saw_weights,
    square_weights,
    uneven,
)

TOLERANCE = 0.08
"""Share by which a drawn time or pitch may differ from its nominal value."""


def evacuation_siren(seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Samples:
    """One of the signals below, drawn evenly."""
    kinds = (
        slow_whoop,
        falling_sweep,
        alternating_tones,
        fast_sweep,
        two_unequal_tones,
        steady_tone,
        motor_siren,
        motor_siren,
    )
    return kinds[int(rng.integers(len(kinds)))](seconds, rng, rate_hz)


def slow_whoop(seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Samples:
    """Evacuation signal of NEN 2575: 500 rising to 1,200 Hz in 3.5 s, half a second of silence, again."""
    stretch = _near(1.0, rng)
    period = 4.0 * stretch
    rising = np.minimum(1.0, (clock(seconds, rate_hz) % period) / (3.5 * stretch))
    wave = partials(500.0 + 700.0 * rising, timbre(rng), rate_hz)
    return finished(wave * gate(repeat([(0.0, 3.5 * stretch)], period, seconds), seconds, rate_hz, 0.02))


def falling_sweep(seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Samples:
    """Emergency signal of DIN 33404-3: from 1,200 down to 500 Hz once in a second, without a rest."""
    place = (clock(seconds, rate_hz) / _near(1.0, rng)) % 1.0
    pitch = _near(1.0, rng)
    return finished(partials(pitch * (1_200.0 - 700.0 * place), timbre(rng), rate_hz))


def alternating_tones(seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Samples:
    """800 and 970 Hz in turn, each for a quarter or half a second, as sounders for BS 5839-1 have them."""
    each, pitch = one_of(rng, (0.25, 0.5)) * _near(1.0, rng), _near(1.0, rng)
    upper = np.floor(clock(seconds, rate_hz) / each) % 2 > 0
    return finished(partials(pitch * np.where(upper, 970.0, 800.0), timbre(rng), rate_hz))


def fast_sweep(seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Samples:
    """From 800 up to 970 Hz once, seven or nine times a second, as sounders for BS 5839-1 have it."""
    place = (clock(seconds, rate_hz) * one_of(rng, (1.0, 7.0, 9.0)) * _near(1.0, rng)) % 1.0
    pitch = _near(1.0, rng)
    return finished(partials(pitch * (800.0 + 170.0 * place), timbre(rng), rate_hz))


def two_unequal_tones(seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Samples:
    """Evacuation signal of NF S 32-001: 554 Hz for 0.1 s and 440 Hz for 0.4 s, again and again."""
    stretch, pitch = _near(1.0, rng), _near(1.0, rng)
    short = (clock(seconds, rate_hz) / stretch) % 0.5 < 0.1
    return finished(partials(pitch * np.where(short, 554.0, 440.0), timbre(rng), rate_hz))


def steady_tone(seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Samples:
    """A sounder of 440 to 1,000 Hz that goes on, or is cut into equal pieces and rests of a second or so."""
    wave = partials(np.full(len(clock(seconds, rate_hz)), between(rng, 440.0, 1_000.0)), timbre(rng), rate_hz)
    if rng.random() < 0.5:
        return finished(wave)
    half = between(rng, 0.5, 1.5)
    return finished(wave * gate(repeat([(0.0, half)], 2.0 * half, seconds), seconds, rate_hz, 0.02))


def motor_siren(seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Samples:
    """A town's siren: a rotor takes seconds to rise to 300 to 700 Hz, then holds or swings down again."""
    top, time = between(rng, 300.0, 700.0), clock(seconds, rate_hz) + between(rng, 0.0, 8.0)
    if rng.random() < 0.5:
        swing = 0.5 - 0.5 * np.cos(2.0 * np.pi * time / between(rng, 4.0, 15.0))
        pitch = top * (between(rng, 0.4, 0.7) + (1.0 - between(rng, 0.4, 0.7)) * swing)
    else:
        pitch = top * (1.0 - 0.8 * np.exp(-time / between(rng, 1.0, 4.0)))
    weights = uneven(saw_weights(14, between(rng, 0.5, 1.3)), 4.0, rng)
    wave = partials(pitch, weights, rate_hz)
    if rng.random() < 0.3:  # two rotors with other numbers of ports
        wave += partials(pitch * one_of(rng, (1.2, 1.25, 4.0 / 3.0)), weights, rate_hz)
    return finished(wave)


def timbre(rng: np.random.Generator) -> list[float]:
    """Harmonics: an electronic sounder is near a square wave, a mechanical one falls off more gently."""
    if rng.random() < 0.4:
        return square_weights(15)
    return uneven(saw_weights(12, between(rng, 0.8, 2.0)), 4.0, rng)


def _near(value: float, rng: np.random.Generator) -> float:
    return value * between(rng, 1.0 - TOLERANCE, 1.0 + TOLERANCE)


def distance(seconds: float, rng: np.random.Generator, rate_hz: int) -> Wave:
    """A slow change of level of up to 6 dB, as of a vehicle that drives, or of wind between."""
    time = clock(seconds, rate_hz)
    swing: Wave = 10.0 ** (
        between(rng, 0.0, 3.0) * np.sin(2.0 * np.pi * time / between(rng, 4.0, 20.0)) / 20.0
    )
    return swing
