"""The tables of the hub in a PostgreSQL: made, brought up to date, and the months of events made ahead."""

import logging
import time
from collections.abc import Iterable
from importlib import resources
from typing import Any, Protocol

import psycopg

from tocsin_hub.place import PostgresPlace, database_errors
from tocsin_hub.postgres.connection import Patient, connect, faults
from tocsin_hub.postgres.months import Month, month_called, month_of, wanted
from tocsin_shared.errors import UnavailableError

STEPS = ("p001_tables",)
"""Applied in this order, each once and as a whole. One that has been released is never changed."""
OLDEST_SERVER = 150_000
_PREPARES = 0x70C51AB1
_MAKE_PLACE = "createdb --template=template0 --encoding=UTF8 --locale=C NAME"
_PATIENCE_MS = 500

log = logging.getLogger(__name__)


class _Asked(Protocol):
    """A connection of psycopg, or our own."""

    def execute(self, sql: Any, /) -> Any:
        """One statement."""


def prepare(place: PostgresPlace, now_us: int | None = None, *, for_copy: bool = False) -> None:
    """Make the tables, or bring them up to date; goes on where it was interrupted.

    Raises:
        UnavailableError: the database cannot be used, is of an old server or another alphabet, was made by
            a newer hub, or a copy into it has not ended (unless it is ``for_copy``).
    """
    with database_errors(place):
        connection = connect(place, Patient)
        try:
            with faults():
                _check_server(connection, place)
                # Two hubs that start at once must not both make them.
                connection.execute("SELECT pg_advisory_lock(%s)", (_PREPARES,))
                _apply_steps(connection, place)
                if not for_copy and is_being_copied_into(connection):
                    raise UnavailableError(
                        f"a copy into the database {place} has not ended: "
                        "tocsin hub db copy goes on where it was interrupted"
                    )
                make_months(connection, wanted(time.time_ns() // 1000 if now_us is None else now_us))
        finally:
            connection.close()


def check(place: PostgresPlace) -> None:
    """Whether the tables are there and those of this version; nothing is changed.

    Raises:
        UnavailableError: they are not, or the database cannot be used.
    """
    with database_errors(place), faults(), connect(place) as connection:
        _check_server(connection, place)
        found = connection.execute("SELECT to_regclass('schema_steps')").fetchone()
        applied = _applied(connection, place) if found and found[0] else set()
    if missing := [name for name in STEPS if name not in applied]:
        raise UnavailableError(
            f"the database {place} is not of this version yet (it lacks {', '.join(missing)}): "
            "start the hub of this version first"
        )


def tidy(place: PostgresPlace, now_us: int) -> None:
    """Make the tables of the months to come, and drop those of past months that are empty.

    Raises:
        UnavailableError: the database cannot be used, or somebody reads it for too long.
    """
    with database_errors(place), faults(), connect(place) as connection:
        # Whoever waits for a table holds up all that come after, alarms among them.
        connection.execute(f"SET lock_timeout = {_PATIENCE_MS}")
        make_months(connection, wanted(now_us))
        for name in drop_empty_months(connection, now_us):
            log.info("%s is empty and over, and was dropped", name)


def _check_server(connection: psycopg.Connection, place: PostgresPlace) -> None:
    if connection.info.server_version < OLDEST_SERVER:
        raise UnavailableError(f"the server of {place} is older than PostgreSQL {OLDEST_SERVER // 10_000}")
    row = connection.execute(
        "SELECT pg_encoding_to_char(encoding), datcollate FROM pg_database WHERE datname = current_database()"
    ).fetchone()
    encoding, collation = row or ("", "")
    # Cursors and ids are compared by their bytes, here as in SQLite.
    if encoding != "UTF8" or collation not in {"C", "C.UTF-8", "POSIX"}:
        raise UnavailableError(
            f"the database {place} has encoding {encoding} and sorts by {collation}; it needs UTF8 and C: "
            f"{_MAKE_PLACE}"
        )


def _apply_steps(connection: psycopg.Connection, place: PostgresPlace) -> None:
    connection.execute(
        "CREATE TABLE IF NOT EXISTS schema_steps "
        "(name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
    )
    applied = _applied(connection, place)
    for name in STEPS:
        if name not in applied:
            text = resources.files(__package__).joinpath("steps", f"{name}.sql").read_text(encoding="utf-8")
            with connection.transaction():  # a step that was interrupted left nothing
                connection.execute(text.encode())
                connection.execute("INSERT INTO schema_steps (name) VALUES (%s)", (name,))


def _applied(connection: psycopg.Connection, place: PostgresPlace) -> set[str]:
    applied = {name for (name,) in connection.execute("SELECT name FROM schema_steps")}
    if newer := applied - set(STEPS):
        raise UnavailableError(
            f"the database {place} was made by a newer version of the hub "
            f"(it has {', '.join(sorted(newer))}); install that version, "
            "or name another database under [store] url"
        )
    return applied


def make_months(connection: _Asked, months: Iterable[Month]) -> None:
    """Make the tables of ``months``, as far as there are none.

    Events of such a month that are kept among the others, because it had no table, are moved into it.
    """
    there = set(_months(connection))
    for month in months:
        if month not in there:
            _make_month(connection, month)


def drop_empty_months(connection: psycopg.Connection, now_us: int) -> list[str]:
    """Drop the tables of past months of which every event was let go of; their names."""
    dropped = []
    for month in _months(connection):
        if month >= month_of(now_us):
            continue
        with connection.transaction():
            # Nobody may put an event into it between the look and the end of it.
            connection.execute(f"LOCK TABLE {month.table} IN ACCESS EXCLUSIVE MODE")
            if connection.execute(f"SELECT FROM {month.table} LIMIT 1").fetchone() is None:
                connection.execute(f"DROP TABLE {month.table}")
                dropped.append(month.table)
    return dropped


def is_being_copied_into(connection: _Asked) -> bool:
    """Whether a copy into the database was begun and has not ended."""
    return connection.execute("SELECT to_regclass('copying')").fetchone()[0] is not None


def tables(connection: _Asked) -> list[str]:
    """Its tables with data of the hub, in the order in which they were made; the counters come last."""
    names = connection.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace "
        "AND relkind IN ('r', 'p') AND NOT relispartition "
        "AND relname NOT IN ('schema_steps', 'copying') ORDER BY relname = 'counters', oid"
    )
    return [name for (name,) in names]


def go_on_counting(connection: _Asked) -> None:
    """Rows that get their number from the database get one that no row has yet."""
    identities = connection.execute(
        "SELECT attrelid::regclass::text, attname FROM pg_attribute WHERE attidentity <> '' "
        "AND attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = current_schema()::regnamespace)"
    )
    for table, column in identities.fetchall():
        sequence = f"pg_get_serial_sequence('{table}', '{column}')"
        next_one = f"(SELECT coalesce(max({column}), 0) + 1 FROM {table})"  # noqa: S608 - names of our own
        connection.execute(f"SELECT setval({sequence}, {next_one}, false)")


def _months(connection: _Asked) -> list[Month]:
    names = connection.execute(
        "SELECT c.relname FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid "
        "WHERE i.inhparent = 'events'::regclass ORDER BY c.relname"
    )
    return [month for (name,) in names if (month := month_called(name)) is not None]


def _make_month(connection: _Asked, month: Month) -> None:
    begin, end = month.first_id, month.next.first_id
    # Sent as one, these are one transaction, wherever there is none already.
    connection.execute(
        f"CREATE TABLE {month.table} (LIKE events INCLUDING ALL); "  # noqa: S608 - names of our own
        f"WITH moved AS (DELETE FROM events_other WHERE id >= '{begin}' AND id < '{end}' RETURNING *) "
        f"INSERT INTO {month.table} SELECT * FROM moved; "
        f"ALTER TABLE events ATTACH PARTITION {month.table} FOR VALUES FROM ('{begin}') TO ('{end}')"
    )
