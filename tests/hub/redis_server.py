"""A Redis of our own on this machine, from the packages of Debian."""

import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.hub.parts import wait_until
from tocsin_hub.demo.broker import free_port
from tocsin_hub.web.bus import connect


@dataclass
class RedisServer:
    """A server that keeps nothing on the disk."""

    folder: Path
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, or start it again, and wait until it answers."""
        program = shutil.which("redis-server")
        assert program, "Redis is not installed; run tests/install-packages"
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        with (self.folder / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(
                [program, *options, "--dir", str(self.folder)], stdout=log, stderr=log
            )
        wait_until(self._answers, "Redis", 20)

    def _answers(self) -> bool:
        try:
            return bool(connect(self.url, None).ping())
        except OSError:
            return False
        except Exception as error:
            if "Connection refused" in str(error) or "loading" in str(error):
                return False
            raise

    def signal(self, what: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(what)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)


@contextmanager
def redis_server(folder: Path) -> Iterator[RedisServer]:
    """A server for the life of the ``with`` block."""
    folder.mkdir(parents=True, exist_ok=True)
    server = RedisServer(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()
