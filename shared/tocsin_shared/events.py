"""The messages on the wire: what each says, in which unit, and within which limits.

Every limit stands in the type, so that a payload which decodes is also one that can be stored.
Optional figures are ``None`` while there is not enough data yet. Levels are dBFS of the root mean
square (a full-scale sine is −3 dBFS); digital silence has no level and is ``None``, never 0.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

from tocsin_shared.labels import LABEL_PATTERN

SCHEMA = 1
"""Version of the message schema; raised only when an old reader would misread a new message."""

NODE_ID_PATTERN = r"^[a-z0-9-]{3,32}(?!\n)$"
ZONE_PATTERN = r"^[a-z0-9-]{1,32}(?!\n)$"

NodeId = Annotated[str, Meta(pattern=NODE_ID_PATTERN)]
Zone = Annotated[str, Meta(pattern=ZONE_PATTERN)]
Label = Annotated[str, Meta(pattern=LABEL_PATTERN)]
Ulid = Annotated[str, Meta(pattern=r"^[0-7][0-9A-HJKMNP-TV-Z]{25}(?!\n)$")]
Token = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._:+/-]{1,80}(?!\n)$")]
"""A short machine-made name: boot, session, release, version."""
Text = Annotated[str, Meta(max_length=120)]
"""Words for people, shown escaped."""
TroubleName = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,39}(?!\n)$")]
"""A kind of trouble; those known today are :class:`TroubleKind`."""
Score = Annotated[float, Meta(ge=0.0, le=1.0)]
Dbfs = Annotated[float, Meta(ge=-200.0, le=20.0)]
Utc = Annotated[datetime, Meta(tz=True)]
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Seconds = Annotated[float, Meta(ge=0.0, le=1e6)]
Days = Annotated[float, Meta(ge=-1e6, le=1e7)]
Milliseconds = Annotated[float, Meta(ge=-1e12, le=1e12)]


class Phase(StrEnum):
    """Where a detection stands in its life; later phases repeat all that earlier ones said."""

    ONSET = "onset"
    UPDATE = "update"
    OFFSET = "offset"


class Rhythm(StrEnum):
    """Standard alarm rhythm that was matched beside the network."""

    T3 = "t3"
    T4 = "t4"
    NONE = "none"


class Certainty(StrEnum):
    """What a detection rests on so far; a later phase of the same detection may raise it."""

    FAST = "fast"
    """The network alone, at the first sign: told at once, and ended soon if it does not come true."""
    RHYTHM = "rhythm"
    """A standard alarm rhythm alone: the network does not say so."""
    CERTAIN = "certain"
    """The network alone, by the whole rule of its label."""
    CONFIRMED = "confirmed"
    """The network and the rhythm agree."""


class Clock(StrEnum):
    """How far the node's wall clock can be trusted."""

    NTP = "ntp"
    FLOOR = "floor"
    UNSYNCED = "unsynced"


class Presence(StrEnum):
    """Whether the other side is there."""

    ONLINE = "online"
    OFFLINE = "offline"


class Switch(StrEnum):
    """What a lamp, a shaker or a wristband is to do."""

    ON = "on"
    OFF = "off"


class MicState(StrEnum):
    """What the node hears with."""

    STARTING = "starting"
    LISTENING = "listening"
    SILENT = "silent"
    ABSENT = "absent"


class TroubleKind(StrEnum):
    """What can keep a node from hearing or telling. Others may come: see :data:`TroubleName`."""

    MIC_ABSENT = "mic_absent"
    MIC_BUSY = "mic_busy"
    MIC_WRONG_RATE = "mic_wrong_rate"
    MIC_SILENT = "mic_silent"
    MIC_CONSTANT = "mic_constant"
    MIC_DC = "mic_dc"
    MIC_HUM = "mic_hum"
    MIC_CLIPPING = "mic_clipping"
    MIC_DROPS = "mic_drops"
    MIC_LEVEL = "mic_level"
    SELFTEST_FAILED = "selftest_failed"
    CLOCK = "clock"
    DISK = "disk"
    OUTBOX_CORRUPT = "outbox_corrupt"
    OUTBOX_FULL = "outbox_full"
    MODEL = "model"
    THERMAL = "thermal"
    OWN_CERTIFICATE = "own_certificate"
    BROKER_CERTIFICATE = "broker_certificate"
    WARNING_OUTPUT = "warning_output"
    WATCHDOG = "watchdog"
    CLIPS = "clips"


