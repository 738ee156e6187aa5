"""When scores become a detection: examples that a person can follow, then properties of any sequence."""

import itertools
import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin_shared.detector import Change, Detector, compile_rule
from tocsin_shared.errors import BundleError, SettingsError, TocsinError
from tocsin_shared.events import Phase
from tocsin_shared.manifest import DetectionRule, LabelSpec

HOP = 0.5


def rule(**changes: float) -> DetectionRule:
    values = {
        "on_threshold": 0.6,
        "off_threshold": 0.4,
        "active_seconds": 1.0,
        "span_seconds": 2.0,
        "release_seconds": 1.0,
        "max_seconds": 60.0,
    }
    return DetectionRule(**(values | changes))


def detector(made: DetectionRule, hop: float = HOP) -> Detector:
    return Detector([LabelSpec(name="siren", rule=made), LabelSpec(name="speech")], hop)


def play(made: DetectionRule, scores: Sequence[float], hop: float = HOP, start: float = 0.0) -> list[Change]:
    """All changes of one label's scores, one window each hop, the end included."""
    judge = detector(made, hop)
    changes: list[Change] = []
    for number, score in enumerate(scores, start=1):
        changes += judge.step(start + number * hop, (score, 0.1), -20.0 - number)
    return changes + judge.flush()


def phases(changes: Sequence[Change]) -> list[str]:
    return [str(change.phase) for change in changes]


def spans(changes: Sequence[Change]) -> list[tuple[float, float]]:
    return [
        (c.onset_seconds, c.offset_seconds)
        for c in changes
        if c.phase is Phase.OFFSET and c.offset_seconds is not None
    ]


def test_a_sound_is_told_at_its_kth_hit_and_ended_when_nothing_has_kept_it_alive() -> None:
    judge = detector(rule())
    assert judge.step(0.5, (0.1, 0.9), -50.0) == []
    assert judge.step(1.0, (0.7, 0.2), -30.0) == []
    (onset,) = judge.step(1.5, (0.65, 0.3), -20.0)
    assert onset == Change(
        phase=Phase.ONSET,
        detection=1,
        label="siren",
        score=0.7,
        top=(("siren", 0.7), ("speech", 0.2)),
        onset_seconds=0.5,
        offset_seconds=None,
        level_dbfs=-20.0,
    )
    assert judge.open_count == 1
    assert judge.step(2.0, (0.1, 0.2), -60.0) == []
    (offset,) = judge.step(2.5, (0.1, 0.2), -60.0)
    assert (offset.phase, offset.detection, offset.onset_seconds) == (Phase.OFFSET, 1, 0.5)
    assert (offset.offset_seconds, offset.score, offset.level_dbfs) == (1.5, 0.7, -20.0)
    assert judge.open_count == 0


def test_between_the_thresholds_a_sound_goes_on_but_does_not_begin() -> None:
    assert play(rule(), [0.5] * 20) == []
    assert spans(play(rule(), [0.7, 0.7] + [0.5] * 6)) == [(0.0, 4.0)]


def test_hits_may_have_gaps_within_the_span_but_not_beyond_it() -> None:
    assert phases(play(rule(), [0.7, 0.1, 0.1, 0.7])) == ["onset", "offset"]
    assert play(rule(), [0.7, 0.1, 0.1, 0.1, 0.7]) == []


def test_an_update_is_told_when_the_peak_has_risen_enough_and_only_then() -> None:
    changes = play(rule(), [0.6, 0.61, 0.65, 0.69, 0.72, 0.73, 0.9])
    assert phases(changes) == ["onset", "update", "update", "offset"]
    assert [change.score for change in changes] == [0.61, 0.72, 0.9, 0.9]
    assert {change.detection for change in changes} == {1}


def test_what_is_too_short_is_never_told() -> None:
    assert play(rule(min_seconds=2.0), [0.7, 0.7, 0.7, 0.1, 0.1, 0.1]) == []
    assert spans(play(rule(min_seconds=2.0), [0.7] * 4)) == [(0.0, 2.0)]


def test_what_is_too_long_is_ended_and_told_again() -> None:
    changes = play(rule(max_seconds=3.0), [0.9] * 14)
    assert spans(changes) == [(0.0, 3.0), (3.0, 6.0), (6.0, 7.0)]
    assert [change.detection for change in changes if change.phase is Phase.ONSET] == [1, 2, 3]


def test_within_the_refractory_time_nothing_is_told_and_nothing_is_saved_up() -> None:
    changes = play(rule(refractory_seconds=3.0), [0.9] * 2 + [0.0] * 2 + [0.9] * 6)
    assert spans(changes) == [(0.0, 1.0), (4.0, 5.0)]


