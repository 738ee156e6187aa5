"""Whom an incident reaches, when, and that nothing but an answer stops an alarm."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from tests.hub.alerts.cases import ALWAYS, NEVER, PaperHub, incident, line, officer, site, worker
from tests.hub.parts import START_US
from tocsin_hub.alerts.model import Audience, ChannelName, Policy, PolicyStep
from tocsin_hub.alerts.policies import DEFAULTS, PERSONAL
from tocsin_hub.alerts.rules import Reason, Send, answers, chosen, local_time, rehearse, within
from tocsin_hub.incidents.model import Answer, IncidentKind, IncidentSeverity, Step
from tocsin_hub.people.model import DailySpan, Person, Role

PUSH, PAGE, APPRISE, ACTUATOR = ChannelName.PUSH, ChannelName.PAGE, ChannelName.APPRISE, ChannelName.ACTUATOR
WARNING, NOTICE = IncidentSeverity.WARNING, IncidentSeverity.NOTICE
TROUBLE = IncidentSeverity.TROUBLE


class BrokenZone(tzinfo):
    """A time zone whose file is damaged."""

    def utcoffset(self, _moment: datetime | None) -> timedelta:
        raise ValueError("damaged")

    def dst(self, _moment: datetime | None) -> timedelta:
        raise ValueError("damaged")

    def tzname(self, _moment: datetime | None) -> str:
        raise ValueError("damaged")


def people(*names: str) -> list[Person]:
    return [worker(name) for name in names]


# What is told


def test_an_alarm_goes_to_zone_officers_and_lamps_at_once_and_climbs() -> None:
    """Buddies after 30 s, everybody after two minutes, and again and again until somebody acknowledges."""
    everybody = [
        worker("ada", buddy="cyd"),
        worker("ben", zones=frozenset({"hall-2"})),
        worker("cyd", shift=(NEVER,)),
        officer("eve"),
        worker("fay", shift=(NEVER,)),
    ]
    hub = PaperHub(everybody).run(200)
    assert hub.times("ada") == [0.0, 30.0, 60.0, 90.0, 120.0, 150.0, 180.0]
    assert hub.times("eve") == hub.times("ada")
    assert hub.times(None, ACTUATOR) == hub.times("ada")
    assert hub.times("cyd")[0] == 30.0
    assert hub.times("fay") == [120.0, 180.0]
    assert hub.times("ben") == []
    assert hub.plan().reasons == {
        "ada": Reason.TOLD,
        "ben": Reason.OTHER_ZONE,
        "cyd": Reason.TOLD,
        "eve": Reason.TOLD,
        "fay": Reason.TOLD,
    }


def test_acknowledgement_stops_everything_everywhere() -> None:
    hub = PaperHub([worker("ada", buddy="ben"), worker("ben"), officer("eve")]).run(45)
    hub.acknowledge("eve")
    before = len(hub.sent)
    hub.run(4000)
    assert [send for _, send in hub.sent[before:]] == [
        Send(None, Audience.PLACE, ACTUATOR, repeat=2)  # the lamps are turned off, once
    ]
    assert set(hub.plan().reasons.values()) == {Reason.ACKNOWLEDGED}


@pytest.mark.parametrize("answer", [Answer.SAFE, Answer.FALSE_ALARM])
def test_an_answer_stops_the_repeats_to_that_person_alone(answer: Answer) -> None:
    hub = PaperHub(people("ada", "ben")).run(35)
    hub.say(Step.ANSWERED, person="ada", detail=str(answer))
    hub.run(100)
    assert hub.times("ada") == [0.0, 30.0]
    assert hub.times("ben") == [0.0, 30.0, 60.0, 90.0]
    assert hub.plan().reasons["ada"] is Reason.ANSWERED


def test_who_answers_spares_her_buddy() -> None:
    hub = PaperHub([worker("ada", buddy="cyd"), worker("cyd", shift=(NEVER,)), officer("eve")]).run(10)
    hub.say(Step.ANSWERED, person="ada", detail="safe")
    hub.run(100)
    assert hub.times("cyd") == []


def test_a_call_for_help_reaches_the_officers_and_the_buddy_at_once() -> None:
    """Even when an officer had acknowledged the alarm before, and whatever officers set for themselves."""
    ada = worker("ada", buddy="cyd")
    cyd = worker("cyd", shift=(NEVER,))
    eve = officer("eve", quiet=(ALWAYS,), muted=frozenset({"knock"}))
    hub = PaperHub([ada, worker("ben"), cyd, eve], incident=incident(severity=NOTICE, label="knock"))
    hub.run(5)
    assert hub.times("eve") == []
    hub.acknowledge("eve")
    hub.now_us += 5_000_000
    hub.say(Step.ANSWERED, person="ada", detail="need_help")
    hub.say(Step.ESCALATED, person="ada")
    hub.incident = structs.replace(hub.incident, severity=IncidentSeverity.ALARM, help_us=hub.now_us)
    hub.look()
    assert hub.times("eve") == [10.0]
    assert hub.times("cyd") == [10.0]
    assert hub.times("ben") == [0.0, 10.0], "the zone hears of it too"
    assert hub.times("ada") == [0.0], "she knows"
    hub.run(45)
    assert hub.times("eve") == [10.0, 40.0]
    hub.acknowledge("eve")
    hub.run(300)
    assert hub.times("eve") == [10.0, 40.0]


def test_a_policy_may_spare_the_zone_a_call_for_help() -> None:
    policies = [replace(policy, help_tells_zone=False) for policy in DEFAULTS]
    hub = PaperHub([*people("ada", "ben"), officer("eve")], policies=policies)
    hub.look()
    hub.now_us += 7_000_000
    hub.say(Step.ANSWERED, person="ada", detail="need_help")
    hub.incident = structs.replace(hub.incident, help_us=hub.now_us)
    hub.look()
    assert (hub.times("eve"), hub.times("ben")) == ([0.0, 7.0], [0.0])


def test_a_second_call_for_help_is_heard_after_the_first_was_acknowledged() -> None:
    hub = PaperHub([*people("ada", "ben"), officer("eve")])
    for person, at in (("ada", 10), ("ben", 50)):
        hub.run(at)
        hub.say(Step.ANSWERED, person=person, detail="need_help")
        hub.incident = structs.replace(hub.incident, help_us=hub.incident.help_us or hub.now_us)
        before = len(hub.times("eve"))
        hub.look()
        assert len(hub.times("eve")) == before + 1, person
        hub.acknowledge("eve")


def test_what_grows_worse_or_comes_back_is_told_anew() -> None:
    for step in (Step.ESCALATED, Step.REOPENED):
        hub = PaperHub([worker("ada"), officer("eve")], incident=incident(severity=WARNING))
        hub.look()
        hub.say(Step.ANSWERED, person="ada", detail="safe")
        hub.acknowledge("eve")
        hub.now_us += 20_000_000
        hub.say(step)
        hub.incident = structs.replace(hub.incident, severity=IncidentSeverity.ALARM, acknowledged_us=None)
        hub.look()
        assert hub.times("ada") == [0.0, 20.0], step


def test_drills_are_told_like_the_real_thing() -> None:
    hub = PaperHub(people("ada"), incident=incident(drill=True)).run(31)
    assert hub.times("ada") == [0.0, 30.0]


def test_what_came_late_wakes_nobody_but_a_call_for_help_does() -> None:
    hub = PaperHub([worker("ada"), officer("eve")], incident=incident(late=True)).run(600)
    assert hub.sent == []
    assert set(hub.plan().reasons.values()) == {Reason.LATE}
    hub.say(Step.ANSWERED, person="ada", detail="need_help")
    hub.look()
    assert hub.times("eve") == [600.0]


# What is over


def test_an_alarm_that_is_over_still_climbs_but_spares_who_has_seen_it() -> None:
    """A scream lasts two seconds, and a detector that burns falls silent."""
    hub = PaperHub([worker("ada", buddy="cyd"), worker("ben"), worker("cyd", shift=(NEVER,))])
    hub.hides = lambda send: send.person == "ada"
    hub.run(5).clear()
    hub.run(65)
    assert hub.times("ada") == [0.0, 30.0, 60.0]
    assert hub.times("ben") == [0.0]
    assert hub.times("cyd")[0] == 30.0
    assert hub.times(None, ACTUATOR) == [0.0, 5.0], "the lamps go off with the sound"
    hub.run(5000)
    assert max(at for at, _ in hub.sent) <= 5 + 1800
    assert set(hub.plan().reasons.values()) == {Reason.CLEARED}


@pytest.mark.parametrize("severity", [WARNING, NOTICE, TROUBLE])
def test_whatever_else_is_over_wakes_nobody(severity: IncidentSeverity) -> None:
    hub = PaperHub([worker("ada"), officer("eve")], incident=incident(severity=severity, cleared_us=START_US))
    assert hub.run(500).sent == []


# Who set what for herself


def test_quiet_hours_and_mutes_keep_back_what_is_no_alarm() -> None:
    ada, ben = worker("ada", quiet=(ALWAYS,)), worker("ben", muted=frozenset({"glass_breaking"}))
    broken = incident(severity=WARNING, group="glass_breaking", label="glass_breaking")
    hub = PaperHub([ada, ben, worker("cyd")], incident=broken).run(30)
    assert [send.person for _, send in hub.sent] == ["cyd", "cyd"]
    assert hub.plan().reasons == {"ada": Reason.QUIET, "ben": Reason.MUTED, "cyd": Reason.TOLD}


def test_repeats_below_an_alarm_are_capped() -> None:
    hub = PaperHub(people("ada"), incident=incident(severity=WARNING)).run(3000)
    assert hub.times("ada") == [0.0, 60.0]
    assert hub.plan().reasons["ada"] is Reason.ENOUGH


def test_who_comes_to_work_during_an_alarm_is_told_then() -> None:
    start = local_time(START_US, UTC)
    assert start is not None
    soon = DailySpan(frozenset(), start.hour * 60 + start.minute + 5, start.hour * 60 + start.minute + 60)
    hub = PaperHub([worker("ada"), worker("ben", shift=(soon,), zones=frozenset())])
    hub.policies = [replace(DEFAULTS[0], steps=DEFAULTS[0].steps[1:2])]
    hub.run(290)
    assert hub.times("ben") == []
    hub.run(330)
    assert hub.times("ben")


# Failing open


@pytest.mark.parametrize("zone", [None, BrokenZone()], ids=["unknown", "damaged"])
def test_a_time_zone_that_is_broken_keeps_nothing_back(zone: tzinfo | None) -> None:
    """Nobody is taken to be off shift, nobody to have quiet hours."""
    everybody = [worker("ada", shift=(NEVER,)), worker("ben", quiet=(ALWAYS,))]
    hub = PaperHub(everybody, incident=incident(severity=WARNING), site=site(zone))
    hub.look()
    assert (hub.times("ada"), hub.times("ben")) == ([0.0], [0.0])


@pytest.mark.parametrize("span", [DailySpan(frozenset({9}), 0, 1), DailySpan(frozenset(), -5, 99_999)])
def test_spans_that_mean_nothing_keep_nothing_back(span: DailySpan) -> None:
    hub = PaperHub([worker("ada", shift=(span,), quiet=(span,))], incident=incident(severity=WARNING))
    hub.look()
    assert hub.times("ada") == [0.0]


def test_a_zone_that_nobody_works_in_is_everybodys() -> None:
    hub = PaperHub([worker("ada"), officer("eve")], incident=incident(zone="hal-1"))
    hub.look()
    assert (hub.times("ada"), hub.times("eve")) == ([0.0], [0.0])


def test_without_an_officer_everybody_is_one() -> None:
    trouble = incident(severity=TROUBLE, kind=IncidentKind.TROUBLE, group="mic_absent", label="mic_absent")
    hub = PaperHub(people("ada"), incident=trouble)
    hub.look()
    assert hub.times("ada") == [0.0]


def test_without_anybody_on_shift_all_officers_are_told() -> None:
    hub = PaperHub([officer("eve", shift=(NEVER,)), officer("fay", shift=(NEVER,)), worker("ada")])
    hub.look()
    assert (hub.times("eve"), hub.times("fay")) == ([0.0], [0.0])


def test_a_trouble_of_the_hub_itself_is_every_officers() -> None:
    late = incident(severity=TROUBLE, kind=IncidentKind.TROUBLE, zone="", group="hub_late", label="hub_late")
    hub = PaperHub([officer("eve", zones=frozenset({"hall-9"}))], incident=late)
    hub.look()
    assert hub.times("eve") == [0.0]


def test_nobody_at_all_leaves_whoever_has_a_page_open() -> None:
    hub = PaperHub([])
    hub.run(31)
    assert hub.times(None, PAGE) == [0.0, 30.0]


def test_without_a_policy_that_fits_the_defaults_hold() -> None:
    other = replace(DEFAULTS[0], id="other", zones=frozenset({"hall-7"}), order=0)
    dumb = replace(DEFAULTS[0], id="dumb", steps=(PolicyStep(0.0, Audience.PLACE, (ACTUATOR,)),), order=-1)
    off = replace(DEFAULTS[0], id="off", enabled=False, order=-2)
    assert chosen(incident(), [other, dumb, off]).id == "default-alarm"
    assert chosen(incident(zone=""), [other]).id == "other", "an unknown zone is every policy's"
    mine = replace(DEFAULTS[0], id="mine", groups=frozenset({"smoke_alarm"}), order=5)
    assert chosen(incident(), [*DEFAULTS, replace(mine, order=0)]).id == "mine"
    assert chosen(incident(group="siren", label="siren"), [mine, *DEFAULTS]).id == "default-alarm"


def test_a_policy_that_cannot_be_read_brings_everybody() -> None:
    off = worker("cyd", shift=(NEVER,))
    hub = PaperHub([worker("ada"), off], site=site(policies_sound=False))
    hub.look()
    assert hub.times("cyd") == [0.0]


def test_an_alarm_for_which_no_step_means_anybody_goes_on_to_the_next_at_once() -> None:
    """All workers are off shift: the policy's only step means nobody."""
    alone = replace(DEFAULTS[0], steps=(PolicyStep(0.0, Audience.IN_ZONE, PERSONAL, 30.0),))
    hub = PaperHub([worker("ada", shift=(NEVER,))], policies=[alone]).run(31)
    assert hub.times("ada") == [0.0, 30.0]


