"""How events and rooms look to a dashboard: JSON objects, times in ISO 8601 with ``Z``."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tocsin_hub.incidents.model import Drill, Incident, LogLine
from tocsin_hub.incidents.reading import GivenAnswer, Incidents
from tocsin_hub.rooms import NodeRecord, Rooms
from tocsin_hub.store import StoredEvent
from tocsin_hub.times import iso, to_us

Json = dict[str, Any]


def event_json(event: StoredEvent, record: NodeRecord | None, incident: str | None = None) -> Json:
    """``event`` for a dashboard; ``record`` tells of its node, ``incident`` is what it belongs to."""
    return {
        "id": event.id,
        "node": event.node,
        "zone": event.zone,
        "room": record.room if record else event.node,
        "label": event.label,
        "severity": str(event.severity),
        "score": event.score,
        "top": [{"label": item.label, "score": item.score} for item in event.top],
        "level_dbfs": event.level_dbfs,
        "ambient_dbfs": event.ambient_dbfs,
        "onset": iso(event.onset_us),
        "offset": iso(event.offset_us),
        "phase": str(event.phase),
        "rhythm": str(event.rhythm),
        "certainty": str(event.certainty),
        "late": event.late,
        "test": event.test,
        "active": record is not None and record.has_open(event.boot, event.offset_us),
        "bundle": event.bundle,
        "clock": str(event.clock),
        "boot": event.boot,
        "seq": event.seq,
        "received": iso(event.received_us),
        "committed": iso(event.committed_us),
        "incident": incident,
        "change": event.change,
    }


def room_json(record: NodeRecord) -> Json:
    """One room for a dashboard; ``null`` where the node has not said it yet."""
    birth, heartbeat = record.birth, record.heartbeat
    return {
        "node": record.node,
        "zone": record.zone,
        "room": record.room,
        "state": str(record.state),
        "since": iso(record.since_us),
        "last_seen": iso(record.last_seen_us),
        "boot": record.boot,
        "bundle": birth.bundle if birth else None,
        "version": birth.version if birth else None,
        "runtime": birth.runtime if birth else None,
        "hardware": birth.hardware if birth else None,
        "source": birth.source if birth else None,
        "hop_seconds": birth.hop_seconds if birth else None,
        "labels": list(birth.labels) if birth else [],
        "keeps_clips": birth.keeps_clips if birth else None,
        "level_dbfs": heartbeat.level_dbfs if heartbeat else None,
        "clipped_ratio": heartbeat.clipped_ratio if heartbeat else None,
        "dropped_blocks": heartbeat.dropped_blocks if heartbeat else None,
        "inference_p95_ms": heartbeat.inference_p95_ms if heartbeat else None,
        "outbox_depth": heartbeat.outbox_depth if heartbeat else None,
        "troubles": [
            {"id": one.id, "kind": one.kind, "since": iso(to_us(one.since)), "detail": one.detail}
            for one in record.troubles
        ],
    }


def incident_json(
    incident: Incident, rooms: Rooms, answers: Sequence[GivenAnswer], names: Mapping[str, str]
) -> Json:
    """``incident`` for a dashboard, with the last answer of each person; ``names`` are those of persons."""
    by = incident.acknowledged_by
    origin = incident.origin_node
    return {
        "id": incident.id,
        "kind": str(incident.kind),
        "group": incident.group,
        "label": incident.label,
        "severity": str(incident.severity),
        "zone": incident.zone,
        "drill": incident.drill,
        "opened": iso(incident.opened_us),
        "updated": iso(incident.updated_us),
        "cleared": iso(incident.cleared_us),
        "acknowledged": iso(incident.acknowledged_us),
        "acknowledged_by": None if by is None else _person_json(by, names),
        "help": iso(incident.help_us),
        "origin_node": origin,
        "origin_room": None if origin is None else _room_name(origin, rooms),
        "origin_level_dbfs": incident.origin_level_dbfs,
        "nodes": [{"id": node, "room": _room_name(node, rooms)} for node in incident.nodes],
        "unheard": list(incident.unheard),
        "first_event": incident.first_event,
        "events": incident.events,
        "certainty": None if incident.certainty is None else str(incident.certainty),
        "late": incident.late,
        "detail": incident.detail,
        "active": incident.active,
        "answers": [
            {
                "person": given.person,
                "name": names.get(given.person, ""),
                "answer": str(given.answer),
                "at": iso(given.at_us),
            }
            for given in answers
        ],
        "change": incident.change,
    }


def incidents_json(shown: Sequence[Incident], rooms: Rooms, reading: Incidents) -> list[Json]:
    """Incidents for a dashboard, with answers and names as they stand in the database."""
    answers = reading.answers(incident.id for incident in shown)
    persons = {given.person for several in answers.values() for given in several}
    persons |= {incident.acknowledged_by for incident in shown if incident.acknowledged_by}
    names = reading.names(persons)
    return [incident_json(incident, rooms, answers.get(incident.id, ()), names) for incident in shown]


def log_json(lines: Sequence[LogLine], rooms: Rooms, reading: Incidents) -> list[Json]:
    """The timeline of an incident."""
    names = reading.names(line.person for line in lines if line.person)
    return [
        {
            "at": iso(line.at_us),
            "step": str(line.step),
            "person": None if line.person is None else _person_json(line.person, names),
            "node": line.node,
            "room": None if line.node is None else _room_name(line.node, rooms),
            "event": line.event,
            "detail": line.detail,
        }
        for line in lines
    ]


def drills_json(drills: Iterable[Drill], now_us: int, names: Mapping[str, str]) -> list[Json]:
    """Drills, and which of them last."""
    return [
        {
            "id": drill.id,
            "zones": sorted(drill.zones),
            "started_by": None if drill.started_by is None else _person_json(drill.started_by, names),
            "note": drill.note,
            "started": iso(drill.started_us),
            "ends": iso(drill.ends_us),
            "sound": drill.sound,
            "active": drill.started_us <= now_us < drill.ends_us,
        }
        for drill in drills
    ]


def _person_json(person: str, names: Mapping[str, str]) -> Json:
    return {"id": person, "name": names.get(person, "")}


def _room_name(node: str, rooms: Rooms) -> str:
    record = rooms.get(node)
    return record.room if record else node