class UpdateState(StrEnum):
    """Where a node stands with the newest directive; what a person reads of an update."""

    IDLE = "idle"
    ACCEPTED = "accepted"
    DEFERRED = "deferred"
    DOWNLOADING = "downloading"
    VERIFYING = "verifying"
    SELF_TESTING = "self_testing"
    SHADOWING = "shadowing"
    ACTIVATING = "activating"
    SOAKING = "soaking"
    ROLLING_BACK = "rolling_back"
    SUCCEEDED = "succeeded"
    ALREADY_INSTALLED = "already_installed"
    REJECTED = "rejected"
    FAILED = "failed"
    ROLLED_BACK = "rolled_back"
    CANCELED = "canceled"


class ScoredLabel(Struct, frozen=True):
    """One label with its score."""

    label: Label
    score: Score


class Message(Struct, frozen=True, kw_only=True):
    """Base of all messages. Unknown fields are ignored by the reader."""

    schema: Annotated[int, Meta(ge=1, le=2**31)] = SCHEMA


class SoundDetected(Message, frozen=True, kw_only=True):
    """One phase of one detection, as sent by a node.

    All phases of a detection share ``id``; the hub stores one row for each ``id``. ``seq`` is the row
    number in the node's outbox: it grows for the life of that outbox and names this very message.
    """

    id: Ulid
    node: NodeId
    zone: Zone
    label: Label
    score: Score
    """Highest score of the detection so far."""
    top: Annotated[tuple[ScoredLabel, ...], Meta(max_length=3)]
    """The three best labels of the window with the highest score, best first."""
    level_dbfs: Dbfs | None
    """Level of the loudest second so far; ``None`` is digital silence."""
    ambient_dbfs: Dbfs | None
    """Level of the room before the onset: median of the last minute."""
    onset: Utc
    offset: Utc | None
    """``None`` while the sound lasts."""
    mono_ns: Count
    """The node's monotonic clock when the message was made, nanoseconds."""
    onset_mono_ns: Count | None = None
    """The same clock at the onset; with it, an onset that a wrong wall clock told can be put right."""
    boot: Token
    seq: Count
    clock: Clock
    bundle: Token
    """Bundle and variant that decided, as ``name-release+variant``."""
    phase: Phase
    rhythm: Rhythm = Rhythm.NONE
    certainty: Certainty = Certainty.CERTAIN
    late: bool = False
    """True when the message waited in the outbox instead of going out at once."""
    test: bool = False
    """The node tested itself: nothing sounded, and nobody is to be alarmed."""


class Backfill(Message, frozen=True, kw_only=True):
    """Detections that waited in the outbox, oldest first."""

    events: Annotated[tuple[SoundDetected, ...], Meta(max_length=64)]


class EventRef(Struct, frozen=True):
    """Names one message of one detection."""

    id: Ulid
    seq: Count


class EventsCommitted(Message, frozen=True, kw_only=True):
    """The hub's acknowledgement: these messages are on its disk, and the node may forget them."""

    refs: Annotated[tuple[EventRef, ...], Meta(max_length=512)]


class NodeConnection(Message, frozen=True, kw_only=True):
    """Retained presence of a node, and its last will.

    An ``offline`` counts only when ``boot`` and ``session`` are those of the newest ``online``: the will
    of a connection that was taken over may arrive late.
    """

    state: Presence
    boot: Token
    session: Count
    """Counts the node's connections within one boot, from 1."""


class NodeBorn(Message, frozen=True, kw_only=True):
    """Who a node is, sent after every connect."""

    node: NodeId
    zone: Zone
    room: Text
    """Name of the room, for people."""
    boot: Token
    session: Count
    at: Utc
    version: Token
    bundle: Token
    runtime: Text
    """Interpreter and its version."""
    hardware: Text
    source: Text
    """What the node hears with: a device name, or the kind of another source."""
    labels: Annotated[tuple[Label, ...], Meta(max_length=1024)]
    hop_seconds: Seconds
    heartbeat_seconds: Seconds
    outbox_depth: Count
    keeps_clips: bool = False
    """Short, encrypted recordings of alarms are kept on the node; everybody in the room is to know."""
    outbox_last: Count | None = None
    """The highest ``seq`` that the node ever gave away, 0 for none; ``None``: it does not say."""


