"""Delivery over bad lines and bad brokers; the numbers are those of the list in docs/reliability.md.

A hub and a broker of their own for each, and a few simulated nodes with outboxes behind a proxy; what they
told is held against the hub's database.
"""

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.proxy import CALM, Proxy, Weather
from tests.hub.brokers import keeping_broker
from tests.hub.processes import HubProcess, hub_process
from tests.integration.facility import wait_until
from tocsin_hub.demo.broker import free_port, running

pytestmark = [pytest.mark.slow, pytest.mark.broker]
SECONDS = 12.0
_SOUNDS = re.compile(rb"sounds [1-9]")


@dataclass
class Place:
    """A hub behind a broker, and a line that nodes come by."""

    folder: Path
    hub: HubProcess
    line: Proxy

    def tell(self, meanwhile: Callable[[], None], rate: float = 60.0) -> dict[str, Any]:
        """Let five nodes tell of sounds; ``meanwhile`` is called when they have begun. The report."""
        report = self.folder / "report.json"
        command = [
            sys.executable, "-m", "tocsin_shared", "fleet", "simulate", "--nodes", "5", "--rate", str(rate),
            "--broker", f"mqtt://127.0.0.1:{self.line.port}", "--seconds", f"{SECONDS:g}", "--seed", "5",
            "--drain-seconds", "90", "--report", str(report),
            "--database", str(self.folder / "state" / "hub.sqlite"),
        ]  # fmt: skip
        log = self.folder / "fleet.log"
        with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as fleet:
            try:
                wait_until(lambda: _SOUNDS.search(log.read_bytes()) is not None, 60.0, "the first sound")
                meanwhile()
                assert fleet.wait(150) == 0, log.read_text(encoding="utf-8")
            finally:
                fleet.kill()
        made: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
        assert made["produced"] > 20
        assert (made["lost"], made["twice"], made["stale"]) == (0, 0, 0)
        assert made["stored"] == made["complete"] == made["produced"]
        return made


@contextmanager
def place(folder: Path, *, queued: int = 20_000) -> Iterator[Place]:
    """A place whose broker keeps at most ``queued`` messages for a client that is away."""
    port = free_port()
    command = keeping_broker(folder, port, queued)
    with running(command, folder / "broker.log", port), hub_process(folder, port) as hub, Proxy(port) as line:
        yield Place(folder, hub, line)


def test_92_a_queue_of_the_broker_that_overflows_while_the_hub_is_away_loses_nothing(tmp_path: Path) -> None:
    """It keeps five messages of a hundred; the nodes have all of them."""
    with place(tmp_path, queued=5) as here:

        def away() -> None:
            assert here.hub.stop() == 0
            time.sleep(SECONDS)
            here.hub.start()

        made = here.tell(away)
    assert made["resent"] > 20, made


def test_93_acknowledgements_that_are_swallowed_before_a_reset_store_nothing_twice(tmp_path: Path) -> None:
    """The hub has the sounds, and the nodes cannot know: they say them again."""
    with place(tmp_path) as here:

        def swallowed() -> None:
            here.line.weather = Weather(mute=True)
            time.sleep(5.0)
            here.line.cut()
            here.line.weather = CALM

        made = here.tell(swallowed)
    assert made["resent"] + made["waited"] >= 1, made


def test_103_over_a_slow_line_in_small_pieces_alarms_come_within_bounds(tmp_path: Path) -> None:
    """Half a second and more each way, 5 kB/s, pieces of 200 bytes."""
    with place(tmp_path) as here:
        slow = Weather(latency_seconds=0.5, jitter_seconds=0.2, bytes_per_second=5000.0, slice_bytes=200)

        def narrowed() -> None:
            here.line.weather = slow

        made = here.tell(narrowed, rate=30.0)
    assert made["latency"]["stored"]["p99"] < 30_000, made["latency"]


def test_104_a_line_that_is_half_open_is_noticed_and_loses_nothing(tmp_path: Path) -> None:
    """Nobody is told that it broke; heartbeats and keepalive tell."""
    with place(tmp_path) as here:
        browser = here.hub.browser()

        def states() -> set[str]:
            answer = browser.get(f"{here.hub.address}/api/v1/rooms", timeout=10).json()
            return {room["state"] for room in answer["rooms"]}

        def half_open() -> None:
            wait_until(lambda: states() == {"listening"}, 30.0, "all rooms to be heard")
            here.line.weather = Weather(stalled=True)
            wait_until(lambda: states() == {"offline"}, 60.0, "the hub to notice")
            here.line.weather = CALM

        here.tell(half_open)
