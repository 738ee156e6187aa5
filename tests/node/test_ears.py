"""Each trouble of a microphone has its own start and end, and what is no trouble starts none."""

import math
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tocsin_node.ears import LEAST_NORM_MINUTES, NORM_MINUTES, Change, Ears, Norm, Second
from tocsin_shared.events import TroubleKind


def second(number: int, **changes: Any) -> Second:
    """A second of an ordinary room."""
    fields: dict[str, Any] = {
        "at": float(number),
        "level_dbfs": -50.0,
        "mean": 0.001,
        "clipped_share": 0.0,
        "hum_share": 0.3,
        "dropped_blocks": 0,
        "blocks": 10,
    }
    return Second(**{**fields, **changes})


def judged(ears: Ears, first: int, count: int, **changes: Any) -> list[tuple[int, Change]]:
    """``count`` like seconds from number ``first`` on; each change with the second that brought it."""
    return [
        (number, change)
        for number in range(first, first + count)
        for change in ears.push(second(number, **changes))
    ]


BAD: list[tuple[dict[str, Any], TroubleKind, int, int]] = [
    ({"level_dbfs": -math.inf, "mean": 0.0}, TroubleKind.MIC_SILENT, 3, 1),
    ({"level_dbfs": -math.inf, "mean": 0.25}, TroubleKind.MIC_CONSTANT, 3, 1),
    ({"mean": -0.2}, TroubleKind.MIC_DC, 5, 5),
    ({"hum_share": 0.995}, TroubleKind.MIC_HUM, 20, 10),
    ({"clipped_share": 0.02}, TroubleKind.MIC_CLIPPING, 1, 19),
    ({"dropped_blocks": 2}, TroubleKind.MIC_DROPS, 1, 19),
]
"""What is wrong, its trouble, after how many seconds it must begin, and after how many good ones end."""


@pytest.mark.parametrize(("wrong", "kind", "begins", "ends"), BAD, ids=lambda one: getattr(one, "value", ""))
def test_each_trouble_begins_and_ends_alone(
    wrong: dict[str, Any], kind: TroubleKind, begins: int, ends: int
) -> None:
    ears = Ears(live=True)
    assert judged(ears, 0, 30) == []
    began = judged(ears, 30, 60, **wrong)
    assert [(number - 29, change.kind, change.begins) for number, change in began] == [(begins, kind, True)]
    assert began[0][1].detail
    over = judged(ears, 90, 60)
    assert [(number - 89, change.kind, change.begins) for number, change in over] == [(ends, kind, False)]


def test_silence_is_found_within_ten_seconds_even_from_the_first_second_on() -> None:
    (change,) = judged(Ears(live=True), 0, 10, level_dbfs=-math.inf, mean=0.0)
    assert change[0] < 10


def test_a_quiet_far_room_is_no_trouble() -> None:
    assert judged(Ears(live=True), 0, 300, level_dbfs=-95.0) == []


@pytest.mark.parametrize(("pace", "wrong"), [(1.0, False), (0.97, False), (48 / 16, True), (44.1 / 48, True)])
def test_a_microphone_that_lies_about_its_rate_is_found_in_ten_seconds(pace: float, wrong: bool) -> None:
    ears = Ears(live=True)
    changes = [
        (number / pace, change.kind)
        for number in range(1, 60)
        for change in ears.push(second(0, at=number / pace))
    ]
    assert [kind for _, kind in changes] == [TroubleKind.MIC_WRONG_RATE] * wrong
    assert all(after_seconds < 10.0 for after_seconds, _ in changes)


def test_one_stall_of_the_machine_is_no_wrong_rate() -> None:
    ears = Ears(live=True)
    stalled = [second(number, at=number + (0.6 if number == 20 else 0.0)) for number in range(60)]
    assert [change for one in stalled for change in ears.push(one)] == []


def test_sound_from_a_file_has_no_pace() -> None:
    ears = Ears(live=False)
    assert [change for number in range(60) for change in ears.push(second(0, at=number / 9))] == []


def test_a_microphone_that_is_gone_takes_its_troubles_along() -> None:
    ears = Ears(live=True)
    judged(ears, 0, 60, mean=0.5, hum_share=1.0)
    assert {(change.kind, change.begins) for change in ears.forget()} == {
        (TroubleKind.MIC_DC, False),
        (TroubleKind.MIC_HUM, False),
    }
    assert ears.forget() == []
    assert judged(ears, 60, 19, hum_share=1.0) == [], "counting begins anew"


def test_a_value_between_good_and_bad_neither_begins_nor_ends_anything() -> None:
    ears = Ears(live=True)
    assert judged(ears, 0, 60, mean=0.04) == []
    assert len(judged(ears, 60, 60, mean=0.06)) == 1
    assert judged(ears, 120, 60, mean=0.04) == []


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sampled_from(range(len(BAD) + 1)), max_size=200))
def test_starts_and_ends_alternate_whatever_happens(course: list[int]) -> None:
    ears = Ears(live=True)
    opened: set[TroubleKind] = set()
    for number, case in enumerate(course):
        wrong: dict[str, Any] = BAD[case][0] if case < len(BAD) else {}
        for change in ears.push(second(number, **wrong)):
            assert change.begins == (change.kind not in opened)
            opened ^= {change.kind}
    assert {change.kind for change in ears.forget()} == opened


def minutes(norm: Norm, levels: Iterable[float]) -> list[bool]:
    """Starts and ends while each of ``levels`` lasts a minute."""
    return [change.begins for level in levels for _ in range(60) for change in norm.push(level)]


def days(count: int) -> list[float]:
    """A works: loud from 6 to 22 h, quiet at night."""
    return [-35.0 if 6 * 60 <= minute % 1440 < 22 * 60 else -75.0 for minute in range(count * 1440)]


def test_a_level_far_from_the_rooms_norm_is_found_but_day_and_night_are_not() -> None:
    norm = Norm()
    assert minutes(norm, days(2)) == []
    assert minutes(norm, [-98.0] * 29) == []
    assert minutes(norm, [-98.0] * 60) == [True]
    assert minutes(norm, [-75.0] * 10) == [False]
    assert minutes(norm, [-5.0] * 30) == [True]


def test_without_a_day_of_evidence_nothing_is_far() -> None:
    norm = Norm()
    assert minutes(norm, [-40.0] * (LEAST_NORM_MINUTES - 100) + [-98.0] * 90) == []


@pytest.mark.slow
def test_a_room_that_stays_changed_for_a_week_is_learned_anew() -> None:
    norm = Norm()
    minutes(norm, days(1))
    assert minutes(norm, [-110.0] * (NORM_MINUTES + 60)) == [True, False]
    assert minutes(norm, [-110.0] * LEAST_NORM_MINUTES) == []
    assert minutes(norm, [-40.0] * 30) == [True]
