"""Fire, gas and machine alarms, made from what the standards say about them.

Sources of patterns: ISO 8201 and ANSI/ASA S3.41 (three-pulse evacuation signal, T3), NFPA 72 (the
four-pulse carbon monoxide signal T4, and the low-frequency sounder), IEC 60601-1-8 (bursts of medical
equipment). Every function draws what a standard leaves open, and the tolerance that it allows, from
the generator that it is given.
"""

import numpy as np

from tocsin_shared.features import Samples
from tocsin_shared.synthesis.levels import finished
from tocsin_shared.synthesis.tones import (
    Pulses,
    Wave,
    between,
    clock,
    gate,
    one_of,
    partials,
    repeat,
    saw_weights,
    square_weights,
    steady,
    uneven,
)

TOLERANCE = 0.08
"""Share by which a drawn time may differ from its nominal value; the standards allow 0.10."""
PIEZO_HZ = (2_900.0, 3_400.0)
"""Usual range of the piezo disc of a smoke alarm, around 3.1 kHz."""
LOW_FREQUENCY_HZ = 520.0
"""Fundamental of the square wave that wakes people with hearing loss better (NFPA 72; ± 10 %)."""


def t3_pulses(seconds: float, stretch: float = 1.0) -> list[tuple[float, float]]:
    """Pulses of the three-pulse temporal pattern of ISO 8201 and ANSI/ASA S3.41, starting with one.

    Each half a second on and half a second off, three times, the last off lasting 1.5 s: a period of
    4 s. Every time may differ by 10 %; ``stretch`` multiplies them all.
    """
    cycle = [(at * stretch, (at + 0.5) * stretch) for at in (0.0, 1.0, 2.0)]
    return repeat(cycle, 4.0 * stretch, seconds)


def t4_pulses(seconds: float, stretch: float = 1.0) -> list[tuple[float, float]]:
    """Pulses of the four-pulse carbon monoxide pattern of NFPA 72, starting with one.

    Four of 0.1 s on and 0.1 s off, then 5 s of silence: a period of 5.7 s. Every time may differ by
    10 %; ``stretch`` multiplies them all.
    """
    cycle = [(at * stretch, (at + 0.1) * stretch) for at in (0.0, 0.2, 0.4, 0.6)]
    return repeat(cycle, 5.7 * stretch, seconds)


