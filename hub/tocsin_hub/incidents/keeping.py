"""Writing incidents: what the rules make of an event, an answer, a trouble or a drill, inside a transaction.

Every function takes the open :class:`Recorder`, reads what it needs by an index, and writes incident, links
and timeline together; what is gathered for that (``working.py``) does not outlive the transaction. What they
return has changed, and is shown and alerted after COMMIT: it belongs into ``Outcome.incidents``.
"""

import dataclasses
import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from msgspec.structs import replace
from ulid import ULID

from tocsin_hub.connection import FAULTS, REFUSALS
from tocsin_hub.incidents import rules, troubles
from tocsin_hub.incidents.model import (
    DRILL_GROUP,
    Answer,
    Drill,
    HubTrouble,
    Incident,
    IncidentKind,
    IncidentSeverity,
    LogLine,
    Remark,
    Step,
)
from tocsin_hub.incidents.rows import (
    DRILL_COLUMNS,
    drill_from_row,
    incident_values,
    names_text,
    standing_from_row,
    tally_text,
)
from tocsin_hub.incidents.rules import Change, Fate, Limits, Standing
from tocsin_hub.incidents.working import INSERT, SELECT, Link, update, working, write_lines
from tocsin_hub.recorder import Recorder
from tocsin_hub.rooms import NodeRecord, are_two
from tocsin_hub.store import StoredEvent
from tocsin_hub.times import to_us
from tocsin_shared.events import NodeBorn, Trouble

_DEFAULT = Limits()
DRILL_LABEL = "evacuation_siren"
"""What a drill that sounds is shown as."""

_CLOCKS_US = 1_000_000
_NEWEST = 20
"""Of so many sounds one has the highest number: the last word is not always about the last that began."""
_SHOWN_US = 3_600_000_000
log = logging.getLogger(__name__)

Records = Callable[[str], NodeRecord | None]
"""What is known of a node."""


def fold_event(
    recorder: Recorder, event: StoredEvent, now_us: int, limits: Limits = _DEFAULT
) -> tuple[Incident, ...]:
    """What a stored event makes of the incidents of its place: it opens one, joins one, or changes one.

    Returns those that changed.
    """
    if rules.severity_of(event) is None:
        return ()
    if recorder.alone:
        recorder.settle()  # a fault in the event's own row is none of its incident
    for fold in (_folded, _alone):
        try:
            if not recorder.alone:
                return fold(recorder, event, now_us, limits)
            with recorder.savepoint():  # PostgreSQL goes on after a fault only from one
                changed = fold(recorder, event, now_us, limits)
                recorder.settle()  # a fault in what is written is found here, where something can be done
                return changed
        except Exception as error:  # a fault of ours, or a row that nobody can read, must keep no alarm back
            if isinstance(error, FAULTS) and not isinstance(error, REFUSALS):
                raise  # the disk or the database: the writer tries again
            log.exception("event %s cannot be judged (%s)", event.id, fold.__name__)
    return ()


def _folded(recorder: Recorder, event: StoredEvent, now_us: int, limits: Limits) -> tuple[Incident, ...]:
    link = working(recorder).link(event.id)
    before = working(recorder).by_id(link[0]) if link else _match(recorder, event, limits)
    begun_us = rules.begin_us(event, limits)
    drill = _covered(working(recorder).drills_from(begun_us), event.zone, begun_us, now_us)
    if before is None:
        change = rules.opened(event, str(ULID()), drill, limits, now_us)
    else:
        change = rules.joined(
            before, event, known=link is not None, drill=drill, limits=limits, now_us=now_us
        )
    changed = working(recorder).save(before, change, now_us, lasts=event.offset_us is None)
    if not _link(recorder, event, change.incident.id, link, now_us):
        return changed
    return _note_quiet(recorder, change, event, now_us, limits) or changed


def _alone(recorder: Recorder, event: StoredEvent, now_us: int, limits: Limits) -> tuple[Incident, ...]:
    """An incident for ``event`` alone, whatever else there is; none if it has one already."""
    if _row(recorder, "SELECT 1 FROM incident_events WHERE event = ?", (event.id,)) is not None:
        return ()
    change = rules.opened(event, str(ULID()), False, limits, now_us)
    changed = _save(recorder, None, change, now_us)
    _link(recorder, event, change.incident.id, None, now_us)
    return changed


