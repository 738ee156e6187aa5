"""Reading incidents: pages, one of them, its timeline, its events, and drills.

Every method takes the zones that may be seen; an empty set means all of them. What has no zone, as a trouble
of the hub itself, is for everybody's eyes.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tocsin_hub.incidents.model import (
    Answer,
    Drill,
    Incident,
    IncidentKind,
    IncidentSeverity,
    LogLine,
)
from tocsin_hub.incidents.rows import (
    DRILL_COLUMNS,
    INCIDENT_COLUMNS,
    LOG_COLUMNS,
    drill_from_row,
    incident_from_row,
    line_from_row,
)
from tocsin_hub.store import EVENT_COLUMNS, MAX_PAGE, Store, StoredEvent, event_from_row
from tocsin_shared.errors import BadInputError

NO_ZONES: frozenset[str] = frozenset()
"""Every zone may be seen."""
MOST_OPEN = 500
"""More incidents that last are not listed at once; the newest are."""
MOST_LINES = 2000
_SELECT = f"SELECT {INCIDENT_COLUMNS} FROM incidents"  # noqa: S608 - names of our own
CURSOR_PATTERN = r"^[0-9]{1,18}\.[0-9A-HJKMNP-TV-Z]{26}(?!\n)$"
_SELECT_ACTIVE = f"{_SELECT} INDEXED BY idx_incidents_active"
"""Named, because SQLite would read all incidents that ever were to find the few that last."""
_AT_ONCE = 400
"""Ids in one statement; SQLite takes 999 or more."""


@dataclass(frozen=True)
class IncidentFilter:
    """Which incidents of the past are asked for; ``None`` asks for all."""

    active: bool | None = None
    severity: IncidentSeverity | None = None
    kind: IncidentKind | None = None
    zone: str | None = None


@dataclass(frozen=True)
class IncidentPage:
    """Incidents in the order of their last change, and where the next ones begin."""

    incidents: tuple[Incident, ...]
    next: int
    more: bool


@dataclass(frozen=True)
class IncidentHistory:
    """Incidents, the newest first; ``next`` is the cursor of the following page."""

    incidents: tuple[Incident, ...]
    next: str | None


@dataclass(frozen=True)
class GivenAnswer:
    """What one person said last to an incident."""

    incident: str
    person: str
    answer: Answer
    at_us: int


class Incidents:
    """Answers questions about incidents. Safe to use from several threads."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def after(self, change: int, limit: int, zones: frozenset[str] = NO_ZONES) -> IncidentPage:
        """Incidents that changed after ``change``, in the order of their last change.

        Raises:
            UnavailableError: the database cannot be used at the moment.
        """
        latest = self._store.counter("change") if zones else 0  # asked first, so that nothing lies between
        where, parameters = _seen(zones, ["change > ?"], [change])
        rows = self._rows(f"{_SELECT}{where} ORDER BY change LIMIT ?", (*parameters, limit + 1))
        if not rows and change > self._store.counter("change"):
            # A cursor of another database, as after a restored backup: everything may be new.
            return IncidentPage((), 0, more=True)
        incidents = tuple(incident_from_row(row) for row in rows[:limit])
        more = len(rows) > limit
        # What happened in other zones is nothing that this reader has yet to see.
        passed = change if more else max(change, latest)
        return IncidentPage(incidents, max(passed, incidents[-1].change) if incidents else passed, more)

    def before(
        self,
        cursor: str | None,
        limit: int,
        only: IncidentFilter = IncidentFilter(),
        zones: frozenset[str] = NO_ZONES,
    ) -> IncidentHistory:
        """Incidents that opened before ``cursor`` (``None``: all), the newest first.

        Raises:
            BadInputError: the cursor is not one of ours.
            UnavailableError: the database cannot be used at the moment.
        """
        conditions, parameters = _conditions(only)
        if cursor is not None:
            conditions.append("(opened_us, id) < (?, ?)")
            parameters += decode_cursor(cursor)
        where, parameters = _seen(zones, conditions, parameters)
        select = _SELECT_ACTIVE if only.active else _SELECT
        sql = f"{select}{where} ORDER BY opened_us DESC, id DESC LIMIT ?"
        rows = self._rows(sql, (*parameters, limit + 1))
        incidents = tuple(incident_from_row(row) for row in rows[:limit])
        return IncidentHistory(incidents, encode_cursor(incidents[-1]) if len(rows) > limit else None)

    def get(self, incident: str, zones: frozenset[str] = NO_ZONES) -> Incident | None:
        """The incident of this id, if there is one and it may be seen."""
        where, parameters = _seen(zones, ["id = ?"], [incident])
        rows = self._rows(f"{_SELECT}{where}", parameters)
        return incident_from_row(rows[0]) if rows else None

    def open(self, zones: frozenset[str] = NO_ZONES) -> tuple[Incident, ...]:
        """Incidents that last, the newest first; at most :data:`MOST_OPEN`."""
        where, parameters = _seen(zones, ["cleared_us IS NULL"], [])
        sql = f"{_SELECT_ACTIVE}{where} ORDER BY opened_us DESC, id DESC LIMIT ?"
        return tuple(incident_from_row(row) for row in self._rows(sql, (*parameters, MOST_OPEN)))

    def open_troubles(self, zone: str) -> tuple[Incident, ...]:
        """Troubles of ``zone`` that last and are not a node's; those of the hub itself have an empty zone."""
        where = "cleared_us IS NULL AND kind = 'trouble' AND origin_node IS NULL AND zone = ?"
        return tuple(incident_from_row(row) for row in self._rows(f"{_SELECT} WHERE {where}", (zone,)))

    def log(self, incident: str, zones: frozenset[str] = NO_ZONES) -> tuple[LogLine, ...]:
        """The timeline of an incident, oldest line first; empty if it may not be seen.

        Of a timeline longer than :data:`MOST_LINES` the newest lines.
        """
        if zones and self.get(incident, zones) is None:
            return ()
        rows = self._rows(
            f"SELECT {LOG_COLUMNS} FROM incident_log WHERE incident = ? "  # noqa: S608
            "ORDER BY at_us DESC, id DESC LIMIT ?",
            (incident, MOST_LINES),
        )
        return tuple(line_from_row(row) for row in reversed(rows))

    def events(
        self, incident: str, zones: frozenset[str] = NO_ZONES, limit: int = MAX_PAGE
    ) -> tuple[StoredEvent, ...]:
        """The first events of an incident, by onset; empty if it may not be seen."""
        if zones and self.get(incident, zones) is None:
            return ()
        names = ", ".join(f"e.{name}" for name in EVENT_COLUMNS)
        rows = self._rows(
            f"SELECT {names} FROM incident_events AS l JOIN events AS e ON e.id = l.event "  # noqa: S608
            "WHERE l.incident = ? ORDER BY e.onset_us, e.id LIMIT ?",
            (incident, limit),
        )
        return tuple(event_from_row(row) for row in rows)

    def of_event(self, event: str, zones: frozenset[str] = NO_ZONES) -> Incident | None:
        """The incident that holds the event of this id, if there is one and it may be seen."""
        rows = self._rows("SELECT incident FROM incident_events WHERE event = ?", (event,))
        return self.get(rows[0][0], zones) if rows else None

    def ids_of(self, events: Iterable[str]) -> dict[str, str]:
        """Ids of the incidents that hold these events, by the ids of the events."""
        found: dict[str, str] = {}
        for ids in _portions(events):
            marks = ", ".join("?" * len(ids))
            sql = f"SELECT event, incident FROM incident_events WHERE event IN ({marks})"  # noqa: S608
            found |= dict(self._rows(sql, ids))
        return found

    def answers(self, incidents: Iterable[str]) -> dict[str, tuple[GivenAnswer, ...]]:
        """What each person said last, by incident, in the order in which they did."""
        found: dict[str, dict[str, GivenAnswer]] = {}
        for ids in _portions(incidents):
            marks = ", ".join("?" * len(ids))
            sql = (
                "SELECT incident, person, detail, at_us FROM incident_log "  # noqa: S608
                f"WHERE step = 'answered' AND incident IN ({marks}) ORDER BY incident, id"
            )
            for incident, person, detail, at_us in self._rows(sql, ids):
                given = found.setdefault(incident, {})
                given.pop(person or "", None)  # so that the order is that of the last answers
                given[person or ""] = GivenAnswer(incident, person or "", Answer(detail), at_us)
        return {incident: tuple(given.values()) for incident, given in found.items()}

    def names(self, persons: Iterable[str]) -> dict[str, str]:
        """Names of persons by their ids; persons who are not known any more are left out."""
        found: dict[str, str] = {}
        for ids in _portions(persons):
            marks = ", ".join("?" * len(ids))
            found |= dict(
                self._rows(f"SELECT id, name FROM people WHERE id IN ({marks})", ids)  # noqa: S608
            )
        return found

    def drills(self, limit: int = 50) -> tuple[Drill, ...]:
        """The newest drills, the newest first."""
        rows = self._rows(
            f"SELECT {DRILL_COLUMNS} FROM drills ORDER BY started_us DESC, id DESC LIMIT ?",  # noqa: S608
            (limit,),
        )
        return tuple(drill_from_row(row) for row in rows)

    def drill(self, drill: str) -> Drill | None:
        """The drill of this id."""
        rows = self._rows(f"SELECT {DRILL_COLUMNS} FROM drills WHERE id = ?", (drill,))  # noqa: S608
        return drill_from_row(rows[0]) if rows else None

    def _rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._store.rows(sql, parameters)


