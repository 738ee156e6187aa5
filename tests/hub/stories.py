"""Stored events and incidents as the rules see them, without any database."""

from collections.abc import Iterable, Sequence
from typing import Any

from tests.hub.parts import START_US, ulid
from tocsin_hub.incidents import rules
from tocsin_hub.incidents.model import LogLine
from tocsin_hub.incidents.rules import Limits, Standing
from tocsin_hub.recorder import supersedes
from tocsin_hub.store import StoredEvent
from tocsin_shared.events import Certainty, Clock, Phase, Rhythm, ScoredLabel

SECOND = 1_000_000
LIMITS = Limits()


def stored(**changes: Any) -> StoredEvent:
    """A smoke alarm that began in the press shop at :data:`START_US`, and of which the hub hears at once."""
    fields: dict[str, Any] = {
        "id": ulid(1),
        "node": "press-1",
        "zone": "hall-1",
        "label": "smoke_alarm",
        "score": 0.9,
        "top": (ScoredLabel("smoke_alarm", 0.9),),
        "level_dbfs": -24.5,
        "ambient_dbfs": -51.0,
        "onset_us": START_US,
        "offset_us": None,
        "mono_ns": 1,
        "boot": "b1",
        "seq": 1,
        "clock": Clock.NTP,
        "bundle": "sentry-0.1.0+full-int8",
        "phase": Phase.ONSET,
        "rhythm": Rhythm.NONE,
        "late": False,
        "first_received_us": START_US,
        "received_us": START_US,
        "committed_us": START_US,
        "test": False,
        "certainty": Certainty.CERTAIN,
        "change": 1,
    }
    return StoredEvent(**{**fields, **changes})


def fold(
    events: Iterable[StoredEvent],
    now_us: int = START_US,
    standing: Standing | None = None,
    drill: bool = False,
) -> tuple[Standing, list[LogLine]]:
    """What the rules make of ``events`` of one place, of which each later phase replaces an earlier one."""
    known: dict[str, StoredEvent] = {}
    lines: list[LogLine] = []
    for event in events:
        before = known.get(event.id)
        if before is not None and not supersedes(event.phase, event.seq, before.phase, before.seq):
            continue
        known[event.id] = event
        if standing is None:
            change = rules.opened(event, ulid(0), drill, LIMITS, now_us)
        else:
            change = rules.joined(
                standing, event, known=before is not None, drill=drill, limits=LIMITS, now_us=now_us
            )
        standing, lines = change.standing, [*lines, *change.lines]
    assert standing is not None
    return standing, lines


def summary(standing: Standing) -> dict[str, Any]:
    """What must not depend on the order in which events arrive."""
    incident = standing.incident
    return {
        "nodes": set(incident.nodes),
        "labels": set(standing.tally.labels),
        "severity": incident.severity,
        "label": incident.label,
        "origin": (incident.origin_node, incident.origin_level_dbfs),
        "certainty": incident.certainty,
        "opened": incident.opened_us,
        "events": incident.events,
        "late": incident.late,
        "active": incident.active,
    }


def steps(lines: Sequence[LogLine]) -> list[tuple[str, str]]:
    """Step and detail of each line."""
    return [(str(line.step), str(line.detail)) for line in lines]
