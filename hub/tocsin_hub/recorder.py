"""Writing the hub's database: the one connection that writes, and what may be written with it.

Nothing here commits but :meth:`Recorder.transaction`. A recorder belongs to the thread that opened it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass
from enum import Enum
from operator import attrgetter
from pathlib import Path
from typing import Any, Protocol

import msgspec
from msgspec.structs import replace
from sqlite_utils import Database

from tocsin_hub.connection import FAULTS, Connection, connect
from tocsin_hub.migrations import MIGRATIONS
from tocsin_hub.place import Lead, Place, PostgresPlace, database_errors, prepare_postgres, write_to
from tocsin_hub.rooms import NodeRecord
from tocsin_hub.store import (
    EVENT_COLUMNS,
    StoredEvent,
    event_from_row,
    words_text,
)
from tocsin_hub.times import to_us
from tocsin_shared.errors import UnavailableError
from tocsin_shared.events import Phase, SoundDetected, TroublesChanged

KEPT_QUARANTINE_ROWS = 1000
KEPT_TROUBLE_ROWS = 1000
"""Of each node: a loose plug must not fill the disk."""
KEPT_PAYLOAD_BYTES = 1024
_PHASE_ORDER = {Phase.ONSET: 0, Phase.UPDATE: 1, Phase.OFFSET: 2}
_NAMES = ", ".join(EVENT_COLUMNS)
_NEW_COLUMNS = (*EVENT_COLUMNS, "detected_us", "first_committed_us")
_MOVED_COLUMNS = (*EVENT_COLUMNS[1:], "id")
_PLACE = [EVENT_COLUMNS.index(name) for name in ("zone", "label", "onset_us", "boot", "test")]
"""Columns with indexes of their own that a later word about a sound hardly ever changes; a column that an
update names costs the upkeep of its indexes, changed or not."""
_FIXED = (*_PLACE, EVENT_COLUMNS.index("id"), EVENT_COLUMNS.index("node"))
_NEWS = [index for index in range(len(EVENT_COLUMNS)) if index not in _FIXED]
_NEWS_COLUMNS = (*(EVENT_COLUMNS[index] for index in _NEWS), "id")
_KNOWN_COLUMNS = "id, node, phase, seq, first_received_us, zone, label, onset_us, boot, test"
_KNOWN_EVENTS = f"SELECT {_KNOWN_COLUMNS} FROM events WHERE id IN"  # noqa: S608
_AT_ONCE = 200
"""So many events are looked up by one question."""
_OF_EVENT = attrgetter(*EVENT_COLUMNS)
_TOP = EVENT_COLUMNS.index("top")
_WORDS = [EVENT_COLUMNS.index(name) for name in ("clock", "phase", "rhythm", "certainty")]
_FLAGS = [EVENT_COLUMNS.index(name) for name in ("late", "test")]


class Pending(Protocol):
    """What was gathered in a transaction, to be written before it ends."""

    def write(self, connection: Connection) -> None:
        """Write all of it."""


class Fate(Enum):
    """What became of a message about a detection."""

    ADDED = "added"
    """The first word of this detection."""
    APPLIED = "applied"
    """It says more than what was stored."""
    KNOWN = "known"
    """What is stored already says as much."""
    FOREIGN = "foreign"
    """Another node has a detection of this id; nothing was written."""


@dataclass(frozen=True)
class Quarantined:
    """A message that could not be used, as it is kept aside."""

    at_us: int
    topic: str
    reason: str
    size_bytes: int
    payload: bytes
    """The first :data:`KEPT_PAYLOAD_BYTES` of it."""


def supersedes(phase: Phase, seq: int, stored_phase: Phase, stored_seq: int) -> bool:
    """Whether a message says more than the stored one of the same detection: later phase, or later word."""
    return (_PHASE_ORDER[phase], seq) > (_PHASE_ORDER[stored_phase], stored_seq)


def detected_us(message: SoundDetected) -> int | None:
    """When the node decided, microseconds of UTC; ``None`` if ``message`` was not made at that moment.

    Onset and decision are compared on the node's monotonic clock: the other may have been set between.
    """
    if message.phase is not Phase.ONSET or message.onset_mono_ns is None:
        return None
    return to_us(message.onset) + max(0, message.mono_ns - message.onset_mono_ns) // 1000


class Recorder:
    """The write connection. Use it from one thread only.

    All methods raise one of :data:`~tocsin_hub.connection.FAULTS`: the thread that owns the recorder tells a
    full disk from a message that cannot be stored.
    """

    def __init__(self, path: Place, lead: Lead | None = None) -> None:
        """``lead`` is what the hub that leads holds; nobody else has one."""
        self.path = path
        self._lead = lead
        self._connection: Connection | None = None
        self.changes = 0
        """Number of the last change that was given out."""
        self.pending: Pending | None = None
        """What this transaction has gathered and not written yet."""
        self.alone = False
        """Whether the transaction is of one piece of work, so that its faults can be told apart."""
        self._expected: dict[str, Any] = {}
        """What is known of events: as stored, or as this transaction will store them."""
        self._new: dict[str, tuple[Any, ...]] = {}
        self._news: dict[str, tuple[Any, ...]] = {}
        self._moved: dict[str, tuple[Any, ...]] = {}
        """Rows of events that are not written yet: new ones, and those that change in part or as a whole."""

    def open(self) -> None:
        """Connect; each commit is forced to the disk."""
        self._connection = write_to(self.path, self._lead)
        self.changes = self._counter("change")

    def close(self) -> None:
        """Close the connection; an open transaction is rolled back."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @property
    def database(self) -> Connection:
        """The open connection; what is :attr:`pending` is written first, so that whoever asks sees it."""
        self.settle()
        self._expected.clear()  # whoever asks may write
        return self.connection

    @property
    def connection(self) -> Connection:
        """The open connection, for those whose questions nothing :attr:`pending` can change."""
        if self._connection is None:
            raise RuntimeError("the recorder is not open")
        return self._connection

    def settle(self) -> None:
        """Write the rows of events, then what is :attr:`pending`; of what cannot be written nothing stays."""
        self._write_events()
        pending, self.pending = self.pending, None
        if pending is None:
            return
        if not self.alone:  # whatever fails is rolled back with the whole transaction
            pending.write(self.connection)
            return
        with self.savepoint():
            pending.write(self.connection)

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Of what is inside nothing stays when it fails, and the transaction goes on."""
        self._write_events()  # a fault in them is none of what is inside
        self.connection.execute("SAVEPOINT inside")
        try:
            yield
        except BaseException:
            with suppress(*FAULTS):  # a full disk has ended the whole transaction already
                self.connection.execute("ROLLBACK TO SAVEPOINT inside")
            raise
        self.connection.execute("RELEASE SAVEPOINT inside")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside is committed as one, or nothing of it."""
        self.connection.begin()
        given_out = self.changes
        try:
            given_out = self.changes = self._counter("change")  # another process may have given out some
            yield
            self.settle()
            if self.changes != given_out:
                self._set_counter("change", self.changes)
            self.connection.commit()
        except BaseException:
            self.pending = None
            self._forget_events()
            self.changes = given_out
            self.connection.rollback()
            raise
        finally:
            self._expected.clear()

    @property
    def expected(self) -> list[str]:
        """Ids of events that are recorded in this transaction, as far as that is known."""
        return list(self._expected)

    def expect(self, events: Sequence[str]) -> None:
        """Events of these ids will be recorded in this transaction: what is known of them is read at once."""
        for start in range(0, len(events), _AT_ONCE):
            ids = events[start : start + _AT_ONCE]
            self._expected |= dict.fromkeys(ids)
            marks = ", ".join("?" * len(ids))
            for key, *row in self.connection.execute(f"{_KNOWN_EVENTS} ({marks})", ids):
                self._expected[key] = row

    def record(
        self, message: SoundDetected, received_us: int, now_us: int
    ) -> tuple[Fate, StoredEvent | None]:
        """Store one word about a detection; with the row as it then stands if that changes it.

        Rows are written together, before anybody else in the transaction sees the database.
        """
        row = self._known(message.id)
        if row is None:
            event = self._event(message, received_us, received_us, now_us)
            values = _values(event)
            self._new[event.id] = (*values, detected_us(message), now_us)
            self._note_known(event, values)
            return Fate.ADDED, event
        node, phase, seq, first_received_us, *place = row
        if node != message.node:
            return Fate.FOREIGN, None
        if not supersedes(message.phase, message.seq, Phase(phase), seq):
            return Fate.KNOWN, None
        event = self._event(message, first_received_us, received_us, now_us)
        values = _values(event)
        if event.id in self._new:
            self._new[event.id] = (*values, *self._new[event.id][len(values) :])
        elif event.id in self._moved or place != [values[index] for index in _PLACE]:
            self._news.pop(event.id, None)
            self._moved[event.id] = (*values[1:], event.id)
        else:
            self._news[event.id] = (*[values[index] for index in _NEWS], event.id)
        self._note_known(event, values)
        return Fate.APPLIED, event

    def _note_known(self, event: StoredEvent, values: Sequence[Any]) -> None:
        place = [values[index] for index in _PLACE]
        self._expected[event.id] = [event.node, event.phase.value, event.seq, event.first_received_us, *place]

    def _write_events(self) -> None:
        if self._new:
            self.connection.insert("events", _NEW_COLUMNS, list(self._new.values()))
        if self._news:
            self.connection.update("events", _NEWS_COLUMNS, list(self._news.values()))
        if self._moved:
            self.connection.update("events", _MOVED_COLUMNS, list(self._moved.values()))
        self._forget_events()

    def _forget_events(self) -> None:
        for rows in (self._new, self._news, self._moved):
            rows.clear()

    def _known(self, event: str) -> Any:
        """What is stored of an event: the columns of :data:`_KNOWN_EVENTS` without its id."""
        if event in self._expected:
            return self._expected[event]
        row = self.connection.execute(f"{_KNOWN_EVENTS} (?)", (event,)).fetchone()
        return None if row is None else row[1:]

    def _event(self, message: SoundDetected, first_us: int, received_us: int, now_us: int) -> StoredEvent:
        self.changes += 1
        return StoredEvent(
            id=message.id,
            node=message.node,
            zone=message.zone,
            label=message.label,
            score=message.score,
            top=message.top,
            level_dbfs=message.level_dbfs,
            ambient_dbfs=message.ambient_dbfs,
            onset_us=to_us(message.onset),
            offset_us=None if message.offset is None else to_us(message.offset),
            mono_ns=message.mono_ns,
            boot=message.boot,
            seq=message.seq,
            clock=message.clock,
            bundle=message.bundle,
            phase=message.phase,
            rhythm=message.rhythm,
            late=message.late,
            first_received_us=first_us,
            received_us=received_us,
            committed_us=now_us,
            test=message.test,
            certainty=message.certainty,
            change=self.changes,
        )

    def touch_open(self, node: str, boots: tuple[str, ...]) -> list[StoredEvent]:
        """Give unfinished events a new change, because they began or ceased to be active; as they are now."""
        marks = ", ".join("?" * len(boots))
        rows = self.database.execute(
            f"SELECT {_NAMES} FROM events WHERE node = ? AND offset_us IS NULL AND boot IN ({marks})",  # noqa: S608
            (node, *boots),
        ).fetchall()
        touched = []
        for row in rows:
            self.changes += 1
            touched.append(replace(event_from_row(row), change=self.changes))
            self.database.execute("UPDATE events SET change = ? WHERE id = ?", (self.changes, touched[-1].id))
        return touched

    def save_node(self, record: NodeRecord) -> None:
        """Store all that is known about one node, in place of what was."""
        self.database.execute(
            "INSERT INTO nodes (node, birth, conn, heartbeat, boot, last_seen_us, state, since_us) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (node) DO UPDATE SET birth = excluded.birth, "
            "conn = excluded.conn, heartbeat = excluded.heartbeat, boot = excluded.boot, "
            "last_seen_us = excluded.last_seen_us, state = excluded.state, since_us = excluded.since_us",
            (
                record.node,
                words_text(record.birth),
                words_text(record.conn),
                words_text(record.heartbeat),
                record.boot,
                record.last_seen_us,
                str(record.state),
                record.since_us,
            ),
        )

    def save_troubles(self, changed: TroublesChanged, now_us: int) -> None:
        """Store the troubles of a node; those that it does not name any more ended with its process, now."""
        execute = self.database.execute
        for trouble in changed.troubles:
            until_us = None if trouble.until is None else to_us(trouble.until)
            execute(
                "INSERT INTO troubles (id, node, kind, since_us, until_us, detail) VALUES (?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (id) DO UPDATE SET since_us = excluded.since_us, "
                "until_us = coalesce(excluded.until_us, troubles.until_us) "
                "WHERE troubles.node = excluded.node",
                (trouble.id, changed.node, trouble.kind, to_us(trouble.since), until_us, trouble.detail),
            )
        still = [trouble.id for trouble in changed.troubles if trouble.until is None]
        others = f" AND id NOT IN ({', '.join('?' * len(still))})" if still else ""
        execute(
            "UPDATE troubles SET until_us = CASE WHEN since_us > ? THEN since_us ELSE ? END "  # noqa: S608
            f"WHERE node = ? AND until_us IS NULL{others}",
            (now_us, now_us, changed.node, *still),
        )
        execute(
            "DELETE FROM troubles WHERE node = ? AND until_us IS NOT NULL AND id NOT IN "
            "(SELECT id FROM troubles WHERE node = ? ORDER BY since_us DESC LIMIT ?)",
            (changed.node, changed.node, KEPT_TROUBLE_ROWS),
        )

    def quarantine(self, item: Quarantined) -> None:
        """Keep a message aside, and let go of the oldest ones beyond :data:`KEPT_QUARANTINE_ROWS`."""
        number = self._counter("quarantined") + 1
        self._set_counter("quarantined", number)
        self.database.execute(
            "INSERT INTO quarantine (id, at_us, topic, reason, size_bytes, payload) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (number, *astuple(item)),
        )
        self.database.execute("DELETE FROM quarantine WHERE id <= ?", (number - KEPT_QUARANTINE_ROWS,))

    def add_login_link(self, token_sha256: str, created_us: int, expires_us: int) -> None:
        """Note a link that may be used once; links that nobody used in time are forgotten."""
        self.database.execute(
            "DELETE FROM login_links WHERE used_us IS NULL AND expires_us <= ?", (created_us,)
        )
        self.database.execute(
            "INSERT INTO login_links (token_sha256, created_us, expires_us) VALUES (?, ?, ?)",
            (token_sha256, created_us, expires_us),
        )

    def use_login_link(self, token_sha256: str, now_us: int) -> bool:
        """Use a link up; ``False`` if there is none, or it was used, or it has expired."""
        cursor = self.database.execute(
            "UPDATE login_links SET used_us = ? "
            "WHERE token_sha256 = ? AND purpose = 'admin' AND used_us IS NULL AND expires_us > ?",
            (now_us, token_sha256, now_us),
        )
        return cursor.rowcount == 1

    def _counter(self, name: str) -> int:
        row = self.database.execute("SELECT value FROM counters WHERE name = ?", (name,)).fetchone()
        return int(row[0])

    def _set_counter(self, name: str, value: int) -> None:
        self.database.execute("UPDATE counters SET value = ? WHERE name = ?", (value, name))


