"""Alerts on the real hub, from an event over people's answers to silence; only the channel is a fake."""

import pytest

from tests.hub.alerts.desk import FakeChannel
from tests.hub.parts import feed, log_in_as, person, ulid, wait_until
from tests.shared.messages import sound
from tocsin_hub.alerts.model import ChannelName
from tocsin_hub.people.model import DailySpan, Person, Role
from tocsin_hub.root import Hub
from tocsin_hub.times import from_us, now_us

ALWAYS = DailySpan(frozenset(), 0, 0)


class Site:
    """A hub with a worker, her buddy, and an officer who does not want to be disturbed."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.channel = FakeChannel(ChannelName.PAGE)
        hub.engine.roads[ChannelName.PAGE].channel = self.channel
        self.buddy = person(hub, "Bo", role=Role.WORKER, zones=frozenset({"hall-2"}))
        hall = frozenset({"hall-1"})
        self.worker = person(hub, "Ada", role=Role.WORKER, zones=hall, buddy=self.buddy.id)
        self.officer = person(hub, "Eve", quiet=(ALWAYS,), muted=frozenset({"knock"}))
        self._number = 0

    def hear(self, label: str) -> str:
        """A sound in hall 1; the id of its incident."""
        self._number += 1
        feed(self.hub, sound(id=ulid(self._number), seq=self._number, label=label, onset=from_us(now_us())))
        found = self.hub.services.incidents.of_event(ulid(self._number))
        assert found is not None
        return found.id

    def told(self, who: Person, incident: str) -> int:
        """How often somebody was told of an incident."""
        return sum(one.incident.id == incident for one in self.channel.to(who.id))

    def wait(self, who: Person, incident: str) -> None:
        wait_until(lambda: self.told(who, incident) > 0, f"{who.name} to be told", 30)

    def say(self, who: Person, incident: str, answer: str) -> None:
        client = log_in_as(self.hub, who)
        path = f"/api/v1/incidents/{incident}"
        sent = (
            client.post(f"{path}/acknowledge", json={})
            if answer == "acknowledge"
            else client.post(f"{path}/answer", json={"answer": answer})
        )
        assert sent.status_code == 200, sent.text

    def answer_of(self, who: Person, incident: str) -> str | None:
        """What the alert of a person says that she answered."""
        told = self.hub.services.alerts.told(incident)
        return next(one.alert.answer for one in told if one.alert.person == who.id)


@pytest.fixture
def site(hub: Hub) -> Site:
    made = Site(hub)
    hub.engine.start(lambda name: pytest.fail(f"{name} died"))
    return made


def test_an_alarm_is_told_answered_and_acknowledged(site: Site) -> None:
    alarm = site.hear("smoke_alarm")
    site.wait(site.worker, alarm)
    site.wait(site.officer, alarm)
    assert site.told(site.buddy, alarm) == 0
    site.say(site.worker, alarm, "safe")
    wait_until(lambda: site.answer_of(site.worker, alarm) == "safe", "the stamp", 30)
    site.say(site.officer, alarm, "acknowledge")
    wait_until(lambda: site.answer_of(site.officer, alarm) == "acknowledged", "the stamp", 30)
    client = log_in_as(site.hub, site.officer)
    shown = client.get(f"/api/v1/incidents/{alarm}/alerts").json
    assert shown is not None
    assert {one["name"]: one["answer"] for one in shown["alerts"] if one["person"]} == {
        "Ada": "safe",
        "Eve": "acknowledged",
    }
    lines = client.get(f"/api/v1/incidents/{alarm}/log").json
    assert lines is not None
    told = [one["person"]["name"] for one in lines["log"] if one["step"] == "alerted" and one["person"]]
    assert sorted(told) == ["Ada", "Eve"]


def test_a_call_for_help_passes_quiet_hours_and_mutes(site: Site) -> None:
    knock = site.hear("knock")
    site.wait(site.worker, knock)
    assert site.told(site.officer, knock) == 0
    site.say(site.worker, knock, "need_help")
    site.wait(site.officer, knock)
    site.wait(site.buddy, knock)
    (first,) = site.channel.to(site.officer.id)[:1]
    assert first.incident.help_us is not None
    assert site.told(site.worker, knock) == 1, "she knows"


def test_a_trouble_is_for_officers_who_do_not_mind(site: Site) -> None:
    ready = person(site.hub, "Joon")
    site.hub.engine.look_again()
    site.hub.services.desk.open_trouble("push_refused", "", "503 from everywhere")
    wait_until(lambda: bool(site.channel.to(ready.id)), "the officer without quiet hours", 30)
    assert site.channel.to(site.officer.id) == []
