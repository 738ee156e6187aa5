"""Prints what a storm does to a whole hub: all nodes alarm within two seconds; a measurement and no test.

``python -m tests.benchmarks.storm [--nodes N] [--seconds S] [--dashboards N]``: Mosquitto, a hub under
gunicorn, ``tocsin fleet simulate`` with its ledger, and dashboards in a process of their own, all on this
machine. Heartbeats come every 10 s and a sound each minute from each node; half-way all of them alarm. The
limits: nothing lost, nothing twice, and from the onset to the dashboard less than 2 s for the 99th percentile
of the storm.
"""

import argparse
import json
import multiprocessing
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from multiprocessing.queues import Queue as ProcessQueue
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np

from tests.benchmarks.dashboards import Arrivals, Share, cookie_of, watch
from tests.benchmarks.ingest import cpu_seconds
from tests.hub.brokers import broker
from tests.hub.processes import HubProcess, hub_process

LIMIT_MS = 2000.0
SETTLE_SECONDS = 5.0


@dataclass(frozen=True)
class Storm:
    """What was measured."""

    report: dict[str, Any]
    """That of the simulator."""
    dashboard_ms: dict[str, float]
    """From the onset to the arrival at a dashboard, alarms of the storm: p50, p95, p99, longest."""
    missing: int
    """Alarms of the storm that did not arrive at a dashboard as an event of their own."""
    hub_mb: tuple[float, float]
    """Memory of the hub's worker before the storm's site came up, and the most it had."""
    hub_cpu_share: float
    """Of one core, over the whole run."""
    hub_cpu_us: float
    """CPU time for each message, microseconds; what stands still costs is part of it."""
    broker_mb: float
    """Memory of the broker in the end."""
    bytes_per_sound: float
    """That the database grew by."""

    @property
    def kept(self) -> bool:
        """Whether all limits are kept."""
        good = bool(self.report["good"]) and self.missing == 0
        return good and self.dashboard_ms["p99"] < LIMIT_MS


@dataclass(frozen=True)
class Shape:
    """What is to happen."""

    nodes: int = 2000
    seconds: float = 60.0
    dashboards: int = 2
    storm: bool = True
    rate: float = 1.0
    """Sounds per node and minute."""


def measure(shape: Shape) -> Storm:
    """One run."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with broker("mosquitto", folder) as port, hub_process(folder, port, shape.dashboards + 64) as hub:
            return _run(folder, hub, port, shape)


def _run(folder: Path, hub: HubProcess, port: int, shape: Shape) -> Storm:
    database = folder / "state" / "hub.sqlite"
    done, stop = _open_dashboards(hub, shape.dashboards)
    memory, ended = [resident_mb(hub.worker)], Event()
    Thread(target=_gauge, args=(hub.worker, memory, ended), daemon=True).start()
    used, begun, size = cpu_seconds(hub.worker), time.monotonic(), _size(database)
    subprocess.run(_command(folder, database, port, shape), check=False)
    took, used = time.monotonic() - begun, cpu_seconds(hub.worker) - used
    of_broker = resident_mb(_broker(folder))
    time.sleep(SETTLE_SECONDS)
    ended.set()
    stop.set()
    report = json.loads((folder / "report").read_text(encoding="utf-8"))
    ledger = [json.loads(line) for line in (folder / "ledger").read_text(encoding="utf-8").splitlines()]
    delays, missing = _delays(ledger, done.get(timeout=120), shape.storm)
    grown = (_size(database) - size) / max(1, report["produced"])
    messages = 2 * report["produced"] + report["heartbeats"] + 4 * report["connections"]
    return Storm(
        report,
        _figures(delays),
        missing,
        hub_mb=(memory[0], max(memory)),
        hub_cpu_share=used / took,
        hub_cpu_us=used / messages * 1e6,
        broker_mb=of_broker,
        bytes_per_sound=grown,
    )


def _broker(folder: Path) -> int:
    """Process id of the broker whose configuration is in ``folder``."""
    config = str(folder / "mosquitto.conf").encode()
    for found in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if config in found.read_bytes().split(b"\0"):
                return int(found.parent.name)
    raise RuntimeError("the broker is gone")


def _command(folder: Path, database: Path, port: int, shape: Shape) -> list[str]:
    simulate = [sys.executable, "-m", "tocsin_shared", "fleet", "simulate"]
    options = {
        "broker": f"mqtt://127.0.0.1:{port}",
        "nodes": shape.nodes,
        "rate": shape.rate,
        "seconds": shape.seconds,
        "seed": 1,
        "report": folder / "report",
        "ledger": folder / "ledger",
        "database": database,
    }
    named = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    return [*simulate, *named, *(["--alarm-storm"] if shape.storm else [])]


def _open_dashboards(hub: HubProcess, count: int) -> Any:
    context = multiprocessing.get_context("spawn")
    ready: ProcessQueue[int] = context.Queue()
    done: ProcessQueue[Arrivals] = context.Queue()
    stop = context.Event()
    share = Share(hub.address, cookie_of(hub.browser()), count, 10**9)
    watcher = context.Process(target=watch, args=(share, ready, done, stop), daemon=True)
    watcher.start()
    for _ in range(count):
        ready.get(timeout=120)
    return done, stop


def _gauge(pid: int, memory: list[float], ended: Event) -> None:
    while not ended.wait(0.5):
        memory.append(resident_mb(pid))


def resident_mb(pid: int) -> float:
    """Memory that a process has now, MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _size(database: Path) -> int:
    """Bytes of the pages that are in use, whether or not they stand in the log still."""
    with closing(sqlite3.connect(database, timeout=30)) as one:
        pragmas = ("page_count", "freelist_count", "page_size")
        pages, free, size = (one.execute(f"PRAGMA {name}").fetchone()[0] for name in pragmas)
    return int((pages - free) * size)


