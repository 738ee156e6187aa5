"""A whole site of real processes, and how each fault is done to it and taken back."""

import json
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from tests.chaos.invariants import Made, Reported, Row, Told
from tests.chaos.proxy import CALM, Proxy, Weather
from tests.chaos.script import Fault, Kind
from tests.hub.brokers import MOSQUITTO
from tests.hub.postgres_server import PostgresServer
from tests.hub.redis_server import RedisServer
from tests.integration.facility import Loudspeaker, kill, produced_in, wait_until
from tocsin_hub.demo.broker import BrokerAddress, free_port, mosquitto_command
from tocsin_hub.demo.script import Room
from tocsin_hub.demo.site import Site
from tocsin_hub.place import Place
from tocsin_hub.store import Store
from tocsin_hub.times import now_us
from tocsin_shared import codec, synthesis
from tocsin_shared.errors import DecodeError
from tocsin_shared.events import HubPresence, Presence
from tocsin_shared.topics import HUB_STATE

ROOM = Room("press-1", "hall-1", "Press shop")
NODES = 20
RATE = 12.0
"""Sounds of each simulated node in a minute."""
SLOW = Weather(latency_seconds=0.5, jitter_seconds=0.2, bytes_per_second=5000.0, slice_bytes=200)
_HUB = "[incidents]\nnode_silent_seconds = 5.0\nlate_seconds = 10.0\n"
STOP, GO_ON = signal.SIGSTOP, signal.SIGCONT


