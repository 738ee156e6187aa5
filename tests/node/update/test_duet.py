"""Two pipelines over one stream: they change places, and no window of sound goes unheard."""

import threading
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.node.fake_judge import RATE, FakeJudge, tone
from tocsin_node.duet import Duet
from tocsin_node.pipeline import Detected, Pipeline, Sound
from tocsin_node.update.attempt import comparing
from tocsin_node.update.shadow import ShadowLimits, Tally
from tocsin_shared.classifier import Scores
from tocsin_shared.errors import BundleError, UnavailableError
from tocsin_shared.events import Phase
from tocsin_shared.features import Frames, Samples


class Stage:
    """A duet, and the ears that feed it, in the thread of the test."""

    def __init__(self, block: int = 1600) -> None:
        self.first, self.second = FakeJudge(), FakeJudge()
        self.duet = Duet(Pipeline(self.first, 0.5), 0.5)
        self.ends: list[float] = []
        self.duet.on_window = lambda end, _scores: self.ends.append(end)
        self.block, self.pushed = block, 0

    def hear(self, samples: Samples) -> list[Detected]:
        found: list[Detected] = []
        for start in range(0, len(samples), self.block):
            piece = samples[start : start + self.block]
            self.pushed += len(piece)
            found += self.duet.push(Sound(piece, 1000.0 + self.pushed / RATE))
        return found

    def asked(self, ask: Callable[[], object]) -> object:
        """What a thread is answered that asks while the ears hear."""
        answers: list[object] = []
        thread = threading.Thread(target=lambda: answers.append(ask()))
        thread.start()
        while thread.is_alive():
            self.hear(tone(0.05, amplitude=0.001))
            thread.join(0.01)
        return answers[0]


@settings(max_examples=5, deadline=None)
@given(st.integers(100, 20_000), st.floats(0.1, 2.0))
def test_the_two_change_places_and_no_window_is_missed(block: int, seconds: float) -> None:
    """Whatever the length of blocks, and wherever in a hop it happens; and back again."""
    stage = Stage(block)
    stage.hear(tone(3.0 + seconds, amplitude=0.001))
    assert stage.asked(lambda: stage.duet.attach(stage.second))
    stage.hear(tone(3.0, amplitude=0.001))
    assert stage.asked(stage.duet.swap)
    assert stage.duet.judge is stage.second
    stage.hear(tone(2.0 + seconds, amplitude=0.001))
    assert stage.asked(stage.duet.swap)
    stage.hear(tone(2.0, amplitude=0.001))
    assert stage.duet.judge is stage.first
    gaps = np.diff(stage.ends)
    assert gaps == pytest.approx(np.full(len(gaps), 0.5))
    assert stage.duet.missed_windows == 0


def test_a_missed_window_would_be_counted() -> None:
    """The count is one that can be other than 0."""
    stage = Stage()
    stage.hear(tone(4.0, amplitude=0.001))
    stage.duet._speaking = Pipeline(stage.second, 0.5, begins=stage.pushed)
    stage.duet._listen_to()
    stage.hear(tone(4.0, amplitude=0.001))
    assert stage.duet.missed_windows >= 3


def test_who_waits_in_vain_is_told_and_nothing_happens_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """No sound comes: the wish is given up, and is not granted behind the back of who gave it up."""
    monkeypatch.setattr("tocsin_node.duet.ASK_SECONDS", 0.05)
    stage = Stage()
    with pytest.raises(UnavailableError):
        stage.duet.attach(stage.second)
    stage.hear(tone(4.0, amplitude=0.001))
    assert not stage.duet.has_other


def test_an_alarm_across_the_change_is_told_once_from_start_to_end() -> None:
    """They do not change places while it lasts."""
    stage = Stage()
    stage.hear(tone(3.0, amplitude=0.001))
    stage.asked(lambda: stage.duet.attach(stage.second))
    found = stage.hear(np.concatenate([tone(3.0, amplitude=0.001), tone(4.0)]))
    assert not stage.asked(stage.duet.swap)
    found += stage.hear(tone(8.0, amplitude=0.001))
    assert stage.asked(stage.duet.swap)
    found += stage.hear(np.concatenate([tone(4.0), tone(8.0, amplitude=0.001)]))
    phases = [one.change.phase for one in found if one.change.phase is not Phase.UPDATE]
    assert phases == [Phase.ONSET, Phase.OFFSET, Phase.ONSET, Phase.OFFSET]


