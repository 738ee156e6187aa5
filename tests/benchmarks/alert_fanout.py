"""Prints how soon an event that was stored is handed to the channel of each of 200 workers.

Run it as ``python -m tests.benchmarks.alert_fanout [rounds [workers]]``; it is a measurement and no test. The
database and its writer are real; the channel is a fake that takes each message at once, in as many threads as
the one for phones has.
"""

import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from tests.hub.alerts.cases import incident, worker
from tests.hub.alerts.desk import Desk
from tests.hub.parts import ulid
from tocsin_hub.alerts.model import ChannelName, Message
from tocsin_hub.incidents.model import Step
from tocsin_hub.people.model import Person

LIMIT_MS = 250.0
LANES = 64


class Clocked:
    """A channel that notes when it was handed each message."""

    name = ChannelName.PUSH
    lanes = LANES
    hold = None

    def __init__(self) -> None:
        self.at: list[float] = []
        self._lock = threading.Lock()

    def reaches(self, person: Person | None) -> bool:
        return person is not None

    def send(self, message: Message) -> None:
        with self._lock:
            self.at.append(time.perf_counter())


def main(rounds: int, workers: int) -> int:
    """Measure, print the figures and the limit; 1 if it is broken."""
    took: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        channel = Clocked()
        people = [worker(f"w{number:03}") for number in range(workers)]
        with Desk(Path(folder) / "hub.sqlite", people, channel) as desk:  # type: ignore[arg-type]
            desk.settle()
            for number in range(rounds):
                channel.at.clear()
                alarm = incident(id=ulid(9000 + number))
                desk.put(alarm)
                stored = time.perf_counter()
                desk.engine.on_incident(alarm)
                while len(channel.at) < workers:
                    time.sleep(0.002)
                took += [(at - stored) * 1e3 for at in channel.at]
                desk.change(alarm, Step.ACKNOWLEDGED, person="w000")
                desk.settle()
    p50, p99 = np.quantile(took, [0.5, 0.99])
    within = p99 <= LIMIT_MS
    print(
        f"stored -> handed to the channel, {workers} workers, {rounds} alarms: "
        f"p50 {p50:.0f} ms, p99 {p99:.0f} ms, longest {max(took):.0f} ms; limit p99 {LIMIT_MS:.0f} ms: "
        f"{'kept' if within else 'BROKEN'}"
    )
    return 0 if within else 1


if __name__ == "__main__":
    arguments = [int(one) for one in sys.argv[1:]]
    raise SystemExit(main(*[*arguments, *(20, 200)[len(arguments) :]]))