class ChaosSite:
    """Broker, hub, one real node and :data:`NODES` simulated ones; hub and nodes each behind a proxy."""

    def __init__(self, folder: Path, seed: int, database: PostgresServer | None = None) -> None:
        self.folder = folder
        self._database = database
        self._place: Place = folder / "hub" / "hub.sqlite"
        more = _HUB
        self._redis = RedisServer(folder)
        self._web_port = free_port()
        if database is not None:
            self._place = database.new("chaos")
            more += f'[store]\nurl = "{self._place.url}"\n'
        self._seed = seed
        self._stack = ExitStack()
        self._broker_port = free_port()
        self._command = mosquitto_command(folder, self._broker_port, MOSQUITTO)
        self.nodes_line = Proxy(self._broker_port, seed)
        self.hub_line = Proxy(self._broker_port, seed)
        redis = "" if database is None else self._redis.url
        self.hub = Site(folder, BrokerAddress("127.0.0.1", self.hub_line.port), free_port(), more, redis)
        self.room = Site(folder, BrokerAddress("127.0.0.1", self.nodes_line.port), free_port())
        self._witness = Witness(self._broker_port)
        self._clock = folder / "clock"
        self._played = 0

    def __enter__(self) -> "ChaosSite":
        self._stack.callback(self._stop_all)
        self._start_broker()
        self._stack.enter_context(self.nodes_line)
        self._stack.enter_context(self.hub_line)
        if self._database is not None:
            self._redis.start()
            self._stack.callback(self._redis.stop)
        self.hub.start_hub()
        if self._database is not None:
            self._start_web()
        self._add_officer()
        self._stack.enter_context(self._witness)
        self._set_clock("+0")
        self._start_node()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start_fleet(self, seconds: float, drain_seconds: float) -> "subprocess.Popen[bytes]":
        """The simulated nodes; their ledger is written when they are done."""
        command = [
            sys.executable, "-m", "tocsin_shared", "fleet", "simulate",
            "--broker", f"mqtt://127.0.0.1:{self.nodes_line.port}", "--nodes", str(NODES),
            "--rate", str(RATE),
            "--seconds", f"{seconds:g}", "--drain-seconds", f"{drain_seconds:g}", "--heartbeat-seconds", "1",
            "--alarm-storm", "--seed", str(self._seed), "--ledger", str(self.folder / "ledger"),
        ]  # fmt: skip
        with (self.folder / "fleet.log").open("ab") as log:
            fleet = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        self._stack.callback(_end, fleet)
        wait_until(lambda: "acknowledged" in self._log("fleet"), 60.0, "the fleet to begin")
        return fleet

    def play(self) -> None:
        """An alarm sounds in the real room."""
        self._played += 1
        label = ("smoke_alarm", "scream")[self._played % 2]
        made = synthesis.sound(label, 4.0, np.random.default_rng(self._played))
        self._speaker.play(synthesis.at_level(made, -20.0))

    def begin(self, fault: Fault) -> None:
        """Do ``fault``."""
        self._ways[fault.kind][0]()

    def step(self, fault: Fault) -> None:
        """What is done again and again while ``fault`` lasts."""
        if fault.kind is Kind.RESETS:
            self.nodes_line.cut()

    def end(self, fault: Fault) -> None:
        """Take ``fault`` back."""
        self._ways[fault.kind][1]()

    @cached_property
    def _ways(self) -> dict[Kind, tuple[Callable[[], None], Callable[[], None]]]:
        """How each fault is done, and how it is taken back."""
        nodes, hub = partial(_set_weather, self.nodes_line), partial(_set_weather, self.hub_line)
        return {
            Kind.BROKER_KILL: (self._kill_broker, self._start_broker),
            Kind.BROKER_STOP: (lambda: _send(self._broker, STOP), lambda: _send(self._broker, GO_ON)),
            Kind.HUB_KILL: (lambda: kill(self.hub.process("hub")), self.hub.start_hub),
            Kind.HUB_STOP: (
                lambda: _send(self.hub.process("hub"), STOP),
                lambda: _send(self.hub.process("hub"), GO_ON),
            ),
            Kind.NODE_KILL: (self._kill_node, self._start_node),
            Kind.NODE_STOP: (
                lambda: _send(self.room.process(ROOM.node), STOP),
                lambda: _send(self.room.process(ROOM.node), GO_ON),
            ),
            Kind.PARTITION: (lambda: nodes(Weather(down=True)), lambda: nodes(CALM)),
            Kind.STALL: (lambda: nodes(Weather(stalled=True)), lambda: nodes(CALM)),
            Kind.SLOW: (lambda: nodes(SLOW), lambda: nodes(CALM)),
            Kind.RESETS: (lambda: nodes(CALM), lambda: nodes(CALM)),
            Kind.HUB_PARTITION: (lambda: hub(Weather(down=True)), lambda: hub(CALM)),
            Kind.DISK_FULL: (
                lambda: self._limit_files(1),
                lambda: self._limit_files(resource.RLIM_INFINITY),
            ),
            Kind.CLOCK: (lambda: self._set_clock("+1d"), lambda: self._set_clock("+0")),
        } | ({} if self._database is None else self._ways_of_servers(self._database))

    def _ways_of_servers(
        self, database: PostgresServer
    ) -> dict[Kind, tuple[Callable[[], None], Callable[[], None]]]:
        redis = self._redis
        return {
            Kind.DATABASE_KILL: (lambda: database.stop("immediate"), database.start),
            Kind.DATABASE_STOP: (lambda: database.signal(STOP), lambda: database.signal(GO_ON)),
            Kind.REDIS_KILL: (redis.stop, redis.start),
            Kind.REDIS_STOP: (lambda: redis.signal(STOP), lambda: redis.signal(GO_ON)),
            Kind.WEB_KILL: (lambda: kill(self.hub.process("web")), self._start_web),
        }

    def _start_web(self) -> None:
        self.hub.start_web(self._web_port)

    def made(self) -> list[Made]:
        """What nodes told of: the fleet by its ledger, the real node by its log."""
        return [*self._of_fleet(), *self.of_room()]

    def _of_fleet(self) -> list[Made]:
        lines = (self.folder / "ledger").read_text(encoding="utf-8").splitlines()
        return [
            Made(
                id=one["id"],
                node=one["node"],
                onset_us=one["onset_us"],
                seq=one["seq"],
                acknowledged=one["acknowledged_us"] is not None,
                acknowledged_after_us=one["acknowledged_us"],
                waited=one["waited"],
            )
            for one in map(json.loads, lines)
        ]

    def of_room(self) -> list[Made]:
        """The sounds of the real room, by the words that its node has on its disk."""
        last = {one.id: one.seq for one in produced_in(self.folder / f"{ROOM.node}.log")}
        return [Made(id=key, node=ROOM.node, onset_us=0, seq=seq) for key, seq in last.items()]

    def rows(self) -> list[Row]:
        """Every sound that the hub has."""
        return [Row(*row) for row in self._ask("SELECT id, node, boot, seq, mono_ns FROM events")]

    def told(self) -> list[Told]:
        """Every alert."""
        sql = "SELECT i.id, i.late FROM alerts AS a JOIN incidents AS i ON i.id = a.incident"
        return [Told(incident, bool(late)) for incident, late in self._ask(sql)]

    def reported(self) -> list[Reported]:
        """Every trouble, and every time at which the hub was said to be away."""
        sql = (
            "SELECT i.grouping, CASE l.step WHEN 'opened' THEN i.opened_us ELSE l.at_us END "
            "FROM incidents AS i JOIN incident_log AS l ON l.incident = i.id "
            "WHERE i.kind = 'trouble' AND l.step IN ('opened', 'reopened')"
        )
        of_hub = [Reported(kind, opened) for kind, opened in self._ask(sql)]
        return of_hub + [Reported("hub_offline", at) for at in self._witness.offline_us]

    def dead(self) -> list[str]:
        """Processes that ended although nobody ended them."""
        return [*self.hub.dead(), *self.room.dead()]

    def _ask(self, sql: str) -> list[tuple[Any, ...]]:
        with closing(Store(self._place)) as store:
            return store.rows(sql)

    def _kill_broker(self) -> None:
        kill(self._broker)

    def _kill_node(self) -> None:
        kill(self.room.process(ROOM.node))
        self._speaker.stop()

    def _start_broker(self) -> None:
        with (self.folder / "broker.log").open("ab") as log:
            self._broker = subprocess.Popen(self._command, stdout=log, stderr=log, start_new_session=True)

    def _start_node(self) -> None:
        with _environment(LD_PRELOAD=str(_faketime()), FAKETIME_TIMESTAMP_FILE=str(self._clock), **_CLOCK):
            self._speaker = Loudspeaker(self.room.start_node(ROOM))

    def _set_clock(self, offset: str) -> None:
        """Set the real node's clock; its monotonic one stays."""
        waiting = self._clock.with_suffix(".new")
        waiting.write_text(f"{offset}\n", encoding="ascii")
        waiting.replace(self._clock)

    def _limit_files(self, size: int) -> None:
        """The hub may write no file beyond ``size``, as on a full disk."""
        group = self.hub.process("hub").pid
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and _group_of(entry) == group:
                hard = resource.prlimit(int(entry.name), resource.RLIMIT_FSIZE)[1]
                resource.prlimit(int(entry.name), resource.RLIMIT_FSIZE, (size, hard))

    def _add_officer(self) -> None:
        command = [
            sys.executable, "-m", "tocsin_shared", "hub", "person", "add", "Watch", "--role", "officer",
            "--login", "watch", "--password-stdin", "--config", str(self.folder / "hub.toml"),
        ]  # fmt: skip
        subprocess.run(
            command,
            input=b"a long enough word for tests\n",
            check=True,
            timeout=60,
            stdout=subprocess.DEVNULL,
        )

    def _log(self, name: str) -> str:
        path = self.folder / f"{name}.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def _stop_all(self) -> None:
        speaker = getattr(self, "_speaker", None)
        if speaker is not None:
            speaker.stop()
        for site in (self.room, self.hub):
            site.stop()
        _end(self._broker)


