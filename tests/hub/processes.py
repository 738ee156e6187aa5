"""A real ``tocsin hub run`` as a child process, and what stands before its door."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests
import socketio

from tests.hub.parts import wait_until
from tocsin_hub.demo.broker import free_port

NAMESPACE = "/live"


class HubProcess:
    """The hub in ``folder``; its log is ``hub.log`` there."""

    command: tuple[str, ...] = ("run",)
    """What is run, without its settings."""

    def __init__(
        self,
        folder: Path,
        broker_port: int,
        threads: int = 64,
        protocol: str = "5",
        *,
        database: str = "",
        redis: str = "",
    ) -> None:
        """``database`` is the URL of a PostgreSQL, ``redis`` that of a Redis."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.config = folder / "hub.toml"
        self.config.write_text(
            f'state_folder = "state"\n[web]\nport = {self.port}\nthreads = {threads}\nredis = "{redis}"\n'
            f'[broker]\nport = {broker_port}\nprotocol = "{protocol}"\n[store]\nurl = "{database}"\n',
            encoding="utf-8",
        )
        self.process: subprocess.Popen[bytes] | None = None
        self.log_file = folder / "hub.log"

    def start(self, status: int | None = 200) -> None:
        """Start, and wait until ``/healthz`` answers with ``status``; with ``None`` do not wait."""
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tocsin_shared", "hub", *self.command, "--config", str(self.config)],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if status is not None:
            self.wait_for(status)

    def wait_for(self, status: int = 200) -> None:
        wait_until(lambda: self.health_status() == status, f"/healthz to say {status}\n{self.log}", 20)

    def kill(self) -> None:
        """End it and its worker as a power cut does."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)

    def stop(self) -> int:
        """Ask it to end; its exit status."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(20)

    @property
    def log(self) -> str:
        return self.log_file.read_text(encoding="utf-8")

    @property
    def worker(self) -> int:
        """Process id of the gunicorn worker."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text(
            encoding="utf-8"
        )
        return int(children.split()[0])

    def health_status(self) -> int:
        with contextlib.suppress(requests.RequestException):
            return requests.get(f"{self.address}/healthz", timeout=5).status_code
        return 0

    def health(self) -> dict[str, Any]:
        answer: dict[str, Any] = requests.get(f"{self.address}/healthz", timeout=5).json()
        return answer

    def first_link(self) -> str:
        """The login link that the hub printed at its start."""
        links: list[str] = re.findall(rf"{self.address}/login/\S+", self.log)
        return links[-1]

    def new_link(self) -> str:
        """A login link made by the command for it."""
        command = [sys.executable, "-m", "tocsin_shared", "hub", "login-link", "--config", str(self.config)]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()

    def browser(self, link: str | None = None) -> requests.Session:
        """Somebody who has just logged in."""
        session = requests.Session()
        answer = session.get(link or self.new_link(), timeout=5, allow_redirects=False)
        assert answer.status_code == 302, answer.text
        return session


class WebProcess(HubProcess):
    """A web process beside ``hub``, with its settings and its state folder."""

    def __init__(self, hub: HubProcess) -> None:
        self.folder, self.config, self.process = hub.folder, hub.config, None
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.command = ("web", "--port", str(self.port))
        self.log_file = hub.folder / f"web-{self.port}.log"


@contextlib.contextmanager
def hub_process(
    folder: Path,
    broker_port: int,
    threads: int = 64,
    status: int = 200,
    protocol: str = "5",
    *,
    database: str = "",
) -> Iterator[HubProcess]:
    """A hub for the life of the ``with`` block; it must end well if it still runs."""
    hub = HubProcess(folder, broker_port, threads, protocol, database=database)
    try:
        hub.start(status)
        yield hub
        if hub.process is not None and hub.process.poll() is None:
            assert hub.stop() == 0
    finally:
        hub.kill()


class Dashboard:
    """A Socket.IO client in the session of ``browser``."""

    def __init__(self, address: str, browser: requests.Session) -> None:
        self.got: list[tuple[str, Any]] = []
        self.transport = ""
        self._address = address
        self._client = socketio.Client(http_session=browser, handle_sigint=False, reconnection=False)
        for name in ("hello", "event", "room", "incident", "alert"):
            self._client.on(name, lambda data, name=name: self.got.append((name, data)), namespace=NAMESPACE)

    def open(self, **headers: str) -> "Dashboard":
        """Connect; raises ConnectionError when refused."""
        self._client.connect(self._address, namespaces=[NAMESPACE], wait_timeout=5, headers=headers)
        self.transport = self._client.transport()
        return self

    @property
    def connected(self) -> bool:
        return bool(self._client.connected)

    def close(self) -> None:
        self._client.disconnect()

    def wait_for(self, name: str, seconds: float = 10.0) -> Any:
        """The data of the first message called ``name``."""
        wait_until(lambda: name in [kind for kind, _ in self.got], name, seconds)
        return next(data for kind, data in self.got if kind == name)


def is_alive(pid: int) -> bool:
    """Whether process ``pid`` runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def seconds_until(pid: int, limit: float = 15.0) -> float:
    """How long it took until ``pid`` was gone."""
    begun = time.monotonic()
    wait_until(lambda: not is_alive(pid), f"the end of process {pid}", limit)
    return time.monotonic() - begun
