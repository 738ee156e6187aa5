"""Whole nodes as processes, with the shipped model, a real broker, and sound from standard input."""

import contextlib
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.node.conftest import BrokerProcess
from tests.node.fake_hub import NODE, FakeHub, until
from tocsin_shared.audio import read_clip
from tocsin_shared.codec import decode
from tocsin_shared.events import Heartbeat, MicState, NodeBorn, NodeConnection, Phase, Presence
from tocsin_shared.features import Samples
from tocsin_shared.manifest import shipped_bundle

pytestmark = [pytest.mark.slow, pytest.mark.broker]
RATE = 16_000
BLOCK = RATE // 10

CONFIG = """
node = "{node}"
zone = "hall"
room = "Press 1"
heartbeat_seconds = 1.0
[source]
kind = "{kind}"
{source}
[broker]
port = {port}
{broker}
[outbox]
path = "outbox.sqlite"
{more}
"""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[BrokerProcess]:
    """One broker is enough here: the link's own tests run on all."""
    made = BrokerProcess("iotcore", "5", tmp_path)
    made.start()
    yield made
    made.kill()


@pytest.fixture
def hub(broker: BrokerProcess) -> Iterator[FakeHub]:
    made = FakeHub(broker)
    yield made
    made.stop()


class NodeProcess:
    """``tocsin node run``, hearing what :meth:`play` is given; a room is never quite silent."""

    def __init__(
        self,
        folder: Path,
        port: int,
        kind: str = "stdin",
        source: str = "",
        *,
        broker: str = "",
        more: str = "",
    ) -> None:
        config = folder / "node.toml"
        config.write_text(
            CONFIG.format(node=NODE, kind=kind, source=source, port=port, broker=broker, more=more)
        )
        self.log_path = folder / "node.log"
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tocsin_shared", "node", "run", "--config", str(config)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
            )
        self._random = np.random.default_rng(5)
        self._waiting: Samples = np.empty(0, dtype=np.float32)
        self._stop = threading.Event()
        self._player = threading.Thread(target=self._run, name="player")
        if kind == "stdin":
            self._player.start()

    @property
    def log(self) -> str:
        return self.log_path.read_text(encoding="utf-8")

    def play(self, samples: Samples) -> None:
        self._waiting = np.concatenate([self._waiting, samples])

    def end(self) -> int:
        """End the sound and wait for the node to stop by itself."""
        self._silence()
        return self.process.wait(15.0)

    def signal(self, number: int) -> int:
        self.process.send_signal(number)
        status = self.process.wait(15.0)
        self._silence()
        return status

    def _silence(self) -> None:
        self._stop.set()
        if self._player.is_alive():
            self._player.join(5.0)
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()

    def _run(self) -> None:
        assert self.process.stdin is not None
        due = time.monotonic()
        with contextlib.suppress(OSError, ValueError):
            while not self._stop.is_set():
                block = self._random.normal(0.0, 0.001, BLOCK)
                played, self._waiting = self._waiting[:BLOCK], self._waiting[BLOCK:]
                block[: len(played)] += played
                self.process.stdin.write((np.clip(block, -1, 1) * 32767).astype("<i2").tobytes())
                self.process.stdin.flush()
                due += BLOCK / RATE
                self._stop.wait(max(0.0, due - time.monotonic()))


@contextlib.contextmanager
def running(
    folder: Path, broker: BrokerProcess, kind: str = "stdin", source: str = "", **lines: str
) -> Iterator[NodeProcess]:
    made = NodeProcess(folder, broker.port, kind, source, **lines)
    try:
        yield made
    finally:
        if made.process.poll() is None:
            made.signal(signal.SIGKILL)


def alarm(seconds: float = 6.0) -> Samples:
    clip = read_clip(shipped_bundle() / "golden" / "smoke_alarm.wav")
    repeated: Samples = np.tile(clip, int(seconds * RATE / len(clip)) + 1)[: int(seconds * RATE)]
    return repeated


def test_an_alarm_in_the_room_reaches_the_hub_in_time_and_is_told_to_its_end(
    broker: BrokerProcess, hub: FakeHub, tmp_path: Path
) -> None:
    with running(tmp_path, broker) as node:
        until(lambda: "microphone: listening" in node.log, 20.0)
        time.sleep(3.0)
        began = time.time()
        node.play(alarm())
        until(hub.live)
        published = time.time() - began
        until(lambda: any(e.phase is Phase.OFFSET for e in hub.live()), 25.0)
        events = hub.live()
        assert node.signal(signal.SIGTERM) == 0
    onset, offset = events[0], events[-1]
    assert (onset.label, onset.node, onset.zone, onset.phase) == ("smoke_alarm", NODE, "hall", Phase.ONSET)
    assert {e.id for e in events if e.label == "smoke_alarm"} == {onset.id}
    assert published < 2.5
    assert abs(onset.onset.timestamp() - began) < 1.5
    assert offset.offset is not None
    assert onset.ambient_dbfs is not None
    assert onset.ambient_dbfs < -50.0
    assert offset.level_dbfs is not None
    assert offset.level_dbfs > -40.0
    told = re.search(
        rf"event seq={onset.seq} id={onset.id} label=smoke_alarm phase=onset score=[01]\.\d\d", node.log
    )
    assert told is not None
    assert "all delivered" in node.log