_CLOCK = {"FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1"}


def _faketime() -> Path:
    """The library that lets a process believe in another time.

    Raises:
        RuntimeError: it is not installed.
    """
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        raise RuntimeError("libfaketime is missing; on Debian: apt install faketime")
    return found[0]


class Witness:
    """Hears at the broker itself whether the hub is said to be there."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.offline_us: list[int] = []
        self._lock = threading.Lock()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id="witness")
        self._client.on_connect = lambda client, *_: client.subscribe(HUB_STATE, 1)
        self._client.on_message = lambda _client, _data, message: self._heard(bytes(message.payload))
        self._client.reconnect_delay_set(1, 2)

    def __enter__(self) -> "Witness":
        self._client.connect("127.0.0.1", self._port)
        self._client.loop_start()
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _heard(self, payload: bytes) -> None:
        try:
            presence = codec.decode(payload, HubPresence)
        except DecodeError:
            return
        if presence.state is Presence.OFFLINE:
            self.offline_us.append(now_us())


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    """``values`` in the environment of what is started within."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _group_of(entry: Path) -> int:
    try:
        return int((entry / "stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[2])
    except OSError:
        return 0


def _set_weather(line: Proxy, weather: Weather) -> None:
    line.weather = weather


def _send(process: "subprocess.Popen[bytes]", what: signal.Signals) -> None:
    os.killpg(process.pid, what)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a process that may be stopped, or gone already."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGCONT)
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            kill(process)
