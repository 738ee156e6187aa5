"""What the API answers about rooms and events: the types that its description is made of."""

from typing import Annotated

import msgspec
from msgspec import Meta, UnsetType

from tocsin_hub.rooms import RoomState
from tocsin_hub.store import CURSOR_PATTERN
from tocsin_shared.events import Certainty, Clock, Label, NodeId, Phase, Rhythm, Score, TroubleName, Ulid
from tocsin_shared.labels import Severity

Moment = Annotated[
    str, Meta(description="ISO 8601 in UTC, with milliseconds.", extra_json_schema={"format": "date-time"})
]

Cursor = Annotated[
    str, Meta(pattern=CURSOR_PATTERN, description="a cursor that this hub gave out; empty means the newest")
]


class Scored(msgspec.Struct, forbid_unknown_fields=True):
    """One label with its score."""

    label: Label
    score: Score


class Event(msgspec.Struct, forbid_unknown_fields=True):
    """One detection, as the newest word about it says."""

    id: Ulid
    node: NodeId
    zone: str
    room: str
    label: Label
    severity: Severity
    score: Score
    top: list[Scored]
    level_dbfs: float | None
    ambient_dbfs: float | None
    onset: Moment
    offset: Moment | None
    phase: Phase
    rhythm: Rhythm
    certainty: Certainty
    late: bool
    test: bool
    active: bool
    bundle: str
    clock: Clock
    boot: str
    seq: int
    received: Moment
    committed: Moment
    change: int
    incident: Annotated[Ulid | None, Meta(description="The incident that it is part of.")]


class Events(msgspec.Struct, forbid_unknown_fields=True):
    """Some events, and where the next ones begin."""

    events: list[Event]
    next: Annotated[
        int | str | None,
        Meta(description="Give it as `after` or `before` to go on; null when the past ends here."),
    ]
    more: Annotated[bool, Meta(description="Whether more changes wait; only with `after`.")] | UnsetType = (
        msgspec.UNSET
    )


class OpenTrouble(msgspec.Struct, forbid_unknown_fields=True):
    """Something that keeps a node from hearing or telling."""

    id: Ulid
    kind: TroubleName
    since: Moment
    detail: str


class Room(msgspec.Struct, forbid_unknown_fields=True):
    """One room; null where its node has not said it yet."""

    node: NodeId
    zone: str
    room: str
    state: RoomState
    since: Moment
    last_seen: Moment | None
    boot: str | None
    bundle: str | None
    version: str | None
    runtime: str | None
    hardware: str | None
    source: str | None
    hop_seconds: float | None
    labels: list[Label]
    keeps_clips: bool | None
    level_dbfs: float | None
    clipped_ratio: float | None
    dropped_blocks: int | None
    inference_p95_ms: float | None
    outbox_depth: int | None
    troubles: list[OpenTrouble]


class RoomList(msgspec.Struct, forbid_unknown_fields=True):
    """Every room, and the hub's time when it said so."""

    at: Moment
    rooms: list[Room]


class Forgotten(msgspec.Struct, forbid_unknown_fields=True):
    """The node whose room is forgotten."""

    node: str
