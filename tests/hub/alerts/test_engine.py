"""The engine with a real database: what is written, what is sent, and what happens when something breaks."""

import threading
import time
from pathlib import Path

import pytest
from msgspec import structs
from ulid import ULID

from tests.hub.alerts.cases import incident, officer, worker
from tests.hub.alerts.desk import SECRET, Desk, FakeChannel, save_incident
from tests.hub.databases import at
from tests.hub.parts import START_US, ulid, wait_until
from tocsin_hub.alerts import keeping, rules
from tocsin_hub.alerts.model import NO_CHANNEL, NO_ROOM, STARTED_ANEW, ChannelName, Message
from tocsin_hub.alerts.roads import RoadState
from tocsin_hub.incidents.model import Incident, IncidentSeverity, Step
from tocsin_hub.people.model import Person
from tocsin_hub.recorder import Recorder
from tocsin_hub.store import Store
from tocsin_shared.errors import UnavailableError

PUSH, PAGE, APPRISE, ACTUATOR = ChannelName.PUSH, ChannelName.PAGE, ChannelName.APPRISE, ChannelName.ACTUATOR


def test_an_alarm_reaches_its_people_and_is_written_down(tmp_path: Path) -> None:
    push = FakeChannel(PUSH)
    with Desk(tmp_path / "hub.sqlite", [worker("ada"), officer("eve")], push) as desk:
        alarm = incident(opened_us=START_US - 2_500_000)
        desk.open(alarm)
        desk.settle()
        told = desk.told(alarm)
        (sent,) = push.to("ada")
        assert sent.room == "room of hall-1"
        assert sent.seconds_ago == 2.5
        assert (sent.repeat, sent.address) == (0, f"/me?incident={alarm.id}")
        assert push.to("eve")[0].address == f"/incidents/{alarm.id}"
        (delivery,) = told["ada"].deliveries
        assert (delivery.id, delivery.channel, delivery.accepted_us) == (sent.delivery, PUSH, desk.now_us)
        assert sorted(desk.lines(alarm, Step.ALERTED)) == [("ada", "push"), ("eve", "push")]
        desk.advance(30)
        assert [one.repeat for one in push.to("ada")] == [0, 1]
        assert len(desk.lines(alarm, Step.ALERTED)) == 2, "repeats are no lines of their own"


def test_it_is_written_down_before_it_is_sent(tmp_path: Path) -> None:
    class Checking(FakeChannel):
        def send(self, message: Message) -> None:
            known.extend(store.rows("SELECT 1 FROM deliveries WHERE id = ?", (message.delivery,)))

    known: list[object] = []
    store = Store(at(tmp_path / "hub.sqlite"))
    with Desk(tmp_path / "hub.sqlite", [worker("ada")], Checking(PUSH)) as desk:
        desk.open(incident())
        desk.settle()
    store.close()
    assert known == [(1,)]


def test_an_acknowledgement_stops_everything_and_answers_are_stamped(tmp_path: Path) -> None:
    push = FakeChannel(PUSH)
    people = [worker("ada"), worker("ben"), officer("eve")]
    with Desk(tmp_path / "hub.sqlite", people, push) as desk:
        alarm = incident()
        desk.open(alarm)
        desk.settle()
        desk.now_us += 5_000_000
        desk.change(alarm, Step.ANSWERED, person="ada", detail="safe")
        wait_until(lambda: desk.told(alarm)["ada"].alert.answered_us is not None, "the stamp")
        desk.advance(30)
        assert [len(push.to(name)) for name in ("ada", "ben", "eve")] == [1, 2, 2]
        desk.change(alarm, Step.ACKNOWLEDGED, person="eve")
        desk.advance(300)
        assert [len(push.to(name)) for name in ("ada", "ben", "eve")] == [1, 2, 2]
        alerts = {key: one.alert for key, one in desk.told(alarm).items()}
        assert (alerts["ada"].answered_us, alerts["ada"].answer) == (START_US + 5_000_000, "safe")
        assert alerts["eve"].answer == "acknowledged"
        assert alerts["ben"].answered_us is None


