"""How an incident, its timeline and a drill stand in the database's rows."""

from collections.abc import Sequence
from typing import Any

import msgspec

from tocsin_hub.incidents.model import Drill, Incident, IncidentKind, IncidentSeverity, LogLine, Step
from tocsin_hub.incidents.rules import Standing, Tally
from tocsin_shared.events import Certainty

INCIDENT_COLUMNS = (
    "id, kind, grouping, label, severity, zone, drill, opened_us, updated_us, cleared_us, acknowledged_us, "
    "acknowledged_by, help_us, origin_node, origin_level_dbfs, nodes, first_event, events, late, detail, "
    "change, certainty, unheard"
)
"""In the order of the fields of :class:`Incident`."""
LOG_COLUMNS = "incident, at_us, step, person, node, event, detail"
DRILL_COLUMNS = "id, zones, started_by, note, started_us, ends_us, sound"
_NAMES = msgspec.json.Decoder(tuple[str, ...])
_TALLY = msgspec.json.Decoder(Tally)
_encode = msgspec.json.Encoder().encode


def incident_from_row(row: Sequence[Any]) -> Incident:
    """The incident in ``row``, whose values stand in the order of :data:`INCIDENT_COLUMNS`."""
    values = list(row)
    values[1] = IncidentKind(values[1])
    values[4] = IncidentSeverity(values[4])
    values[6] = bool(values[6])
    values[15] = _NAMES.decode(values[15])
    values[18] = bool(values[18])
    values[21] = None if values[21] is None else Certainty(values[21])
    values[22] = _NAMES.decode(values[22])
    return Incident(*values)


def standing_from_row(row: Sequence[Any]) -> Standing:
    """The same with what the rules remember, which is the last value of ``row``."""
    return Standing(incident_from_row(row[:-1]), _TALLY.decode(row[-1]))


def incident_values(incident: Incident) -> tuple[Any, ...]:
    """The values of ``incident`` in the order of :data:`INCIDENT_COLUMNS`."""
    return (
        incident.id,
        str(incident.kind),
        incident.group,
        incident.label,
        str(incident.severity),
        incident.zone,
        int(incident.drill),
        incident.opened_us,
        incident.updated_us,
        incident.cleared_us,
        incident.acknowledged_us,
        incident.acknowledged_by,
        incident.help_us,
        incident.origin_node,
        incident.origin_level_dbfs,
        names_text(incident.nodes),
        incident.first_event,
        incident.events,
        int(incident.late),
        incident.detail,
        incident.change,
        None if incident.certainty is None else str(incident.certainty),
        names_text(incident.unheard),
    )


def tally_text(tally: Tally) -> str:
    """``tally`` as it is kept in a column."""
    return _encode(tally).decode()


def names_text(names: Sequence[str]) -> str:
    """Names as they are kept in a column."""
    return _encode(names).decode()


def line_from_row(row: Sequence[Any]) -> LogLine:
    """The line in ``row``, whose values stand in the order of :data:`LOG_COLUMNS`."""
    incident, at_us, step, *rest = row
    return LogLine(incident, at_us, Step(step), *rest)


def drill_from_row(row: Sequence[Any]) -> Drill:
    """The drill in ``row``, whose values stand in the order of :data:`DRILL_COLUMNS`."""
    key, zones, started_by, note, started_us, ends_us, sound = row
    covered = frozenset(_NAMES.decode(zones))
    return Drill(key, covered, started_by, note, started_us, ends_us, bool(sound))