def _values(event: StoredEvent) -> tuple[Any, ...]:
    """The values of ``event`` in the order of its columns, as SQLite takes them."""
    values = list(_OF_EVENT(event))
    values[_TOP] = msgspec.json.encode(event.top).decode()
    for index in _WORDS:
        values[index] = values[index].value
    for index in _FLAGS:
        values[index] = int(values[index])
    return tuple(values)


def prepare(path: Place) -> None:
    """Make the database at ``path``, or bring its tables up to date.

    Raises:
        UnavailableError: it cannot be opened or written, is not a database, or was made by a newer hub.
    """
    if isinstance(path, PostgresPlace):
        return prepare_postgres(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise UnavailableError(f"the folder {path.parent} cannot be made: {error.strerror}") from error
    with database_errors(path):
        connection = connect(path)
        try:
            # Of effect only before the first table is made: what is pruned can be given back to the disk.
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            return _migrate(Database(connection), path)
        finally:
            connection.close()


def _migrate(database: Database, path: Path) -> None:
    ours = {step.name for step in MIGRATIONS.pending(Database(memory=True))}
    if newer := {step.name for step in MIGRATIONS.applied(database)} - ours:
        raise UnavailableError(
            f"the database {path} was made by a newer version of the hub "
            f"(it has {', '.join(sorted(newer))}); install that version, "
            "or name another database under [store] path"
        )
    if MIGRATIONS.pending(database):
        database.execute("PRAGMA journal_mode = WAL")
        MIGRATIONS.apply(database)
