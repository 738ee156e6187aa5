"""The SQL of the outbox: one table of events, on the disk or in memory.

WAL mode with ``synchronous=FULL``: what was committed survives a power cut. ``seq`` is AUTOINCREMENT,
so a number is never used twice even after its row has gone.

All methods raise ``sqlite3`` errors; :mod:`tocsin_node.outbox` decides what they mean. Not thread-safe.
"""

import itertools
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tocsin_shared.events import EventRef
from tocsin_shared.labels import Severity, severity_of

ROW_BYTES = 150
"""What a row takes beside its payload, about."""

SALVAGED_ROWS = 10_000
"""At most so many rows from either end of a broken database are saved."""
_VERSION = 1
_PRIORITIES = (Severity.ALARM, Severity.WARNING, Severity.NOTICE, Severity.NONE)
_ALARM = _PRIORITIES.index(Severity.ALARM)
_SCHEMA = """
BEGIN IMMEDIATE;
CREATE TABLE outbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL,
    label TEXT NOT NULL,
    priority INTEGER NOT NULL,
    payload BLOB NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0,
    dead INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX outbox_order ON outbox (dead, priority, seq);
CREATE TABLE counts (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
INSERT INTO counts VALUES ('dropped', 0);
PRAGMA user_version = 1;
COMMIT;
"""
_ROW = "seq, id, label, payload, tries"


@dataclass(frozen=True)
class Row:
    """An event that waits."""

    seq: int
    id: str
    label: str
    payload: bytes
    tries: int = 0

    @property
    def order(self) -> tuple[int, int]:
        """Severest first, then oldest."""
        return _PRIORITIES.index(severity_of(self.label)), self.seq

    @property
    def size(self) -> int:
        """Bytes that the row takes, about."""
        return len(self.payload) + ROW_BYTES


@dataclass(frozen=True)
class Counts:
    """How much a table holds, and what it gave up."""

    waiting: int
    dead: int
    dropped: int


class _Connection(sqlite3.Connection):
    """A connection whose every complaint is an error of SQLite.

    SQLite quotes names in its messages. Those of a damaged file may be no UTF-8, and then Python raises a
    ``UnicodeDecodeError`` in place of the message.
    """

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        """As in any connection.

        Raises:
            sqlite3.Error: whatever is wrong.
        """
        try:
            return super().execute(*arguments)
        except UnicodeDecodeError as error:
            raise sqlite3.DatabaseError(f"damaged beyond spelling: {error}") from error


