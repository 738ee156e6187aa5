"""Backups of the hub's database: made while it runs, looked through before they count, and put back."""

import os
import secrets
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlite_utils import Database

from tocsin_hub.connection import connect
from tocsin_hub.lock import DatabaseLock, own_as_folder
from tocsin_hub.migrations import MIGRATIONS
from tocsin_hub.place import database_errors
from tocsin_shared.errors import BadInputError, UnavailableError

_BESIDE = ("-wal", "-shm")
"""Files that belong to a database that is in use."""


@dataclass(frozen=True)
class Copy:
    """A backup that was looked through from end to end."""

    path: Path
    bytes: int
    events: int
    """Detections in it."""


def back_up(database: Path, target: Path, *, force: bool = False) -> Copy:
    """Write a copy of ``database``, as of this moment, to ``target``; a hub may go on writing meanwhile.

    Raises:
        BadInputError: there is something at ``target`` already, and not ``force``.
        UnavailableError: the database cannot be read, or the copy not be written, or it is not whole.
    """
    if not database.exists():
        raise UnavailableError(f"there is no database {database}")
    if not force:
        _refuse_existing(target)
    with _temporary(target) as made:
        with database_errors(database), closing(connect(database)) as connection:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("VACUUM INTO ?", (str(made),))
        copy = look_through(made)
        _to_disk(made)
        _put(made, target, force=force)
    return Copy(target, copy.bytes, copy.events)


def look_through(path: Path) -> Copy:
    """Read a backup from end to end.

    Raises:
        UnavailableError: it is not there, is damaged, is of something else, or of a newer hub.
    """
    if not path.is_file():
        raise UnavailableError(f"there is no backup {path}")
    with _not_whole(path), closing(connect(path)) as connection:
        (result,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
        if result != "ok":
            raise sqlite3.DatabaseError(result)
        _check_steps(Database(connection), path)
        (events,) = connection.execute("SELECT count(*) FROM events").fetchone()
    return Copy(path, path.stat().st_size, int(events))


def restore(backup: Path, database: Path, now_us: int) -> Path | None:
    """Put ``backup`` in the place of ``database``; where the old one is kept, if there was one.

    Raises:
        UnavailableError: a hub runs, the backup cannot be used, or there is no room for it.
    """
    lock = DatabaseLock(database)
    _make_folder(database.parent)
    lock.take()
    try:
        with _temporary(database) as made, _readable(backup):
            shutil.copyfile(backup, made)
            look_through(made)
            _to_disk(made)
            own_as_folder(made)
            aside = _set_aside(database, now_us)
            made.replace(database)
            _to_disk(database.parent)
            return aside
    finally:
        lock.release()


def _check_steps(database: Database, path: Path) -> None:
    ours = {step.name for step in MIGRATIONS.pending(Database(memory=True))}
    theirs = {step.name for step in MIGRATIONS.applied(database)}
    if not theirs:
        raise UnavailableError(f"{path} is a database, but not one of a hub")
    if newer := theirs - ours:
        names = ", ".join(sorted(newer))
        raise UnavailableError(f"{path} was made by a newer version of the hub (it has {names})")


@contextmanager
def _not_whole(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise UnavailableError(f"{path} is not a whole backup: {error}") from error


@contextmanager
def _readable(backup: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UnavailableError(f"the backup {backup} cannot be put back: {error.strerror}") from error


@contextmanager
def _temporary(target: Path) -> Iterator[Path]:
    """A file beside ``target`` that only its owner may read, because there are secrets in it."""
    made = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        os.close(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        yield made
    except OSError as error:
        raise UnavailableError(f"{target} cannot be written: {error.strerror}") from error
    finally:
        for end in ("", "-journal", *_BESIDE):
            with suppress(OSError):
                made.with_name(made.name + end).unlink()


def _refuse_existing(target: Path) -> None:
    if target.exists() or target.is_symlink():
        raise BadInputError(f"there is a file {target} already; name another one, or replace it with --force")


def _put(made: Path, target: Path, *, force: bool) -> None:
    if force:
        made.replace(target)
    else:
        try:
            target.hardlink_to(made)  # unlike replace(), it does not overwrite what came meanwhile
        except FileExistsError:
            _refuse_existing(target)
    _to_disk(target.parent)


def _to_disk(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise UnavailableError(f"the folder {folder} cannot be made: {error.strerror}") from error


def _set_aside(database: Path, now_us: int) -> Path | None:
    """Keep the old database under the date; at no moment there is none under its own name."""
    if not database.exists():
        return None
    date = datetime.fromtimestamp(now_us / 1e6, UTC).strftime("%Y%m%dT%H%M%SZ")
    aside = database.with_name(f"{database.name}.before-restore-{date}")
    aside.hardlink_to(database)
    # Left behind, the log would be taken for one of the backup. It is not folded in first: the database may
    # be damaged, and then the log is all the better kept as it is.
    for end in _BESIDE:
        with suppress(FileNotFoundError):
            database.with_name(database.name + end).rename(aside.with_name(aside.name + end))
    return aside
