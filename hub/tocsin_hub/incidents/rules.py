"""Rules: what nodes report, and what people answer, becomes incidents.

Everything here is a value in and a value out; times are arguments, microseconds of UTC. What the rules
must remember from one event to the next stands in a :class:`Tally`, which is stored beside its incident.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Any

import msgspec
from msgspec.structs import replace

from tocsin_hub.incidents.model import (
    DRILL_GROUP,
    Answer,
    Incident,
    IncidentKind,
    IncidentSeverity,
    LogLine,
    Remark,
    Step,
)
from tocsin_hub.rooms import NodeRecord, RoomState
from tocsin_hub.store import StoredEvent
from tocsin_shared.events import Certainty, Clock
from tocsin_shared.labels import Severity

GROUPS: dict[str, str] = {
    "smoke_alarm": "evacuate",
    "co_alarm": "evacuate",
    "evacuation_siren": "evacuate",
    "siren": "evacuate",
    "vehicle_horn": "vehicle",
    "reversing_beeper": "vehicle",
}
"""Labels that are easily taken for one another *and* ask a person to do the same: leave, or step aside.

The second half decides. An ambulance's siren is easily taken for an evacuation siren, but whoever
acknowledged the one must still be told of the other, so ``emergency_siren`` is a group of its own, as is
every label that is not listed; of two incidents too many nobody comes to harm.
"""
ASSUMED_AMBIENT_DBFS = -50.0
"""Stands in for the level of a room that its node does not know yet."""
NO_LEVEL_DB = -1000.0
"""Below every level: an event of digital silence is nowhere loud."""
_AGAIN_SECONDS = 30.0
"""The same node and sound again after less than this is no line of its own in the timeline."""
_WORTH = {severity: -rank for rank, severity in enumerate(IncidentSeverity)}
_SEVERITIES = {
    severity: None if severity is Severity.NONE else IncidentSeverity(severity.value) for severity in Severity
}
_SURENESS = {certainty: rank for rank, certainty in enumerate(Certainty)}


@dataclass(frozen=True)
class Limits:
    """How long what counts as what, seconds."""

    hold_seconds: float = 20.0
    """An incident is cleared when none of its sounds was heard for this long."""
    rejoin_seconds: float = 120.0
    """What begins so soon after the end of an incident goes on with it."""
    late_seconds: float = 120.0
    """What is reported this long after its onset, and is over, wakes nobody."""
    lasting_seconds: float = 15.0
    """What was reported late and has not ended so long after the report still sounds, if nothing waits in the
    node's outbox: time for a heartbeat that says so."""
    backlog_seconds: float = 60.0
    """The same, whatever waits in the outbox."""
    node_silent_seconds: float = 20.0
    """A node of which nothing was heard for this long is a trouble."""

    @property
    def hold_us(self) -> int:
        """:attr:`hold_seconds` in microseconds."""
        return round(self.hold_seconds * 1e6)

    @property
    def rejoin_us(self) -> int:
        """:attr:`rejoin_seconds` in microseconds."""
        return round(self.rejoin_seconds * 1e6)

    @property
    def late_us(self) -> int:
        """:attr:`late_seconds` in microseconds."""
        return round(self.late_seconds * 1e6)

    @property
    def lasting_us(self) -> int:
        """:attr:`lasting_seconds` in microseconds."""
        return round(self.lasting_seconds * 1e6)

    @property
    def backlog_us(self) -> int:
        """:attr:`backlog_seconds` in microseconds."""
        return round(self.backlog_seconds * 1e6)

    @property
    def node_silent_us(self) -> int:
        """:attr:`node_silent_seconds` in microseconds."""
        return round(self.node_silent_seconds * 1e6)


class Tally(msgspec.Struct, frozen=True):
    """What must be remembered of an incident's events so that their order of arrival does not matter."""

    strongest: tuple[int, float, int, str] | None = None
    """Of the event that gives the label: severity (more is worse), score, onset (negative), id."""
    loudest: tuple[float, int, str] | None = None
    """Of the event that gives the origin: level above its room in dB, onset (negative), id."""
    labels: tuple[str, ...] = ()
    """All labels that were reported, in the order in which they were."""
    heard_us: int = 0
    """When the hub last heard of an event that it did not know."""


class Standing(msgspec.Struct, frozen=True):
    """An incident with what must be remembered of it."""

    incident: Incident
    tally: Tally = Tally()


class Change(msgspec.Struct, frozen=True):
    """An incident after something happened, and the lines that it adds to the timeline."""

    standing: Standing
    lines: tuple[LogLine, ...] = ()

    @property
    def incident(self) -> Incident:
        """The incident itself."""
        return self.standing.incident


