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
        self.trust = Clock.NTP

    def wait(self, seconds: float) -> None:
        self.wall_seconds += seconds
        self.mono_seconds += seconds


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def reporter(watch: Watch) -> Reporter:
    times = Times(lambda: watch.wall_seconds, lambda: watch.mono_seconds, lambda: watch.trust)
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


def test_an_onset_that_a_wrong_clock_told_is_put_right_while_the_sound_lasts(
    reporter: Reporter, watch: Watch
) -> None:
    watch.wall_seconds, watch.trust = 40.0, Clock.UNSYNCED
    first = reporter.event(detected(Phase.ONSET), 1)
    assert (first.clock, first.onset) == (Clock.UNSYNCED, datetime(1970, 1, 1, 0, 0, 38, 500_000, tzinfo=UTC))
    watch.wait(5.0)
    watch.wall_seconds = START.timestamp()
    still = reporter.event(detected(Phase.UPDATE), 2)
    assert (still.clock, still.onset) == (Clock.UNSYNCED, first.onset), "nobody vouches for the clock yet"
    watch.trust = Clock.NTP
    later = reporter.event(detected(Phase.UPDATE), 3)
    watch.trust = Clock.UNSYNCED
    last = reporter.event(detected(Phase.OFFSET, offset=1001.5), 4)
    assert first.id == later.id == last.id
    assert (later.clock, later.onset) == (Clock.NTP, START - timedelta(seconds=6.5))
    assert (last.clock, last.onset) == (Clock.NTP, later.onset)
    assert last.offset == later.onset + timedelta(seconds=3.0)
    assert {event.onset_mono_ns for event in (first, still, later, last)} == {998_500_000_000}


def test_a_time_before_1970_is_told_as_1970_which_the_hub_can_show(reporter: Reporter, watch: Watch) -> None:
    watch.wall_seconds, watch.trust = 0.5, Clock.UNSYNCED
    assert reporter.event(detected(Phase.ONSET), 1).onset == datetime(1970, 1, 1, tzinfo=UTC)