def test_a_leap_in_time_ends_what_it_silenced_and_old_hits_count_for_nothing() -> None:
    judge = detector(rule())
    judge.step(0.5, (0.9, 0.1), -20.0)
    judge.step(1.0, (0.9, 0.1), -20.0)
    (offset,) = judge.step(60.0, (0.9, 0.1), -20.0)
    assert (offset.phase, offset.offset_seconds) == (Phase.OFFSET, 1.0)
    (onset,) = judge.step(60.5, (0.9, 0.1), -20.0)
    assert (onset.phase, onset.detection, onset.onset_seconds) == (Phase.ONSET, 2, 59.5)


def test_digital_silence_has_no_level_and_any_level_is_above_it() -> None:
    judge = detector(rule())
    judge.step(0.5, (0.9, 0.1), None)
    (onset,) = judge.step(1.0, (0.9, 0.1), None)
    assert onset.level_dbfs is None
    judge.step(1.5, (0.9, 0.1), -99.0)
    (offset,) = judge.flush()
    assert offset.level_dbfs == -99.0


def test_a_label_without_a_rule_is_never_told_and_labels_do_not_touch_one_another() -> None:
    judge = Detector([LabelSpec(name="siren", rule=rule()), LabelSpec(name="horn", rule=rule())], HOP)
    changes = [
        change for end in range(1, 9) for change in judge.step(end * HOP, (0.9, 0.9 if end > 4 else 0.1), -9)
    ]
    assert [(c.label, c.detection) for c in changes] == [("siren", 1), ("horn", 2)]
    assert all(change.label != "speech" for change in play(rule(), [0.0] * 9))


@pytest.mark.parametrize(
    ("hop", "hits", "windows"), [(0.1, 10, 20), (0.5, 2, 4), (1.0, 1, 2), (1.6, 1, 1), (2.0, 1, 1)]
)
def test_seconds_become_windows_of_the_hop(hop: float, hits: int, windows: int) -> None:
    compiled = compile_rule("siren", rule(release_seconds=2.5), hop)
    assert (compiled.hits, compiled.windows) == (hits, windows)


def test_the_rounding_of_tenths_costs_no_window() -> None:
    compiled = compile_rule("siren", rule(active_seconds=0.3, span_seconds=0.7), 0.1)
    assert (compiled.hits, compiled.windows) == (3, 7)


@pytest.mark.parametrize("hop", [0.1, 0.5, 1.0, 1.6])
def test_a_steady_alarm_is_told_within_the_active_time_and_one_hop_whatever_the_hop(hop: float) -> None:
    made = rule(release_seconds=2.5)
    judge = detector(made, hop)
    ends = [number * hop for number in range(1, 100)]
    told = next(end for end in ends if judge.step(end, (0.9, 0.0), -10.0))
    assert told <= made.active_seconds + hop + 1e-6


@pytest.mark.parametrize(
    ("changes", "hop", "error", "named"),
    [
        ({"off_threshold": 0.7}, HOP, BundleError, "off_threshold 0.7 is above on_threshold 0.6"),
        ({"active_seconds": 2.5}, HOP, BundleError, "do not fit into span_seconds"),
        ({"min_seconds": 61.0}, HOP, BundleError, "min_seconds 61 is above max_seconds 60"),
        ({"max_seconds": 0.0}, HOP, BundleError, "max_seconds must be above 0"),
        ({"max_seconds": 0.5}, HOP, BundleError, "max_seconds 0.5 is below active_seconds"),
        ({"active_seconds": 2.0, "release_seconds": 2.0}, 1.6, SettingsError, "needs 2 hits"),
        ({"release_seconds": 1.0}, 1.6, SettingsError, "longer than its release_seconds"),
    ],
)
def test_a_rule_that_could_never_be_met_is_refused_with_its_label_and_the_reason(
    changes: dict[str, float], hop: float, error: type[TocsinError], named: str
) -> None:
    with pytest.raises(error, match=named) as caught:
        detector(rule(**changes), hop)
    assert "'siren'" in str(caught.value)


@pytest.mark.parametrize("hop", [0.0, -1.0, math.inf, math.nan])
def test_a_hop_that_is_no_length_of_time_is_refused(hop: float) -> None:
    with pytest.raises(SettingsError, match="above 0 s"):
        detector(rule(), hop)


def test_time_that_stands_still_and_a_missing_score_are_mistakes_of_the_caller() -> None:
    judge = detector(rule())
    judge.step(1.0, (0.1, 0.1), None)
    with pytest.raises(ValueError, match="time must grow"):
        judge.step(1.0, (0.1, 0.1), None)
    with pytest.raises(ValueError, match="1 scores for 2 labels"):
        judge.step(2.0, (0.1,), None)


HOPS = st.sampled_from([0.1, 0.25, 0.5, 1.0, 1.6])
SCORES = st.lists(
    st.one_of(st.floats(0.0, 1.0), st.sampled_from([0.0, 0.4, 0.5, 0.6, 0.99])), min_size=1, max_size=120
)
TENTHS = st.integers(0, 60).map(lambda tenths: tenths / 10)


