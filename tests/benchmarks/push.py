"""Prints how long it takes from an alarm's COMMIT until the push service has a message for every worker.

Run it as ``python -m tests.benchmarks.push [workers] [rounds]``; it is a measurement and no test. The hub is
whole but for the broker: ingest, incidents, the alert engine, encryption. The push service is a process of
its own, as it is in the world.
"""

import multiprocessing
import sys
import tempfile
import time
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path

from tests.hub.parts import feed, person, ulid
from tests.hub.push_service import Browser, PushService
from tests.shared.messages import sound
from tocsin_hub.people.model import Role
from tocsin_hub.phones import keeping
from tocsin_hub.phones.settings import PushSettings
from tocsin_hub.recorder import Recorder
from tocsin_hub.root import Hub, build
from tocsin_hub.settings import HubSettings


def _serve(pipe: Connection) -> None:
    service = PushService()
    pipe.send(service.port)
    while True:
        seen = pipe.recv()
        pipe.send([one.at for one in service.taken[seen:]])


def _register(hub: Hub, workers: int, port: int) -> None:
    people = [person(hub, f"Worker {number}", role=Role.WORKER) for number in range(workers)]
    address = f"http://127.0.0.1:{port}/201"
    phones = [Browser().phone(f"{address}/{one.id}", one.id, number) for number, one in enumerate(people)]

    def write(recorder: Recorder) -> None:
        for phone in phones:
            keeping.save_phone(recorder.database, phone)

    hub.writer.call(write, 60)
    hub.services.phones.registry.reload()


def _round(hub: Hub, service: Connection, workers: int, number: int) -> str:
    """An alarm in a hall of its own; milliseconds from its COMMIT to the arrival of each message."""
    service.send(0)
    before = len(service.recv())
    used = time.process_time()
    zone = f"hall-{number}"
    feed(hub, sound(id=ulid(number), node=f"node-{number}", zone=zone, onset=datetime.now(UTC)))
    [(committed_us,)] = hub.services.store.rows(
        "SELECT first_committed_us FROM events WHERE id = ?", (ulid(number),)
    )
    arrived: list[float] = []
    deadline = time.monotonic() + 30
    while len(arrived) < workers and time.monotonic() < deadline:
        time.sleep(0.3)
        service.send(before)
        arrived = service.recv()
    took = sorted((at - committed_us / 1e6) * 1e3 for at in arrived[:workers])
    p50, p99 = took[len(took) // 2], took[len(took) * 99 // 100 - 1]
    # A busy machine makes everything late; the hub's own time of the processor stays what it is.
    cpu = (time.process_time() - used) * 1e3
    told = f"{len(took)} of {workers} workers: p50 {p50:.0f} ms, p99 {p99:.0f} ms, last {took[-1]:.0f} ms"
    return f"{told}; {cpu:.0f} ms of the processor"


def main(workers: int, rounds: int) -> None:
    """Print one line for each round."""
    service, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    port = service.recv()
    with tempfile.TemporaryDirectory() as folder:
        hub = build(HubSettings(state_folder=Path(folder), push=PushSettings(test_port=port)))
        hub.live.start()
        hub.writer.start(hub.ingest.settle)
        hub.engine.start()
        _register(hub, workers, port)
        for number in range(1, rounds + 1):
            print(_round(hub, service, workers, number))
            time.sleep(1.0)  # results are written down
        hub.stop()
    process.terminate()


if __name__ == "__main__":
    asked = [int(text) for text in sys.argv[1:]]
    main(*(asked or (200, 5)))
