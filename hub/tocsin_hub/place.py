"""Where the hub's database is, a file of SQLite or a PostgreSQL, and what is done differently for each.

PostgreSQL's package is imported only where one is used: a hub on SQLite does without it.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

from tocsin_hub.connection import FAULTS, Connection, Parameters, Reader, SqliteReader, connect
from tocsin_hub.lock import DatabaseLock
from tocsin_shared.errors import UnavailableError

_KEPT_LOG_BYTES = 64 * 1024 * 1024
"""The write-ahead log may grow while a backup reads; then it is cut back to this."""
_RESTORE = "; stop the hub and put a backup back: tocsin hub restore FILE"


@dataclass(frozen=True)
class PostgresPlace:
    """A database of a PostgreSQL."""

    url: str
    """``postgresql://user@host/name``, without a password."""
    password_file: Path | None = None
    """The file whose first line is the password; it is read at each connection."""

    def __str__(self) -> str:
        parts = urlsplit(self.url)
        return parts._replace(query="").geturl()

    def exists(self) -> bool:
        """Whether it can be looked for at all: only a connection tells whether it is there."""
        return True


Place = Path | PostgresPlace


def check_url(url: str) -> None:
    """Whether ``url`` says where a PostgreSQL is, and nothing that must not be read by everybody.

    Raises:
        ValueError: what is wrong with it, without a password that stands in it.
    """
    parts = urlsplit(url)
    if parts.password is not None or "password" in parse_qs(parts.query):
        raise ValueError("there is a password in url: put it into a file of its own, named by password_file")
    if parts.scheme not in {"postgresql", "postgres"} or not parts.path.strip("/"):
        raise ValueError(f"url must be postgresql://USER@HOST:5432/NAME, not {url!r}")
    _ = parts.port  # raises for one that is none


class Lead(Protocol):
    """Held by the one hub that leads; of others that wish to, each waits until it is let go."""

    def take(self, patience_seconds: float = 0.0) -> None:
        """Take it, waiting so long for another hub to let go of it.

        Raises:
            UnavailableError: another hub holds it, or nobody can be asked.
        """

    def release(self) -> None:
        """Let go of it."""


def write_to(place: Place, lead: Lead | None = None) -> Connection:
    """A connection that writes, each commit forced to the disk.

    With ``lead`` it is the one of the hub that leads: it can write no longer than the lead is held.

    Raises:
        sqlite3.Error, ServerError: the database cannot be used.
        UnavailableError: the package for PostgreSQL is not installed.
    """
    if isinstance(place, PostgresPlace):
        connection: Connection = _postgres().write_to(place, lead)
        return connection
    made = connect(place)
    made.execute("PRAGMA journal_mode = WAL")
    made.execute(f"PRAGMA journal_size_limit = {_KEPT_LOG_BYTES}")
    made.execute("PRAGMA synchronous = FULL")
    return made


def read_from(place: Place) -> Reader:
    """What answers questions; it connects when it is asked for the first time.

    Raises:
        UnavailableError: the package for PostgreSQL is not installed.
    """
    if isinstance(place, PostgresPlace):
        reader: Reader = _postgres().PostgresReader(place)
        return reader
    return SqliteReader(place)


def lead_of(place: Place) -> Lead:
    """What the one hub that leads holds."""
    if isinstance(place, PostgresPlace):
        lead: Lead = _postgres().PostgresLead(place)
        return lead
    return DatabaseLock(place)


def prepare_postgres(place: PostgresPlace) -> None:
    """Make the tables, or bring them up to date.

    Raises:
        UnavailableError: the database cannot be used, or was made by a newer hub.
    """
    _postgres().prepare(place)


def check_postgres(place: PostgresPlace) -> None:
    """Whether the tables are there and those of this version; nothing is changed.

    Raises:
        UnavailableError: they are not, or the database cannot be used.
    """
    _postgres().check(place)


def seconds_since_lead(rows: Callable[[str, Parameters], list[tuple[Any, ...]]]) -> float | None:
    """How long ago the hub that leads wrote into a PostgreSQL last; ``None`` if none leads.

    Raises:
        UnavailableError: ``rows``, which asks the database, does.
    """
    seconds: float | None = _postgres().seconds_since_lead(rows)
    return seconds


def stand_by(place: Place) -> None:
    """Return when no other hub leads. Who asks of a file is told by its lock, when the hub starts.

    Raises:
        UnavailableError: the database cannot be used, or the package for PostgreSQL is not installed.
    """
    if isinstance(place, PostgresPlace):
        with database_errors(place):
            _postgres().stand_by(place)


def copy_to_postgres(
    file: Path, place: PostgresPlace, now_us: int, progress: Callable[[str, int, int], None]
) -> dict[str, int]:
    """Copy everything in the hub's ``file`` of SQLite into ``place``; how many rows each table has.

    ``progress`` is told of a table, how many of its rows are there, and how many there will be.

    Raises:
        BadInputError: there is something in the target that no copy brought there.
        UnavailableError: a hub uses one of them, one cannot be used, or their counts differ.
    """
    copied: dict[str, int] = _postgres().copy(file, place, now_us, progress)
    return copied


def tidy_postgres(place: PostgresPlace, now_us: int) -> None:
    """Make the tables of the months to come, and drop those of past months that are empty.

    Raises:
        UnavailableError: the database cannot be used, or somebody reads it for too long.
    """
    _postgres().tidy(place, now_us)


@contextmanager
def database_errors(place: Place) -> Iterator[None]:
    """Turns errors of a database into ours.

    Raises:
        UnavailableError: the database cannot be used at the moment.
    """
    try:
        yield
    except FAULTS as error:
        # Of this very class are the errors of a file that is damaged or is no database.
        remedy = _RESTORE if type(error) is sqlite3.DatabaseError else ""
        raise UnavailableError(f"the database {place} cannot be used: {error}{remedy}") from error


def _postgres() -> ModuleType:
    try:
        from tocsin_hub import postgres  # noqa: PLC0415 - a hub on SQLite has no package for it
    except ImportError as error:
        raise UnavailableError(
            f"[store] url names a PostgreSQL, and {error.name or 'its package'} is not installed: "
            "pip install 'tocsin[hub,postgresql]'"
        ) from error
    return postgres
