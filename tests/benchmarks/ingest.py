"""Prints how many messages a second reach the disk, beside two loops that do less; no test.

``python -m tests.benchmarks.ingest [--messages N] [--rounds R]``: the same messages (half of them
beginnings, half of them ends of sounds) are published at QoS 1 by Mosquitto's own client, as fast as the
broker takes them, to

- the whole hub: COMMIT, incidents, alerts, hub ack, PUBACK; on SQLite, and on a PostgreSQL;
- a bare loop: paho, msgspec, one SQLite table, a commit for many, PUBACK; no features; with Python set
  as the hub sets it, the same on the hub's own network thread, and all as Python and paho come;
- ``mosquitto_sub``, which throws them away: what the broker itself can do.

All share this machine with the broker and with whoever publishes. The limit is 0.7 of the bare loop
that is set as the hub is.
"""

import argparse
import os
import queue
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client, MQTTMessage

from tests.hub import postgres_server
from tests.hub.brokers import keeping_broker
from tests.hub.parts import ulid
from tests.hub.processes import hub_process
from tests.shared.messages import sound
from tocsin_hub.demo.broker import free_port, running
from tocsin_hub.network import GatheringClient, Network
from tocsin_hub.place import Place, PostgresPlace
from tocsin_hub.server import fit_python
from tocsin_hub.store import Store
from tocsin_shared import codec
from tocsin_shared.broker import BrokerSettings, connect_options, make_client
from tocsin_shared.events import Phase, SoundDetected
from tocsin_shared.topics import node_topic

LIMIT = 0.7
NODES, ZONES, APART = 8, 4, 10
LABELS = (
    "machine_alarm_beep",
    "vehicle_horn",
    "dog_bark",
    "engine",
    "knock",
    "smoke_alarm",
    "scream",
    "siren",
)
_TABLE = (
    "CREATE TABLE events (id TEXT PRIMARY KEY, node TEXT, zone TEXT, label TEXT, score REAL, onset TEXT, "
    "offset TEXT, boot TEXT, seq INTEGER, phase TEXT) STRICT, WITHOUT ROWID"
)
_UPSERT = (
    "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET "
    "score = excluded.score, offset = excluded.offset, seq = excluded.seq, phase = excluded.phase"
)


@dataclass(frozen=True)
class Figures:
    """One run."""

    per_second: float
    """Messages, from the first publish to the last one's arrival."""
    cpu_us: float | None = None
    """CPU time of the receiving process for each message, microseconds."""


