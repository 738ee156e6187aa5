"""What folding events into incidents has read and will write, gathered for one transaction.

Under load one commit holds hundreds of events of a few incidents: each is read once and written once. It
stands in the recorder's :attr:`~tocsin_hub.recorder.Recorder.pending`: whoever else asks for the database in
the same transaction lets it be written first and forgotten; a rollback forgets it; nothing of it outlives a
transaction, so nothing is remembered that is not on the disk.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from msgspec.structs import replace

from tocsin_hub.connection import Connection
from tocsin_hub.incidents.model import Drill, Incident, IncidentKind, LogLine
from tocsin_hub.incidents.rows import (
    DRILL_COLUMNS,
    INCIDENT_COLUMNS,
    LOG_COLUMNS,
    drill_from_row,
    incident_values,
    standing_from_row,
    tally_text,
)
from tocsin_hub.incidents.rules import Change, Standing
from tocsin_hub.recorder import Recorder

SELECT = f"SELECT {INCIDENT_COLUMNS}, tally FROM incidents"  # noqa: S608 - names of our own
_MARKS = ", ".join("?" * (INCIDENT_COLUMNS.count(",") + 2))
INSERT = f"INSERT INTO incidents ({INCIDENT_COLUMNS}, tally) VALUES ({_MARKS})"  # noqa: S608
_COLUMNS = (*INCIDENT_COLUMNS.split(", "), "tally")
_OPEN = f"{SELECT} WHERE kind = 'sound' AND grouping = ? AND zone = ? AND cleared_us IS NULL"
_ENDED = f"{SELECT} WHERE kind = 'sound' AND grouping = ? AND zone = ? AND cleared_us > ?"
_SOUNDING = "SELECT event FROM incident_events WHERE incident = ? AND ended_us IS NULL"
_DRILLS = f"SELECT {DRILL_COLUMNS} FROM drills WHERE ends_us > ?"  # noqa: S608
_LINKS = "SELECT event, incident, ended_us FROM incident_events WHERE event IN"
_OTHER_LINK = "ON CONFLICT (event) DO UPDATE SET incident = excluded.incident, ended_us = excluded.ended_us"
_QUIET = (
    "UPDATE incidents SET quiet_us = ? WHERE id = ? AND NOT EXISTS "
    "(SELECT 1 FROM incident_events WHERE incident = incidents.id AND ended_us IS NULL)"
)
_AT_ONCE = 500
"""So many links are read by one question."""
_BEFORE_US = 3_600_000_000
"""Drills are read for events that began so much earlier than the first one that asked."""

Link = tuple[str, int | None]
"""The incident of an event, and when the hub knew that the event had ended."""


class Working:
    """Incidents, links, lines and drills of one transaction."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._execute = recorder.connection.execute
        self._now: dict[str, Standing] = {}
        self._stored: dict[str, Standing | None] = {}
        self._at: dict[tuple[str, str], set[str]] = {}
        self._places: dict[tuple[str, str], set[str]] = {}
        self._ended: dict[tuple[str, str], tuple[int, list[Standing]]] = {}
        self._links: dict[str, Link | None] = {}
        self._sounding: dict[str, set[str]] = {}
        self._new_links: dict[str, Link] = {}
        self._same_links: dict[str, int | None] = {}
        self._lines: list[LogLine] = []
        self._lasting: set[str] = set()
        self._quiet: dict[str, int] = {}
        self._drills: tuple[int, list[Drill]] | None = None

    def by_id(self, incident: str) -> Standing | None:
        """The incident as it stands now."""
        if incident not in self._now:
            row = self._execute(f"{SELECT} WHERE id = ?", (incident,)).fetchone()
            if row is None:
                return None
            self._know(standing_from_row(row))
        return self._now[incident]

    def _know(self, standing: Standing) -> None:
        """Note how an incident stands now."""
        incident = standing.incident
        self._now[incident.id] = standing
        if incident.kind is IncidentKind.SOUND:
            self._at.setdefault((incident.group, incident.zone), set()).add(incident.id)

    def open_at(self, group: str, zone: str) -> list[Standing]:
        """The open incidents of sounds of a place, the newest first."""
        if (group, zone) not in self._places:
            found = [standing_from_row(row) for row in self._execute(_OPEN, (group, zone))]
            for one in found:
                if one.incident.id not in self._now:  # else what this transaction knows is newer
                    self._know(one)
            ours = [self._now[incident].incident for incident in self._at.get((group, zone), ())]
            self._places[group, zone] = {one.id for one in ours if one.active}
        standings = [self._now[incident] for incident in self._places[group, zone]]
        return sorted(standings, key=lambda one: (one.incident.opened_us, one.incident.id), reverse=True)

    def ended_at(self, group: str, zone: str, since_us: int) -> list[Standing]:
        """The incidents of sounds of a place that ended after ``since_us``, the last one first."""
        read = self._ended.get((group, zone))
        if read is None or since_us < read[0]:
            found = [standing_from_row(row) for row in self._execute(_ENDED, (group, zone, since_us))]
            read = self._ended[group, zone] = since_us, found
        # What this transaction knows is newer than what the database has.
        known = [one for one in read[1] if one.incident.id not in self._now]
        known += [self._now[incident] for incident in self._at.get((group, zone), ())]
        ended = [one for one in known if (one.incident.cleared_us or 0) > since_us]
        return sorted(ended, key=lambda one: (one.incident.cleared_us, one.incident.id), reverse=True)

    def sounds_still(self, incident: str) -> bool:
        """Whether an event of ``incident`` lasts."""
        if incident not in self._sounding:
            sounding = {event for (event,) in self._execute(_SOUNDING, (incident,))}
            for event, link in self._links.items():
                _note_sounding(sounding, event, lasts=link == (incident, None))
            self._sounding[incident] = sounding
        return bool(self._sounding[incident])

    def drills_from(self, begun_us: int) -> Iterable[Drill]:
        """All drills that end after ``begun_us``."""
        if self._drills is None or begun_us < self._drills[0]:
            since_us = begun_us - _BEFORE_US
            self._drills = since_us, [drill_from_row(row) for row in self._execute(_DRILLS, (since_us,))]
        return (drill for drill in self._drills[1] if drill.ends_us > begun_us)

    def link(self, event: str) -> Link | None:
        """To which incident ``event`` belongs, and since when it has ended."""
        if event not in self._links:
            self._read_links([event, *self._recorder.expected][:_AT_ONCE])
        return self._links[event]

    def _read_links(self, events: Sequence[str]) -> None:
        """Read the links of many events that will be asked for by one question."""
        unread = [event for event in events if event not in self._links]
        marks = ", ".join("?" * len(unread))
        self._links |= dict.fromkeys(unread)
        for event, incident, ended_us in self._execute(f"{_LINKS} ({marks})", unread):
            self._links[event] = (incident, ended_us)

    def relink(self, event: str, incident: str, ended_us: int | None) -> None:
        """Note to which incident ``event`` belongs, and since when it has ended."""
        before = self.link(event)
        self._links[event] = (incident, ended_us)
        if before is not None:
            self._sounding.get(before[0], set()).discard(event)
        if incident in self._sounding:
            _note_sounding(self._sounding[incident], event, lasts=ended_us is None)
        if before is None or before[0] != incident or event in self._new_links:
            self._new_links[event] = (incident, ended_us)
        else:
            self._same_links[event] = ended_us

    def save(
        self, before: Standing | None, change: Change, now_us: int, *, lasts: bool
    ) -> tuple[Incident, ...]:
        """Note what changed, with a change number of its own; nothing if nothing did.

        ``lasts`` if something of it sounds, so that it is not quiet.
        """
        self._lines += change.lines
        if before is not None and change.standing == before and not change.lines:
            return ()
        self._recorder.changes += 1
        incident = replace(change.incident, change=self._recorder.changes, updated_us=now_us)
        self._stored.setdefault(incident.id, before)
        self._know(Standing(incident, change.standing.tally))
        place = self._places.get((incident.group, incident.zone))
        if place is not None and incident.kind is IncidentKind.SOUND:
            (place.add if incident.active else place.discard)(incident.id)
        if lasts:
            self._lasting.add(incident.id)
        return (incident,)

    def sounds(self, incident: str) -> None:
        """Note that something of ``incident`` lasts, so that it is not quiet."""
        self._lasting.add(incident)

    def quiet(self, incident: str, now_us: int) -> None:
        """Note that ``incident`` is quiet since ``now_us``, if nothing of it lasts in the end."""
        self._quiet[incident] = now_us

    def write(self, connection: Connection) -> None:
        """Write all of it."""
        write_lines(connection, self._lines)
        for incident, before in self._stored.items():
            after = _values(self._now[incident])
            if before is None:
                connection.execute(INSERT, after)
            else:
                update(connection, _values(before), after, incident in self._lasting)
        for incident in self._lasting - self._stored.keys():
            connection.execute("UPDATE incidents SET quiet_us = NULL WHERE id = ?", (incident,))
        new = [(event, *link) for event, link in self._new_links.items()]
        connection.insert("incident_events", ("event", "incident", "ended_us"), new, _OTHER_LINK)
        same = [(ended, event) for event, ended in self._same_links.items()]
        connection.update("incident_events", ("ended_us", "event"), same)
        connection.executemany(_QUIET, [(at_us, incident) for incident, at_us in self._quiet.items()])


