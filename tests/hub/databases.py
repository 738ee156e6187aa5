"""Which database a test runs on: its file of SQLite, or one of a PostgreSQL that the first of them starts."""

import hashlib
from pathlib import Path

import psycopg

from tests.hub import postgres_server
from tests.hub.postgres_server import PostgresServer
from tocsin_hub.place import Place, PostgresPlace
from tocsin_hub.recorder import Recorder, prepare
from tocsin_hub.settings import StoreSettings

SQLITE, POSTGRESQL = "sqlite", "postgresql"
_TEMPLATE = "prepared"


class _Databases:
    """The databases of the tests of one process."""

    def __init__(self) -> None:
        self.engine = SQLITE
        self._server: PostgresServer | None = None
        self._made: dict[Path, PostgresPlace] = {}
        self._lent: dict[Path, PostgresPlace] = {}

    def at(self, path: Path) -> Place:
        """The database that stands for the file ``path`` in this test."""
        if self.engine == SQLITE:
            return path
        if path in self._lent:
            return self._lent[path]
        if path not in self._made:
            name = "t" + hashlib.sha256(str(path).encode()).hexdigest()[:20]
            self._made[path] = self.server().new(name, _TEMPLATE)
        return self._made[path]

    def empty(self, path: Path) -> PostgresPlace:
        """A PostgreSQL without tables, that is forgotten with the others."""
        name = "e" + hashlib.sha256(str(path).encode()).hexdigest()[:20]
        self._made[path] = self.server().new(name)
        return self._made[path]

    def is_at(self, path: Path, place: PostgresPlace) -> None:
        """From now on ``place`` stands for ``path``; whoever made it drops it."""
        self._lent[path] = place

    def server(self) -> PostgresServer:
        """The server, which runs."""
        if self._server is None:
            self._server = postgres_server.made()
            self._server.start()
            prepare(self._server.new(_TEMPLATE))
        return self._server

    def forget(self) -> None:
        """Drop what a test used."""
        if self._made:
            with psycopg.connect(self.server().url("postgres"), autocommit=True) as connection:
                for place in self._made.values():
                    name = place.url.rpartition("/")[2]
                    connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
        self._made.clear()
        self._lent.clear()

    def end(self) -> None:
        """Stop the server."""
        if self._server is not None:
            self._server.remove()
            self._server = None


def store_settings(folder: Path) -> StoreSettings:
    """Settings of a hub whose database is the one of this test."""
    place = DATABASES.at(folder / "hub.sqlite")
    return StoreSettings(url=place.url) if isinstance(place, PostgresPlace) else StoreSettings()


def named_in_toml(place: Place) -> str:
    """The settings of a hub whose database is ``place``."""
    return (
        f'[store]\nurl = "{place.url}"\n'
        if isinstance(place, PostgresPlace)
        else f'[store]\npath = "{place}"\n'
    )


def refuse(recorder: Recorder, table: str, when: str = "") -> None:
    """From now on ``table`` takes nothing new of which ``when`` is true."""
    trigger = f"CREATE TRIGGER refuse BEFORE INSERT ON {table}"
    condition = f"WHEN ({when})" if when else ""
    if DATABASES.engine == SQLITE:
        recorder.database.execute(f"{trigger} {condition} BEGIN SELECT RAISE(ABORT, 'no'); END")
        return
    recorder.database.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE integrity_constraint_violation USING MESSAGE = 'no'; END $$"
    )
    recorder.database.execute(f"{trigger} FOR EACH ROW {condition} EXECUTE FUNCTION refuse()")


DATABASES = _Databases()
at = DATABASES.at
