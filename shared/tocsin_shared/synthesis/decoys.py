"""Sounds that resemble alarms and are none: interface beeps, telephones, music."""

import numpy as np

from tocsin_shared.features import Samples
from tocsin_shared.synthesis.impacts import clicks, clinks, knocks
from tocsin_shared.synthesis.levels import finished
from tocsin_shared.synthesis.tones import (
    Wave,
    add_at,
    between,
    clock,
    decay,
    gate,
    length,
    one_of,
    partials,
    repeat,
    saw_weights,
    steady,
)
from tocsin_shared.synthesis.vehicles import reversing_beeper

SCALE = (0, 2, 4, 5, 7, 9, 11, 12)
"""Half-tones of a major scale."""


def decoy(seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Samples:
    """One of the sounds below, a reversing beeper, knocks, clinks or clicks, drawn evenly."""
    kinds = (interface_beeps, telephone, music, whistling, reversing_beeper, knocks, clinks, clicks)
    return kinds[int(rng.integers(len(kinds)))](seconds, rng, rate_hz)


def interface_beeps(seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Samples:
    """Single short beeps or pairs that confirm a key or a scan, at long and uneven intervals."""
    wave, at = np.zeros(length(seconds, rate_hz)), between(rng, 0.0, min(1.0, 0.5 * seconds))
    while at < seconds:
        add_at(wave, length(at, rate_hz), _chirp(rng, rate_hz))
        at += between(rng, 1.5, 4.0)
    return finished(wave)


def _chirp(rng: np.random.Generator, rate_hz: int) -> Wave:
    lasts, hertz = between(rng, 0.03, 0.12), between(rng, 600.0, 3_500.0)
    notes = [hertz, hertz * one_of(rng, (0.67, 0.8, 1.25, 1.5))][: int(rng.integers(1, 3))]
    beeps = [
        steady(note, lasts, (1.0, 0.2), rate_hz) * gate([(0.0, lasts)], lasts, rate_hz) for note in notes
    ]
    wave = np.concatenate(beeps)
    return wave * decay(len(wave) / rate_hz, between(rng, 0.05, 0.5), rate_hz)


def telephone(seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Samples:
    """An electronic telephone: two tones in quick turn for 0.8 to 2 s, then a rest."""
    ring, rest = between(rng, 0.8, 2.0), between(rng, 1.0, 3.0)
    envelope = gate(repeat([(0.0, ring)], ring + rest, seconds), seconds, rate_hz, 0.02)
    time = clock(seconds, rate_hz)
    turns = np.floor(time * between(rng, 15.0, 25.0)) % 2 > 0
    low = between(rng, 450.0, 1_600.0)
    return finished(envelope * partials(np.where(turns, low, low * 1.2), (1.0, 0.4, 0.2), rate_hz))


def music(seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Samples:
    """Plucked or blown chords of two to four notes over a held bass, one to six in a second."""
    root, weights = between(rng, 110.0, 440.0), saw_weights(10, between(rng, 0.8, 2.5))
    wave = between(rng, 0.2, 1.0) * steady(root / 2.0, seconds, weights, rate_hz)
    at, beat, half_life = 0.0, 1.0 / between(rng, 1.0, 6.0), between(rng, 0.08, 1.0)
    while at < seconds:
        lasts = beat * one_of(rng, (1.0, 1.0, 2.0))
        for note in rng.choice(SCALE, size=int(rng.integers(2, 5)), replace=False):
            hertz = root * one_of(rng, (1.0, 2.0)) * 2.0 ** (int(note) / 12.0)
            add_at(wave, length(at, rate_hz), _note(hertz, lasts, weights, half_life, rate_hz))
        at += lasts
    return finished(wave)


def _note(hertz: float, lasts: float, weights: list[float], half_life: float, rate_hz: int) -> Wave:
    tone = steady(hertz, lasts, weights, rate_hz) * gate([(0.0, lasts)], lasts, rate_hz, 0.01)
    return tone * decay(lasts, half_life, rate_hz)


def whistling(seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Samples:
    """Birds or a person whistling: short glides of 1 to 5 kHz with rests, no two alike."""
    wave, at = np.zeros(length(seconds, rate_hz)), between(rng, 0.0, 0.3)
    while at < seconds:
        lasts = between(rng, 0.05, 0.5)
        start, end = between(rng, 1_000.0, 5_000.0), between(rng, 0.7, 1.4)
        glide = start * end ** (clock(lasts, rate_hz) / lasts)
        add_at(
            wave,
            length(at, rate_hz),
            between(rng, 0.4, 1.0)
            * partials(glide, (1.0, 0.1), rate_hz)
            * gate([(0.0, lasts)], lasts, rate_hz, 0.02),
        )
        at += lasts + float(rng.exponential(0.3))
    return finished(wave)