# What does not get through


def test_what_failed_brings_the_next_channel_the_buddy_and_the_officers_sooner() -> None:
    steps = (
        PolicyStep(0.0, Audience.IN_ZONE, (PUSH,), 30.0),
        PolicyStep(60.0, Audience.IN_ZONE, (APPRISE,)),
        PolicyStep(60.0, Audience.BUDDIES, (PUSH,)),
        PolicyStep(90.0, Audience.OFFICERS, (PUSH,)),
        PolicyStep(300.0, Audience.EVERYBODY, (PUSH,)),
    )
    everybody = [
        worker("ada", buddy="cyd"),
        worker("ben"),
        worker("cyd", shift=(NEVER,)),
        officer("eve"),
        worker("fay", shift=(NEVER,)),
    ]
    hub = PaperHub(everybody, policies=[replace(DEFAULTS[0], steps=steps)])
    hub.fails = lambda send: send.person == "ada" and send.channel is PUSH
    hub.look()
    hub.now_us += 1_000_000
    hub.look()
    assert hub.times("ada", APPRISE) == [1.0]
    assert hub.times("cyd") == [1.0]
    assert hub.times("eve") == [1.0]
    assert hub.times("ben", APPRISE) == [], "who was reached waits for the step's time"
    assert hub.times("fay") == [], "ben was reached, so the site need not be woken"


