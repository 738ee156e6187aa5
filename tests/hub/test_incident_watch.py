"""What the hub sees of itself becomes incidents, even while its database refuses everything."""

import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.hub.parts import Line, birth, heartbeat, wait_until
from tests.shared.messages import sound
from tocsin_hub.incidents.model import HubTrouble, Incident
from tocsin_hub.incidents.rules import Limits
from tocsin_hub.incidents.troubles import HubFacts, hub_troubles
from tocsin_hub.incidents.watch import Watch
from tocsin_shared.broker import BrokerSettings

SECOND = 1_000_000
WELL = HubFacts(connected=True, connected_us=0, database="", waiting_us=0)


def facts(**changes: Any) -> HubFacts:
    return HubFacts(**{**{name: getattr(WELL, name) for name in WELL.__dataclass_fields__}, **changes})


@pytest.mark.parametrize(
    ("changes", "kinds"),
    [
        ({}, set()),
        ({"connected": False, "connected_us": 9 * SECOND}, set()),
        ({"connected": False, "connected_us": 10 * SECOND}, {HubTrouble.BROKER_LOST}),
        ({"database": "disk full"}, {HubTrouble.DATABASE_REFUSES}),
        ({"waiting_us": 1_900_000}, set()),
        ({"waiting_us": 2 * SECOND}, {HubTrouble.HUB_LATE}),
        ({"waiting_us": 9 * SECOND, "database": "disk full"}, {HubTrouble.DATABASE_REFUSES}),
        ({"certificate_days": 14.5, "certificate_detail": "ends"}, set()),
        ({"certificate_days": 13.5, "certificate_detail": "ends"}, {HubTrouble.HUB_CERTIFICATE}),
        ({"certificate_detail": "cannot be read"}, {HubTrouble.HUB_CERTIFICATE}),
    ],
)
def test_what_is_wrong_with_the_hub(changes: dict[str, Any], kinds: set[HubTrouble]) -> None:
    assert set(hub_troubles(facts(**changes))) == kinds


class Watched:
    """A line with a watch over it, whose seconds are counted by hand."""

    def __init__(self, line: Line, settings: BrokerSettings | None = None) -> None:
        self.line = line
        self.seconds = 0.0
        self.watch = Watch(
            settings=settings or BrokerSettings(),
            reading=line.incidents,
            rooms=line.rooms,
            writer=line.writer,
            screen=line.screen,
            on_incident=line.told.append,
            clock=lambda: line.now_us,
            limits=Limits(),
            monotonic=lambda: self.seconds,
        )

    def tick(self, seconds: float = 1.0) -> None:
        """Let time pass, and look; whatever the look asked for is on the disk afterwards."""
        self.pass_time(seconds)
        self.watch.tick()
        self.line.settle()

    def pass_time(self, seconds: float) -> None:
        self.seconds += seconds
        self.line.now_us += round(seconds * 1e6)

    def open(self) -> set[str]:
        return {incident.group for incident in self.line.incidents.open()}


@pytest.fixture
def watched(line: Line) -> Watched:
    return Watched(line)


def test_the_watch_lets_time_act_on_incidents(watched: Watched) -> None:
    line = watched.line
    line.send("birth", birth())
    line.send("hb", heartbeat())
    line.settle()
    watched.pass_time(60)
    line.ingest.tick()
    watched.tick()
    assert watched.open() == {"node_silent"}
    assert [incident.group for incident in line.told] == ["node_silent"]


def test_a_lost_broker_is_a_trouble_until_it_is_back(watched: Watched) -> None:
    rooms = watched.line.rooms
    watched.tick()
    rooms.set_hearing(False, watched.line.now_us)
    watched.tick(9)
    assert watched.open() == set()
    watched.tick(2)
    assert watched.open() == {"broker_lost"}
    (incident,) = watched.line.told
    assert (incident.zone, incident.origin_node) == ("", None)
    watched.tick(60)
    assert len(watched.line.told) == 1, "told once"
    rooms.set_hearing(True, watched.line.now_us)
    watched.tick()
    assert watched.open() == set()
    assert watched.line.told[-1].id == incident.id


