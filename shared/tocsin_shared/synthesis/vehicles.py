"""Vehicles: horns and reversing beepers."""

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
    repeat,
    saw_weights,
    steady,
    uneven,
)


def vehicle_horn(seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Samples:
    """Blasts of one car or truck horn, 0.15 to 2.5 s long with short rests, as impatient drivers do."""
    blast = truck_horn if rng.random() < 0.3 else car_horn
    wave, at = np.zeros(length(seconds, rate_hz)), 0.0
    tone = blast(seconds, rng, rate_hz)
    while at < seconds:
        lasts = between(rng, 0.15, 0.7) if rng.random() < 0.5 else between(rng, 0.7, 2.5)
        piece = gate([(0.0, lasts)], lasts, rate_hz, 0.02)
        add_at(wave, length(at, rate_hz), piece * tone[: len(piece)] if len(piece) <= len(tone) else tone)
        at += lasts + between(rng, 0.1, 0.8)
    return finished(wave)


def car_horn(seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Wave:
    """Two discs, 330 to 480 Hz and about a third above, with harmonics strongest at 1 to 3 kHz."""
    low = between(rng, 330.0, 480.0)
    high = low * between(rng, 1.1, 1.4)
    tones = [low] if rng.random() < 0.2 else [low, high]
    weights = _formant_weights(between(rng, 1_200.0, 2_800.0), low, rng)
    return _chord(tones, seconds, weights, rng, rate_hz)


def truck_horn(seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Wave:
    """Air horns of a truck: two or three trumpets of 120 to 350 Hz, rich in harmonics."""
    low = between(rng, 120.0, 240.0)
    tones = [low * ratio for ratio in (1.0, 1.26, 1.5)[: int(rng.integers(2, 4))]]
    weights = _formant_weights(between(rng, 600.0, 1_500.0), low, rng)
    return _chord(tones, seconds, weights, rng, rate_hz)


def reversing_beeper(seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Samples:
    """A reversing vehicle: one tone of 1,000 to 2,800 Hz, or a hiss, on for half of every second or so.

    SAE J994 wants a predominant frequency of 700 to 2,800 Hz and as long on as off; most piezo beepers sound
    near 1.2 kHz. Broadband ones give bursts of noise instead, which are easier to place.
    """
    period, share = between(rng, 0.7, 1.3), between(rng, 0.4, 0.6)
    if rng.random() < 0.25:
        noise = coloured_noise(length(seconds, rate_hz), 0.3, rng)
        wave = band_pass(noise, between(rng, 300.0, 900.0), between(rng, 4_000.0, 7_500.0), rate_hz)
    else:
        hertz = between(rng, 1_000.0, 1_500.0) if rng.random() < 0.75 else between(rng, 1_500.0, 2_800.0)
        wave = steady(hertz, seconds, (1.0, between(rng, 0.0, 0.2), between(rng, 0.0, 0.4)), rate_hz)
    pulses = repeat([(0.0, share * period)], period, seconds)
    return finished(wave * gate(pulses, seconds, rate_hz))


def _chord(
    tones: list[float], seconds: float, weights: list[float], rng: np.random.Generator, rate_hz: int
) -> Wave:
    wave = np.zeros(length(seconds, rate_hz))
    for hertz in tones:
        wave += _blown(hertz, seconds, weights, rng, rate_hz)
    return wave


def _blown(
    hertz: float, seconds: float, weights: list[float], rng: np.random.Generator, rate_hz: int
) -> Wave:
    """A tone that settles by a few percent during its first tenth of a second."""
    settling = 1.0 - between(rng, 0.0, 0.04) * np.exp(-clock(seconds, rate_hz) / 0.04)
    return partials(hertz * settling, weights, rate_hz)


def _formant_weights(peak_hz: float, low_hz: float, rng: np.random.Generator) -> list[float]:
    """Falling harmonics with a broad peak at ``peak_hz``, where the trumpet or disc resonates."""
    count = 40
    hertz = low_hz * np.arange(1, count + 1)
    peak = 1.0 + between(rng, 2.0, 8.0) * np.exp(-(((hertz - peak_hz) / (0.5 * peak_hz)) ** 2))
    falling = uneven(saw_weights(count, between(rng, 0.6, 1.4)), 5.0, rng)
    return [float(weight * gain) for weight, gain in zip(falling, peak, strict=True)]
