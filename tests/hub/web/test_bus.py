"""What goes through a real Redis, and what does not wait for one that is away."""

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import socketio

from tests.hub.parts import wait_until
from tests.hub.redis_server import RedisServer, redis_server
from tocsin_hub.web.beats import Beats
from tocsin_hub.web.bus import CHANNEL, RedisBus, connect
from tocsin_shared.errors import SettingsError


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path / "redis") as made:
        yield made


@dataclass
class Process:
    """A process at the bus, which notes what it is told."""

    bus: RedisBus
    beats: Beats
    emitted: list[Any] = field(default_factory=list)
    changed: int = 0
    again: int = 0
    deaths: list[str] = field(default_factory=list)

    def count_change(self) -> None:
        self.changed += 1

    def count_again(self) -> None:
        self.again += 1

    def emit(self, number: int) -> None:
        self.bus.emit("room", {"number": number}, namespace="/live", room="everywhere")


@contextmanager
def process(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Process]:
    beats = Beats()
    made = Process(RedisBus(connect(server.url, None), beats), beats)
    made.bus.set_server(socketio.Server(async_mode="threading"))
    # What the others sent reaches Socket.IO here; what is its own went there without Redis.
    monkeypatch.setattr(
        made.bus, "_handle_emit", lambda message: made.emitted.append(message["data"][0]["number"])
    )
    made.bus.start(made.count_change, made.count_again, made.deaths.append)
    wait_until(lambda: made.again == 1, "the subscription")
    yield made
    made.bus.stop()
    assert made.deaths == []


@contextmanager
def two(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Process, Process]]:
    with process(server, monkeypatch) as one, process(server, monkeypatch) as other:
        yield one, other


def test_what_one_emits_comes_to_all_others_once_and_in_order(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with two(server, monkeypatch) as (one, other):
        for number in range(1000):
            one.emit(number)
        wait_until(lambda: len(other.emitted) == 1000, "all of it")
        other.emit(1000)
        wait_until(lambda: one.emitted[-1] == 1000, "the answer")
    assert other.emitted == list(range(1001)), "its own went to its dashboards, and not twice"
    assert one.emitted == list(range(1001))


def test_beats_tell_who_is_there_and_a_change_wakes_the_hub(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with two(server, monkeypatch) as (hub, web):
        hub.bus.beat(leads=True, hears=True, since_us=7, pages={})
        web.bus.beat(leads=False, pages={"mina": 2})
        web.bus.changed()
        wait_until(lambda: hub.changed == 1, "the change")
        wait_until(lambda: hub.beats.pages("mina", time.monotonic()) == 2, "her pages")
        wait_until(lambda: web.beats.hub(time.monotonic()) is not None, "the hub")
        heard = web.beats.hub(time.monotonic())
        assert heard is not None
        assert (heard[1].hears, heard[1].since_us) == (True, 7)
        assert hub.beats.hub(time.monotonic()) is None, "nobody hears himself among the others"
        wait_until(lambda: hub.bus.own_seconds is not None, "its own beat")
        assert web.changed == 0
        assert hub.bus.trouble == web.bus.trouble == ""


@pytest.mark.parametrize(
    "said",
    [
        b'{"method":"beat"',
        b'{"method":"beat","leads":1}',
        b"\xff\x00",
        b"[]",
        b'{"method":"emit"}',
        b"7",
        b'"method"',
    ],
)
def test_what_cannot_be_read_is_passed_over(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    with process(server, monkeypatch) as one:
        connect(server.url, None).publish(CHANNEL, said)
        good = {"method": "emit", "data": [{"number": 3}], "host_id": "other"}
        connect(server.url, None).publish(CHANNEL, json.dumps(good))
        wait_until(lambda: one.emitted == [3], "what came after it")
        assert one.again == 1, "it went on listening: what comes while a process subscribes anew is lost"


@pytest.mark.slow
@pytest.mark.parametrize("how", ["killed", "still"])
def test_nobody_waits_for_a_redis_that_is_away(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr("tocsin_hub.web.bus.FRESH_SECONDS", 3.0)
    with two(server, monkeypatch) as (one, other):
        one.bus.beat(leads=True, pages={})
        wait_until(lambda: one.bus.own_seconds is not None, "its own beat")
        if how == "killed":
            server.stop()
        else:
            server.signal(signal.SIGSTOP)
        begun = time.monotonic()
        for number in range(10_000):
            one.emit(number)
        assert time.monotonic() - begun < 2.0

        def beaten() -> bool:
            one.bus.beat(leads=True, pages={})
            other.bus.beat(leads=False, pages={})
            time.sleep(0.2)
            return bool(one.bus.trouble and other.bus.trouble)

        wait_until(beaten, "both to notice", 20)
        said, one.again, other.again = one.bus.trouble, 0, 0
        assert "refused" in said or "onnection" in said or "imeout" in said, said
        if how == "killed":
            server.start()
        else:
            server.signal(signal.SIGCONT)

        def back() -> bool:
            beaten()
            return not one.bus.trouble and not other.bus.trouble and one.again > 0 and other.again > 0

        wait_until(back, "both to be back, and dashboards to be told to fetch", 20)
        one.emitted.clear()
        other.emitted.clear()
        one.emit(-1)
        wait_until(lambda: -1 in other.emitted, "what is emitted from now on")


def test_a_url_that_is_none_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"web\.redis"):
        connect("http://127.0.0.1", None)