def test_a_restarted_hub_opens_nothing_twice_and_ends_what_is_over(line: Line) -> None:
    line.rooms.set_hearing(False, line.now_us)
    first = Watched(line)
    first.tick(11)
    first.tick()
    assert first.open() == {"broker_lost"}
    second = Watched(line)
    second.tick()
    assert len(line.told) == 1
    line.rooms.set_hearing(True, line.now_us)
    third = Watched(line)
    third.tick()
    assert third.open() == set()
    assert [incident.active for incident in line.told] == [True, False]


def test_a_database_that_refuses_is_told_at_once_and_stored_when_it_can_be(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = watched.line
    watched.tick()
    full = True
    real = line.writer._recorder._set_counter

    def refuse(name: str, value: int) -> None:
        if full:
            raise sqlite3.OperationalError("database or disk is full")
        real(name, value)

    monkeypatch.setattr(line.writer._recorder, "_set_counter", refuse)
    line.hear(sound())
    wait_until(lambda: line.writer.state.trouble != "", "the writer to be refused")
    watched.pass_time(1)
    watched.watch.tick()
    (incident,) = line.told
    assert (incident.group, incident.change) == ("database_refuses", 0)
    assert "disk is full" in incident.detail
    assert line.screen.incidents == [incident]
    full = False
    wait_until(lambda: watched.open() == {"database_refuses", "evacuate"}, "everything to be stored", 20)
    stored = line.incidents.get(incident.id)
    assert stored is not None
    assert stored.change > 0
    watched.tick()
    watched.tick()
    assert watched.open() == {"evacuate"}


def test_a_queue_that_is_full_holds_nobody_up(tmp_path: Path) -> None:
    """The writer is not started: nothing leaves its queue."""
    from tocsin_hub.settings import IngestSettings

    line = Line(tmp_path / "hub.sqlite", IngestSettings(queue=10))
    for _ in range(10):
        line.writer.put(_nothing())
    watched = Watched(line)
    for _ in range(4):
        watched.pass_time(1)
        watched.watch.tick()
    assert [incident.group for incident in line.told] == ["hub_late"]
    line.store.close()


def _nothing() -> Any:
    from tocsin_hub.writer import Outcome, Work

    return Work(lambda _: Outcome(), lambda _: None)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    folder = tmp_path_factory.mktemp("certificates")

    def make(days: int) -> Path:
        path = folder / f"{days}.pem"
        command = (
            f"req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=hub -days {days}"
        )
        files = ["-keyout", str(folder / "key.pem"), "-out", str(path)]
        subprocess.run(["openssl", *command.split(), *files], check=True, capture_output=True, timeout=60)
        return path

    return make


@pytest.mark.parametrize(("days", "kinds"), [(5, {"hub_certificate"}), (60, set())])
def test_a_certificate_that_ends_is_a_trouble(
    line: Line, certificate: Callable[[int], Path], days: int, kinds: set[str]
) -> None:
    from tocsin_hub.times import now_us

    path = certificate(days)
    line.now_us = now_us()
    watched = Watched(line, BrokerSettings(ca_file=path, cert_file=path, key_file=path))
    line.rooms.set_hearing(False, line.now_us)
    line.rooms.set_hearing(True, line.now_us)
    watched.tick()
    watched.tick(7200)
    assert watched.open() == kinds
    assert len(line.told) == len(kinds)


def test_a_certificate_that_cannot_be_read_is_a_trouble_that_names_it(line: Line, tmp_path: Path) -> None:
    path = tmp_path / "own.pem"
    path.write_bytes(b"\xff\x00 no certificate")
    watched = Watched(line, BrokerSettings(ca_file=path, cert_file=path, key_file=path))
    watched.tick()
    (incident,) = line.told
    assert f"{path} cannot be read" in incident.detail


def test_the_incident_of_a_lost_database_is_an_incident_like_any_other(watched: Watched) -> None:
    incident = watched.watch._announced(HubTrouble.DATABASE_REFUSES, "why").announced
    assert isinstance(incident, Incident)
    assert watched.line.told == [incident]
