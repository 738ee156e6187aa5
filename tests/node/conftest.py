"""Real brokers, as child processes, for the tests of the link."""

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tocsin_hub.demo.broker import embedded_command, free_port, mosquitto_command

KINDS = [("mosquitto", "5"), ("mosquitto", "3.1.1"), ("iotcore", "5"), ("iotcore", "3.1.1")]


class BrokerProcess:
    """One broker on one port that can be killed and started again; killed, it has saved nothing."""

    def __init__(self, kind: str, protocol: str, folder: Path, host: str = "127.0.0.1") -> None:
        self.kind = kind
        self.protocol = protocol
        self.host = host
        """An address of the loopback network, 127.0.0.0/8; others than .1 for Mosquitto only."""
        self.port = free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 10.0
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection((self.host, self.port), 0.2):
                return
            time.sleep(0.02)
        self.kill()
        raise AssertionError(f"{self.kind} does not listen")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _command(self) -> list[str]:
        if self.kind == "mosquitto":
            executable = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
            command = mosquitto_command(self._folder, self.port, executable)
            config = Path(command[-1])
            text = config.read_text(encoding="utf-8")
            config.write_text(text.replace("127.0.0.1", self.host), encoding="utf-8")
            return command
        return embedded_command(self._folder, self.port, self.protocol)


@pytest.fixture(params=KINDS, ids="-".join)
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BrokerProcess]:
    """A running broker of each kind, with each version of MQTT that the node can speak."""
    kind, protocol = request.param
    made = BrokerProcess(kind, protocol, tmp_path)
    made.start()
    yield made
    made.kill()