class Heartbeat(Message, frozen=True, kw_only=True):
    """How a node fares; sent every few seconds at QoS 0, so a lost one is no loss."""

    node: NodeId
    boot: Token
    at: Utc
    mic: MicState
    level_dbfs: Dbfs | None
    """Level of the last second; ``None`` is digital silence or nothing heard yet."""
    clipped_ratio: Score
    """Share of full-scale samples since the last heartbeat."""
    dropped_blocks: Count
    """Blocks lost between sound card and features since start."""
    inference_p95_ms: Milliseconds | None
    outbox_depth: Count
    outbox_dropped: Count
    """Messages given up because the outbox was full, since it was made."""
    outbox_dead: Count
    """Messages set aside because they could never be delivered."""
    temperature_celsius: Annotated[float, Meta(ge=-100.0, le=300.0)] | None = None
    throttled: bool | None = None
    clock: Clock = Clock.UNSYNCED
    own_certificate_days: Days | None = None
    """Days until the node's own certificate ends; ``None`` without one."""
    broker_certificate_days: Days | None = None
    """Days until the broker's certificate ends; ``None`` without TLS or a connection."""


class Trouble(Struct, frozen=True, kw_only=True):
    """Something that keeps, or kept, a node from hearing or telling."""

    id: Ulid
    """The same from its start to its end."""
    kind: TroubleName
    since: Utc
    until: Utc | None = None
    """``None`` while it lasts."""
    detail: Text = ""
    """What exactly is wrong, in English, for whoever mends it."""


class TroublesChanged(Message, frozen=True, kw_only=True):
    """Retained: all troubles that a node has now, and the newest of those that are over.

    A level and not an edge: one that is neither open nor over in the newest message ended with its process.
    """

    node: NodeId
    boot: Token
    at: Utc
    troubles: Annotated[tuple[Trouble, ...], Meta(max_length=128)]


class SlotState(Struct, frozen=True, kw_only=True):
    """What stands in one place for bundles of a node."""

    bundle: Token
    """As ``name-release+variant``."""
    sha256: Annotated[str, Meta(max_length=64)] = ""
    """Of the signed archive; empty for a bundle that came with the installation."""


class NodeReported(Message, frozen=True, kw_only=True):
    """Retained: which bundle a node runs and how it fares with updates.

    A level and not an edge: made from what stands on the node's disk, never from what was meant to be.
    """

    node: NodeId
    boot: Token
    at: Utc
    enabled: bool
    """False: the node takes nothing over the air, and says why in ``detail``."""
    active: SlotState
    """What is listening now."""
    proven: bool = True
    """False from activation until the soak is over."""
    previous: SlotState | None = None
    candidate: SlotState | None = None
    seq: Count = 0
    """Number of the newest directive that was read; 0 is none."""
    rollout: Token | None = None
    state: UpdateState = UpdateState.IDLE
    step: Annotated[str, Meta(max_length=32)] = ""
    """Which of the fourteen steps it is in, or ended in."""
    error: Annotated[str, Meta(max_length=32)] = ""
    """Code of what went wrong, such as ``E_GOLDEN``; empty while all is well."""
    detail: Text = ""
    """The same in words, in English, for whoever mends it."""
    bytes_done: Count = 0
    bytes_total: Count = 0
    floors: dict[Token, Token] = {}
    """By name of a bundle, the release below which nothing is installed."""
    windows_missed: Count = 0
    """Windows of sound that nobody judged because of updates, since the start."""
    shadow_windows: Count = 0
    """Windows that were judged by the active bundle and the one beside it …"""
    shadow_disagreements: Count = 0
    """… and in how many they differed."""
    shadow_alarms: Count = 0
    """Detections of the bundle beside the active one …"""
    active_alarms: Count = 0
    """… and of the active one, in the same time."""
    sandbox: Text = ""
    """How well a bundle is locked in while it is tried."""


class HubPresence(Message, frozen=True, kw_only=True):
    """Retained presence of the hub, and its last will, so that a node knows when nobody listens."""

    state: Presence
    epoch: Token
    """New for each start of the hub."""
    at: Utc


class ActuatorState(Message, frozen=True, kw_only=True):
    """Retained: what the lamps, shakers and wristbands of a zone are to do now.

    A level and not an edge: of several incidents in a zone the worst is named, a real one before a drill.
    Nothing may flash above 2 Hz.
    """

    zone: Zone
    state: Switch
    at: Utc
    severity: Annotated[str, Meta(max_length=32)] | None = None
    """``alarm``, ``warning``, ``notice`` or ``trouble``; ``None`` while it is off. Others may come."""
    group: Annotated[str, Meta(max_length=64)] | None = None
    """What sounds: the label, or the group of labels that are easily taken for one another."""
    drill: bool = False
    help: bool = False
    """Somebody asked for help."""
    incident: Ulid | None = None
    since: Utc | None = None
    """Onset of the first sound."""