def _delays(ledger: list[dict[str, Any]], arrivals: Arrivals, storm: bool) -> tuple[list[float], int]:
    """Milliseconds from each onset to the first word of it on a dashboard, and how many did not come."""
    onsets = {line["id"]: line["onset_us"] for line in ledger if line["storm"] or not storm}
    first: dict[str, int] = {}
    for key, at_us in sorted(arrivals, key=lambda one: one[1]):
        first.setdefault(key, at_us)
    delays = [(at_us - onsets[key]) / 1e3 for key, at_us in first.items() if key in onsets]
    return delays, len(onsets) - len(delays)


def _figures(delays: list[float]) -> dict[str, float]:
    if not delays:
        return dict.fromkeys(("p50", "p95", "p99", "longest"), float("nan"))
    found = np.quantile(delays, [0.5, 0.95, 0.99, 1.0])
    return dict(zip(("p50", "p95", "p99", "longest"), (round(float(one), 1) for one in found), strict=True))


def in_words(nodes: int, storm: Storm) -> list[str]:
    """The figures for people."""
    report, shown = storm.report, storm.dashboard_ms
    ack = report["latency"].get("acknowledged in the storm") or report["latency"]["acknowledged"]
    faults = ", ".join(f"{name} {report[name]}" for name in ("lost", "twice", "stale", "late"))
    verdict = "kept" if storm.kept else "BROKEN"
    before, most = storm.hub_mb
    per_sound = f"{storm.bytes_per_sound:.0f} bytes of disk per sound"
    return [
        f"{nodes} nodes ({report['connected']} connected), {report['produced']} sounds: {faults}",
        f"onset -> hub ack: p50 {ack['p50']} ms, p95 {ack['p95']} ms, p99 {ack['p99']} ms",
        f"onset -> dashboard: p50 {shown['p50']} ms, p95 {shown['p95']} ms, p99 {shown['p99']} ms",
        f"longest {shown['longest']} ms, missing {storm.missing}; limit p99 {LIMIT_MS:.0f} ms: {verdict}",
        f"hub: {before:.0f} MB before, at most {most:.0f} MB; {storm.hub_cpu_share:.0%} of a core",
        per_sound,
        f"simulator: {report['simulator_kb_per_node']} kB per node",
    ]


def main() -> int:
    """Measure and print; 1 if a limit is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--dashboards", type=int, default=2)
    parser.add_argument("--quiet", action="store_true", help="no storm")
    arguments = parser.parse_args()
    shape = Shape(arguments.nodes, arguments.seconds, arguments.dashboards, not arguments.quiet)
    found = measure(shape)
    print("\n".join(in_words(arguments.nodes, found)))
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    return 0 if found.kept else 1


if __name__ == "__main__":
    sys.exit(main())
