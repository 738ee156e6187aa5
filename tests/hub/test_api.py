"""The API's contract."""

from datetime import datetime
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.hub.parts import birth, conn, feed, heartbeat, log_in, many, offset_of, ulid
from tests.shared.messages import sound
from tocsin_hub.connection import ServerError
from tocsin_hub.root import Hub
from tocsin_shared import codec
from tocsin_shared.events import Clock, Message, Presence
from tocsin_shared.topics import node_topic

EVENT_KEYS = {
    "incident",
    "id", "node", "zone", "room", "label", "severity", "score", "top", "level_dbfs", "ambient_dbfs", "onset",
    "offset", "phase", "rhythm", "late", "active", "bundle", "clock", "boot", "seq", "received", "committed",
    "change", "test", "certainty",
}  # fmt: skip
ROOM_KEYS = {
    "node", "zone", "room", "state", "since", "level_dbfs", "last_seen", "bundle", "version", "runtime",
    "hardware", "source", "hop_seconds", "labels", "outbox_depth", "dropped_blocks", "inference_p95_ms",
    "clipped_ratio", "boot", "troubles", "keeps_clips",
}  # fmt: skip


def say(hub: Hub, kind: str, message: Message, node: str = "press-1") -> None:
    """Let ``hub`` receive what a node says about itself."""
    hub.ingest.receive(node_topic(node, kind), codec.encode(message), False, None)


def get(client: FlaskClient, path: str, **query: Any) -> Any:
    """The JSON at ``path``, which must be answered well."""
    answer = client.get(path, query_string=query)
    assert answer.status_code == 200, answer.text
    return answer.json


def test_rooms_say_all_that_their_nodes_said(hub: Hub, client: FlaskClient) -> None:
    say(hub, "birth", birth())
    say(hub, "hb", heartbeat(level_dbfs=-31.5))
    answer = get(client, "/api/v1/rooms")
    (room,) = answer["rooms"]
    assert set(room) == ROOM_KEYS
    assert (room["node"], room["zone"], room["room"], room["state"]) == (
        "press-1",
        "hall-1",
        "Press shop",
        "listening",
    )
    assert (room["level_dbfs"], room["outbox_depth"], room["inference_p95_ms"]) == (-31.5, 2, 3.5)
    assert room["labels"] == ["smoke_alarm", "siren"]
    for moment in (answer["at"], room["since"], room["last_seen"]):
        assert moment.endswith("Z")
        datetime.fromisoformat(moment)


def test_a_room_says_whether_its_node_keeps_clips(hub: Hub, client: FlaskClient) -> None:
    for keeps in (True, False):
        say(hub, "birth", birth(keeps_clips=keeps))
        assert get(client, "/api/v1/rooms")["rooms"][0]["keeps_clips"] is keeps


def test_a_room_that_was_hardly_heard_has_no_figures(hub: Hub, client: FlaskClient) -> None:
    say(hub, "conn", conn(Presence.ONLINE))
    (room,) = get(client, "/api/v1/rooms")["rooms"]
    assert set(room) == ROOM_KEYS
    assert (room["room"], room["state"], room["level_dbfs"], room["labels"]) == (
        "press-1",
        "starting",
        None,
        [],
    )


def test_an_event_has_every_field_and_times_in_utc(hub: Hub, client: FlaskClient) -> None:
    say(hub, "birth", birth())
    feed(hub, sound(clock=Clock.FLOOR))
    (event,) = get(client, "/api/v1/events", after=0)["events"]
    assert set(event) == EVENT_KEYS
    assert event["onset"] == "2026-11-23T02:38:11.250Z"
    assert event["offset"] is None
    assert (event["room"], event["severity"], event["active"]) == ("Press shop", "alarm", True)
    assert event["top"][1] == {"label": "siren", "score": 0.21}
    assert event["certainty"] == "certain"
    assert (event["phase"], event["rhythm"], event["clock"], event["late"]) == (
        "onset",
        "none",
        "floor",
        False,
    )
    assert event["received"].endswith("Z")
    assert event["committed"] >= event["received"]
    assert event["test"] is False


