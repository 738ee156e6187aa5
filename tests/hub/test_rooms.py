"""The rules by which words and silence become the state of a room."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.hub.parts import birth, conn, heartbeat
from tocsin_hub import rooms as rules
from tocsin_hub.rooms import Hearing, NodeRecord, Rooms, RoomState
from tocsin_shared.events import MicState, Presence

NOW = 1_700_000_000_000_000
SECOND = 1_000_000
HEARS = Hearing(connected=True, since_us=NOW - 3600 * SECOND)
ON, OFF = Presence.ONLINE, Presence.OFFLINE


def listening(now_us: int = NOW) -> NodeRecord:
    """A node that was born, and whose heartbeat was heard at ``now_us``."""
    record = rules.beat(rules.born(NodeRecord("press-1", since_us=now_us), birth()), heartbeat())
    return rules.judged(rules.heard(record, now_us), HEARS, now_us)


def test_a_node_that_was_only_born_is_starting() -> None:
    record = rules.heard(rules.born(NodeRecord("press-1", since_us=NOW), birth()), NOW)
    assert rules.judged(record, HEARS, NOW).state is RoomState.STARTING


@pytest.mark.parametrize("mic", list(MicState))
def test_the_heartbeat_says_how_the_microphone_fares(mic: MicState) -> None:
    record = rules.beat(listening(), heartbeat(mic=mic))
    assert rules.judged(record, HEARS, NOW).state.value == mic.value


def test_a_heartbeat_of_an_earlier_boot_says_nothing_about_this_one() -> None:
    record = rules.born(listening(), birth(boot="b2"))
    assert rules.judged(record, HEARS, NOW).state is RoomState.STARTING


def test_silence_of_two_and_a_half_heartbeats_and_two_seconds_is_offline() -> None:
    record = listening()
    limit = 27 * SECOND
    assert rules.judged(record, HEARS, NOW + limit).state is RoomState.LISTENING
    gone = rules.judged(record, HEARS, NOW + limit + 1)
    assert gone.state is RoomState.OFFLINE
    assert gone.since_us == NOW, "nobody listened since the last word, not since it was noticed"


def test_a_node_cannot_promise_silence_for_days() -> None:
    record = rules.born(listening(), birth(heartbeat_seconds=1e6))
    assert rules.judged(record, HEARS, NOW + 3600 * SECOND).state is RoomState.OFFLINE


def test_while_the_hub_is_deaf_a_silent_room_is_unknown_rather_than_offline() -> None:
    deaf = Hearing(connected=False, since_us=NOW)
    assert rules.judged(listening(), deaf, NOW + 5 * SECOND).state is RoomState.LISTENING
    assert rules.judged(listening(), deaf, NOW + 60 * SECOND).state is RoomState.UNKNOWN


def test_a_hub_that_hears_again_gives_every_node_time_for_a_heartbeat() -> None:
    back = Hearing(connected=True, since_us=NOW + 600 * SECOND)
    assert rules.judged(listening(), back, NOW + 610 * SECOND).state is RoomState.LISTENING
    assert rules.judged(listening(), back, NOW + 640 * SECOND).state is RoomState.OFFLINE


def test_an_offline_of_the_current_connection_counts_at_once() -> None:
    record = rules.connected(rules.connected(listening(), conn(ON, session=2)), conn(OFF, session=2))
    assert rules.judged(record, HEARS, NOW).state is RoomState.OFFLINE


@pytest.mark.parametrize(("boot", "session"), [("b1", 1), ("b0", 9), ("b0", 2)])
def test_a_late_will_of_an_older_connection_is_ignored(boot: str, session: int) -> None:
    record = rules.connected(listening(), conn(ON, session=2))
    assert rules.connected(record, conn(OFF, boot, session)) == record


def test_an_older_online_does_not_bring_an_older_session_back() -> None:
    record = rules.connected(listening(), conn(ON, session=3))
    assert rules.connected(record, conn(ON, session=2)) == record


def test_a_birth_says_online_even_if_the_presence_was_lost() -> None:
    gone = rules.connected(listening(), conn(OFF))
    record = rules.born(gone, birth(session=2))
    assert rules.judged(record, HEARS, NOW).state is not RoomState.OFFLINE


def test_the_state_keeps_its_beginning_while_it_lasts() -> None:
    record = listening()
    later = rules.judged(rules.heard(rules.beat(record, heartbeat()), NOW + SECOND), HEARS, NOW + SECOND)
    assert (later.state, later.since_us) == (RoomState.LISTENING, NOW)


def test_a_sound_is_open_only_while_its_boot_lives_and_the_node_is_there() -> None:
    record = listening()
    assert record.has_open("b1", None)
    assert not record.has_open("b1", NOW)
    assert not record.has_open("b0", None)
    gone = rules.judged(rules.connected(record, conn(OFF)), HEARS, NOW)
    assert not gone.has_open("b1", None)


presences = st.builds(conn, st.sampled_from([ON, OFF]), st.sampled_from(["b1", "b2"]), st.integers(1, 4))


@given(st.lists(presences, max_size=12))
def test_after_any_history_the_will_of_the_newest_connection_decides(history: list[object]) -> None:
    """Whatever came before: online, then its own will, is offline; online again is not."""
    record = NodeRecord("press-1", since_us=NOW)
    for presence in history:
        record = rules.connected(record, presence)  # type: ignore[arg-type]
    record = rules.connected(record, conn(ON, "b9", 1))
    assert record.conn == conn(ON, "b9", 1)
    assert rules.connected(record, conn(OFF, "b9", 1)).conn == conn(OFF, "b9", 1)


@given(st.integers(0, 400), st.booleans(), st.integers(0, 400))
def test_judging_twice_at_one_moment_changes_nothing(silent: int, connected: bool, since: int) -> None:
    hearing = Hearing(connected, NOW + since * SECOND)
    once = rules.judged(listening(), hearing, NOW + silent * SECOND)
    assert rules.judged(once, hearing, NOW + silent * SECOND) == once


def turns(*boots: str, seconds: float = 5.0) -> tuple[NodeRecord, int]:
    """A node whose births come every so many seconds, with these boots."""
    record, now_us = NodeRecord("press-1", since_us=NOW), NOW
    for boot in boots:
        now_us += round(seconds * SECOND)
        record = rules.booted(record, rules.born(record, birth(boot=boot)), now_us)
    return record, now_us


def test_boots_that_take_turns_are_of_two_machines() -> None:
    record, now_us = turns("a", "b", "a", "b")
    assert rules.are_two(record, now_us)
    assert rules.are_two(record, now_us + 290 * SECOND)
    assert not rules.are_two(record, now_us + 301 * SECOND), "one of them was switched off"


@pytest.mark.parametrize("boots", ["abcdefg", "aaabbb", "aab", "aba"])
def test_a_node_that_starts_anew_again_and_again_is_one_machine(boots: str) -> None:
    assert not rules.are_two(*turns(*boots))


def test_turns_of_long_ago_are_forgotten() -> None:
    record, now_us = turns("a", "b", "a", "b", "a", seconds=200)
    assert rules.are_two(record, now_us)
    record, now_us = turns("a", "b", "a", "b", "a", seconds=400)
    assert not rules.are_two(record, now_us)


def test_rooms_tell_each_change_once() -> None:
    rooms = Rooms([], HEARS)
    rooms.change("press-1", NOW, lambda record: rules.heard(rules.born(record, birth()), NOW))
    rooms.change("press-1", NOW, lambda record: rules.heard(rules.beat(record, heartbeat()), NOW))
    assert rooms.tick(NOW + SECOND) == []
    ((before, after),) = rooms.tick(NOW + 30 * SECOND)
    assert (before.state, after.state) == (RoomState.LISTENING, RoomState.OFFLINE)
    assert rooms.tick(NOW + 31 * SECOND) == []


def test_rooms_stand_in_the_order_of_zone_room_and_node() -> None:
    rooms = Rooms([], HEARS)
    for node, zone, room in (("c-3", "b", "X"), ("a-1", "b", "A"), ("b-2", "a", "Z")):
        words = birth(node=node, zone=zone, room=room)
        rooms.change(node, NOW, lambda record, words=words: rules.born(record, words))  # type: ignore[misc]
    assert [record.node for record in rooms.all()] == ["b-2", "a-1", "c-3"]


@pytest.mark.parametrize("later_us", [0, 499_999])
def test_a_word_within_a_moment_changes_nothing_that_anybody_sees(later_us: int) -> None:
    rooms = Rooms([], Hearing(connected=True, since_us=0))
    rooms.change("press-1", 1_000_000, lambda one: rules.heard(rules.born(one, birth()), 1_000_000))
    known = rooms.get("press-1")
    assert known is not None
    assert rules.is_heard_now(known, 1_000_000 + later_us)
    _, after = rooms.change(
        "press-1", 1_000_000 + later_us, lambda one: rules.heard(one, 1_000_000 + later_us)
    )
    assert (after.state, after.since_us, after.birth) == (known.state, known.since_us, known.birth)


def test_a_word_after_a_while_or_of_a_room_that_was_silent_counts() -> None:
    rooms = Rooms([], Hearing(connected=True, since_us=0))
    _, known = rooms.change(
        "press-1", 1_000_000, lambda one: rules.heard(rules.born(one, birth()), 1_000_000)
    )
    assert not rules.is_heard_now(known, 1_500_000)
    assert not rules.is_heard_now(known, 999_999), "the clock was set back"
    assert not rules.is_heard_now(replace(known, state=RoomState.OFFLINE), 1_000_001)
    assert not rules.is_heard_now(NodeRecord("press-1", since_us=1), 1_000_001)