def test_109_what_was_accepted_and_is_not_shown_in_ten_seconds_brings_the_next_channel_sooner() -> None:
    """A push service says 201 for a phone that lies in a drawer."""
    steps = (
        PolicyStep(0.0, Audience.IN_ZONE, (PUSH,), 30.0),
        PolicyStep(60.0, Audience.IN_ZONE, (APPRISE,)),
        PolicyStep(60.0, Audience.BUDDIES, (PUSH,)),
        PolicyStep(90.0, Audience.OFFICERS, (PUSH,)),
    )
    everybody = [worker("ada", buddy="cyd"), worker("ben"), worker("cyd", shift=(NEVER,)), officer("eve")]
    hub = PaperHub(everybody, policies=[replace(DEFAULTS[0], steps=steps)])
    hub.hides = lambda send: send.person == "ada"
    hub.run(50)
    assert hub.times("ada", APPRISE) == [10.0]
    assert hub.times("cyd") == [10.0]
    assert hub.times("eve") == [10.0]
    assert hub.times("ben", APPRISE) == [], "whose phone shows it waits for the step's time"


def test_what_is_shown_within_ten_seconds_brings_nobody_sooner() -> None:
    """The look that was meant for then finds nothing to do."""
    steps = (PolicyStep(0.0, Audience.IN_ZONE, (PUSH,)), PolicyStep(60.0, Audience.OFFICERS, (PUSH,)))
    hub = PaperHub([worker("ada"), officer("eve")], policies=[replace(DEFAULTS[0], steps=steps)])
    hub.hides = lambda _send: True
    hub.look()
    told = hub.told["ada"]
    hub.now_us += 5_000_000
    hub.told["ada"] = replace(
        told, deliveries=tuple(replace(one, shown_us=hub.now_us) for one in told.deliveries)
    )
    hub.run(70)
    assert hub.times("eve") == [60.0]