def t3_alarm(seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Samples:
    """A fire alarm in T3, by a piezo disc, a 520 Hz square sounder or a horn."""
    return _alarm(t3_pulses(seconds, _stretch(rng)), seconds, rng, rate_hz)


def t4_alarm(seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Samples:
    """A carbon monoxide alarm in T4, by a piezo disc."""
    wave = piezo(seconds, rng, rate_hz) * gate(t4_pulses(seconds, _stretch(rng)), seconds, rate_hz)
    return finished(wave)


def continuous_alarm(seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Samples:
    """An older smoke alarm: a piezo disc that does not stop, or stops for a blink every second or so."""
    pulses: Pulses = [(0.0, seconds)]
    if rng.random() < 0.5:
        period = between(rng, 0.5, 1.5)
        pulses = repeat([(0.0, period - between(rng, 0.02, 0.1))], period, seconds)
    return finished(piezo(seconds, rng, rate_hz) * gate(pulses, seconds, rate_hz))


def _alarm(pulses: Pulses, seconds: float, rng: np.random.Generator, rate_hz: int) -> Samples:
    carriers = (piezo, piezo, low_frequency, horn)
    carrier = carriers[int(rng.integers(len(carriers)))]
    return finished(carrier(seconds, rng, rate_hz) * gate(pulses, seconds, rate_hz))


def piezo(seconds: float, rng: np.random.Generator, rate_hz: int) -> Wave:
    """Tone of a piezo disc near 3.1 kHz, with a weak second harmonic and a little drift."""
    return _drifting(between(rng, *PIEZO_HZ), seconds, (1.0, between(rng, 0.02, 0.2)), rng, rate_hz)


def low_frequency(seconds: float, rng: np.random.Generator, rate_hz: int) -> Wave:
    """The 520 Hz square wave of NFPA 72, within 8 % of its frequency."""
    hertz = LOW_FREQUENCY_HZ * between(rng, 1.0 - TOLERANCE, 1.0 + TOLERANCE)
    return steady(hertz, seconds, square_weights(), rate_hz)


def horn(seconds: float, rng: np.random.Generator, rate_hz: int) -> Wave:
    """A notification horn: a rough tone of 500 to 1,000 Hz with strong high harmonics."""
    weights = [
        weight * (3.0 if number in {3, 4, 5} else 1.0) for number, weight in enumerate(saw_weights(15), 1)
    ]
    wave = _drifting(between(rng, 500.0, 1_000.0), seconds, weights, rng, rate_hz)
    rough = 1.0 + between(rng, 0.0, 0.6) * np.sin(
        2.0 * np.pi * between(rng, 60.0, 120.0) * clock(seconds, rate_hz)
    )
    return wave * rough


def machine_alarm_beeps(seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Samples:
    """Beeps of a machine, a medical monitor or a clock that call for somebody."""
    kinds = (
        machine_beeps,
        slow_beeps,
        two_tone_beeps,
        gas_alarm,
        clock_beeps,
        medical_beeps,
        medical_beeps,
        ringing_bell,
    )
    return kinds[int(rng.integers(len(kinds)))](seconds, rng, rate_hz)


def machine_beeps(seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Samples:
    """An even train of beeps of a buzzer, 0.8 to 4 kHz, 0.06 to 0.3 s long, 1.4 to six in a second."""
    period = between(rng, 1.0 / 6.0, 0.7)
    on = min(between(rng, max(0.06, 0.12 * period), 0.3), 0.6 * period)
    wave = _drifting(between(rng, 800.0, 4_000.0), seconds, _buzzer(rng), rng, rate_hz)
    return finished(wave * gate(repeat([(0.0, on)], period, seconds), seconds, rate_hz))


def slow_beeps(seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Samples:
    """Longer beeps of 1.5 to 2.7 kHz, 0.25 to 0.6 s on and as long or longer off, below a piezo's pitch."""
    on = between(rng, 0.25, 0.6)
    wave = _drifting(between(rng, 1_500.0, 2_700.0), seconds, _buzzer(rng), rng, rate_hz)
    pulses = repeat([(0.0, on)], on * between(rng, 1.5, 3.0), seconds)
    return finished(wave * gate(pulses, seconds, rate_hz))


def clock_beeps(seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Samples:
    """An alarm clock: two to four beeps of 0.05 to 0.1 s near 2 kHz in each second, then a rest."""
    on, count = between(rng, 0.05, 0.1), int(rng.integers(2, 5))
    step, period = on * between(rng, 1.6, 2.2), between(rng, 0.8, 1.2)
    cycle = [(number * step, number * step + on) for number in range(count)]
    wave = _drifting(between(rng, 1_500.0, 2_700.0), seconds, _buzzer(rng), rng, rate_hz)
    return finished(wave * gate(repeat(cycle, period, seconds), seconds, rate_hz))


def ringing_bell(seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Samples:
    """A mechanical alarm clock or a machine's bell, struck 10 to 25 times a second without rest."""
    base = between(rng, 900.0, 2_600.0)
    bell = np.zeros(len(clock(seconds, rate_hz)))
    for ratio in (1.0, between(rng, 1.4, 1.6), between(rng, 2.0, 2.8), between(rng, 3.0, 4.2)):
        bell += between(rng, 0.3, 1.0) * steady(base * ratio, seconds, (1.0,), rate_hz)
    since_strike = (clock(seconds, rate_hz) * between(rng, 10.0, 25.0)) % 1.0
    return finished(bell * np.exp2(-since_strike * between(rng, 0.5, 2.5)))


def two_tone_beeps(seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Samples:
    """Equipment that calls with two pitches in turn, 0.1 to 0.3 s each, without rest or in pairs."""
    on, low = between(rng, 0.1, 0.3), between(rng, 500.0, 2_200.0)
    step = on + between(rng, 0.0, 0.15)
    period = 2.0 * step + (between(rng, 0.2, 0.8) if rng.random() < 0.5 else 0.0)
    pulses = repeat([(0.0, on), (step, step + on)], period, seconds)
    pitch = [low * (1.0 if number % 2 else between(rng, 1.12, 1.6)) for number in range(2)] * len(pulses)
    weights = uneven(saw_weights(5, between(rng, 0.8, 2.5)), 4.0, rng)
    return finished(_notes(pulses, pitch[: len(pulses)], weights, seconds, rate_hz))


def gas_alarm(seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Samples:
    """A detector of gas: piezo beeps in threes to fives and a rest, or two pitches in quick turn."""
    low, on = between(rng, 1_800.0, 3_000.0), between(rng, 0.06, 0.15)
    if rng.random() < 0.5:
        high = low * between(rng, 1.1, 1.5)
        turns = np.floor(clock(seconds, rate_hz) / on) % 2 > 0
        return finished(partials(np.where(turns, high, low), _buzzer(rng), rate_hz))
    count = int(rng.integers(3, 6))
    cycle = [(number * 2.0 * on, number * 2.0 * on + on) for number in range(count)]
    pulses = repeat(cycle, count * 2.0 * on + between(rng, 0.3, 1.5), seconds)
    return finished(_drifting(low, seconds, _buzzer(rng), rng, rate_hz) * gate(pulses, seconds, rate_hz))


def medical_beeps(seconds: float, rng: np.random.Generator, rate_hz: int = 16_000) -> Samples:
    """Bursts after IEC 60601-1-8: three pulses (medium priority) or three and two (high priority).

    Pulses of 125 to 250 ms (medium) or 75 to 200 ms (high), a fundamental of 150 to 1,000 Hz with at
    least four harmonics. A burst comes again after 0.4 to 5 s here, where the standard leaves more room.
    """
    high = rng.random() < 0.5
    on = between(rng, 0.075, 0.2) if high else between(rng, 0.125, 0.25)
    step = on + between(rng, 0.05, 0.125) if high else on + between(rng, 0.125, 0.25)
    starts = [number * step for number in range(3)]
    starts += [3.0 * step + 0.2 + number * step for number in range(2)] if high else []
    rest = between(rng, 0.4, 2.5) if rng.random() < 0.7 else between(rng, 2.5, 5.0)
    pulses = repeat([(at, at + on) for at in starts], starts[-1] + on + rest, seconds)
    pitch = _melody(pulses, between(rng, 250.0, 1_000.0), rng)
    weights = uneven(saw_weights(8, between(rng, 0.2, 1.5)), 5.0, rng)
    return finished(_notes(pulses, pitch, weights, seconds, rate_hz))


def _melody(pulses: Pulses, base_hz: float, rng: np.random.Generator) -> list[float]:
    if rng.random() < 0.5:
        return [base_hz] * len(pulses)
    steps = [2.0 ** (int(rng.integers(-4, 5)) / 12.0) for _ in range(5)]
    return [base_hz * steps[number % 5] for number in range(len(pulses))]


def _notes(pulses: Pulses, pitch: list[float], weights: list[float], seconds: float, rate_hz: int) -> Wave:
    time = clock(seconds, rate_hz)
    frequency = np.full(len(time), pitch[0])
    for (start, _), hertz in zip(pulses, pitch, strict=True):
        frequency[time >= start] = hertz
    return partials(frequency, weights, rate_hz) * gate(pulses, seconds, rate_hz, 0.01)


def _buzzer(rng: np.random.Generator) -> tuple[float, ...]:
    """Harmonics of a buzzer: nearly a sine, or nearly a square wave."""
    return (1.0, between(rng, 0.0, 0.2), one_of(rng, (0.0, 0.1, 0.3)))


def _drifting(
    hertz: float,
    seconds: float,
    weights: "tuple[float, ...] | list[float]",
    rng: np.random.Generator,
    rate_hz: int,
) -> Wave:
    """A tone whose pitch wanders by up to half a percent, as cheap oscillators do."""
    wander = 1.0 + 0.005 * rng.random() * np.sin(
        2.0 * np.pi * between(rng, 0.1, 3.0) * clock(seconds, rate_hz)
    )
    return partials(hertz * wander, weights, rate_hz)


def _stretch(rng: np.random.Generator) -> float:
    return between(rng, 1.0 - TOLERANCE, 1.0 + TOLERANCE)
