"""Rules of incidents: what joins what, what only rises, what lifts an acknowledgement, and what is late."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.hub.parts import START_US, ulid
from tests.hub.stories import LIMITS, SECOND, fold, steps, stored, summary
from tocsin_hub.incidents import rules
from tocsin_hub.incidents.model import (
    Answer,
    Incident,
    IncidentKind,
    IncidentSeverity,
    Remark,
    Step,
)
from tocsin_hub.incidents.rules import GROUPS, Standing
from tocsin_hub.store import StoredEvent
from tocsin_shared.events import Certainty, Clock, Phase
from tocsin_shared.labels import SEVERITIES, Severity, severity_of

EVACUATE = [label for label, group in GROUPS.items() if group == "evacuate"]
ORDER = list(IncidentSeverity)


def acknowledged(standing: Standing, now_us: int = START_US) -> Standing:
    return rules.acknowledged(standing, "OFFICER", now_us).standing


def joined(standing: Standing, event: StoredEvent, now_us: int, **how: Any) -> rules.Change:
    settings = {"known": False, "drill": False, "limits": LIMITS, **how}
    return rules.joined(standing, event, now_us=now_us, **settings)


# Groups


def test_labels_of_one_group_are_equally_severe() -> None:
    """Otherwise a lesser sound could open the incident in which an alarm is only one more report."""
    by_group: dict[str, set[Severity]] = {}
    for label, group in GROUPS.items():
        by_group.setdefault(group, set()).add(severity_of(label))
    assert {group: len(found) for group, found in by_group.items()} == dict.fromkeys(by_group, 1)
    assert set(GROUPS) <= set(SEVERITIES)


def test_an_ambulance_never_stands_for_an_evacuation() -> None:
    assert rules.group_of("emergency_siren") == "emergency_siren"
    assert {rules.group_of(label) for label in ("smoke_alarm", "co_alarm", "evacuation_siren", "siren")} == {
        "evacuate"
    }


def test_an_unknown_label_is_a_group_of_its_own_and_a_warning() -> None:
    event = stored(label="press_overload")
    assert rules.group_of(event.label) == "press_overload"
    assert rules.severity_of(event) is IncidentSeverity.WARNING


@pytest.mark.parametrize("changes", [{"test": True}, {"label": "speech"}, {"label": "background"}])
def test_tests_and_what_is_never_reported_have_no_severity(changes: dict[str, Any]) -> None:
    assert rules.severity_of(stored(**changes)) is None


# The same events in any order

detections = st.lists(
    st.fixed_dictionaries(
        {
            "node": st.sampled_from(["press-1", "dock-2", "hall-3"]),
            "label": st.sampled_from(EVACUATE),
            "score": st.floats(0, 1),
            "level_dbfs": st.none() | st.sampled_from([-60.0, -24.5, -24.0, -3.0]),
            "ambient_dbfs": st.none() | st.sampled_from([-70.0, -51.0, -30.0]),
            "seconds": st.integers(0, 60),
            "phases": st.sets(st.sampled_from(list(Phase)), min_size=1),
            "certainty": st.sampled_from(list(Certainty)),
        }
    ),
    min_size=1,
    max_size=6,
)


def told(detections: list[dict[str, Any]]) -> list[StoredEvent]:
    """Every phase of every detection; a later phase says the same or more."""
    events: list[StoredEvent] = []
    for number, one in enumerate(detections):
        fields = {name: one[name] for name in ("node", "label", "score", "level_dbfs", "ambient_dbfs")}
        onset_us = START_US + one["seconds"] * SECOND
        events += (
            stored(
                **fields,
                id=ulid(number),
                seq=10 * number + list(Phase).index(phase),
                certainty=one["certainty"],
                phase=phase,
                onset_us=onset_us,
                offset_us=onset_us + SECOND if phase is Phase.OFFSET else None,
                first_received_us=START_US + 70 * SECOND,
            )
            for phase in sorted(one["phases"], key=list(Phase).index)
        )
    return events


@settings(deadline=None)
@given(detections=detections, order=st.randoms(use_true_random=False))
def test_any_order_and_any_repetition_make_the_same_incident(
    detections: list[dict[str, Any]], order: Any
) -> None:
    events = told(detections)
    shuffled = [*events, *events]
    order.shuffle(shuffled)
    assert summary(fold(shuffled)[0]) == summary(fold(events)[0])
    assert fold(shuffled)[0].incident.events == len(detections)


@settings(deadline=None)
@given(detections=detections)
def test_what_was_said_already_changes_nothing_and_is_no_line(detections: list[dict[str, Any]]) -> None:
    events = told(detections)
    standing, _ = fold(events)
    for event in events:
        again = joined(standing, event, START_US, known=True)
        assert again.standing == standing
        assert again.lines == ()


@settings(deadline=None)
@given(
    detections=detections,
    doings=st.lists(
        st.sampled_from(["acknowledge", *Answer, "clear", "late", "lasting", "wait"]), max_size=8
    ),
    order=st.randoms(use_true_random=False),
)
def test_nothing_that_happens_makes_an_incident_less(
    detections: list[dict[str, Any]], doings: list[str], order: Any
) -> None:
    """Severity, certainty, number of events and nodes only rise, and help is never forgotten."""
    events = told(detections)
    standing, _ = fold(events[:1])
    now_us = START_US
    todo: list[Any] = [*events[1:], *doings]
    order.shuffle(todo)
    seen = {events[0].id}
    for doing in todo:
        now_us += 40 * SECOND
        before = standing.incident
        if isinstance(doing, StoredEvent):
            standing = joined(standing, doing, now_us, known=doing.id in seen).standing
            seen.add(doing.id)
        elif doing == "acknowledge":
            standing = acknowledged(standing, now_us)
        elif doing in set(Answer):
            standing = rules.answered(standing, "P", Answer(doing), None, now_us).standing
        elif doing == "clear" and rules.may_clear(before, now_us - 60 * SECOND, LIMITS, now_us):
            standing = rules.cleared(standing, now_us, now_us).standing
        elif doing == "lasting":
            standing = rules.lasting(standing, "press-1", now_us).standing
        after = standing.incident
        assert ORDER.index(after.severity) <= ORDER.index(before.severity)
        assert after.events >= before.events
        assert set(after.nodes) >= set(before.nodes)
        assert after.opened_us <= before.opened_us
        assert before.help_us in {None, after.help_us}
        assert after.late <= before.late


def test_the_origin_is_the_node_that_stands_out_of_its_room_the_most() -> None:
    """A louder microphone in a louder room is not nearer."""
    noisy = stored(id=ulid(1), node="press-1", level_dbfs=-20.0, ambient_dbfs=-30.0)
    quiet = stored(id=ulid(2), node="dock-2", level_dbfs=-35.0, ambient_dbfs=-70.0)
    incident = fold([noisy, quiet])[0].incident
    assert (incident.origin_node, incident.origin_level_dbfs) == ("dock-2", -35.0)
    assert incident.nodes == ("press-1", "dock-2")


def test_a_node_that_does_not_know_its_room_is_compared_by_an_assumed_one() -> None:
    unknown = stored(id=ulid(1), node="press-1", level_dbfs=-30.0, ambient_dbfs=None)
    known = stored(id=ulid(2), node="dock-2", level_dbfs=-30.0, ambient_dbfs=-45.0)
    silent = stored(id=ulid(3), node="hall-3", level_dbfs=None)
    assert fold([silent, known, unknown])[0].incident.origin_node == "press-1"
    assert fold([silent])[0].incident.origin_node == "hall-3", "somebody must have heard it"


def test_the_label_is_that_of_the_strongest_event_and_the_certainty_that_of_the_surest() -> None:
    incident = fold(
        [
            stored(id=ulid(1), label="smoke_alarm", score=0.7, certainty=Certainty.CONFIRMED),
            stored(id=ulid(2), label="co_alarm", score=0.95, certainty=Certainty.FAST, node="dock-2"),
        ]
    )[0].incident
    assert (incident.label, incident.certainty) == ("co_alarm", Certainty.CONFIRMED)


# What joins what


def cleared_at(us: int) -> Incident:
    return replace(fold([stored()])[0].incident, cleared_us=us)


@pytest.mark.parametrize(
    ("seconds", "joins"), [(-5, True), (0, True), (119, True), (120, False), (900, False)]
)
def test_what_begins_soon_after_the_end_goes_on_with_it(seconds: int, joins: bool) -> None:
    end_us = START_US + 60 * SECOND
    begin_us = end_us + seconds * SECOND
    event = stored(id=ulid(2), onset_us=begin_us, first_received_us=begin_us)
    assert rules.joins(cleared_at(end_us), event, LIMITS) is joins


def test_a_late_report_joins_what_happened_at_its_time_and_not_what_happens_now() -> None:
    hour = 3600 * SECOND
    report = stored(id=ulid(2), late=True, first_received_us=START_US + hour, offset_us=START_US + 9 * SECOND)
    then = cleared_at(START_US + 30 * SECOND)
    now = replace(then, opened_us=START_US + hour, cleared_us=None)
    assert rules.joins(then, report, LIMITS)
    assert not rules.joins(now, report, LIMITS)


def test_a_retrigger_opens_the_incident_again_and_the_alarm_goes_out_again() -> None:
    standing = acknowledged(fold([stored()])[0])
    standing = rules.cleared(standing, START_US + 30 * SECOND, START_US + 30 * SECOND).standing
    later_us = START_US + 60 * SECOND
    change = joined(standing, stored(id=ulid(2), onset_us=later_us, first_received_us=later_us), later_us)
    assert change.incident.active
    assert not change.incident.acknowledged
    assert change.incident.events == 2
    assert steps(change.lines) == [("reopened", "")]


# What an acknowledgement covers


def test_an_acknowledgement_covers_other_nodes_and_more_of_the_same() -> None:
    standing = acknowledged(fold([stored()])[0])
    for number, node in ((2, "dock-2"), (3, "press-1")):
        now_us = START_US + number * 10 * SECOND
        change = joined(standing, stored(id=ulid(number), node=node), now_us)
        assert change.incident.acknowledged
        standing = change.standing


def test_another_alarm_of_the_group_is_not_covered() -> None:
    """Toast was acknowledged; then the evacuation siren sounds."""
    standing = acknowledged(fold([stored()])[0])
    change = joined(standing, stored(id=ulid(2), label="evacuation_siren", node="dock-2"), START_US + SECOND)
    assert not change.incident.acknowledged
    assert steps(change.lines) == [("heard", "new_label"), ("escalated", "new_label")]


def test_an_alarm_after_a_long_silence_is_not_covered_even_if_the_first_never_ended() -> None:
    """A node that never said the end of an alarm must not keep every later one quiet."""
    standing = acknowledged(fold([stored()])[0])
    later_us = START_US + 3600 * SECOND
    change = joined(standing, stored(id=ulid(2), onset_us=later_us, first_received_us=later_us), later_us)
    assert not change.incident.acknowledged
    assert steps(change.lines) == [("heard", "again"), ("escalated", "again")]


def test_a_late_report_lifts_no_acknowledgement_and_opens_nothing_again() -> None:
    standing = acknowledged(fold([stored()])[0])
    standing = rules.cleared(standing, START_US + 30 * SECOND, START_US + 30 * SECOND).standing
    hour_us = START_US + 3600 * SECOND
    report = stored(id=ulid(2), node="dock-2", late=True, first_received_us=hour_us, label="co_alarm")
    change = joined(standing, report, hour_us)
    assert (change.incident.active, change.incident.acknowledged) == (False, True)
    assert change.incident.nodes == ("press-1", "dock-2")


def test_the_first_acknowledgement_stands() -> None:
    once = acknowledged(fold([stored()])[0])
    again = rules.acknowledged(once, "SOMEBODY-ELSE", START_US + SECOND)
    assert again.standing == once
    assert again.lines == ()


# Answers


def test_need_help_raises_everything_to_an_alarm_that_nobody_acknowledged() -> None:
    standing = acknowledged(fold([stored(label="phone_or_door_bell")])[0])
    standing = rules.cleared(standing, START_US + SECOND, START_US + SECOND).standing
    change = rules.answered(standing, "WORKER", Answer.NEED_HELP, None, START_US + 9 * SECOND)
    incident = change.incident
    assert (incident.severity, incident.help_us) == (IncidentSeverity.ALARM, START_US + 9 * SECOND)
    assert (incident.active, incident.acknowledged) == (True, False)
    assert steps(change.lines) == [("answered", "need_help"), ("reopened", ""), ("escalated", "need_help")]
    assert {line.person for line in change.lines} == {"WORKER"}


def test_what_a_call_for_help_raised_stays_raised() -> None:
    standing, _ = fold([stored(label="vehicle_horn")])
    standing = rules.answered(standing, "WORKER", Answer.NEED_HELP, None, START_US).standing
    change = joined(standing, stored(id=ulid(2), label="vehicle_horn"), START_US + SECOND)
    assert change.incident.severity is IncidentSeverity.ALARM


@pytest.mark.parametrize("answer", Answer)
def test_the_same_answer_again_changes_nothing(answer: Answer) -> None:
    once = rules.answered(fold([stored()])[0], "WORKER", answer, None, START_US).standing
    again = rules.answered(once, "WORKER", answer, answer, START_US + SECOND)
    assert again.standing == once
    assert again.lines == ()


def test_a_call_for_help_that_is_repeated_after_somebody_knew_is_a_new_one() -> None:
    standing = rules.answered(fold([stored()])[0], "WORKER", Answer.NEED_HELP, None, START_US).standing
    change = rules.answered(
        acknowledged(standing), "WORKER", Answer.NEED_HELP, Answer.NEED_HELP, START_US + 5
    )
    assert not change.incident.acknowledged
    assert change.incident.help_us == START_US, "when somebody asked first"


def test_safe_and_false_alarm_are_noted_and_change_nothing_else() -> None:
    standing = fold([stored()])[0]
    for answer in (Answer.SAFE, Answer.FALSE_ALARM):
        change = rules.answered(standing, "WORKER", answer, None, START_US)
        assert change.standing == standing
        assert steps(change.lines) == [("answered", answer)]


# The end


def test_an_incident_is_over_when_nothing_was_heard_for_the_hold_time() -> None:
    incident = fold([stored()])[0].incident
    quiet_us = START_US + 5 * SECOND
    assert not rules.may_clear(incident, None, LIMITS, START_US + 9999 * SECOND), "something still sounds"
    assert not rules.may_clear(incident, quiet_us, LIMITS, quiet_us + 19 * SECOND)
    assert rules.may_clear(incident, quiet_us, LIMITS, quiet_us + 20 * SECOND)


def test_whoever_waits_for_help_keeps_the_incident_open_until_somebody_knows() -> None:
    standing = rules.answered(fold([stored()])[0], "WORKER", Answer.NEED_HELP, None, START_US).standing
    later_us = START_US + 3600 * SECOND
    assert not rules.may_clear(standing.incident, START_US, LIMITS, later_us)
    assert rules.may_clear(acknowledged(standing).incident, START_US, LIMITS, later_us)


def test_nodes_that_went_offline_are_named_once() -> None:
    once = rules.unheard(fold([stored()])[0], ("press-1",), START_US)
    assert once.incident.unheard == ("press-1",)
    assert steps(once.lines) == [("unheard", "")]
    again = rules.unheard(once.standing, ("press-1",), START_US + SECOND)
    assert again.standing == once.standing
    assert again.lines == ()
    assert rules.unheard(once.standing, (), START_US + SECOND).incident.unheard == ()


# Late


@pytest.mark.parametrize(
    ("age_seconds", "flagged", "clock", "late"),
    [
        (0, False, Clock.NTP, False),
        (60, True, Clock.NTP, False),  # it waited for a short break of the connection: people must know
        (119, True, Clock.NTP, False),
        (121, True, Clock.NTP, True),
        (121, False, Clock.NTP, True),  # it waited in the broker, as while the hub was away
        (10 * 365 * 86_400, False, Clock.UNSYNCED, False),  # sent at once by a node whose clock is wrong
        (10 * 365 * 86_400, False, Clock.FLOOR, False),
        (3600, True, Clock.UNSYNCED, True),
        (-3600, False, Clock.NTP, False),  # a clock that runs ahead
    ],
)
def test_what_is_late(age_seconds: int, flagged: bool, clock: Clock, late: bool) -> None:
    event = stored(onset_us=START_US - age_seconds * SECOND, late=flagged, clock=clock)
    assert rules.is_late(event, LIMITS) is late


def test_a_clock_that_is_years_off_does_not_date_the_incident() -> None:
    old = stored(onset_us=5, clock=Clock.UNSYNCED)
    ahead = stored(onset_us=START_US + 3600 * SECOND)
    assert [rules.begin_us(event, LIMITS) for event in (old, ahead)] == [START_US, START_US]


def test_an_incident_is_late_only_as_long_as_all_of_it_is() -> None:
    hour_us = START_US + 3600 * SECOND
    late = stored(late=True, first_received_us=hour_us)
    standing, _ = fold([late], hour_us)
    assert standing.incident.late
    assert rules.lasting(standing, "press-1", hour_us).incident.late is False
    live = stored(id=ulid(2), onset_us=hour_us, first_received_us=hour_us)
    assert joined(standing, live, hour_us).incident.late is False


def test_a_late_report_never_makes_a_live_incident_late() -> None:
    standing, _ = fold([stored()])
    report = stored(id=ulid(2), node="dock-2", late=True, first_received_us=START_US + 600 * SECOND)
    assert rules.is_late(report, LIMITS)
    assert joined(standing, report, START_US + 600 * SECOND).incident.late is False


def test_a_later_word_about_a_late_event_wakes_nobody() -> None:
    hour_us = START_US + 3600 * SECOND
    standing, _ = fold([stored(late=True, first_received_us=hour_us)], hour_us)
    end = stored(first_received_us=hour_us, received_us=hour_us, offset_us=START_US, phase=Phase.OFFSET)
    assert joined(standing, end, hour_us, known=True).incident.late


# Drills


def test_a_report_after_the_drill_makes_the_incident_real_and_lifts_the_acknowledgement() -> None:
    standing = acknowledged(fold([stored()], drill=True)[0])
    assert standing.incident.drill
    within = joined(standing, stored(id=ulid(2), node="dock-2"), START_US + SECOND, drill=True)
    assert (within.incident.drill, within.incident.acknowledged) == (True, True)
    after = joined(standing, stored(id=ulid(3), node="dock-2"), START_US + SECOND)
    assert (after.incident.drill, after.incident.acknowledged) == (False, False)
    assert ("escalated", Remark.NO_DRILL) in steps(after.lines)


def test_a_drill_never_marks_what_was_real_already() -> None:
    change = joined(fold([stored()])[0], stored(id=ulid(2), node="dock-2"), START_US + SECOND, drill=True)
    assert change.incident.drill is False


def test_the_timeline_says_who_heard_it_and_not_every_report() -> None:
    _, lines = fold(
        [
            stored(id=ulid(1)),
            stored(id=ulid(2), node="dock-2"),
            *(stored(id=ulid(number)) for number in range(3, 30)),
        ]
    )
    assert steps(lines) == [("opened", "smoke_alarm"), ("heard", "")]
    assert [line.node for line in lines] == ["press-1", "dock-2"]
    assert lines[0].step is Step.OPENED


def test_an_incident_knows_its_place_and_its_first_event() -> None:
    incident = fold([stored(), stored(id=ulid(2), onset_us=START_US - 3 * SECOND)])[0].incident
    assert (incident.kind, incident.zone, incident.group) == (IncidentKind.SOUND, "hall-1", "evacuate")
    assert (incident.first_event, incident.opened_us) == (ulid(1), START_US - 3 * SECOND)
