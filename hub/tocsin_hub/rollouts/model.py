"""What a rollout is: rings of nodes, gates, and how each node fares. Times are microseconds of UTC."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from tocsin_shared.events import NodeReported, UpdateState


class Status(StrEnum):
    """Where a rollout stands in its life."""

    DRAFT = "draft"
    AWAITING_APPROVAL = "awaiting_approval"
    SCHEDULED = "scheduled"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    SUCCEEDED_WITH_FAILURES = "succeeded_with_failures"
    ABORTED = "aborted"
    ROLLED_BACK = "rolled_back"
    SUPERSEDED = "superseded"


class Pause(StrEnum):
    """Why a rollout stands still."""

    MANUAL = "manual"
    ERROR_THRESHOLD = "error_threshold"
    SUCCESS_GATE = "success_gate"
    SHADOW_DISAGREEMENT = "shadow_disagreement"
    ALARM_DRIFT = "alarm_drift"
    TIME_LIMIT = "time_limit"
    BAD_EXPRESSION = "bad_expression"
    SAFETY_HOLD = "safety_hold"
    """An alarm or a drill is open."""
    HUB_DEGRADED = "hub_degraded"
    METADATA_EXPIRING = "metadata_expiring"


PASSING = (Pause.SAFETY_HOLD, Pause.HUB_DEGRADED, Pause.METADATA_EXPIRING)
"""These end by themselves; every other pause ends by a person's word."""


class Course(StrEnum):
    """Where a rollout is heading."""

    FORWARD = "forward"
    ABORTING = "aborting"
    """Nothing new begins; what runs comes to its end."""
    RETURNING = "returning"
    """Every node that took the bundle goes back to the one before."""


class RingState(StrEnum):
    """Where a ring stands."""

    PENDING = "pending"
    ACTIVE = "active"
    SOAKING = "soaking"
    PASSED = "passed"


class Execution(StrEnum):
    """How one node fares."""

    QUEUED = "queued"
    OFFERED = "offered"
    ACCEPTED = "accepted"
    DEFERRED = "deferred"
    DOWNLOADING = "downloading"
    VERIFYING = "verifying"
    SELF_TESTING = "self_testing"
    SHADOWING = "shadowing"
    ACTIVATING = "activating"
    SOAKING = "soaking"
    ROLLING_BACK = "rolling_back"
    UNREACHABLE = "unreachable"
    """Silent since it activated; counts as an error until it speaks again."""
    SUCCEEDED = "succeeded"
    ALREADY_INSTALLED = "already_installed"
    REJECTED = "rejected"
    FAILED = "failed"
    ROLLED_BACK = "rolled_back"
    TIMED_OUT = "timed_out"
    CANCELED = "canceled"
    SKIPPED = "skipped"
    """Not to be had in the time of its ring; it catches up when it is."""
    REMOVED = "removed"
    """No node of this site any more."""


GOOD = frozenset({Execution.SUCCEEDED, Execution.ALREADY_INSTALLED})
BAD = frozenset(
    {
        Execution.REJECTED,
        Execution.FAILED,
        Execution.ROLLED_BACK,
        Execution.TIMED_OUT,
        Execution.UNREACHABLE,
    }
)
"""What counts towards the error threshold."""
SETTLED = (GOOD | BAD | {Execution.CANCELED, Execution.SKIPPED, Execution.REMOVED}) - {Execution.UNREACHABLE}
"""Nothing more is waited for."""
UNCOUNTED = frozenset({Execution.CANCELED, Execution.SKIPPED, Execution.REMOVED})
"""No part of a gate's share."""
LIVE = frozenset({UpdateState.ACTIVATING, UpdateState.SOAKING, UpdateState.ROLLING_BACK})
"""The bundle listens, and has not proved itself."""
FINAL = frozenset(
    {
        UpdateState.SUCCEEDED,
        UpdateState.ALREADY_INSTALLED,
        UpdateState.REJECTED,
        UpdateState.FAILED,
        UpdateState.ROLLED_BACK,
        UpdateState.CANCELED,
    }
)
"""A node that says so does nothing more for that directive."""