def test_a_hung_channel_delays_no_other(tmp_path: Path) -> None:
    hold = threading.Event()
    push, page = FakeChannel(PUSH, hold=hold), FakeChannel(PAGE)
    people = [worker(f"w{number:02}") for number in range(20)]
    with Desk(tmp_path / "hub.sqlite", people, push, page, deadline_seconds=5.0) as desk:
        alarm = incident()
        desk.open(alarm)
        wait_until(lambda: len(page.sent) == 20, "the other channel", 30)
        assert (push.entered, push.sent) == (1, [])
        other = incident(id=ulid(7001), label="co_alarm", group="co_alarm")
        desk.open(other)
        wait_until(lambda: len(page.sent) == 40, "the other channel, for the next alarm", 30)
        assert push.entered == 1
        wait_until(lambda: desk.engine.roads[PUSH].state is RoadState.HUNG, "the road to be called hung", 30)
        wait_until(lambda: len(desk.lines(alarm, Step.UNREACHED)) == 20, "the timeline to say so", 30)
        failed = [one for told in desk.told(alarm).values() for one in told.deliveries if one.failed_us]
        assert {one.channel for one in failed} == {PUSH}
        assert {one.error for one in failed} == {"it did not answer in time"}
        hold.set()
        wait_until(lambda: desk.engine.roads[PUSH].state is RoadState.OK, "the road to be well again", 30)
        wait_until(lambda: accepted_late(desk, alarm, push.sent[0].delivery), "the late acceptance", 30)


def accepted_late(desk: Desk, about: Incident, key: str) -> bool:
    """Whether a delivery that was given up is one that arrived, after all."""
    every = [one for told in desk.told(about).values() for one in told.deliveries]
    late = next(one for one in every if one.id == key)
    return late.accepted_us is not None and (late.failed_us, late.error) == (None, "")


def test_what_fails_is_tried_again_and_then_given_up(tmp_path: Path) -> None:
    push, apprise = FakeChannel(PUSH, error="503 from the service"), FakeChannel(APPRISE)
    people = [worker("ada", buddy="cyd"), worker("cyd", zones=frozenset({"hall-2"})), officer("eve")]
    apprise.whom = lambda person: person is not None and person.id != "ada"
    with Desk(tmp_path / "hub.sqlite", people, push, apprise, deadline_seconds=1.0) as desk:
        alarm = incident()
        desk.open(alarm)
        wait_until(lambda: ("ada", "push") in desk.lines(alarm, Step.UNREACHED), "it to be given up", 30)
        assert push.entered > 2, "it was tried again before"
        assert desk.told(alarm)["ada"].deliveries[0].error == "503 from the service"
        wait_until(lambda: bool(apprise.to("cyd")), "the buddy, half a minute early", 30)


def test_a_channel_that_breaks_in_an_unknown_way_ends_nothing(tmp_path: Path) -> None:
    class Broken(FakeChannel):
        def reaches(self, person: Person | None) -> bool:
            raise KeyError("lost")

        def send(self, message: Message) -> None:
            if not self.sent:
                self.sent.append(message)
                raise ZeroDivisionError
            super().send(message)

    push = Broken(PUSH)
    with Desk(tmp_path / "hub.sqlite", [worker("ada")], push) as desk:
        desk.open(incident())
        wait_until(lambda: len(push.sent) >= 2, "the second try")
        desk.settle()


