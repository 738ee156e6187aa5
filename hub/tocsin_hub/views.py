"""How events and rooms look to a dashboard: JSON objects, times in ISO 8601 with ``Z``."""

from typing import Any

from tocsin_hub.rooms import NodeRecord
from tocsin_hub.store import StoredEvent
from tocsin_hub.times import iso, to_us

Json = dict[str, Any]


def event_json(event: StoredEvent, record: NodeRecord | None) -> Json:
    """``event`` for a dashboard; ``record`` is what is known about its node."""
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