def write_messages(folder: Path, count: int) -> list[tuple[str, Path]]:
    """A file of lines for each node, with the topic that it goes to."""
    found = []
    for node in range(NODES):
        label, name = LABELS[node % len(LABELS)], f"node-{node}"
        file = folder / f"{name}.jsonl"
        lines = _lines(name, f"zone-{node % ZONES}", label, node, count // NODES)
        file.write_bytes(b"\n".join(lines) + b"\n")
        found.append((node_topic(name, "ev", label), file))
    return found


def _lines(node: str, zone: str, label: str, number: int, count: int) -> Iterator[bytes]:
    """Beginnings, each followed by its end :data:`APART` messages later."""
    begin = datetime.now(UTC)
    waiting: list[SoundDetected] = []
    for seq in range(1, count + 1):
        if (len(waiting) >= APART and seq % 2 == 0) or count - seq < len(waiting):
            first = waiting.pop(0)
            fields = {name: getattr(first, name) for name in first.__struct_fields__}
            end = {"phase": Phase.OFFSET, "seq": seq, "offset": first.onset + timedelta(seconds=2)}
            yield codec.encode(SoundDetected(**{**fields, **end}))
            continue
        message = sound(
            id=ulid(number * 1_000_000 + seq), node=node, zone=zone, label=label, seq=seq, onset=begin
        )
        waiting.append(message)
        yield codec.encode(message)


@contextmanager
def patient_broker(folder: Path) -> Iterator[int]:
    """A Mosquitto that keeps all that waits, so that nothing is dropped while a subscriber lags behind."""
    port = free_port()
    with running(keeping_broker(folder, port, 0), folder / "broker.log", port):
        yield port


def publish(port: int, files: list[tuple[str, Path]]) -> list["subprocess.Popen[bytes]"]:
    """Start a client of Mosquitto's for each file."""
    started = []
    for topic, file in files:
        with file.open("rb") as lines:
            command = ["mosquitto_pub", "-V", "5", "-p", str(port), "-q", "1", "-t", topic, "-l"]
            started.append(subprocess.Popen(command, stdin=lines))
    return started


def timed(port: int, files: list[tuple[str, Path]], arrived: Callable[[], bool]) -> float:
    """Seconds from the first publish until ``arrived``."""
    begun = time.perf_counter()
    publishers = publish(port, files)
    while not arrived():
        time.sleep(0.01)
        if time.perf_counter() - begun > 240:
            raise RuntimeError("not everything arrived")
    took = time.perf_counter() - begun
    for publisher in publishers:
        publisher.wait(30)
    return took


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def whole_hub(folder: Path, files: list[tuple[str, Path]], count: int) -> Figures:
    """The hub as a site runs it, and somebody who hears its acknowledgements."""
    return _whole_hub(folder, files, count, folder / "state" / "hub.sqlite")


def on_postgresql(folder: Path, files: list[tuple[str, Path]], count: int) -> Figures:
    """The same on a PostgreSQL of this machine, which waits for its disk, too."""
    server = postgres_server.made(safe=True)
    server.start()
    try:
        return _whole_hub(folder, files, count, server.new("hub"))
    finally:
        server.remove()


def _whole_hub(folder: Path, files: list[tuple[str, Path]], count: int, place: Place) -> Figures:
    url = place.url if isinstance(place, PostgresPlace) else ""
    with patient_broker(folder) as port, hub_process(folder, port, database=url) as hub:
        hearer = _sink(port, "tocsin/v1/n/+/ack")
        worker = hub.worker
        before = cpu_seconds(worker)
        with closing(Store(place)) as store:
            took = timed(port, files, lambda: _is_committed(store, count))
        used = cpu_seconds(worker) - before
        hearer.terminate()
        hearer.wait(10)
    return Figures(count / took, used / count * 1e6)


def _is_committed(store: Store, count: int) -> bool:
    if store.event_count() < count // 2:
        return False
    return store.rows("SELECT count(*) FROM events WHERE offset_us IS NULL") == [(0,)]


def bare_loop(folder: Path, files: list[tuple[str, Path]], count: int) -> Figures:
    """In a process of its own: what is left of a hub if it does nothing but store."""
    return _bare_loop(folder, files, count, "as-the-hub")


def gathering_loop(folder: Path, files: list[tuple[str, Path]], count: int) -> Figures:
    """The same, and packets are read ahead and sent together, as in the hub."""
    return _bare_loop(folder, files, count, "gathering")


def plain_loop(folder: Path, files: list[tuple[str, Path]], count: int) -> Figures:
    """The same, and nothing about Python is set."""
    return _bare_loop(folder, files, count, "as-it-comes")


def _bare_loop(folder: Path, files: list[tuple[str, Path]], count: int, settings: str) -> Figures:
    with patient_broker(folder) as port:
        command = [sys.executable, "-m", "tests.benchmarks.ingest", "--bare", str(folder / "bare.sqlite")]
        child = subprocess.Popen(
            [*command, str(port), str(count), settings], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        before = cpu_seconds(child.pid)
        used: list[float] = []

        def arrived() -> bool:
            return child.poll() is not None or bool(used)

        def watch() -> None:
            assert child.stdout is not None
            if child.stdout.readline() == "done\n":
                used.append(cpu_seconds(child.pid) - before)

        watcher = threading.Thread(target=watch)
        watcher.start()
        took = timed(port, files, arrived)
        child.terminate()
        child.wait(10)
        watcher.join(10)
    return Figures(count / took, used[0] / count * 1e6)


def store_barely(path: Path, port: int, count: int, settings: str) -> None:
    """The bare loop itself."""
    waiting: queue.Queue[MQTTMessage] = queue.Queue(10_000)
    gathers = settings == "gathering"
    kind = GatheringClient if gathers else Client
    client = make_client(BrokerSettings(port=port), "bare", manual_ack=True, kind=kind)
    subscribed = threading.Event()

    def heard(_client: Client, _data: Any, message: MQTTMessage) -> None:
        waiting.put(message)

    client.on_message = heard
    client.on_subscribe = lambda *_: subscribed.set()

    def connected(*_: Any) -> None:
        client.subscribe("tocsin/v1/n/+/ev/+", 1)

    client.on_connect = connected
    client.connect_async(**connect_options(BrokerSettings(port=port), 2000))
    if gathers:
        threading.Thread(target=Network(client, print).run, daemon=True).start()
    else:
        client.loop_start()
    subscribed.wait(10)
    connection = sqlite3.connect(path)
    for pragma in ("journal_mode = WAL", "synchronous = FULL"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute(_TABLE)
    if settings != "as-it-comes":
        fit_python()
    print("ready", flush=True)
    stored = 0
    while stored < count:
        batch = [waiting.get()]
        while len(batch) < 500:
            try:
                batch.append(waiting.get(timeout=0.002))
            except queue.Empty:
                break
        connection.executemany(_UPSERT, [_values(message) for message in batch])
        connection.commit()
        for message in batch:
            client.ack(message.mid, message.qos)
        stored += len(batch)
    print("done", flush=True)
    time.sleep(30)


def _values(message: MQTTMessage) -> tuple[Any, ...]:
    event = codec.decode(bytes(message.payload), SoundDetected)
    offset = None if event.offset is None else event.offset.isoformat()
    return (
        event.id, event.node, event.zone, event.label, event.score, event.onset.isoformat(), offset,
        event.boot, event.seq, str(event.phase),
    )  # fmt: skip


def thrown_away(folder: Path, files: list[tuple[str, Path]], count: int) -> Figures:
    """Mosquitto to a subscriber in C that prints to nowhere."""
    with patient_broker(folder) as port:
        child = _sink(port, "tocsin/v1/n/+/ev/+", "-C", str(count))
        time.sleep(0.5)
        took = timed(port, files, lambda: child.poll() is not None)
    return Figures(count / took)


def _sink(port: int, topic: str, *more: str) -> "subprocess.Popen[bytes]":
    command = ["mosquitto_sub", "-V", "5", "-p", str(port), "-q", "1", "-t", topic, *more]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


WAYS: dict[str, Callable[[Path, list[tuple[str, Path]], int], Figures]] = {
    "whole hub": whole_hub,
    "the same on PostgreSQL": on_postgresql,
    "bare loop": bare_loop,
    "bare loop on the hub's network thread": gathering_loop,
    "bare loop, Python as it comes": plain_loop,
    "thrown away": thrown_away,
}


def measure(count: int, rounds: int) -> dict[str, list[Figures]]:
    """Each way ``rounds`` times, in turn, so that they share whatever else the machine does."""
    found: dict[str, list[Figures]] = {name: [] for name in WAYS}
    with tempfile.TemporaryDirectory() as name:
        for turn in range(rounds):
            for way, run in WAYS.items():
                # Anew for each: two minutes later they would be late, which is another way through the hub.
                files = write_messages(Path(name), count)
                folder = Path(name) / f"{way.replace(' ', '-')}-{turn}"
                folder.mkdir()
                found[way].append(run(folder, files, count))
                shutil.rmtree(folder)
    return found


def in_words(found: dict[str, list[Figures]]) -> tuple[list[str], float]:
    """A line for each way, and the median ratio of whole hub to bare loop within one round."""
    lines = []
    for way, runs in found.items():
        rates = [run.per_second for run in runs]
        used = [run.cpu_us for run in runs if run.cpu_us is not None]
        cpu = f", {statistics.median(used):.0f} µs of CPU for each" if used else ""
        lines.append(
            f"{way}: {statistics.median(rates):,.0f} messages/s ({min(rates):,.0f} to {max(rates):,.0f}){cpu}"
        )
    pairs = zip(found["whole hub"], found["bare loop"], strict=True)
    return lines, statistics.median(ours.per_second / bare.per_second for ours, bare in pairs)


def main() -> int:
    """Measure and print; 1 if the limit is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=16_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--bare", nargs=4, metavar=("PATH", "PORT", "COUNT", "SETTINGS"), help=argparse.SUPPRESS
    )
    arguments = parser.parse_args()
    if arguments.bare:
        path, port, count, settings = arguments.bare
        store_barely(Path(path), int(port), int(count), settings)
        return 0
    lines, ratio = in_words(measure(arguments.messages, arguments.rounds))
    print("\n".join(lines))
    load = f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    print(f"whole hub / bare loop: {ratio:.2f} (limit {LIMIT}); {load}")
    return 0 if ratio >= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
