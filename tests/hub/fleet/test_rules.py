"""The rules of the simulator: outbox, script, node and ledger."""

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.shared.messages import sound
from tocsin_hub.fleet.ledger import Stored, judge, latency
from tocsin_hub.fleet.model import Plan, Record
from tocsin_hub.fleet.node import Moment, Node
from tocsin_hub.fleet.outbox import BATCH_EVENTS, LATE_WINDOW, RESEND_SECONDS, WINDOW, Outbox
from tocsin_hub.fleet.script import Occurrence, chance_of, drops_of, sounds_of
from tocsin_shared.broker import BrokerSettings
from tocsin_shared.codec import decode, encode
from tocsin_shared.events import (
    Backfill,
    EventRef,
    EventsCommitted,
    HubPresence,
    NodeConnection,
    Phase,
    Presence,
    SoundDetected,
)
from tocsin_shared.topics import HUB_STATE, parse_node_topic

PLAN = Plan(
    broker=BrokerSettings(), nodes=4, rate=30.0, seconds=60.0, run="01JDB8Z6Q4T3M0V5X7Y9ABCDEF", zones=2
)
SOUND = Occurrence(1.0, 3.0, "smoke_alarm")


def ulid(number: int) -> str:
    return f"0{number:025}"


def filled(count: int, now: float = 0.0) -> Outbox:
    outbox = Outbox()
    for number in range(1, count + 1):
        outbox.add(sound(id=ulid(number), seq=number), now)
    return outbox


def refs(*numbers: int) -> list[EventRef]:
    return [EventRef(id=ulid(number), seq=number) for number in numbers]


def test_live_rows_go_alone_and_the_window_holds() -> None:
    """Each goes in a message of its own; what is under way is not sent again."""
    outbox = filled(WINDOW + 5)
    sent = [outbox.due(1.0) for _ in range(WINDOW + 5)]
    assert [len(rows) for rows in sent] == [1] * WINDOW + [0] * 5
    outbox.acknowledged(refs(1, 2))
    assert [row.event.seq for row in outbox.due(1.0)] == [WINDOW + 1]


def test_only_the_hubs_word_about_this_very_message_deletes_a_row() -> None:
    """An id without its seq, or a seq of another id, is no acknowledgement."""
    outbox = filled(2)
    assert outbox.acknowledged([EventRef(id=ulid(1), seq=2), EventRef(id=ulid(9), seq=1)]) == []
    assert len(outbox) == 2
    assert [event.seq for event in outbox.acknowledged(refs(2, 2))] == [2]
    assert outbox.acknowledged(refs(2)) == []
    assert len(outbox) == 1


def test_what_waited_goes_late_in_batches_after_live_ones() -> None:
    """A connection makes all that is there late; what is made after it goes first."""
    outbox = filled(BATCH_EVENTS + 10)
    outbox.connected()
    outbox.add(sound(id=ulid(900), seq=900), 5.0)
    assert [row.event.seq for row in outbox.due(5.0)] == [900]
    assert len(outbox.due(5.0)) == BATCH_EVENTS
    assert outbox.due(5.0) == ()
    assert len(outbox.due(6.0)) == 10


def test_late_messages_leave_room_for_alarms() -> None:
    """Half of the window is never taken by what waited."""
    outbox = filled(BATCH_EVENTS * (LATE_WINDOW + 3))
    outbox.connected()
    taken = [outbox.due(10.0 * turn) for turn in range(1, LATE_WINDOW + 3)]
    assert sum(bool(rows) for rows in taken) == LATE_WINDOW


def test_what_has_no_answer_goes_again_unless_the_hub_is_away() -> None:
    """After its time, and at once when a hub comes back."""
    outbox = filled(1)
    assert outbox.due(0.0)
    outbox.overdue(RESEND_SECONDS - 0.1)
    assert outbox.due(RESEND_SECONDS - 0.1) == ()
    outbox.overdue(RESEND_SECONDS)
    assert outbox.due(RESEND_SECONDS)
    outbox.hub(away=True)
    outbox.overdue(10 * RESEND_SECONDS)
    assert outbox.due(10 * RESEND_SECONDS) == ()
    outbox.hub(away=False)
    assert outbox.due(10 * RESEND_SECONDS)
    assert outbox.resent == 2


