"""A real database with its writer and the real engine; channels are fakes, and the clock is set by hand."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC
from pathlib import Path
from typing import Any

import msgspec
from msgspec import structs

from tests.hub.databases import at
from tests.hub.parts import START_US, wait_until
from tocsin_hub.alerts.engine import Engine, SiteFacts
from tocsin_hub.alerts.keeping import write_lines
from tocsin_hub.alerts.limits import RoadLimits
from tocsin_hub.alerts.model import ChannelName, Message, Told
from tocsin_hub.alerts.reading import AlertReading
from tocsin_hub.incidents.model import Incident, LogLine, Step
from tocsin_hub.people.model import Person
from tocsin_hub.recorder import Recorder, prepare
from tocsin_hub.settings import IngestSettings
from tocsin_hub.store import Store
from tocsin_hub.writer import Writer
from tocsin_shared.errors import UnavailableError

SECRET = b"s" * 32


def save_incident(recorder: Recorder, incident: Incident) -> None:
    """Store an incident as a row, in place of what was."""
    recorder.changes += 1
    values = {
        "id": incident.id,
        "kind": str(incident.kind),
        "grouping": incident.group,
        "label": incident.label,
        "severity": str(incident.severity),
        "zone": incident.zone,
        "drill": int(incident.drill),
        "opened_us": incident.opened_us,
        "updated_us": incident.updated_us,
        "cleared_us": incident.cleared_us,
        "acknowledged_us": incident.acknowledged_us,
        "acknowledged_by": incident.acknowledged_by,
        "help_us": incident.help_us,
        "origin_node": incident.origin_node,
        "origin_level_dbfs": incident.origin_level_dbfs,
        "nodes": msgspec.json.encode(incident.nodes).decode(),
        "first_event": incident.first_event,
        "events": incident.events,
        "late": int(incident.late),
        "detail": incident.detail,
        "change": recorder.changes,
    }
    names, marks = ", ".join(values), ", ".join("?" * len(values))
    news = ", ".join(f"{name} = excluded.{name}" for name in values)
    recorder.database.execute(
        f"INSERT INTO incidents ({names}) VALUES ({marks}) ON CONFLICT (id) DO UPDATE SET {news}",  # noqa: S608
        tuple(values.values()),
    )


@dataclass
class FakeChannel:
    """Keeps what it is given; fails or hangs when told to."""

    name: ChannelName
    sent: list[Message] = field(default_factory=list)
    whom: Callable[[Person | None], bool] = lambda person: person is not None
    error: str = ""
    hold: threading.Event | None = None
    """While it is not set, a call of ``send`` does not return."""
    entered: int = 0

    def reaches(self, person: Person | None) -> bool:
        return self.whom(person)

    def send(self, message: Message) -> None:
        self.entered += 1
        if self.hold is not None:
            self.hold.wait(60)
        if self.error:
            raise UnavailableError(self.error)
        self.sent.append(message)

    def to(self, person: str | None) -> list[Message]:
        """What ``person`` was sent."""
        return [one for one in self.sent if (one.person.id if one.person else None) == person]


class Desk:
    """The engine of a site. Use it as a context manager; leaving it ends everything."""

    def __init__(self, file: Path, people: Sequence[Person], *channels: FakeChannel, **limits: Any) -> None:
        path = at(file)
        prepare(path)
        self.path = path
        self.people = list(people)
        self.now_us = START_US
        self.channels = channels or (FakeChannel(ChannelName.PUSH), FakeChannel(ChannelName.PAGE))
        self.limits = RoadLimits(**{"deadline_seconds": 20.0, "retry_seconds": (0.05,), **limits})
        self.deaths: list[str] = []
        self.store = Store(path)
        self.reading = AlertReading(self.store)
        self.writer = Writer(Recorder(path), IngestSettings())
        self.engine = self.new_engine()

    def new_engine(self) -> Engine:
        facts = SiteFacts(
            people=lambda: self.people, room_of=lambda incident: f"room of {incident.zone}", time_zone=UTC
        )
        return Engine(
            reading=self.reading,
            writer=self.writer,
            channels=self.channels,
            facts=facts,
            secret=SECRET,
            clock=lambda: self.now_us,
            limits=self.limits,
        )

    def __enter__(self) -> "Desk":
        self.writer.start(lambda *_: None, self.deaths.append)
        self.engine.start(self.deaths.append)
        return self

    def __exit__(self, *_: object) -> None:
        for channel in self.channels:
            if channel.hold is not None:
                channel.hold.set()
        self.engine.stop()
        self.writer.stop()
        self.store.close()
        assert self.deaths == []

    def put(self, incident: Incident, *lines: LogLine) -> None:
        """Store an incident with lines of its timeline, without telling the engine."""

        def write(recorder: Recorder) -> None:
            save_incident(recorder, incident)
            write_lines(recorder, lines)

        self.writer.call(write)

    def open(self, incident: Incident) -> None:
        """An incident begins."""
        self.put(incident, LogLine(incident.id, self.now_us, Step.OPENED))
        self.engine.on_incident(incident)

    def change(self, incident: Incident, step: Step, **changes: Any) -> Incident:
        """Something happens to an incident."""
        line = LogLine(incident.id, self.now_us, step, **changes)
        if step is Step.ACKNOWLEDGED:
            incident = structs.replace(incident, acknowledged_us=self.now_us, acknowledged_by=line.person)
        if step is Step.CLEARED:
            incident = structs.replace(incident, cleared_us=self.now_us)
        self.put(incident, line)
        self.engine.on_incident(incident)
        return incident

    def advance(self, seconds: float) -> None:
        """Let time pass, and wait until the engine has looked at what that means."""
        self.now_us += round(seconds * 1e6)
        self.engine.look_again()
        self.settle()

    def settle(self) -> None:
        """Wait until the engine has nothing under way and has written it down."""
        wait_until(self.idle, "the engine to have nothing to do", 30)
        self.writer.call(lambda _: None)

    def idle(self) -> bool:
        return self.engine.idle and not self.reading.unsettled()

    def told(self, incident: Incident) -> dict[str | None, Told]:
        """Who was told of ``incident``, by person."""
        return {one.alert.person: one for one in self.reading.told(incident.id)}

    def lines(self, incident: Incident, step: Step) -> list[tuple[str | None, str]]:
        """Person and detail of the lines of this kind."""
        sql = "SELECT person, detail FROM incident_log WHERE incident = ? AND step = ? ORDER BY id"
        return [(row[0], row[1]) for row in self.store.rows(sql, (incident.id, str(step)))]
