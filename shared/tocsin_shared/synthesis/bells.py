"""Telephones and door bells: somebody wants something, and nothing is on fire."""

import numpy as np

from tocsin_shared.features import Samples
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
    square_weights,
    steady,
    uneven,
)

SCALE = (0, 2, 4, 7, 9, 12)
"""Half-tones of a pentatonic scale, of which most ringtones are made."""


def phone_or_door_bell(seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Samples:
    """One of the bells below, drawn evenly."""
    kinds = (struck_bells, warble, ringtone, ding_dong, door_buzzer)
    return kinds[int(rng.integers(len(kinds)))](seconds, rng, rate_hz)


def struck_bells(seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Samples:
    """An old telephone: a clapper between two bells, 20 to 30 strokes a second, in rings of 0.4 to 2 s."""
    strokes, wave = between(rng, 18.0, 30.0), np.zeros(length(seconds, rate_hz))
    for base in (between(rng, 800.0, 1_600.0), between(rng, 900.0, 1_900.0)):
        bell = np.zeros(len(wave))
        for ratio in (1.0, between(rng, 1.9, 2.2), between(rng, 2.6, 3.3), between(rng, 3.8, 4.6)):
            bell += between(rng, 0.2, 1.0) * steady(base * ratio, seconds, (1.0,), rate_hz)
        since = (clock(seconds, rate_hz) * strokes / 2.0 + rng.random()) % 1.0
        wave += bell * np.exp2(-since * between(rng, 0.5, 3.0))
    return finished(wave * gate(_rings(seconds, rng), seconds, rate_hz, 0.02))


def warble(seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Samples:
    """An electronic telephone: two or three tones in quick turn, 10 to 25 times a second."""
    notes = between(rng, 450.0, 1_600.0) * np.cumprod([1.0, between(rng, 1.1, 1.35), between(rng, 1.05, 1.3)])
    turn = np.floor(clock(seconds, rate_hz) * between(rng, 10.0, 25.0)).astype(int) % int(rng.integers(2, 4))
    weights = square_weights(9) if rng.random() < 0.4 else [1.0, 0.4, 0.2]
    return finished(
        partials(notes[turn], weights, rate_hz) * gate(_rings(seconds, rng), seconds, rate_hz, 0.02)
    )


def ringtone(seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Samples:
    """A short melody of plucked or struck notes that comes again and again, as mobile telephones ring."""
    beat, root = 1.0 / between(rng, 5.0, 12.0), between(rng, 400.0, 1_200.0)
    weights = uneven(saw_weights(6, between(rng, 1.0, 2.5)), 4.0, rng)
    steps = [one_of(rng, SCALE) for _ in range(int(rng.integers(4, 13)))]
    silent = rng.random(len(steps)) < 0.2
    half_life, rest = between(rng, 0.03, 0.3), between(rng, 0.0, 1.0)
    wave, at = np.zeros(length(seconds, rate_hz)), 0.0
    while at < seconds:
        for step, left_out in zip(steps, silent, strict=True):
            if not left_out:
                tone = steady(root * 2.0 ** (step / 12.0), 4.0 * half_life, weights, rate_hz)
                struck = tone * decay(4.0 * half_life, half_life, rate_hz)
                add_at(wave, length(at, rate_hz), struck)
            at += beat
        at += rest
    return finished(wave)


def ding_dong(seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Samples:
    """A chime of two to four struck bars, each ringing on into the next, the first the highest."""
    top, wave = between(rng, 500.0, 1_100.0), np.zeros(length(seconds, rate_hz))
    notes = [top * 2.0 ** (-step / 12.0) for step in (0.0, 4.0, 7.0, 3.0)[: int(rng.integers(2, 5))]]
    apart, half_life, at = between(rng, 0.25, 0.8), between(rng, 0.15, 0.7), 0.0
    second, third = between(rng, 2.6, 3.1), between(rng, 5.0, 5.8)
    while at < seconds:
        for note in notes:
            lasts = min(5.0 * half_life, 3.0)
            bar = sum(
                (steady(note * r, lasts, (1.0,), rate_hz) * decay(lasts, half_life / r, rate_hz) / r**0.7
                 for r in (1.0, second, third)),
                np.zeros(length(lasts, rate_hz)),
            )  # fmt: skip
            add_at(wave, length(at, rate_hz), bar)
            at += apart
        at += between(rng, 0.8, 3.0)
    return finished(wave)


def door_buzzer(seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Samples:
    """A door buzzer: a plate that mains current of 50 or 60 Hz rattles 100 or 120 times a second."""
    weights = uneven(saw_weights(40, between(rng, 0.0, 0.7)), 5.0, rng)
    wave: Wave = steady(one_of(rng, (100.0, 120.0)), seconds, weights, rate_hz)
    press, rest = between(rng, 0.3, 1.5), between(rng, 0.3, 2.0)
    return finished(wave * gate(repeat([(0.0, press)], press + rest, seconds), seconds, rate_hz, 0.01))


def _rings(seconds: float, rng: np.random.Generator) -> list[tuple[float, float]]:
    """One long ring or two short ones, then a rest of 0.8 to 4 s, as telephone networks have it."""
    if rng.random() < 0.5:
        ring = between(rng, 0.8, 2.0)
        return repeat([(0.0, ring)], ring + between(rng, 0.8, 4.0), seconds)
    ring, gap = between(rng, 0.3, 0.6), between(rng, 0.15, 0.4)
    cycle = [(0.0, ring), (ring + gap, 2.0 * ring + gap)]
    return repeat(cycle, 2.0 * ring + gap + between(rng, 0.8, 2.5), seconds)
