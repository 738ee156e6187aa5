"""Whoever sees one zone finds nothing of another, wherever she looks; a stranger finds nothing at all."""

import re
from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

from tests.hub.parts import birth, feed, form_token, log_in, log_in_as, person, troubles, ulid, wait_until
from tests.hub.test_live import connect, received
from tests.shared.messages import sound
from tocsin_hub.live import NAMESPACE
from tocsin_hub.people import keeping, sessions, tokens
from tocsin_hub.people.model import Person, Role
from tocsin_hub.people.tokens import Scope
from tocsin_hub.root import Hub
from tocsin_hub.times import now_us
from tocsin_shared import codec

OURS, THEIRS = "hall-a", "hall-b"
EVENT = ulid(77)
TRACES = ("bravo-1", "Bravo Shop", THEIRS, EVENT, "Bravo Bob", "bravo token", "bravo drill")
"""Whatever would tell somebody of our zone about theirs."""
PUBLIC = {
    "static", "healthz", "pages.signed_out", "entrance.login", "entrance.log_in", "entrance.join",
    "entrance.accept", "auth.login", "auth.logout", "updates.metadata", "updates.target",
}  # fmt: skip
"""What whoever is not logged in may reach. It shows nothing of any zone, either."""


@pytest.fixture
def facility(hub: Hub) -> Hub:
    """Two halls, in each of which something sounds, and an admin of the whole site."""
    for node, zone, room, event in (
        ("alpha-1", OURS, "Alpha Shop", ulid(1)),
        ("bravo-1", THEIRS, "Bravo Shop", EVENT),
    ):
        born = birth(node=node, zone=zone, room=room, labels=("smoke_alarm", "siren"))
        hub.ingest.receive(f"tocsin/v1/n/{node}/birth", codec.encode(born), False, None)
        suffering = troubles("mic_silent", node=node)
        hub.ingest.receive(f"tocsin/v1/n/{node}/troubles", codec.encode(suffering), False, None)
        feed(hub, sound(id=event, node=node, zone=zone))
    bob = person(hub, "Bravo Bob", zones=frozenset({THEIRS}))
    hub.writer.call(
        lambda recorder: tokens.add(
            recorder, "bravo token", bob.id, [Scope.READ], now_us=now_us(), expires_us=None
        )
    )
    drill = {"zones": [THEIRS], "minutes": 10, "note": "bravo drill"}
    assert log_in(hub).post("/api/v1/drills", json=drill).status_code == 201
    return hub


def incident_of(hub: Hub, zone: str) -> str:
    """Id of what sounds in ``zone``."""
    return next(one.id for one in hub.services.incidents.open() if one.zone == zone and one.first_event)


def addresses(hub: Hub, rule: Rule) -> Iterator[tuple[str, str]]:
    """Addresses of a route with every id of theirs in its place, and that id."""
    bob = next((one.id for one in hub.services.people.all() if one.name == "Bravo Bob"), ulid(5))
    drill = hub.services.incidents.drills()[0].id
    ids = [EVENT, "bravo-1", THEIRS, bob, incident_of(hub, THEIRS), drill] if rule.arguments else [""]
    for key in ids:
        yield re.sub(r"<[^>]+>", key, rule.rule), key


def answers(hub: Hub, client: FlaskClient, token: str) -> Iterator[tuple[str, str, TestResponse]]:
    """What every route answers to ``client``: method and address, id in the address, answer."""
    for rule in sorted(hub.app.url_map.iter_rules(), key=str):
        if rule.endpoint.endswith("static") or rule.endpoint == "auth.logout":
            continue
        for path, key in addresses(hub, rule):
            for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
                if method == "GET" or not path.startswith("/api/"):
                    form = {"csrf_token": token} if method != "GET" else None
                    yield f"{method} {path}", key, client.open(path, method=method, data=form)
                else:
                    yield f"{method} {path}", key, client.open(path, method=method, json={})


