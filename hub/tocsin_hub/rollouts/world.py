"""Rules: what rooms, reports and incidents say becomes the world that a rollout is judged in. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from tocsin_hub.incidents.model import Drill, Incident, IncidentSeverity
from tocsin_hub.incidents.troubles import REMARKS_ONLY
from tocsin_hub.rollouts.following import in_flight
from tocsin_hub.rollouts.model import NodeView, Rollout
from tocsin_hub.rooms import NodeRecord, RoomState
from tocsin_shared.events import NodeReported

_AWAY = (RoomState.OFFLINE, RoomState.UNKNOWN)


def node_views(
    records: Iterable[NodeRecord], reports: Mapping[str, NodeReported], seqs: Mapping[str, int]
) -> dict[str, NodeView]:
    """What is known of every node of the site; ``seqs`` are the numbers of directives given out so far."""
    views = {}
    for record in records:
        report = reports.get(record.node)
        views[record.node] = NodeView(
            node=record.node,
            zone=record.zone,
            online=record.state not in _AWAY,
            hearing=_hears(record),
            last_seen_us=record.last_seen_us or 0,
            version=record.birth.version if record.birth else "0.0.0",
            runtime=record.birth.runtime if record.birth else "",
            hardware=record.birth.hardware if record.birth else "",
            seq=max(seqs.get(record.node, 0), 0 if report is None else report.seq),
            report=report,
        )
    return views


def _hears(record: NodeRecord) -> bool:
    deaf = any(trouble.kind not in REMARKS_ONLY for trouble in record.troubles)
    return record.state is RoomState.LISTENING and not deaf


def flying(rollout: Rollout, now_us: int) -> frozenset[str]:
    """Nodes on which a directive of ``rollout`` may still run."""
    return frozenset(target.node for target in rollout.targets if in_flight(target, rollout.limits, now_us))


def with_busy(views: Mapping[str, NodeView], others: Iterable[frozenset[str]]) -> dict[str, NodeView]:
    """``views``, where nodes that ``others`` are at are busy."""
    busy: set[str] = set().union(*others)
    return {name: replace(view, busy=True) if name in busy else view for name, view in views.items()}


def alarm_open(incidents: Iterable[Incident]) -> bool:
    """Whether an incident that alarms people lasts."""
    return any(one.active and one.severity is IncidentSeverity.ALARM for one in incidents)


def drill_open(drills: Iterable[Drill], now_us: int) -> bool:
    """Whether a drill runs."""
    return any(one.started_us <= now_us < one.ends_us for one in drills)
