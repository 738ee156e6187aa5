"""Incidents in a real database, through the real writer: together with their events or not at all."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.hub.databases import at, refuse
from tests.hub.parts import (
    START_US,
    Line,
    after,
    birth,
    conn,
    heartbeat,
    many,
    offset_of,
    troubles,
    ulid,
)
from tests.hub.stories import SECOND, steps
from tests.shared.messages import sound
from tocsin_hub.incidents import keeping
from tocsin_hub.incidents.model import Answer, Drill, Incident, IncidentKind, IncidentSeverity, Step
from tocsin_hub.incidents.reading import IncidentFilter
from tocsin_hub.recorder import Recorder, prepare
from tocsin_hub.store import Store
from tocsin_shared.errors import BadInputError
from tocsin_shared.events import Backfill, Clock, Phase, Presence, SoundDetected


@pytest.fixture
def room(line: Line) -> Line:
    """A line whose press shop is being listened to."""
    line.send("birth", birth())
    line.send("hb", heartbeat())
    line.settle()
    return line


def only(line: Line) -> Incident:
    """The one incident that there is."""
    line.settle()
    (incident,) = line.incidents.before(None, 10).incidents
    return incident


def timeline(line: Line, incident: Incident) -> list[tuple[str, str]]:
    return steps(line.incidents.log(incident.id))


def acknowledge(line: Line, incident: Incident) -> None:
    line.writer.call(
        lambda recorder: keeping.acknowledge(recorder, incident.id, "OFFICER", line.now_us),
        incidents=lambda changed: changed,
    )


# Events


def test_an_event_opens_an_incident_that_is_shown_and_told_after_the_commit(room: Line) -> None:
    room.hear(sound())
    incident = only(room)
    assert (incident.kind, incident.severity) == (IncidentKind.SOUND, IncidentSeverity.ALARM)
    assert (incident.zone, incident.origin_node, incident.first_event) == ("hall-1", "press-1", sound().id)
    assert room.told == [incident] == room.screen.incidents
    assert [event.id for event in room.incidents.events(incident.id)] == [sound().id]
    assert room.incidents.of_event(sound().id) == incident


def test_events_of_several_nodes_and_phases_are_one_incident(room: Line) -> None:
    room.hear(sound())
    room.hear(sound(id=ulid(2), node="dock-2", level_dbfs=-3.0, label="co_alarm"))
    room.hear(sound(id=ulid(3), node="dock-2", zone="hall-2"))
    room.hear(sound(id=ulid(4), label="vehicle_horn"))
    room.hear(offset_of(sound(), seq=9))
    room.settle()
    found = {(one.zone, one.group): one for one in room.incidents.open()}
    assert set(found) == {("hall-1", "evacuate"), ("hall-2", "evacuate"), ("hall-1", "vehicle")}
    fire = found["hall-1", "evacuate"]
    assert (fire.events, fire.nodes, fire.origin_node) == (2, ("press-1", "dock-2"), "dock-2")
    assert timeline(room, fire) == [("opened", "smoke_alarm"), ("heard", "new_label")]


@pytest.mark.parametrize("changes", [{"test": True}, {"label": "speech", "top": ()}])
def test_a_nodes_test_and_what_is_never_reported_open_nothing(room: Line, changes: dict[str, Any]) -> None:
    room.hear(sound(**changes))
    room.settle()
    assert room.store.event_count() == 1
    assert room.incidents.before(None, 10).incidents == ()


def test_repeats_and_overtaken_phases_change_nothing(room: Line) -> None:
    for message in (offset_of(sound(), seq=9), sound(), sound(), offset_of(sound(), seq=9)):
        room.hear(message)
    incident = only(room)
    assert incident.events == 1
    assert len(room.told) == 1
    room.pass_time(25)
    assert not only(room).active


def test_event_and_incident_are_committed_together_or_not_at_all(tmp_path: Path) -> None:
    prepare(at(tmp_path / "hub.sqlite"))
    recorder, store = Recorder(at(tmp_path / "hub.sqlite")), Store(at(tmp_path / "hub.sqlite"))
    recorder.open()

    def fold(fails: bool) -> None:
        with recorder.transaction():
            _, event = recorder.record(sound(), START_US, START_US)
            assert event is not None
            assert keeping.fold_event(recorder, event, START_US)
            if fails:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fold(fails=True)
    tables = ("events", "incidents", "incident_log", "incident_events")
    assert [store.rows(f"SELECT count(*) FROM {table}") for table in tables] == [[(0,)]] * 4  # noqa: S608
    fold(fails=False)
    assert [store.rows(f"SELECT count(*) FROM {table}") for table in tables] == [[(1,)]] * 4  # noqa: S608
    assert store.rows("SELECT change FROM incidents UNION SELECT change FROM events ORDER BY 1") == [
        (1,),
        (2,),
    ]
    recorder.close()
    store.close()


def test_an_incident_that_nobody_can_read_keeps_no_alarm_back(
    room: Line, caplog: pytest.LogCaptureFixture
) -> None:
    """As after a step back to an older hub."""
    room.hear(sound())
    room.settle()
    room.writer.call(
        lambda recorder: recorder.database.execute("UPDATE incidents SET severity = 'catastrophe'")
    )
    room.hear(sound(id=ulid(2), node="dock-2"))
    room.settle()
    assert room.told[-1].first_event == ulid(2)
    assert "cannot be judged" in caplog.text
    assert room.deaths == []


@pytest.mark.parametrize("table", ["incident_log", "incidents"])
def test_an_incident_that_the_database_will_not_take_costs_no_event(room: Line, table: str) -> None:
    room.hear(sound())
    room.settle()
    room.writer.call(lambda recorder: refuse(recorder, table))
    room.hear(sound(id=ulid(2), label="scream"))
    room.hear(sound(id=ulid(3)))
    room.settle()
    assert room.store.event_count() == 3
    assert room.ingest.quarantined == 0
    assert only(room).events == 2, "what joins without a line in the timeline goes on"


def test_a_storm_is_one_incident_of_few_words(room: Line) -> None:
    for message in many(2000):
        room.hear(message)
    incident = only(room)
    assert incident.events == 2000
    assert len(room.incidents.log(incident.id)) == 1
    assert len(room.told) < 2000, "of the changes within one commit the last says all"
    assert room.told[-1].events == 2000


@pytest.mark.sqlite
def test_every_question_of_the_hook_is_answered_by_an_index(tmp_path: Path) -> None:
    prepare(at(tmp_path / "hub.sqlite"))
    recorder = Recorder(at(tmp_path / "hub.sqlite"))
    recorder.open()
    asked: list[str] = []
    assert isinstance(recorder.database, sqlite3.Connection)
    recorder.database.set_trace_callback(asked.append)
    with recorder.transaction():
        for message in (sound(), sound(id=ulid(2)), offset_of(sound(), seq=9)):
            _, event = recorder.record(message, START_US, START_US)
            assert event is not None
            keeping.fold_event(recorder, event, START_US)
        keeping.review(recorder, lambda _: None, START_US + 60 * SECOND)
    assert isinstance(recorder.database, sqlite3.Connection)
    recorder.database.set_trace_callback(None)
    questions = [sql for sql in asked if sql.startswith(("SELECT", "UPDATE"))]
    plans = {
        sql: [row[3] for row in recorder.database.execute(f"EXPLAIN QUERY PLAN {sql}")] for sql in questions
    }
    recorder.close()
    # The last two are the values that an update of many rows brings along.
    of_what_lasts = ("idx_incident_events_lasting", "idx_incidents_active", "CONSTANT ROW", "SCAN news")
    assert len(plans) > 8
    scans = [(sql, step) for sql, plan in plans.items() for step in plan if step.startswith("SCAN")]
    assert [step for _, step in scans if not step.endswith(of_what_lasts)] == [], scans


def test_changes_of_events_and_incidents_share_one_counter(room: Line) -> None:
    for message in many(3):
        room.hear(message)
        room.settle()
    room.hear(sound(id=ulid(9), label="scream"))
    room.settle()
    events = [event.change for event in room.store.events_after(0).events]
    page = room.incidents.after(0, 10)
    assert [incident.group for incident in page.incidents] == ["evacuate", "scream"]
    changes = [*events, *(incident.change for incident in page.incidents)]
    assert len(set(changes)) == len(changes)
    assert page.next == max(changes) == room.writer.state.latest_change
    assert room.incidents.after(page.next, 10).incidents == ()
    assert room.incidents.after(10**9, 10).more, "a cursor of another database starts from the beginning"


def test_when_the_node_decided_and_when_the_hub_first_had_it_are_kept(room: Line) -> None:
    onset = sound(mono_ns=9_000_000_000, onset_mono_ns=7_500_000_000)
    room.now_us += 3
    room.hear(onset)
    room.settle()
    room.now_us += SECOND
    room.hear(offset_of(onset, seq=9))
    room.hear(offset_of(sound(id=ulid(2), onset_mono_ns=1), seq=11))
    room.settle()
    rows = room.store.rows(
        "SELECT detected_us, first_committed_us, committed_us FROM events ORDER BY onset_us, id"
    )
    assert rows[1] == (START_US + 1_500_000, START_US + 3, START_US + 3 + SECOND)
    assert rows[0][0] is None, "a first word that is the last one says nothing about the decision"


many_words = st.lists(
    st.tuples(
        st.sampled_from(["press-1", "dock-2", "hall-3"]),
        st.sampled_from(["smoke_alarm", "co_alarm", "vehicle_horn", "scream"]),
        st.sampled_from(["z-1", "z-2"]),
        st.sampled_from([-60.0, -30.0, -3.0, None]),
        st.booleans(),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said=many_words, order=st.randoms(use_true_random=False))
def test_any_order_of_arrival_makes_the_same_incidents_in_the_database(
    line: Line, said: list[Any], order: Any
) -> None:
    def tell(shuffled: bool) -> set[Any]:
        line.writer.call(_forget_everything)
        messages: list[SoundDetected] = []
        for number, (node, label, zone, level, ends) in enumerate(said):
            fields = {"node": node, "label": label, "zone": zone, "level_dbfs": level, "id": ulid(number)}
            messages.append(sound(**fields, seq=2 * number))
            if ends:
                messages.append(offset_of(messages[-1], seq=2 * number + 1))
        if shuffled:
            order.shuffle(messages)
        for message in messages:
            line.hear(message)
        line.settle()
        return {
            (one.zone, one.group, one.label, one.severity, one.origin_node, one.events, frozenset(one.nodes))
            for one in line.incidents.before(None, 100).incidents
        }

    assert tell(shuffled=True) == tell(shuffled=False)


def _forget_everything(recorder: Recorder) -> None:
    for table in ("events", "incidents", "incident_log", "incident_events"):
        recorder.database.execute(f"DELETE FROM {table}")  # noqa: S608


# The end


def test_an_incident_is_cleared_when_all_of_it_ended_and_the_hold_time_passed(room: Line) -> None:
    room.hear(sound())
    room.hear(sound(id=ulid(2)))
    room.hear(offset_of(sound(), seq=9))
    room.pass_time(10)
    assert only(room).active, "one of two still sounds"
    room.hear(offset_of(sound(id=ulid(2)), seq=10, seconds=10))
    room.send("hb", heartbeat())
    room.pass_time(19)
    assert only(room).active
    room.pass_time(2)
    cleared = only(room)
    assert cleared.cleared_us == room.now_us
    assert room.told[-1] == cleared
    assert timeline(room, cleared)[-1] == ("cleared", "")


def test_an_incident_whose_node_goes_offline_is_not_cleared_and_says_so(room: Line) -> None:
    room.hear(sound())
    room.send("conn", conn(Presence.OFFLINE))
    room.pass_time(600)
    incident = next(one for one in room.incidents.open() if one.kind is IncidentKind.SOUND)
    assert incident.unheard == ("press-1",)
    assert timeline(room, incident)[-1] == ("unheard", "")
    acknowledge(room, incident)
    room.pass_time(1)
    room.pass_time(25)
    over = room.incidents.get(incident.id)
    assert over is not None
    assert not over.active, "somebody took over, and nobody else can tell"
    assert timeline(room, over)[-2:] == [("unheard", "end_unknown"), ("cleared", "")]


def test_a_node_that_comes_back_in_the_same_process_goes_on(room: Line) -> None:
    room.hear(sound())
    room.send("conn", conn(Presence.OFFLINE))
    room.pass_time(5)
    assert only(room).unheard == ("press-1",)
    room.send("conn", conn(Presence.ONLINE, session=2))
    room.send("hb", heartbeat())
    room.pass_time(1)
    assert (only(room).unheard, only(room).active) == ((), True)
    room.hear(offset_of(sound(), seq=9))
    room.pass_time(25)
    assert not only(room).active


def test_a_sound_ends_with_the_process_that_heard_it(room: Line) -> None:
    """A node that was started anew hears what still sounds, and says so; what it does not say is over."""
    room.hear(sound())
    room.send("birth", birth(boot="b2"))
    room.send("hb", heartbeat(boot="b2"))
    room.pass_time(1)
    assert only(room).active
    room.send("hb", heartbeat(boot="b2"))
    room.pass_time(20)
    assert timeline(room, only(room))[-2:] == [("unheard", "end_unknown"), ("cleared", "")]


def test_a_sound_that_was_given_up_and_is_heard_of_again_lasts(room: Line) -> None:
    room.hear(sound())
    room.settle()
    acknowledge(room, only(room))
    room.send("conn", conn(Presence.OFFLINE))
    room.pass_time(1)
    room.send("conn", conn(Presence.ONLINE, session=2))
    room.hear(sound(phase=Phase.UPDATE, seq=8))
    for _ in range(5):
        room.send("hb", heartbeat())
        room.pass_time(15)
    assert only(room).active
    room.hear(offset_of(sound(), seq=9))
    room.send("hb", heartbeat())
    room.pass_time(21)
    assert not only(room).active


def test_a_retrigger_opens_the_same_incident_again(room: Line) -> None:
    room.hear(sound())
    room.hear(offset_of(sound(), seq=9))
    room.pass_time(25)
    room.hear(sound(id=ulid(2), onset=after(60)))
    incident = only(room)
    assert (incident.active, incident.events) == (True, 2)
    assert ("reopened", "") in timeline(room, incident)
    room.hear(offset_of(sound(id=ulid(2), onset=after(60)), seq=10, seconds=61))
    room.pass_time(25)
    room.now_us += 300 * SECOND
    room.hear(sound(id=ulid(3), onset=after(400)))
    room.settle()
    assert len(room.incidents.before(None, 10).incidents) == 2, "that is another matter"


def test_an_event_that_was_deleted_because_of_its_age_holds_no_incident_open(room: Line) -> None:
    room.hear(sound())
    room.settle()
    room.writer.call(lambda recorder: recorder.database.execute("DELETE FROM events"))
    room.pass_time(1)
    room.pass_time(25)
    assert not only(room).active


def test_a_node_that_was_removed_holds_it_open_until_somebody_knows(line: Line) -> None:
    line.hear(sound())
    line.settle()
    line.rooms._records.clear()
    line.pass_time(60)
    assert only(line).unheard == ("press-1",)
    acknowledge(line, only(line))
    line.pass_time(1)
    line.pass_time(25)
    assert not only(line).active


# Late


def test_a_backlog_opens_late_incidents_that_end_in_their_own_time(room: Line) -> None:
    room.now_us += 3600 * SECOND
    old = sound(late=True)
    room.send("bf", Backfill(events=(old, offset_of(old, seq=9))))
    incident = only(room)
    assert (incident.late, incident.active) == (True, False)
    assert incident.cleared_us == START_US + 24 * SECOND
    assert all(one.late for one in room.told)
    live = sound(id=ulid(2), onset=after(3600))
    room.hear(live)
    room.settle()
    newest = room.incidents.before(None, 10).incidents[0]
    assert (newest.first_event, newest.late) == (ulid(2), False)


def test_what_was_reported_late_and_still_sounds_wakes_everybody(room: Line) -> None:
    room.now_us += 3600 * SECOND
    room.send("bf", Backfill(events=(sound(late=True),)))
    room.send("hb", heartbeat(outbox_depth=9))
    room.pass_time(15)
    assert only(room).late, "its end may be in the next message"
    room.send("hb", heartbeat(outbox_depth=0))
    room.pass_time(1)
    incident = only(room)
    assert (incident.late, incident.active) == (False, True)
    assert room.told[-1] == incident
    assert timeline(room, incident)[-1] == ("heard", "lasts")


def test_a_backlog_that_never_ends_is_not_waited_for(room: Line) -> None:
    room.now_us += 3600 * SECOND
    room.send("bf", Backfill(events=(sound(late=True),)))
    for _ in range(6):
        room.send("hb", heartbeat(outbox_depth=10_000))
        room.pass_time(10)
    assert not only(room).late


def test_the_trouble_of_a_node_whose_clock_is_wrong_is_dated_by_the_hubs(room: Line) -> None:
    room.now_us += 10 * 365 * 86_400 * SECOND
    room.send("troubles", troubles("mic_absent", at=after(30)))
    assert only(room).opened_us == room.now_us - 30 * SECOND


def test_what_an_earlier_process_of_the_node_reported_late_does_not_wake(room: Line) -> None:
    room.now_us += 3600 * SECOND
    room.send("bf", Backfill(events=(sound(late=True, boot="b0"),)))
    for _ in range(3):
        room.send("hb", heartbeat())
        room.pass_time(10)
    incident = only(room)
    assert (incident.late, incident.cleared_us) == (True, START_US + 20 * SECOND)


def test_a_node_with_a_wrong_clock_wakes_all_the_same(room: Line) -> None:
    room.now_us += 10 * 365 * 86_400 * SECOND
    room.hear(sound(clock=Clock.UNSYNCED))
    incident = only(room)
    assert not incident.late
    assert incident.opened_us == room.now_us


# After a restart


def test_another_process_goes_on_where_the_first_one_ended(tmp_path: Path) -> None:
    with Line(tmp_path / "hub.sqlite") as line:
        line.send("birth", birth())
        line.send("troubles", troubles("mic_absent"))
        line.hear(sound())
        line.settle()
    with Line(tmp_path / "hub.sqlite") as line:
        line.send("birth", birth())
        line.send("troubles", troubles("mic_absent"))
        line.hear(sound())
        line.hear(offset_of(sound(), seq=9))
        line.settle()
        assert {one.group for one in line.incidents.open()} == {"evacuate", "mic_absent"}
        line.pass_time(25)
        assert {one.group for one in line.incidents.open()} == {"mic_absent"}
        assert len(line.incidents.before(None, 10).incidents) == 2


def test_what_ended_while_the_hub_was_away_is_cleared(tmp_path: Path) -> None:
    with Line(tmp_path / "hub.sqlite") as line:
        line.send("birth", birth())
        line.send("troubles", troubles("mic_absent", "disk"))
        line.settle()
        assert len(line.incidents.open()) == 2
    with Line(tmp_path / "hub.sqlite") as line:
        line.send("troubles", troubles("disk"))
        line.settle()
        assert [one.group for one in line.incidents.open()] == ["disk"]


# Answers


def test_answers_are_kept_once_and_need_help_raises_the_incident(room: Line) -> None:
    room.hear(sound(label="phone_or_door_bell"))
    incident = only(room)

    def answer(person: str, said: Answer) -> None:
        room.writer.call(
            lambda recorder: keeping.answer(recorder, incident.id, person, said, room.now_us),
            incidents=lambda changed: changed,
        )

    for _ in range(3):
        answer("A", Answer.SAFE)
    answer("B", Answer.NEED_HELP)
    answer("A", Answer.FALSE_ALARM)
    after_all = only(room)
    assert (after_all.severity, after_all.help_us) == (IncidentSeverity.ALARM, room.now_us)
    given = room.incidents.answers([incident.id])[incident.id]
    assert [(one.person, one.answer) for one in given] == [("B", Answer.NEED_HELP), ("A", Answer.FALSE_ALARM)]
    assert timeline(room, incident)[1:] == [
        ("answered", "safe"),
        ("answered", "need_help"),
        ("escalated", "need_help"),
        ("answered", "false_alarm"),
    ]
    assert len(room.told) == 4


def test_an_acknowledgement_is_kept_and_the_second_one_changes_nothing(room: Line) -> None:
    room.hear(sound())
    incident = only(room)
    acknowledge(room, incident)
    room.now_us += SECOND
    acknowledge(room, incident)
    known = only(room)
    assert (known.acknowledged_us, known.acknowledged_by) == (room.now_us - SECOND, "OFFICER")
    assert len(room.told) == 2


def test_an_incident_that_does_not_exist_takes_no_answer(room: Line) -> None:
    assert room.writer.call(lambda recorder: keeping.acknowledge(recorder, ulid(5), "A", 1)) == ()
    assert room.writer.call(lambda recorder: keeping.answer(recorder, ulid(5), "A", Answer.SAFE, 1)) == ()


# Troubles of nodes


def test_a_trouble_that_makes_a_node_deaf_or_mute_is_an_incident_of_its_node(room: Line) -> None:
    room.send("troubles", troubles("mic_absent", "mic_hum", "not_known_yet"))
    room.settle()
    found = {one.group: one for one in room.incidents.open()}
    assert set(found) == {"mic_absent", "not_known_yet"}, "hum is a remark; what is not known may be deafness"
    one = found["mic_absent"]
    assert (one.kind, one.severity, one.zone) == (IncidentKind.TROUBLE, IncidentSeverity.TROUBLE, "hall-1")
    assert (one.origin_node, one.detail, one.opened_us) == ("press-1", "why mic_absent", START_US)


def test_a_loose_plug_is_one_incident(room: Line) -> None:
    for _ in range(5):
        room.send("troubles", troubles("mic_absent"))
        room.settle()
        room.now_us += 10 * SECOND
        room.send("troubles", troubles())
        room.settle()
        assert room.incidents.open() == ()
        room.now_us += 10 * SECOND
    assert [step for step, _ in timeline(room, only(room))].count("reopened") == 4


def test_the_same_trouble_of_two_nodes_is_two_incidents(room: Line) -> None:
    room.send("birth", birth(node="dock-2"), node="dock-2")
    room.send("troubles", troubles("mic_absent"))
    room.send("troubles", troubles("mic_absent", node="dock-2"), node="dock-2")
    room.settle()
    assert {one.origin_node for one in room.incidents.open()} == {"press-1", "dock-2"}
    room.send("troubles", troubles(node="dock-2"), node="dock-2")
    room.settle()
    assert {one.origin_node for one in room.incidents.open()} == {"press-1"}


def test_a_trouble_that_is_back_stays_until_it_is_over_again(room: Line) -> None:
    """It joins the one before, whose end is no end of it: nothing clears it while it lasts."""
    room.send("birth", birth())
    room.send("hb", heartbeat())
    room.pass_time(60)
    room.send("hb", heartbeat())
    room.pass_time(1)
    for _ in range(90):
        room.pass_time(1)
    ((incident, cleared_us),) = room.store.rows("SELECT id, cleared_us FROM incidents WHERE kind = 'trouble'")
    steps = [line.step for line in room.incidents.log(incident)]
    assert cleared_us is None
    assert steps == [Step.OPENED, Step.CLEARED, Step.REOPENED]


def test_a_node_that_is_silent_for_twenty_seconds_is_a_trouble_until_it_speaks(room: Line) -> None:
    room.send("birth", birth(heartbeat_seconds=6.0))
    room.pass_time(18)
    assert room.incidents.open() == ()
    room.pass_time(2)
    incident = only(room)
    assert (incident.group, incident.origin_node, incident.zone) == ("node_silent", "press-1", "hall-1")
    assert incident.opened_us == START_US, "since the last word"
    room.pass_time(100)
    assert only(room).change == incident.change, "told once"
    room.send("hb", heartbeat())
    room.pass_time(1)
    assert not only(room).active


def test_a_node_that_was_only_started_anew_is_no_trouble(room: Line) -> None:
    room.send("conn", conn(Presence.OFFLINE))
    room.pass_time(15)
    room.send("birth", birth(boot="b2"))
    room.pass_time(15)
    assert room.incidents.before(None, 10).incidents == ()


def test_two_machines_of_one_name_are_a_trouble_until_one_is_gone(room: Line) -> None:
    """A card was copied: their boots take turns, and each pushes the other off the broker."""
    for boot in ("b1", "b2", "b1", "b2"):
        room.send("birth", birth(boot=boot))
        room.pass_time(3)
    ours = [one for one in room.incidents.open() if one.group == "node_twice"]
    assert [(one.origin_node, one.zone, one.severity) for one in ours] == [
        ("press-1", "hall-1", IncidentSeverity.TROUBLE)
    ]
    assert "two machines say that they are press-1" in ours[0].detail
    room.send("troubles", troubles())
    room.pass_time(60)
    assert "node_twice" in {one.group for one in room.incidents.open()}, "the node knows nothing of it"
    room.send("hb", heartbeat(boot="b2"))
    room.pass_time(300)
    assert "node_twice" not in {one.group for one in room.incidents.open()}


def test_a_node_that_forgot_what_it_told_is_a_trouble_and_is_heard_all_the_same(room: Line) -> None:
    """An old copy of its card was put in: numbers come again, with new ids."""
    room.send("birth", birth(outbox_last=0))
    for seq in (1, 2, 3):
        room.hear(sound(id=ulid(seq), seq=seq))
    room.send("birth", birth(boot="b2", outbox_last=1))
    room.settle()
    (trouble,) = [one for one in room.incidents.open() if one.group == "outbox_older"]
    assert (trouble.origin_node, trouble.zone) == ("press-1", "hall-1")
    assert trouble.detail == "the node counts from 1, and had told number 3 already"
    room.hear(sound(id=ulid(102), seq=2, boot="b2"))
    room.settle()
    assert room.store.event_count() == 4
    room.send("troubles", troubles())
    room.send("birth", birth(boot="b2", session=2, outbox_last=2))
    room.pass_time(3590)
    assert "outbox_older" in {one.group for one in room.incidents.open()}, "the node knows nothing of it"
    room.pass_time(10)
    assert "outbox_older" not in {one.group for one in room.incidents.open()}


@pytest.mark.parametrize("last", [None, 3, 4])
def test_a_node_that_knows_what_it_told_or_does_not_say_is_no_trouble(room: Line, last: int | None) -> None:
    room.send("birth", birth())
    room.hear(sound(seq=3))
    room.send("birth", birth(boot="b2", outbox_last=last))
    room.settle()
    assert "outbox_older" not in {one.group for one in room.incidents.open()}


def test_a_restarted_hub_does_not_take_a_silent_node_for_one_that_is_back(tmp_path: Path) -> None:
    with Line(tmp_path / "hub.sqlite") as line:
        line.send("birth", birth())
        line.send("hb", heartbeat())
        line.pass_time(60)
        incident = only(line)
    with Line(tmp_path / "hub.sqlite") as line:
        line.now_us = START_US + 600 * SECOND
        line.rooms.set_hearing(False, line.now_us)
        line.rooms.set_hearing(True, line.now_us)
        for _ in range(40):
            line.pass_time(1)
        assert only(line).change == incident.change


# Troubles of the hub, and of phones


def test_a_trouble_may_be_noted_again_and_again_and_ends_once(line: Line) -> None:
    def note(detail: str) -> tuple[Incident, ...]:
        return line.writer.call(
            lambda recorder: keeping.open_trouble(recorder, "push_refused", "", detail, line.now_us)
        )

    def end() -> tuple[Incident, ...]:
        return line.writer.call(
            lambda recorder: keeping.close_trouble(recorder, "push_refused", "", line.now_us)
        )

    assert end() == ()
    (opened,) = note("410 from push.example.org")
    assert note("410 from push.example.org") == ()
    (again,) = note("3 phones")
    assert (again.id, again.detail, again.zone) == (opened.id, "3 phones", "")
    (closed,) = end()
    assert not closed.active
    assert end() == ()
    line.now_us += 60 * SECOND
    (reopened,) = note("410 from push.example.org")
    assert (reopened.id, reopened.active) == (opened.id, True)
    line.writer.call(lambda recorder: keeping.close_trouble(recorder, "push_refused", "", line.now_us))
    line.now_us += 600 * SECOND
    (other,) = note("again")
    assert other.id != opened.id


# Drills


def drill(line: Line, *zones: str, minutes: float = 10, sounds: bool = False) -> Drill:
    started = Drill(
        id=ulid(7000 + round(minutes)),
        zones=frozenset(zones),
        started_by="OFFICER",
        note="twice a year",
        started_us=line.now_us,
        ends_us=line.now_us + round(minutes * 60e6),
        sound=sounds,
    )
    line.writer.call(
        lambda recorder: keeping.start_drill(recorder, started, zones, line.now_us),
        incidents=lambda changed: changed,
    )
    return started


def test_what_opens_during_a_drill_in_its_zones_is_marked_and_told_all_the_same(room: Line) -> None:
    drill(room, "hall-1")
    room.now_us += 5 * SECOND
    room.hear(sound(onset=after(5)))
    room.hear(sound(id=ulid(2), zone="hall-2", node="dock-2", onset=after(5)))
    room.settle()
    assert {(one.zone, one.drill) for one in room.told} == {("hall-1", True), ("hall-2", False)}


def test_a_drill_ends_by_itself_and_what_is_heard_then_is_real(room: Line) -> None:
    drill(room, "hall-1", minutes=1)
    room.now_us += 5 * SECOND
    room.hear(sound(onset=after(5)))
    incident = only(room)
    acknowledge(room, incident)
    room.now_us += 70 * SECOND
    room.hear(sound(id=ulid(2), onset=after(74)))
    real = only(room)
    assert (real.id, real.drill, real.acknowledged) == (incident.id, False, False)


def test_an_alarm_that_began_before_the_drill_is_no_drill(room: Line) -> None:
    room.now_us += 5 * SECOND
    drill(room)
    room.hear(sound())
    assert only(room).drill is False


def test_a_drill_without_a_sound_can_be_practised_and_ends(room: Line) -> None:
    started = drill(room, "hall-1", "hall-2", sounds=True)
    room.settle()
    found = room.incidents.open()
    assert {(one.zone, one.drill, one.severity, one.events) for one in found} == {
        ("hall-1", True, IncidentSeverity.ALARM, 0),
        ("hall-2", True, IncidentSeverity.ALARM, 0),
    }
    assert set(room.told) == set(found)
    room.pass_time(300)
    assert len([one for one in room.incidents.open() if one.group == "drill"]) == 2
    ended, changed = room.writer.call(lambda recorder: keeping.end_drill(recorder, started.id, room.now_us))
    assert ended is not None
    assert ended.ends_us == room.now_us
    assert [one.active for one in changed] == [False, False]
    assert room.writer.call(lambda recorder: keeping.end_drill(recorder, started.id, room.now_us)) == (
        ended,
        (),
    )


def test_nobody_has_to_end_a_drill_that_sounds(room: Line) -> None:
    drill(room, "hall-1", minutes=1, sounds=True)
    room.pass_time(61)
    assert [one for one in room.incidents.open() if one.group == "drill"] == []


def test_a_real_alarm_never_joins_what_a_drill_lets_sound(room: Line) -> None:
    drill(room, "hall-1", sounds=True)
    acknowledge(room, only(room))
    room.hear(sound(label="evacuation_siren"))
    room.settle()
    real = room.told[-1]
    assert (real.group, real.drill, real.acknowledged) == ("evacuate", True, False)


# Reading


def test_history_pages_by_opening_with_filters_and_only_the_zones_that_may_be_seen(line: Line) -> None:
    for number in range(1, 8):
        line.hear(sound(id=ulid(number), zone=f"z-{number}", onset=after(number)))
    line.hear(sound(id=ulid(20), zone="z-1", label="engine", onset=after(-9)))
    line.settle()
    reading, seen, cursor = line.incidents, [], None
    while True:
        page = reading.before(cursor, 3)
        seen += [one.zone for one in page.incidents]
        cursor = page.next
        if cursor is None:
            break
    assert seen == ["z-7", "z-6", "z-5", "z-4", "z-3", "z-2", "z-1", "z-1"]
    mine = frozenset({"z-1", "z-2"})
    assert [one.zone for one in reading.before(None, 10, zones=mine).incidents] == ["z-2", "z-1", "z-1"]
    assert {one.zone for one in reading.after(0, 10, mine).incidents} == mine
    assert {one.zone for one in reading.open(mine)} == mine
    engine = reading.before(None, 10, IncidentFilter(severity=IncidentSeverity.NOTICE)).incidents[0]
    assert reading.get(engine.id, frozenset({"z-2"})) is None
    assert reading.log(engine.id, frozenset({"z-2"})) == ()
    assert reading.events(engine.id, frozenset({"z-2"})) == ()
    assert reading.of_event(ulid(20), frozenset({"z-2"})) is None
    assert reading.before(None, 10, IncidentFilter(zone="z-2"), frozenset({"z-1"})).incidents == ()
    assert reading.before(None, 10, IncidentFilter(active=False)).incidents == ()
    assert reading.before(None, 10, IncidentFilter(kind=IncidentKind.TROUBLE)).incidents == ()


@pytest.mark.parametrize(
    "cursor", ["x", "", "1.", "1.x", "-1." + ulid(1), "9" * 20 + "." + ulid(1), "١." + ulid(1)]
)
def test_a_cursor_of_somebody_elses_making_is_refused(line: Line, cursor: str) -> None:
    with pytest.raises(BadInputError, match="cursor"):
        line.incidents.before(cursor, 5)
