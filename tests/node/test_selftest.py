"""The node's test of itself: what it must prove, what it says when that fails, and whom it never disturbs."""

import signal
from pathlib import Path

import msgspec
import numpy as np
import pytest

from tests.node.conftest import BrokerProcess
from tests.node.events import event
from tests.node.fake_hub import NODE, FakeHub, until
from tests.node.fake_judge import FakeJudge, tone
from tests.node.test_agent import alarm, broker, hub, running
from tocsin_node.pipeline import Detected, Pipeline, Sound
from tocsin_node.selftest import LABEL, REQUEST_SECONDS, STORE_SECONDS, SelfTest
from tocsin_node.troubles import Troubles
from tocsin_shared.codec import decode
from tocsin_shared.events import Phase, SoundDetected, TroublesChanged
from tocsin_shared.features import Samples

__all__ = ["broker", "hub"]
RATE = 16_000
BLOCK = RATE // 10


class Bench:
    """A self-test every hour, a judge that hears whatever is loud, and a clock that sound drives."""

    def __init__(self, every_seconds: float = 3600.0) -> None:
        self.judge = FakeJudge()
        first, *others = self.judge.manifest.labels
        labels = (msgspec.structs.replace(first, name=LABEL), *others)
        self.judge.manifest = msgspec.structs.replace(self.judge.manifest, labels=labels)
        self.now = 1000.0
        self.troubles = Troubles(lambda: self.now, lambda: self.now)
        self.selftest = SelfTest(every_seconds, RATE, lambda: Pipeline(self.judge, 0.5), self.troubles)
        self.told: list[SoundDetected] = []

    def listen(self, seconds: float, live: Samples | None = None, stores: bool = True) -> list[Detected]:
        """Let a quiet room, or ``live``, be heard; the hub stores what is told, unless it does not."""
        random = np.random.default_rng(3)
        found: list[Detected] = []
        for _ in range(round(seconds * 10)):
            self.now += 0.1
            block = random.normal(0.0, 1e-4, BLOCK).astype(np.float32) if live is None else live[:BLOCK]
            news = self.selftest.heard(Sound(block, self.now))
            for one in news:
                told = event(len(self.told) + 1)
                self.told.append(told)
                self.selftest.told(told)
                if stores:
                    self.selftest.committed([told.id])
                found.append(one)
        return found

    @property
    def failures(self) -> list[str]:
        return [one.detail for one in self.troubles.open()]


def test_it_runs_when_it_is_due_and_passes_when_the_hub_has_its_event() -> None:
    bench = Bench()
    assert bench.listen(3600.0 - 1.0) == []
    found = bench.listen(20.0)
    assert [one.change.phase for one in found if one.change.phase is not Phase.UPDATE] == [
        Phase.ONSET,
        Phase.OFFSET,
    ]
    assert {one.change.label for one in found} == {LABEL}
    assert bench.failures == []
    assert bench.troubles.message("press-1", "b1").troubles == ()


def test_a_network_that_recognises_nothing_fails_it_and_one_that_does_ends_the_trouble() -> None:
    bench = Bench(0.0)
    bench.judge.sureness = 0.0
    bench.selftest.request()
    bench.listen(20.0)
    assert [one.kind for one in bench.troubles.open()] == ["selftest_failed"]
    assert "not recognised" in bench.failures[0]
    bench.judge.sureness = 1.0
    bench.listen(REQUEST_SECONDS)
    bench.selftest.request()
    bench.listen(20.0)
    assert bench.failures == []
    assert len(bench.troubles.message("press-1", "b1").troubles) == 1


def test_a_hub_that_stores_nothing_fails_it() -> None:
    bench = Bench(0.0)
    bench.selftest.request()
    bench.listen(STORE_SECONDS, stores=False)
    assert bench.failures == []
    bench.listen(20.0, stores=False)
    assert "the hub has not stored it" in bench.failures[0]


def test_the_word_of_the_hub_about_another_event_is_no_proof() -> None:
    bench = Bench(0.0)
    bench.selftest.request()
    bench.listen(5.0, stores=False)
    bench.selftest.committed([event(99).id])
    bench.listen(STORE_SECONDS + 20.0, stores=False)
    assert len(bench.failures) == 1


def test_it_does_not_run_when_it_is_off_nor_more_often_than_once_a_minute() -> None:
    assert Bench(0.0).listen(7200.0) == []
    bench = Bench(0.0)
    bench.selftest.request()
    first = len(bench.listen(30.0))
    assert first > 0
    bench.selftest.request()
    assert bench.listen(20.0) == []


def test_a_test_that_sound_runs_out_of_is_ended_and_begun_anew_later() -> None:
    bench = Bench(60.0)
    bench.listen(65.0)
    assert [one.change.phase for one in bench.selftest.abandon()] == [Phase.OFFSET]
    assert bench.selftest.abandon() == []
    assert bench.failures == []
    assert [one.change.phase for one in bench.listen(20.0)][-1] is Phase.OFFSET


def test_the_sound_of_the_room_is_not_changed() -> None:
    bench = Bench(0.0)
    live = tone(0.1, amplitude=0.9)
    before = live.copy()
    bench.selftest.request()
    bench.listen(20.0, live)
    assert np.array_equal(live, before)


@pytest.mark.slow
@pytest.mark.broker
def test_a_whole_node_tests_itself_on_command_while_a_real_alarm_stays_real(
    broker: BrokerProcess, hub: FakeHub, tmp_path: Path
) -> None:
    """With the shipped model: what is told of the test is marked, what is told of the room is not."""
    with running(tmp_path, broker) as node:
        until(lambda: "hub is online" in node.log and "microphone: listening" in node.log, 30.0)
        hub.say(f"tocsin/v1/n/{NODE}/cmd/selftest", b"")
        until(lambda: any(one.test for one in hub.live()), 30.0)
        node.play(alarm())
        until(lambda: any(not one.test for one in hub.live()), 30.0)
        until(lambda: "self-test passed" in node.log, 30.0)
        assert node.signal(signal.SIGTERM) == 0
    told = {one.id: one for one in hub.live()}.values()
    assert {(one.label, one.test, one.phase) for one in told} == {
        (LABEL, True, Phase.OFFSET),
        (LABEL, False, Phase.OFFSET),
    }
    for payload in hub.payloads("troubles"):
        kinds = {one.kind for one in decode(payload, TroublesChanged).troubles}
        assert "selftest_failed" not in kinds
