"""Connections to a database: what is asked of one, and those to SQLite.

The statements of the hub are written so that SQLite and PostgreSQL both take them; what PostgreSQL spells
otherwise is translated in :mod:`tocsin_hub.postgres`.
"""

import sqlite3
import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Protocol, TypeVar

BUSY_SECONDS = 5.0
"""How long a connection waits for another process that holds the database."""
FREELY = 2**62
"""A limit that limits nothing; only SQLite takes -1 for that."""
_SIZES = (64, 16, 4, 1)
"""So many rows make one statement. SQLite lets go of Python for as long as a statement takes: with one for
each row, a busy thread takes its turn between every two, and a commit of 500 took half a second."""

T = TypeVar("T")
Parameters = Sequence[Any] | Mapping[str, Any]


class ServerError(Exception):
    """What a database other than SQLite complains of: it, its disk, or the way to it."""


class RefusedError(ServerError):
    """A statement, or the values that were given with it, are to blame."""


FAULTS: tuple[type[Exception], ...] = (sqlite3.Error, ServerError)
"""All complaints of a database."""
REFUSALS: tuple[type[Exception], ...] = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    RefusedError,
)
"""Complaints for which what was written is to blame, and not the database or its disk."""


class Cursor(Protocol):
    """What a statement gave."""

    @property
    def rowcount(self) -> int:
        """How many rows were changed."""

    def fetchone(self) -> Any:
        """The next row, or ``None``."""

    def fetchall(self) -> list[Any]:
        """All rows that are left."""

    def __iter__(self) -> Iterator[Any]:
        """Row after row."""


class Connection(Protocol):
    """A connection that reads and writes. All methods raise one of :data:`FAULTS`."""

    def execute(self, sql: str, parameters: Parameters = (), /) -> Cursor:
        """One statement, with ``?`` or ``:name`` for each value."""

    def executemany(self, sql: str, parameters: Iterable[Parameters], /) -> object:
        """One statement for each of many."""

    def insert(
        self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], otherwise: str = "", /
    ) -> object:
        """Many new rows of texts and numbers; ``otherwise`` is said of those that are there already."""

    def update(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], /) -> object:
        """Many changed rows: new values of ``columns``, of which the last names the row."""

    def begin(self) -> None:
        """Begin a transaction beside which nobody else writes."""

    def commit(self) -> None:
        """End the transaction; it is on the disk when this returns."""

    def rollback(self) -> None:
        """End the transaction, of which nothing stays."""

    def close(self) -> None:
        """Close the connection."""


class Reader(Protocol):
    """Answers questions; safe to use from several threads. All methods raise one of :data:`FAULTS`."""

    @property
    def lateral(self) -> bool:
        """Whether a query in FROM may name what stands before it."""

    def rows(self, sql: str, parameters: Parameters) -> list[tuple[Any, ...]]:
        """All rows of the answer."""

    def close(self) -> None:
        """Nobody asks any more."""


@contextmanager
def _spelled() -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError as error:
        raise sqlite3.DatabaseError(f"damaged beyond spelling: {error}") from error


class _Connection(sqlite3.Connection):
    """SQLite quotes names in its messages.

    Those of a damaged file may be no UTF-8, and then Python raises a ``UnicodeDecodeError`` in place of the
    message.
    """

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        """As in any connection.

        Raises:
            sqlite3.Error: whatever is wrong.
        """
        with _spelled():
            return super().execute(*arguments)

    def executemany(self, *arguments: Any) -> sqlite3.Cursor:
        """As in any connection.

        Raises:
            sqlite3.Error: whatever is wrong.
        """
        with _spelled():
            return super().executemany(*arguments)

    def insert(
        self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], otherwise: str = "", /
    ) -> None:
        """Many new rows.

        Raises:
            sqlite3.Error: whatever is wrong.
        """
        names, marks = ", ".join(columns), ", ".join("?" * len(columns))
        for some in _together(rows):
            values = ", ".join([f"({marks})"] * len(some))
            sql = f"INSERT INTO {table} ({names}) VALUES {values} {otherwise}"  # noqa: S608 - names of our own
            self.execute(sql, [*chain.from_iterable(some)])

    def update(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], /) -> None:
        """Many changed rows.

        Raises:
            sqlite3.Error: whatever is wrong.
        """
        *changed, key = columns
        news = ", ".join(f"{name} = news.column{number}" for number, name in enumerate(changed, 1))
        marks = ", ".join("?" * len(columns))
        for some in _together(rows):
            values = ", ".join([f"({marks})"] * len(some))
            sql = (
                f"UPDATE {table} SET {news} FROM (VALUES {values}) AS news "  # noqa: S608 - names of our own
                f"WHERE {table}.{key} = news.column{len(columns)}"
            )
            self.execute(sql, [*chain.from_iterable(some)])

    def begin(self) -> None:
        """Begin a transaction beside which nobody else writes.

        Raises:
            sqlite3.Error: another process holds the database for longer than :data:`BUSY_SECONDS`.
        """
        # IMMEDIATE: a deferred transaction that later wants to write fails at once instead of waiting.
        self.execute("BEGIN IMMEDIATE")


def _together(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    """``rows`` in pieces of few sizes, so that there are few statements, and all of them stay prepared."""
    at = 0
    for size in _SIZES:
        while len(rows) - at >= size:
            yield rows[at : at + size]
            at += size


def connect(path: Path, *, check_same_thread: bool = True) -> _Connection:
    """A connection to the file ``path``, which is made if it is not there.

    Raises:
        sqlite3.Error: it cannot be opened.
    """
    connection = sqlite3.connect(
        path, timeout=BUSY_SECONDS, check_same_thread=check_same_thread, factory=_Connection
    )
    # A letter that damage made no UTF-8 must not hide all other rows from whoever reads them.
    connection.text_factory = partial(str, encoding="utf-8", errors="replace")
    return connection


class SqliteReader:
    """Reads a file of SQLite, each thread by a connection of its own."""

    lateral = False

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mine = threading.local()
        self._all: weakref.WeakSet[_Connection] = weakref.WeakSet()

    def rows(self, sql: str, parameters: Parameters) -> list[tuple[Any, ...]]:
        """All rows of the answer."""
        return self._connection().execute(sql, parameters).fetchall()

    def close(self) -> None:
        """Close the connections of all threads; nobody may ask any more."""
        for connection in list(self._all):
            connection.close()

    def _connection(self) -> _Connection:
        connection: _Connection | None = getattr(self._mine, "connection", None)
        if connection is None:
            # Only so that close() may close it: each connection is used by one thread alone.
            connection = connect(self._path, check_same_thread=False)
            connection.execute("PRAGMA query_only = 1")
            self._mine.connection = connection
            self._all.add(connection)
        return connection
