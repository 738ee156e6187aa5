"""What the hub's tests build on: messages of every kind, and fakes of the hub's own ports."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.hub.databases import at
from tests.shared.messages import WHEN, sound
from tocsin_hub.auth import make_login_link
from tocsin_hub.incidents import keeping as incident_keeping
from tocsin_hub.incidents.model import Incident
from tocsin_hub.incidents.reading import Incidents
from tocsin_hub.ingest import Ingest
from tocsin_hub.people import secret, sessions
from tocsin_hub.people.keeping import Entry
from tocsin_hub.people.keeping import add as add_person
from tocsin_hub.people.model import Person, Role
from tocsin_hub.recorder import Recorder, prepare
from tocsin_hub.rooms import Hearing, NodeRecord, Rooms
from tocsin_hub.root import Hub
from tocsin_hub.settings import IngestSettings
from tocsin_hub.store import Store, StoredEvent
from tocsin_hub.times import now_us, to_us
from tocsin_hub.writer import Receipt, Writer
from tocsin_shared import codec
from tocsin_shared.events import (
    EventRef,
    EventsCommitted,
    Heartbeat,
    Message,
    MicState,
    NodeBorn,
    NodeConnection,
    Phase,
    Presence,
    SoundDetected,
    Trouble,
    TroublesChanged,
)
from tocsin_shared.topics import node_topic

START_US = to_us(WHEN)
CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def ulid(number: int) -> str:
    """A well-formed event id for ``number``; larger numbers sort later."""
    digits = ""
    for _ in range(25):
        digits = CROCKFORD[number % 32] + digits
        number //= 32
    return "0" + digits


def birth(**changes: Any) -> NodeBorn:
    """The press shop's node has just connected."""
    fields: dict[str, Any] = {
        "node": "press-1",
        "zone": "hall-1",
        "room": "Press shop",
        "boot": "b1",
        "session": 1,
        "at": WHEN,
        "version": "0.1.0",
        "bundle": "sentry-0.1.0+full-int8",
        "runtime": "ai-edge-litert 2.3",
        "hardware": "Raspberry Pi 5",
        "source": "USB microphone",
        "labels": ("smoke_alarm", "siren"),
        "hop_seconds": 0.5,
        "heartbeat_seconds": 10.0,
        "outbox_depth": 0,
    }
    return NodeBorn(**{**fields, **changes})


def heartbeat(**changes: Any) -> Heartbeat:
    """The press shop is being listened to."""
    fields: dict[str, Any] = {
        "node": "press-1",
        "boot": "b1",
        "at": WHEN,
        "mic": MicState.LISTENING,
        "level_dbfs": -48.0,
        "clipped_ratio": 0.0,
        "dropped_blocks": 0,
        "inference_p95_ms": 3.5,
        "outbox_depth": 2,
        "outbox_dropped": 0,
        "outbox_dead": 0,
    }
    return Heartbeat(**{**fields, **changes})


def troubles(*kinds: str, **changes: Any) -> TroublesChanged:
    """The press shop's node has these troubles, since the onset that :func:`sound` has."""
    opened = tuple(
        Trouble(id=ulid(900 + number), kind=kind, since=WHEN, detail=f"why {kind}")
        for number, kind in enumerate(kinds)
    )
    fields: dict[str, Any] = {"node": "press-1", "boot": "b1", "at": WHEN, "troubles": opened}
    return TroublesChanged(**{**fields, **changes})


def conn(state: Presence, boot: str = "b1", session: int = 1) -> NodeConnection:
    """A presence of a node."""
    return NodeConnection(state=state, boot=boot, session=session)


def after(seconds: float) -> datetime:
    """A moment ``seconds`` after the onset that :func:`sound` has."""
    return WHEN + timedelta(seconds=seconds)


def offset_of(message: SoundDetected, seq: int, seconds: float = 4.0) -> SoundDetected:
    """The last word about the detection of ``message``."""
    fields = {name: getattr(message, name) for name in message.__struct_fields__}
    return SoundDetected(**{**fields, "phase": Phase.OFFSET, "seq": seq, "offset": after(seconds)})


@dataclass
class FakeBroker:
    """Keeps what is sent back."""

    receipts: list[Receipt] = field(default_factory=list)
    published: list[tuple[str, bytes]] = field(default_factory=list)

    def acknowledge(self, receipt: Receipt) -> None:
        self.receipts.append(receipt)

    def publish(self, topic: str, payload: bytes) -> None:
        self.published.append((topic, payload))

    def refs(self, node: str = "press-1") -> list[EventRef]:
        """Every message of ``node`` that was acknowledged, in order."""
        topic = node_topic(node, "ack")
        return [
            ref
            for at, sent in self.published
            if at == topic
            for ref in codec.decode(sent, EventsCommitted).refs
        ]


@dataclass
class FakeScreen:
    """Keeps what is shown."""

    shown: list[StoredEvent | NodeRecord | Incident] = field(default_factory=list)

    def show(self, item: StoredEvent | NodeRecord | Incident) -> None:
        self.shown.append(item)

    @property
    def incidents(self) -> list[Incident]:
        return [item for item in self.shown if isinstance(item, Incident)]

    @property
    def events(self) -> list[StoredEvent]:
        return [item for item in self.shown if isinstance(item, StoredEvent)]

    @property
    def rooms(self) -> list[NodeRecord]:
        return [item for item in self.shown if isinstance(item, NodeRecord)]