def test_the_hub_learns_who_the_node_is_how_it_fares_and_that_it_left(
    broker: BrokerProcess, hub: FakeHub, tmp_path: Path
) -> None:
    with running(tmp_path, broker) as node:
        until(lambda: any(decode(p, Heartbeat).mic is MicState.LISTENING for p in hub.payloads("hb")), 20.0)
        beat = decode(hub.payloads("hb")[-1], Heartbeat)
        birth = decode(hub.payloads("birth")[0], NodeBorn)
        assert node.end() == 0
        assert "end of standard input" in node.log
    assert beat.level_dbfs is not None
    assert -70.0 < beat.level_dbfs < -50.0
    assert (birth.node, birth.room, birth.source) == (NODE, "Press 1", "standard input")
    assert birth.bundle.startswith("sentry-")
    assert "smoke_alarm" in birth.labels
    until(lambda: len(hub.payloads("conn")) == 2)
    farewell = decode(hub.payloads("conn")[1], NodeConnection)
    assert (farewell.state, farewell.boot, farewell.session) == (Presence.OFFLINE, birth.boot, 1)


def test_a_sound_that_lasts_while_the_node_is_stopped_gets_its_end(
    broker: BrokerProcess, hub: FakeHub, tmp_path: Path
) -> None:
    with running(tmp_path, broker) as node:
        node.play(alarm(30.0))
        until(hub.live, 20.0)
        assert node.signal(signal.SIGINT) == 0
    assert [e.phase for e in hub.live() if e.label == "smoke_alarm"][-1] is Phase.OFFSET


def test_killed_without_a_broker_it_forgets_nothing_and_delivers_after_the_restart(
    broker: BrokerProcess, tmp_path: Path
) -> None:
    broker.kill()
    with running(tmp_path, broker) as node:
        node.play(alarm())
        until(lambda: "phase=onset" in node.log, 20.0)
        node.signal(signal.SIGKILL)
        told = set(re.findall(r"event seq=\d+ id=(\w+)", node.log))
        last = max(map(int, re.findall(r"event seq=(\d+)", node.log)))
    with contextlib.closing(sqlite3.connect(tmp_path / "outbox.sqlite")) as outbox:
        assert told <= {key for (key,) in outbox.execute("SELECT id FROM outbox")}
    broker.start()
    hub = FakeHub(broker)
    with running(tmp_path, broker) as node:
        until(lambda: told <= {e.id for e in hub.late()}, 20.0)
        assert node.end() == 0
    assert (decode(hub.payloads("birth")[0], NodeBorn).outbox_last or 0) >= last
    hub.stop()


def test_a_recording_is_played_at_its_own_speed_and_then_the_node_stops(
    broker: BrokerProcess, hub: FakeHub, tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "alarm.wav", alarm(), RATE)
    with running(tmp_path, broker, kind="file", source='path = "alarm.wav"') as node:
        began = time.monotonic()
        assert node.process.wait(60.0) == 0
        assert time.monotonic() - began > 6.0
        node.end()
    assert "smoke_alarm" in {e.label for e in hub.live() + hub.late()}
    assert "end of file alarm.wav" in node.log


@pytest.mark.parametrize(
    ("kind", "source", "named"),
    [
        ("file", 'path = "nowhere"', "there is no such file or folder"),
        ("stdin", "block_seconds = 1", "the nearest is 'block_ms'"),
        ("stdin", "[model]\nbundle = './nothing'", "is not a model bundle"),
        ("stdin", "[model]\nvariant = 'int2'", "has no variant 'int2'"),
    ],
)
def test_what_cannot_run_says_why_and_fails(tmp_path: Path, kind: str, source: str, named: str) -> None:
    node = NodeProcess(tmp_path, 1, kind, source)
    assert node.end() == 1
    assert named in node.log
    assert "Traceback" not in node.log


def test_a_second_node_on_the_same_outbox_is_refused(broker: BrokerProcess, tmp_path: Path) -> None:
    with running(tmp_path, broker) as first:
        until(lambda: "bundle=sentry" in first.log, 20.0)
        second = NodeProcess(tmp_path, broker.port)
        assert second.end() == 1
        assert "another node has it open" in second.log
        assert first.end() == 0