def test_a_full_queue_never_waits_and_gives_alarms_room(tmp_path: Path) -> None:
    hold = threading.Event()
    push = FakeChannel(PUSH, hold=hold)
    people = [worker(f"w{number:02}") for number in range(10)]
    with Desk(tmp_path / "hub.sqlite", people, push, queue=10) as desk:
        notice = incident(id=ulid(7001), label="knock", group="knock", severity=IncidentSeverity.NOTICE)
        desk.open(notice)
        wait_until(lambda: push.entered == 1, "the first to hang")
        alarm = incident()
        desk.open(alarm)
        wait_until(lambda: len(desk.told(alarm)) == 10, "the alarm to be planned")
        wait_until(lambda: len(desk.lines(notice, Step.UNREACHED)) == 9, "the notices to make room")
        more = incident(id=ulid(7002), label="co_alarm", group="co_alarm")
        desk.open(more)
        wait_until(lambda: len(desk.lines(more, Step.UNREACHED)) == 10, "what has no room to be told loudly")
        failed = [one.deliveries[0] for one in desk.told(more).values()]
        assert {one.error for one in failed} == {NO_ROOM}
        hold.set()
        wait_until(lambda: len([one for one in push.sent if one.incident.id == alarm.id]) == 10, "the alarm")
        order = [one.incident.severity for one in push.sent]
        assert order.index(IncidentSeverity.ALARM) <= 1, "alarms go first"


def test_whom_nothing_leads_to_is_written_down(tmp_path: Path) -> None:
    push = FakeChannel(PUSH, whom=lambda person: person is not None and person.id == "eve")
    with Desk(tmp_path / "hub.sqlite", [worker("ada"), officer("eve")], push) as desk:
        alarm = incident()
        desk.open(alarm)
        desk.settle()
        wait_until(lambda: bool(push.to("eve")), "the officer")
        (delivery,) = desk.told(alarm)["ada"].deliveries
        assert (delivery.failed_us, delivery.error) == (desk.now_us, NO_CHANNEL)
        assert desk.lines(alarm, Step.UNREACHED) == [("ada", "push")]
        desk.advance(300)
        assert len(desk.told(alarm)["ada"].deliveries) == 1


def test_a_hub_that_is_started_anew_goes_on_where_it_ended(tmp_path: Path) -> None:
    """What hung is sent again as the same message; what was accepted is not; what is over is given up."""
    hold = threading.Event()
    push, page = FakeChannel(PUSH, hold=hold), FakeChannel(PAGE)
    path = tmp_path / "hub.sqlite"
    with Desk(path, [worker("ada")], push, page) as desk:
        alarm, quiet = incident(), incident(id=ulid(7001), severity=IncidentSeverity.NOTICE)
        desk.open(alarm)
        desk.open(quiet)
        wait_until(lambda: len(page.sent) == 2, "the page")
        wait_until(lambda: len(desk.reading.unsettled()) == 2, "only push to be open")
        desk.engine._stopping.set()
        desk.engine._wake.set()
        desk.put(structs.replace(quiet, acknowledged_us=desk.now_us))
        ids = {delivery.id: alert.incident for alert, delivery in desk.reading.unsettled()}
    push, page = FakeChannel(PUSH), FakeChannel(PAGE)
    with Desk(path, [worker("ada")], push, page) as desk:
        desk.settle()
        assert [ids[one.delivery] for one in push.sent] == [alarm.id]
        assert push.sent[0].receipt == keeping.receipt_of(SECRET, push.sent[0].delivery)
        assert page.sent == []
        told = desk.reading.told(quiet.id)[0]
        given_up = next(one for one in told.deliveries if one.channel is PUSH)
        assert given_up.error == STARTED_ANEW


def test_an_alarm_that_was_stored_but_not_told_is_told_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "hub.sqlite"
    push = FakeChannel(PUSH)
    with Desk(path, [worker("ada")]) as desk:
        desk.engine.stop()
        desk.put(incident())
        desk.put(incident(id=ulid(7001), late=True))
    with Desk(path, [worker("ada")], push) as desk:
        wait_until(lambda: bool(push.sent), "the alarm")
        desk.settle()
        assert [one.incident.id for one in push.sent] == [incident().id]


