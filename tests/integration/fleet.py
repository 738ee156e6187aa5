"""A site of real processes that takes models over the air: broker, hub, and nodes in rooms with sound."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import numpy as np
import pytest
import requests

from tests.integration.bad_bundles import Files
from tests.integration.facility import Loudspeaker, wait_until
from tocsin_hub.demo.broker import BrokerAddress, embedded_command, free_port, running
from tocsin_hub.demo.site import Site
from tocsin_shared import synthesis
from tocsin_shared.classifier import Classifier
from tocsin_shared.cli import main
from tocsin_shared.manifest import shipped_bundle
from tocsin_shared.trust.bundles import Notes, pack
from tocsin_shared.trust.keys import load_signer
from tocsin_shared.trust.repository import Repository, add_bundle

PASSPHRASE = "seven small bells in a row"  # noqa: S105 - of keys that live for a minute
TOCSIN = [sys.executable, "-m", "tocsin_shared"]
ROOMS = {
    "alpha-1": "hall-a",
    "alpha-2": "hall-a",
    "bravo-1": "hall-b",
    "bravo-2": "hall-b",
    "carol-1": "hall-c",
    "carol-2": "hall-c",
}
HUB = """[incidents]
hold_seconds = 0.0
[updates]
repository = "{folder}/updates"
keys = "{folder}/hub-keys"
bytes_per_second = 5e7
"""
NODE = """node = "{node}"
zone = "{zone}"
heartbeat_seconds = 1.0
[source]
kind = "stdin"
[model]
variant = "float32"
[broker]
port = {broker}
[outbox]
path = "{node}.outbox"
[update]
url = "{hub}/updates"
folder = "{node}-update"
floor_file = "{node}-floor.json"
bytes_per_second = 1e8
budget_share = {share:.5f}
"""
SPARE = 2.5
"""A node may spend so many times what the shipped bundle needs here."""


class Fleet:
    """Six rooms in three zones. Use it in a ``with`` block."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._broker_port = free_port()
        self._broker = running(
            embedded_command(folder, self._broker_port), folder / "broker.log", self._broker_port
        )
        address = BrokerAddress("127.0.0.1", self._broker_port)
        self.site = Site(folder, address, free_port(), HUB.format(folder=folder))
        self.rooms: dict[str, Loudspeaker] = {}
        self._nodes: dict[str, subprocess.Popen[bytes]] = {}
        self._tokens: dict[str, str] = {}

    def __enter__(self) -> "Fleet":
        self.run("trust", "init", "--repository", "@updates", "--keys", "@usb", "--online", "@hub-keys")
        self._broker.__enter__()
        self.site.start_hub()
        share = SPARE * window_seconds() / 0.5
        for node, zone in ROOMS.items():
            self._start_node(node, zone, share)
        for login in ("ada", "bo"):
            self._add_admin(login)
        wait_until(lambda: self.reporting() == set(ROOMS), 120, f"every node to say how it is\n{self.logs()}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        for speaker in self.rooms.values():
            speaker.stop()
        for process in self._nodes.values():
            process.kill()
            process.wait(10)
        self.site.stop()
        self._broker.__exit__(None, None, None)

    def run(self, *arguments: str, stdin: str = "") -> str:
        """A command of Tocsin in this process, which is quicker; what it prints. ``@`` is the folder."""
        told = [one.replace("@", f"{self.folder}/") for one in arguments]
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as printed:
            patch.setattr("sys.stdin", io.StringIO(stdin))
            patch.setenv("TOCSIN_TRUST_PASSPHRASE", PASSPHRASE)
            assert main(told) == 0, told
        return printed.getvalue()

    def _start_node(self, node: str, zone: str, share: float) -> None:
        config = self.folder / f"{node}.toml"
        values = {"node": node, "zone": zone, "broker": self._broker_port, "hub": self.site.address}
        config.write_text(NODE.format(**values, share=share), encoding="utf-8")
        self.run("node", "trust-root", "@updates/metadata/1.root.json", "--config", str(config))
        with (self.folder / f"{node}.log").open("ab") as log:
            process = subprocess.Popen(
                [*TOCSIN, "node", "run", "--config", str(config)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        assert process.stdin is not None
        self._nodes[node], self.rooms[node] = process, Loudspeaker(process.stdin)

    def _add_admin(self, login: str) -> None:
        self.run(
            "hub", "person", "add", login.title(), "--role", "admin", "--login", login,
            "--password-stdin", "--config", "@hub.toml", stdin="a long password 123\n",
        )  # fmt: skip
        token = self.run(
            "hub", "token", "add", f"of {login}", "--person", login, "--scopes", "read,manage",
            "--config", "@hub.toml",
        )  # fmt: skip
        self._tokens[login] = token.strip()
        (self.folder / f"{login}.token").write_text(token, encoding="ascii")

    # -- the hub --------------------------------------------------------------------------------------

    def rollout(self, *arguments: str, by: str = "ada") -> dict[str, Any]:
        """``tocsin rollout …`` at the keyboard of ``by``."""
        printed = self.run(
            "rollout", *arguments, "--json", "--hub", self.site.address, "--token-file", f"@{by}.token"
        )
        made: dict[str, Any] = json.loads(printed)
        return made

    def ask(self, path: str) -> Any:
        """What the API says."""
        headers = {"Authorization": f"Bearer {self._tokens['ada']}"}
        answer = requests.get(f"{self.site.address}/api/v1{path}", headers=headers, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def reporting(self) -> set[str]:
        """Nodes that listen."""
        return {room["node"] for room in self.ask("/rooms")["rooms"] if room["state"] == "listening"}

    def active(self) -> dict[str, str]:
        """What each node listens with, as its bundle is named in what it hears."""
        return {room["node"]: room["bundle"] for room in self.ask("/rooms")["rooms"]}

    def kill_hub(self) -> None:
        """Kill it without a word, and start it again."""
        process = self.site.process("hub")
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)
        self.site.start_hub()

    def logs(self) -> str:
        """The last lines of everybody."""
        return "\n".join(f"{name}: {self.site.last_lines(name, 8)}" for name in ("hub", *ROOMS))

    # -- rollouts -------------------------------------------------------------------------------------

    def begun(self, release: str, *more: str) -> str:
        """A rollout of ``release`` by canary, 2, 3 that Ada planned, Bo approved and Ada started; its id."""
        made = self.rollout(
            "create", "sentry", release, "--ring", "1", "--ring", "2", "--ring", "rest",
            "--gate-soak", "0.5", "--soak", "1", *more,
        )  # fmt: skip
        assert made["state"] == "awaiting_approval"
        self.rollout("approve", made["id"], by="bo")
        assert self.rollout("start", made["id"])["state"] == "running"
        return str(made["id"])

    def until(
        self, rollout: str, true: Callable[[dict[str, Any]], bool], what: str, seconds: float = 120.0
    ) -> dict[str, Any]:
        """The rollout as soon as it is as it should be."""
        deadline = time.monotonic() + seconds
        while not true(shown := self.ask(f"/rollouts/{rollout}")):
            assert time.monotonic() < deadline, f"{what}: still {told(shown)}\n{self.logs()}"
            time.sleep(0.1)
        return dict(shown)

    def play(self, node: str, label: str = "smoke_alarm", seconds: float = 5.0) -> None:
        """An alarm sounds in the room of ``node``."""
        made = synthesis.sound(label, seconds, np.random.default_rng(3))
        self.rooms[node].play(synthesis.at_level(made, -20.0))

    def publish(self, files: Files, release: str, variant: str) -> str:
        """Sign ``files`` with the engineer's key as they are; the path of the archive on the hub's disk."""
        repository = Repository(self.folder / "updates")
        notes = Notes(name="sentry", release=release, variant=variant, floor="1.0.0")
        signer = load_signer(self.folder / "usb" / "models.key", PASSPHRASE.encode())
        path = add_bundle(repository, pack(files), notes, [signer], datetime.now(UTC))
        sha256 = repository.role("models").signed.targets[path].hashes["sha256"]
        folder, _, name = path.rpartition("/")
        return str(repository.targets / folder / f"{sha256}.{name}")


def nodes(shown: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every node of a rollout, by name."""
    return {one["node"]: one for ring in shown["rings"] for one in ring["nodes"]}


def told(shown: dict[str, Any]) -> str:
    """The states of a rollout, for people who look at a failure."""
    states = [
        f"{one['node']} {one['state']} {one['error']} {one['waits']} {one['detail']}"
        for one in nodes(shown).values()
    ]
    return f"{shown['state']} {shown['reason']}: {'; '.join(states)}"


def window_seconds() -> float:
    """What one window of the shipped bundle costs a processor here, at the 95th percentile."""
    classifier, times = Classifier.load(shipped_bundle(), "float16"), []
    window = np.zeros((192, 64), dtype=np.float32)
    for _ in range(60):
        began = time.thread_time()
        classifier.scores(window)
        times.append(time.thread_time() - began)
    return sorted(times)[56]


def released(folder: Path, release: str) -> Path:
    """The shipped bundle as another release, in a folder of its own."""
    made = folder / release
    subprocess.run(["cp", "-r", str(shipped_bundle()), str(made)], check=True, timeout=60)
    manifest = msgspec.json.decode((made / "manifest.json").read_bytes()) | {"release": release}
    (made / "manifest.json").write_bytes(msgspec.json.encode(manifest))
    return made