class Line:
    """Ingest, writer and database for real; broker and screen are fakes, and the clock is set by hand."""

    def __init__(self, file: Path, settings: IngestSettings | None = None) -> None:
        self.file = file
        """The database, where it is one of SQLite."""
        path = at(file)
        prepare(path)
        self.now_us = START_US
        self.store = Store(path)
        self.rooms = Rooms(self.store.nodes(), Hearing(connected=True, since_us=START_US))
        self.broker = FakeBroker()
        self.screen = FakeScreen()
        self.told: list[Incident] = []
        self.deaths: list[str] = []
        self.writer = Writer(Recorder(path), settings or IngestSettings())
        self.ingest = Ingest(
            rooms=self.rooms,
            put=self.writer.put,
            broker=self.broker,
            screen=self.screen,
            clock=lambda: self.now_us,
            stored=self.store.event_count(),
            quarantined=self.store.counter("quarantined"),
            on_incident=self.told.append,
        )
        self.incidents = Incidents(self.store)
        self._mid = 0

    def __enter__(self) -> "Line":
        self.writer.start(self.ingest.settle, self.deaths.append)
        return self

    def __exit__(self, *_: object) -> None:
        self.writer.stop()
        self.store.close()
        assert self.deaths == []

    def send(self, kind: str, message: Message | bytes, rest: str = "", node: str = "press-1") -> Receipt:
        """A message from ``node`` at QoS 1, as the link would hand it over."""
        payload = message if isinstance(message, bytes) else codec.encode(message)
        return self.send_raw(node_topic(node, kind, rest), payload)

    def send_raw(self, topic: str, payload: bytes, retained: bool = False) -> Receipt:
        self._mid += 1
        receipt = Receipt(self._mid, 1, 1)
        self.ingest.receive(topic, payload, retained, receipt)
        return receipt

    def hear(self, message: SoundDetected) -> Receipt:
        """A live event."""
        return self.send("ev", message, message.label, message.node)

    def settle(self) -> None:
        """Wait until everything that was sent so far is on the disk."""
        self.writer.call(lambda _: None)

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and then let the hub look what it did to rooms and incidents."""
        self.settle()
        self.now_us += round(seconds * 1e6)
        self.ingest.tick()
        self.writer.call(
            lambda recorder: (
                *incident_keeping.review(recorder, self.rooms.get, self.now_us),
                *incident_keeping.fold_silence(recorder, self.rooms.all(), self.now_us),
                *incident_keeping.fold_twins(recorder, self.rooms.all(), self.now_us),
                *incident_keeping.end_older_outboxes(recorder, self.now_us),
            ),
            incidents=lambda changed: changed,
        )


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 10.0) -> None:
    """Wait for ``condition``; fails with ``what`` after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"after {seconds} s still waiting for {what}"
        time.sleep(0.01)


def login_path(hub: Hub, valid_minutes: int = 15) -> str:
    """Path of a fresh login link."""
    web = hub.services.settings.web
    link = hub.writer.call(lambda recorder: make_login_link(recorder, web, now_us(), valid_minutes))
    return link.removeprefix(web.origin)


def log_in(hub: Hub) -> FlaskClient:
    """A client with a session."""
    client = hub.app.test_client()
    assert client.get(login_path(hub)).status_code == 302
    return client


def person(hub: Hub, name: str = "Mina", **fields: Any) -> Person:
    """Somebody whom ``hub`` knows: an officer of all zones, unless ``fields`` say otherwise."""
    made = Person(id="", name=name, **{"role": Role.OFFICER, **fields})
    return hub.writer.call(lambda recorder: add_person(recorder, made, Entry(), now_us()))


def log_in_as(hub: Hub, who: Person) -> FlaskClient:
    """A client in which ``who`` is logged in."""
    client = hub.app.test_client()
    session_id, access = secret.fresh(), hub.services.settings.access
    opened = sessions.made_for(who, access, secret.hashed(session_id), now_us(), address="", device="")
    hub.writer.call(lambda recorder: sessions.open_session(recorder, opened, who.role))
    with client.session_transaction() as cookie:
        cookie["id"] = session_id
    return client


def form_token(client: FlaskClient, page: str = "/account") -> str:
    """The token against forged forms, as ``page`` has it."""
    found = re.search(r'name="csrf_token" value="([^"]+)"', client.get(page).text)
    assert found, page
    return found[1]


def submit(client: FlaskClient, path: str, page: str = "/account", **fields: Any) -> TestResponse:
    """Send a form to ``path`` with the token that ``page`` has."""
    return client.post(path, data={"csrf_token": form_token(client, page), **fields})


def feed(hub: Hub, *messages: SoundDetected) -> None:
    """Let ``hub`` receive ``messages`` as live events, and wait until they are stored."""
    for message in messages:
        topic = node_topic(message.node, "ev", message.label)
        hub.ingest.receive(topic, codec.encode(message), False, None)
    hub.writer.call(lambda _: None)


def many(count: int, **changes: Any) -> list[SoundDetected]:
    """``count`` detections, one second apart."""
    return [sound(id=ulid(n), seq=n, onset=after(n), **changes) for n in range(1, count + 1)]