def test_a_database_that_cannot_be_written_holds_no_alarm_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push = FakeChannel(PUSH)
    with Desk(tmp_path / "hub.sqlite", [worker("ada")], push) as desk:
        alarm = incident()
        desk.put(alarm)

        def refuse(*_: object) -> None:
            raise UnavailableError("disk full")

        with monkeypatch.context() as broken:
            broken.setattr(desk.writer, "call", refuse)
            desk.engine.on_incident(alarm)
            wait_until(lambda: len(push.sent) == 1, "the alarm")
            desk.now_us += 20_000_000
            desk.engine.look_again()
            time.sleep(0.3)
            assert len(push.sent) == 1, "it is not told without end"
        desk.settle()
        wait_until(lambda: "ada" in desk.told(alarm), "it to be written down after all")


def test_a_database_that_cannot_be_read_holds_no_alarm_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    push = FakeChannel(PUSH)
    with Desk(tmp_path / "hub.sqlite", [worker("ada")], push) as desk:
        desk.settle()
        alarm = incident()
        desk.put(alarm)

        def refuse(*_: object) -> None:
            raise UnavailableError("the disk is gone")

        with monkeypatch.context() as broken:
            for name in ("waiting", "incident", "log", "told", "policies"):
                broken.setattr(desk.reading, name, refuse)
            desk.engine.on_incident(alarm)
            wait_until(lambda: len(push.sent) == 1, "the alarm")
            desk.engine.on_incident(structs.replace(alarm, id=str(ULID()), zone="hall-2"))
            desk.settle()
    assert caplog.text.count("policies cannot be read") == 1, "alarms bring many questions"


def test_what_the_database_does_not_take_is_told_all_the_same(tmp_path: Path) -> None:
    push = FakeChannel(PUSH)
    with Desk(tmp_path / "hub.sqlite", [officer("eve")], push) as desk:
        desk.engine.on_incident(structs.replace(incident(), change=0))
        desk.settle()
        assert len(push.to("eve")) == 1


def test_a_fault_in_the_rules_holds_no_alarm_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    push = FakeChannel(PUSH)
    with Desk(tmp_path / "hub.sqlite", [worker("ada"), worker("ben")], push) as desk:
        monkeypatch.setattr(rules, "plan", fail)
        desk.open(incident())
        wait_until(lambda: len(push.sent) == 2, "everybody")
        desk.settle()
        desk.advance(10)
        assert len(push.sent) == 2
        desk.advance(60)
        assert len(push.sent) == 4


def test_shown_once(tmp_path: Path) -> None:
    push = FakeChannel(PUSH)
    with Desk(tmp_path / "hub.sqlite", [worker("ada")], push) as desk:
        alarm = incident()
        desk.open(alarm)
        desk.settle()
        receipt = keeping.receipt_sha256(push.sent[0].receipt)

        def show(recorder: Recorder) -> bool:
            return keeping.note_shown(recorder, receipt, desk.now_us + 7)

        assert desk.writer.call(show)
        assert not desk.writer.call(show)
        assert not desk.writer.call(lambda recorder: keeping.note_shown(recorder, "nonsense", 1))
        assert desk.told(alarm)["ada"].deliveries[0].shown_us == desk.now_us + 7


def test_a_policy_that_cannot_be_read_brings_an_alarm_to_everybody(tmp_path: Path) -> None:
    push = FakeChannel(PUSH)
    with Desk(tmp_path / "hub.sqlite", [worker("ada"), worker("ben")], push) as desk:

        def damage(recorder: Recorder) -> None:
            recorder.database.execute("INSERT INTO policies VALUES ('p', 1, '{\"name\": 7}', 0)")

        desk.writer.call(damage)
        desk.open(incident())
        desk.settle()
        assert {one.person.id for one in push.sent if one.person} == {"ada", "ben"}
        assert desk.reading.policies().unreadable == ("p",)


def test_the_desk_stores_incidents_as_they_are(tmp_path: Path) -> None:
    with Desk(tmp_path / "hub.sqlite", []) as desk:
        whole = incident(drill=True, late=True, help_us=5, nodes=("a-1", "b-2"), origin_level_dbfs=-3.5)
        desk.writer.call(lambda recorder: save_incident(recorder, whole))
        read = desk.reading.incident(whole.id)
        assert read is not None
        assert structs.replace(read, change=0) == whole
