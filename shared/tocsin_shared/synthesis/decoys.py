"""Sounds that resemble alarms and are none: interface beeps, music, whistling, fans, things that clatter."""

import numpy as np

from tocsin_shared.features import Samples
from tocsin_shared.synthesis.impacts import clicks, clinks, knocks
from tocsin_shared.synthesis.levels import finished
from tocsin_shared.synthesis.tones import (
    Wave,
    add_at,
    band_pass,
    between,
    clock,
    coloured_noise,
    decay,
    gate,
    length,
    one_of,
    partials,
    repeat,
    saw_weights,
    steady,
    uneven,
)

SCALE = (0, 2, 4, 5, 7, 9, 11, 12)
"""Half-tones of a major scale."""


def decoy(seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Samples:
    """One of the sounds below, footsteps, clinks or clicks, drawn evenly."""
    kinds = (interface_beeps, music, tune, whistling, hum, water, knocks, clinks, clicks)
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


def tune(seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Samples:
    """A melody of one voice over a beat: sung, bowed or blown notes that tremble, and drums."""
    root, beat = between(rng, 150.0, 500.0), 1.0 / between(rng, 1.5, 5.0)
    weights, depth = saw_weights(12, between(rng, 0.6, 2.0)), between(rng, 0.0, 0.02)
    wave, at = np.zeros(length(seconds, rate_hz)), 0.0
    drum = coloured_noise(length(0.2, rate_hz), between(rng, 0.0, 2.0), rng) * decay(0.2, 0.03, rate_hz)
    while at < seconds:
        lasts = beat * one_of(rng, (0.5, 1.0, 1.0, 2.0))
        hertz = root * 2.0 ** (one_of(rng, SCALE) / 12.0)
        trembling = hertz * (1.0 + depth * np.sin(2.0 * np.pi * 5.5 * clock(lasts, rate_hz)))
        note = partials(trembling, weights, rate_hz) * gate([(0.0, lasts)], lasts, rate_hz, 0.03)
        add_at(wave, length(at, rate_hz), note)
        add_at(wave, length(at, rate_hz), between(rng, 0.0, 0.8) * drum)
        at += lasts
    return finished(wave)


def hum(seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Samples:
    """Fans, transformers and pumps: a steady hum of mains or of blades under a rush of air."""
    hertz = one_of(rng, (50.0, 60.0, 100.0, 120.0)) if rng.random() < 0.5 else between(rng, 80.0, 400.0)
    tone = steady(hertz, seconds, uneven(saw_weights(20, between(rng, 0.5, 2.0)), 6.0, rng), rate_hz)
    air = band_pass(coloured_noise(len(tone), 1.0, rng), 40.0, between(rng, 1_000.0, 6_000.0), rate_hz)
    return finished(tone + between(rng, 0.3, 5.0) * air)


def water(seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Samples:
    """Water, steam or compressed air that is let out and stopped again."""
    noise = coloured_noise(length(seconds, rate_hz), between(rng, -0.5, 1.0), rng)
    jet = band_pass(noise, between(rng, 200.0, 2_500.0), between(rng, 4_000.0, 7_500.0), rate_hz)
    on, rest = between(rng, 0.3, 4.0), between(rng, 0.3, 3.0)
    return finished(jet * gate(repeat([(0.0, on)], on + rest, seconds), seconds, rate_hz, 0.1))


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