def test_when_nobody_was_reached_everybody_is_told_at_once() -> None:
    steps = (
        PolicyStep(0.0, Audience.IN_ZONE, (PUSH,), 30.0),
        PolicyStep(300.0, Audience.EVERYBODY, (PUSH,)),
    )
    everybody = [*people("ada", "ben"), worker("fay", shift=(NEVER,))]
    hub = PaperHub(everybody, policies=[replace(DEFAULTS[0], steps=steps)])
    hub.fails = lambda send: send.person != "fay"
    hub.look()
    hub.now_us += 1_000_000
    hub.look()
    assert hub.times("fay") == [1.0]
    hub.run(200)
    assert len(hub.sent) < 30, "what fails is not tried without end"


def test_who_has_no_channel_is_noted_once_and_counts_as_not_reached() -> None:
    def reaches(_channel: ChannelName, person: Person | None) -> bool:
        return person is None or person.id != "ada"

    hub = PaperHub([worker("ada", buddy="cyd"), worker("cyd", shift=(NEVER,))], site=site(reaches=reaches))
    hub.look()
    assert [send.reachable for _, send in hub.sent if send.person == "ada"] == [False]
    assert hub.plan().reasons["ada"] is Reason.UNREACHABLE
    hub.run(100)
    assert hub.times("cyd")[0] <= 30.0
    assert [send.reachable for _, send in hub.sent if send.person == "ada"] == [False]
    hub.site = site()
    hub.look()
    assert [send.reachable for _, send in hub.sent if send.person == "ada"][1:] == [True, True, True]


