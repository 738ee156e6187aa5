"""``tocsin hub backup | restore | prune | db copy``: what a person does with the database."""

import argparse
import time
from contextlib import closing
from pathlib import Path

from tocsin_hub import settings
from tocsin_hub.keyboard import database_url
from tocsin_hub.place import PostgresPlace, copy_to_postgres, database_errors, lead_of
from tocsin_hub.recorder import Recorder, prepare
from tocsin_hub.retention.backup import back_up, look_through, restore
from tocsin_hub.retention.pruner import Direct, Pruner
from tocsin_hub.retention.pruning import count_old
from tocsin_hub.retention.rules import terms
from tocsin_hub.settings import HubSettings
from tocsin_hub.store import Store
from tocsin_hub.times import iso, now_us
from tocsin_shared.errors import BadInputError, UnavailableError

_SAY_SECONDS = 2.0


def add_store_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands to those of ``tocsin hub``."""
    backup = commands.add_parser("backup", help="copy the database to a file, while the hub runs")
    backup.add_argument("file", type=Path, metavar="FILE", help="where the copy goes")
    backup.add_argument("--force", action="store_true", help="replace FILE if it is there")
    backup.set_defaults(run=_backup)

    back = commands.add_parser("restore", help="put a backup in the place of the database")
    back.add_argument("file", type=Path, metavar="FILE", help="a backup")
    back.set_defaults(run=_restore)

    databases = commands.add_parser("db", help="about the database")
    copy = databases.add_subparsers(required=True, metavar="COMMAND").add_parser(
        "copy",
        help="copy a file of SQLite into a new PostgreSQL; goes on where it was interrupted",
    )
    copy.add_argument("source", type=_file, metavar="sqlite:FILE", help="database of a hub that is stopped")
    copy.add_argument(
        "target", type=database_url, metavar="postgresql://USER@HOST/NAME", help="a new database"
    )
    copy.add_argument("--password-file", type=Path, metavar="FILE", help="the password of USER")
    copy.set_defaults(run=_copy)

    prune = commands.add_parser("prune", help="let go of what is older than [store] says")
    prune.add_argument("--dry-run", action="store_true", help="only say how much would go")
    prune.set_defaults(run=_prune)
    for command in (backup, back, prune):
        command.add_argument("--config", type=Path, required=True, metavar="FILE", help="the hub's settings")


def _backup(arguments: argparse.Namespace) -> int:
    chosen = settings.load(arguments.config)
    copy = back_up(
        _file_of(chosen, "pg_dump --format=custom --file=FILE"), arguments.file, force=arguments.force
    )
    print(f"{copy.path}: {copy.events} detections, {copy.bytes / 1e6:.1f} MB, looked through and whole")
    print(f"It holds the database only: save the files in {chosen.state_folder} and your settings, too.")
    return 0


def _restore(arguments: argparse.Namespace) -> int:
    chosen = settings.load(arguments.config)
    database = _file_of(chosen, "pg_restore --dbname=NAME, into a new database")
    aside = restore(arguments.file, database, now_us())
    events = look_through(database).events
    print(f"{database} is now {arguments.file}, with {events} detections")
    if aside is not None:
        print(f"The database before is kept as {aside}; delete it when nobody misses anything.")
    return 0


def _file(text: str) -> Path:
    kind, _, path = text.partition(":")
    if kind != "sqlite" or not path:
        raise argparse.ArgumentTypeError(f"must be sqlite:FILE, as sqlite:hub-state/hub.sqlite, not {text!r}")
    return Path(path.removeprefix("//"))


def _copy(arguments: argparse.Namespace) -> int:
    source, place = arguments.source, PostgresPlace(arguments.target, arguments.password_file)
    if not source.is_file():
        raise BadInputError(f"there is no database {source}")
    prepare(source)
    said = time.monotonic()

    def progress(table: str, done: int, total: int) -> None:
        nonlocal said
        if time.monotonic() - said > _SAY_SECONDS:
            said = time.monotonic()
            print(f"{table}: {done:,} of {total:,}", flush=True)

    for table, rows in copy_to_postgres(source, place, now_us(), progress).items():
        print(f"{table}: {rows:,} in both")
    print(f"Everything is in {place}. Let the hub use it: [store] url, and no path.")
    print(f"{source} was not changed; keep it until nobody misses anything.")
    return 0


def _file_of(chosen: HubSettings, tool: str) -> Path:
    """The database, if it is a file.

    Raises:
        BadInputError: it is a PostgreSQL, which has a tool of its own for this.
    """
    if isinstance(chosen.database, PostgresPlace):
        raise BadInputError(f"[store] url names the PostgreSQL {chosen.database}: use {tool}")
    return chosen.database


def _prune(arguments: argparse.Namespace) -> int:
    chosen = settings.load(arguments.config)
    if not chosen.database.exists():
        raise UnavailableError(f"there is no database {chosen.database} yet; start the hub first")
    if arguments.dry_run:
        return _count(chosen)
    lead = lead_of(chosen.database)
    try:
        lead.take()
    except UnavailableError as error:
        raise UnavailableError(f"{error}, or leave it to the hub, which prunes by itself") from error
    try:
        return _prune_now(chosen)
    finally:
        lead.release()


def _count(chosen: HubSettings) -> int:
    now = now_us()
    with closing(Store(chosen.database)) as store:
        for term in terms(chosen.store, now):
            print(f"{term.matter}: {count_old(store, term)} older than {iso(term.before_us)}")
    return 0


def _prune_now(chosen: HubSettings) -> int:
    prepare(chosen.database)
    recorder = Recorder(chosen.database)
    with database_errors(chosen.database):
        try:
            recorder.open()
            pruned = Pruner(chosen.store, chosen.database, Direct(recorder), now_us).prune()
        finally:
            recorder.close()
    for matter, count in pruned.removed.items():
        print(f"{matter}: {count} gone")
    print(f"done in {pruned.seconds:.1f} s")
    return 0
