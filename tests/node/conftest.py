"""Real brokers, as child processes, for the tests of the link."""

import contextlib
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

RUMQTTD = """
id = 0
[router]
id = 0
max_connections = 100
max_outgoing_packet_count = 200
max_segment_size = 104857600
max_segment_count = 10
[{table}.1]
name = "tests"
listen = "127.0.0.1:{port}"
next_connection_delay_ms = 1
    [{table}.1.connections]
    connection_timeout_ms = 60000
    max_payload_size = 262144
    max_inflight_count = 100
    dynamic_filters = true
"""
MOSQUITTO = """
listener {port} 127.0.0.1
allow_anonymous true
max_queued_messages 20000
user root
"""
KINDS = [("mosquitto", "5"), ("mosquitto", "3.1.1"), ("iotcore", "5"), ("iotcore", "3.1.1")]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class BrokerProcess:
    """One broker on one port that can be killed and started again; it keeps nothing on disk."""

    def __init__(self, kind: str, protocol: str, folder: Path) -> None:
        self.kind = kind
        self.protocol = protocol
        self.port = free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 10.0
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 0.2):
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
        config = self._folder / f"{self.kind}.toml"  # the embedded broker insists on the suffix
        if self.kind == "mosquitto":
            executable = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
            config.write_text(MOSQUITTO.format(port=self.port))
            return [executable, "-c", str(config)]
        table = "v5" if self.protocol == "5" else "v4"
        config.write_text(RUMQTTD.format(port=self.port, table=table))
        return [sys.executable, "-m", "iotcore", "--config", str(config), "--log-level", "ERROR"]


@pytest.fixture(params=KINDS, ids="-".join)
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BrokerProcess]:
    """A running broker of each kind, with each version of MQTT that the node can speak."""
    kind, protocol = request.param
    made = BrokerProcess(kind, protocol, tmp_path)
    made.start()
    yield made
    made.kill()