def found_in(answer: TestResponse, key: str) -> list[str]:
    """Traces of theirs in an answer; that it repeats the id in its own address tells nothing."""
    shown = answer.get_data(as_text=True) + str(answer.headers)
    return [trace for trace in TRACES if trace != key and trace in shown]


@pytest.mark.parametrize("role", list(Role))
def test_no_route_tells_a_person_of_one_zone_about_another(facility: Hub, role: Role) -> None:
    alpha = person(facility, "Alpha Ann", role=role, zones=frozenset({OURS}))
    client, theirs = log_in_as(facility, alpha), incident_of(facility, THEIRS)
    leaks = {
        where: found
        for where, key, answer in answers(facility, client, form_token(client))
        if (found := [*found_in(answer, key), *([theirs] if theirs != key and theirs in answer.text else [])])
    }
    assert leaks == {}
    for path in (
        "/api/v1/rooms",
        "/api/v1/events",
        "/api/v1/events?after=0",
        "/api/v1/incidents",
        "/history",
    ):
        if role is not Role.WORKER or path.startswith("/api/"):
            assert "alpha-1" in client.get(path).text or "Alpha Shop" in client.get(path).text, path


def test_the_walk_finds_what_a_person_of_all_zones_sees(facility: Hub) -> None:
    client = log_in_as(facility, person(facility, "Boss", role=Role.ADMIN))
    leaking = {
        where for where, key, answer in answers(facility, client, form_token(client)) if found_in(answer, key)
    }
    assert {
        "GET /history",
        "GET /api/v1/rooms",
        "GET /api/v1/events",
        "GET /admin/people",
        "GET /admin/tokens",
    } <= leaking


@pytest.mark.parametrize(
    "query",
    ["node=bravo-1", "label=smoke_alarm", "severity=alarm", "before=nonsense", "node=bravo-1&label=siren"],
)
def test_filters_lead_into_no_other_zone(facility: Hub, query: str) -> None:
    client = log_in_as(facility, person(facility, "Alpha Ann", zones=frozenset({OURS})))
    for path in ("/history", "/api/v1/events"):
        assert EVENT not in client.get(f"{path}?{query}").text
        assert "Bravo Shop" not in client.get(f"{path}?{query}").text


def test_another_zone_s_ids_are_answered_like_unknown_ones(facility: Hub) -> None:
    client = log_in_as(facility, person(facility, "Alpha Ann", role=Role.OFFICER, zones=frozenset({OURS})))
    unknown = ulid(123456)
    for rule in facility.app.url_map.iter_rules():
        if rule.arguments and "GET" in (rule.methods or set()) and rule.endpoint not in PUBLIC:
            for path, key in addresses(facility, rule):
                theirs, nobodys = client.get(path), client.get(path.replace(key, unknown))
                assert theirs.status_code == nobodys.status_code, path
                if theirs.status_code == 404:
                    assert without(theirs, key) == without(nobodys, unknown), path


def without(answer: TestResponse, key: str) -> str:
    """An answer without the id that was asked for, and without what is new each time."""
    return re.sub(r'(nonce|csrf_token" value)="[^"]*"', "", answer.text.replace(key, "*"))


def test_whoever_is_not_logged_in_gets_nothing(facility: Hub) -> None:
    client = facility.app.test_client()
    token = form_token(client, "/login")
    open_to_all = {}
    for where, key, answer in answers(facility, client, token):
        assert not found_in(answer, key), where
        if answer.status_code not in {301, 308, 401, 404, 405} and answer.location != "/signed-out":
            path = where.split()[1]
            open_to_all[where] = path.split("?")[0]
    public = {
        rule.rule.split("<")[0] for rule in facility.app.url_map.iter_rules() if rule.endpoint in PUBLIC
    }
    assert {
        where for where, path in open_to_all.items() if not path.startswith(tuple(public | DOCUMENTS))
    } == set()


