"""Rules of clips: never with speech, never beyond size and age."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.node.events import event
from tocsin_node.keeping import (
    Judged,
    KeptClip,
    Span,
    from_the_future,
    is_free_of_speech,
    is_wanted,
    must_go,
)
from tocsin_shared.events import Phase

SPANS = st.tuples(st.integers(0, 300), st.integers(0, 100)).map(lambda two: Span(two[0], two[0] + two[1]))
SCORES = st.sampled_from([0.0, 0.05, 0.1, 0.9, 1.0, math.nan])
WINDOWS = st.lists(st.builds(Judged, SPANS, SCORES), max_size=12).map(
    lambda windows: sorted(windows, key=lambda one: one.span.begin)
)
CLIPS = st.lists(
    st.builds(KeptClip, st.uuids().map(str), st.floats(0.0, 1e6), st.integers(1, 1000)),
    max_size=20,
    unique_by=lambda clip: clip.id,
)


@settings(deadline=None)
@given(span=SPANS, windows=WINDOWS, limit=st.sampled_from([0.0, 0.05, 0.5]))
def test_what_is_kept_was_judged_at_every_sample_and_holds_no_speech(
    span: Span, windows: list[Judged], limit: float
) -> None:
    touching = [one for one in windows if one.span.begin < span.end and one.span.end > span.begin]
    speech = any(not one.speech <= limit for one in touching)
    judged = all(
        any(one.span.begin <= at < one.span.end for one in touching) for at in range(span.begin, span.end)
    )
    wanted = span.begin < span.end and judged and not speech
    assert is_free_of_speech(span, windows, limit) == wanted


def test_a_clip_without_speech_is_kept_and_one_word_at_its_edge_forbids_it() -> None:
    quiet = [Judged(Span(at, at + 20), 0.01) for at in range(0, 100, 10)]
    assert is_free_of_speech(Span(15, 70), quiet, 0.05)
    assert not is_free_of_speech(Span(15, 70), [*quiet, Judged(Span(69, 89), 0.06)], 0.05)
    assert not is_free_of_speech(Span(15, 70), [], 0.05)


@settings(deadline=None)
@given(clips=CLIPS, now=st.floats(0.0, 2e6), coming=st.integers(0, 500), most=st.integers(500, 5000))
def test_what_stays_is_within_size_and_age_and_no_older_than_what_goes(
    clips: list[KeptClip], now: float, coming: int, most: int
) -> None:
    going = must_go(clips, now, max_age_seconds=1e5, max_bytes=most, coming_bytes=coming)
    staying = [clip for clip in clips if clip not in going]
    assert sum(clip.size_bytes for clip in staying) + coming <= most
    assert all(now - clip.written <= 1e5 for clip in staying)
    assert all(one.written <= other.written for one in going for other in staying)
    if going and now - going[-1].written <= 1e5:  # the last of them had to go for its size
        back = sum(clip.size_bytes for clip in staying) + going[-1].size_bytes + coming
        assert back > most


def test_clips_of_a_clock_that_ran_ahead_are_known() -> None:
    old, new = KeptClip("a", 10.0, 1), KeptClip("b", 30.0, 1)
    assert from_the_future([old, new], 20.0) == [new]


@pytest.mark.parametrize(
    ("label", "phase", "test", "wanted"),
    [
        ("smoke_alarm", Phase.ONSET, False, True),
        ("smoke_alarm", Phase.ONSET, True, False),
        ("smoke_alarm", Phase.UPDATE, False, False),
        ("smoke_alarm", Phase.OFFSET, False, False),
        ("knock", Phase.ONSET, False, False),
        ("speech", Phase.ONSET, False, False),
    ],
)
def test_only_the_begin_of_a_real_alarm_has_a_clip(
    label: str, phase: Phase, test: bool, wanted: bool
) -> None:
    assert is_wanted(replace(event(1, label, phase=phase), test=test)) is wanted