class OutboxTable:
    """Rows in one SQLite database."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @classmethod
    def open(cls, path: Path, *, thorough: bool = True) -> "OutboxTable":
        """The table in the file ``path``, made if it is not there; all of it is read if ``thorough``."""
        connection = sqlite3.connect(
            path, timeout=5.0, isolation_level=None, check_same_thread=False, factory=_Connection
        )
        # A letter that damage made no UTF-8 must not hide all other rows from whoever reads them.
        connection.text_factory = partial(str, encoding="utf-8", errors="replace")
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            _check(connection, thorough=thorough)
        except BaseException:
            connection.close()
            raise
        return cls(connection)

    @classmethod
    def in_memory(cls) -> "OutboxTable":
        """An empty table that lasts as long as the process."""
        connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        connection.executescript(_SCHEMA)
        return cls(connection)

    def close(self) -> None:
        """Give the database back."""
        self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing of what happens inside."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            # A full disk may have rolled back already, and then there is nothing left to roll back.
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            raise

    def insert(self, rows: Iterable[Row]) -> None:
        """Add ``rows`` under the numbers they have."""
        self._connection.executemany(
            "INSERT INTO outbox (seq, id, label, priority, payload, tries) VALUES (?, ?, ?, ?, ?, ?)",
            [(row.seq, row.id, row.label, row.order[0], row.payload, row.tries) for row in rows],
        )

    def waiting(self, limit: int, after: int = 0, without: Sequence[int] = ()) -> list[Row]:
        """Rows in their order, with numbers above ``after``; dead ones and ``without`` left out."""
        # Above a number there are only the newest rows: to walk them is quicker than the order's index,
        # which the plus sign rules out, because that would be read from end to end.
        dead = "+dead" if after else "dead"
        found = self._connection.execute(
            f"SELECT {_ROW} FROM outbox WHERE {dead} = 0 AND seq > ?"  # noqa: S608
            " AND seq NOT IN (SELECT value FROM json_each(?)) ORDER BY priority, seq LIMIT ?",
            (after, json.dumps(list(without)), limit),
        )
        return list(itertools.starmap(Row, found))

    def named(self, refs: Iterable[EventRef]) -> list[Row]:
        """The rows whose id and number both are among ``refs``."""
        wanted = {ref.seq: ref.id for ref in refs}
        found = self._connection.execute(
            f"SELECT {_ROW} FROM outbox WHERE seq IN (SELECT value FROM json_each(?))",  # noqa: S608
            (json.dumps(list(wanted)),),
        )
        return [row for row in itertools.starmap(Row, found) if wanted[row.seq] == row.id]

    def delete(self, refs: Iterable[EventRef]) -> None:
        """Forget the rows whose id and number both are among ``refs``."""
        named = [(ref.seq, ref.id) for ref in refs]
        self._connection.executemany("DELETE FROM outbox WHERE seq = ? AND id = ?", named)

    def count_tries(self, seqs: Iterable[int], limit: int) -> None:
        """One more try for each of ``seqs``; at ``limit`` tries a row is dead."""
        self._connection.executemany(
            "UPDATE outbox SET tries = tries + 1, dead = tries + 1 >= ? WHERE seq = ?",
            [(limit, seq) for seq in seqs],
        )

    def drop(self, count: int, *, alarms_too: bool) -> list[int]:
        """Give up to ``count`` rows up, least severe and oldest first; returns what each took in bytes."""
        rows = self._connection.execute(
            "SELECT seq, length(payload) FROM outbox WHERE ? OR priority > ?"
            " ORDER BY priority DESC, seq LIMIT ?",
            (alarms_too, _ALARM, max(0, count)),
        ).fetchall()
        self._connection.executemany("DELETE FROM outbox WHERE seq = ?", [(seq,) for seq, _ in rows])
        self.add_dropped(len(rows))
        return [size + ROW_BYTES for _, size in rows]

    def add_dropped(self, count: int) -> None:
        """Count events that were given up."""
        self._connection.execute("UPDATE counts SET value = value + ? WHERE name = 'dropped'", (count,))

    def counts(self) -> Counts:
        """How much there is."""
        row = self._connection.execute(
            "SELECT (SELECT count(*) FROM outbox WHERE dead = 0),"
            " (SELECT count(*) FROM outbox WHERE dead = 1),"
            " (SELECT value FROM counts WHERE name = 'dropped')"
        ).fetchone()
        return Counts(*row)

    def size(self) -> int:
        """Bytes that all rows take, about."""
        query = "SELECT coalesce(sum(length(payload) + ?), 0) FROM outbox"
        return int(self._connection.execute(query, (ROW_BYTES,)).fetchone()[0])

    def last_seq(self) -> int:
        """The highest number that was ever given away, 0 for none."""
        query = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'outbox'"
        return int(self._connection.execute(query).fetchone()[0])


def salvage(path: Path) -> list[Row]:
    """What can still be read of the broken database ``path``: rows from both of its ends up to the damage."""
    rows: dict[int, Row] = {}
    opened = partial(sqlite3.connect, path, timeout=1.0, factory=_Connection)
    with suppress(sqlite3.Error), closing(opened()) as connection:
        for order in ("ASC", "DESC"):
            with suppress(sqlite3.Error, TypeError):
                query = f"SELECT {_ROW} FROM outbox NOT INDEXED WHERE dead = 0 ORDER BY seq {order} LIMIT ?"  # noqa: S608
                for seq, *rest in connection.execute(query, (SALVAGED_ROWS,)):
                    rows[seq] = _whole_row(seq, *rest)
    return [row for _, row in sorted(rows.items())]


def _whole_row(seq: object, key: object, label: object, payload: object, tries: object) -> Row:
    """A row whose every column is of its kind, however broken the file is.

    Raises:
        TypeError: it is not.
    """
    match seq, key, label, payload, tries:
        case int(), str(), str(), bytes(), int():
            return Row(seq, key, label, payload, tries)
    raise TypeError("a row is broken")


def _check(connection: sqlite3.Connection, *, thorough: bool) -> None:
    if thorough:
        # quick_check would not see an index that lacks rows, and what it lacks is never sent.
        (result,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
        if result != "ok":
            raise sqlite3.DatabaseError(result)
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == 0:
        connection.executescript(_SCHEMA)
    elif version != _VERSION:
        raise sqlite3.DatabaseError(f"made by another version of the node ({version})")
    OutboxTable(connection).counts()
