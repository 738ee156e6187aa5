"""Standard alarm rhythms, T3 of a fire and T4 of carbon monoxide, found in pulses of sound.

Pure rules: times in seconds in, matches out; no clock, no numpy, no sound. Pulses come from
:mod:`tocsin_shared.pulses`.

Sources: ISO 8201 and ANSI/ASA S3.41 (three-pulse pattern: 0.5 s on, 0.5 s off, the third off 1.5 s) and
NFPA 72 with UL 2034 (four-pulse pattern: 0.1 s on, 0.1 s off, the fourth off 5 s), every time ± 10 %.

What is compared is mostly when pulses begin: a room that rings, or a sounder whose duty cycle drifts,
moves their ends by far more than the standards allow. A *whole cycle* is the right number of pulses with
the right distances and lengths, alone between two rests. Cycles count together when they stand one period
apart, or two periods with a cycle between that lacks one pulse. So a beeper that never rests has no cycle,
however regular it is.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from tocsin_shared.events import Rhythm

TOLERANCE = 0.10
"""Share by which the standards let every time differ."""
CYCLES = 2
"""Whole cycles that make a rhythm; one alone comes about by chance some 25 times in an hour of speech."""
CYCLES_ALONE = 3
"""Whole cycles that may be told where nothing else speaks for an alarm: dense music has two of T3 by chance
about once in half an hour."""


@dataclass(frozen=True)
class Pulse:
    """A stretch of sound in one band."""

    start: float
    """Seconds."""
    end: float
    """Seconds; that of the newest pulse is the present while it still sounds."""


@dataclass(frozen=True)
class Pattern:
    """One rhythm; lengths in seconds."""

    rhythm: Rhythm
    pulses: int
    """In one cycle."""
    step: float
    """From the begin of a pulse to that of the next one in the cycle."""
    period: float
    """From the begin of a cycle to that of the next."""
    shortest_on: float
    longest_on: float
    """Limits of a pulse: those of the standard, and room for tails and for drift of the duty cycle."""
    rest: float
    """A gap at least this long parts cycles; between the longest gap in a cycle and the shortest pause."""
    blur: float
    """How far off the begin of a pulse may be measured."""

    @property
    def memory(self) -> float:
        """Length of sound in which all that counts together can lie: three cycles and the last rest."""
        return 3.0 * self.period * (1.0 + TOLERANCE) + self.rest

    @property
    def patience(self) -> float:
        """Longest time from the end of a cycle to when the next one is known to be whole."""
        return (1.0 + TOLERANCE) * self.period + self.rest


T3 = Pattern(Rhythm.T3, 3, 1.0, 4.0, shortest_on=0.3, longest_on=0.8, rest=0.9, blur=0.04)
T4 = Pattern(Rhythm.T4, 4, 0.2, 5.7, shortest_on=0.03, longest_on=0.18, rest=1.5, blur=0.03)
PATTERNS = (T3, T4)


@dataclass(frozen=True)
class Match:
    """A rhythm that is sounding."""

    rhythm: Rhythm
    cycles: int
    """Whole cycles that count together: one is a hint, two are the rhythm."""
    start: float
    """Begin of the first of them, seconds."""
    end: float
    """End of the last pulse of the last of them, seconds."""


def match(pulses: Sequence[Pulse], pattern: Pattern, now: float) -> Match | None:
    """``pattern`` among ``pulses`` of one band, oldest first, if its last whole cycle ended lately.

    Lately is within the ``patience`` of the pattern, so that a rhythm which goes on matches without a break.
    """
    whole = [group for group in _groups(pulses, pattern, now) if _is_whole(group, pattern)]
    if not whole or now - whole[-1][-1].end > pattern.patience:
        return None
    first, count = whole[-1], 1
    for group in reversed(whole[:-1]):
        if not _belong(group, first, pulses, pattern):
            break
        first, count = group, count + 1
    return Match(pattern.rhythm, count, first[0].start, whole[-1][-1].end)


def strongest(matches: Sequence[Match]) -> Match | None:
    """The match with the most cycles, of several bands; the one that began first among equals."""
    return max(matches, key=lambda one: (one.cycles, -one.start), default=None)


def _groups(pulses: Sequence[Pulse], pattern: Pattern, now: float) -> list[list[Pulse]]:
    """``pulses`` parted by rests; the last group only when its rest is over."""
    groups: list[list[Pulse]] = []
    last_end = -math.inf
    for pulse in pulses:
        if pulse.start - last_end >= pattern.rest:
            groups.append([])
        groups[-1].append(pulse)
        last_end = pulse.end
    if groups and now - last_end < pattern.rest:
        groups.pop()
    return groups


def _is_whole(group: Sequence[Pulse], pattern: Pattern) -> bool:
    if len(group) != pattern.pulses:
        return False
    steps = [later.start - earlier.start for earlier, later in pairwise(group)]
    return all(_near(step, pattern.step, pattern.blur) for step in steps) and all(
        pattern.shortest_on <= pulse.end - pulse.start <= pattern.longest_on for pulse in group
    )


def _belong(
    earlier: Sequence[Pulse], later: Sequence[Pulse], pulses: Sequence[Pulse], pattern: Pattern
) -> bool:
    """Whether two whole cycles are neighbours, or have one between them that lacks a pulse."""
    apart = later[0].start - earlier[0].start
    between = [pulse.start for pulse in pulses if earlier[-1].start < pulse.start < later[0].start]
    if not between:
        return _near(apart, pattern.period, pattern.blur)
    if len(between) != pattern.pulses - 1 or not _near(apart, 2.0 * pattern.period, pattern.blur):
        return False
    middle = earlier[0].start + apart / 2.0
    places = [round((start - middle) / pattern.step) for start in between]
    return len(set(places)) == len(places) and all(
        0 <= place < pattern.pulses and _in_place(start - middle, place, pattern)
        for start, place in zip(between, places, strict=True)
    )


def _near(seconds: float, nominal: float, blur: float) -> bool:
    return abs(seconds - nominal) <= TOLERANCE * nominal + blur


def _in_place(seconds: float, place: int, pattern: Pattern) -> bool:
    """Whether a pulse begins where that of number ``place`` does, when its cycle may begin late or early."""
    slack = TOLERANCE * (pattern.period - (pattern.pulses - 1) * pattern.step) / 2.0
    return abs(seconds - place * pattern.step) <= min(
        pattern.step / 2.0, slack + TOLERANCE * place * pattern.step + pattern.blur
    )
