"""Rules: what nodes said, and when, becomes the state of each room.

Everything here is a value in and a value out; the time is an argument. Only :class:`Rooms` remembers.
"""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

import msgspec
from msgspec.structs import replace

from tocsin_shared.events import (
    Heartbeat,
    NodeBorn,
    NodeConnection,
    Presence,
    Trouble,
    TroublesChanged,
)

DEFAULT_HEARTBEAT_SECONDS = 10.0
_SLOWEST_HEARTBEAT_SECONDS = 300.0
"""A node that promises fewer heartbeats is held to this one, so that it cannot be deaf for days unnoticed."""
_TWINS_SECONDS = 300.0
"""Two machines of one name push each other off every few seconds; after so long only one is left."""
_KEPT_BOOTS = 4
_MOMENT_US = 500_000
SAVE_SECONDS = 10.0
"""A heartbeat that changes nothing is written to the disk at most this often."""


class RoomState(StrEnum):
    """What a room's microphone does, as far as the hub can tell."""

    LISTENING = "listening"
    SILENT = "silent"
    ABSENT = "absent"
    STARTING = "starting"
    OFFLINE = "offline"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Hearing:
    """Whether the hub itself can hear the nodes, and since when that is so."""

    connected: bool
    since_us: int


class NodeRecord(msgspec.Struct, frozen=True):
    """All that the hub knows about one node."""

    node: str
    since_us: int
    """When ``state`` began."""
    state: RoomState = RoomState.UNKNOWN
    birth: NodeBorn | None = None
    conn: NodeConnection | None = None
    """The last presence that counted; a late will of an older connection never does."""
    heartbeat: Heartbeat | None = None
    boot: str | None = None
    """Boot of the newest birth, presence or heartbeat."""
    last_seen_us: int | None = None
    """When the hub last heard anything from the node itself."""
    former: tuple[str, ...] = ()
    """Boots before that one, newest last; kept in memory alone."""
    returns_us: tuple[int, ...] = ()
    """When a former boot spoke again, lately; kept in memory alone."""
    troubles: tuple[Trouble, ...] = ()
    """What keeps the node from hearing or telling, oldest first."""

    @property
    def zone(self) -> str:
        """Zone of the node; empty until its birth was heard."""
        return self.birth.zone if self.birth else ""

    @property
    def room(self) -> str:
        """Name of the room for people; the node's id until its birth was heard."""
        return (self.birth.room if self.birth else "") or self.node

    def has_open(self, boot: str, offset_us: int | None) -> bool:
        """Whether a sound with this boot and offset still lasts, as far as the hub can tell."""
        return offset_us is None and boot == self.boot and self.state is not RoomState.OFFLINE


def heard(record: NodeRecord, now_us: int) -> NodeRecord:
    """``record`` after any message of the node itself."""
    return replace(record, last_seen_us=now_us)


def is_heard_now(record: NodeRecord, now_us: int) -> bool:
    """Whether another word of the node at ``now_us`` changes nothing about it: it said one a moment ago."""
    if record.last_seen_us is None or record.state in {RoomState.OFFLINE, RoomState.UNKNOWN}:
        return False
    return 0 <= now_us - record.last_seen_us < _MOMENT_US


def booted(before: NodeRecord, after: NodeRecord, now_us: int) -> NodeRecord:
    """``after``, which the node itself said just now, with what is remembered of the boots ``before``.

    Every start of a node has a boot of its own: one that comes again is another machine's.
    """
    if before.boot in {None, after.boot}:
        return after
    lately = tuple(at_us for at_us in before.returns_us if now_us - at_us <= _TWINS_SECONDS * 1e6)
    former = (*(boot for boot in before.former if boot != before.boot), str(before.boot))
    returned = (now_us,) if after.boot in before.former else ()
    return replace(after, former=former[-_KEPT_BOOTS:], returns_us=lately + returned)


def are_two(record: NodeRecord, now_us: int) -> bool:
    """Whether two machines speak as this node: their boots took turns, as when a card was copied."""
    return sum(now_us - at_us <= _TWINS_SECONDS * 1e6 for at_us in record.returns_us) > 1


def born(record: NodeRecord, birth: NodeBorn) -> NodeRecord:
    """``record`` after a birth, which also says that the node is online."""
    online = NodeConnection(state=Presence.ONLINE, boot=birth.boot, session=birth.session)
    return connected(replace(record, birth=birth, boot=birth.boot), online)


def connected(record: NodeRecord, conn: NodeConnection) -> NodeRecord:
    """``record`` after a presence, unless that presence belongs to an older connection."""
    current = record.conn
    same_boot = current is not None and conn.boot == current.boot
    if conn.state is Presence.ONLINE:
        stale = same_boot and current is not None and conn.session < current.session
        return record if stale else replace(record, conn=conn, boot=conn.boot)
    of_current = current is None or (same_boot and conn.session == current.session)
    return replace(record, conn=conn) if of_current else record


def beat(record: NodeRecord, heartbeat: Heartbeat) -> NodeRecord:
    """``record`` after a heartbeat."""
    return replace(record, heartbeat=heartbeat, boot=heartbeat.boot)


def troubled(record: NodeRecord, changed: TroublesChanged) -> NodeRecord:
    """``record`` with the troubles that are open according to ``changed``."""
    still = [trouble for trouble in changed.troubles if trouble.until is None]
    return replace(record, troubles=tuple(sorted(still, key=lambda trouble: trouble.since)))


