"""API tokens: a program acts for a person, as far as its scopes go."""

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.hub.parts import log_in, person, submit
from tocsin_hub.people import keeping, tokens
from tocsin_hub.people.model import Person, Role
from tocsin_hub.people.secret import hashed
from tocsin_hub.people.tokens import Scope
from tocsin_hub.root import Hub
from tocsin_hub.times import now_us

DAY_US = 86_400 * 1_000_000


def token(hub: Hub, who: Person, *scopes: Scope, days: int | None = None) -> str:
    ends_us = None if days is None else now_us() + days * DAY_US
    return hub.writer.call(
        lambda recorder: tokens.add(
            recorder, "prometheus", who.id, scopes or [Scope.READ], now_us=now_us(), expires_us=ends_us
        )
    )


def ask(hub: Hub, sent: str, method: str = "GET", path: str = "/api/v1/rooms") -> TestResponse:
    client: FlaskClient = hub.app.test_client()
    return client.open(
        path, method=method, headers={"Authorization": sent}, json={} if method != "GET" else None
    )


def test_a_token_reads_for_its_person(hub: Hub) -> None:
    made = token(hub, person(hub))
    assert made.startswith("tocsin_")
    assert len(made) == 50
    assert ask(hub, f"Bearer {made}").status_code == 200
    assert ask(hub, f"bearer  {made}").status_code == 200
    hub.writer.call(lambda _: None)
    (known,) = tokens.tokens(hub.services.store)
    assert known.used_us is not None


@pytest.mark.parametrize(
    "sent",
    ["", "Bearer", "Bearer x", "Basic dXNlcjpwYXNz", "Bearer tocsin_" + "a" * 43, "Bearer \x7f", "a" * 5000],
)
def test_anything_else_is_refused(hub: Hub, sent: str) -> None:
    token(hub, person(hub))
    answer = ask(hub, sent)
    assert (answer.status_code, answer.json["error"]["code"]) == (401, "bad_token")  # type: ignore[index]


def test_a_bad_token_is_refused_even_beside_a_good_session(hub: Hub) -> None:
    answer = log_in(hub).get("/api/v1/rooms", headers={"Authorization": "Bearer tocsin_x"})
    assert answer.status_code == 401


def test_a_token_opens_no_page(hub: Hub) -> None:
    made = token(hub, person(hub, role=Role.ADMIN), *Scope)
    for path in ("/", "/history", "/admin/people", "/account"):
        assert ask(hub, f"Bearer {made}", path=path).location == "/signed-out"


def test_scopes_hold(hub: Hub) -> None:
    hub.app.add_url_rule("/api/v1/echo", "api.echo", lambda: {"done": "yes"}, methods=["POST", "DELETE"])
    hub.app.add_url_rule("/api/v1/echo/answer", "api.answer", lambda: {"done": "yes"}, methods=["POST"])
    who = person(hub, role=Role.ADMIN)
    made = {scope: token(hub, who, scope) for scope in Scope}
    good = {
        ("GET", "/api/v1/rooms"): Scope.READ,
        ("POST", "/api/v1/echo"): Scope.MANAGE,
        ("DELETE", "/api/v1/echo"): Scope.MANAGE,
        ("POST", "/api/v1/echo/answer"): Scope.ANSWER,
    }
    for (method, path), needed in good.items():
        for scope, sent in made.items():
            answer = ask(hub, f"Bearer {sent}", method, path)
            assert answer.status_code == (200 if scope is needed else 403), (method, path, scope)
            if scope is not needed:
                assert f"needs a token with the scope {needed}" in answer.text


def test_a_token_ends_with_its_time_its_person_and_its_revocation(hub: Hub) -> None:
    person(hub, "Boss", role=Role.ADMIN)
    mina = person(hub)
    ends, stays = token(hub, mina, days=3), token(hub, mina)
    later = now_us() + 4 * DAY_US
    object.__setattr__(hub.services, "clock", lambda: later)
    assert ask(hub, f"Bearer {ends}").status_code == 401
    assert ask(hub, f"Bearer {stays}").status_code == 200
    key = next(one.id for one in tokens.tokens(hub.services.store) if one.expires_us is None)
    assert hub.writer.call(lambda recorder: tokens.revoke(recorder, key, later))
    assert not hub.writer.call(lambda recorder: tokens.revoke(recorder, key, later))
    assert ask(hub, f"Bearer {stays}").status_code == 401
    third = token(hub, mina)
    assert ask(hub, f"Bearer {third}").status_code == 200
    hub.writer.call(lambda recorder: keeping.disable(recorder, mina.id))
    assert ask(hub, f"Bearer {third}").status_code == 401


def test_a_token_sees_the_zones_of_its_person(hub: Hub) -> None:
    made = token(hub, person(hub, zones=frozenset({"hall-9"})))
    answer = ask(hub, f"Bearer {made}", path="/api/v1/events?after=0")
    assert answer.json["events"] == []  # type: ignore[index]


def test_a_token_is_shown_once_and_only_its_hash_is_kept(hub: Hub) -> None:
    client = log_in(hub)
    html = submit(client, "/admin/tokens", name="prometheus", scopes=["read", "metrics"], days="30").text
    made = html.split('id="made-token"')[1].split('value="')[1].split('"')[0]
    assert ask(hub, f"Bearer {made}").status_code == 200
    assert made not in client.get("/admin/tokens").text
    ((kept,),) = hub.services.store.rows("SELECT token_sha256 FROM api_tokens")
    assert kept == hashed(made)
    (known,) = tokens.tokens(hub.services.store)
    assert known.scopes == {Scope.READ, Scope.METRICS}
    assert submit(client, f"/admin/tokens/{known.id}/revoke").status_code == 302
    assert ask(hub, f"Bearer {made}").status_code == 401
    assert submit(client, f"/admin/tokens/{known.id}/revoke").status_code == 404


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"name": "", "scopes": "read"}, "name"),
        ({"name": "x"}, "scopes"),
        ({"name": "x", "scopes": "everything"}, "scopes"),
        ({"name": "x", "scopes": "read", "days": "-1"}, "days"),
        ({"name": "x", "scopes": "read", "days": "99999"}, "days"),
        ({"name": "x", "scopes": "read", "days": "²"}, "days"),
    ],
)
def test_what_is_wrong_is_said_beside_its_field(hub: Hub, fields: dict[str, str], wrong: str) -> None:
    answer = submit(log_in(hub), "/admin/tokens", **fields)
    assert answer.status_code == 422
    assert f'id="wrong-{wrong}"' in answer.text
    assert tokens.tokens(hub.services.store) == []