def test_an_event_is_active_until_its_offset_its_boot_or_its_node_ends(hub: Hub, client: FlaskClient) -> None:
    def active() -> list[bool]:
        return [event["active"] for event in get(client, "/api/v1/events", after=0)["events"]]

    feed(hub, sound())
    assert active() == [False], "nobody knows whether that node lives"
    say(hub, "birth", birth())
    assert active() == [True]
    say(hub, "conn", conn(Presence.OFFLINE))
    assert active() == [False]
    say(hub, "birth", birth(session=2))
    assert active() == [True]
    feed(hub, offset_of(sound(), seq=9))
    assert active() == [False]
    feed(hub, sound(id=ulid(1), seq=10))
    assert active() == [False, True]
    say(hub, "birth", birth(boot="b2"))
    hub.writer.call(lambda _: None)
    assert active() == [False, False]


def test_changes_are_fetched_page_by_page_from_a_cursor(hub: Hub, client: FlaskClient) -> None:
    feed(hub, *many(5))
    first = get(client, "/api/v1/events", after=0, limit=3)
    changes = [event["change"] for event in first["events"]]
    assert [event["id"] for event in first["events"]] == [ulid(1), ulid(2), ulid(3)]
    assert (changes, first["next"], first["more"]) == (sorted(set(changes)), changes[-1], True)
    second = get(client, "/api/v1/events", after=first["next"], limit=3)
    assert [event["id"] for event in second["events"]] == [ulid(4), ulid(5)]
    assert (second["next"], second["more"]) == (second["events"][-1]["change"], False)
    feed(hub, offset_of(many(1)[0], seq=50))
    third = get(client, "/api/v1/events", after=second["next"])
    assert [(event["id"], event["phase"]) for event in third["events"]] == [(ulid(1), "offset")]


def test_history_goes_back_from_the_newest_onset(hub: Hub, client: FlaskClient) -> None:
    feed(hub, *many(5))
    first = get(client, "/api/v1/events", limit=3)
    assert [event["id"] for event in first["events"]] == [ulid(5), ulid(4), ulid(3)]
    last = get(client, "/api/v1/events", limit=3, before=first["next"])
    assert [event["id"] for event in last["events"]] == [ulid(2), ulid(1)]
    assert last["next"] is None


def test_history_can_be_narrowed_and_empty_filters_are_none(hub: Hub, client: FlaskClient) -> None:
    feed(hub, sound(), sound(id=ulid(2), label="glass_breaking", node="dock-2"))

    def found(**query: str) -> list[str]:
        return [event["label"] for event in get(client, "/api/v1/events", **query)["events"]]

    assert found(node="dock-2") == ["glass_breaking"]
    assert found(label="smoke_alarm", node="", severity="") == ["smoke_alarm"]
    assert found(severity="warning") == ["glass_breaking"]
    assert found(severity="notice", before="") == []


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=x", "limit"),
        ("limit=", "limit"),
        ("limit=-1", "limit"),
        ("limit=1e3", "limit"),
        ("limit=%D9%A3", "limit"),
        ("limit=1&limit=2", "limit"),
        ("after=-1", "after"),
        ("after=99999999999999999999", "after"),
        ("after=" + "9" * 5000, "after"),
        ("after=0&label=siren", "label"),
        ("before=%00", "before"),
        ("before=abc", "before"),
        ("label=Not+A+Label", "label"),
        ("label=siren%0A", "label"),
        ("node=a", "node"),
        ("node=' OR 1=1 --", "node"),
        ("severity=deadly", "severity"),
        ("colour=red", "colour"),
    ],
)
def test_a_wrong_parameter_is_named(client: FlaskClient, query: str, parameter: str) -> None:
    answer = client.get(f"/api/v1/events?{query}")
    assert answer.status_code == 400
    error = answer.json["error"]  # type: ignore[index]
    assert error["code"] == "bad_parameter"
    assert error["message"].startswith(f"{parameter}: ")