def test_lamps_that_could_not_be_turned_off_are_turned_off_later() -> None:
    hub = PaperHub([worker("ada")]).run(10)
    hub.fails = lambda send: send.channel is ACTUATOR
    hub.acknowledge("eve")
    hub.look()
    hub.run(45)
    hub.fails = lambda _send: False
    hub.run(500)
    assert hub.times(None, ACTUATOR) == [0.0, 10.0, 40.0, 70.0]


# Clocks and restarts


def test_an_opening_in_the_future_is_told_now_and_not_without_end() -> None:
    hub = PaperHub(people("ada"), log=[line(Step.OPENED, 86_400.0)])
    hub.run(100)
    assert hub.times("ada") == [0.0, 30.0, 60.0, 90.0]


def test_a_clock_that_was_set_back_tells_once_more_and_goes_on() -> None:
    hub = PaperHub(people("ada")).run(35)
    hub.now_us = START_US - 3_600_000_000
    for _ in range(4):
        hub.look()
        hub.now_us += 20_000_000
    assert hub.times("ada")[2:] == [-3600.0, -3560.0, -3540.0]


def test_a_hub_that_was_away_tells_once_what_it_missed() -> None:
    hub = PaperHub(people("ada")).run(5)
    hub.now_us = START_US + 300_000_000
    hub.look()
    assert hub.look().sends == ()
    assert hub.times("ada") == [0.0, 300.0]


def test_answers_that_alerts_do_not_have_yet() -> None:
    hub = PaperHub([worker("ada"), worker("ben"), officer("eve")]).run(5)
    hub.say(Step.ANSWERED, person="ada", detail="safe")
    hub.acknowledge("eve")
    at_us = hub.now_us
    told = tuple(hub.told.values())
    assert answers(hub.log, told) == {"a-ada": (at_us, "safe"), "a-eve": (at_us, "acknowledged")}
    stamped = tuple(replace(one, alert=replace(one.alert, answered_us=1, answer="safe")) for one in told)
    assert answers(hub.log, stamped) == {}


# Spans