def _link(recorder: Recorder, event: StoredEvent, incident: str, link: Link | None, now_us: int) -> bool:
    """Note to which incident ``event`` belongs, and whether it lasts; whether that may have ended it."""
    ended_us = None if event.offset_us is None else now_us
    if link is None or link[0] != incident:
        working(recorder).relink(event.id, incident, ended_us)
    elif (link[1] is None) != (ended_us is None):
        working(recorder).relink(event.id, incident, ended_us)
        if ended_us is None:  # it had been given up, and is heard of again
            working(recorder).sounds(incident)
    return ended_us is not None


def _note_quiet(
    recorder: Recorder, change: Change, event: StoredEvent, now_us: int, limits: Limits
) -> tuple[Incident, ...]:
    """Note since when nothing of the incident lasts; what was only reported late is cleared at once."""
    incident = change.incident
    working(recorder).quiet(incident.id, now_us)
    if not incident.late or not incident.active or incident.help_us is not None:
        return ()
    if working(recorder).sounds_still(incident.id):
        return ()
    ended_us = max(event.offset_us or 0, incident.opened_us) + limits.hold_us
    over = rules.cleared(change.standing, min(ended_us, now_us), now_us)
    return working(recorder).save(change.standing, over, now_us, lasts=False)


def _match(recorder: Recorder, event: StoredEvent, limits: Limits) -> Standing | None:
    """The incident that ``event`` joins: one that lasts, or else the one that ended last."""
    group = rules.group_of(event.label)
    for standing in working(recorder).open_at(group, event.zone):
        if rules.joins(standing.incident, event, limits):
            return standing
    since_us = rules.begin_us(event, limits) - limits.rejoin_us
    for standing in working(recorder).ended_at(group, event.zone, since_us):
        if rules.joins(standing.incident, event, limits):
            return standing
    return None


def review(
    recorder: Recorder, records: Records, now_us: int, limits: Limits = _DEFAULT
) -> tuple[Incident, ...]:
    """What time alone does: sounds end with their nodes' processes, what is quiet for long enough is cleared.

    An incident whose node is offline is not cleared: nobody hears whether it lasts, and it says so. A person
    who acknowledges it has taken over, and then it may end.
    """
    changed: dict[str, Incident] = {}
    for incident, events in _lasting(recorder).items():
        if (before := _by_id(recorder, incident)) is not None:
            told = _review_lasting(recorder, before, events, records, now_us=now_us, limits=limits)
            changed |= {one.id: one for one in told}
    due = "cleared_us IS NULL AND quiet_us IS NOT NULL AND quiet_us <= ?"
    for row in _rows(recorder, f"{SELECT} WHERE {due}", (now_us,)):
        for after in _review_quiet(recorder, standing_from_row(row), now_us, limits):
            changed[after.id] = after
    return tuple(changed.values())


def _lasting(recorder: Recorder) -> dict[str, list[rules.Lasting]]:
    """By incident, each of its events that has not ended."""
    found: dict[str, list[rules.Lasting]] = {}
    sql = (
        # Named, because SQLite would read all links that ever were.
        "SELECT l.incident, l.event, coalesce(e.node, ''), coalesce(e.boot, ''), coalesce(e.received_us, 0) "
        "FROM incident_events AS l INDEXED BY idx_incident_events_lasting "
        "LEFT JOIN events AS e ON e.id = l.event WHERE l.ended_us IS NULL"
    )
    for incident, event, node, boot, received_us in _rows(recorder, sql):
        found.setdefault(incident, []).append(rules.Lasting(event, node, boot, received_us))
    return found


