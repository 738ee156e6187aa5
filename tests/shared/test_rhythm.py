"""Standard rhythms: matched over the whole range that the standards allow, and only then."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin_shared.rhythm import T3, T4, Match, Pattern, Pulse, match, strongest

TIMES = {T3: (0.5, 0.5, 1.5), T4: (0.1, 0.1, 5.0)}
"""On, off and pause of each standard, seconds."""
PATTERNS = st.sampled_from([T3, T4])
SHARE = st.floats(-0.1, 0.1)


def cycles(pattern: Pattern, count: int, shares: Sequence[float], begin: float = 0.0) -> list[Pulse]:
    """``count`` cycles whose every time differs from the standard by the next of ``shares``, in turn."""
    on, off, pause = TIMES[pattern]
    pulses, at, place = [], begin, 0
    for _ in range(count):
        for number in range(pattern.pulses):
            lasts = on * (1.0 + shares[place % len(shares)])
            gap = (off if number < pattern.pulses - 1 else pause) * (1.0 + shares[(place + 1) % len(shares)])
            pulses.append(Pulse(at, at + lasts))
            at, place = at + lasts + gap, place + 2
    return pulses


def found(pulses: Sequence[Pulse], pattern: Pattern) -> Match | None:
    return match(pulses, pattern, pulses[-1].end + pattern.rest + 0.5)


@given(PATTERNS, st.lists(SHARE, min_size=1, max_size=24), st.floats(0.0, 1e5))
def test_every_time_may_differ_by_a_tenth(pattern: Pattern, shares: list[float], begin: float) -> None:
    pulses = cycles(pattern, 3, shares, begin)
    one = found(pulses, pattern)
    assert one is not None
    assert (one.rhythm, one.cycles) == (pattern.rhythm, 3)
    assert (one.start, one.end) == (pulses[0].start, pulses[-1].end)


@given(PATTERNS, st.lists(SHARE, min_size=1, max_size=24), st.lists(st.floats(-0.2, 0.2), min_size=12))
def test_the_duty_cycle_may_drift(pattern: Pattern, shares: list[float], drifts: list[float]) -> None:
    on = TIMES[pattern][0]
    pulses = [
        Pulse(pulse.start, pulse.end + drifts[number % len(drifts)] * on)
        for number, pulse in enumerate(cycles(pattern, 2, shares))
    ]
    one = found(pulses, pattern)
    assert one is not None
    assert one.cycles == 2


@given(PATTERNS, SHARE, st.integers(0, 3))
def test_a_cycle_between_may_lack_any_one_pulse(pattern: Pattern, stretch: float, lacking: int) -> None:
    pulses = cycles(pattern, 3, [stretch])
    del pulses[pattern.pulses + lacking % pattern.pulses]
    one = found(pulses, pattern)
    assert one is not None
    assert one.cycles == 2
    assert one.start == pulses[0].start


@given(PATTERNS, st.floats(0.05, 1.9), st.floats(0.2, 0.8), st.integers(3, 40))
def test_a_beeper_that_never_rests_has_no_cycle(
    pattern: Pattern, period: float, duty: float, count: int
) -> None:
    pulses = [Pulse(number * period, (number + duty) * period) for number in range(count)]
    for number in range(1, count + 1):
        heard = pulses[:number]
        while_it_sounds = match(heard, pattern, heard[-1].end + period * (1.0 - duty))
        assert while_it_sounds is None or while_it_sounds.cycles < 2


@pytest.mark.parametrize("pattern", [T3, T4], ids=["t3", "t4"])
@pytest.mark.parametrize("extra", [-1, 1])
def test_another_number_of_pulses_is_another_signal(pattern: Pattern, extra: int) -> None:
    on, off, pause = TIMES[pattern]
    period = (pattern.pulses + extra) * (on + off) - off + pause
    pulses = [
        Pulse(cycle * period + number * (on + off), cycle * period + number * (on + off) + on)
        for cycle in range(3)
        for number in range(pattern.pulses + extra)
    ]
    assert found(pulses, pattern) is None


@given(PATTERNS, st.floats(0.6, 1.6).filter(lambda stretch: not 0.7 <= stretch <= 1.3))
def test_a_signal_much_faster_or_slower_is_another_signal(pattern: Pattern, stretch: float) -> None:
    one = found(cycles(pattern, 3, [stretch - 1.0]), pattern)
    assert one is None or one.cycles < 2


@given(PATTERNS)
def test_one_cycle_is_one_and_nothing_is_nothing(pattern: Pattern) -> None:
    assert match([], pattern, 10.0) is None
    one = found(cycles(pattern, 1, [0.0]), pattern)
    assert one is not None
    assert one.cycles == 1


@given(PATTERNS)
def test_a_rhythm_that_has_stopped_is_over_after_a_period(pattern: Pattern) -> None:
    pulses = cycles(pattern, 2, [0.0])
    assert match(pulses, pattern, pulses[-1].end + pattern.period) is not None
    assert match(pulses, pattern, pulses[-1].end + 1.4 * pattern.period) is None


@given(st.lists(st.tuples(st.floats(0, 60), st.floats(0.01, 3)), max_size=40), PATTERNS)
def test_any_pulses_are_borne(spans: list[tuple[float, float]], pattern: Pattern) -> None:
    pulses = [Pulse(start, start + lasts) for start, lasts in sorted(spans)]
    one = match(pulses, pattern, 70.0)
    assert one is None or one.cycles >= 1


def test_of_several_bands_the_one_with_most_cycles_counts() -> None:
    one, two = Match(T3.rhythm, 1, 0.0, 3.0), Match(T3.rhythm, 2, 4.0, 9.0)
    assert strongest([one, two]) == two
    assert strongest([]) is None
