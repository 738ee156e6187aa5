"""The processes of the demo: one hub and one node for each room, with the settings files they run on."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import IO

from tocsin_hub.demo.broker import BrokerAddress
from tocsin_hub.demo.script import Room
from tocsin_shared.errors import UnavailableError

START_SECONDS = 30.0

_HUB = """\
state_folder = {folder}
[web]
host = "127.0.0.1"
port = {port}
redis = {redis}
[broker]
host = {broker_host}
port = {broker_port}
protocol = {broker_protocol}
"""

_NODE = """\
node = {node}
zone = {zone}
room = {room}
heartbeat_seconds = 1.0
[source]
kind = {kind}
device = {device}
[broker]
host = {broker_host}
port = {broker_port}
protocol = {broker_protocol}
[outbox]
path = {outbox}
"""


class Site:
    """Starts and stops the processes; each writes its log into ``folder``."""

    def __init__(
        self, folder: Path, broker: BrokerAddress, web_port: int, more: str = "", redis: str = ""
    ) -> None:
        """``more`` are further lines of the hub's settings, ``redis`` is the URL of one for web processes."""
        self.folder = folder
        self.address = f"http://127.0.0.1:{web_port}"
        self._broker = broker
        self._web_port = web_port
        self._more = more
        self._redis = redis
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def start_hub(self) -> None:
        """Start the hub and wait until it answers.

        Raises:
            UnavailableError: it does not; the text ends with the last lines of its log.
        """
        config = self._write(
            "hub.toml",
            _HUB + self._more,
            folder=str(self.folder / "hub"),
            port=self._web_port,
            redis=self._redis,
        )
        self._start("hub", ["hub", "run", "--config", str(config)])
        deadline = time.monotonic() + START_SECONDS
        while not self._hub_answers():
            if time.monotonic() > deadline or self._children["hub"].poll() is not None:
                raise UnavailableError(f"the hub did not start:\n{self.last_lines('hub')}")
            time.sleep(0.1)

    def start_web(self, port: int) -> None:
        """Start a web process beside the hub, which has been started."""
        self._start("web", ["hub", "web", "--config", str(self.folder / "hub.toml"), "--port", str(port)])

    def login_link(self) -> str:
        """A fresh one-time link to the dashboard."""
        command = [*_tocsin(), "hub", "login-link", "--config", str(self.folder / "hub.toml")]
        result = subprocess.run(command, capture_output=True, text=True, timeout=START_SECONDS, check=False)
        links = [word for word in result.stdout.split() if word.startswith("http")]
        if result.returncode or not links:
            raise UnavailableError(f"the hub gave no login link: {result.stderr.strip()}")
        return links[-1]

    def start_node(self, room: Room) -> IO[bytes]:
        """Start the node of ``room``; returns the pipe that it hears from (see ``player.to_pcm``)."""
        pipe = self._start_node(room, "stdin").stdin
        assert pipe is not None  # noqa: S101  # it was asked for
        return pipe

    def start_microphone(self, room: Room, device: str = "") -> None:
        """Start a node that hears with this computer's microphone: its default one, or ``device``."""
        self._start_node(room, "microphone", device)

    def _start_node(self, room: Room, kind: str, device: str = "") -> "subprocess.Popen[bytes]":
        config = self._write(
            f"{room.node}.toml",
            _NODE,
            node=room.node,
            zone=room.zone,
            room=room.name,
            kind=kind,
            device=device,
            outbox=str(self.folder / f"{room.node}.outbox"),
        )
        hears = subprocess.PIPE if kind == "stdin" else subprocess.DEVNULL
        return self._start(room.node, ["node", "run", "--config", str(config)], hears)

    def process(self, name: str) -> "subprocess.Popen[bytes]":
        """The running process ``name``: ``hub``, or the id of a node."""
        return self._children[name]

    def dead(self) -> list[str]:
        """Names of the processes that have ended although nobody stopped them."""
        return [name for name, child in self._children.items() if child.poll() is not None]

    def last_lines(self, name: str, count: int = 5) -> str:
        """The end of the log of process ``name``."""
        try:
            text = (self.folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return "(no log)"
        return "\n".join(text.strip().splitlines()[-count:])

    def stop(self) -> None:
        """Stop all processes: nodes first, so that their last words still reach the hub."""
        for name, child in reversed(self._children.items()):
            if name != "hub":
                child.terminate()
        for child in reversed(self._children.values()):
            child.terminate()
            try:
                child.wait(5.0)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    def _start(
        self, name: str, arguments: list[str], stdin: int = subprocess.DEVNULL
    ) -> "subprocess.Popen[bytes]":
        # In a session of its own, a child does not see Ctrl-C: the demo alone does, and stops them in order.
        with (self.folder / f"{name}.log").open("ab") as log:
            child = subprocess.Popen(
                [*_tocsin(), *arguments],
                stdin=stdin,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        self._children[name] = child
        return child

    def _write(self, name: str, template: str, **values: str | int) -> Path:
        broker = self._broker
        where: dict[str, str | int] = {
            "broker_host": broker.host,
            "broker_port": broker.port,
            "broker_protocol": broker.protocol,
        }
        values = {**where, **values}
        path = self.folder / name
        quoted = {key: json.dumps(value, ensure_ascii=False) for key, value in values.items()}
        path.write_text(template.format(**quoted), encoding="utf-8")
        return path

    def _hub_answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.address}/healthz", timeout=1.0) as answer:  # noqa: S310
                return bool(answer.status == 200)
        except OSError:
            return False


def _tocsin() -> list[str]:
    return [sys.executable, "-m", "tocsin_shared"]