def _review_lasting(
    recorder: Recorder,
    before: Standing,
    events: Sequence[rules.Lasting],
    records: Records,
    *,
    now_us: int,
    limits: Limits,
) -> tuple[Incident, ...]:
    fates = [(event, rules.fate_of(event, records(event.node), limits, now_us)) for event in events]
    away = [event for event, fate in fates if fate is Fate.AWAY]
    over = [event for event, fate in fates if fate is Fate.OVER]
    if before.incident.acknowledged:
        over, away = over + away, []  # somebody took over; nobody else can tell
    _give_up(recorder, before.incident.id, [event.event for event in over], now_us)
    heard = next((event for event, fate in fates if fate is Fate.HEARD), None)
    change = Change(before)
    if heard is not None and (before.incident.late or not before.incident.active):
        change = rules.lasting(before, heard.node, now_us)
    nodes = tuple(dict.fromkeys(event.node for event in away))
    if nodes != change.incident.unheard and change.incident.active:
        told = rules.unheard(change.standing, nodes, now_us)
        change = Change(told.standing, change.lines + told.lines)
    return _save(recorder, before, change, now_us)


def _give_up(recorder: Recorder, incident: str, events: Sequence[str], now_us: int) -> None:
    """Note that nobody will hear the end of ``events``."""
    if not events:
        return
    execute = recorder.database.execute
    for event in events:
        execute("UPDATE incident_events SET ended_us = ? WHERE event = ?", (now_us, event))
    _write_lines(recorder, (LogLine(incident, now_us, Step.UNHEARD, detail=Remark.END_UNKNOWN),))
    if not _lasts(recorder, incident):
        execute("UPDATE incidents SET quiet_us = ? WHERE id = ?", (now_us, incident))


def _review_quiet(
    recorder: Recorder, standing: Standing, now_us: int, limits: Limits
) -> tuple[Incident, ...]:
    quiet_us = _row(recorder, "SELECT quiet_us FROM incidents WHERE id = ?", (standing.incident.id,))
    if quiet_us is None or not rules.may_clear(standing.incident, quiet_us[0], limits, now_us):
        return ()
    incident = standing.incident
    # Of what was only reported late nobody knows more than when it began.
    at_us = min(now_us, incident.opened_us + limits.hold_us) if incident.late else now_us
    return _save(recorder, standing, rules.cleared(standing, at_us, now_us), now_us)


def acknowledge(recorder: Recorder, incident: str, person: str, now_us: int) -> tuple[Incident, ...]:
    """Note that ``person`` knows of it; nothing changes if there is no such incident, or somebody did."""
    before = _by_id(recorder, incident)
    if before is None:
        return ()
    return _save(recorder, before, rules.acknowledged(before, person, now_us), now_us)


def answer(recorder: Recorder, incident: str, person: str, said: Answer, now_us: int) -> tuple[Incident, ...]:
    """Note what ``person`` says of it; the same again changes nothing."""
    before = _by_id(recorder, incident)
    if before is None:
        return ()
    row = _row(
        recorder,
        "SELECT detail FROM incident_log WHERE incident = ? AND step = 'answered' AND person = ? "
        "ORDER BY id DESC LIMIT 1",
        (incident, person),
    )
    earlier = Answer(row[0]) if row is not None else None
    return _save(recorder, before, rules.answered(before, person, said, earlier, now_us), now_us)


def write_line(recorder: Recorder, line: LogLine) -> None:
    """Add a line to a timeline, as that somebody was alerted; the incident itself does not change."""
    _write_lines(recorder, (line,))


def open_trouble(
    recorder: Recorder,
    kind: str,
    zone: str,
    detail: str,
    now_us: int,
    *,
    node: str | None = None,
    since_us: int | None = None,
    limits: Limits = _DEFAULT,
    incident_id: str | None = None,
) -> tuple[Incident, ...]:
    """Note a trouble of the kind ``kind`` in ``zone`` (empty: of the hub itself), of ``node`` if it is one's.

    It may be noted again and again: one that lasts is only brought up to date, one that was over a moment
    ago is opened again. ``detail`` says in English what exactly is wrong. With ``incident_id`` it was told
    under that id before it could be stored.
    """
    before = _trouble(recorder, kind, None if node is not None else zone, node)
    if before is None and incident_id is None:
        before = _trouble_over(recorder, kind, zone, node, now_us - limits.rejoin_us)
    if before is not None:
        # What lasts again is not quiet: its former end would clear it as soon as that is long enough ago.
        recorder.database.execute("UPDATE incidents SET quiet_us = NULL WHERE id = ?", (before.incident.id,))
        return _save(recorder, before, troubles.trouble_goes_on(before, zone, detail, now_us), now_us)
    begun_us = now_us if since_us is None else since_us
    made = incident_id or str(ULID())
    return _save(
        recorder,
        None,
        troubles.trouble_opened(made, kind, zone, node=node, detail=detail, since_us=begun_us, now_us=now_us),
        now_us,
    )


