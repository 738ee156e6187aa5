"""Screams, crying and barking: voices without words, and rougher than speech."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tocsin_shared.features import Samples
from tocsin_shared.synthesis.levels import finished
from tocsin_shared.synthesis.tones import (
    Wave,
    add_at,
    band_pass,
    between,
    clock,
    coloured_noise,
    gate,
    length,
    partials,
    wander,
)


def scream(seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Samples:
    """Screams of 0.4 to 2.5 s with a breath between, by one voice of 500 to 1,900 Hz.

    What sets a scream apart is roughness: its loudness swings 30 to 150 times a second (Arnal et al.,
    Current Biology 25, 2015), beside a pitch that leaps up and slides.
    """
    wave, at, base = np.zeros(length(seconds, rate_hz)), 0.0, between(rng, 500.0, 1_500.0)
    tract = (between(rng, 900.0, 1_400.0), between(rng, 1_500.0, 2_600.0), between(rng, 2_800.0, 4_200.0))
    rough, harsh = between(rng, 0.2, 0.6), between(rng, 0.003, 0.025)
    while at < seconds:
        lasts = between(rng, 0.4, 2.5)
        pitch = base * between(rng, 0.9, 1.15) * _arc(lasts, (0.6, 1.3, 1.25, 1.1), rng, rate_hz)
        voice = _voice(pitch, Throat(tract, harsh), rng, rate_hz)
        rate = between(rng, 30.0, 150.0) * (1.0 + 0.2 * wander(lasts, 8.0, rng, rate_hz))
        swing = 1.0 - rough * (0.5 - 0.5 * np.cos(2.0 * np.pi * np.cumsum(rate) / rate_hz))
        breath = band_pass(coloured_noise(len(voice), 0.3, rng), 900.0, 6_500.0, rate_hz)
        loud = voice * swing + between(rng, 0.05, 0.4) * breath * gate([(0.0, lasts)], lasts, rate_hz, 0.05)
        add_at(wave, length(at, rate_hz), loud)
        at += lasts + between(rng, 0.15, 0.9)
    return finished(wave)


def crying(seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Samples:
    """Crying in bursts of 0.4 to 1.5 s, pitch rising and falling over each, with gasps of breath between.

    A baby's fundamental lies at 350 to 600 Hz, an adult's sobs at 180 to 400 Hz and are shorter.
    """
    adult = rng.random() < 0.3
    base = between(rng, 180.0, 400.0) if adult else between(rng, 330.0, 600.0)
    tract = (between(rng, 800.0, 1_200.0), between(rng, 1_600.0, 2_600.0), between(rng, 3_000.0, 4_500.0))
    wave, at = np.zeros(length(seconds, rate_hz)), 0.0
    while at < seconds:
        lasts = between(rng, 0.15, 0.6) if adult else between(rng, 0.4, 1.5)
        pitch = base * between(rng, 0.9, 1.1) * _arc(lasts, (0.75, 1.25, 1.15, 0.9), rng, rate_hz)
        voice = _voice(pitch, Throat(tract, 0.02), rng, rate_hz)
        add_at(wave, length(at, rate_hz), between(rng, 0.5, 1.0) * voice)
        at += lasts + between(rng, 0.05, 0.15)
        gasp = band_pass(coloured_noise(length(0.2, rate_hz), 0.3, rng), 700.0, 5_000.0, rate_hz)
        gasp = gasp * gate([(0.0, 0.2)], 0.2, rate_hz, 0.06)
        add_at(wave, length(at, rate_hz), between(rng, 0.02, 0.15) * gasp)
        at += between(rng, 0.15, 0.6)
    return finished(wave)


def dog_bark(seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Samples:
    """Barks of 0.08 to 0.3 s, alone or in rows, of a small dog (to 1,200 Hz) or a large one (from 250 Hz)."""
    size = rng.random()
    base = 250.0 * (1_200.0 / 250.0) ** size
    tract = (500.0 + 700.0 * size, 1_100.0 + 1_200.0 * size, between(rng, 2_500.0, 4_000.0))
    throat, lasts = Throat(tract, between(rng, 0.02, 0.1)), between(rng, 0.08, 0.3)
    noisy = between(rng, 0.1, 0.7)
    wave, at = np.zeros(length(seconds, rate_hz)), 0.0
    while at < seconds:
        for _ in range(int(rng.integers(1, 5))):
            each = lasts * between(rng, 0.8, 1.2)
            pitch = base * between(rng, 0.93, 1.07) * _arc(each, (0.7, 1.3, 1.1, 0.6), rng, rate_hz)
            voice = _voice(pitch, throat, rng, rate_hz)
            growl = band_pass(coloured_noise(len(voice), 0.5, rng), 0.8 * tract[0], 2.0 * tract[1], rate_hz)
            bark = voice + noisy * growl * gate([(0.0, each)], each, rate_hz, 0.3 * each)
            fading = np.exp2(-between(rng, 1.0, 3.0) * clock(each, rate_hz) / each)
            add_at(wave, length(at, rate_hz), between(rng, 0.6, 1.0) * bark * fading)
            at += each + between(rng, 0.1, 0.35)
        at += between(rng, 0.3, 2.0)
    return finished(wave)


@dataclass(frozen=True)
class Throat:
    """What shapes a voice."""

    resonances_hz: tuple[float, float, float]
    harsh: float
    """Share by which the pitch jumps by chance: 0.01 sounds clear, 0.1 broken."""


def _arc(lasts: float, corners: Sequence[float], rng: np.random.Generator, rate_hz: int) -> Wave:
    """Pitch over a cry, as multiples of the voice's own, through points between 1 and each of ``corners``."""
    points = [between(rng, *sorted((1.0, corner))) for corner in corners]
    arc: Wave = np.interp(clock(lasts, rate_hz), np.linspace(0.0, lasts, len(points)), points)
    return arc


def _voice(pitch: Wave, throat: Throat, rng: np.random.Generator, rate_hz: int) -> Wave:
    """A voiced sound whose fundamental follows ``pitch``, hertz, through a ``throat``.

    The voice trembles, and its harmonics are strong, as those of a pressed voice are.
    """
    lasts = len(pitch) / rate_hz
    trembling = 0.02 * rng.random() * np.sin(2.0 * np.pi * between(rng, 4.0, 9.0) * clock(lasts, rate_hz))
    jitter = throat.harsh * wander(lasts, between(rng, 80.0, 300.0), rng, rate_hz)
    middle = float(np.median(pitch))
    hertz = middle * np.arange(1, max(3, int(7_000.0 / middle)) + 1)
    strength = np.full(len(hertz), 0.05)
    for number, peak in enumerate(throat.resonances_hz):
        strength += 0.8**number / (1.0 + ((hertz - peak) / (0.15 * peak + 80.0)) ** 2)
    slope = between(rng, 0.2, 0.9)
    weights = [float(s * n**-slope) for n, s in enumerate(strength, 1)]
    wave = partials(pitch * (1.0 + trembling + jitter), weights, rate_hz)
    wave *= gate([(0.0, lasts)], lasts, rate_hz, 0.06)
    return wave / max(float(np.max(np.abs(wave), initial=0.0)), 1e-9)
