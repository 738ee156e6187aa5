"""Prints how soon a stored event is on every connected dashboard; a measurement and no test.

``python -m tests.benchmarks.dashboards [--clients 1 100 300] [--events N] [--web N]``: a real broker, a real
hub under gunicorn, and Socket.IO clients in processes of their own, which share this machine with the hub.
From the moment at which the hub began to commit (its own column) to the arrival at each client; the limit is
100 ms for the 99th percentile with 100 clients. With ``--web`` the dashboards are at so many web processes,
and the hub has a PostgreSQL and a Redis.
"""

import argparse
import asyncio
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from multiprocessing.queues import Queue as ProcessQueue
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np
import requests
import socketio

from tests.benchmarks.ingest import cpu_seconds
from tests.hub import postgres_server
from tests.hub.brokers import Node, broker
from tests.hub.parts import ulid
from tests.hub.processes import NAMESPACE, HubProcess, WebProcess
from tests.hub.redis_server import redis_server
from tests.shared.messages import sound
from tocsin_hub.place import Place
from tocsin_hub.store import Store
from tocsin_hub.times import now_us
from tocsin_shared import codec
from tocsin_shared.topics import node_topic

LIMIT_MS, LIMIT_CLIENTS = 100.0, 100
PROCESSES = 4
APART_SECONDS = 0.25
Arrivals = list[tuple[str, int]]


@dataclass(frozen=True)
class Share:
    """What one process of dashboards does."""

    address: str
    cookie: str
    clients: int
    events: int


@dataclass(frozen=True)
class Site:
    """What is measured: a hub, and the web processes where dashboards are, if there are any."""

    hub: HubProcess
    broker_port: int
    database: Place
    webs: list[WebProcess] = field(default_factory=list)

    def door(self, number: int) -> HubProcess:
        """Where the dashboards of process ``number`` are."""
        return self.webs[number % len(self.webs)] if self.webs else self.hub

    def cpu_seconds(self) -> list[float]:
        """CPU time of the hub, and of each web process."""
        return [cpu_seconds(one.worker) for one in (self.hub, *self.webs)]


@contextmanager
def site(folder: Path, kind: str, threads: int, webs: int) -> Iterator[Site]:
    """A site for the life of the ``with`` block."""
    with ExitStack() as stack:
        port = stack.enter_context(broker(kind, folder))
        state = folder / "hub"
        database: Place = state / "state" / "hub.sqlite"
        urls = {}
        if webs:
            server = postgres_server.made(safe=True)
            server.start()
            stack.callback(server.remove)
            database = server.new("hub")
            redis = stack.enter_context(redis_server(folder / "redis"))
            urls = {"database": database.url, "redis": redis.url}
        hub = HubProcess(state, port, threads, **urls)
        stack.callback(hub.kill)
        hub.start()
        beside = [WebProcess(hub) for _ in range(webs)]
        for web in beside:
            stack.callback(web.kill)
            web.start()
        yield Site(hub, port, database, beside)


def watch(
    share: Share, ready: "ProcessQueue[int]", done: "ProcessQueue[Arrivals]", stop: Event | None = None
) -> None:
    """Some dashboards, in a process of their own, until each has seen all events or none comes any more.

    With ``stop`` they watch until it is set.
    """
    arrivals: Arrivals = []

    async def dashboard(number: int) -> socketio.AsyncClient:
        client = socketio.AsyncClient(reconnection=False)

        def arrived(data: dict[str, str]) -> None:
            arrivals.append((data["id"], now_us()))

        client.on("event", arrived, namespace=NAMESPACE)
        await client.connect(
            share.address,
            headers={"Cookie": share.cookie},
            namespaces=[NAMESPACE],
            transports=["websocket"],
            wait_timeout=30,
        )
        ready.put(number)
        return client

    async def run() -> None:
        opened = [await dashboard(number) for number in range(share.clients)]
        deadline = time.monotonic() + 30 + share.events * APART_SECONDS * 2
        while len(arrivals) < share.clients * share.events and time.monotonic() < deadline:
            if stop is not None and stop.is_set():
                break
            await asyncio.sleep(0.1)
        done.put(arrivals)
        for client in opened:
            await client.disconnect()

    asyncio.run(run())


def measure(site: Site, clients: int, events: int, first: int) -> bool:
    """One line of figures; whether the limit is kept, as far as there is one for so many clients."""
    context = multiprocessing.get_context("spawn")
    ready: ProcessQueue[int] = context.Queue()
    done: ProcessQueue[Arrivals] = context.Queue()
    cookie = cookie_of(site.hub.browser())
    shares = [len(part) for part in np.array_split(np.arange(clients), min(PROCESSES, clients))]
    watchers = [
        context.Process(
            target=watch,
            args=(Share(site.door(number).address, cookie, share, events), ready, done),
            daemon=True,
        )
        for number, share in enumerate(shares)
    ]
    for watcher in watchers:
        watcher.start()
    for _ in range(clients):
        ready.get(timeout=120)
    before = site.cpu_seconds()
    _play(site.broker_port, events, first)
    arrivals = [one for _ in watchers for one in done.get(timeout=120)]
    used = [(after - begun) / events * 1e3 for begun, after in zip(before, site.cpu_seconds(), strict=True)]
    for watcher in watchers:
        watcher.join(30)
    return _report(clients, events, _delays(site.database, arrivals), used)


def cookie_of(browser: requests.Session) -> str:
    """The cookies of somebody who is logged in, as a header has them."""
    return "; ".join(f"{one.name}={one.value}" for one in browser.cookies)


def _play(port: int, events: int, first: int) -> None:
    node = Node(port)
    for number in range(first, first + events):
        message = sound(id=ulid(number), seq=number)
        node.send(node_topic(message.node, "ev", message.label), codec.encode(message))
        time.sleep(APART_SECONDS)
    node.close()


def _delays(database: Place, arrivals: Arrivals) -> list[float]:
    """Milliseconds from the beginning of the commit to each arrival."""
    store = Store(database)
    stored: dict[str, int] = dict(store.rows("SELECT id, committed_us FROM events"))
    store.close()
    return [(at_us - stored[key]) / 1e3 for key, at_us in arrivals]


def _report(clients: int, events: int, delays: list[float], used: list[float]) -> bool:
    p50, p99, most = np.quantile(delays, [0.5, 0.99, 1.0])
    lost = clients * events - len(delays)
    limit = f"limit {LIMIT_MS:.0f} ms" if clients == LIMIT_CLIENTS else "no limit"
    cpu = f"CPU for an event: hub {used[0]:.0f} ms" + "".join(
        f", web process {one:.0f} ms" for one in used[1:]
    )
    print(
        f"{clients} dashboards: p50 {p50:.1f} ms, p99 {p99:.1f} ms ({limit}), longest {most:.1f} ms; "
        f"{len(delays)} arrivals, {lost} missing; {cpu}; "
        f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )
    return not lost and (clients != LIMIT_CLIENTS or p99 <= LIMIT_MS)


def main() -> int:
    """Measure for each number of clients."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 100, 300])
    parser.add_argument("--events", type=int, default=60)
    parser.add_argument("--broker", choices=("embedded", "mosquitto"), default="embedded")
    parser.add_argument("--web", type=int, default=0, help="web processes where the dashboards are")
    arguments = parser.parse_args()
    good = True
    threads = max(arguments.clients) + 32
    with (
        tempfile.TemporaryDirectory() as name,
        site(Path(name), arguments.broker, threads, arguments.web) as measured,
    ):
        for turn, clients in enumerate(arguments.clients, start=1):
            good &= measure(measured, clients, arguments.events, turn * 100_000)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
