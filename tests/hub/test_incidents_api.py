"""Incidents, answers and drills over HTTP, as a dashboard and a phone ask for them."""

import json
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from tests.hub.parts import birth, feed, log_in_as, person, ulid
from tests.shared.messages import sound
from tocsin_hub.people.model import Person, Role
from tocsin_hub.root import Hub
from tocsin_hub.times import from_us, now_us
from tocsin_shared import codec
from tocsin_shared.topics import node_topic

API = "/api/v1"


def live(number: int, **changes: Any) -> Any:
    return sound(**{"id": ulid(number), "onset": from_us(now_us()), **changes})


@pytest.fixture
def hall(hub: Hub) -> Hub:
    """A hub with two rooms in two zones, in the first of which an alarm sounds."""
    for node, zone in (("press-1", "hall-1"), ("dock-2", "hall-2")):
        message = birth(node=node, zone=zone, room=f"Room of {node}")
        hub.ingest.receive(node_topic(node, "birth"), codec.encode(message), False, None)
    feed(hub, live(1))
    return hub


@pytest.fixture
def as_person(hub: Hub, client: FlaskClient) -> Any:
    """Lets the requests of ``client`` come from somebody else, who is new each time."""

    def become(role: Role, *zones: str) -> Person:
        made = person(hub, "Minji", role=role, zones=frozenset(zones))
        with log_in_as(hub, made).session_transaction() as theirs:
            known = theirs["id"]
        with client.session_transaction() as cookie:
            cookie["id"] = known
        return made

    return become


def incidents(client: FlaskClient, query: str = "") -> list[dict[str, Any]]:
    answer = client.get(f"{API}/incidents{query}")
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json["incidents"]  # type: ignore[index]
    return found


def post(client: FlaskClient, path: str, body: Any) -> TestResponse:
    return client.post(f"{API}{path}", json=body)


def test_an_incident_says_where_what_and_how_sure(hall: Hub, client: FlaskClient) -> None:
    (incident,) = incidents(client)
    assert incident | {"id": "", "opened": "", "updated": "", "change": 0} == {
        "id": "",
        "kind": "sound",
        "group": "evacuate",
        "label": "smoke_alarm",
        "severity": "alarm",
        "zone": "hall-1",
        "drill": False,
        "opened": "",
        "updated": "",
        "cleared": None,
        "acknowledged": None,
        "acknowledged_by": None,
        "help": None,
        "origin_node": "press-1",
        "origin_room": "Room of press-1",
        "origin_level_dbfs": -24.5,
        "nodes": [{"id": "press-1", "room": "Room of press-1"}],
        "unheard": [],
        "first_event": ulid(1),
        "events": 1,
        "certainty": "certain",
        "late": False,
        "detail": "",
        "active": True,
        "answers": [],
        "change": 0,
    }
    assert client.get(f"{API}/incidents/{incident['id']}").json == incident
    log = client.get(f"{API}/incidents/{incident['id']}/log").json["log"]  # type: ignore[index]
    assert [(line["step"], line["room"], line["detail"]) for line in log] == [
        ("opened", "Room of press-1", "smoke_alarm")
    ]


def test_changes_and_history_can_be_followed(hall: Hub, client: FlaskClient) -> None:
    feed(hall, live(2, label="engine"), live(3, zone="hall-2", node="dock-2"))
    changed = client.get(f"{API}/incidents?after=0&limit=2").json
    assert changed is not None
    assert (len(changed["incidents"]), changed["more"]) == (2, True)
    rest = client.get(f"{API}/incidents?after={changed['next']}").json
    assert rest is not None
    assert ([one["zone"] for one in rest["incidents"]], rest["more"]) == (["hall-2"], False)
    newest = client.get(f"{API}/incidents?limit=2").json
    assert newest is not None
    older = incidents(client, f"?limit=2&before={newest['next']}")
    assert len(newest["incidents"]) + len(older) == 3
    assert [one["label"] for one in incidents(client, "?severity=notice")] == ["engine"]
    assert [one["zone"] for one in incidents(client, "?zone=hall-2&active=true&kind=sound")] == ["hall-2"]
    assert incidents(client, "?active=false") == incidents(client, "?kind=trouble") == []


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("after=-1", "after"),
        ("after=x", "after"),
        ("after=" + "9" * 30, "after"),
        ("after=0&zone=hall-1", "zone"),
        ("after=0&active=true", "active"),
        ("before=nonsense", "before"),
        ("before=" + "1" * 4000, "before"),
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("active=perhaps", "active"),
        ("severity=grave", "severity"),
        ("kind=smell", "kind"),
        ("zone=Hall%201", "zone"),
        ("zone=hall-1%0a", "zone"),
        ("colour=red", "colour"),
    ],
)
def test_a_query_that_means_nothing_is_refused_by_name(
    hall: Hub, client: FlaskClient, query: str, word: str
) -> None:
    answer = client.get(f"{API}/incidents?{query}")
    assert answer.status_code == 400
    assert answer.json is not None
    assert word in answer.json["error"]["message"]