DOCUMENTS = {"/api/v1/docs", "/manifest", "/sw.js", "/api/v1/receipts", "/metrics"}
"""What tells about the hub in general, receipts, which bring their own right, and figures, which
``[metrics]`` opens to programs on the hub's machine."""


def test_a_cursor_passes_over_what_happened_elsewhere(facility: Hub) -> None:
    """Else a dashboard would fetch the same nothing again and again."""
    client = log_in_as(facility, person(facility, "Alpha Ann", zones=frozenset({OURS})))
    page = client.get("/api/v1/events?after=0").get_json()
    assert [event["zone"] for event in page["events"]] == [OURS]
    assert page["next"] >= facility.services.store.counter("change")
    feed(facility, sound(id=ulid(78), node="bravo-1", zone=THEIRS, seq=9))
    for what in ("events", "incidents"):
        later = client.get(f"/api/v1/{what}?after={page['next']}").get_json()
        assert (later[what], later["more"]) == ([], False)
        assert later["next"] > page["next"]


def test_the_live_channel_shows_each_person_her_zones(facility: Hub) -> None:
    ann = person(facility, "Alpha Ann", zones=frozenset({OURS}))
    both = person(facility, "Both", zones=frozenset({OURS, THEIRS}))
    seen = {who.name: [] for who in (ann, both)}  # type: dict[str, list[str]]
    clients = {who.name: connect(facility, log_in_as(facility, who)) for who in (ann, both)}
    boss = connect(facility)
    for client in clients.values():
        received(client)
    feed(facility, sound(id=ulid(80), node="bravo-1", zone=THEIRS, seq=20))
    feed(facility, sound(id=ulid(81), node="alpha-1", zone=OURS, seq=21))

    def all_came() -> bool:
        for name, client in clients.items():
            seen[name] += [f"{kind} {data.get('zone')}" for kind, data in received(client)]
        return f"event {OURS}" in seen["Alpha Ann"] and f"event {OURS}" in seen["Both"]

    wait_until(all_came, "the event of our hall")
    assert f"event {THEIRS}" in seen["Both"]
    assert seen["Both"].count(f"event {OURS}") == 1, "nothing comes twice to whoever sees two zones"
    assert not [one for one in seen["Alpha Ann"] if THEIRS in one]
    assert "incident" in {one.split()[0] for one in seen["Both"]}
    assert {data.get("zone") for kind, data in received(boss) if kind == "event"} == {OURS, THEIRS}


def shut_out(hub: Hub, who: Person) -> None:
    hub.writer.call(lambda recorder: keeping.disable(recorder, who.id))


def narrow(hub: Hub, who: Person) -> None:
    hub.writer.call(lambda recorder: keeping.change(recorder, who.id, zones=frozenset({OURS})))


def log_out(hub: Hub, who: Person) -> None:
    hub.writer.call(lambda recorder: sessions.close_others(recorder, who.id, ""))


@pytest.mark.parametrize("happens", [shut_out, narrow, log_out])
def test_a_socket_ends_when_its_person_may_see_less(facility: Hub, happens: object) -> None:
    person(facility, "Boss", role=Role.ADMIN)
    bob, ann = person(facility, "Bob"), person(facility, "Ann")
    his, hers = connect(facility, log_in_as(facility, bob)), connect(facility, log_in_as(facility, ann))
    facility.live.review(facility.services)
    assert his.is_connected(NAMESPACE)
    happens(facility, bob)  # type: ignore[operator]
    facility.live.review(facility.services)
    assert not his.is_connected(NAMESPACE)
    assert hers.is_connected(NAMESPACE)


def test_a_socket_ends_with_its_session(facility: Hub) -> None:
    client = connect(facility, log_in_as(facility, person(facility, "Bob")))
    later = now_us() + 8 * 86_400 * 1_000_000
    object.__setattr__(facility.services, "clock", lambda: later)
    facility.live.review(facility.services)
    assert not client.is_connected(NAMESPACE)