@pytest.mark.parametrize("path", ["/api/v1/rooms", "/api/v1/events", "/api/v1/events?limit=x"])
def test_without_a_session_the_api_answers_401_in_json(hub: Hub, path: str) -> None:
    answer = hub.app.test_client().get(path)
    assert answer.status_code == 401
    assert answer.json["error"]["code"] == "not_logged_in"  # type: ignore[index]


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/api/v1/x", 404), ("POST", "/api/v1/rooms", 405)]
)
def test_errors_of_the_api_are_json(client: FlaskClient, method: str, path: str, status: int) -> None:
    answer = client.open(path, method=method)
    assert answer.status_code == status
    assert set(answer.json["error"]) == {"code", "message"}  # type: ignore[index]


def test_a_database_that_is_gone_is_a_503(
    hub: Hub, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> Any:
        raise ServerError("disk I/O error")

    monkeypatch.setattr(hub.services.store._reader, "rows", broken)
    answer = client.get("/api/v1/events")
    assert answer.status_code == 503
    assert "disk" not in answer.text


def test_health_needs_no_session_and_says_what_is_wrong(hub: Hub) -> None:
    feed(hub, sound())
    hub.ingest.receive("x", b"", False, None)
    hub.writer.call(lambda _: None)
    answer = hub.app.test_client().get("/healthz")
    assert answer.status_code == 503
    health: dict[str, Any] = answer.json  # type: ignore[assignment]
    assert health.pop("last_commit_ms") > 0
    assert health == {
        "status": "degraded",
        "database": "ok",
        "broker": "disconnected",
        "stored": 1,
        "quarantined": 1,
        "queue": 0,
        "pruning": {"status": "ok", "last": None, "removed": {}},
    }


def test_health_is_ok_while_the_broker_is_there(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub.link, "_connected", True)
    answer = hub.app.test_client().get("/healthz")
    assert (answer.status_code, answer.json["status"]) == (200, "ok")  # type: ignore[index]
    monkeypatch.setattr(hub.writer, "_trouble", "database or disk is full")
    answer = hub.app.test_client().get("/healthz")
    assert (answer.status_code, answer.json["database"]) == (503, "database or disk is full")  # type: ignore[index]
    monkeypatch.setattr(hub.link, "_connected", False)


@pytest.mark.parametrize(
    "path", ["/", "/signed-out", "/api/v1/rooms", "/healthz", "/nothing-here", "/login/x"]
)
def test_every_answer_carries_the_security_headers(hub: Hub, path: str) -> None:
    answer = hub.app.test_client().get(path, headers={"Host": "hub.local:8080"})
    policy = answer.headers["Content-Security-Policy"].split("; ")
    assert "default-src 'self'" in policy
    assert "connect-src 'self' ws://hub.local:8080 wss://hub.local:8080" in policy
    assert "img-src 'self' data:" in policy
    assert {"frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"} <= set(policy)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "same-origin"
    assert "microphone=()" in answer.headers["Permissions-Policy"]
    assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert "Strict-Transport-Security" not in answer.headers, "it would lock out who comes by http"
    assert answer.headers["Cache-Control"] == "no-store"


def test_the_nonce_is_new_for_each_answer(hub: Hub) -> None:
    client = hub.app.test_client()
    policies = [client.get("/signed-out").headers["Content-Security-Policy"] for _ in range(3)]
    assert len(set(policies)) == 3


def test_a_strange_host_does_not_get_into_the_policy(hub: Hub) -> None:
    answer = hub.app.test_client().get("/healthz", headers={"Host": "x; script-src *"})
    assert "script-src *" not in answer.headers.get("Content-Security-Policy", "")


def test_a_large_body_is_refused(hub: Hub) -> None:
    for path in ("/logout", "/login", "/account/language", "/admin/people"):
        answer = log_in(hub).post(path, data={"x": b"y" * 100_000})
        assert answer.status_code == 413, path
        assert answer.headers["Connection"] == "close"