def test_an_officer_acknowledges_once_and_a_worker_cannot(
    hall: Hub, client: FlaskClient, as_person: Any
) -> None:
    (incident,) = incidents(client)
    path = f"/incidents/{incident['id']}/acknowledge"
    as_person(Role.WORKER)
    assert post(client, path, {}).status_code == 403
    officer = as_person(Role.OFFICER)
    first = post(client, path, {}).json
    assert first is not None
    assert first["acknowledged_by"] == {"id": officer.id, "name": "Minji"}
    as_person(Role.OFFICER)
    assert post(client, path, {}).json == first


def test_anybody_who_sees_the_zone_answers_and_help_reaches_everybody(
    hall: Hub, client: FlaskClient, as_person: Any
) -> None:
    (incident,) = incidents(client)
    path = f"/incidents/{incident['id']}/answer"
    worker = as_person(Role.WORKER, "hall-1")
    post(client, path, {"answer": "safe"})
    again = post(client, path, {"answer": "safe"}).json
    assert again is not None
    assert [(one["answer"], one["person"]) for one in again["answers"]] == [("safe", worker.id)]
    helped = post(client, path, {"answer": "need_help"}).json
    assert helped is not None
    assert (helped["severity"], helped["help"] is not None) == ("alarm", True)
    assert [one["answer"] for one in helped["answers"]] == ["need_help"]


def test_the_names_of_persons_are_told(hall: Hub, client: FlaskClient, as_person: Any) -> None:
    as_person(Role.OFFICER)
    (incident,) = incidents(client)
    post(client, f"/incidents/{incident['id']}/answer", {"answer": "safe"})
    shown = post(client, f"/incidents/{incident['id']}/acknowledge", {}).json
    assert shown is not None
    assert shown["acknowledged_by"]["name"] == shown["answers"][0]["name"] == "Minji"
    log = client.get(f"{API}/incidents/{incident['id']}/log").json["log"]  # type: ignore[index]
    assert [line["person"]["name"] for line in log[1:]] == ["Minji", "Minji"]


def test_what_happens_in_another_zone_is_not_there(hall: Hub, client: FlaskClient, as_person: Any) -> None:
    (incident,) = incidents(client)
    as_person(Role.OFFICER, "hall-2")
    assert incidents(client) == incidents(client, "?after=0") == incidents(client, "?zone=hall-1") == []
    path = f"/incidents/{incident['id']}"
    missing = [
        client.get(f"{API}{path}"),
        client.get(f"{API}{path}/log"),
        post(client, f"{path}/acknowledge", {}),
        post(client, f"{path}/answer", {"answer": "need_help"}),
    ]
    nowhere = client.get(f"{API}/incidents/{ulid(77)}")
    assert {(answer.status_code, answer.text) for answer in missing} == {(404, nowhere.text)}
    as_person(Role.ADMIN)
    assert incidents(client) == [incident], "nothing was written"


def test_a_trouble_of_the_hub_itself_is_for_everybodys_eyes(
    hall: Hub, client: FlaskClient, as_person: Any
) -> None:
    hall.services.desk.open_trouble("push_refused", "", "410")
    as_person(Role.WORKER, "hall-2")
    assert [one["label"] for one in incidents(client)] == ["push_refused"]
    assert [one["label"] for one in incidents(client, "?after=0")] == ["push_refused"]
    hall.services.desk.close_trouble("push_refused", "")
    assert [one["active"] for one in incidents(client)] == [False]


@pytest.mark.parametrize(
    "body", [{}, {"answer": "maybe"}, {"answer": None}, {"answer": "safe", "x": 1}, [], "safe", 7]
)
def test_an_answer_that_is_none_is_refused(hall: Hub, client: FlaskClient, body: Any) -> None:
    (incident,) = incidents(client)
    assert post(client, f"/incidents/{incident['id']}/answer", body).status_code == 400
    assert incidents(client) == [incident]


@pytest.mark.parametrize("key", ["x", "x" * 5000, ulid(5).lower(), "%00", "..%2f..", "😀"])
def test_an_id_that_is_none_is_nobodys(hall: Hub, client: FlaskClient, key: str) -> None:
    assert client.get(f"{API}/incidents/{key}").status_code == 404
    assert post(client, f"/incidents/{key}/answer", {"answer": "safe"}).status_code == 404
    assert client.delete(f"{API}/drills/{key}").status_code == 404


