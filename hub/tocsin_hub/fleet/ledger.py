"""Rules: the fleet's own ledger held against what the hub has stored."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tocsin_hub.fleet.model import Record

SHOWN = 5
"""So many ids of each kind are named in a report."""


@dataclass(frozen=True)
class Stored:
    """One row of the hub about a sound of this run."""

    id: str
    node: str
    onset_us: int
    seq: int
    first_committed_us: int
    """When its first word was committed, by the hub's clock."""


@dataclass(frozen=True)
class Latency:
    """Percentiles, milliseconds; ``None`` where there is nothing to measure."""

    count: int
    p50: float | None
    p95: float | None
    p99: float | None
    most: float | None


@dataclass(frozen=True)
class Verdict:
    """What became of all sounds of a run."""

    produced: int
    acknowledged: int
    """Of which the hub acknowledged something."""
    complete: int
    """Of which the hub acknowledged the last word."""
    stored: int | None
    """That the database has; ``None`` if it was not asked."""
    lost: int
    """That the database does not have; without a database, that the hub never acknowledged."""
    lost_after_word: int
    """Lost though the hub had acknowledged them: the worst that can happen."""
    stale: int
    """Stored, but not by their last word, although that was acknowledged."""
    twice: int
    """Rows of this run beyond one for each sound: of an id that no node made, or that is there again."""
    late: int
    """Sent at once, and acknowledged only after the limit."""
    waited: int
    """That were sent later, because the node was not connected or had too much to send."""
    latency: dict[str, Latency] = field(default_factory=dict)
    """By what is measured, from the onset."""
    named: dict[str, list[str]] = field(default_factory=dict)
    """Some ids of what went wrong."""

    @property
    def good(self) -> bool:
        """Whether nothing was lost and nothing is there twice."""
        return not (self.lost or self.twice or self.stale)


def judge(records: Sequence[Record], stored: Iterable[Stored] | None, late_seconds: float) -> Verdict:
    """Hold the fleet's ``records`` against what the hub has ``stored`` (``None``: nobody asked)."""
    rows = None if stored is None else list(stored)
    found = {row.id: row for row in rows or ()}
    made = {record.id for record in records}
    lost = [
        record
        for record in records
        if (record.acknowledged_us is None if rows is None else record.id not in found)
    ]
    stale = [
        record.id
        for record in records
        if record.complete and record.id in found and found[record.id].seq < record.seq
    ]
    late = [record.id for record in records if _is_late(record, late_seconds)]
    twice = _twice(rows or (), made)
    return Verdict(
        produced=len(records),
        acknowledged=sum(record.acknowledged_us is not None for record in records),
        complete=sum(record.complete for record in records),
        stored=None if rows is None else sum(record.id in found for record in records),
        lost=len(lost),
        lost_after_word=sum(record.acknowledged_us is not None for record in lost),
        stale=len(stale),
        twice=len(twice),
        late=len(late),
        waited=sum(record.waited for record in records),
        latency=_latencies(records, found),
        named={
            kind: sorted(ids)[:SHOWN]
            for kind, ids in {
                "lost": [record.id for record in lost],
                "stale": stale,
                "twice": twice,
                "late": late,
            }.items()
            if ids
        },
    )


def _is_late(record: Record, late_seconds: float) -> bool:
    at_us = record.acknowledged_us
    return at_us is not None and not record.waited and at_us > late_seconds * 1e6


def _twice(rows: Iterable[Stored], made: set[str]) -> list[str]:
    rows = list(rows)
    ids = Counter(row.id for row in rows)
    return [row.id for row in rows if row.id not in made] + [key for key, count in ids.items() if count > 1]


def _latencies(records: Sequence[Record], found: Mapping[str, Stored]) -> dict[str, Latency]:
    live = [record for record in records if not record.waited]

    def acknowledged(chosen: Iterable[Record]) -> Latency:
        return latency([one.acknowledged_us for one in chosen if one.acknowledged_us is not None])

    measured = {"acknowledged": acknowledged(live)}
    if found:
        measured["stored"] = latency(
            [found[one.id].first_committed_us - one.onset_us for one in live if one.id in found]
        )
    if any(one.storm for one in records):
        measured["acknowledged in the storm"] = acknowledged(one for one in live if one.storm)
    if len(live) < len(records):
        measured["acknowledged of what waited"] = acknowledged(one for one in records if one.waited)
    return measured


def latency(microseconds: Sequence[int]) -> Latency:
    """Percentiles of ``microseconds``, by the nearest rank."""
    ordered = sorted(microseconds)

    def at(share: float) -> float | None:
        return round(ordered[math.ceil(share * len(ordered)) - 1] / 1e3, 1) if ordered else None

    return Latency(len(ordered), at(0.5), at(0.95), at(0.99), at(1.0))
