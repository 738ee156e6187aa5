"""Rules: which troubles of nodes and of the hub are incidents, and how such an incident opens and ends."""

from dataclasses import dataclass

from msgspec.structs import replace

from tocsin_hub.incidents.model import (
    HubTrouble,
    Incident,
    IncidentKind,
    IncidentSeverity,
    LogLine,
    Step,
)
from tocsin_hub.incidents.rules import Change, Limits, Standing
from tocsin_hub.rooms import NodeRecord, RoomState, silence_limit_us
from tocsin_shared.events import TroubleKind

REMARKS_ONLY: frozenset[str] = frozenset(
    {
        TroubleKind.MIC_DC,
        TroubleKind.MIC_HUM,
        TroubleKind.MIC_CLIPPING,
        TroubleKind.MIC_LEVEL,
        TroubleKind.CLOCK,
        TroubleKind.THERMAL,
        TroubleKind.WATCHDOG,
        TroubleKind.CLIPS,
    }
)
"""Kinds of trouble with which a node still hears and tells; the room shows them, and nobody is called.

Every other kind makes it deaf or mute, or soon will; so may one that a newer node names.
"""
BROKER_LOST_SECONDS = 10.0
"""The link tries again every 1 to 3 s; a broker that is merely restarted is back sooner."""
HUB_LATE_SECONDS = 2.0
"""A node that waits so long for the hub's word warns in its own room."""
CERTIFICATE_DAYS = 14.0

_DAY_US = 86_400_000_000


@dataclass(frozen=True)
class HubFacts:
    """What the hub sees of itself at one moment."""

    connected: bool
    """Whether the broker has accepted the hub."""
    connected_us: int
    """How long that has been so, or not so, microseconds."""
    database: str
    """Why nothing can be stored; empty when all is well."""
    waiting_us: int
    """How long the oldest work that was asked for has been waiting for its commit; 0 if none is."""
    queue: str = ""
    """Why web processes cannot be told of alarms; empty when all is well, or where there are none."""
    certificate_days: float | None = None
    """Days until the hub's own certificate for the broker ends; ``None`` without one."""
    certificate_detail: str = ""
    """The day on which it ends, or why that cannot be told."""


def is_incident(kind: str) -> bool:
    """Whether a node's trouble of this kind makes it deaf or mute."""
    return kind not in REMARKS_ONLY


def hub_troubles(facts: HubFacts) -> dict[HubTrouble, str]:
    """What is wrong with the hub, each with what exactly."""
    found: dict[HubTrouble, str] = {}
    if not facts.connected and facts.connected_us >= BROKER_LOST_SECONDS * 1e6:
        found[HubTrouble.BROKER_LOST] = "the hub has no connection to the broker, and hears no node"
    if facts.database:
        found[HubTrouble.DATABASE_REFUSES] = f"nothing can be stored: {facts.database}"
    elif facts.waiting_us >= HUB_LATE_SECONDS * 1e6:
        found[HubTrouble.HUB_LATE] = "the database takes longer than 2 s to store what nodes report"
    if facts.queue:
        found[HubTrouble.QUEUE_LOST] = f"dashboards show alarms some seconds later: {facts.queue}"
    unknown = facts.certificate_days is None and facts.certificate_detail != ""
    if unknown or (facts.certificate_days is not None and facts.certificate_days < CERTIFICATE_DAYS):
        found[HubTrouble.HUB_CERTIFICATE] = facts.certificate_detail
    return found


def begun_us(since_us: int, at_us: int, now_us: int) -> int:
    """When a trouble began of which a node said at ``at_us`` that it lasts since ``since_us``, by its clock.

    Of a clock that is more than a day off only the difference counts.
    """
    if abs(now_us - at_us) <= _DAY_US:
        return min(since_us, now_us)
    return now_us - max(0, at_us - since_us)


def is_silent(record: NodeRecord, limits: Limits, now_us: int) -> bool:
    """Whether nothing is known of a node that ought to be listening, and for so long that it is a trouble."""
    return record.state is RoomState.OFFLINE and now_us - record.since_us >= limits.node_silent_us


def speaks(record: NodeRecord, now_us: int) -> bool:
    """Whether the node was heard so lately that it is there; what a restarted hub remembers is no proof."""
    if record.state in {RoomState.OFFLINE, RoomState.UNKNOWN} or record.last_seen_us is None:
        return False
    return now_us - record.last_seen_us <= silence_limit_us(record)


def trouble_opened(
    incident_id: str, kind: str, zone: str, *, node: str | None, detail: str, since_us: int, now_us: int
) -> Change:
    """A trouble that was not known."""
    incident = Incident(
        id=incident_id,
        kind=IncidentKind.TROUBLE,
        group=kind,
        label=kind,
        severity=IncidentSeverity.TROUBLE,
        zone=zone,
        drill=False,
        opened_us=min(since_us, now_us),
        updated_us=now_us,
        origin_node=node,
        nodes=() if node is None else (node,),
        detail=detail,
    )
    line = LogLine(incident_id, now_us, Step.OPENED, node=node, detail=kind)
    return Change(Standing(incident), (line,))


def trouble_goes_on(standing: Standing, zone: str, detail: str, now_us: int) -> Change:
    """A trouble that is reported again; one that was over a moment ago is opened again."""
    before = standing.incident
    incident = replace(before, zone=zone or before.zone, detail=detail or before.detail)
    if before.active:
        return Change(replace(standing, incident=incident))
    incident = replace(incident, cleared_us=None, acknowledged_us=None, acknowledged_by=None)
    line = LogLine(before.id, now_us, Step.REOPENED, node=before.origin_node)
    return Change(replace(standing, incident=incident), (line,))


def trouble_over(standing: Standing, now_us: int) -> Change:
    """A trouble that is over, unless somebody waits for help there."""
    before = standing.incident
    if before.help_us is not None and not before.acknowledged:
        return Change(standing)
    line = LogLine(before.id, now_us, Step.CLEARED, node=before.origin_node)
    return Change(replace(standing, incident=replace(before, cleared_us=now_us)), (line,))
