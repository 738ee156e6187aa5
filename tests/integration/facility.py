"""A small facility of real processes for tests: broker, hub and one node, each of which can be killed."""

import contextlib
import os
import re
import signal
import sqlite3
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np

from tests.integration.rabbitmq import rabbitmq_command
from tocsin_hub.demo.broker import BrokerAddress, embedded_command, free_port, mosquitto_command
from tocsin_hub.demo.player import BLOCK, RATE_HZ, to_pcm
from tocsin_hub.demo.script import Room
from tocsin_hub.demo.site import Site
from tocsin_shared import synthesis
from tocsin_shared.features import Samples

ROOM = Room("press-1", "hall-1", "Press shop")
_COMMITTED = re.compile(rb"event seq=(\d+) id=(\w+) .*?phase=(\w+)")


@dataclass(frozen=True)
class Produced:
    """A message that the node has on its disk, as its log says."""

    seq: int
    id: str
    phase: str


class Facility:
    """Broker, hub and node in ``folder``. ``which`` is ``embedded``, ``mosquitto`` or ``rabbitmq``."""

    def __init__(self, folder: Path, which: str, mapper: int = 0) -> None:
        """``mapper`` is the port of Erlang's port mapper, for ``rabbitmq``."""
        self.folder = folder
        port = free_port()
        if which == "rabbitmq":
            self._broker_command = rabbitmq_command(folder, port, mapper)
        else:
            make = embedded_command if which == "embedded" else _mosquitto
            self._broker_command = make(folder, port)
        self._broker: subprocess.Popen[bytes] | None = None
        self.address = BrokerAddress("127.0.0.1", port, "3.1.1" if which == "rabbitmq" else "5")
        self.site = Site(folder, self.address, free_port())
        self._speaker: Loudspeaker | None = None

    def __enter__(self) -> "Facility":
        self.start_broker()
        self.site.start_hub()
        self.start_node()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if self._speaker:
            self._speaker.stop()
        self.site.stop()
        if self._broker:
            self._broker.terminate()
            self._broker.wait(30)

    def start_broker(self) -> None:
        with (self.folder / "broker.log").open("ab") as log:
            self._broker = subprocess.Popen(
                self._broker_command, stdout=log, stderr=log, start_new_session=True
            )

    def kill_broker(self) -> None:
        assert self._broker is not None
        kill(self._broker)

    def kill_hub(self) -> None:
        kill(self.site.process("hub"))

    def start_node(self) -> None:
        self._speaker = Loudspeaker(self.site.start_node(ROOM))

    def kill_node(self) -> None:
        kill(self.site.process(ROOM.node))
        assert self._speaker is not None
        self._speaker.stop()

    def play(self, label: str, seconds: float, level_dbfs: float = -20.0) -> None:
        """Play a sound into the room, without waiting for its end."""
        assert self._speaker is not None
        made = synthesis.sound(label, seconds, np.random.default_rng(len(self.produced()) + 1))
        self._speaker.play(synthesis.at_level(made, level_dbfs))

    def produced(self) -> list[Produced]:
        """Every message that the node has committed to its outbox, in order."""
        return produced_in(self.folder / f"{ROOM.node}.log")

    def stored(self) -> dict[str, str]:
        """Phase of every event in the hub's database, by id; fails if an id stands there twice."""
        uri = f"file:{self.folder / 'hub' / 'hub.sqlite'}?mode=ro"
        database = sqlite3.connect(uri, uri=True)
        try:
            rows = database.execute("select id, phase from events").fetchall()
        finally:
            database.close()
        assert max(Counter(event for event, _ in rows).values(), default=1) == 1
        return dict(rows)


class Loudspeaker:
    """Writes the room's sound to the node at the speed of time: a quiet bed, and what is played on it."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self._bed = synthesis.at_level(synthesis.ambience(10.0, np.random.default_rng(1)), -55.0)
        self._queue: list[Samples] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="loudspeaker", daemon=True)
        self._thread.start()

    def play(self, samples: Samples) -> None:
        self._queue += [samples[start : start + BLOCK] for start in range(0, len(samples), BLOCK)]

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(2)

    def _run(self) -> None:
        due, position = time.monotonic(), 0
        try:
            while not self._stop.is_set():
                block = self._bed[(position + np.arange(BLOCK)) % len(self._bed)].copy()
                if self._queue:
                    part = self._queue.pop(0)
                    block[: len(part)] += part
                self._pipe.write(to_pcm(block))
                self._pipe.flush()
                position += BLOCK
                due += BLOCK / RATE_HZ
                self._stop.wait(max(0.0, due - time.monotonic()))
        except OSError:
            pass  # the node was killed: that is what these tests do
        finally:
            with contextlib.suppress(OSError):
                self._pipe.close()


def produced_in(log: Path) -> list[Produced]:
    """Every message that the node of ``log`` has committed to its outbox, in order."""
    return [
        Produced(int(seq), event.decode(), phase.decode())
        for seq, event, phase in _COMMITTED.findall(log.read_bytes())
    ]


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait for ``condition``; fails after ``seconds`` with ``what`` was waited for."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"after {seconds} s still waiting for: {what}"
        time.sleep(0.1)


def kill(process: "subprocess.Popen[bytes]") -> None:
    """End all processes of its group at once, and wait until it is gone."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)


def _mosquitto(folder: Path, port: int) -> list[str]:
    return mosquitto_command(folder, port, "/usr/sbin/mosquitto")