def group_of(label: str) -> str:
    """The group of ``label``; a label that nothing else is taken for is a group of its own."""
    return GROUPS.get(label, label)


def severity_of(event: StoredEvent) -> IncidentSeverity | None:
    """How much ``event`` matters; ``None`` if it is a test or a sound that is never reported."""
    return _SEVERITIES[event.severity]


def is_late(event: StoredEvent, limits: Limits) -> bool:
    """Whether ``event`` was reported so long after its onset that it wakes nobody, as long as it is over.

    A message that only waited for a short break of the connection is not late. Where the node's clock is
    not to be trusted, only its own word that the message waited counts: in doubt, people are told.
    """
    if event.clock is not Clock.NTP:
        return event.late
    return event.first_received_us - event.onset_us > limits.late_us


def begin_us(event: StoredEvent, limits: Limits) -> int:
    """When ``event`` began, as far as that can be known: never after the hub heard of it."""
    onset_us, received_us = event.onset_us, event.first_received_us
    doubtful = event.clock is not Clock.NTP and not event.late
    if doubtful and received_us - onset_us > limits.late_us:
        return received_us  # it was sent at once, so a clock that says "years ago" is wrong
    return min(onset_us, received_us)


def joins(incident: Incident, event: StoredEvent, limits: Limits) -> bool:
    """Whether ``event`` belongs to ``incident``, which is of its zone and group, by time."""
    begin = begin_us(event, limits)
    cleared = incident.cleared_us
    if cleared is not None and begin - cleared >= limits.rejoin_us:
        return False
    if not is_late(event, limits):
        return True
    end = max(begin, event.offset_us or begin)
    return end > incident.opened_us - limits.rejoin_us


def opened(event: StoredEvent, incident_id: str, drill: bool, limits: Limits, now_us: int) -> Change:
    """The incident that ``event``, whose severity is not ``None``, opens."""
    begin = begin_us(event, limits)
    empty = Incident(
        id=incident_id,
        kind=IncidentKind.SOUND,
        group=group_of(event.label),
        label=event.label,
        severity=severity_of(event) or IncidentSeverity.WARNING,
        zone=event.zone,
        drill=drill,
        opened_us=begin,
        updated_us=now_us,
        nodes=(event.node,),
        first_event=event.id,
        events=1,
        late=is_late(event, limits),
    )
    weight = _weighed(Standing(empty), event, begin)
    tally = Tally(weight.strongest, weight.loudest, (event.label,), now_us)
    line = LogLine(incident_id, now_us, Step.OPENED, node=event.node, event=event.id, detail=event.label)
    return Change(Standing(replace(empty, **weight.of_incident), tally), (line,))


def joined(
    standing: Standing, event: StoredEvent, *, known: bool, drill: bool, limits: Limits, now_us: int
) -> Change:
    """The incident after ``event``; ``known`` if an earlier phase of it was counted already.

    ``drill`` says whether a drill covers the event. Nothing here makes an incident less: severity,
    certainty and level only rise.
    """
    before = standing.incident
    if known and _is_nothing_new(standing, event, limits):
        return Change(standing)
    late = is_late(event, limits)
    news = _News(
        reopened=not (before.active or late) and (not known or event.offset_us is None),
        new_node=event.node not in before.nodes,
        new_label=event.label not in standing.tally.labels,
        silence_us=0 if known or late else now_us - standing.tally.heard_us,
        real=before.drill and not (drill or known or late),
        late=late,
        known=known,
    )
    begin = begin_us(event, limits)
    weight = _weighed(standing, event, begin)
    tally = Tally(
        weight.strongest,
        weight.loudest,
        (*standing.tally.labels, event.label) if news.new_label else standing.tally.labels,
        standing.tally.heard_us if known else max(standing.tally.heard_us, now_us),
    )
    incident = replace(
        before,
        **weight.of_incident,
        opened_us=min(before.opened_us, begin),
        nodes=(*before.nodes, event.node) if news.new_node else before.nodes,
        events=before.events + (not known),
        late=before.late and (known or late),
        drill=before.drill and not news.real,
        cleared_us=None if news.reopened else before.cleared_us,
    )
    if news.lifts_acknowledgement(before, incident, limits):
        incident = _unacknowledged(incident)
    return Change(Standing(incident, tally), news.lines(before, incident, event, now_us, limits))


def _is_nothing_new(standing: Standing, event: StoredEvent, limits: Limits) -> bool:
    """Whether a later word about a known event leaves all as it is: the usual end of a sound.

    A short way to what :func:`joined` would find; about half of all messages take it.
    """
    incident, tally = standing.incident, standing.tally
    if tally.strongest is None or tally.loudest is None or incident.certainty is None:
        return False
    if event.node not in incident.nodes or event.label not in tally.labels:
        return False
    begin, severity = begin_us(event, limits), severity_of(event) or incident.severity
    return (
        (incident.active or event.offset_us is not None or is_late(event, limits))
        and begin >= incident.opened_us
        and (_worth(severity), event.score, -begin, event.id) <= tally.strongest
        and (_margin_db(event), -begin, event.id) <= tally.loudest
        and _worth(severity) <= _worth(incident.severity)
        and _sureness(event.certainty) <= _sureness(incident.certainty)
    )


