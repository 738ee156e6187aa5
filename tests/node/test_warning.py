"""When the room's own lamp burns: after 2 s without the hub's word, until it comes, and not for ever."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.node.events import event
from tocsin_node.retiming import boot_token
from tocsin_node.warning import GRACE_SECONDS, News, Unheard, age_seconds
from tocsin_shared.events import Phase


def test_an_alarm_that_the_hub_has_in_time_turns_nothing_on() -> None:
    unheard = Unheard(60.0)
    unheard.made("a", 0.0)
    assert not unheard.burns(1.9)
    unheard.heard(["a"])
    assert not unheard.burns(2.0)
    assert unheard.changes_in(2.0) is None


def test_without_the_hubs_word_it_burns_from_two_seconds_until_the_word_comes() -> None:
    unheard = Unheard(60.0)
    unheard.made("a", 0.0)
    assert unheard.changes_in(0.5) == 1.5
    assert unheard.burns(2.0)
    unheard.heard(["b"])
    assert unheard.burns(10.0)
    unheard.heard(["a"])
    assert not unheard.burns(10.0)


def test_it_ends_by_itself_and_a_later_alarm_turns_it_on_again() -> None:
    unheard = Unheard(60.0)
    unheard.made("a", 0.0)
    unheard.made("a", 50.0)  # told again is the same alarm
    assert unheard.burns(61.9)
    assert not unheard.burns(62.0)
    unheard.made("b", 100.0)
    assert [unheard.burns(at) for at in (101.0, 102.0, 161.9, 162.0)] == [False, True, True, False]


def test_it_burns_on_while_any_alarm_is_without_an_answer() -> None:
    unheard = Unheard(60.0)
    unheard.made("a", 0.0)
    unheard.made("b", 1.0)
    assert unheard.burns(5.0)
    unheard.heard(["a"])
    assert unheard.burns(5.0)
    unheard.heard(["b"])
    assert not unheard.burns(5.0)


@given(
    st.lists(st.tuples(st.floats(0.0, 30.0), st.booleans(), st.sampled_from("abcd")), max_size=20),
    st.floats(1.0, 90.0),
)
def test_for_any_alarms_and_answers_it_burns_just_when_it_must(
    steps: list[tuple[float, bool, str]], burn: float
) -> None:
    """Asked after any alarm or answer, it agrees with a list of when each unanswered alarm was first told."""
    unheard, now = Unheard(burn), 0.0
    waits: dict[str, float] = {}
    for gap, made, key in steps:
        now += gap
        if made:
            unheard.made(key, now)
            # One whose warning is over is forgotten, so that the same id would be a new alarm.
            if key not in waits or now >= waits[key] + GRACE_SECONDS + burn:
                waits[key] = now
        else:
            unheard.heard([key])
            waits.pop(key, None)
        must = any(at + GRACE_SECONDS <= now < at + GRACE_SECONDS + burn for at in waits.values())
        assert unheard.burns(now) == must


@given(st.lists(st.floats(0.0, 50.0), min_size=1, max_size=6), st.floats(1.0, 20.0))
def test_between_the_changes_it_names_nothing_changes(made: list[float], burn: float) -> None:
    unheard = Unheard(burn)
    for key, at in enumerate(made):
        unheard.made(str(key), at)
    now = max(made)
    before = unheard.burns(now)
    wait = unheard.changes_in(now)
    if wait is None:
        assert not before
    else:
        assert wait > 0.0
        assert unheard.burns(now + wait * 0.99) == before


def test_only_the_first_word_of_an_alarm_counts() -> None:
    news = News()
    assert news.is_alarm(event(1, "smoke_alarm"))
    assert not news.is_alarm(event(1, "smoke_alarm", phase=Phase.UPDATE))
    assert not news.is_alarm(event(1, "smoke_alarm", phase=Phase.OFFSET))
    assert not news.is_alarm(event(1, "dog_bark"))


def test_a_test_is_no_alarm_until_it_turns_out_to_be_none() -> None:
    news = News()
    begun = msgspec.structs.replace(event(1, "smoke_alarm"), test=True)
    assert not news.is_alarm(begun)
    real = msgspec.structs.replace(begun, test=False, phase=Phase.UPDATE)
    assert news.is_alarm(real)
    assert not news.is_alarm(real), "once is enough"
    over = msgspec.structs.replace(begun, phase=Phase.OFFSET)
    assert not news.is_alarm(begun)
    assert not news.is_alarm(over)
    assert not news.is_alarm(real), "a test that is over is forgotten"


def test_the_age_of_an_alarm_is_known_within_one_start_of_the_machine_only() -> None:
    made = msgspec.structs.replace(event(1), boot=boot_token("f" * 32, "one"), mono_ns=40 * 10**9)
    assert age_seconds(made, boot_token("f" * 32, "two"), 100.0) == 60.0
    assert age_seconds(made, boot_token("0" * 32, "two"), 100.0) is None


def test_the_grace_is_that_of_the_wire() -> None:
    assert pytest.approx(2.0) == GRACE_SECONDS
