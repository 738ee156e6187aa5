"""psycopg: connections to PostgreSQL that take the hub's statements and raise the hub's faults."""

import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.adapt import Loader
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow
from psycopg.types.numeric import IntDumper
from psycopg.types.string import StrDumperUnknown

from tocsin_hub.connection import BUSY_SECONDS, Parameters, RefusedError, ServerError
from tocsin_hub.place import PostgresPlace
from tocsin_hub.postgres.dialect import translated
from tocsin_hub.postgres.many import as_json, inserting, updating
from tocsin_shared.errors import SettingsError

if TYPE_CHECKING:
    from tocsin_hub.postgres.lead import PostgresLead

_READERS = 16
"""So many questions may be asked at once; others wait for one of these connections."""
_SESSION: dict[str, Any] = {
    "application_name": "tocsin-hub",
    "connect_timeout": 5,
    # A hub whose machine has gone is noticed by the server, and its lead is let go of, within 15 seconds; a
    # server that has gone is noticed by the hub as fast.
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
    "options": "-c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3 "
    "-c tcp_user_timeout=15000 -c timezone=UTC -c idle_in_transaction_session_timeout=60000",
}
_OURS_THOUGH = ("42501", "42P01", "3D000", "3F000", "25006")
"""Refusals for which nothing that was written is to blame: rights, tables and schemas that are missing, and
a server that is being written to elsewhere."""
_WRITES = 0x70C51
"""Key of the advisory lock under which one transaction writes at a time."""

_WHERE = re.compile(r'(connection failed: )?connection to server at "[^"]*"( \([^)]*\))?, port \d+ failed: ')


class _SilentError(psycopg.OperationalError):
    """A server stands still."""


class _Writing(psycopg.Connection[TupleRow]):
    """Waits for an answer, but not for ever: a server that stands still would make the hub stand still."""

    answer_seconds = 30.0
    options = ""

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """As any connection; one whose server does not answer in time is closed.

        Raises:
            _SilentError: it did not.
        """
        try:
            return super().wait(gen, interval, self.answer_seconds if timeout is None else timeout)
        except psycopg.errors._WaitTimeout:
            if timeout is not None:
                raise
            self.pgconn.finish()
            raise _SilentError(f"the server has not answered within {self.answer_seconds:g} s") from None


class _Reading(_Writing):
    answer_seconds = 10.0
    options = " -c default_transaction_read_only=on -c statement_timeout=10000"


class Patient(_Writing):
    """Changes tables, which may take long; nobody else waits for its answer."""

    answer_seconds = 86_400.0


def connect(place: PostgresPlace, kind: type[_Writing] = _Writing) -> psycopg.Connection:
    """A connection in which each statement is a transaction of its own until one is begun.

    Raises:
        ServerError: the server cannot be reached, or lets nobody in.
        SettingsError: the password file cannot be read.
    """
    with faults():
        options = f"{_SESSION['options']}{kind.options}"
        connection = kind.connect(
            place.url, autocommit=True, password=password(place), **{**_SESSION, "options": options}
        )
        _speak_as_sqlite(connection)
        return connection


def password(place: PostgresPlace) -> str | None:
    """What stands in the password file.

    Raises:
        SettingsError: it cannot be read.
    """
    if place.password_file is None:
        return None
    try:
        return place.password_file.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"store.password_file: {place.password_file} cannot be read: {error}") from error


@contextmanager
def faults() -> Iterator[None]:
    """Turns errors of psycopg into the hub's faults."""
    try:
        yield
    except psycopg.Error as error:
        # Where it is stands in the settings, and is nothing for everybody who may ask for /healthz.
        text = _WHERE.sub("", " ".join(str(error).split())) or type(error).__name__
        raise (RefusedError if _is_refusal(error) else ServerError)(text) from error


def _is_refusal(error: psycopg.Error) -> bool:
    if isinstance(error, psycopg.errors.InFailedSqlTransaction):
        return True  # what failed before was overlooked; alone it is found
    kinds = (psycopg.IntegrityError, psycopg.DataError, psycopg.ProgrammingError)
    return isinstance(error, kinds) and error.sqlstate not in _OURS_THOUGH


class _Number(Loader):
    """Sums are whole numbers or floats, as those of SQLite."""

    def load(self, data: Any) -> int | float:
        """The number in ``data``."""
        text = bytes(data).decode()
        return float(text) if "." in text or "e" in text.lower() or "n" in text.lower() else int(text)


class _Flag(IntDumper):
    """Flags are 0 and 1, as in SQLite."""

    def dump(self, obj: Any) -> bytes:
        """0 or 1."""
        return b"1" if obj else b"0"


class _Text(StrDumperUnknown):
    """The one letter that a PostgreSQL cannot keep is replaced; nothing of ours is called by it."""

    def dump(self, obj: str) -> Any:
        """The text in UTF-8."""
        return super().dump(obj.replace("\0", "\ufffd"))


def _speak_as_sqlite(connection: psycopg.Connection) -> None:
    connection.adapters.register_loader("numeric", _Number)
    connection.adapters.register_dumper(bool, _Flag)
    connection.adapters.register_dumper(str, _Text)


