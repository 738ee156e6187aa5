"""What must hold is found broken when it is."""

from dataclasses import replace
from itertools import pairwise

import pytest

from tests.chaos.invariants import Made, Outcome, Reported, Row, Told, broken, count
from tests.chaos.script import (
    CALM_SECONDS,
    HEALS_SECONDS,
    OF_POSTGRESQL,
    OF_SQLITE,
    Fault,
    Kind,
    calm,
    script,
)

BEGAN_US = 1_800_000_000_000_000
FAULT = Fault(Kind.BROKER_KILL, 10.0, 14.0)
UNTIL = FAULT.healed + CALM_SECONDS


def made(number: int, at: float, after: float | None = 0.1, **changes: object) -> Made:
    one = Made(
        id=f"E{number}",
        node="n-1",
        onset_us=BEGAN_US + round(at * 1e6),
        seq=number,
        acknowledged=after is not None,
        acknowledged_after_us=None if after is None else round(after * 1e6),
    )
    return replace(one, **changes)  # type: ignore[arg-type]


def row(number: int, **changes: object) -> Row:
    return replace(Row(f"E{number}", "n-1", "b1", number, number * 1000), **changes)  # type: ignore[arg-type]


GOOD = Outcome(
    began_us=BEGAN_US,
    faults=[FAULT],
    calm=calm([FAULT], UNTIL),
    made=[made(1, 2.0), made(2, 12.0, 20.0), made(3, FAULT.healed + 1.0)],
    rows=[row(1), row(2), row(3)],
    told=[Told("I1", late=False)],
    reported=[Reported("broker_lost", BEGAN_US + 21_000_000)],
)


def test_a_campaign_in_which_all_is_well() -> None:
    """A sound that waited for a fault to end is not late."""
    assert broken(GOOD) == []
    assert count(GOOD).calm == 2
    assert (count(GOOD).lost, count(GOOD).twice, count(GOOD).late) == (0, 0, 0)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (replace(GOOD, rows=[row(1), row(3)]), "lost though acknowledged: E2 of n-1"),
        (replace(GOOD, rows=[row(1), row(3)], made=[made(1, 2.0), made(2, 12.0, None), made(3, 50.0)]),
         "lost: E2 of n-1"),
        (replace(GOOD, rows=[*GOOD.rows, row(3, boot="b2")]), "stored twice, or made by nobody: E3"),
        (replace(GOOD, rows=[*GOOD.rows, row(9)]), "stored twice, or made by nobody: E9"),
        (replace(GOOD, made=[*GOOD.made[:2], made(3, 50.0, seq=4)]), "not stored by its last word: E3"),
        (replace(GOOD, rows=[row(1), row(2, mono_ns=9000), row(3)]), "out of order: n-1, boot b1"),
        (replace(GOOD, rows=[row(1), row(2), row(3, id="E3", seq=2)], made=GOOD.made[:2]),
         "a number was given twice: n-1, boot b1"),
        (replace(GOOD, made=[made(1, 2.0, 2.5), *GOOD.made[1:]]), "late in calm: E1 of n-1, 2.5 s"),
        (replace(GOOD, told=[Told("I7", late=True)]), "an alarm that was over woke somebody: I7"),
        (replace(GOOD, reported=[]), "nobody was told: broker killed at 10 s for 14 s"),
        (replace(GOOD, reported=[Reported("broker_lost", BEGAN_US)]), "nobody was told"),
        (replace(GOOD, reported=[Reported("node_silent", BEGAN_US + 21_000_000)]), "nobody was told"),
    ],
)  # fmt: skip
def test_what_does_not_hold_is_named(changed: Outcome, words: str) -> None:
    """One at a time."""
    assert words in "\n".join(broken(changed))


def test_one_sound_in_a_hundred_may_be_late() -> None:
    """The machine does other things besides; two may not."""
    many = [made(number, 1.0 + number / 100) for number in range(1, 101)]
    rows = [row(number) for number in range(1, 101)]
    one = replace(GOOD, made=[replace(many[0], acknowledged_after_us=9_000_000), *many[1:]], rows=rows)
    assert broken(one) == []
    late = [replace(each, acknowledged_after_us=9_000_000) for each in many[:2]]
    assert len(broken(replace(one, made=[*late, *many[2:]]))) == 2


@pytest.mark.parametrize("kinds", [OF_SQLITE, OF_POSTGRESQL], ids=["sqlite", "postgresql"])
def test_a_script_is_that_of_its_seed_and_each_fault_heals_before_the_next(kinds: tuple[Kind, ...]) -> None:
    """Every kind comes before any comes twice, and the whole fits."""
    faults = script(3, 3600.0, kinds)
    assert faults == script(3, 3600.0, kinds)
    assert faults != script(4, 3600.0, kinds)
    assert {fault.kind for fault in faults[: len(kinds)]} == set(kinds)
    for one, other in pairwise(faults):
        assert other.at >= one.ends + HEALS_SECONDS + CALM_SECONDS - 0.11
    assert faults[-1].healed + CALM_SECONDS <= 3600.0
    stretches = calm(faults, 3600.0)
    assert len(stretches) == len(faults) + 1
    assert all(begin < end for begin, end in stretches)
