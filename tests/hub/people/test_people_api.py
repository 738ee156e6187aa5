"""Persons over HTTP."""

from typing import Any

import pytest

from tests.hub.parts import log_in, log_in_as, person
from tocsin_hub.people import audit
from tocsin_hub.people.model import Role
from tocsin_hub.root import Hub


def test_whoever_asks_is_told_who_she_is(hub: Hub) -> None:
    mina = person(hub, "Mina", role=Role.WORKER, zones=frozenset({"yard", "hall-1"}), language="ko")
    answer = log_in_as(hub, mina).get("/api/v1/me").get_json()
    assert answer == {
        "id": mina.id,
        "name": "Mina",
        "role": "worker",
        "zones": ["hall-1", "yard"],
        "language": "ko",
        "enabled": True,
    }


def test_an_admin_of_all_zones_lists_and_invites(hub: Hub) -> None:
    boss = log_in(hub)
    person(hub, "Mina")
    assert [one["name"] for one in boss.get("/api/v1/people").get_json()["people"]] == ["Admin", "Mina"]
    answer = boss.post("/api/v1/people/invitations", json={"name": " Jun ", "zones": ["hall-1"]})
    assert answer.status_code == 201
    path = answer.get_json()["address"].removeprefix(hub.services.settings.web.origin)
    assert "Jun" in hub.app.test_client().get(path).text
    assert [line.detail for line in audit.lines(hub.services.store, action="person")] == [
        "worker; zones: hall-1"
    ]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": "\u202e"},
        {"name": "x" * 81},
        {"name": "x", "role": "king"},
        {"name": 1},
        [],
        {"name": "x", "zones": ["Hall 1!"]},
        {"name": "x", "zones": "hall-1"},
        {"name": "x", "more": 1},
    ],
)
def test_what_is_wrong_is_named(hub: Hub, body: Any) -> None:
    answer = log_in(hub).post("/api/v1/people/invitations", json=body)
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (400, "bad_parameter")


@pytest.mark.parametrize(
    ("role", "zones"), [(Role.WORKER, []), (Role.OFFICER, []), (Role.ADMIN, ["hall-1"])], ids=str
)
def test_others_neither_list_nor_invite(hub: Hub, role: Role, zones: list[str]) -> None:
    client = log_in_as(hub, person(hub, role=role, zones=frozenset(zones)))
    assert client.get("/api/v1/people").status_code == 403
    assert client.post("/api/v1/people/invitations", json={"name": "x"}).status_code == 403
