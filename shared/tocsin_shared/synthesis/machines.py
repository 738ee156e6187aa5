"""Engines and power tools: trains of combustion, whining motors, and hammers."""

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
    decay,
    length,
    one_of,
    partials,
    saw_weights,
    uneven,
    wander,
)


def engine(seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Samples:
    """A car, truck or generator that idles at 600 to 1,000 turns a minute, drives, or is revved.

    A four-stroke engine fires half as many times in a turn as it has cylinders; each firing is a blow that
    the exhaust rounds, none quite like the last. Diesels knock in the kilohertz.
    """
    cylinders = int(rng.choice([1, 2, 3, 4, 4, 4, 6, 8]))
    idle = between(rng, 600.0, 1_000.0) / 60.0
    turns = idle * _revving(seconds, rng, rate_hz, between(rng, 1.5, 5.0) if rng.random() < 0.5 else 1.05)
    wave = _firing(turns * cylinders / 2.0, cylinders, rng, rate_hz)
    wave = band_pass(wave, 25.0, between(rng, 250.0, 2_500.0), rate_hz, 1)
    if rng.random() < 0.5:
        knock = band_pass(
            coloured_noise(len(wave), 0.0, rng), 1_000.0, between(rng, 2_500.0, 6_000.0), rate_hz
        )
        wave += (
            between(rng, 0.1, 0.6) * knock * _blows(turns * cylinders / 2.0, between(rng, 4.0, 12.0), rate_hz)
        )
    return finished(wave + between(rng, 0.02, 0.2) * _roar(wave, rng, rate_hz))


def chainsaw_or_power_tool(seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Samples:
    """One of the tools below, switched on and off, or pressed into its work, every second or few."""
    tool = (chainsaw, chainsaw, grinder, drill, hammer)[int(rng.integers(5))]
    return finished(tool(seconds, rng, rate_hz))


def chainsaw(seconds: float, rng: np.random.Generator, rate_hz: int) -> Wave:
    """A two-stroke engine that fires once in a turn: 2,500 turns a minute when idle, up to 12,000 in wood."""
    turns = between(rng, 38.0, 60.0) * _revving(seconds, rng, rate_hz, between(rng, 2.0, 4.0))
    wave = _firing(turns, 3, rng, rate_hz)
    chain = band_pass(coloured_noise(len(wave), 0.5, rng), 1_200.0, 6_500.0, rate_hz)
    load = turns / turns.max()
    chain *= between(rng, 0.1, 0.5) * load**2
    return band_pass(wave, 60.0, 6_000.0, rate_hz, 1) + chain


def grinder(seconds: float, rng: np.random.Generator, rate_hz: int) -> Wave:
    """An angle grinder or circular saw: gears that whine at 0.8 to 3 kHz, and the hiss of what is cut."""
    run = _revving(seconds, rng, rate_hz, between(rng, 1.05, 1.3))
    pitch = between(rng, 800.0, 3_000.0) * run / run.max()
    whine = partials(pitch, uneven(saw_weights(4, between(rng, 0.6, 1.8)), 5.0, rng), rate_hz)
    whine += 0.5 * partials(pitch * between(rng, 0.2, 0.45), uneven(saw_weights(6, 1.0), 5.0, rng), rate_hz)
    hiss = band_pass(coloured_noise(len(whine), 0.3, rng), between(rng, 800.0, 2_500.0), 7_500.0, rate_hz)
    return whine + between(rng, 0.2, 1.2) * hiss * _pressed(seconds, rng, rate_hz)


def drill(seconds: float, rng: np.random.Generator, rate_hz: int) -> Wave:
    """A drill: a motor of 150 to 700 Hz with its gears, hammering 30 to 80 times a second or not."""
    run = _pressed(seconds, rng, rate_hz, 0.15)
    pitch = between(rng, 150.0, 700.0) * (0.3 + 0.7 * run)
    wave = run * partials(pitch, uneven(saw_weights(20, between(rng, 0.3, 1.2)), 6.0, rng), rate_hz)
    if rng.random() < 0.5:
        blows = _blows(np.full(len(wave), between(rng, 30.0, 80.0)), between(rng, 3.0, 8.0), rate_hz)
        wave += run * blows * band_pass(coloured_noise(len(wave), 0.3, rng), 300.0, 6_000.0, rate_hz)
    return wave + 0.1 * run * coloured_noise(len(wave), 0.5, rng)


def hammer(seconds: float, rng: np.random.Generator, rate_hz: int) -> Wave:
    """A jackhammer or an impact wrench: 8 to 30 blows a second, each of which rings."""
    rate, run = between(rng, 8.0, 30.0), _pressed(seconds, rng, rate_hz)
    wave, at, base = np.zeros(length(seconds, rate_hz)), 0.0, between(rng, 150.0, 1_500.0)
    blow = band_pass(
        coloured_noise(length(0.12, rate_hz), 0.5, rng), 80.0, between(rng, 2_000.0, 7_000.0), rate_hz
    )
    blow = blow * decay(0.12, between(rng, 0.004, 0.02), rate_hz)
    for ratio in (1.0, between(rng, 1.5, 2.5), between(rng, 2.7, 5.0)):
        ring = partials(np.full(len(blow), base * ratio), (1.0,), rate_hz)
        blow = blow + between(rng, 0.1, 0.8) * ring * decay(0.12, between(rng, 0.005, 0.03), rate_hz)
    while at < seconds:
        add_at(wave, length(at, rate_hz), between(rng, 0.7, 1.0) * blow)
        at += between(rng, 0.97, 1.03) / rate
    return wave * run


def _firing(rate: Wave, cylinders: int, rng: np.random.Generator, rate_hz: int) -> Wave:
    """Combustion ``rate`` times a second; a cylinder that differs from its neighbours gives half orders.

    No two combustions are alike: pitch and loudness change from one to the next, which makes a rattle of
    what would be a tone.
    """
    seconds, usual = len(rate) / rate_hz, float(np.median(rate))
    uneasy = rate * (1.0 + between(rng, 0.02, 0.1) * wander(seconds, usual, rng, rate_hz))
    orders = uneven(saw_weights(40, between(rng, 0.2, 0.9)), 5.0, rng)
    wave = partials(uneasy, orders, rate_hz)
    half_orders = partials(uneasy / cylinders, uneven(saw_weights(20, 0.6), 6.0, rng), rate_hz)
    wave += between(rng, 0.2, 0.9) * half_orders
    blown = band_pass(coloured_noise(len(wave), 0.5, rng), 50.0, between(rng, 1_500.0, 5_000.0), rate_hz)
    wave += between(rng, 0.3, 1.5) * blown * _blows(uneasy, between(rng, 1.0, 6.0), rate_hz)
    return wave * (1.0 + between(rng, 0.1, 0.4) * wander(seconds, usual, rng, rate_hz))


def _blows(rate: Wave, sharpness: float, rate_hz: int) -> Wave:
    """Envelope with a peak ``rate`` times a second; the larger ``sharpness``, the shorter each is."""
    phase = 2.0 * np.pi * np.cumsum(rate) / rate_hz
    envelope: Wave = np.exp(sharpness * (np.cos(phase) - 1.0))
    return envelope


def _roar(wave: Wave, rng: np.random.Generator, rate_hz: int) -> Wave:
    noise = band_pass(coloured_noise(len(wave), 1.0, rng), 60.0, between(rng, 800.0, 4_000.0), rate_hz)
    return noise * float(np.sqrt(np.mean(wave**2)) if len(wave) else 0.0)


def _revving(seconds: float, rng: np.random.Generator, rate_hz: int, highest: float) -> Wave:
    """Speed over time as a multiple of that at rest: it rises to at most ``highest`` and falls, unevenly."""
    knots = np.arange(0.0, seconds + 2.0, between(rng, 0.4, 2.0))
    heights = 1.0 + (highest - 1.0) * rng.random(len(knots)) ** 1.5
    time = clock(seconds, rate_hz)
    wander = 1.0 + 0.01 * np.sin(2.0 * np.pi * between(rng, 0.5, 4.0) * time)
    speed: Wave = np.interp(time, knots, heights) * wander
    return speed


def _pressed(seconds: float, rng: np.random.Generator, rate_hz: int, edge: float = 0.05) -> Wave:
    """Envelope of a tool that is switched or pressed: 1, with rests at 0 or thereabouts, or none at all."""
    if rng.random() < 0.4:
        return np.ones(length(seconds, rate_hz))
    knots, values, at, on = [0.0], [1.0], 0.0, True
    rest = one_of(rng, (0.0, 0.0, 0.2))
    while at < seconds:
        at += between(rng, 0.4, 2.5)
        knots += [at, at + edge]
        values += [1.0, rest] if on else [rest, 1.0]
        on = not on
    envelope: Wave = np.interp(clock(seconds, rate_hz), knots, values)
    return envelope
