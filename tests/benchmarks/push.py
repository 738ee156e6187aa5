"""Prints how long it takes until a message for each of many workers is handed to the push service.

Run it as ``python -m tests.benchmarks.push [workers] [rounds]``; it is a measurement and no test. The push
service is a process of its own, as it is in the world; each lane is a thread, as in the alert engine.
"""

import multiprocessing
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

from tests.hub.push_service import Browser, PushService
from tests.hub.test_push import KIM, Site, message
from tocsin_hub.phones import keeping
from tocsin_hub.recorder import Recorder


def _serve(pipe: Connection) -> None:
    service = PushService()
    pipe.send(service.port)
    while True:
        pipe.recv()
        pipe.send(len(service.taken))


def main(workers: int, rounds: int) -> None:
    """Print one line for each round; all times begin when the messages are put into the queue."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    port = ours.recv()
    service = PushService.__new__(PushService)
    service.port, service.released = port, multiprocessing.Event()  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as folder:
        site = Site(Path(folder), service, timeout_seconds=5.0)
        phones = [Browser().phone(service.url(f"201/{n}"), f"p{n}", n) for n in range(workers)]

        def write(recorder: Recorder) -> None:
            for phone in phones:
                keeping.save_phone(recorder.database, phone)

        site.writer.call(write, 60)
        site.registry.reload()
        with ThreadPoolExecutor(site.push.lanes) as lanes:
            for _ in range(rounds):
                print(_round(site, lanes, workers))  # noqa: T201
        ours.send("?")
        print(f"the push service took {ours.recv()} messages")  # noqa: T201
        site.close()
    process.terminate()


def _round(site: Site, lanes: ThreadPoolExecutor, workers: int) -> str:
    begun = time.perf_counter()

    def send(number: int) -> float:
        site.push.send(message(replace(KIM, id=f"p{number}")))
        return (time.perf_counter() - begun) * 1e3

    took = sorted(lanes.map(send, range(workers)))
    p50, p99 = took[workers // 2], took[min(workers - 1, workers * 99 // 100)]
    return f"{workers} workers: p50 {p50:.0f} ms, p99 {p99:.0f} ms, last {took[-1]:.0f} ms"


if __name__ == "__main__":
    main(*(int(text) for text in sys.argv[1:]) if len(sys.argv) > 1 else (200, 10))
