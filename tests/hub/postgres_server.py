"""A PostgreSQL of our own on this machine, from the packages of Debian."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg

from tocsin_hub.demo.broker import free_port
from tocsin_hub.place import PostgresPlace

_FOLDERS = "/usr/lib/postgresql"
_NAME = "tocsin"
_PLACE = "CREATE DATABASE %s TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'"


@dataclass
class PostgresServer:
    """A server that runs, with as many databases as tests want."""

    folder: Path
    port: int
    safe: bool
    """Whether it waits for the disk, as a server must on which something rests."""

    def url(self, database: str) -> str:
        """Where ``database`` is."""
        return f"postgresql://{_NAME}@127.0.0.1:{self.port}/{database}"

    def new(self, database: str, template: str = "") -> PostgresPlace:
        """A new database, empty or a copy of another."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            if template:
                connection.execute(f"CREATE DATABASE {database} TEMPLATE {template}")
            else:
                connection.execute(_PLACE % database)
        return PostgresPlace(self.url(database))

    def start(self) -> None:
        """Start it, or start it again, and wait until it answers."""
        disk = "on" if self.safe else "off"
        options = (
            f"-c port={self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder} "
            f"-c max_connections=100 -c fsync={disk} -c full_page_writes={disk} -c shared_buffers=32MB"
        )
        self._run("pg_ctl", "start", "-w", "-t", "60", "-l", str(self.folder / "log"), "-o", options)

    def stop(self, mode: str = "fast") -> None:
        """End it; ``immediate`` is as if its machine had lost power."""
        self._run("pg_ctl", "stop", "-w", "-t", "60", "-m", mode)

    def signal(self, what: signal.Signals) -> None:
        """Send a signal to all of its processes."""
        main = int((self.folder / "data" / "postmaster.pid").read_text(encoding="ascii").splitlines()[0])
        children = Path(f"/proc/{main}/task/{main}/children").read_text(encoding="ascii").split()
        for pid in (main, *map(int, children)):
            with suppress(ProcessLookupError):
                os.kill(pid, what)

    def remove(self) -> None:
        """End it, and delete its folder."""
        if (self.folder / "data" / "postmaster.pid").exists():
            self.stop("immediate")
        shutil.rmtree(self.folder)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(_programs() / program), "-D", str(self.folder / "data"), *arguments]
        # Into a file: a server that goes on would hold a pipe open.
        with (self.folder / "said").open("w") as said:
            done = subprocess.run(
                _as_nobody_special(command), cwd=self.folder, stdout=said, stderr=said, check=False
            )
        assert done.returncode == 0, f"{program}: {(self.folder / 'said').read_text()}{_log(self.folder)}"


def made(*, safe: bool = False) -> PostgresServer:
    """A server with an empty folder; it does not run yet.

    Without ``safe`` it is fast, and loses what it has when its machine loses power.
    """
    folder = Path(tempfile.mkdtemp(prefix="tocsin-postgres-"))
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
    server = PostgresServer(folder, free_port(), safe)
    server._run("initdb", "--username", _NAME, "--auth", "trust", "--encoding", "UTF8", "--no-sync")
    return server


def _programs() -> Path:
    found = sorted(Path(_FOLDERS).glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    assert found, "PostgreSQL is not installed; run tests/install-packages"
    return found[-1].parent


def _as_nobody_special(command: list[str]) -> list[str]:
    """The server refuses to run as root."""
    if os.geteuid() != 0:
        return command
    assert pwd.getpwnam("postgres"), "the package postgresql makes this user"
    return ["runuser", "-u", "postgres", "--", *command]


def _log(folder: Path) -> str:
    log = folder / "log"
    return log.read_text() if log.exists() else ""