@dataclass(frozen=True)
class Variant:
    """One signed bundle that may be offered; from the metadata of the role ``models``."""

    name: str
    """Name of the bundle, such as ``sentry``."""
    release: str
    """Such as ``0.2.0``."""
    variant: str
    """Such as ``full-int8``."""
    sha256: str
    """Of the archive, in hexadecimal."""
    runtimes: tuple[str, ...] = ()
    """How the names of interpreters begin that it was heard with; empty is any."""
    hardware: tuple[str, ...] = ()
    """Parts of the names of boards that it is for; empty is any."""
    min_node: str = "0.0.0"
    """Oldest version of the node that reads it."""
    best_on: tuple[str, ...] = ()
    """Parts of the names of boards on which it was measured to be the best; there it goes before others."""


@dataclass(frozen=True)
class Gate:
    """What a ring must show before the next one begins."""

    success_share: float = 1.0
    """Least share of its counted nodes that have proved themselves, 0 to 1."""
    soak_seconds: float = 600.0
    """So long must the last success of the ring be past."""
    errors: str = "1"
    """Stops at so many errors: ``3``, ``20%`` or ``3 or 20%``; at the number, not over it."""
    min_executed: int = 5
    """A percentage is not judged before so many nodes of the ring have come to an end."""
    max_disagreement: float = 0.05
    """Largest share of shadow windows in which new and old bundle differed, over the ring, 0 to 1."""
    max_alarm_drift: float = 0.5
    """Largest difference of their numbers of detections, as a share of the old bundle's."""
    min_alarm_difference: int = 3
    """A smaller difference in detections is no drift, whatever its share."""
    ring_seconds: float = 86_400.0
    """A ring that takes longer pauses the rollout."""


@dataclass(frozen=True)
class Limits:
    """How long a node may stay in a stage, seconds, and how many go at once."""

    offered: float = 600.0
    """From offering until the node takes it up."""
    accepted: float = 900.0
    deferred: float = 14_400.0
    downloading: float = 3_600.0
    verifying: float = 300.0
    self_testing: float = 900.0
    shadowing: float = 7_200.0
    activating: float = 300.0
    soaking: float = 7_200.0
    rolling_back: float = 600.0
    total: float = 21_600.0
    """From offering to the end, however often a stage begins anew."""
    silence: float = 120.0
    """So long may a node be offline between activation and the end of its soak."""
    offline_grace: float = 1_800.0
    """So long does a ring wait for nodes that cannot be offered anything."""
    directive: float = 14_400.0
    """A directive that was not begun with ends after this."""
    max_parallel: int = 20
    """Most nodes that are on their way at once."""


@dataclass(frozen=True)
class Ring:
    """Some nodes that go together."""

    gate: Gate = Gate()
    state: RingState = RingState.PENDING
    clock_us: int | None = None
    """When it began, or went on after a pause; limit and grace count from here."""
    good_us: int | None = None
    """When its last node proved itself."""
    waived: bool = False
    """Somebody went on although its gate was shut."""
    name: str = ""
    """As it was asked for when the rollout was planned, such as ``25%`` or ``zone:hall``."""


@dataclass(frozen=True)
class Target:
    """One node in a rollout."""

    node: str
    zone: str
    """As it was when the rollout was planned, for people; rules ask for the present one."""
    ring: int
    """Number of its ring, from 0."""
    state: Execution = Execution.QUEUED
    since_us: int = 0
    """Since when the hub sees it in that state."""
    code: str = ""
    """Why: a node's error code, or a word of the rules such as ``offline``."""
    stage: str = ""
    """The state in which it went wrong."""
    variant: Variant | None = None
    """What was offered last."""
    seq: int = 0
    """Number of the directive that was issued last; 0 is none."""
    offered_us: int = 0
    """When that was issued."""
    standing: bool = False
    """Whether that directive stands, retained, at the broker."""
    reported: UpdateState | None = None
    """What the node said last of that directive; ``None`` is nothing yet."""
    reported_at_us: int = 0
    """When it said so, by its own clock."""
    boot: str = ""
    """The boot in which it said so."""
    forgiven: bool = False
    """Somebody went on in spite of this error; it does not stop the rollout again."""
    returning: bool = False
    """It is offered the bundle to go back to."""
    shadow_windows: int = 0
    """Windows judged by old and new bundle side by side …"""
    shadow_disagreements: int = 0
    """… and in how many they differed."""
    shadow_alarms: int = 0
    """Detections of the new bundle in the shadow …"""
    active_alarms: int = 0
    """… and of the old one in the same time."""

    @property
    def good(self) -> bool:
        """Whether it has proved itself with what was offered."""
        return self.state in GOOD


