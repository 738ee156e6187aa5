"""A site on containers: its inventory, the playbooks that are run on it, and what the hub knows."""

import json
import os
import platform
import re
import sqlite3
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from tests.deploy.containers import SUITE, Machine
from tocsin_hub.demo.broker import free_port
from tocsin_shared import synthesis

ROOT = Path(__file__).resolve().parents[2]
ANSIBLE = ROOT / "deploy" / "ansible"
TOOLS = Path(os.environ.get("TOCSIN_DEPLOY_TOOLS", str(ROOT / ".venv-deploy" / "bin")))
PASSPHRASE = "only for these containers"  # noqa: S105 - of a CA that lives as long as a test
_PYTHON = {"bookworm": "3.11", "trixie": "3.13"}
"""The Python of each release of Debian."""
_OF_OLDER = {"bookworm": ["async-timeout"], "trixie": []}
"""What redis needs before Python 3.11.3; pip asks the Python that it runs on, not the one of the site."""
_PLATFORMS = ("manylinux2014", *(f"manylinux_2_{minor}" for minor in (17, 26, 27, 28, 31, 34)))
_SOURCES = ["http-ece"]
"""What the index has no wheel of; without the index, Debian 13 has no setuptools to build one."""
_RECAP = re.compile(r"^(\S+)\s+: ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.MULTILINE)


@dataclass(frozen=True)
class Played:
    """How a playbook ended."""

    status: int
    text: str
    changed: dict[str, int]
    """Tasks that changed something, for each machine."""


class SiteOfContainers:
    """Broker and hub on one machine, a node on each of two others."""

    def __init__(self, folder: Path, wheels: Path) -> None:
        self.folder = folder
        self.wheels = wheels
        self.hub = Machine(folder, "tocsin-hub")
        self.press = Machine(folder, "tocsin-press")
        self.paint = Machine(folder, "tocsin-paint")
        self.broker_port, self.hub_port, self.https_port = free_port(), free_port(), free_port()
        self.inventory = folder / "inventory"
        self.database_port = 0
        """Of the PostgreSQL on the hub's machine, once the site has one."""
        self.redis_port = 0
        """Of the Redis there, once the site has web processes."""
        self.web_port = free_port()
        """Of the first of them."""

    @property
    def machines(self) -> tuple[Machine, ...]:
        """All of them."""
        return (self.hub, self.press, self.paint)

    def start(self) -> None:
        """Make and boot the machines, and write the inventory."""
        for machine in self.machines:
            machine.make()
            (machine.root / "srv/wheels").mkdir()
            for wheel in self.wheels.glob("*"):
                os.link(wheel, machine.root / "srv/wheels" / wheel.name)
            machine.boot()
        self._record(self.press, alarm=True)
        self._record(self.paint, alarm=False)
        self.write_inventory()

    def stop(self) -> None:
        """Power everything off."""
        for machine in self.machines:
            machine.stop()

    def write_inventory(self, **wrong: Any) -> None:
        """``wrong`` takes the place of values that are right."""
        values = (
            {
                "broker_address": "127.0.0.1",
                "broker_name": "127.0.0.1",
                "broker_port": self.broker_port,
                "hub_name": "127.0.0.1",
                "hub_port": self.hub_port,
                "hub_https_port": self.https_port,
                "tocsin_wheel": str(next(self.wheels.glob("tocsin-*.whl"))),
                "tocsin_constraints": str(ROOT / "constraints.txt"),
                "tocsin_pip_arguments": "--no-index --find-links /srv/wheels",
                "pki_passphrase": PASSPHRASE,
            }
            | (
                {"postgresql_port": self.database_port, "postgresql_name": "127.0.0.1"}
                if self.database_port
                else {}
            )
            | (
                {"redis_port": self.redis_port, "hub_web_first_port": self.web_port}
                if self.redis_port
                else {}
            )
            | wrong
        )
        (self.inventory / "group_vars").mkdir(parents=True, exist_ok=True)
        (self.inventory / "group_vars/all.yml").write_text(json.dumps(values), encoding="utf-8")
        (self.inventory / "hosts.yml").write_text(json.dumps(self._hosts()), encoding="utf-8")

    def _hosts(self) -> dict[str, Any]:
        # Another block of sound for each run through the file: 30 s with one alarm in it.
        source = {"source": {"kind": "file", "path": "/srv/sound", "repeat": True}}
        press = {"node_zone": "hall-1", "node_room": "Press shop", "node_settings": source}
        paint = {"node_zone": "hall-2", "node_room": "도장실", "node_settings": source}
        inside = {
            "ansible_connection": "community.docker.nsenter",
            "ansible_become": False,
            "ansible_python_interpreter": "/usr/bin/python3",
        }
        return {
            "all": {
                "hosts": {
                    "localhost": {
                        "ansible_connection": "local",
                        "ansible_python_interpreter": str(TOOLS / "python"),
                    },
                    "tocsin": {**inside, "ansible_nsenter_pid": self.hub.leader},
                    "press-1": {**inside, "ansible_nsenter_pid": self.press.leader, **press},
                    "paint-1": {**inside, "ansible_nsenter_pid": self.paint.leader, **paint},
                },
                "children": {
                    "broker": {"hosts": {"tocsin": {}}},
                    "hub": {"hosts": {"tocsin": {}}},
                    "db": {"hosts": {"tocsin": {}} if self.database_port else {}},
                    "redis": {"hosts": {"tocsin": {}} if self.redis_port else {}},
                    "nodes": {"hosts": {"press-1": {}, "paint-1": {}}},
                },
            }
        }

    def _record(self, machine: Machine, *, alarm: bool) -> None:
        rng = np.random.default_rng(7)
        sound = synthesis.at_level(synthesis.ambience(30.0, rng), -55.0).copy()
        if alarm:
            made = synthesis.at_level(synthesis.sound("smoke_alarm", 10.0, rng), -20.0)
            sound[8 * 16_000 : 8 * 16_000 + len(made)] += made
        (machine.root / "srv/sound").mkdir(exist_ok=True)
        soundfile.write(machine.root / "srv/sound/room.wav", sound, 16_000)

    def play(self, playbook: str, *arguments: str, timeout: float = 600.0) -> Played:
        """Run a playbook as an administrator would."""
        command = [str(TOOLS / "ansible-playbook"), "-i", str(self.inventory), f"playbooks/{playbook}"]
        done = subprocess.run(
            [*command, *arguments],
            cwd=ANSIBLE,
            env=ansible_environment(),
            text=True,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
        text = done.stdout + done.stderr
        changed = {match[1]: int(match[3]) for match in _RECAP.finditer(text)}
        return Played(done.returncode, text, changed)

    def stored(self) -> list[tuple[str, str, str]]:
        """Id, node and label of every event in the hub's database."""
        if self.database_port:
            return self._stored_there()
        path = self.hub.root / "var/lib/tocsin-hub/hub.sqlite"
        if not path.exists():
            return []
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            return connection.execute("SELECT id, node, label FROM events").fetchall()
        finally:
            connection.close()

    def _stored_there(self) -> list[tuple[str, str, str]]:
        asked = [
            "psql",
            "-p",
            str(self.database_port),
            "-AtF,",
            "-c",
            "SELECT id, node, label FROM events",
            "tocsin",
        ]
        rows = self.hub.run("runuser", "-u", "postgres", "--", *asked).stdout.splitlines()
        return [(key, node, label) for key, node, label in (row.split(",") for row in rows)]

    def health(self) -> dict[str, Any]:
        """What /healthz says, through the proxy, its certificate checked against the site's CA."""
        return self._get("/healthz")

    def takes_events(self) -> bool:
        """Whether the hub says that it stores what comes."""
        try:
            return bool(self.health()["status"] == "ok")
        except urllib.error.HTTPError:
            return False  # 502: the proxy alone; 503: the hub says what is wrong

    def log_in(self) -> "urllib.request.OpenerDirector":
        """A browser that used the link which the command line printed."""
        link = self.hub.run(
            "runuser", "-u", "tocsin-hub", "--", "/opt/tocsin-hub/venv/bin/tocsin", "hub", "login-link",
            "--config", "/etc/tocsin/hub.toml",
        ).stdout.strip()  # fmt: skip
        opener = self._opener()
        opener.open(link, timeout=20).read()
        return opener

    def api(self, path: str) -> dict[str, Any]:
        """What the API answers to somebody who is logged in."""
        with self.log_in().open(f"https://127.0.0.1:{self.https_port}{path}", timeout=20) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    def _get(self, path: str) -> dict[str, Any]:
        with self._opener().open(f"https://127.0.0.1:{self.https_port}{path}", timeout=20) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    def _opener(self) -> "urllib.request.OpenerDirector":
        context = ssl.create_default_context(cafile=str(self.inventory / "pki/ca.crt"))
        return urllib.request.build_opener(
            urllib.request.HTTPSHandler(context=context), urllib.request.HTTPCookieProcessor(CookieJar())
        )


def ansible_environment() -> dict[str, str]:
    """The environment of an administrator's shell."""
    path = f"{TOOLS}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "LC_ALL": "C.UTF-8", "ANSIBLE_NOCOLOR": "1"}


def build_wheels(folder: Path) -> None:
    """The project's wheel, and all that it needs, as a site without internet has them for its Python."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    exactly = ["-c", str(ROOT / "constraints.txt")]
    subprocess.run(
        [*pip, "wheel", "--no-deps", "-w", str(folder), *exactly, str(ROOT), *_SOURCES], check=True
    )
    wheel = next(folder.glob("tocsin-*.whl"))
    platforms = [word for name in _PLATFORMS for word in ("--platform", f"{name}_{platform.machine()}")]
    wanted = [
        "--only-binary=:all:",
        "--python-version",
        _PYTHON[SUITE],
        *platforms,
        f"{wheel}[hub,node,postgresql,redis]",
        *_OF_OLDER[SUITE],
    ]
    subprocess.run(
        [*pip, "download", "-d", str(folder), "--find-links", str(folder), *exactly, *wanted], check=True
    )
