"""Whole nodes without hub, broker or disk, or stopped at any moment: nothing is lost in silence."""

import contextlib
import random
import re
import resource
import signal
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.node.conftest import BrokerProcess
from tests.node.events import event
from tests.node.fake_hub import FakeHub, until
from tests.node.test_agent import alarm, running
from tests.node.test_lamp import program
from tests.node.test_watchdog import supervised
from tocsin_node.outbox import Outbox
from tocsin_shared.codec import decode
from tocsin_shared.events import Trouble, TroublesChanged

pytestmark = [pytest.mark.slow, pytest.mark.broker]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[BrokerProcess]:
    """One broker is enough here: the link's own tests run on all."""
    made = BrokerProcess("mosquitto", "5", tmp_path)
    made.start()
    yield made
    made.kill()


def troubles(hub: FakeHub) -> dict[str, Trouble]:
    """The newest trouble of each kind, as the hub was told last."""
    told = hub.payloads("troubles")
    return {one.kind: one for one in decode(told[-1], TroublesChanged).troubles} if told else {}


def files(folder: Path) -> list[Path]:
    return [path for path in (folder / "outbox.sqlite", folder / "outbox.sqlite-wal") if path.exists()]


def test_a_broken_database_and_then_a_full_disk_keep_no_alarm_from_the_hub(
    broker: BrokerProcess, tmp_path: Path
) -> None:
    (tmp_path / "outbox.sqlite").write_bytes(b"no database at all " * 100)
    hub = FakeHub(broker)
    with running(tmp_path, broker) as node:
        until(lambda: "outbox_corrupt" in troubles(hub), 30.0)
        assert len(list(tmp_path.glob("outbox.sqlite.broken-*"))) == 1
        # From here on no file of the node may grow, not even its log: the kernel's own refusal.
        largest = max(path.stat().st_size for path in [*files(tmp_path), node.log_path])
        before = resource.prlimit(node.process.pid, resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))
        hub.acks = False
        while "disk" not in troubles(hub):
            node.play(alarm(3.0))
            known = len(hub.live())
            until(lambda: len(hub.live()) > known or "disk" in troubles(hub), 30.0)  # noqa: B023
        known = len(hub.live())
        node.play(alarm(4.0))
        until(lambda: len(hub.live()) > known, 30.0)
        assert troubles(hub)["disk"].until is None
        resource.prlimit(node.process.pid, resource.RLIMIT_FSIZE, before)
        until(lambda: troubles(hub)["disk"].until is not None, 30.0)
        hub.acks = True
        hub.commit(hub.live())
        assert node.signal(signal.SIGTERM) == 0
        assert "all delivered" in node.log
    hub.stop()


def test_with_no_broker_at_all_the_room_itself_is_warned_until_the_hub_has_the_alarm(
    broker: BrokerProcess, tmp_path: Path
) -> None:
    broker.kill()
    command, notes = program(tmp_path)
    words = ", ".join(f"'''{word}'''" for word in command)
    warning = f"[warning]\ncommand = [{words}]\nseconds = 600.0\n"
    with running(tmp_path, broker, more=warning) as node:
        until(lambda: notes() == ["off"], 30.0)
        node.play(alarm(6.0))
        until(lambda: notes() == ["off", "on"], 30.0)
        assert "the hub does not acknowledge an alarm" in node.log
        node.signal(signal.SIGKILL)
    with running(tmp_path, broker, more=warning):
        until(lambda: notes() == ["off", "on", "on"], 30.0)  # a node that died warns on, without a new sound
        broker.start()
        hub = FakeHub(broker)
        until(lambda: notes() == ["off", "on", "on", "off"], 60.0)
        assert "smoke_alarm" in {one.label for one in hub.late() + hub.live()}
    hub.stop()


def test_stopped_at_any_moment_it_loses_nothing_and_delivers_the_rest_the_next_time(
    broker: BrokerProcess, tmp_path: Path
) -> None:
    chance = random.Random(4)
    path = tmp_path / "node-outbox.sqlite"
    outbox = Outbox(path, 10_000_000)
    outbox.open()
    told = {outbox.add(lambda seq: event(seq, "dog_bark")).id for _ in range(800)}
    outbox.close()
    hub = FakeHub(broker)
    for turn in range(5):
        hub.acks = turn != 2
        with supervised(tmp_path / f"{turn}", broker.port, "", outbox=path) as node:
            if turn:  # the first is stopped wherever it stands, before it hears or in the middle of it
                until(lambda: "READY=1" in node.heard, 30.0)
            time.sleep(chance.uniform(0.5, 5.5))
            node.process.send_signal(signal.SIGTERM)
            assert node.process.wait(30.0) in ({0} if turn else {0, -signal.SIGTERM})
            told |= set(re.findall(r"event seq=\d+ id=(\w+)", node.log))
    with contextlib.closing(sqlite3.connect(path)) as database:
        waiting = {key for (key,) in database.execute("SELECT id FROM outbox")}
        (last,) = database.execute("SELECT seq FROM sqlite_sequence WHERE name = 'outbox'").fetchone()
    assert told <= waiting | {one.id for one in hub.live() + hub.late()}
    hub.acks = True
    with supervised(tmp_path / "last", broker.port, "", outbox=path):
        until(lambda: set(range(1, last + 1)) <= hub.seqs(), 60.0)
    assert told <= {one.id for one in hub.live() + hub.late()}
    assert len(told) > 800, "some were heard in between"
    hub.stop()