def close_trouble(
    recorder: Recorder, kind: str, zone: str, now_us: int, *, node: str | None = None
) -> tuple[Incident, ...]:
    """Note that a trouble is over; nothing changes if it is not open."""
    before = _trouble(recorder, kind, None if node is not None else zone, node)
    if before is None:
        return ()
    recorder.database.execute("UPDATE incidents SET quiet_us = ? WHERE id = ?", (now_us, before.incident.id))
    return _save(recorder, before, troubles.trouble_over(before, now_us), now_us)


def fold_troubles(
    recorder: Recorder,
    node: str,
    zone: str,
    open_now: Sequence[Trouble],
    now_us: int,
    *,
    at_us: int,
    limits: Limits = _DEFAULT,
) -> tuple[Incident, ...]:
    """Bring the trouble incidents of ``node`` to what it said at ``at_us`` is open; all others are over."""
    found = [trouble for trouble in open_now if troubles.is_incident(trouble.kind)]
    changed: list[Incident] = []
    for trouble in found:
        changed += open_trouble(
            recorder,
            trouble.kind,
            zone,
            trouble.detail,
            now_us,
            node=node,
            since_us=troubles.begun_us(to_us(trouble.since), at_us, now_us),
            limits=limits,
        )
    still = {trouble.kind for trouble in found} | {
        str(kind) for kind in (HubTrouble.NODE_SILENT, HubTrouble.NODE_TWICE, HubTrouble.OUTBOX_OLDER)
    }
    for kind in _open_kinds(recorder, node) - still:
        changed += close_trouble(recorder, kind, zone, now_us, node=node)
    return tuple(changed)


def end_troubles(recorder: Recorder, node: str, zone: str, now_us: int) -> tuple[Incident, ...]:
    """Note that every trouble of a node is over, because the node is no more."""
    changed: list[Incident] = []
    for kind in sorted(_open_kinds(recorder, node)):
        changed += close_trouble(recorder, kind, zone, now_us, node=node)
    return tuple(changed)


def fold_silence(
    recorder: Recorder, records: Collection[NodeRecord], now_us: int, limits: Limits = _DEFAULT
) -> tuple[Incident, ...]:
    """Open a trouble for each node that is silent for too long, and end those of nodes that speak again."""
    changed: list[Incident] = []
    kind = HubTrouble.NODE_SILENT
    known = _nodes_with(recorder, kind)
    for record in records:
        if record.node not in known and troubles.is_silent(record, limits, now_us):
            changed += open_trouble(
                recorder,
                kind,
                record.zone,
                "nothing was heard of the node",
                now_us,
                node=record.node,
                since_us=record.since_us,
                limits=limits,
            )
        elif record.node in known and troubles.speaks(record, now_us):
            changed += close_trouble(recorder, kind, record.zone, now_us, node=record.node)
    return tuple(changed)


def fold_twins(
    recorder: Recorder, records: Collection[NodeRecord], now_us: int, limits: Limits = _DEFAULT
) -> tuple[Incident, ...]:
    """Open a trouble for each node as which two machines speak, and end it when only one does."""
    changed: list[Incident] = []
    kind = HubTrouble.NODE_TWICE
    known = _nodes_with(recorder, kind)
    for record in records:
        if are_two(record, now_us):
            if record.node not in known:
                detail = f"two machines say that they are {record.node}, and push each other off the broker"
                changed += open_trouble(
                    recorder, kind, record.zone, detail, now_us, node=record.node, limits=limits
                )
        elif record.node in known:
            changed += close_trouble(recorder, kind, record.zone, now_us, node=record.node)
    return tuple(changed)


