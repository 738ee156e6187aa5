"""What the tests of alerts build on: incidents, people, and a hub of paper that plays a plan through."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, tzinfo
from typing import Any

from msgspec import structs

from tests.hub.parts import START_US, ulid
from tocsin_hub.alerts.model import Alert, ChannelName, Delivery, Policy, Told
from tocsin_hub.alerts.policies import DEFAULTS
from tocsin_hub.alerts.rules import Plan, Send, Site, plan
from tocsin_hub.incidents.model import Incident, IncidentKind, IncidentSeverity, LogLine, Step
from tocsin_hub.people.model import DailySpan, Person, Role

NEVER = DailySpan(frozenset({0}), 0, 1)
"""A minute of Monday; the tests' clock stands on another day."""
ALWAYS = DailySpan(frozenset(), 0, 0)
INCIDENT = ulid(7000)


def incident(**changes: Any) -> Incident:
    """A smoke alarm in hall 1 that opened at the tests' moment and lasts."""
    fields: dict[str, Any] = {
        "id": INCIDENT,
        "kind": IncidentKind.SOUND,
        "group": "smoke_alarm",
        "label": "smoke_alarm",
        "severity": IncidentSeverity.ALARM,
        "zone": "hall-1",
        "drill": False,
        "opened_us": START_US,
        "updated_us": START_US,
        "origin_node": "press-1",
        "nodes": ("press-1",),
        "first_event": ulid(1),
        "events": 1,
    }
    return Incident(**{**fields, **changes})


def worker(key: str, **changes: Any) -> Person:
    """A worker of hall 1, always on shift; her name is her id."""
    fields: dict[str, Any] = {"id": key, "name": key.title(), "role": Role.WORKER}
    return Person(**{**fields, "zones": frozenset({"hall-1"}), **changes})


def officer(key: str, **changes: Any) -> Person:
    """An officer who sees all zones."""
    return worker(key, **{"role": Role.OFFICER, "zones": frozenset(), **changes})


def line(step: Step, after_seconds: float, **changes: Any) -> LogLine:
    """A line of the incident's timeline."""
    return LogLine(INCIDENT, START_US + round(after_seconds * 1e6), step, **changes)


def site(
    time_zone: tzinfo | None = UTC,
    reaches: Callable[[ChannelName, Person | None], bool] = lambda _channel, _person: True,
    **changes: Any,
) -> Site:
    """A site on which every channel leads to everybody."""
    return Site(time_zone, reaches, **changes)


@dataclass
class PaperHub:
    """Plays plans through: what is to be sent is shown at once, but for what ``fails`` or ``hides``."""

    people: Sequence[Person]
    policies: Sequence[Policy] = DEFAULTS
    incident: Incident = field(default_factory=incident)
    log: list[LogLine] = field(default_factory=lambda: [line(Step.OPENED, 0.0)])
    site: Site = field(default_factory=site)
    fails: Callable[[Send], bool] = lambda _send: False
    hides: Callable[[Send], bool] = lambda _send: False
    """What is accepted, and of which no device says that it shows it."""
    now_us: int = START_US
    told: dict[str | None, Told] = field(default_factory=dict)
    sent: list[tuple[float, Send]] = field(default_factory=list)
    """Seconds after the tests' moment, and what was sent."""

    def look(self) -> Plan:
        """Plan now, and do what is planned."""
        made = self.plan()
        for send in made.sends:
            self.sent.append(((self.now_us - START_US) / 1e6, send))
            self._note(send)
        return made

    def plan(self) -> Plan:
        return plan(
            self.incident,
            tuple(self.log),
            policies=self.policies,
            people=self.people,
            told=tuple(self.told.values()),
            now_us=self.now_us,
            site=self.site,
        )

    def _note(self, send: Send) -> None:
        alert = Alert(f"a-{send.person}", self.incident.id, send.person, send.audience, self.now_us)
        known = self.told.get(send.person, Told(alert))
        key = f"{send.person}-{len(known.deliveries)}"
        shown_us = None if self.hides(send) else self.now_us
        made = Delivery(key, alert.id, send.channel, self.now_us, self.now_us, shown_us)
        if not send.reachable or self.fails(send):
            made = replace(made, accepted_us=None, shown_us=None, failed_us=self.now_us, error="it failed")
        self.told[send.person] = replace(known, deliveries=(*known.deliveries, made))

    def run(self, seconds: float, most: int = 2000) -> "PaperHub":
        """Go on until ``seconds`` after the tests' moment, sleeping as long as each plan says."""
        for _ in range(most):
            made = self.look()
            if made.next_us is None or made.next_us > START_US + seconds * 1e6:
                break
            self.now_us = made.next_us
        self.now_us = START_US + round(seconds * 1e6)
        return self

    def say(self, step: Step, **changes: Any) -> None:
        """Write a line of the timeline now."""
        self.log.append(line(step, (self.now_us - START_US) / 1e6, **changes))

    def acknowledge(self, person: str) -> None:
        self.say(Step.ACKNOWLEDGED, person=person)
        self.incident = structs.replace(self.incident, acknowledged_us=self.now_us, acknowledged_by=person)

    def clear(self) -> None:
        self.say(Step.CLEARED)
        self.incident = structs.replace(self.incident, cleared_us=self.now_us)

    def times(self, person: str | None, channel: ChannelName = ChannelName.PUSH) -> list[float]:
        """When ``person`` was told by ``channel``."""
        return [at for at, send in self.sent if send.person == person and send.channel is channel]