def test_a_drill_is_started_seen_and_ended(hall: Hub, client: FlaskClient, as_person: Any) -> None:
    as_person(Role.OFFICER)
    body = {"zones": ["hall-2"], "minutes": 5, "note": "  spring drill  ", "sound": True}
    answer = post(client, "/drills", body)
    assert answer.status_code == 201
    drill = answer.json
    assert drill is not None
    assert (drill["zones"], drill["note"], drill["active"], drill["sound"]) == (
        ["hall-2"],
        "spring drill",
        True,
        True,
    )
    practice = next(one for one in incidents(client, "?active=true") if one["group"] == "drill")
    assert (practice["zone"], practice["drill"], practice["severity"]) == ("hall-2", True, "alarm")
    feed(hall, live(2, zone="hall-2", node="dock-2"))
    real = next(one for one in incidents(client, "?zone=hall-2") if one["group"] == "evacuate")
    assert real["drill"], "what sounds meanwhile is marked"
    ended = client.delete(f"{API}/drills/{drill['id']}").json
    assert ended is not None
    assert not ended["active"]
    assert client.delete(f"{API}/drills/{drill['id']}").json == ended
    assert client.get(f"{API}/drills").json == {"drills": [ended]}
    assert not client.get(f"{API}/incidents/{practice['id']}").json["active"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({"zones": ["hall-9"]}, "zones.0: there is no room in zone hall-9"),
        ({"zones": ["Hall 1"]}, "zones.0"),
        ({"zones": "hall-1"}, "zones"),
        ({"minutes": 0}, "minutes"),
        ({"minutes": 241}, "minutes"),
        ({"minutes": 1.5}, "minutes"),
        ({"note": "x" * 201}, "note"),
        ({"note": None}, "note"),
        ({"sound": "loud"}, "sound"),
        ({"zone": "hall-1"}, "zone"),
    ],
)
def test_a_drill_that_cannot_be_is_refused_by_name(
    hall: Hub, client: FlaskClient, body: dict[str, Any], word: str
) -> None:
    answer = post(client, "/drills", body)
    assert answer.status_code == (409 if body == {"zones": ["hall-9"]} else 400), (
        "409: well formed, but not there"
    )
    assert answer.json is not None
    assert word in answer.json["error"]["message"]
    assert client.get(f"{API}/drills").json == {"drills": []}


def test_a_drill_is_for_officers_and_only_in_their_zones(
    hall: Hub, client: FlaskClient, as_person: Any
) -> None:
    as_person(Role.WORKER)
    assert post(client, "/drills", {}).status_code == 403
    as_person(Role.ADMIN)
    everywhere = post(client, "/drills", {}).json
    assert everywhere is not None
    as_person(Role.OFFICER, "hall-1")
    assert post(client, "/drills", {"zones": ["hall-2"]}).status_code == 409
    own = post(client, "/drills", {}).json
    assert own is not None
    assert own["zones"] == ["hall-1"], "all that she sees"
    assert client.delete(f"{API}/drills/{everywhere['id']}").status_code == 404
    as_person(Role.WORKER, "hall-2")
    assert [one["id"] for one in client.get(f"{API}/drills").json["drills"]] == [everywhere["id"]]  # type: ignore[index]


def test_a_hub_without_rooms_has_no_drill(hub: Hub, client: FlaskClient) -> None:
    answer = post(client, "/drills", {"sound": True})
    assert (answer.status_code, "no room yet" in answer.text) == (409, True)


def test_nobody_asks_without_a_session(hall: Hub) -> None:
    stranger = hall.app.test_client()
    for path in ("/incidents", f"/incidents/{ulid(1)}", "/drills"):
        assert stranger.get(f"{API}{path}").status_code == 401
    assert stranger.post(f"{API}/drills", json={}).status_code == 401


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from(["/drills", "/incidents/{id}/answer", "/incidents/{id}/acknowledge"]),
    body=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["zones", "minutes", "note", "sound", "answer", "x"]), inner, max_size=4
            )
        ),
        max_leaves=8,
    )
    | st.binary(max_size=40),
)
def test_whatever_is_posted_is_answered(hall: Hub, client: FlaskClient, path: str, body: Any) -> None:
    incident = incidents(client)[-1]["id"]
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = client.post(f"{API}{path.format(id=incident)}", data=data, content_type="application/json")
    assert answer.status_code in {200, 201, 400}, answer.text
    assert answer.json is not None