def _seen(zones: frozenset[str], conditions: list[str], parameters: list[Any]) -> tuple[str, list[Any]]:
    """The WHERE of a statement that shows only what may be seen.

    A trouble of the hub itself has no zone and is everybody's: where the hub is deaf, everybody is.
    """
    if zones:
        conditions = [*conditions, f"zone IN ({', '.join('?' * len(zones))}, '')"]
        parameters = [*parameters, *sorted(zones)]
    return f" WHERE {' AND '.join(conditions)}" if conditions else "", parameters


def _conditions(only: IncidentFilter) -> tuple[list[str], list[Any]]:
    conditions: list[str] = []
    parameters: list[Any] = []
    if only.active is not None:
        conditions.append(f"cleared_us IS {'' if only.active else 'NOT '}NULL")
    for column, value in (("severity", only.severity), ("kind", only.kind), ("zone", only.zone)):
        if value is not None:
            conditions.append(f"{column} = ?")
            parameters.append(str(value))
    return conditions, parameters


def _portions(ids: Iterable[str]) -> Iterable[tuple[str, ...]]:
    every = tuple(dict.fromkeys(ids))
    return (every[start : start + _AT_ONCE] for start in range(0, len(every), _AT_ONCE))


def encode_cursor(incident: Incident) -> str:
    """Where the incidents older than ``incident`` begin."""
    return f"{incident.opened_us}.{incident.id}"


def decode_cursor(cursor: str) -> tuple[int, str]:
    """Opening and id in a cursor.

    Raises:
        BadInputError: it is not one of ours.
    """
    if not re.fullmatch(CURSOR_PATTERN, cursor):
        raise BadInputError("the cursor is not one that this hub gave out")
    opened, _, incident = cursor.partition(".")
    return int(opened), incident