class _News(msgspec.Struct, frozen=True):
    """What is new about an event for the incident that it joins."""

    reopened: bool
    new_node: bool
    new_label: bool
    silence_us: int
    """Since something new was last heard of the incident; 0 if the event is known or late."""
    real: bool
    """The incident was a drill, and this event belongs to none."""
    late: bool
    known: bool

    def lifts_acknowledgement(self, before: Incident, after: Incident, limits: Limits) -> bool:
        """Whether whoever acknowledged ``before`` could not know of this."""
        if self.late or not before.acknowledged:
            return False
        if self.reopened or self.real or _rose(before, after):
            return True
        return after.severity is IncidentSeverity.ALARM and self.remark(limits) is not None

    def remark(self, limits: Limits) -> Remark | None:
        """What makes an alarm another one than that which somebody acknowledged."""
        if self.new_label:
            return Remark.NEW_LABEL
        return Remark.AGAIN if self.silence_us >= limits.rejoin_us else None

    def lines(
        self, before: Incident, after: Incident, event: StoredEvent, now_us: int, limits: Limits
    ) -> tuple[LogLine, ...]:
        """What the timeline says of it."""

        def line(step: Step, detail: str = "") -> LogLine:
            return LogLine(before.id, now_us, step, node=event.node, event=event.id, detail=detail)

        lines = [line(Step.REOPENED)] if self.reopened else []
        if self.new_label:
            lines.append(line(Step.HEARD, Remark.NEW_LABEL))
        elif self.new_node:
            lines.append(line(Step.HEARD))
        elif not self.reopened and self.silence_us >= _AGAIN_SECONDS * 1e6:
            lines.append(line(Step.HEARD, Remark.AGAIN))
        if self.real:
            lines.append(line(Step.ESCALATED, Remark.NO_DRILL))
        if _rose(before, after):
            lines.append(line(Step.ESCALATED, after.severity))
        lifted = before.acknowledged and not after.acknowledged
        if lifted and not (self.reopened or self.real or _rose(before, after)):
            lines.append(line(Step.ESCALATED, self.remark(limits) or ""))
        return tuple(lines)


class _Weight(msgspec.Struct, frozen=True):
    """What an event adds to severity, label, origin and certainty."""

    strongest: tuple[int, float, int, str]
    loudest: tuple[float, int, str]
    of_incident: dict[str, Any]
    """Fields of the incident that it changes."""


def _weighed(standing: Standing, event: StoredEvent, begin: int) -> _Weight:
    """What ``event``, which began at ``begin``, adds: the greater one counts, whichever came first."""
    incident, tally = standing.incident, standing.tally
    severity = severity_of(event) or incident.severity
    strongest = (_worth(severity), event.score, -begin, event.id)
    loudest = (_margin_db(event), -begin, event.id)
    changed: dict[str, Any] = {}
    if tally.strongest is None or strongest > tally.strongest:
        changed["label"] = event.label
    if tally.loudest is None or loudest > tally.loudest:
        changed |= {"origin_node": event.node, "origin_level_dbfs": event.level_dbfs}
    if _worth(severity) > _worth(incident.severity):
        changed["severity"] = severity
    if incident.certainty is None or _sureness(event.certainty) > _sureness(incident.certainty):
        changed["certainty"] = event.certainty
    return _Weight(
        max(strongest, tally.strongest or strongest), max(loudest, tally.loudest or loudest), changed
    )


def _margin_db(event: StoredEvent) -> float:
    """How far ``event`` stands out of its room: microphones differ in gain, rooms in noise."""
    if event.level_dbfs is None:
        return NO_LEVEL_DB
    ambient = ASSUMED_AMBIENT_DBFS if event.ambient_dbfs is None else event.ambient_dbfs
    return event.level_dbfs - ambient


def _worth(severity: IncidentSeverity) -> int:
    return _WORTH[severity]


def _sureness(certainty: Certainty) -> int:
    return _SURENESS[certainty]


def _rose(before: Incident, after: Incident) -> bool:
    return _worth(after.severity) > _worth(before.severity)


def _unacknowledged(incident: Incident) -> Incident:
    return replace(incident, acknowledged_us=None, acknowledged_by=None)


