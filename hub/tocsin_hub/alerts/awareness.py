"""Rules: how long it takes until somebody knows of a sound, hop by hop, against a budget of 10 s.

Every hop is counted from the onset of the sound, so that one line, the budget, holds for all of them.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median

BUDGET_SECONDS = 10.0
"""What NFPA 72 (10.11.1) allows a fire alarm from the initiating device to the notification."""
BOUNDS_SECONDS = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 30.0, 60.0, 300.0)
"""Upper ends of the bars of a histogram; one more bar holds what took longer."""
_SKEW_SECONDS = 1.0
"""Two clocks that the network keeps may differ by so much; more, and one of them is wrong."""
_LONGEST_SECONDS = 86_400.0


class Hop(StrEnum):
    """The points that a sound passes on its way to a person, in their order."""

    DETECTED = "detected"
    """The node decided."""
    RECEIVED = "received"
    """The hub heard of it."""
    COMMITTED = "committed"
    """It was on the hub's disk."""
    ACCEPTED = "accepted"
    """A channel's service took the message."""
    SHOWN = "shown"
    """The person's device said that it shows it."""
    ANSWERED = "answered"
    """The person answered."""


@dataclass(frozen=True)
class Passage:
    """When one sound, or one alert about it, passed the hops; microseconds of UTC."""

    onset_us: int
    at_us: Mapping[Hop, int]
    """Hops that it did not pass, or of which nobody knows, are left out."""


@dataclass(frozen=True)
class Figures:
    """How long it took from the onset to one hop."""

    hop: Hop
    count: int
    bars: tuple[int, ...]
    """How many took no longer than each of :data:`BOUNDS_SECONDS`, each counted once; then the rest."""
    p50: float | None
    p95: float | None
    p99: float | None
    within: float | None
    """Share that stayed within the budget."""
    leg_p50: float | None
    """Median of this hop alone, from the one before."""


def seconds_since(onset_us: int, at_us: int) -> float | None:
    """From ``onset_us`` to ``at_us``; ``None`` where clocks that disagree make that meaningless."""
    seconds = (at_us - onset_us) / 1e6
    return None if seconds < -_SKEW_SECONDS or seconds > _LONGEST_SECONDS else max(0.0, seconds)


def quantile(ordered: Sequence[float], share: float) -> float | None:
    """The smallest value that at least ``share`` of ``ordered`` do not exceed (nearest rank)."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


def figures(passages: Iterable[Passage]) -> tuple[Figures, ...]:
    """One for each hop, in their order."""
    took: dict[Hop, list[float]] = {hop: [] for hop in Hop}
    legs: dict[Hop, list[float]] = {hop: [] for hop in Hop}
    for passage in passages:
        before_us = passage.onset_us
        for hop in Hop:
            at_us = passage.at_us.get(hop)
            seconds = None if at_us is None else seconds_since(passage.onset_us, at_us)
            if at_us is not None and seconds is not None:
                took[hop].append(seconds)
                legs[hop].append(max(0.0, (at_us - before_us) / 1e6))
                before_us = at_us
    return tuple(_figures(hop, sorted(took[hop]), legs[hop]) for hop in Hop)


def _figures(hop: Hop, took: Sequence[float], legs: Sequence[float]) -> Figures:
    within = sum(seconds <= BUDGET_SECONDS for seconds in took)
    return Figures(
        hop=hop,
        count=len(took),
        bars=bars(took),
        p50=quantile(took, 0.50),
        p95=quantile(took, 0.95),
        p99=quantile(took, 0.99),
        within=within / len(took) if took else None,
        leg_p50=median(legs) if legs else None,
    )


def bars(took: Iterable[float]) -> tuple[int, ...]:
    """How many fall into each bar."""
    counts = [0] * (len(BOUNDS_SECONDS) + 1)
    for seconds in took:
        counts[next((n for n, end in enumerate(BOUNDS_SECONDS) if seconds <= end), len(BOUNDS_SECONDS))] += 1
    return tuple(counts)
