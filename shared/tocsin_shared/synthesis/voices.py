"""Speech-like sound: nobody's voice, but its rhythm and its resonances."""

import numpy as np

from tocsin_shared.features import Samples
from tocsin_shared.synthesis.levels import finished
from tocsin_shared.synthesis.tones import Wave, band_pass, between, clock, coloured_noise, gate, length

VOWELS = (
    (730.0, 1_090.0, 2_440.0),
    (270.0, 2_290.0, 3_010.0),
    (300.0, 870.0, 2_240.0),
    (530.0, 1_840.0, 2_480.0),
    (570.0, 840.0, 2_410.0),
    (660.0, 1_720.0, 2_410.0),
)
"""First three formants of vowels, hertz (men's averages of Peterson and Barney, JASA 24, 1952)."""
WIDTHS_HZ = (80.0, 100.0, 150.0)
CONTROL_HZ = 200
"""Pitch and formants move slowly: they are worked out this often and interpolated."""


def speech(seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Samples:
    """Syllables at 3 to 6 in a second, in phrases of 3 to 9 with pauses of 0.15 to 0.8 s between.

    A pulse train of 90 to 260 Hz is shaped by the formants of one vowel after another; about half of
    the syllables begin with a hiss, as consonants do.
    """
    syllables = _syllables(seconds, rng)
    voiced = gate(syllables, seconds, rate_hz, 0.04) * _voice(syllables, seconds, rng, rate_hz)
    voiced /= max(float(np.max(np.abs(voiced), initial=0.0)), 1e-9)
    return finished(voiced + _hisses(syllables, seconds, rng, rate_hz))


def _syllables(seconds: float, rng: np.random.Generator) -> list[tuple[float, float]]:
    rate, at, left = between(rng, 3.0, 6.0), between(rng, 0.0, 0.1), int(rng.integers(3, 10))
    found = []
    while at < seconds:
        lasts = between(rng, 0.6, 1.3) / rate
        found.append((at, at + 0.85 * lasts))
        at, left = at + lasts, left - 1
        if left == 0:
            at, left = at + between(rng, 0.15, 0.8), int(rng.integers(3, 10))
    return found


def _voice(
    syllables: list[tuple[float, float]], seconds: float, rng: np.random.Generator, rate_hz: int
) -> Wave:
    time, control = clock(seconds, rate_hz), np.arange(0.0, seconds + 2.0 / CONTROL_HZ, 1.0 / CONTROL_HZ)
    pitch = _pitch(control, rng)
    tract = between(rng, 0.95, 1.2)
    formants = _formants(syllables, control, tract, rng)
    phase = 2.0 * np.pi * np.cumsum(np.interp(time, control, pitch)) / rate_hz
    wave = np.zeros_like(time)
    for number in range(1, max(2, int(4_500.0 / pitch.max())) + 1):
        strength = _resonance(number * pitch, formants) / number
        wave += np.interp(time, control, strength) * np.sin(number * phase)
    return wave


def _pitch(control: Wave, rng: np.random.Generator) -> Wave:
    """Pitch that falls a little within each phrase and wavers."""
    base = between(rng, 90.0, 240.0)
    slow = 0.12 * np.sin(2.0 * np.pi * between(rng, 0.2, 0.6) * control + between(rng, 0.0, 6.0))
    fast = 0.05 * np.sin(2.0 * np.pi * between(rng, 1.5, 4.0) * control + between(rng, 0.0, 6.0))
    return base * (1.0 + slow + fast)


def _formants(
    syllables: list[tuple[float, float]], control: Wave, tract: float, rng: np.random.Generator
) -> Wave:
    """Formants over time, shape (3, len(control)), gliding from one syllable's vowel to the next."""
    middles = [0.5 * (start + end) for start, end in syllables]
    vowels = np.array([VOWELS[int(rng.integers(len(VOWELS)))] for _ in middles]) * tract
    return np.stack([np.interp(control, middles, vowels[:, number]) for number in range(3)])


def _resonance(hertz: Wave, formants: Wave) -> Wave:
    strength = np.full_like(hertz, 0.02)
    for number, width in enumerate(WIDTHS_HZ):
        strength += 0.7**number / (1.0 + ((hertz - formants[number]) / width) ** 2)
    return strength


def _hisses(
    syllables: list[tuple[float, float]], seconds: float, rng: np.random.Generator, rate_hz: int
) -> Wave:
    pulses = [
        (max(0.0, start - between(rng, 0.03, 0.1)), start) for start, _ in syllables if rng.random() < 0.5
    ]
    noise = coloured_noise(length(seconds, rate_hz), 0.0, rng)
    return (
        between(rng, 0.03, 0.15)
        * band_pass(noise, between(rng, 1_500.0, 3_500.0), 7_000.0, rate_hz)
        * gate(pulses, seconds, rate_hz, 0.015)
    )
