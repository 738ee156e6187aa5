"""What a command does with the hub's database, whether or not a hub runs beside it."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tocsin_hub import settings
from tocsin_hub.place import check_url, database_errors
from tocsin_hub.recorder import Recorder, prepare
from tocsin_hub.settings import HubSettings
from tocsin_hub.store import Store
from tocsin_shared.errors import UnavailableError

T = TypeVar("T")


def database_url(text: str) -> str:
    """An argument that says where a PostgreSQL is.

    Raises:
        argparse.ArgumentTypeError: it does not, or there is a password in it.
    """
    try:
        check_url(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def opened(config: Path) -> HubSettings:
    """The settings in ``config``, whose database is there and up to date.

    Raises:
        SettingsError: the settings cannot be used.
        UnavailableError: there is no database yet, or it cannot be used.
    """
    chosen = settings.load(config)
    if not chosen.database.exists():
        raise UnavailableError(f"there is no database {chosen.database} yet; start the hub first")
    prepare(chosen.database)
    return chosen


def read(chosen: HubSettings, question: Callable[[Store], T]) -> T:
    """The answer to ``question``.

    Raises:
        UnavailableError: the database cannot be used.
    """
    store = Store(chosen.database)
    try:
        return question(store)
    finally:
        store.close()


def write(chosen: HubSettings, work: Callable[[Recorder], T]) -> T:
    """What ``work`` returns, once what it wrote is on the disk.

    Raises:
        UnavailableError: the database cannot be used.
    """
    recorder = Recorder(chosen.database)
    with database_errors(chosen.database):
        try:
            recorder.open()
            with recorder.transaction():
                return work(recorder)
        finally:
            recorder.close()