class PostgresConnection:
    """A connection that writes; it connects anew when the server was away. Use it from one thread only."""

    def __init__(self, place: PostgresPlace, lead: "PostgresLead | None" = None) -> None:
        self._place = place
        self._lead = lead
        self._open: psycopg.Connection | None = None
        self._inside = False
        """Whether a transaction was begun that has not ended."""
        self._connection()

    def execute(self, sql: str, parameters: Parameters = (), /) -> psycopg.Cursor[Any]:
        """One statement.

        Raises:
            ServerError: the server, the way to it, or the statement.
        """
        with faults():
            return self._connection().execute(translated(sql), parameters or None)

    def executemany(self, sql: str, parameters: Iterable[Parameters], /) -> None:
        """One statement for each of many.

        Raises:
            ServerError: the server, the way to it, or a statement.
        """
        with faults(), self._connection().cursor() as cursor:
            cursor.executemany(translated(sql), list(parameters))

    def insert(
        self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], otherwise: str = "", /
    ) -> None:
        """Many new rows, in one statement.

        Raises:
            ServerError: the server, the way to it, or a row.
        """
        if rows:
            self.execute(inserting(table, tuple(columns), otherwise), (as_json(columns, rows),))

    def update(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], /) -> None:
        """Many changed rows, in one statement.

        Raises:
            ServerError: the server, the way to it, or a row.
        """
        if rows:
            keys = [row[-1] for row in rows]
            told = (as_json(columns, rows), min(keys), max(keys))
            self.execute(updating(table, tuple(columns)), told)

    def begin(self) -> None:
        """Begin a transaction beside which nobody else writes.

        Changes are numbered in the order of commits: whoever writes waits until the one before is committed.

        Raises:
            ServerError: the server cannot be reached, or another writes for too long.
        """
        patience = f"SET LOCAL lock_timeout = {int(BUSY_SECONDS * 1000)}"
        try:
            # In one message: each of its own would be one more way there and back.
            self.execute(f"BEGIN; {patience}; SELECT pg_advisory_xact_lock({_WRITES})")
        except ServerError:
            self.rollback()
            raise
        self._inside = True

    def commit(self) -> None:
        """End the transaction; it is on the server's disk when this returns.

        Raises:
            RefusedError: a statement failed, and that was overlooked.
            ServerError: the server; whether it committed is then not known.
        """
        if self._connection().info.transaction_status is TransactionStatus.INERROR:
            self.rollback()  # COMMIT would do just that, and say nothing
            raise RefusedError("a statement failed before")
        self.execute("COMMIT")
        self._inside = False

    def rollback(self) -> None:
        """End the transaction, of which nothing stays; one that went with its connection has ended."""
        self._inside = False
        if self._open is None or self._open.closed:
            return
        if self._open.info.transaction_status is not TransactionStatus.IDLE:
            with suppress(ServerError):
                self.execute("ROLLBACK")

    def close(self) -> None:
        """Close the connection; an open transaction is rolled back."""
        self.rollback()
        if self._open is not None and self._lead is None:
            self._open.close()
        self._open = None

    def _connection(self) -> psycopg.Connection:
        if self._inside and (self._open is None or self._open.closed):
            raise ServerError("the connection ended in the middle of a transaction")
        if self._open is None or self._open.closed:
            self._open = connect(self._place) if self._lead is None else self._lead.connection()
            # Not weaker, whatever the server is set to: an acknowledged alarm is on a disk.
            self._open.execute("SET synchronous_commit = on")
        return self._open


def write_to(place: PostgresPlace, lead: "PostgresLead | None" = None) -> PostgresConnection:
    """A connection that writes; with ``lead`` the one by which that is held.

    Raises:
        ServerError: the server cannot be reached, or another hub leads.
    """
    return PostgresConnection(place, lead)


class PostgresReader:
    """Answers questions by a few connections that threads share.

    After a server was away it connects at the first question: a pool that waits longer after each failure
    would keep alarms from people while the server is there again.
    """

    lateral = True

    def __init__(self, place: PostgresPlace) -> None:
        self._place = place
        self._slots = threading.BoundedSemaphore(_READERS)
        self._idle: list[psycopg.Connection] = []
        self._closed = False

    def rows(self, sql: str, parameters: Parameters) -> list[tuple[Any, ...]]:
        """All rows of the answer.

        Raises:
            ServerError: the server cannot be reached, does not answer, or the statement is wrong.
        """
        if not self._slots.acquire(timeout=BUSY_SECONDS):
            raise ServerError("too many questions at once")
        try:
            with faults():
                return self._asked(translated(sql), parameters or None)
        finally:
            self._slots.release()

    def close(self) -> None:
        """Close all connections; those that are in use close when they are done."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    def _asked(self, sql: str, parameters: Parameters | None) -> list[tuple[Any, ...]]:
        while True:
            connection, is_new = self._any()
            try:
                return connection.execute(sql, parameters).fetchall()
            except psycopg.OperationalError as error:
                if is_new or not connection.closed or isinstance(error, _SilentError):
                    raise  # an idle one may have ended long ago, with a server that was started anew since
            finally:
                self._put_back(connection)

    def _any(self) -> tuple[psycopg.Connection, bool]:
        """A connection, and whether it was made for this."""
        with suppress(IndexError):
            return self._idle.pop(), False
        return connect(self._place, _Reading), True

    def _put_back(self, connection: psycopg.Connection) -> None:
        if connection.closed:
            return
        if self._closed:
            connection.close()
        else:
            self._idle.append(connection)
