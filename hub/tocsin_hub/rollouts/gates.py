"""Rules: whether a ring is stopped, waits, or lets the next one begin."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from tocsin_hub.rollouts.model import (
    BAD,
    GOOD,
    SETTLED,
    UNCOUNTED,
    Execution,
    Gate,
    Pause,
    Reason,
    Ring,
    Target,
)

_ERRORS = re.compile(
    r"(?P<count>[0-9]{1,6})|(?:(?P<first>[0-9]{1,6}) or )?(?P<percent>[0-9]{1,3}(?:\.[0-9]{1,6})?)%"
)
_SECOND_US = 1_000_000


@dataclass(frozen=True)
class ErrorLimit:
    """At how many errors a ring is stopped."""

    count: int | None
    percent: float | None
    """Of the nodes that have come to an end."""


def parse_errors(text: str) -> ErrorLimit | None:
    """``3``, ``20%`` or ``3 or 20%``; ``None`` for anything else, also for what stops without an error."""
    found = _ERRORS.fullmatch(text)
    if found is None:
        return None
    number = found["count"] or found["first"]
    count = None if number is None else int(number)
    percent = None if found["percent"] is None else float(found["percent"])
    if count == 0 or (percent is not None and not 0.0 < percent <= 100.0):
        return None
    return ErrorLimit(count, percent)


def readable(gate: Gate) -> bool:
    """Whether every expression of ``gate`` means something."""
    shares = (gate.success_share, gate.max_disagreement)
    lengths = (gate.soak_seconds, gate.ring_seconds, gate.max_alarm_drift, gate.min_executed)
    return (
        parse_errors(gate.errors) is not None
        and all(0.0 <= one <= 1.0 for one in shares)
        and all(math.isfinite(one) and one >= 0 for one in (*lengths, gate.min_alarm_difference))
    )


def stopped(ring: Ring, targets: Sequence[Target]) -> tuple[Pause, str] | None:
    """What in ``ring`` stops the rollout, and the figures of it; ``None`` if nothing does."""
    errors = [one for one in targets if one.state in BAD and not one.forgiven]
    ended = sum(one.state in BAD | GOOD for one in targets)
    if _too_many(ring.gate, len(errors), ended, sum(one.state not in UNCOUNTED for one in targets)):
        return Pause.ERROR_THRESHOLD, f"{len(errors)} of {ended}"
    return None if ring.waived else _differing(ring.gate, targets)


def _too_many(gate: Gate, errors: int, ended: int, counted: int) -> bool:
    limit = parse_errors(gate.errors)
    if limit is None:
        return True
    if not errors:
        return False
    by_count = limit.count is not None and errors >= limit.count
    # A ring with fewer nodes than the minimum would never be judged.
    enough = ended >= min(gate.min_executed, counted)
    return by_count or (limit.percent is not None and enough and 100.0 * errors >= limit.percent * ended)


def _differing(gate: Gate, targets: Sequence[Target]) -> tuple[Pause, str] | None:
    windows = sum(one.shadow_windows for one in targets)
    differing = sum(one.shadow_disagreements for one in targets)
    if windows and differing > gate.max_disagreement * windows:
        return Pause.SHADOW_DISAGREEMENT, f"{differing} of {windows} windows"
    new, old = sum(one.shadow_alarms for one in targets), sum(one.active_alarms for one in targets)
    drift = abs(new - old)
    if drift >= max(1, gate.min_alarm_difference) and drift > gate.max_alarm_drift * old:
        return Pause.ALARM_DRIFT, f"{new} detections, {old} before"
    return None


def open_gate(ring: Ring, targets: Sequence[Target], now_us: int) -> bool | Pause:
    """Whether the next ring may begin: yes, not yet, or never without a person's word."""
    if any(one.state not in SETTLED for one in targets):
        return False
    if not ring.waived and not _share_reached(ring.gate, targets):
        return Pause.SUCCESS_GATE
    proven = max((one.since_us for one in targets if one.good), default=None)
    return proven is None or now_us - proven >= ring.gate.soak_seconds * _SECOND_US


def _share_reached(gate: Gate, targets: Sequence[Target]) -> bool:
    counted = [one for one in targets if one.state not in UNCOUNTED]
    if not counted:  # nobody was asked, so nothing is proven, unless there was nobody to ask
        return all(one.state is Execution.REMOVED for one in targets)
    # Compared as products: 0.3 of 10 nodes are 3, not 2.9999.
    return sum(one.good for one in counted) + 1e-9 >= gate.success_share * len(counted)


def waiting(ring: int, targets: Sequence[Target]) -> Reason:
    """For people: how many nodes a ring still waits for."""
    open_ones = sum(one.state not in SETTLED for one in targets)
    return Reason("ring_waits", ring=ring, detail=f"{open_ones} of {len(targets)}", lasting=True)