def working(recorder: Recorder) -> Working:
    """What this transaction has gathered so far."""
    if not isinstance(recorder.pending, Working):
        recorder.settle()
        recorder.pending = Working(recorder)
    return recorder.pending


def update(connection: Connection, before: Sequence[Any], after: Sequence[Any], lasts: bool) -> None:
    """Write what differs only: a column that is named, changed or not, costs the upkeep of its indexes."""
    names, values = [], []
    for name, old, new in zip(_COLUMNS, before, after, strict=True):
        if old != new:
            names.append(name)
            values.append(new)
    written = ", ".join([f"{name} = ?" for name in names] + (["quiet_us = NULL"] if lasts else []))
    connection.execute(f"UPDATE incidents SET {written} WHERE id = ?", (*values, after[0]))  # noqa: S608


def write_lines(connection: Connection, lines: Iterable[LogLine]) -> None:
    """Add lines to timelines."""
    rows = [
        (line.incident, line.at_us, str(line.step), line.person, line.node, line.event, str(line.detail))
        for line in lines
    ]
    connection.insert("incident_log", LOG_COLUMNS.split(", "), rows)


def _values(standing: Standing) -> tuple[Any, ...]:
    return (*incident_values(standing.incident), tally_text(standing.tally))


def _note_sounding(sounding: set[str], event: str, *, lasts: bool) -> None:
    if lasts:
        sounding.add(event)
    else:
        sounding.discard(event)
