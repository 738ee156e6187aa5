"""Rooms that are given up: the hub forgets them, and what the broker keeps of them brings none back.

A page, the API or the command line, in a process of its own, notes that a node is retired. The running hub
finds the note within a second, forgets the room, and clears what the broker keeps of the node. A node that
speaks again is a room again: better a room too many than a sound that nobody is told of.
"""

import logging
import threading
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from typing import Protocol, TypeVar

from tocsin_hub.incidents import keeping
from tocsin_hub.recorder import Recorder
from tocsin_hub.rooms import NodeRecord, Rooms, still_heard
from tocsin_hub.store import Store
from tocsin_hub.writer import Outcome, Work
from tocsin_shared.errors import BadInputError, UnavailableError
from tocsin_shared.topics import node_topic

T = TypeVar("T")
_RETAINED = (("conn", ""), ("troubles", ""), ("state", ""), ("cmd", "desired"))
"""What a broker keeps of a node: kinds of topics, and what follows them."""
_TABLES = ("nodes", "plan_rooms", "node_reports")
"""Tables whose rows say how a room is; what was heard in it stays."""

log = logging.getLogger(__name__)


class NoRoomError(BadInputError):
    """There is no such room."""


class StillHeardError(BadInputError):
    """The room is heard: it would be back with the next word of its node."""


class Writes(Protocol):
    """The writer, as far as it is needed here."""

    def put(self, work: Work, patience_seconds: float = ..., /) -> None:
        """Queue some work."""

    def call(self, write: Callable[[Recorder], T], /) -> T:
        """Write something and wait until it is on the disk."""


class Broker(Protocol):
    """What keeps retained messages."""

    def clear(self, topics: Iterable[str]) -> bool:
        """Let go of what is kept under ``topics``; whether the broker could be told. Never waits."""


def check(records: Collection[NodeRecord], node: str, now_us: int) -> None:
    """Refuse to forget the room of ``node`` where that would be wrong.

    Raises:
        NoRoomError: there is no room of that node.
        StillHeardError: it was heard a moment ago.
    """
    known = {record.node: record for record in records}
    if node not in known:
        names = ", ".join(sorted(known)[:20]) or "none"
        raise NoRoomError(f"there is no room of a node {node!r}; there are: {names}")
    if still_heard(known[node], now_us):
        raise StillHeardError(
            f"{node} is still heard; stop it or retire its certificate first (node_retire.yml), "
            "or it is back with its next word"
        )


def retire(recorder: Recorder, node: str, now_us: int) -> None:
    """Note that ``node`` is retired; the running hub does the rest."""
    recorder.database.execute(
        "INSERT INTO retired_nodes (node, at_us, done) VALUES (?, ?, 0) "
        "ON CONFLICT (node) DO UPDATE SET at_us = excluded.at_us, done = 0",
        (node, now_us),
    )


def retired(store: Store) -> frozenset[str]:
    """Nodes that were retired, and have not spoken since.

    Raises:
        UnavailableError: the database cannot be used at the moment.
    """
    return frozenset(node for (node,) in store.rows("SELECT node FROM retired_nodes"))


def returning(node: str) -> Work:
    """The work that takes a retired node back."""

    def write(recorder: Recorder) -> Outcome:
        recorder.database.execute("DELETE FROM retired_nodes WHERE node = ?", (node,))
        return Outcome()

    return Work(write, lambda _: None)


class Forgetting:
    """Does what was noted. Safe to use from several threads."""

    def __init__(
        self,
        *,
        store: Store,
        rooms: Rooms,
        writer: Writes,
        broker: Broker | None,
        clock: Callable[[], int],
    ) -> None:
        """Without ``broker``, as in a web process, it is only noted what to forget; the hub does it."""
        self._store = store
        self._rooms = rooms
        self._writer = writer
        self._broker = broker
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: set[str] = set()
        """Nodes of which the broker still keeps something."""

    def give_up(self, node: str, noted: Callable[[Recorder], None]) -> None:
        """Forget the room of ``node``; ``noted`` writes down who wanted it, in the same transaction.

        Raises:
            NoRoomError: there is no such room.
            StillHeardError: it was heard a moment ago.
            UnavailableError: the database cannot be used at the moment.
        """
        check(self._rooms.all(), node, self._clock())

        def write(recorder: Recorder) -> None:
            retire(recorder, node, self._clock())
            noted(recorder)

        self._writer.call(write)
        self.tick()

    def tick(self) -> None:
        """Forget what is to be forgotten; never raises."""
        if self._broker is None:
            return
        with suppress(UnavailableError), self._lock:  # tried again in a second
            for node, zone in self._noted():
                self._rooms.forget(node)
                self._kept.add(node)
                self._writer.put(self._forgetting(node, zone), 0.0)
            topics = [node_topic(node, kind, rest) for node in sorted(self._kept) for kind, rest in _RETAINED]
            if topics and self._broker.clear(topics):
                self._kept.clear()

    def _noted(self) -> list[tuple[str, str]]:
        """Nodes that are to be forgotten, and their zones."""
        rows = self._store.rows("SELECT node FROM retired_nodes WHERE done = 0 ORDER BY node")
        records = {node: self._rooms.get(node) for (node,) in rows}
        return [(node, record.zone if record else "") for node, record in records.items()]

    def _forgetting(self, node: str, zone: str) -> Work:
        def write(recorder: Recorder) -> Outcome:
            now_us, execute = self._clock(), recorder.database.execute
            if not execute("UPDATE retired_nodes SET done = 1 WHERE node = ?", (node,)).rowcount:
                return Outcome()  # it has spoken since
            for table in _TABLES:
                execute(f"DELETE FROM {table} WHERE node = ?", (node,))  # noqa: S608 - names of our own
            execute(
                "UPDATE troubles SET until_us = CASE WHEN since_us > ? THEN since_us ELSE ? END "
                "WHERE node = ? AND until_us IS NULL",
                (now_us, now_us, node),
            )
            over = keeping.end_troubles(recorder, node, zone, now_us)
            log.info("the room of %s is forgotten", node)
            return Outcome(incidents=over)

        return Work(write, lambda reason: log.error("%s cannot be forgotten: %s", node, reason))
