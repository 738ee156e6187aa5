"""Which thread stands still, and since when."""

from hypothesis import given
from hypothesis import strategies as st

from tocsin_node.beats import Beats


def test_a_thread_that_falls_silent_is_named_with_the_length_of_its_silence() -> None:
    beats = Beats(30.0)
    beats.beat("ears", 0.0)
    beats.beat("sender", 20.0)
    assert beats.stalled(30.0) == []
    assert [str(stall) for stall in beats.stalled(40.0)] == ["ears for 40 s"]
    assert [stall.name for stall in beats.stalled(60.0)] == ["ears", "sender"]
    beats.beat("ears", 60.0)
    assert [stall.name for stall in beats.stalled(60.0)] == ["sender"]


def test_a_pause_that_was_announced_is_no_stall_but_ends() -> None:
    beats = Beats(30.0)
    beats.beat("link", 0.0, pause_seconds=60.0)
    assert beats.stalled(90.0) == []
    assert [stall.name for stall in beats.stalled(90.1)] == ["link"]
    beats.beat("link", 91.0)
    assert beats.stalled(121.0) == []
    assert beats.stalled(121.1) != []


@given(st.lists(st.floats(0.0, 29.9), min_size=1, max_size=50), st.floats(0.0, 1000.0))
def test_who_beats_often_enough_is_never_called_stalled_and_who_stops_always_is(
    gaps: list[float], silence: float
) -> None:
    beats, now = Beats(30.0), 0.0
    for gap in gaps:
        beats.beat("ears", now)
        now += gap
        assert beats.stalled(now) == []
    last = now - gaps[-1]
    assert bool(beats.stalled(last + silence)) == (last + silence > last + 30.0)
