"""The node's test of itself: what it must prove, what it says when that fails, and whom it never disturbs."""

import signal
from collections.abc import Callable
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
from tocsin_shared.errors import UnavailableError
from tocsin_shared.events import Phase, SoundDetected, TroublesChanged
from tocsin_shared.features import Samples

__all__ = ["broker", "hub"]
RATE = 16_000
BLOCK = RATE // 10


class Bench:
    """A self-test every hour, a judge that hears whatever is loud, and a clock that sound drives."""

    def __init__(self, every_seconds: float = 3600.0, play: Callable[[Samples], None] | None = None) -> None:
        self.judge = FakeJudge()
        first, *others = self.judge.manifest.labels
        labels = (msgspec.structs.replace(first, name=LABEL), *others)
        self.judge.manifest = msgspec.structs.replace(self.judge.manifest, labels=labels)
        self.now = 1000.0
        self.troubles = Troubles(lambda: self.now, lambda: self.now)
        self.selftest = SelfTest(
            every_seconds, RATE, lambda: Pipeline(self.judge, 0.5), self.troubles, play=play
        )
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


class Room:
    """A room with a speaker in it: what is played is what the bench's listening pipeline hears."""

    def __init__(self) -> None:
        self.sounding: Samples = np.empty(0, dtype=np.float32)
        self.bench = Bench(0.0, self.play)
        self.pipeline = Pipeline(self.bench.judge, 0.5)
        self.marks: list[tuple[Phase, bool]] = []

    def play(self, samples: Samples) -> None:
        self.sounding = samples

    def live_on(self, seconds: float, alarm_lasts: bool = False) -> None:
        bench, live = self.bench, tone(0.1)
        for _ in range(round(seconds * 10)):
            bench.now += 0.1
            piece, self.sounding = self.sounding[:BLOCK], self.sounding[BLOCK:]
            block = np.random.default_rng(3).normal(0.0, 1e-4, BLOCK).astype(np.float32)
            block[: len(piece)] += piece
            block = live if alarm_lasts else block
            found = self.pipeline.push(Sound(block, bench.now))
            assert bench.selftest.heard(Sound(block, bench.now)) == []
            for one in found + bench.selftest.corrections():
                told = event(len(self.marks) + 1)
                test = bench.selftest.claims(one)
                self.marks.append((one.change.phase, test))
                if test:
                    bench.selftest.told(told)
                    bench.selftest.committed([told.id])


def test_an_alarm_that_is_played_passes_through_the_room_and_is_all_told_as_a_test() -> None:
    room = Room()
    room.live_on(5.0)
    room.bench.selftest.request()
    room.live_on(40.0)
    phases = [mark for mark in room.marks if mark[0] is not Phase.UPDATE]
    assert phases == [(Phase.ONSET, True), (Phase.OFFSET, True)] * (len(phases) // 2)
    assert phases
    assert room.bench.failures == []


def test_a_real_alarm_that_begins_during_the_test_is_told_as_real_once_the_test_must_be_over() -> None:
    room = Room()
    room.live_on(5.0)
    room.bench.selftest.request()
    room.live_on(2.0)
    room.live_on(30.0, alarm_lasts=True)
    assert room.marks[0] == (Phase.ONSET, True)
    assert (Phase.UPDATE, False) in room.marks
    room.live_on(10.0)
    assert room.marks[-1] == (Phase.OFFSET, False)


def test_an_alarm_that_sounded_before_is_real_from_the_first_word_and_is_not_played_over() -> None:
    room = Room()
    room.live_on(5.0)
    room.live_on(5.0, alarm_lasts=True)
    room.bench.selftest.request()
    room.live_on(5.0, alarm_lasts=True)
    assert {test for _, test in room.marks} == {False}
    room.live_on(40.0)
    assert {test for _, test in room.marks} == {False, True}, "the test comes later"


def test_a_speaker_that_cannot_be_used_fails_the_test_with_its_reason() -> None:
    def play(_samples: Samples) -> None:
        raise UnavailableError("the speaker cannot be used: unplugged")

    bench = Bench(0.0, play)
    bench.selftest.request()
    bench.listen(1.0)
    assert bench.failures == ["the speaker cannot be used: unplugged"]


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
