"""A trouble has one id from its start to its end, and its times hold when the wall clock is set."""

import threading
from datetime import UTC, datetime, timedelta

import pytest

from tocsin_node.troubles import KEPT_ENDED, Troubles
from tocsin_shared.codec import decode, encode
from tocsin_shared.events import TroubleKind, TroublesChanged

START = datetime(2026, 5, 1, 12, 0, 0, tzinfo=UTC)


class Watch:
    """Two clocks that the test moves, and a count of changes."""

    def __init__(self) -> None:
        self.wall = START.timestamp()
        self.mono = 50.0
        self.changes = 0
        self.troubles = Troubles(lambda: self.wall, lambda: self.mono, self.changed)

    def changed(self) -> None:
        self.changes += 1

    def wait(self, seconds: float) -> None:
        self.wall += seconds
        self.mono += seconds


@pytest.fixture
def watch() -> Watch:
    return Watch()


def test_a_trouble_keeps_its_id_from_start_to_end(watch: Watch) -> None:
    assert watch.troubles.begin(TroubleKind.MIC_ABSENT, "unplugged")
    (begun,) = watch.troubles.open()
    watch.wait(60.0)
    assert not watch.troubles.begin(TroubleKind.MIC_ABSENT, "still unplugged")
    assert watch.troubles.end(TroubleKind.MIC_ABSENT)
    assert not watch.troubles.end(TroubleKind.MIC_ABSENT)
    (ended,) = watch.troubles.message("press-1", "b1").troubles
    assert (ended.id, ended.kind, ended.detail) == (begun.id, "mic_absent", "unplugged")
    assert (ended.since, ended.until) == (START, START + timedelta(seconds=60))
    assert watch.troubles.open() == ()
    assert watch.changes == 2


def test_its_times_follow_a_clock_that_was_set_late(watch: Watch) -> None:
    """A board without a clock starts in 1970; once the clock is right, so is the start of the trouble."""
    watch.wall = 10.0
    watch.troubles.begin(TroubleKind.CLOCK)
    watch.wait(30.0)
    watch.wall = START.timestamp()
    (told,) = watch.troubles.open()
    assert told.since == START - timedelta(seconds=30)
    watch.wall = 5.0
    assert watch.troubles.open()[0].since == datetime(1970, 1, 1, tzinfo=UTC)


def test_the_message_can_be_read_however_much_there_is_to_tell(watch: Watch) -> None:
    for _ in range(3 * KEPT_ENDED):
        watch.troubles.begin(TroubleKind.MIC_DROPS, "x" * 1000)
        watch.troubles.end(TroubleKind.MIC_DROPS)
    for kind in TroubleKind:
        watch.troubles.begin(kind, "é" * 1000)
    read = decode(encode(watch.troubles.message("press-1", "b1")), TroublesChanged)
    assert [one.kind for one in read.troubles if one.until is None] == list(TroubleKind)
    assert len(read.troubles) == KEPT_ENDED + len(TroubleKind)


def test_many_threads_open_one_trouble_once(watch: Watch) -> None:
    news: list[bool] = []
    threads = [
        threading.Thread(target=lambda: news.append(watch.troubles.begin(TroubleKind.DISK)))
        for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert news.count(True) == 1
    assert len(watch.troubles.open()) == 1
