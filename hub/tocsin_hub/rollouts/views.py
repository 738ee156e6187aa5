"""How a rollout looks to the API, the live channel and its page: JSON, times in ISO 8601 with ``Z``."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from tocsin_hub.rollouts.actions import ALLOWED, Action
from tocsin_hub.rollouts.drafts import Offered
from tocsin_hub.rollouts.model import (
    PASSING,
    UNCOUNTED,
    Course,
    Gate,
    NodeView,
    Pause,
    Reason,
    Ring,
    Rollout,
    Target,
    Variant,
)
from tocsin_hub.rollouts.reading import LogEntry
from tocsin_hub.rooms import Rooms
from tocsin_hub.times import iso
from tocsin_shared.events import NodeReported

Json = dict[str, Any]


def rollout_json(
    rollout: Rollout,
    *,
    nodes: Mapping[str, NodeView],
    rooms: Rooms,
    names: Mapping[str, str],
    log: Sequence[LogEntry] = (),
    waits: Iterable[Reason] = (),
) -> Json:
    """``rollout`` as it stands.

    ``nodes`` is the world of the last step and ``waits`` its lasting reasons, which say what each node waits
    for; ``names`` are those of persons. Without ``log`` nobody learns the figures of a pause.
    """
    first = rollout.variants[0] if rollout.variants else Variant("", "", "", "")
    waiting = {one.node: one.code for one in waits if one.lasting and one.node}
    entries = [
        _node_json(one, nodes.get(one.node), rooms, waiting.get(one.node, "")) for one in rollout.targets
    ]
    return {
        "id": rollout.id,
        "name": first.name,
        "release": first.release,
        "variants": [_variant_json(one) for one in rollout.variants],
        "back": [_variant_json(one) for one in rollout.back],
        "state": str(rollout.status),
        "reason": None if rollout.pause is None else str(rollout.pause),
        "reason_detail": _figures(rollout.pause, log),
        "course": str(rollout.course),
        "version": rollout.version,
        "created": iso(rollout.created_us),
        "created_by": _person_json(rollout.created_by, names),
        "approved_by": None if rollout.approved_by is None else _person_json(rollout.approved_by, names),
        "two_persons": rollout.two_persons,
        "starts": iso(rollout.starts_us),
        "lone_zones": sorted(rollout.lone_zones),
        "actions": [str(one) for one in possible(rollout)],
        "rings": [
            _ring_json(
                number,
                ring,
                [told for told, one in zip(entries, rollout.targets, strict=True) if one.ring == number],
                [one for one in rollout.targets if one.ring == number],
            )
            for number, ring in enumerate(rollout.rings)
        ],
        "log": log_json(log, rooms, names),
    }


def possible(rollout: Rollout) -> list[Action]:
    """What a person may do with ``rollout`` now, apart from who she is."""
    found: list[Action] = [
        one for one in Action if rollout.status in ALLOWED[one] and one is not Action.SUPERSEDE
    ]
    if rollout.course is Course.ABORTING:
        found = [one for one in found if one not in {Action.PAUSE, Action.ABORT}]
    if rollout.pause is not None and rollout.pause not in PASSING:  # it waits for a person's word already
        found = [one for one in found if one is not Action.PAUSE]
    if not rollout.back or rollout.course is Course.RETURNING:
        found = [one for one in found if one is not Action.ROLLBACK]
    return found


def limited(shown: Json, zones: Collection[str]) -> Json:
    """``shown`` for somebody who sees ``zones`` only: without the nodes of others. Empty means all zones."""
    if not zones:
        return shown
    rings = [
        ring | {"nodes": [one for one in ring["nodes"] if one["zone"] in zones]} for ring in shown["rings"]
    ]
    seen = {one["node"] for ring in rings for one in ring["nodes"]}
    log = [line for line in shown["log"] if not line["node"] or line["node"] in seen]
    return shown | {"rings": rings, "log": log, "actions": []}


def log_json(log: Sequence[LogEntry], rooms: Rooms, names: Mapping[str, str]) -> list[Json]:
    """What happened to a rollout, oldest first."""
    return [
        {
            "at": iso(line.at_us),
            "version": line.version,
            "code": line.code,
            "person": None if line.person is None else _person_json(line.person, names),
            "node": line.node,
            "room": _room_name(line.node, rooms),
            "ring": line.ring,
            "detail": line.detail,
        }
        for line in log
    ]


def bundle_json(bundle: Offered) -> Json:
    """One signed release that can be rolled out."""
    return {
        "name": bundle.name,
        "release": bundle.release,
        "floor": bundle.floor,
        "variants": [_variant_json(one) for one in bundle.variants],
    }


def _figures(pause: Pause | None, log: Sequence[LogEntry]) -> str:
    """What the rules said beside the reason of the pause that lasts."""
    if pause is None:
        return ""
    return next((line.detail for line in reversed(log) if line.code == pause.value), "")


def _ring_json(number: int, ring: Ring, entries: list[Json], targets: Sequence[Target]) -> Json:
    return {
        "number": number,
        "name": ring.name,
        "state": str(ring.state),
        "since": iso(ring.clock_us),
        "waived": ring.waived,
        "proven": sum(one.good for one in targets),
        "counted": sum(one.state not in UNCOUNTED for one in targets),
        "gate": _gate_json(ring.gate),
        "nodes": entries,
    }


def _gate_json(gate: Gate) -> Json:
    return {
        "success_share": gate.success_share,
        "soak_seconds": gate.soak_seconds,
        "errors": gate.errors,
        "min_executed": gate.min_executed,
        "max_disagreement": gate.max_disagreement,
        "max_alarm_drift": gate.max_alarm_drift,
        "min_alarm_difference": gate.min_alarm_difference,
        "ring_seconds": gate.ring_seconds,
    }


def _node_json(target: Target, view: NodeView | None, rooms: Rooms, waits: str) -> Json:
    report = None if view is None else view.report
    told = report if report is not None and report.seq == target.seq and target.seq else None
    release, variant = "", ""
    if report is not None:
        release, variant = installed(report.active.bundle)
    return {
        "node": target.node,
        "room": _room_name(target.node, rooms),
        "zone": target.zone if view is None else view.zone,
        "state": str(target.state),
        "stage": target.stage,
        "error": target.code,
        "detail": "" if told is None else told.detail,
        "since": iso(target.since_us or None),
        "online": view is not None and view.online,
        "waits": waits,
        "variant": "" if target.variant is None else target.variant.variant,
        "active_release": release,
        "active_variant": variant,
        "forgiven": target.forgiven,
        "returning": target.returning,
        **_progress(told),
    }


def _progress(told: NodeReported | None) -> Json:
    return {
        "step": "" if told is None else told.step,
        "bytes_done": 0 if told is None else told.bytes_done,
        "bytes_total": 0 if told is None else told.bytes_total,
        "windows_missed": 0 if told is None else told.windows_missed,
    }


def installed(bundle: str) -> tuple[str, str]:
    """Release and variant of a bundle that a node names as ``name-release+variant``."""
    before, _, variant = bundle.partition("+")
    return before.rpartition("-")[2], variant


def _variant_json(variant: Variant) -> Json:
    return {
        "name": variant.name,
        "release": variant.release,
        "variant": variant.variant,
        "sha256": variant.sha256,
        "runtimes": list(variant.runtimes),
        "hardware": list(variant.hardware),
        "min_node": variant.min_node,
    }


def _person_json(person: str, names: Mapping[str, str]) -> Json:
    return {"id": person, "name": names.get(person, "")}


def _room_name(node: str, rooms: Rooms) -> str:
    record = rooms.get(node) if node else None
    return record.room if record else node
