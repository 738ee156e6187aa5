"""Incidents, answers and drills over HTTP."""

from dataclasses import replace
from typing import Annotated

import msgspec
from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue
from msgspec import Meta
from ulid import ULID

from tocsin_hub.api.answers import Cursor
from tocsin_hub.api.parts import ConflictError, described, needs, problem, who
from tocsin_hub.incidents.model import Answer, Drill, Incident, IncidentKind, IncidentSeverity, Step
from tocsin_hub.incidents.reading import IncidentFilter
from tocsin_hub.people import audit
from tocsin_hub.people.model import Role
from tocsin_hub.services import services
from tocsin_hub.store import MAX_PAGE
from tocsin_hub.views import drills_json, incidents_json, log_json
from tocsin_shared.events import Certainty, Ulid, Zone

DEFAULT_PAGE = 50
MOST_MINUTES = 240
_OF_THE_PAST = ["before", "active", "severity", "kind", "zone"]

incidents = Blueprint("incidents", __name__)


class SomebodyShown(msgspec.Struct):
    """A person; the name is empty if she is not known any more."""

    id: str
    name: str


class NodeShown(msgspec.Struct):
    """A node and the name of its room."""

    id: str
    room: str


class AnswerShown(msgspec.Struct):
    """What a person said last."""

    person: str
    name: str
    answer: Answer
    at: str


class IncidentShown(msgspec.Struct):
    """One incident; times are ISO 8601 in UTC."""

    id: str
    kind: IncidentKind
    group: str
    label: str
    severity: IncidentSeverity
    zone: str
    drill: bool
    opened: str
    updated: str
    cleared: str | None
    acknowledged: str | None
    acknowledged_by: SomebodyShown | None
    help: str | None
    origin_node: str | None
    origin_room: str | None
    origin_level_dbfs: float | None
    nodes: list[NodeShown]
    unheard: list[str]
    first_event: str | None
    events: int
    certainty: Certainty | None
    late: bool
    detail: str
    active: bool
    answers: list[AnswerShown]
    change: int


class IncidentList(msgspec.Struct):
    """Some incidents; ``next`` is where the following ones begin."""

    incidents: list[IncidentShown]
    next: int | str | None
    more: bool


class LineShown(msgspec.Struct):
    """One line of a timeline."""

    at: str
    step: Step
    person: SomebodyShown | None
    node: str | None
    room: str | None
    event: str | None
    detail: str


class Timeline(msgspec.Struct):
    """What happened to an incident, oldest first."""

    log: list[LineShown]


class DrillShown(msgspec.Struct):
    """One drill; no zones means all of them."""

    id: str
    zones: list[str]
    started_by: SomebodyShown | None
    note: str
    started: str
    ends: str
    sound: bool
    active: bool


class DrillList(msgspec.Struct):
    """The newest drills, the newest first."""

    drills: list[DrillShown]


class IncidentQuery(msgspec.Struct, forbid_unknown_fields=True):
    """Incidents after a change (``after``), or those of the past, the newest first."""

    after: Annotated[int, Meta(ge=0, le=2**63 - 1, extra_json_schema={"x-not-with": _OF_THE_PAST})] | None = (
        None
    )
    before: Cursor = ""
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE)] | None = None
    active: bool | None = None
    severity: IncidentSeverity | None = None
    kind: IncidentKind | None = None
    zone: Zone | None = None


class GivenAnswer(msgspec.Struct, forbid_unknown_fields=True):
    """What somebody says of an incident."""

    answer: Answer


class NewDrill(msgspec.Struct, forbid_unknown_fields=True):
    """A drill to be started; no zones means all that the officer sees."""

    zones: Annotated[list[Zone], Meta(max_length=200)] = []
    minutes: Annotated[int, Meta(ge=1, le=MOST_MINUTES)] = 10
    note: Annotated[str, Meta(max_length=200)] = ""
    sound: bool = False


@incidents.get("/incidents")
@described("incidents", query=IncidentQuery, answer=IncidentList)
def list_incidents() -> ResponseReturnValue:
    """Incidents after a change (``after``), or those of the past, the newest first (``before``)."""
    query: IncidentQuery = request.context.query  # type: ignore[attr-defined]
    return _changes(query) if query.after is not None else _history(query)


def _changes(query: IncidentQuery) -> ResponseReturnValue:
    hub = services()
    page = hub.incidents.after(query.after or 0, query.limit or MAX_PAGE, who().zones)
    shown = incidents_json(page.incidents, hub.rooms, hub.incidents)
    return jsonify(incidents=shown, next=page.next, more=page.more)


def _history(query: IncidentQuery) -> ResponseReturnValue:
    hub = services()
    only = IncidentFilter(query.active, query.severity, query.kind, query.zone)
    page = hub.incidents.before(query.before or None, query.limit or DEFAULT_PAGE, only, who().zones)
    shown = incidents_json(page.incidents, hub.rooms, hub.incidents)
    return jsonify(incidents=shown, next=page.next, more=page.next is not None)


@incidents.get("/incidents/<incident>")
@described("incidents", answer=IncidentShown)
def one_incident(incident: str) -> ResponseReturnValue:
    """One incident as it stands."""
    return _shown(incident)


