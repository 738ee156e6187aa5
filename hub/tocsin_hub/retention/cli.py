"""``tocsin hub backup | restore | prune``: what a person does with the database."""

import argparse
from contextlib import closing
from pathlib import Path

from sqlite_utils import Database

from tocsin_hub import settings
from tocsin_hub.connection import connect
from tocsin_hub.lock import DatabaseLock
from tocsin_hub.recorder import Recorder, prepare
from tocsin_hub.retention.backup import back_up, look_through, restore
from tocsin_hub.retention.pruner import Direct, Pruner
from tocsin_hub.retention.pruning import count_old
from tocsin_hub.retention.rules import terms
from tocsin_hub.settings import HubSettings
from tocsin_hub.store import database_errors
from tocsin_hub.times import iso, now_us
from tocsin_shared.errors import UnavailableError


def add_store_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands to those of ``tocsin hub``."""
    backup = commands.add_parser("backup", help="copy the database to a file, while the hub runs")
    backup.add_argument("file", type=Path, metavar="FILE", help="where the copy goes")
    backup.add_argument("--force", action="store_true", help="replace FILE if it is there")
    backup.set_defaults(run=_backup)

    back = commands.add_parser("restore", help="put a backup in the place of the database")
    back.add_argument("file", type=Path, metavar="FILE", help="a backup")
    back.set_defaults(run=_restore)

    prune = commands.add_parser("prune", help="let go of what is older than [store] says")
    prune.add_argument("--dry-run", action="store_true", help="only say how much would go")
    prune.set_defaults(run=_prune)
    for command in (backup, back, prune):
        command.add_argument("--config", type=Path, required=True, metavar="FILE", help="the hub's settings")


def _backup(arguments: argparse.Namespace) -> int:
    chosen = settings.load(arguments.config)
    copy = back_up(chosen.database, arguments.file, force=arguments.force)
    print(f"{copy.path}: {copy.events} detections, {copy.bytes / 1e6:.1f} MB, looked through and whole")
    print(f"It holds the database only: save the files in {chosen.state_folder} and your settings, too.")
    return 0


def _restore(arguments: argparse.Namespace) -> int:
    chosen = settings.load(arguments.config)
    aside = restore(arguments.file, chosen.database, now_us())
    events = look_through(chosen.database).events
    print(f"{chosen.database} is now {arguments.file}, with {events} detections")
    if aside is not None:
        print(f"The database before is kept as {aside}; delete it when nobody misses anything.")
    return 0


def _prune(arguments: argparse.Namespace) -> int:
    chosen = settings.load(arguments.config)
    if not chosen.database.exists():
        raise UnavailableError(f"there is no database {chosen.database} yet; start the hub first")
    if arguments.dry_run:
        return _count(chosen)
    lock = DatabaseLock(chosen.database)
    try:
        lock.take()
    except UnavailableError as error:
        raise UnavailableError(f"{error}, or leave it to the hub, which prunes by itself") from error
    try:
        return _prune_now(chosen)
    finally:
        lock.release()


def _count(chosen: HubSettings) -> int:
    now = now_us()
    with database_errors(chosen.database), closing(connect(chosen.database)) as connection:
        connection.execute("PRAGMA query_only = 1")
        for term in terms(chosen.store, now):
            print(f"{term.matter}: {count_old(Database(connection), term)} older than {iso(term.before_us)}")
    return 0


def _prune_now(chosen: HubSettings) -> int:
    prepare(chosen.database)
    recorder = Recorder(chosen.database)
    with database_errors(chosen.database):
        try:
            recorder.open()
            pruned = Pruner(chosen.store, Direct(recorder), now_us).prune()
        finally:
            recorder.close()
    for matter, count in pruned.removed.items():
        print(f"{matter}: {count} gone")
    print(f"done in {pruned.seconds:.1f} s")
    return 0
