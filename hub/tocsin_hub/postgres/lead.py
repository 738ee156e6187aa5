"""Which hub leads: an advisory lock of the connection that writes, so that nobody writes who does not lead.

PostgreSQL lets go of the lock when the connection ends. A hub that was cut off cannot write until it has
the lock again, and ends if another one took it meanwhile.
"""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psycopg

from tocsin_hub.connection import Parameters, ServerError
from tocsin_hub.place import PostgresPlace
from tocsin_hub.postgres.connection import connect, faults
from tocsin_shared.errors import UnavailableError

_LEADS = 0x70C51EAD
_LOOK_SECONDS = 0.5
_GRACE_SECONDS = 30.0
"""The server may take so long to notice that the connection before has ended."""

log = logging.getLogger(__name__)


class LeadLostError(RuntimeError):
    """Another hub leads now. What this one has in its memory is not true any more: it must end."""


def stand_by(place: PostgresPlace) -> None:
    """Return when no hub leads; until then, whatever becomes of the server meanwhile, wait.

    Raises:
        ServerError: the server cannot be reached at the first try, or lets nobody in.
    """
    connection = connect(place)
    waits = False
    try:
        while not _takes_if_it_can(connection):
            if not waits:
                log.warning("another hub leads; this one stands by and takes over when that one ends")
            waits = True
            time.sleep(_LOOK_SECONDS)
            connection = _alive(connection, place)
    finally:
        connection.close()
    if waits:
        log.warning("the other hub has ended; this one takes over")


def seconds_since_lead(rows: Callable[[str, Parameters], list[tuple[Any, ...]]]) -> float | None:
    """How long ago the hub that leads used the connection of its lead; ``None`` if none leads.

    Raises:
        Exception: whatever ``rows``, which asks the database, does.
    """
    found = rows(
        "SELECT CAST(extract(epoch FROM clock_timestamp() - a.state_change) AS float) "
        "FROM pg_locks AS l JOIN pg_stat_activity AS a ON a.pid = l.pid "
        "WHERE l.locktype = 'advisory' AND l.granted AND l.classid = 0 AND l.objid = ? AND l.objsubid = 1 "
        "AND a.datname = current_database()",
        (_LEADS,),
    )
    return float(found[0][0]) if found else None


def _takes(connection: psycopg.Connection) -> bool:
    """Whether the lead could be had; it is, until ``connection`` ends."""
    with faults():
        row = connection.execute("SELECT pg_try_advisory_lock(%s)", (_LEADS,)).fetchone()
    return bool(row and row[0])


def _takes_if_it_can(connection: psycopg.Connection) -> bool:
    with suppress(ServerError):
        return _takes(connection)
    return False


def _alive(connection: psycopg.Connection, place: PostgresPlace) -> psycopg.Connection:
    """``connection``, or another one if it has ended and the server can be reached."""
    if not connection.closed:
        return connection
    try:
        return connect(place)
    except ServerError as error:
        log.warning("the database %s is away: %s", place, error)
        return connection


class PostgresLead:
    """Held by the hub that leads, for as long as its connection lasts."""

    def __init__(self, place: PostgresPlace) -> None:
        self._place = place
        self._held: psycopg.Connection | None = None
        self._led = False
        self._refused_at: float | None = None
        self._lock = threading.Lock()

    def take(self, patience_seconds: float = 0.0) -> None:
        """Take the lead, waiting so long for another hub to let go of it.

        Raises:
            UnavailableError: another hub leads, or the server cannot be reached.
        """
        deadline = time.monotonic() + patience_seconds
        waits = False
        while True:
            try:
                self.connection()
            except ServerError as error:
                if time.monotonic() >= deadline:
                    raise UnavailableError(f"the database {self._place} cannot be led: {error}") from error
                if not waits:
                    log.warning("this hub stands by: %s", error)
                waits = True
            else:
                return
            time.sleep(_LOOK_SECONDS)

    def connection(self) -> psycopg.Connection:
        """The connection by which the lead is held; a new one if the one before ended.

        Raises:
            ServerError: the server cannot be reached, or the lead cannot be had at the moment.
            LeadLostError: this hub led, and another does now.
        """
        with self._lock:
            if self._held is not None and not self._held.closed:
                return self._held
            made = connect(self._place)
            if not _takes(made):
                made.close()
                self._refuse()
            self._held, self._led, self._refused_at = made, True, None
            return made

    def release(self) -> None:
        """Let go of it."""
        with self._lock:
            if self._held is not None:
                self._held.close()
            self._held, self._led = None, False

    def _refuse(self) -> None:
        if self._refused_at is None:
            self._refused_at = time.monotonic()
        if self._led and time.monotonic() - self._refused_at > _GRACE_SECONDS:
            raise LeadLostError("another hub leads now; this one ends, and stands by when it starts again")
        raise ServerError("another hub leads")
