"""How much of the line bundles take: slots, a rate for all, and alarms that are stored meanwhile."""

import hashlib
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from tests.hub.brokers import Node, broker
from tests.hub.parts import ulid, wait_until
from tests.hub.processes import HubProcess
from tests.hub.rollouts.conftest import Air
from tests.shared.messages import sound
from tocsin_hub.rollouts.pacing import Pacing
from tocsin_hub.rollouts.serving import CHUNK_BYTES, Part, _Body, wanted
from tocsin_shared import codec
from tocsin_shared.topics import node_topic

CONTENT = os.urandom(3_000_000)
SHA = hashlib.sha256(CONTENT).hexdigest()
PATH = f"/updates/targets/models/sentry/{SHA}.0.3.0-float16.tar"
TAG = f'"{SHA}"'


class Served(HubProcess):
    """A real hub whose settings name the repository in its folder."""

    def __init__(self, folder: Path, broker_port: int, more: str) -> None:
        super().__init__(folder, broker_port)
        air = Air(folder)
        air.bundle(content=CONTENT)
        air.look()
        air.hub.stop()
        with self.config.open("a", encoding="utf-8") as file:
            file.write(f'[updates]\nrepository = "updates"\nkeys = "keys"\n{more}')

    def figure(self, name: str) -> float:
        """A figure of the hub's own."""
        text = requests.get(f"{self.address}/metrics", timeout=10).text
        return next(float(line.split()[-1]) for line in text.splitlines() if line.startswith(f"{name} "))


@pytest.mark.slow
@pytest.mark.broker
def test_alarms_are_stored_while_as_many_download_as_may_and_others_wait_for_their_turn(
    tmp_path: Path,
) -> None:
    """Three slots at 300 kB/s together: the downloads last some ten seconds each; alarms take no notice."""
    with broker("embedded", tmp_path) as port:
        hub = Served(tmp_path, port, "bytes_per_second = 3e5\ndownloads = 3\n")
        hub.start()
        node = Node(port)
        try:
            with ThreadPoolExecutor(3) as pool:
                stop = threading.Event()
                under_way = [pool.submit(_drink, hub.address + PATH, stop) for _ in range(3)]
                wait_until(lambda: hub.figure("tocsin_update_downloads") == 3.0, "three downloads", 20)
                turned = requests.get(hub.address + PATH, timeout=10)
                assert (turned.status_code, turned.headers["Retry-After"].isdecimal()) == (503, True)
                assert requests.get(f"{hub.address}/updates/metadata/timestamp.json", timeout=10).ok
                before, began = hub.figure("tocsin_update_bytes_total"), time.monotonic()
                for number in range(20):
                    event = sound(id=ulid(number + 1), seq=number + 1)
                    node.send(node_topic("press-1", "ev", event.label), codec.encode(event))
                wait_until(lambda: len(node.refs) == 20, "twenty alarms to be stored", 20)
                assert not any(one.done() for one in under_way), "the downloads were over too soon"
                wait_until(lambda: time.monotonic() - began > 2.0, "a rate that can be told", 5)
                rate = (hub.figure("tocsin_update_bytes_total") - before) / (time.monotonic() - began)
                assert rate <= 3e5 * 1.2 + 4 * CHUNK_BYTES, "the cap holds for all together"
                stop.set()
            wait_until(lambda: hub.figure("tocsin_update_downloads") == 0.0, "the slots to be free", 60)
        finally:
            node.close()
            assert hub.stop() == 0


def _drink(url: str, stop: threading.Event) -> None:
    with requests.get(url, stream=True, timeout=30) as answer:
        for _ in answer.iter_content(16_384):
            if stop.is_set():
                return


class _Line:
    """A node's line that takes nothing."""

    def __init__(self) -> None:
        self.waits: list[float | None] = []

    def settimeout(self, seconds: float | None) -> None:
        self.waits.append(seconds)


def test_a_node_that_takes_nothing_is_waited_for_only_so_long(tmp_path: Path) -> None:
    """The line itself ends it; slot and file are given back, once."""
    file, pacing, line = tmp_path / "file", Pacing(1, 1e9), _Line()
    file.write_bytes(b"x" * 100_000)
    assert pacing.take()
    body = _Body(file.open("rb"), Part(0, 100_000, 100_000), pacing, line)  # type: ignore[arg-type]
    chunks = iter(body)
    assert len(next(chunks)) == CHUNK_BYTES
    assert line.waits == [30.0]
    assert not pacing.take()
    body.close()
    body.close()
    assert line.waits == [30.0, None]
    assert pacing.take()


@given(st.integers(0, 1000), st.integers(0, 1100), st.integers(0, 1100))
def test_a_part_is_inside_the_file_or_is_none(length: int, start: int, stop: int) -> None:
    part = wanted(length, SHA, f"bytes={start}-{stop}", TAG)
    assert part is None or 0 <= part.start <= part.stop <= length
    if start <= stop and start < length:
        assert part == Part(start, min(stop + 1, length), length)


@given(st.text(max_size=40), st.none() | st.text(max_size=40))
def test_whatever_is_asked_for_is_answered(ranges: str, if_range: str | None) -> None:
    part = wanted(1000, SHA, ranges, if_range)
    assert part is None or part.length == 1000


def test_all_together_keep_to_the_rate_and_none_makes_up_for_a_pause() -> None:
    now, slept = [100.0], []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    pacing = Pacing(4, 1000.0, lambda: now[0], sleep)
    for _ in range(10):
        pacing.wait(500)
    assert now[0] == pytest.approx(105.0, abs=0.3)
    now[0] += 60.0
    before = now[0]
    for _ in range(4):
        pacing.wait(500)
    assert now[0] - before >= 1.7, "a minute of silence is no credit for a burst"