@incidents.get("/incidents/<incident>/log")
@described("incidents", answer=Timeline)
def incident_log(incident: str) -> ResponseReturnValue:
    """What happened to an incident, oldest first."""
    hub = services()
    if _seen(incident) is None:
        return _missing()
    return jsonify(log=log_json(hub.incidents.log(incident), hub.rooms, hub.incidents))


@incidents.post("/incidents/<incident>/acknowledge")
@needs(Role.OFFICER)
@described("incidents", answer=IncidentShown)
def acknowledge_incident(incident: str) -> ResponseReturnValue:
    """Say that you know of it: nobody is alerted of it any more. The first one to say so stands."""
    if _seen(incident) is None:
        return _missing()
    services().desk.acknowledge(incident, who().id)
    audit.record("incident.acknowledged", incident)
    return _shown(incident)


@incidents.post("/incidents/<incident>/answer")
@described("incidents", body=GivenAnswer, answer=IncidentShown)
def answer_incident(incident: str) -> ResponseReturnValue:
    """Say that you are safe, need help, or that it is a false alarm; the same again changes nothing."""
    given: GivenAnswer = request.context.json  # type: ignore[attr-defined]
    if _seen(incident) is None:
        return _missing()
    services().desk.answer(incident, who().id, given.answer)
    return _shown(incident)


@incidents.get("/drills")
@described("drills", answer=DrillList)
def list_drills() -> ResponseReturnValue:
    """Drills that last and that were, the newest first."""
    hub = services()
    person = who()
    drills = [
        drill
        for drill in hub.incidents.drills()
        if not drill.zones or any(person.sees(zone) for zone in drill.zones)
    ]
    return jsonify(drills=_drills_shown(drills))


@incidents.post("/drills")
@needs(Role.OFFICER)
@described("drills", body=NewDrill, answer=DrillShown, status=201, errors=(409,))
def start_drill() -> ResponseReturnValue:
    """Start a drill: for some minutes, what is heard in these zones is marked as a drill, and alerted."""
    wanted: NewDrill = request.context.json  # type: ignore[attr-defined]
    hub = services()
    zones = _zones_of(wanted)
    now_us = hub.clock()
    drill = Drill(
        id=str(ULID()),
        zones=zones,
        started_by=who().id,
        note=_clean(wanted.note),
        started_us=now_us,
        ends_us=now_us + wanted.minutes * 60_000_000,
        sound=wanted.sound,
    )
    hub.desk.start_drill(drill, sorted(zones or _known_zones()))
    audit.record(
        "drill.started", drill.id, f"{wanted.minutes} min; {', '.join(sorted(zones)) or 'all zones'}"
    )
    return jsonify(_drills_shown([drill])[0]), 201


@incidents.delete("/drills/<drill>")
@needs(Role.OFFICER)
@described("drills", answer=DrillShown)
def end_drill(drill: str) -> ResponseReturnValue:
    """End a drill now; one that is over stays as it is."""
    hub = services()
    known = hub.incidents.drill(drill)
    if known is None or not _commands(known.zones):
        return _missing()
    ended = hub.desk.end_drill(drill)
    audit.record("drill.ended", drill)
    return _missing() if ended is None else jsonify(_drills_shown([ended])[0])


def _zones_of(wanted: NewDrill) -> frozenset[str]:
    """Zones of the drill; empty means every zone.

    Raises:
        ConflictError: a zone in which no room is, or that the officer does not see.
    """
    known = _known_zones()
    for number, zone in enumerate(wanted.zones):
        if zone not in known or not who().sees(zone):
            raise ConflictError(f"zones.{number}: there is no room in zone {zone}")
    if not known:
        raise ConflictError("zones: there is no room yet in which a drill could be")
    return frozenset(wanted.zones) or who().zones


def _known_zones() -> frozenset[str]:
    return frozenset(record.zone for record in services().rooms.all() if record.zone)


def _commands(zones: frozenset[str]) -> bool:
    """Whether all of a drill's zones are the officer's."""
    mine = who().zones
    return not mine or (bool(zones) and zones <= mine)


def _clean(text: str) -> str:
    # A lone surrogate is text that no database column takes.
    return text.strip().encode("utf-8", "backslashreplace").decode()


def _drills_shown(drills: list[Drill]) -> list[dict[str, object]]:
    hub, mine = services(), who().zones
    if mine:  # which other zones take part is for their eyes
        drills = [replace(drill, zones=drill.zones & mine) if drill.zones else drill for drill in drills]
    names = hub.incidents.names(drill.started_by for drill in drills if drill.started_by)
    return drills_json(drills, hub.clock(), names)


def _seen(incident: str) -> Incident | None:
    """The incident, if there is one and it is for the eyes of whoever asks."""
    # What is no id at all is nobody's, and need not be looked for.
    return services().incidents.get(incident, who().zones) if _is_ulid(incident) else None


def _is_ulid(text: str) -> bool:
    try:
        msgspec.convert(text, Ulid)
    except msgspec.ValidationError:
        return False
    return True


def _shown(incident: str) -> ResponseReturnValue:
    found = _seen(incident)
    if found is None:
        return _missing()
    hub = services()
    return jsonify(incidents_json([found], hub.rooms, hub.incidents)[0])


def _missing() -> ResponseReturnValue:
    return problem(404, "not_found", "There is nothing of this id, or it is not for you to see.")
