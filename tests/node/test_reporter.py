"""What an event says: one id, one onset, and times that hold when the wall clock is set."""

from datetime import UTC, datetime, timedelta

import pytest

from tocsin_node.pipeline import Detected
from tocsin_node.reporter import Place, Reporter, Times, told_level
from tocsin_shared.codec import decode, encode
from tocsin_shared.detector import Change
from tocsin_shared.events import Clock, Phase, SoundDetected

START = datetime(2026, 5, 1, 12, 0, 0, tzinfo=UTC)


class Watch:
    """A wall clock and a monotonic clock that the test moves."""

    def __init__(self) -> None:
        self.wall_seconds = START.timestamp()
        self.mono_seconds = 1000.0

    def wait(self, seconds: float) -> None:
        self.wall_seconds += seconds
        self.mono_seconds += seconds


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def reporter(watch: Watch) -> Reporter:
    times = Times(lambda: watch.wall_seconds, lambda: watch.mono_seconds, lambda: Clock.NTP)
    return Reporter(Place("press-1", "hall", "b1", "sentry-0.1.0+full-int8"), times)


def detected(
    phase: Phase,
    number: int = 1,
    onset: float = 998.5,
    offset: float | None = None,
    level: float | None = -20.0,
) -> Detected:
    change = Change(phase, number, "siren", 0.98765, (("siren", 0.98765), ("speech", 0.1)), 1.0, None, level)
    return Detected(change, onset, offset, ambient_dbfs=-61.234)


def test_the_onset_is_told_in_utc_as_long_ago_as_it_was(reporter: Reporter) -> None:
    event = reporter.event(detected(Phase.ONSET), 7)
    assert event.onset == START - timedelta(seconds=1.5)
    assert (event.seq, event.node, event.zone, event.boot) == (7, "press-1", "hall", "b1")
    assert (event.score, event.level_dbfs, event.ambient_dbfs) == (0.9877, -20.0, -61.2)
    assert event.mono_ns == 1000 * 10**9
    assert decode(encode(event), SoundDetected) == event


def test_all_phases_share_id_and_onset_though_the_wall_clock_is_set_between(
    reporter: Reporter, watch: Watch
) -> None:
    onset = reporter.event(detected(Phase.ONSET), 1)
    watch.wall_seconds += 86_400.0
    watch.wait(5.0)
    update = reporter.event(detected(Phase.UPDATE), 2)
    offset = reporter.event(detected(Phase.OFFSET, offset=1004.5), 3)
    assert onset.id == update.id == offset.id
    assert onset.onset == update.onset == offset.onset
    assert offset.offset == onset.onset + timedelta(seconds=6.0)


def test_two_detections_have_two_ids_and_a_number_that_comes_again_is_a_new_one(reporter: Reporter) -> None:
    first = reporter.event(detected(Phase.ONSET, 1), 1)
    second = reporter.event(detected(Phase.ONSET, 2), 2)
    reporter.event(detected(Phase.OFFSET, 1, offset=999.0), 3)
    again = reporter.event(detected(Phase.ONSET, 1), 4)
    assert len({first.id, second.id, again.id}) == 3


def test_a_sound_never_ends_before_it_began(reporter: Reporter) -> None:
    reporter.event(detected(Phase.ONSET), 1)
    offset = reporter.event(detected(Phase.OFFSET, offset=998.4), 2)
    assert offset.offset == offset.onset


@pytest.mark.parametrize(
    ("level", "told"), [(None, None), (-20.04, -20.0), (-600.0, -200.0), (40.0, 20.0), (-0.04, 0.0)]
)
def test_levels_keep_to_the_limits_of_the_wire(level: float | None, told: float | None) -> None:
    assert told_level(level) == told