@st.composite
def rules(draw: st.DrawFn) -> DetectionRule:
    on = draw(st.floats(0.05, 0.95))
    return DetectionRule(
        on_threshold=on,
        off_threshold=draw(st.floats(0.01, on)),
        active_seconds=draw(TENTHS),
        span_seconds=draw(TENTHS),
        release_seconds=draw(TENTHS),
        min_seconds=draw(TENTHS),
        max_seconds=draw(TENTHS),
        refractory_seconds=draw(TENTHS),
    )


def usable(made: DetectionRule, hop: float) -> bool:
    try:
        compile_rule("siren", made, hop)
    except TocsinError:
        return False
    return True


@st.composite
def cases(draw: st.DrawFn) -> tuple[DetectionRule, float, list[float]]:
    """A rule that can be met, the hop it can be met with, and any scores."""
    hop = draw(HOPS)
    on = draw(st.floats(0.05, 0.95))
    span = draw(st.sampled_from([hop, 2 * hop, 5 * hop, 2.0, 4.5]).filter(lambda span: span >= hop))
    active = draw(st.integers(0, math.floor(span / hop + 1e-6))) * hop
    most = draw(st.sampled_from([max(active, hop), active + 1.3, active + 7.0]))
    made = DetectionRule(
        on_threshold=on,
        off_threshold=draw(st.floats(0.01, on)),
        active_seconds=min(active, span, most),
        span_seconds=span,
        release_seconds=draw(st.sampled_from([hop, hop + 0.3, 3 * hop])),
        min_seconds=draw(st.sampled_from([0.0, most / 2, most])),
        max_seconds=most,
        refractory_seconds=draw(TENTHS),
    )
    assert usable(made, hop)
    return made, hop, draw(SCORES)


@given(cases())
def test_every_detection_is_one_onset_some_updates_and_one_offset_and_one_at_a_time_is_open(
    case: tuple[DetectionRule, float, list[float]],
) -> None:
    changes = play(case[0], case[2], case[1])
    story = {number: list(group) for number, group in itertools.groupby(changes, lambda c: c.detection)}
    assert sum(len(group) for group in story.values()) == len(changes)
    for group in story.values():
        assert [c.phase for c in group] == [Phase.ONSET, *[Phase.UPDATE] * (len(group) - 2), Phase.OFFSET]
        assert len({c.onset_seconds for c in group}) == 1
        assert [c.score for c in group] == sorted(c.score for c in group)
        assert all(c.top[0][1] >= c.score for c in group)


@given(cases())
def test_lengths_keep_their_limits_and_the_refractory_time_lies_between(
    case: tuple[DetectionRule, float, list[float]],
) -> None:
    made, hop, scores = case
    told = spans(play(made, scores, hop))
    for onset, offset in told:
        assert onset < offset
        assert made.min_seconds - 1e-5 <= offset - onset <= made.max_seconds + 1e-5
        assert onset >= -1e-9
        assert offset <= len(scores) * hop + 1e-9
    for (_, offset), (onset, _) in itertools.pairwise(told):
        assert onset >= offset + made.refractory_seconds - 1e-5


@given(cases())
def test_the_peak_is_the_highest_score_between_onset_and_the_end(
    case: tuple[DetectionRule, float, list[float]],
) -> None:
    made, hop, scores = case
    for change in play(made, scores, hop):
        assert change.score >= made.on_threshold
        assert change.score in scores


@given(cases(), st.integers(1, 10**6))
def test_shifting_time_shifts_what_is_told_and_changes_nothing_else(
    case: tuple[DetectionRule, float, list[float]], shift: int
) -> None:
    made, hop, scores = case
    here, there = play(made, scores, hop), play(made, scores, hop, start=float(shift))
    assert phases(here) == phases(there)
    for early, late in zip(here, there, strict=True):
        assert late.onset_seconds == pytest.approx(early.onset_seconds + shift, abs=1e-4)
        assert (late.score, late.top, late.level_dbfs) == (early.score, early.top, early.level_dbfs)


@given(cases())
def test_the_same_scores_tell_the_same_story(case: tuple[DetectionRule, float, list[float]]) -> None:
    made, hop, scores = case
    assert play(made, scores, hop) == play(made, scores, hop)


@given(rules(), HOPS)
def test_a_rule_is_refused_or_an_unending_alarm_is_told(made: DetectionRule, hop: float) -> None:
    """The other half of refusing what is unreachable: whatever is taken can be reached."""
    if usable(made, hop):
        assert "onset" in phases(play(made, [1.0] * 200, hop))


@given(cases())
def test_below_the_threshold_nothing_is_ever_told(case: tuple[DetectionRule, float, list[float]]) -> None:
    made, hop, scores = case
    assert play(made, [min(score, made.on_threshold - 1e-9) for score in scores], hop) == []
