"""Rules: what must hold after any faults, held against what was made, what was stored and who was told."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tests.chaos.script import Fault, Kind

LATE_SECONDS = 2.0
"""In calm, a sound is on the hub's disk and acknowledged within this."""

THROUGH_SECONDS = 2.0
"""A sound that began so long before a fault is through before it."""
LAST_HEARD_SECONDS = 5.0
"""A trouble begins when a node was last heard, which is before the fault."""


@dataclass(frozen=True)
class Made:
    """A sound that a node told of; times are microseconds of UTC."""

    id: str
    node: str
    onset_us: int
    seq: int
    """Of the last word about it."""
    acknowledged: bool = False
    acknowledged_after_us: int | None = None
    """From the onset, by a clock that nobody sets; ``None``: not measured."""
    waited: bool = False
    """It did not go at once, because there was no connection."""


@dataclass(frozen=True)
class Row:
    """What the hub has of a sound."""

    id: str
    node: str
    boot: str
    seq: int
    mono_ns: int


@dataclass(frozen=True)
class Told:
    """An alert that went to a person."""

    incident: str
    late: bool
    """Of an incident that was over when the hub heard of it."""


@dataclass(frozen=True)
class Reported:
    """A trouble that officers were shown, or that stood at the broker for everybody."""

    kind: str
    opened_us: int
    """When it began, or was back."""


@dataclass(frozen=True)
class Outcome:
    """All that is known after a campaign."""

    began_us: int
    faults: Sequence[Fault]
    calm: Sequence[tuple[float, float]]
    """Seconds from the beginning."""
    made: Sequence[Made]
    rows: Sequence[Row]
    told: Sequence[Told]
    reported: Sequence[Reported]
    late_seconds: float = LATE_SECONDS


@dataclass(frozen=True)
class Count:
    """The figures of a campaign."""

    produced: int
    lost: int
    twice: int
    late: int
    """Sounds of a calm stretch that took longer than they may."""
    calm: int
    """Sounds of calm stretches."""


NOTICED = {
    Kind.BROKER_KILL: {"broker_lost"},
    Kind.BROKER_STOP: {"broker_lost"},
    Kind.HUB_PARTITION: {"broker_lost"},
    Kind.HUB_KILL: {"hub_offline"},
    Kind.HUB_STOP: {"hub_offline"},
    Kind.NODE_KILL: {"node_silent"},
    Kind.NODE_STOP: {"node_silent"},
    Kind.PARTITION: {"node_silent"},
    Kind.STALL: {"node_silent"},
    Kind.DISK_FULL: {"database_refuses", "hub_late"},
    Kind.DATABASE_KILL: {"database_refuses", "hub_late"},
    Kind.DATABASE_STOP: {"database_refuses", "hub_late"},
    Kind.REDIS_KILL: {"queue_lost"},
    Kind.REDIS_STOP: {"queue_lost"},
}
"""What must be reported of a fault: one of these. The other faults keep nobody from hearing or telling."""


def count(outcome: Outcome) -> Count:
    """How it went."""
    calm = _calm(outcome)
    return Count(
        produced=len(outcome.made),
        lost=len(_lost(outcome)),
        twice=len(_twice(outcome)),
        late=sum(_is_late(one, outcome.late_seconds) for one in calm),
        calm=len(calm),
    )


def broken(outcome: Outcome) -> list[str]:
    """Every invariant that does not hold, in words; empty if all do."""
    return [
        *(
            f"lost{' though acknowledged' * one.acknowledged}: {one.id} of {one.node}"
            for one in _lost(outcome)
        ),
        *(f"stored twice, or made by nobody: {key}" for key in _twice(outcome)),
        *_unfinished(outcome),
        *_out_of_order(outcome.rows),
        *_late(outcome),
        *(f"an alarm that was over woke somebody: {one.incident}" for one in outcome.told if one.late),
        *_unnoticed(outcome),
    ]


def _lost(outcome: Outcome) -> list[Made]:
    stored = {row.id for row in outcome.rows}
    return [one for one in outcome.made if one.id not in stored]


def _twice(outcome: Outcome) -> list[str]:
    made, nodes = {one.id for one in outcome.made}, {one.node for one in outcome.made}
    ids = Counter(row.id for row in outcome.rows)
    strange = [row.id for row in outcome.rows if row.node in nodes and row.id not in made]
    return strange + [key for key, times in ids.items() if times > 1]


def _unfinished(outcome: Outcome) -> list[str]:
    stored = {row.id: row.seq for row in outcome.rows}
    return [
        f"not stored by its last word: {one.id} of {one.node}"
        for one in outcome.made
        if stored.get(one.id, one.seq) < one.seq
    ]


def _out_of_order(rows: Iterable[Row]) -> list[str]:
    """What a process of a node said later must carry the higher number."""
    of_process: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        of_process[row.node, row.boot].append(row)
    found = []
    for (node, boot), said in of_process.items():
        said.sort(key=lambda row: row.seq)
        if any(one.mono_ns > other.mono_ns for one, other in pairwise(said)):
            found.append(f"out of order: {node}, boot {boot}")
        if len({row.seq for row in said}) < len(said):
            found.append(f"a number was given twice: {node}, boot {boot}")
    return found


def _calm(outcome: Outcome) -> list[Made]:
    """Sounds that began while everything worked, and early enough to be through before it did not."""

    def is_calm(one: Made) -> bool:
        at = (one.onset_us - outcome.began_us) / 1e6
        return any(begin <= at < end - THROUGH_SECONDS for begin, end in outcome.calm)

    return [one for one in outcome.made if is_calm(one)]


def _is_late(one: Made, seconds: float) -> bool:
    return one.acknowledged_after_us is not None and one.acknowledged_after_us > seconds * 1e6


def _late(outcome: Outcome) -> list[str]:
    """Sounds of calm stretches that took too long.

    One in a hundred may: the hub shares its machine with a fleet and a script.
    """
    calm = _calm(outcome)
    late = [one for one in calm if _is_late(one, outcome.late_seconds)]
    if len(late) * 100 <= len(calm):
        return []
    return [
        f"late in calm: {one.id} of {one.node}, {(one.acknowledged_after_us or 0) / 1e6:.1f} s"
        for one in late
    ]


def _unnoticed(outcome: Outcome) -> list[str]:
    found = []
    for fault in outcome.faults:
        since, until = (
            outcome.began_us + round(at * 1e6) for at in (fault.at - LAST_HEARD_SECONDS, fault.healed)
        )
        kinds = {one.kind for one in outcome.reported if since <= one.opened_us <= until}
        if fault.kind in NOTICED and not kinds & NOTICED[fault.kind]:
            found.append(f"nobody was told: {fault.kind} at {fault.at:.0f} s for {fault.lasts:.0f} s")
    return found