class Broken(FakeJudge):
    """Fails from the moment it is told to."""

    failing = False

    def scores(self, window: Frames) -> Scores:
        if self.failing:
            raise BundleError("the model answered with values that are no numbers")
        return super().scores(window)


def test_d51_one_beside_that_fails_is_silenced_and_the_ears_hear_on() -> None:
    """The active one does not even notice."""
    stage, broken = Stage(), Broken()
    stage.hear(tone(3.0, amplitude=0.001))
    stage.asked(lambda: stage.duet.attach(broken))
    broken.failing = True
    stage.hear(tone(4.0, amplitude=0.001))
    assert "no numbers" in stage.duet.failure
    assert not stage.duet.has_other
    assert stage.duet.missed_windows == 0


def test_one_on_trial_that_fails_loses_its_place_at_once_with_every_window_judged() -> None:
    """The bundle before has heard all along, and tells what is there."""
    stage, broken = Stage(), Broken()
    stage.hear(tone(3.0, amplitude=0.001))
    stage.asked(lambda: stage.duet.attach(broken))
    stage.hear(tone(3.0, amplitude=0.001))
    assert stage.asked(stage.duet.swap)
    broken.failing = True
    found = stage.hear(np.concatenate([tone(4.0), tone(4.0, amplitude=0.001)]))
    assert stage.duet.judge is stage.first
    assert next(one.change.phase for one in found) is Phase.ONSET
    assert np.diff(stage.ends).max() == pytest.approx(0.5)
    alone = Stage()
    alone.duet = Duet(Pipeline(broken, 0.5), 0.5)
    with pytest.raises(BundleError):
        alone.hear(tone(4.0))


def test_one_beside_that_is_too_slow_is_silenced() -> None:
    """It would make the ears late."""
    now = [0.0]
    first, second = FakeJudge(), FakeJudge()
    duet = Duet(Pipeline(first, 0.5), 0.5, timer=lambda: now[0])
    real = second.scores

    def slow(window: Frames) -> Scores:
        now[0] += 0.8
        return real(window)

    second.scores = slow  # type: ignore[method-assign]
    stage = Stage()
    stage.duet = duet
    stage.hear(tone(3.0, amplitude=0.001))
    stage.asked(lambda: duet.attach(second))
    stage.hear(tone(8.0, amplitude=0.001))
    assert "longer than a hop" in duet.failure


def tallied(active: float, other: float, samples: Samples) -> Tally:
    """Two judges of different sureness over ``samples``."""
    stage, tally = Stage(), Tally()
    stage.first.sureness, stage.second.sureness = active, other
    stage.duet.compared = comparing(tally, stage.duet, stage.second)  # type: ignore[arg-type]
    stage.hear(tone(3.0, amplitude=0.001))
    stage.asked(lambda: stage.duet.attach(stage.second))
    stage.hear(samples)
    return tally


ALARM = np.concatenate([tone(3.0, amplitude=0.001), tone(5.0), tone(6.0, amplitude=0.001)])
QUIET = tone(12.0, amplitude=0.001)


def test_d50_one_that_never_alarms_is_refused() -> None:
    """What the active one is sure of must be heard."""
    assert "missed siren" in tallied(1.0, 0.2, ALARM).objection(ShadowLimits())
    assert tallied(1.0, 0.98, ALARM).objection(ShadowLimits()) == ""


def test_d50_one_that_always_alarms_is_refused() -> None:
    """More often than the active one by more than may be."""
    tally = tallied(0.3, 1.0, np.concatenate([ALARM, ALARM, ALARM, ALARM]))
    assert "times" in tally.objection(ShadowLimits())
    assert "differ in" in tally.objection(ShadowLimits(spare_alarms=99))


def test_windows_are_compared_at_the_same_places() -> None:
    """Two that are the same never differ, even while sounds begin and end."""
    tally = tallied(1.0, 1.0, np.concatenate([ALARM, ALARM, QUIET]))
    assert tally.windows >= 60
    assert tally.disagreements == 0
    assert tally.active == tally.other