@pytest.mark.parametrize(
    ("span", "weekday", "hour", "inside"),
    [
        (DailySpan(frozenset(), 22 * 60, 6 * 60), 3, 23, True),
        (DailySpan(frozenset(), 22 * 60, 6 * 60), 3, 5, True),
        (DailySpan(frozenset(), 22 * 60, 6 * 60), 3, 6, False),
        (DailySpan(frozenset({4}), 22 * 60, 6 * 60), 5, 3, True),
        (DailySpan(frozenset({4}), 22 * 60, 6 * 60), 4, 3, False),
        (DailySpan(frozenset({4}), 8 * 60, 17 * 60), 4, 8, True),
        (DailySpan(frozenset({4}), 8 * 60, 17 * 60), 5, 8, False),
        (DailySpan(frozenset(), 0, 1440), 2, 23, True),
        (DailySpan(frozenset({2}), 60, 60), 2, 1, True),
        (DailySpan(frozenset({2}), 60, 60), 4, 1, False),
    ],
)
def test_spans_of_days(span: DailySpan, weekday: int, hour: int, inside: bool) -> None:
    monday = datetime(2024, 4, 29, tzinfo=UTC)
    assert within((span,), monday + timedelta(days=weekday, hours=hour)) is inside


# Everything


SPANS = st.builds(
    DailySpan,
    st.frozensets(st.integers(-1, 7), max_size=3),
    st.integers(-10, 1500),
    st.integers(-10, 1500),
)
PEOPLE = st.lists(
    st.builds(
        Person,
        id=st.sampled_from("abcdefgh"),
        name=st.just("x"),
        role=st.sampled_from(list(Role)),
        zones=st.frozensets(st.sampled_from(["hall-1", "hall-2"]), max_size=2),
        buddy=st.none() | st.sampled_from("abcdefghz"),
        shift=st.lists(SPANS, max_size=2).map(tuple),
        quiet=st.lists(SPANS, max_size=2).map(tuple),
        muted=st.frozensets(st.sampled_from(["smoke_alarm", "knock"]), max_size=2),
        enabled=st.booleans(),
    ),
    max_size=6,
    unique_by=lambda person: person.id,
)
STEPS = st.builds(
    PolicyStep,
    st.sampled_from([0.0, 5.0, 30.0, 100.0]),
    st.sampled_from(list(Audience)),
    st.lists(st.sampled_from(list(ChannelName)), max_size=4, unique=True).map(tuple),
    st.none() | st.sampled_from([10.0, 30.0, 45.0]),
)
POLICIES = st.lists(
    st.builds(
        Policy,
        id=st.just("p"),
        name=st.just("p"),
        order=st.integers(0, 3),
        severities=st.frozensets(st.sampled_from(list(IncidentSeverity)), min_size=1),
        zones=st.frozensets(st.sampled_from(["hall-1", "hall-2"]), max_size=1),
        groups=st.frozensets(st.sampled_from(["smoke_alarm", "knock"]), max_size=1),
        steps=st.lists(STEPS, max_size=4).map(
            lambda steps: tuple(sorted(steps, key=lambda s: s.after_seconds))
        ),
        most_repeats=st.none() | st.integers(0, 3),
        enabled=st.booleans(),
        help_tells_zone=st.booleans(),
    ),
    max_size=3,
)
ZONES = st.sampled_from([UTC, None, BrokenZone(), timezone(timedelta(hours=9))])
CHANGES: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "zone": st.sampled_from(["hall-1", "hall-2", "attic", ""]),
        "label": st.sampled_from(["smoke_alarm", "knock"]),
        "drill": st.booleans(),
    }
)
FAILING = st.sets(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from(list(PERSONAL))))


@dataclass(frozen=True)
class Scene:
    """A site with an incident, of which any number of hubs can be made."""

    crowd: list[Person]
    policies: list[Policy]
    zone: tzinfo | None
    changes: dict[str, Any]
    failing: set[tuple[str, ChannelName]]

    def hub(self, severity: IncidentSeverity = IncidentSeverity.ALARM, **changes: Any) -> PaperHub:
        made = incident(**{"group": self.changes["label"], **self.changes, "severity": severity})
        fields = {"people": self.crowd, "policies": self.policies, "incident": made, "site": site(self.zone)}
        hub = PaperHub(**{**fields, **changes})
        hub.fails = lambda send: (send.person, send.channel) in self.failing
        return hub


FEWER = settings(max_examples=40)
"""Each example plays minutes through."""
SCENES = st.builds(Scene, PEOPLE, POLICIES, ZONES, CHANGES, FAILING)
SEVERITY = st.sampled_from(list(IncidentSeverity))