def fold_outbox(
    recorder: Recorder, birth: NodeBorn, now_us: int, limits: Limits = _DEFAULT
) -> tuple[Incident, ...]:
    """Open a trouble if the node of ``birth`` has forgotten that it told what is stored here.

    Its card was replaced, or an old copy of it was put in. Nothing that it will tell is lost by that, because
    ids count and not numbers; but whatever it had kept and not told yet is.
    """
    if birth.outbox_last is None:
        return ()
    newest = "SELECT seq FROM events WHERE node = ? ORDER BY onset_us DESC LIMIT ?"
    told = max((seq for (seq,) in _rows(recorder, newest, (birth.node, _NEWEST))), default=0)
    if told <= birth.outbox_last:
        return ()
    detail = f"the node counts from {birth.outbox_last}, and had told number {told} already"
    kind = HubTrouble.OUTBOX_OLDER
    return open_trouble(recorder, kind, birth.zone, detail, now_us, node=birth.node, limits=limits)


def end_older_outboxes(recorder: Recorder, now_us: int) -> tuple[Incident, ...]:
    """End each such trouble when it has been shown for long enough: nobody can mend it."""
    changed: list[Incident] = []
    sql = f"{SELECT} WHERE grouping = ? AND cleared_us IS NULL AND opened_us <= ?"
    shown = (HubTrouble.OUTBOX_OLDER, now_us - _SHOWN_US)
    for row in _rows(recorder, sql, shown):
        incident = standing_from_row(row).incident
        changed += close_trouble(recorder, incident.group, incident.zone, now_us, node=incident.origin_node)
    return tuple(changed)


def _nodes_with(recorder: Recorder, kind: HubTrouble) -> set[str]:
    """Nodes of which a trouble of this kind lasts."""
    sql = "SELECT origin_node FROM incidents WHERE grouping = ? AND cleared_us IS NULL"
    return {row[0] for row in _rows(recorder, sql, (kind,))}


def start_drill(
    recorder: Recorder, drill: Drill, zones: Collection[str], now_us: int
) -> tuple[Incident, ...]:
    """Start a drill; if it sounds, it opens an incident in each of ``zones``, which no event did."""
    recorder.database.execute(
        f"INSERT INTO drills ({DRILL_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
        (
            drill.id,
            names_text(sorted(drill.zones)),
            drill.started_by,
            drill.note,
            drill.started_us,
            drill.ends_us,
            int(drill.sound),
        ),
    )
    changed: list[Incident] = []
    for zone in zones if drill.sound else ():
        practice = _practice(zone, drill, now_us)
        changed += _save(recorder, None, practice, now_us)
        recorder.database.execute(
            "UPDATE incidents SET quiet_us = ? WHERE id = ?", (drill.ends_us, practice.incident.id)
        )
    return tuple(changed)


def _practice(zone: str, drill: Drill, now_us: int) -> Change:
    incident = Incident(
        id=str(ULID()),
        kind=IncidentKind.SOUND,
        group=DRILL_GROUP,
        label=DRILL_LABEL,
        severity=IncidentSeverity.ALARM,
        zone=zone,
        drill=True,
        opened_us=now_us,
        updated_us=now_us,
        detail=drill.note,
    )
    line = LogLine(incident.id, now_us, Step.OPENED, person=drill.started_by, detail=DRILL_LABEL)
    return Change(Standing(incident), (line,))


def end_drill(recorder: Recorder, drill: str, now_us: int) -> tuple[Drill | None, tuple[Incident, ...]]:
    """End a drill now; ``None`` if there is no such drill. What it let sound is over."""
    row = _row(recorder, f"SELECT {DRILL_COLUMNS} FROM drills WHERE id = ?", (drill,))  # noqa: S608
    if row is None:
        return None, ()
    before = drill_from_row(row)
    after = dataclasses.replace(before, ends_us=min(before.ends_us, max(now_us, before.started_us)))
    recorder.database.execute("UPDATE drills SET ends_us = ? WHERE id = ?", (after.ends_us, drill))
    changed: list[Incident] = []
    rows = _rows(recorder, f"{SELECT} WHERE grouping = ? AND cleared_us IS NULL", (DRILL_GROUP,))
    for standing in map(standing_from_row, rows):
        zone = standing.incident.zone
        if before.covers(zone, before.started_us) and not _drill_covers(recorder, zone, now_us, now_us):
            recorder.database.execute(
                "UPDATE incidents SET quiet_us = ? WHERE id = ?", (now_us, standing.incident.id)
            )
            if rules.may_clear(standing.incident, now_us, _DEFAULT, now_us):
                changed += _save(recorder, standing, rules.cleared(standing, now_us, now_us), now_us)
    return after, tuple(changed)