def silence_limit_us(record: NodeRecord) -> int:
    """How long a node may say nothing: two and a half heartbeats and 2 s."""
    promised = record.birth.heartbeat_seconds if record.birth else DEFAULT_HEARTBEAT_SECONDS
    seconds = min(promised or DEFAULT_HEARTBEAT_SECONDS, _SLOWEST_HEARTBEAT_SECONDS)
    return round((2.5 * seconds + 2.0) * 1e6)


def judged(record: NodeRecord, hearing: Hearing, now_us: int) -> NodeRecord:
    """``record`` with the state that it has at ``now_us``, and when that state began."""
    state = _state(record, hearing, now_us)
    if state is record.state:
        return record
    # A node that fell silent was last known to listen when it was last heard.
    fell_silent = state in {RoomState.OFFLINE, RoomState.UNKNOWN} and _is_silent(record, hearing, now_us)
    since = record.last_seen_us if fell_silent and record.last_seen_us else now_us
    return replace(record, state=state, since_us=since)


def _state(record: NodeRecord, hearing: Hearing, now_us: int) -> RoomState:
    if record.conn is not None and record.conn.state is Presence.OFFLINE:
        return RoomState.OFFLINE
    if _is_silent(record, hearing, now_us):
        return RoomState.OFFLINE if hearing.connected else RoomState.UNKNOWN
    if record.heartbeat is not None and record.heartbeat.boot == record.boot:
        return RoomState(record.heartbeat.mic)
    return RoomState.STARTING if record.birth or record.conn else RoomState.UNKNOWN


def _is_silent(record: NodeRecord, hearing: Hearing, now_us: int) -> bool:
    # While the hub itself was deaf, the silence of a node says nothing about the node.
    heard_us = max(record.last_seen_us or 0, hearing.since_us)
    return now_us - heard_us > silence_limit_us(record)


def still_heard(record: NodeRecord, now_us: int) -> bool:
    """Whether the node was heard a moment ago, by a record that may not be saved with each heartbeat."""
    if record.state is RoomState.OFFLINE or record.last_seen_us is None:
        return False
    return now_us - record.last_seen_us <= silence_limit_us(record) + SAVE_SECONDS * 1e6


def same_words(one: NodeRecord, other: NodeRecord) -> bool:
    """Whether two records differ at most in their heartbeat and in when the node was last heard."""
    one, other = (replace(record, heartbeat=None, last_seen_us=None) for record in (one, other))
    return replace(one, former=(), returns_us=()) == replace(other, former=(), returns_us=())


def activity_changed(before: NodeRecord, after: NodeRecord) -> bool:
    """Whether a sound of this node that was open may no longer be, or the other way round."""
    offline = [record.state is RoomState.OFFLINE for record in (before, after)]
    return before.boot != after.boot or offline[0] != offline[1]


class Rooms:
    """The records of all nodes, in memory. Safe to use from several threads."""

    def __init__(self, records: Iterable[NodeRecord], hearing: Hearing, retired: Iterable[str] = ()) -> None:
        """Rooms of nodes that are ``retired`` are not rooms any more."""
        self._retired = set(retired)
        self._records = {record.node: record for record in records if record.node not in self._retired}
        self._hearing = hearing
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._records)

    @property
    def hearing(self) -> Hearing:
        """Whether the hub itself hears."""
        return self._hearing

    def set_hearing(self, connected: bool, now_us: int) -> None:
        """Note that the link to the broker came up or went down."""
        with self._lock:
            if connected != self._hearing.connected:
                self._hearing = Hearing(connected, now_us)

    def replace(self, records: Iterable[NodeRecord], retired: Iterable[str]) -> None:
        """Know these rooms, as they are, and no others; for who does not hear nodes itself."""
        gone = set(retired)
        known = {record.node: record for record in records if record.node not in gone}
        with self._lock:
            self._records, self._retired = known, gone

    def get(self, node: str) -> NodeRecord | None:
        """The record of ``node``, or ``None`` if it was never heard of."""
        with self._lock:
            return self._records.get(node)

    def forget(self, node: str) -> None:
        """Let go of the room of ``node``, which is retired from now on."""
        with self._lock:
            self._retired.add(node)
            self._records.pop(node, None)

    def is_retired(self, node: str) -> bool:
        """Whether ``node`` was retired, and has not come back."""
        return node in self._retired

    def take_back(self, node: str) -> None:
        """Note that a retired node has spoken."""
        with self._lock:
            self._retired.discard(node)

    def all(self) -> list[NodeRecord]:
        """Every record, by zone, room and node."""
        with self._lock:
            return sorted(self._records.values(), key=lambda record: (record.zone, record.room, record.node))

    def change(
        self, node: str, now_us: int, rule: Callable[[NodeRecord], NodeRecord]
    ) -> tuple[NodeRecord, NodeRecord]:
        """Apply ``rule`` to the record of ``node`` and judge it; the record before and after."""
        with self._lock:
            before = self._records.get(node) or NodeRecord(node, since_us=now_us)
            after = judged(rule(before), self._hearing, now_us)
            self._records[node] = after
        return before, after

    def tick(self, now_us: int) -> list[tuple[NodeRecord, NodeRecord]]:
        """Judge every room anew; before and after of those whose state changed."""
        with self._lock:
            pairs = [(record, judged(record, self._hearing, now_us)) for record in self._records.values()]
            changed = [(before, after) for before, after in pairs if after is not before]
            self._records.update({after.node: after for _, after in changed})
        return changed
