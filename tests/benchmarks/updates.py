"""Prints how long an alarm takes while a hundred nodes fetch a bundle; a measurement and no test.

``python -m tests.benchmarks.updates [--nodes N] [--megabytes M]``: a real broker, a real hub under gunicorn,
a node that alarms twenty times a second, and downloaders of real nodes in a process of their own. From the
moment at which the node sends an alarm to the hub's answer that it is on the disk: without downloads, with
them, and without again. Limit: the 99th percentile with them is within 20 % of the one without; the hub
sends no faster than it may.
"""

import argparse
import hashlib
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.hub.brokers import Node, broker
from tests.hub.parts import ulid
from tests.hub.processes import HubProcess
from tests.hub.rollouts.conftest import Air
from tests.shared.messages import sound
from tocsin_node.update.download import Download, Patience, Wanted
from tocsin_node.update.fetching import Web
from tocsin_shared import codec
from tocsin_shared.topics import node_topic

LIMIT = 1.20
APART_SECONDS = 0.05
TOLD_PER_SECOND = 10
"""So fast the hub tells nodes of a bundle."""
RATE = 2_000_000.0
"""Bytes per second: the hub's own setting as it is delivered."""


@dataclass(frozen=True)
class Fetch:
    """What the downloaders do, all at once."""

    url: str
    sha256: str
    length: int
    nodes: int
    folder: str


def fetch(task: Fetch) -> float:
    """Fetch it once for each node; seconds until all have it. Runs in a process of its own."""
    os.nice(19)  # nodes are other machines: they may not take the hub's processor
    began = time.monotonic()

    def one(number: int) -> None:
        time.sleep(number / TOLD_PER_SECOND)
        part = Path(task.folder) / f"{number}.part"
        wanted = Wanted(task.url, task.length, task.sha256, part)
        content = Download(Web(), wanted, Patience(total_seconds=1800.0)).run()
        assert hashlib.sha256(content).hexdigest() == task.sha256

    with ThreadPoolExecutor(task.nodes) as pool:
        list(pool.map(one, range(task.nodes)))
    return time.monotonic() - began


class Alarms:
    """A node that alarms again and again, and notes when the hub has each on its disk."""

    def __init__(self, port: int) -> None:
        self._node = Node(port)
        self._number = 0

    def play(self, seconds: float, stop: threading.Event) -> list[float]:
        """Milliseconds from sending to the answer, for ``seconds`` or until ``stop``."""
        sent: dict[str, float] = {}
        took: list[float] = []
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not stop.is_set():
            self._number += 1
            message = sound(id=ulid(self._number), seq=self._number)
            seen = len(self._node.refs)
            began = time.perf_counter()
            sent[message.id] = began
            self._node.send(node_topic(message.node, "ev", message.label), codec.encode(message))
            while len(self._node.refs) == seen and time.perf_counter() - began < 10:
                time.sleep(0.0005)
            took.append((time.perf_counter() - began) * 1e3)
            time.sleep(max(0.0, APART_SECONDS - (time.perf_counter() - began)))
        return took

    def close(self) -> None:
        """No more of it."""
        self._node.close()


def _told(words: str, took: list[float]) -> float:
    p50, p99 = np.quantile(took, [0.5, 0.99])
    print(f"{words:18} p50 {p50:6.1f} ms, p99 {p99:6.1f} ms, longest {max(took):6.1f} ms, {len(took)} alarms")
    return float(p99)


def measure(hub: HubProcess, port: int, task: Fetch) -> bool:
    """Three lines of figures and the verdict; whether the limits are kept."""
    alarms, never = Alarms(port), threading.Event()
    alarms.play(3.0, never)  # warm
    before = alarms.play(20.0, never)
    done = threading.Event()
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        began = pool.apply_async(
            fetch, (task,), callback=lambda _: done.set(), error_callback=lambda _: done.set()
        )
        during = alarms.play(1800.0, done)
        seconds = began.get()
    after = alarms.play(20.0, never)
    alarms.close()
    quiet = _told("without downloads", before + after)
    busy = _told("with downloads", during)
    rate = task.nodes * task.length / seconds
    print(
        f"ratio {busy / quiet:.2f} (limit {LIMIT:.2f}); {task.nodes} nodes took {task.length / 1e6:.1f} MB "
        f"each in {seconds:.1f} s: {rate / 1e6:.2f} MB/s (the hub may send {RATE / 1e6:.1f}); "
        f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )
    return busy <= LIMIT * quiet and rate <= 1.02 * RATE


def main() -> int:
    """Measure once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=100)
    parser.add_argument("--megabytes", type=float, default=0.6)
    arguments = parser.parse_args()
    content = np.random.default_rng(1).bytes(int(arguments.megabytes * 1e6))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        air = Air(folder)
        sha256 = air.bundle(content=content)
        air.look()
        air.hub.stop()
        with broker("mosquitto", folder) as port:
            hub = HubProcess(folder, port)
            with hub.config.open("a", encoding="utf-8") as config:
                config.write(f'[updates]\nrepository = "{folder}/updates"\nkeys = "{folder}/keys"\n')
            hub.start()
            url = f"{hub.address}/updates/targets/models/sentry/{sha256}.0.3.0-float16.tar"
            (folder / "parts").mkdir()
            task = Fetch(url, sha256, len(content), arguments.nodes, str(folder / "parts"))
            try:
                return 0 if measure(hub, port, task) else 1
            finally:
                hub.stop()


if __name__ == "__main__":
    sys.exit(main())
