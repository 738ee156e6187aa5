"""A broker of the demo's own: embedded (``iotcore``), or an executable or address that the user names."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tocsin_shared.errors import SettingsError, UnavailableError

START_SECONDS = 10.0

_RUMQTTD = """\
id = 0
[router]
id = 0
max_connections = 1000
max_outgoing_packet_count = 200
max_segment_size = 104857600
max_segment_count = 10
[{version}.1]
name = "{version}-1"
listen = "127.0.0.1:{port}"
next_connection_delay_ms = 1
    [{version}.1.connections]
    connection_timeout_ms = 60000
    max_payload_size = 262144
    max_inflight_count = 100
    dynamic_filters = true
"""

_MOSQUITTO = """\
listener {port} 127.0.0.1
allow_anonymous true
persistence true
persistence_location {folder}/
max_packet_size 262144
max_queued_messages 20000
set_tcp_nodelay true
log_type error
log_type warning
"""


@dataclass(frozen=True)
class BrokerAddress:
    """Where a broker listens."""

    host: str
    port: int
    protocol: str = "5"
    """MQTT version: ``5`` or ``3.1.1``."""


def free_port() -> int:
    """A TCP port on the loopback address that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def embedded_command(folder: Path, port: int, protocol: str = "5") -> list[str]:
    """Command line of the embedded broker; writes its configuration into ``folder``.

    It speaks one version of MQTT on one port: ``protocol`` is ``5`` or ``3.1.1``.
    """
    config = folder / "broker.toml"
    version = "v5" if protocol == "5" else "v4"
    config.write_text(_RUMQTTD.format(version=version, port=port), encoding="utf-8")
    return [sys.executable, "-m", "iotcore", "--config", str(config), "--log-level", "CRITICAL"]


def mosquitto_command(folder: Path, port: int, executable: str) -> list[str]:
    """Command line of Mosquitto with persistence; writes its configuration into ``folder``."""
    config = folder / "mosquitto.conf"
    config.write_text(_MOSQUITTO.format(port=port, folder=folder), encoding="utf-8")
    if os.geteuid() == 0:
        # Started by root, Mosquitto would change to a user that may not write into the folder.
        with config.open("a", encoding="utf-8") as file:
            file.write("user root\n")
    return [executable, "-c", str(config)]


@contextmanager
def broker(choice: str, folder: Path) -> Iterator[BrokerAddress]:
    """A broker for the life of the ``with`` block.

    ``choice`` is ``embedded``, the name or path of a Mosquitto executable, or ``mqtt://host:port`` of a
    broker that runs already.

    Raises:
        SettingsError: ``choice`` is none of these.
        UnavailableError: the broker did not start to listen.
    """
    if choice.startswith("mqtt://"):
        yield _address(choice)
        return
    port = free_port()
    if choice == "embedded":
        command = embedded_command(folder, port)
    elif executable := shutil.which(choice):
        command = mosquitto_command(folder, port, executable)
    else:
        raise SettingsError(
            f"--broker {choice}: there is no such program; name 'embedded', the path of a mosquitto "
            "executable (on Debian: apt install mosquitto) or mqtt://host:port"
        )
    with running(command, folder / "broker.log", port):
        yield BrokerAddress("127.0.0.1", port)


def _address(url: str) -> BrokerAddress:
    try:
        parts = urlsplit(url)
        return BrokerAddress(parts.hostname or "", parts.port or 1883)
    except ValueError as error:
        raise SettingsError(f"--broker {url}: not of the form mqtt://host:port") from error


@contextmanager
def running(
    command: list[str], log: Path, port: int, seconds: float = START_SECONDS
) -> Iterator["subprocess.Popen[bytes]"]:
    """A child process that listens on ``port``, for the life of the ``with`` block.

    Raises:
        UnavailableError: it does not listen after ``seconds``.
    """
    with log.open("ab") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            _wait_for(process, port, log, seconds)
            yield process
        finally:
            process.terminate()
            try:
                process.wait(5.0)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_for(process: "subprocess.Popen[bytes]", port: int, log: Path, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    last = " / ".join(log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:])
    raise UnavailableError(f"the broker does not listen on port {port}: {last or 'it said nothing'}")