@dataclass(frozen=True)
class Lasting:
    """An event whose end the hub was not told."""

    event: str
    node: str
    """Empty if the event was deleted because of its age."""
    boot: str
    received_us: int
    """When the hub received the last word about it."""


class Fate(Enum):
    """What is known of an event whose end the hub was not told."""

    HEARD = "heard"
    """Its node is there and would say so if it had ended: it sounds."""
    WAITING = "waiting"
    """Its end may be under way."""
    AWAY = "away"
    """Its node is not there: nobody hears whether it sounds."""
    OVER = "over"
    """Another process runs on the node, and reports anew what still sounds."""


def fate_of(event: Lasting, record: NodeRecord | None, limits: Limits, now_us: int) -> Fate:
    """What is known of ``event`` by what is known of its node; a node that was removed is away for good."""
    if not event.node:
        return Fate.OVER
    if record is None or record.state is RoomState.OFFLINE:
        return Fate.AWAY
    if record.boot is not None and record.boot != event.boot:
        return Fate.OVER
    beat = record.heartbeat
    if record.state is RoomState.UNKNOWN or beat is None or beat.boot != event.boot:
        return Fate.WAITING
    drained = beat.outbox_depth == 0
    waited_us = now_us - event.received_us
    return Fate.HEARD if waited_us >= (limits.lasting_us if drained else limits.backlog_us) else Fate.WAITING


def lasting(standing: Standing, node: str, now_us: int) -> Change:
    """The incident after it turned out that what ``node`` reported late, or after its end, still sounds."""
    before = standing.incident
    lines = [] if before.active else [LogLine(before.id, now_us, Step.REOPENED, node=node)]
    lines.append(LogLine(before.id, now_us, Step.HEARD, node=node, detail=Remark.LASTS))
    return Change(
        replace(standing, incident=replace(before, late=False, cleared_us=None)),
        tuple(lines),
    )


def unheard(standing: Standing, nodes: tuple[str, ...], now_us: int) -> Change:
    """The incident when exactly ``nodes`` reported it, not its end, and are offline now."""
    before = standing.incident
    lines = [
        LogLine(before.id, now_us, Step.UNHEARD, node=node) for node in nodes if node not in before.unheard
    ]
    return Change(replace(standing, incident=replace(before, unheard=nodes)), tuple(lines))


def may_clear(incident: Incident, quiet_us: int | None, limits: Limits, now_us: int) -> bool:
    """Whether ``incident``, in which nothing has lasted since ``quiet_us``, is over.

    Somebody who asked for help and was not attended to keeps it open.
    """
    if incident.cleared_us is not None or quiet_us is None or not _attended(incident):
        return False
    holds = incident.kind is IncidentKind.SOUND and incident.group != DRILL_GROUP
    return now_us - quiet_us >= (limits.hold_us if holds else 0)


def _attended(incident: Incident) -> bool:
    return incident.help_us is None or incident.acknowledged


def cleared(standing: Standing, at_us: int, now_us: int, remark: str = "") -> Change:
    """The incident when it is over since ``at_us``."""
    before = standing.incident
    incident = replace(before, cleared_us=max(at_us, before.opened_us), unheard=())
    line = LogLine(before.id, now_us, Step.CLEARED, detail=remark)
    return Change(replace(standing, incident=incident), (line,))


def acknowledged(standing: Standing, person: str, now_us: int) -> Change:
    """The incident after ``person`` said that she knows of it; the first one stands."""
    before = standing.incident
    if before.acknowledged:
        return Change(standing)
    incident = replace(before, acknowledged_us=now_us, acknowledged_by=person)
    line = LogLine(before.id, now_us, Step.ACKNOWLEDGED, person=person)
    return Change(replace(standing, incident=incident), (line,))


def answered(standing: Standing, person: str, answer: Answer, earlier: Answer | None, now_us: int) -> Change:
    """The incident after ``person``, whose last answer was ``earlier``, gave ``answer``.

    The same answer again changes nothing, except a call for help that somebody acknowledged meanwhile:
    whoever repeats it is still waiting.
    """
    before = standing.incident
    calls = answer is Answer.NEED_HELP
    if answer is earlier and not (calls and before.acknowledged):
        return Change(standing)
    said = LogLine(before.id, now_us, Step.ANSWERED, person=person, detail=answer)
    if not calls:
        return Change(standing, (said,))
    incident = replace(
        _unacknowledged(before),
        severity=IncidentSeverity.ALARM,
        help_us=now_us if before.help_us is None else before.help_us,
        late=False,
        cleared_us=None,
    )
    reopened = () if before.active else (LogLine(before.id, now_us, Step.REOPENED, person=person),)
    raised = LogLine(before.id, now_us, Step.ESCALATED, person=person, detail=Remark.NEED_HELP)
    return Change(replace(standing, incident=incident), (said, *reopened, raised))