@settings(deadline=None)
@given(st.lists(st.sampled_from(["add", "due", "ack", "cut", "hub", "late"]), max_size=120))
def test_whatever_happens_a_row_stays_until_its_acknowledgement(steps: list[str]) -> None:
    """Every row is acknowledged or still there, and in the end all of them can be delivered."""
    outbox, made, done, now = Outbox(), set[int](), set[int](), 0.0
    under_way: list[int] = []
    for step in steps:
        now += 1.0
        if step == "add":
            seq = outbox.next_seq
            outbox.add(sound(id=ulid(seq), seq=seq), now)
            made.add(seq)
        elif step == "due":
            under_way += [row.event.seq for row in outbox.due(now)]
        elif step == "ack" and under_way:
            done |= {event.seq for event in outbox.acknowledged(refs(under_way.pop()))}
        elif step == "cut":
            outbox.connected()
        elif step == "hub":
            outbox.hub(away=True)
            outbox.hub(away=False)
        elif step == "late":
            now += 2 * RESEND_SECONDS
            outbox.overdue(now)
        assert len(outbox) == len(made) - len(done)
    outbox.connected()
    while rows := outbox.due(now := now + 10.0):
        done |= {event.seq for event in outbox.acknowledged(refs(*[row.event.seq for row in rows]))}
    assert done == made


def test_the_script_is_the_seeds_and_the_storm_is_short() -> None:
    """Same seed, same sounds; all alarm within two seconds; nothing begins or lasts after the end."""
    plan = replace(PLAN, storm_at=30.0, churn=True, seed=7)
    scripts = [sounds_of(plan, chance_of(plan, number)) for number in range(4)]
    assert scripts == [sounds_of(plan, chance_of(plan, number)) for number in range(4)]
    assert scripts[0] != scripts[1]
    storm = [one for script in scripts for one in script if one.storm]
    assert len(storm) == 4
    assert all(30.0 <= one.at <= 32.0 and one.label == "smoke_alarm" for one in storm)
    assert all(0 <= one.at <= one.until <= plan.seconds for script in scripts for one in script)
    assert 50 < sum(len(script) for script in scripts) < 200  # 120 expected


def test_without_rate_storm_and_churn_nothing_happens() -> None:
    """Only heartbeats are left."""
    quiet = replace(PLAN, rate=0.0)
    assert sounds_of(quiet, random.Random(1)) == []
    assert drops_of(quiet, random.Random(1)) == []


def test_drops_come_one_after_another() -> None:
    """Nobody drops out who is away already, and all are back at the end."""
    plan = replace(PLAN, churn=True, seconds=600.0)
    drops = drops_of(plan, chance_of(plan, 0))
    assert len(drops) > 3
    assert {drop.restart for drop in drops} == {True, False}
    ends = [drop.back for drop in drops]
    assert all(begin <= drop.at < drop.back for begin, drop in zip([0.0, *ends], drops, strict=False))
    assert max(ends) <= plan.seconds


def test_a_node_tells_both_ends_of_a_sound_and_measures_the_first_answer() -> None:
    """Onset and offset share an id; the acknowledgement counts from the onset."""
    node = Node(PLAN, 0)
    will, first = node.will(), node.connected(Moment(10.0, 10_000_000))
    assert decode(will.payload, NodeConnection) == NodeConnection(
        state=Presence.OFFLINE, boot=node.boot, session=1
    )
    assert [parse_node_topic(out.topic).kind for out in first] == ["conn", "birth", "hb"]
    node.begins(SOUND, Moment(11.0, 11_000_000))
    out = node.due(Moment(11.0, 11_000_000))
    assert out is not None
    onset = decode(out.payload, SoundDetected)
    node.ends(SOUND, Moment(13.0, 13_000_000))
    out = node.due(Moment(13.0, 13_000_000))
    assert out is not None
    offset = decode(out.payload, SoundDetected)
    assert (onset.id, onset.phase, offset.phase) == (offset.id, Phase.ONSET, Phase.OFFSET)
    ack = encode(EventsCommitted(refs=(EventRef(id=onset.id, seq=onset.seq),)))
    node.hears("tocsin/v1/n/fleet-00001/ack", ack, retained=False, now=Moment(11.25, 0))
    record = node.records[onset.id]
    assert (record.acknowledged_us, record.complete, record.waited) == (250_000, False, False)
    ack = encode(EventsCommitted(refs=(EventRef(id=offset.id, seq=offset.seq),)))
    node.hears("tocsin/v1/n/fleet-00001/ack", ack, retained=False, now=Moment(14.0, 0))
    assert (record.acknowledged_us, record.complete, len(node.outbox)) == (250_000, True, 0)