def _drill_covers(recorder: Recorder, zone: str, begun_us: int, now_us: int) -> bool:
    """Whether what began at ``begun_us`` in ``zone``, and is heard of now, belongs to a drill."""
    sql = f"SELECT {DRILL_COLUMNS} FROM drills WHERE ends_us > ?"  # noqa: S608
    return _covered(map(drill_from_row, _rows(recorder, sql, (begun_us,))), zone, begun_us, now_us)


def _covered(drills: Iterable[Drill], zone: str, begun_us: int, now_us: int) -> bool:
    # Clocks of nodes differ by a little; at the end of a drill, an event too many counts as real.
    return any(drill.covers(zone, begun_us + _CLOCKS_US) for drill in drills if drill.started_us <= now_us)


def _trouble(recorder: Recorder, kind: str, zone: str | None, node: str | None) -> Standing | None:
    """The open trouble of this kind: of ``node`` wherever it stands, or of ``zone``."""
    place, value = ("origin_node", node) if node is not None else ("origin_node IS NULL AND zone", zone)
    row = _row(
        recorder,
        f"{SELECT} WHERE grouping = ? AND cleared_us IS NULL AND kind = 'trouble' AND {place} = ?",
        (kind, value),
    )
    return None if row is None else standing_from_row(row)


def _trouble_over(
    recorder: Recorder, kind: str, zone: str, node: str | None, since_us: int
) -> Standing | None:
    row = _row(
        recorder,
        f"{SELECT} WHERE grouping = ? AND zone = ? AND cleared_us > ? AND kind = 'trouble' "
        "AND origin_node IS NOT DISTINCT FROM ? ORDER BY cleared_us DESC LIMIT 1",
        (kind, zone, since_us, node),
    )
    return None if row is None else standing_from_row(row)


def _open_kinds(recorder: Recorder, node: str) -> set[str]:
    sql = "SELECT grouping FROM incidents WHERE cleared_us IS NULL AND kind = 'trouble' AND origin_node = ?"
    return {row[0] for row in _rows(recorder, sql, (node,))}


def _save(recorder: Recorder, before: Standing | None, change: Change, now_us: int) -> tuple[Incident, ...]:
    """Write what changed, with a change number of its own; nothing if nothing did."""
    _write_lines(recorder, change.lines)
    if before is not None and change.standing == before and not change.lines:
        return ()  # a phase that says nothing new
    recorder.changes += 1
    incident = replace(change.incident, change=recorder.changes, updated_us=now_us)
    values = (*incident_values(incident), tally_text(change.standing.tally))
    if before is None:
        recorder.database.execute(INSERT, values)
    else:
        stored = (*incident_values(before.incident), tally_text(before.tally))
        update(recorder.database, stored, values, False)
    return (incident,)


def _write_lines(recorder: Recorder, lines: Sequence[LogLine]) -> None:
    write_lines(recorder.database, lines)


def _lasts(recorder: Recorder, incident: str) -> bool:
    sql = "SELECT 1 FROM incident_events WHERE incident = ? AND ended_us IS NULL LIMIT 1"
    return _row(recorder, sql, (incident,)) is not None


def _by_id(recorder: Recorder, incident: str) -> Standing | None:
    row = _row(recorder, f"{SELECT} WHERE id = ?", (incident,))
    return None if row is None else standing_from_row(row)


def _row(recorder: Recorder, sql: str, parameters: Sequence[Any] = ()) -> Sequence[Any] | None:
    row: Sequence[Any] | None = recorder.database.execute(sql, parameters).fetchone()
    return row


def _rows(recorder: Recorder, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    return recorder.database.execute(sql, parameters).fetchall()