@FEWER
@given(SCENES)
def test_no_alarm_remains_untold(scene: Scene) -> None:
    """Whatever people and policies are: within 10 s somebody is tried, or whoever has a page open."""
    hub = scene.hub().run(10)
    tried = {send.person for _, send in hub.sent if send.channel is not ACTUATOR}
    enabled = {person.id for person in scene.crowd if person.enabled}
    assert tried & enabled if enabled else tried == {None}


@FEWER
@given(SCENES)
def test_quiet_hours_and_mutes_never_touch_an_alarm(scene: Scene) -> None:
    bare = [replace(person, quiet=(), muted=frozenset()) for person in scene.crowd]
    assert scene.hub().run(150).sent == scene.hub(people=bare).run(150).sent


@FEWER
@given(SCENES, SEVERITY, st.lists(st.integers(1, 60), max_size=6))
def test_nothing_is_told_twice(scene: Scene, severity: IncidentSeverity, looks: list[int]) -> None:
    """What was just done is not due again, and each person is told at most so often."""
    hub = scene.hub(severity)
    for seconds in looks:
        hub.look()
        hub.look()  # what failed at once may bring the next step at once
        hub.look()
        assert hub.plan().sends == ()
        next_us = hub.plan().next_us
        assert next_us is None or next_us > hub.now_us
        hub.now_us += seconds * 1_000_000
    for person in scene.crowd:
        for channel in PERSONAL:
            # Shortest repeat 10 s, and at most one more for each step that comes in between.
            assert len(hub.times(person.id, channel)) <= sum(looks) / 10 + 8


@FEWER
@given(SCENES, SEVERITY, st.integers(0, 130), st.floats(0.01, 0.99))
def test_nothing_is_due_while_a_plan_lets_the_hub_sleep(
    scene: Scene, severity: IncidentSeverity, seconds: int, share: float
) -> None:
    """Shifts and quiet hours aside, which the engine looks at again and again."""
    bare = [replace(person, quiet=(), shift=()) for person in scene.crowd]
    hub = scene.hub(severity, people=bare).run(seconds)
    for _ in range(3):
        hub.look()
    next_us = hub.plan().next_us or hub.now_us + 60_000_000
    hub.now_us += round((next_us - hub.now_us) * share)
    assert hub.plan().sends == ()


@FEWER
@given(SCENES, st.integers(0, 3))
def test_caps_hold_below_an_alarm(scene: Scene, most: int) -> None:
    capped = [replace(policy, most_repeats=most) for policy in [*scene.policies, *DEFAULTS]]
    hub = scene.hub(WARNING, policies=capped).run(400)
    for person in scene.crowd:
        assert all(len(hub.times(person.id, channel)) <= 1 + most for channel in PERSONAL)


@FEWER
@given(SCENES, SEVERITY, st.integers(0, 200))
def test_after_an_acknowledgement_only_lamps_change(
    scene: Scene, severity: IncidentSeverity, seconds: int
) -> None:
    hub = scene.hub(severity).run(seconds)
    hub.acknowledge("x")
    before = len(hub.sent)
    hub.run(seconds + 400)
    assert all(send.channel is ACTUATOR for _, send in hub.sent[before:])
    assert len(hub.sent) <= before + 1


@FEWER
@given(SCENES, SEVERITY)
def test_a_broken_time_zone_tells_nobody_less(scene: Scene, severity: IncidentSeverity) -> None:
    judged = scene.hub(severity, site=site(UTC)).look()
    unknown = scene.hub(severity, site=site(None)).look()
    # Where nobody is on shift, all officers are told; where that cannot be judged, all of them are as well.
    assert {send.person for send in judged.sends} <= {send.person for send in unknown.sends}


@FEWER
@given(SCENES, SEVERITY)
def test_a_rehearsal_says_what_then_happens(scene: Scene, severity: IncidentSeverity) -> None:
    hub = scene.hub(severity)
    hub.fails = lambda _send: False
    shown = rehearse(hub.incident, scene.policies, scene.crowd, hub.site, 300)
    hub.run(300)
    first: dict[tuple[str | None, ChannelName], float] = {}
    for at, send in hub.sent:
        if send.reachable:  # else it only writes down that nothing leads to her
            first.setdefault((send.person, send.channel), at)
    assert {(one.person, one.channel): one.after_seconds for one in shown.tellings} == first
    assert shown.policy == hub.plan().policy
    assert set(shown.reasons) == {person.id for person in scene.crowd}