@dataclass(frozen=True)
class Rollout:
    """One rollout as it stands in the database."""

    id: str
    """ULID; named in directives and reports."""
    variants: tuple[Variant, ...]
    """What is offered, in order of preference."""
    rings: tuple[Ring, ...]
    targets: tuple[Target, ...]
    created_by: str
    """Id of the person who made it."""
    created_us: int
    status: Status = Status.DRAFT
    pause: Pause | None = None
    """Only while paused."""
    course: Course = Course.FORWARD
    version: int = 1
    """Grows with every change; a change that was made for another version is refused."""
    limits: Limits = Limits()
    two_persons: bool = True
    """Whoever approves must be another person than who made it."""
    approved_by: str | None = None
    """Id of the person who approved it."""
    starts_us: int | None = None
    """Begins by itself then; ``None`` waits for a person's word."""
    back: tuple[Variant, ...] = ()
    """What a rollback offers, in order of preference; signed, and not below any node's floor."""
    lone_zones: frozenset[str] = frozenset()
    """Zones with one node alone that may be updated all the same, by decision of a person."""
    soak_seconds: float | None = None
    """How long each node proves the bundle; ``None`` leaves it to the node."""
    shadow_seconds: float | None = None
    """How long each node runs it in the shadow; ``None`` leaves it to the node."""


@dataclass(frozen=True)
class NodeView:
    """What the hub knows of a node now."""

    node: str
    zone: str
    online: bool
    """Whether it is connected."""
    hearing: bool
    """Whether its microphone listens and nothing keeps it from telling."""
    last_seen_us: int
    """When it was last heard of."""
    version: str = "0.0.0"
    runtime: str = ""
    hardware: str = ""
    seq: int = 0
    """Highest number of a directive that was ever used for it, as database or node know it."""
    report: NodeReported | None = None
    """Its retained word on updates."""
    busy: bool = False
    """A directive of another rollout may still run on it."""


@dataclass(frozen=True)
class World:
    """All that rules look at beside the rollout."""

    nodes: Mapping[str, NodeView] = field(default_factory=dict)
    alarm_open: bool = False
    """An incident that alarms people lasts."""
    drill_open: bool = False
    degraded: bool = False
    """The hub itself does not do well: database, broker or clock."""
    metadata_expires_us: int | None = None
    """When the first signed metadata expires that nodes need; ``None`` is not known."""


@dataclass(frozen=True)
class Order:
    """A directive, before it is signed."""

    node: str
    seq: int
    variant: Variant
    issued_us: int
    expires_us: int
    rollout: str
    soak_seconds: float | None = None
    shadow_seconds: float | None = None


@dataclass(frozen=True)
class Reason:
    """One thing that happened, or keeps something from happening, in words for machines."""

    code: str
    """Such as ``ring_passed``, ``error_threshold``, ``zone_busy`` or ``E_GOLDEN``."""
    node: str = ""
    ring: int | None = None
    detail: str = ""
    """Numbers or names that belong to it."""
    lasting: bool = False
    """It says why something waits, and is told again each time; not for the log."""


@dataclass(frozen=True)
class Decision:
    """What is to be done now. Nothing is published before ``rollout`` is in the database."""

    rollout: Rollout
    directives: tuple[Order, ...] = ()
    """To sign and publish, retained."""
    withdrawals: tuple[str, ...] = ()
    """Nodes whose retained directive is to be cleared."""
    reasons: tuple[Reason, ...] = ()
    transition: tuple[Status, Status] | None = None
    """From and to, if the status changed."""
