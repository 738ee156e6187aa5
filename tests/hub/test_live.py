"""The live channel: only for those with a session, a hint that is never the truth."""

import threading
from collections.abc import Iterable
from typing import Any

import pytest
from flask.testing import FlaskClient
from flask_socketio import SocketIO, SocketIOTestClient

from tests.hub.parts import birth, feed, log_in, ulid, wait_until
from tests.shared.messages import sound
from tocsin_hub.live import NAMESPACE, Live
from tocsin_hub.rooms import Hearing, Rooms
from tocsin_hub.root import Hub
from tocsin_hub.settings import SPARE_THREADS, WebSettings
from tocsin_hub.times import from_us, now_us
from tocsin_shared import codec
from tocsin_shared.errors import UnavailableError


def connect(hub: Hub, browser: FlaskClient | None = None) -> SocketIOTestClient:
    """A dashboard in ``browser``, or in a new one that is logged in."""
    socketio: SocketIO = hub.app.extensions["socketio"]
    return socketio.test_client(hub.app, namespace=NAMESPACE, flask_test_client=browser or log_in(hub))


def received(client: SocketIOTestClient) -> list[tuple[str, Any]]:
    return [(packet["name"], packet["args"][0]) for packet in client.get_received(NAMESPACE)]


def test_without_a_session_the_socket_is_refused(hub: Hub) -> None:
    assert not connect(hub, hub.app.test_client()).is_connected(NAMESPACE)


def test_a_dashboard_is_greeted_with_the_latest_change(hub: Hub) -> None:
    feed(hub, sound())
    client = connect(hub)
    latest = hub.writer.state.latest_change
    assert latest == 2, "the event, and the incident that it opened"
    assert received(client) == [("hello", {"change": latest, "epoch": hub.services.epoch})]


def test_who_connects_is_greeted_alone(hub: Hub) -> None:
    """A greeting makes a dashboard fetch: of 500 that come back at once, each would fetch 500 times."""
    first = connect(hub)
    received(first)
    second = connect(hub)
    assert [name for name, _ in received(second)] == ["hello"]
    assert received(first) == []


def test_events_and_rooms_arrive_as_the_api_would_tell_them(hub: Hub) -> None:
    client = connect(hub)
    received(client)
    got: list[tuple[str, Any]] = []
    hub.ingest.receive("tocsin/v1/n/press-1/birth", codec.encode(birth()), False, None)
    feed(hub, sound())

    def all_here() -> bool:
        got.extend(received(client))
        return {"room", "event"} <= {name for name, _ in got}

    wait_until(all_here, "room and event")
    api = log_in(hub)
    events = api.get("/api/v1/events?after=0").get_json()["events"]
    (room,) = api.get("/api/v1/rooms").get_json()["rooms"]
    room.pop("last_seen")  # the event was heard after the room was shown
    assert [data for name, data in got if name == "event"] == events
    shown = [data for name, data in got if name == "room"][-1]
    assert {**shown, **room} == shown


def test_incidents_arrive_as_the_api_would_tell_them_with_every_answer(hub: Hub) -> None:
    client, api = connect(hub), log_in(hub)
    feed(hub, sound(onset=from_us(now_us())))
    (incident,) = api.get("/api/v1/incidents").get_json()["incidents"]
    answer = api.post(f"/api/v1/incidents/{incident['id']}/answer", json={"answer": "need_help"})
    got: list[Any] = []

    def all_here() -> bool:
        got.extend(data for name, data in received(client) if name == "incident")
        return len(got) >= 2

    wait_until(all_here, "the incident, twice")
    assert got[-1] == answer.get_json()
    assert [len(one["answers"]) for one in got][-1] == 1


def test_an_incident_is_shown_even_if_the_database_cannot_be_read(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be about this very database."""

    def refuse(_ids: object) -> None:
        raise UnavailableError("the disk is gone")

    feed(hub, sound(onset=from_us(now_us())))
    (incident,) = hub.services.incidents.open()
    monkeypatch.setattr(hub.services.incidents, "answers", refuse)
    client = connect(hub)
    hub.live.show(incident)
    names: list[str] = []

    def shown() -> bool:
        names.extend(name for name, _ in received(client))
        return "incident" in names

    wait_until(shown, "the incident")


def test_dashboards_leave_threads_for_the_pages(hub: Hub) -> None:
    most = hub.services.settings.web.threads - SPARE_THREADS
    browser = log_in(hub)
    clients = [connect(hub, browser) for _ in range(most)]
    assert all(client.is_connected(NAMESPACE) for client in clients)
    assert not connect(hub, browser).is_connected(NAMESPACE)
    clients[0].disconnect(NAMESPACE)
    assert connect(hub, browser).is_connected(NAMESPACE)


def test_a_channel_that_cannot_keep_up_tells_dashboards_to_fetch(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queue overflows while nothing is emitted: no error, no wait, and a new hello at the end."""
    monkeypatch.setattr("tocsin_hub.live._QUEUE", 3)
    live = Live(WebSettings(), Rooms([], Hearing(True, 0)), "epoch", lambda: 77)
    emitted: list[tuple[str, Any]] = []
    hold = threading.Event()

    def emit(name: str, data: dict[str, Any], _zone: str | None) -> None:
        hold.wait(5)
        emitted.append((name, data))

    monkeypatch.setattr(live, "_emit", emit)
    live.start(pytest.fail)
    feed(hub, sound())
    (event,) = hub.services.store.events_after(0).events
    for _ in range(20):
        live.show(event)
    hold.set()
    wait_until(lambda: ("hello", {"change": 77, "epoch": "epoch"}) in emitted, "the hello")
    assert len(emitted) < 20
    live.stop()


def test_it_can_be_stopped_while_it_is_busy() -> None:
    live = Live(WebSettings(), Rooms([], Hearing(True, 0)), "epoch", lambda: 0)
    live.start(pytest.fail)
    live.stop()
    assert "live" not in [thread.name for thread in threading.enumerate()]


def test_many_things_at_once_are_looked_up_together_and_for_nobody_not_at_all(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each event comes once, as it is now, with its incident; without a dashboard nothing is asked."""
    asked: list[list[str]] = []
    plain = hub.services.incidents.ids_of

    def ids_of(events: Iterable[str]) -> dict[str, str]:
        asked.append(list(events))
        return plain(asked[-1])

    monkeypatch.setattr(hub.services.incidents, "ids_of", ids_of)
    for number in range(30):
        feed(hub, sound(id=ulid(number), seq=number + 1))
    events = hub.services.store.events_after(0).events
    assert asked == []
    client = connect(hub)
    held = threading.Event()
    emit = hub.live._emit

    def slow(name: str, data: dict[str, Any], zone: str | None) -> None:
        held.wait(10)
        emit(name, data, zone)

    monkeypatch.setattr(hub.live, "_emit", slow)
    for event in (*events, *events):
        hub.live.show(event)
    held.set()
    got: dict[str, str | None] = {}

    def all_here() -> bool:
        got.update({data["id"]: data["incident"] for name, data in received(client) if name == "event"})
        return len(got) == 30

    wait_until(all_here, "the events")
    assert len(asked) <= 3
    assert set(got.values()) == {incident.id for incident in hub.services.incidents.open()}