def test_a_restarted_node_keeps_its_outbox_and_tells_it_late() -> None:
    """Another boot, the same rows; a sound that the old process heard is not ended by the new one."""
    node = Node(PLAN, 1)
    node.begins(SOUND, Moment(1.0, 1_000_000))
    old = node.boot
    node.restart()
    node.ends(SOUND, Moment(3.0, 3_000_000))
    node.connected(Moment(5.0, 5_000_000))
    out = node.due(Moment(5.0, 5_000_000))
    assert out is not None
    (event,) = decode(out.payload, Backfill).events
    assert (event.boot, event.late, event.phase) == (old, True, Phase.ONSET)
    assert node.boot != old
    assert node.records[event.id].waited


@pytest.mark.parametrize("payload", [b"", b"{", b'{"refs": 7}', b"\xff\xfe", b"x" * 70_000])
def test_garbage_from_the_broker_is_counted(payload: bytes) -> None:
    """Nothing that comes from outside ends a process."""
    node = Node(PLAN, 0)
    for topic in (HUB_STATE, "tocsin/v1/n/fleet-00001/ack"):
        node.hears(topic, payload, retained=False, now=Moment(0.0, 0))
    assert node.garbage == 2


def test_a_hub_that_comes_anew_is_told_again() -> None:
    """Its word that it is there, said just now, lets go again what it has not answered."""
    node = Node(PLAN, 0)
    node.connected(Moment(0.0, 0))
    node.begins(SOUND, Moment(1.0, 1_000_000))
    assert node.due(Moment(1.0, 0)) is not None
    assert node.due(Moment(1.0, 0)) is None
    presence = HubPresence(state=Presence.ONLINE, epoch="e2", at=sound().onset)
    node.hears(HUB_STATE, encode(presence), retained=False, now=Moment(2.0, 0))
    assert node.due(Moment(2.0, 0)) is not None


def record(number: int, **changes: object) -> Record:
    fields: dict[str, object] = {
        "id": ulid(number), "node": "fleet-00001", "label": "knock", "boot": "b", "onset_us": 1_000_000,
        "seq": 2, "phase": "offset", "acknowledged_us": 20_000, "complete": True,
    }  # fmt: skip
    return Record(**{**fields, **changes})  # type: ignore[arg-type]


def row(number: int, seq: int = 2) -> Stored:
    return Stored(ulid(number), "fleet-00001", 1_000_000, seq, 1_005_000)


def test_the_ledger_finds_what_is_lost_stale_twice_and_late() -> None:
    """Each kind of fault is found, named, and makes the verdict bad."""
    good = judge([record(1), record(2)], [row(1), row(2)], 2.0)
    assert (good.good, good.produced, good.stored, good.latency["stored"].p99) == (True, 2, 2, 5.0)
    lost = judge([record(1), record(2)], [row(1)], 2.0)
    assert (lost.good, lost.lost, lost.lost_after_word, lost.named) == (False, 1, 1, {"lost": [ulid(2)]})
    stale = judge([record(1)], [row(1, seq=1)], 2.0)
    assert (stale.good, stale.stale) == (False, 1)
    unasked = judge([record(1, complete=False)], [row(1, seq=1)], 2.0)
    assert (unasked.good, unasked.stale) == (True, 0)
    twice = judge([record(1)], [row(1), row(7)], 2.0)
    assert (twice.good, twice.twice, twice.named["twice"]) == (False, 1, [ulid(7)])
    late = judge(
        [record(1, acknowledged_us=2_100_000), record(2, acknowledged_us=9_000_000, waited=True)], None, 2.0
    )
    assert (late.good, late.late, late.waited) == (True, 1, 1)


def test_without_a_database_what_is_not_acknowledged_is_lost() -> None:
    """Nobody can say that the hub has it."""
    verdict = judge([record(1, acknowledged_us=None, complete=False), record(2)], None, 2.0)
    assert (verdict.good, verdict.lost, verdict.lost_after_word, verdict.stored) == (False, 1, 0, None)


def test_percentiles_are_of_the_nearest_rank() -> None:
    """Of a hundred values the 99th is the second largest."""
    found = latency([number * 1000 for number in range(1, 101)])
    assert (found.p50, found.p95, found.p99, found.most) == (50.0, 95.0, 99.0, 100.0)
    assert latency([]).p99 is None
