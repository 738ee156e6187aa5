"""Reading the hub's database: one method for each question, values as answers.

Every thread that asks gets a connection of its own that cannot write; the only connection that writes
belongs to the writer thread (see :mod:`tocsin_hub.recorder`).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec

from tocsin_hub.connection import Parameters
from tocsin_hub.place import Place, database_errors, read_from
from tocsin_hub.rooms import NodeRecord, RoomState
from tocsin_hub.times import from_us
from tocsin_shared import codec
from tocsin_shared.errors import BadInputError, DecodeError
from tocsin_shared.events import (
    Certainty,
    Clock,
    Heartbeat,
    Message,
    NodeBorn,
    NodeConnection,
    Phase,
    Rhythm,
    ScoredLabel,
    Trouble,
)
from tocsin_shared.labels import Severity, severity_of

MAX_PAGE = 500
EVERYWHERE: frozenset[str] = frozenset()
"""The zones of somebody who sees all of them."""


class StoredEvent(msgspec.Struct, frozen=True):
    """One detection as it stands in the database; times are microseconds of UTC."""

    id: str
    node: str
    zone: str
    label: str
    score: float
    top: tuple[ScoredLabel, ...]
    level_dbfs: float | None
    ambient_dbfs: float | None
    onset_us: int
    offset_us: int | None
    mono_ns: int
    boot: str
    seq: int
    clock: Clock
    bundle: str
    phase: Phase
    rhythm: Rhythm
    late: bool
    first_received_us: int
    """When the hub heard of the detection for the first time."""
    received_us: int
    """When the hub received the message that the row now shows."""
    committed_us: int
    """When the hub began to write that message to its disk."""
    test: bool
    """The node tested itself: nothing sounded."""
    certainty: Certainty
    change: int
    """Number of the last change of the row; grows over all rows."""

    @property
    def severity(self) -> Severity:
        """How much it matters to people; a test of a node alarms nobody."""
        return Severity.NONE if self.test else severity_of(self.label)


@dataclass(frozen=True)
class Page:
    """Some events and where the next ones begin."""

    events: tuple[StoredEvent, ...]
    next: int
    more: bool


@dataclass(frozen=True)
class HistoryPage:
    """Some events, newest onset first; ``next`` is the cursor of the following page."""

    events: tuple[StoredEvent, ...]
    next: str | None


class Occasion(StrEnum):
    """On what occasion something was heard."""

    REAL = "real"
    """Neither a test nor a drill."""
    TEST = "tests"
    DRILL = "drills"


@dataclass(frozen=True)
class HistoryFilter:
    """Which events of the past are asked for; ``None`` asks for all."""

    node: str | None = None
    label: str | None = None
    severity: Severity | None = None
    zone: str | None = None
    since_us: int | None = None
    """The earliest onset."""
    until_us: int | None = None
    """Onsets are before this."""
    occasion: Occasion | None = None


EVENT_COLUMNS = StoredEvent.__struct_fields__
_SELECT_EVENTS = f"SELECT {', '.join(EVENT_COLUMNS)} FROM events"  # noqa: S608 - names of our own fields
_IN_DRILLS = (
    "(SELECT l.event FROM incidents AS i JOIN incident_events AS l ON l.incident = i.id WHERE i.drill = 1)"
)
_OCCASIONS = {
    Occasion.REAL: ("test = 0", f"id NOT IN {_IN_DRILLS}"),
    Occasion.TEST: ("test = 1",),
    Occasion.DRILL: (f"id IN {_IN_DRILLS}",),
}
_NEWEST_FIRST = "ORDER BY onset_us DESC, id DESC LIMIT ?"
CURSOR_PATTERN = r"^([0-9]{1,18}\.[0-9A-HJKMNP-TV-Z]{26})?(?!\n)$"
"""A place in a list: a time in microseconds and an id. Empty is the beginning of it."""
_BAD_CURSOR = "the cursor is not one that this hub gave out"
_TOP = msgspec.json.Decoder(tuple[ScoredLabel, ...])


def event_from_row(row: Sequence[Any]) -> StoredEvent:
    """The event in ``row``, whose values stand in the order of :data:`EVENT_COLUMNS`."""
    values = dict(zip(EVENT_COLUMNS, row, strict=True))
    values |= {
        "top": _TOP.decode(values["top"]),
        "clock": Clock(values["clock"]),
        "phase": Phase(values["phase"]),
        "rhythm": Rhythm(values["rhythm"]),
        "certainty": Certainty(values["certainty"]),
        "late": bool(values["late"]),
        "test": bool(values["test"]),
    }
    return StoredEvent(**values)


def in_zones(zones: frozenset[str], column: str = "zone") -> tuple[str, list[str]]:
    """A condition that goes on after another one, and its parameters: ``column`` is one of these."""
    if not zones:
        return "", []
    return f" AND {column} IN ({', '.join('?' * len(zones))})", sorted(zones)


class Store:
    """Answers questions. Safe to use from several threads."""

    def __init__(self, path: Place) -> None:
        self.path = path
        self._reader = read_from(path)

    def close(self) -> None:
        """Nobody may ask any more."""
        self._reader.close()

    def _rows(self, sql: str, parameters: Parameters = ()) -> list[tuple[Any, ...]]:
        with database_errors(self.path):
            return self._reader.rows(sql, parameters)

    def rows(self, sql: str, parameters: Parameters = ()) -> list[tuple[Any, ...]]:
        """Rows of a table that another module reads.

        Raises:
            UnavailableError: the database cannot be used at the moment.
        """
        return self._rows(sql, parameters)

    def events_after(self, change: int, limit: int = MAX_PAGE, zones: frozenset[str] = EVERYWHERE) -> Page:
        """Events in ``zones`` that changed after ``change``, in order of their last change.

        A reader that goes on from ``next`` until there is no ``more`` has seen every change: numbers are
        given in the order of commits, by one writer.

        Raises:
            UnavailableError: the database cannot be used at the moment.
        """
        latest = self.counter("change") if zones else 0  # asked first, so that nothing lies between
        # By the index of changes: that of zones would need sorting.
        inside, names = in_zones(zones, "zone || ''")
        rows = self._rows(
            f"{_SELECT_EVENTS} WHERE change > ?{inside} ORDER BY change LIMIT ?", (change, *names, limit + 1)
        )
        if not rows and change > self.counter("change"):
            # A cursor of another database, as after a restored backup: everything may be new.
            return Page((), 0, more=True)
        events = tuple(event_from_row(row) for row in rows[:limit])
        more = len(rows) > limit
        # What happened in other zones is nothing that this reader has yet to see.
        passed = change if more else max(change, latest)
        return Page(events, max(passed, events[-1].change) if events else passed, more)

    def events_before(
        self, cursor: str | None, limit: int, only: HistoryFilter, zones: frozenset[str] = EVERYWHERE
    ) -> HistoryPage:
        """Events in ``zones`` with older onsets than ``cursor`` (``None``: all), newest onset first.

        Raises:
            BadInputError: the cursor is not one of ours.
            UnavailableError: the database cannot be used at the moment.
        """
        conditions, parameters = _conditions(only)
        if cursor is not None:
            conditions.append("(onset_us, id) < (?, ?)")
            parameters += decode_cursor(cursor)
        labels = None if only.severity is None else self._labels(only.severity)
        if labels is None and len(zones) <= 1:
            inside, names = in_zones(zones)
            where = f" WHERE {' AND '.join(conditions or ['TRUE'])}{inside}"
            sql = f"{_SELECT_EVENTS}{where} {_NEWEST_FIRST}"
            rows = self._rows(sql, (*parameters, *names, limit + 1))
        else:
            rows = self._newest_of_each(zones, labels, conditions, (*parameters, limit + 1))
        events = tuple(event_from_row(row) for row in rows[:limit])
        return HistoryPage(events, encode_cursor(events[-1]) if len(rows) > limit else None)

    def _labels(self, severity: Severity) -> list[str]:
        """Labels of this severity that ever came, each found by one step in the index over labels."""
        steps = (
            "WITH RECURSIVE known (label) AS (SELECT min(label) FROM events UNION ALL "
            "SELECT (SELECT min(label) FROM events WHERE label > known.label) FROM known "
            "WHERE known.label IS NOT NULL) SELECT label FROM known WHERE label IS NOT NULL"
        )
        return [label for (label,) in self._rows(steps) if severity_of(label) is severity]

    def _newest_of_each(
        self,
        zones: frozenset[str],
        labels: Sequence[str] | None,
        conditions: Sequence[str],
        parameters: Sequence[Any],
    ) -> list[tuple[Any, ...]]:
        """Rows merged from the newest of each zone and label, so that looking for rare ones reads no others.

        The last parameter is the limit; no zones, or ``None`` for the labels, means all of them.
        """
        wanted = [
            (zone, label) for zone in (sorted(zones) if zones else (None,)) for label in (labels or (None,))
        ]
        if labels is not None and not labels:
            return []
        each = ["ours.zone = one.zone"] * bool(zones)
        each += ["ours.label = one.label", "ours.test = 0"] * (labels is not None)
        what = f"FROM events AS ours WHERE {' AND '.join([*each, *conditions])} {_NEWEST_FIRST}"
        sql = _merged_laterally(what) if self._reader.lateral else _merged_by_ids(what)
        return self._rows(sql, (msgspec.json.encode(wanted).decode(), *parameters, parameters[-1]))

    def event(self, event_id: str, zones: frozenset[str] = EVERYWHERE) -> StoredEvent | None:
        """The event called ``event_id``, if it is stored and happened in one of ``zones``."""
        inside, names = in_zones(zones)
        rows = self._rows(f"{_SELECT_EVENTS} WHERE id = ?{inside}", (event_id, *names))
        return event_from_row(rows[0]) if rows else None

    def event_count(self) -> int:
        """Number of detections in the database."""
        return self.counter("events")

    def counter(self, name: str) -> int:
        """The number called ``name``: ``change``, ``events`` or ``quarantined``."""
        return int(self._rows("SELECT value FROM counters WHERE name = ?", (name,))[0][0])

    def nodes(self) -> list[NodeRecord]:
        """Every node that was ever heard of."""
        sql = "SELECT node, birth, conn, heartbeat, boot, last_seen_us, state, since_us FROM nodes"
        open_troubles = self._open_troubles()
        return [_node_from_row(row, tuple(open_troubles.get(row[0], ()))) for row in self._rows(sql)]

    def open_troubles(self, node: str) -> tuple[Trouble, ...]:
        """The troubles of ``node`` that last, oldest first."""
        return tuple(self._open_troubles("AND node = ?", (node,)).get(node, ()))

    def _open_troubles(self, where: str = "", parameters: tuple[str, ...] = ()) -> dict[str, list[Trouble]]:
        sql = (
            "SELECT node, id, kind, since_us, detail FROM troubles "  # noqa: S608 - words of our own
            f"WHERE until_us IS NULL {where} ORDER BY since_us"
        )
        found: dict[str, list[Trouble]] = {}
        for node, key, kind, since_us, detail in self._rows(sql, parameters):
            found.setdefault(node, []).append(
                Trouble(id=key, kind=kind, since=from_us(since_us), detail=detail)
            )
        return found

    def anybody_logged_in(self) -> bool:
        """Whether a login link was ever used."""
        return bool(self._rows("SELECT 1 FROM login_links WHERE used_us IS NOT NULL LIMIT 1"))


def _merged_by_ids(newest: str) -> str:
    """The newest of each of many, by their ids, as SQLite finds them; takes a JSON array of pairs first."""
    return (
        f"SELECT {', '.join(f'events.{name}' for name in EVENT_COLUMNS)} FROM "  # noqa: S608
        "(SELECT value ->> 0 AS zone, value ->> 1 AS label FROM json_each(?)) AS one "
        f"CROSS JOIN events ON events.id IN (SELECT id {newest}) "
        "ORDER BY onset_us DESC, events.id DESC LIMIT ?"
    )


def _merged_laterally(newest: str) -> str:
    """The same for a database in which a query may name what stands before it."""
    return (
        f"SELECT found.* FROM (SELECT each ->> 0 AS zone, each ->> 1 AS label "  # noqa: S608
        "FROM jsonb_array_elements(CAST(? AS jsonb)) AS each) AS one "
        f"CROSS JOIN LATERAL (SELECT {', '.join(EVENT_COLUMNS)} {newest}) AS found "
        "ORDER BY found.onset_us DESC, found.id DESC LIMIT ?"
    )


def _conditions(only: HistoryFilter) -> tuple[list[str], list[Any]]:
    conditions: list[str] = []
    parameters: list[Any] = []
    for condition, value in (
        ("node = ?", only.node),
        ("label = ?", only.label),
        ("zone = ?", only.zone),
        ("onset_us >= ?", only.since_us),
        ("onset_us < ?", only.until_us),
    ):
        if value is not None:
            conditions.append(condition)
            parameters.append(value)
    conditions += _OCCASIONS[only.occasion] if only.occasion else ()
    return conditions, parameters


def encode_cursor(event: StoredEvent) -> str:
    """Where the events older than ``event`` begin."""
    return f"{event.onset_us}.{event.id}"


def decode_cursor(cursor: str) -> tuple[int, str]:
    """Onset and id in a cursor.

    Raises:
        BadInputError: it is not one of ours.
    """
    if not cursor or not re.fullmatch(CURSOR_PATTERN, cursor):
        raise BadInputError(_BAD_CURSOR)
    onset, _, event_id = cursor.partition(".")
    return int(onset), event_id


def _node_from_row(row: Sequence[Any], troubles: tuple[Trouble, ...]) -> NodeRecord:
    node, birth, conn, heartbeat, boot, last_seen_us, state, since_us = row
    known = state in set(RoomState)
    return NodeRecord(
        node=node,
        since_us=since_us,
        state=RoomState(state) if known else RoomState.UNKNOWN,
        birth=_words(birth, NodeBorn),
        conn=_words(conn, NodeConnection),
        heartbeat=_words(heartbeat, Heartbeat),
        boot=boot,
        last_seen_us=last_seen_us,
        troubles=troubles,
    )


def _words(text: str | None, kind: type[codec.M]) -> codec.M | None:
    # Words of another version of the hub may not be readable; the node will say them again.
    try:
        return None if text is None else codec.decode(text.encode(), kind)
    except DecodeError:
        return None


def words_text(message: Message | None) -> str | None:
    """``message`` as it is kept in a column."""
    return None if message is None else codec.encode(message).decode()
