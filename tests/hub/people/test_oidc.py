"""Logging in at an identity provider: a small real one, over HTTP, with signed tokens."""

import base64
import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from flask.testing import FlaskClient
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey
from werkzeug.test import TestResponse

from tests.hub.parts import log_in_as, person
from tests.hub.people.conftest import CHEAP
from tocsin_hub.people import audit, keeping
from tocsin_hub.people.model import Person, Role
from tocsin_hub.people.oidc import person_of
from tocsin_hub.root import Hub, build
from tocsin_hub.settings import HubSettings, OidcSettings
from tocsin_shared.errors import BadInputError, SettingsError

SECRET = "what only hub and provider know"  # noqa: S105  # pragma: allowlist secret
KEY, STRANGER = RSAKey.generate_key(2048), RSAKey.generate_key(2048)


@dataclass
class Provider:
    """An identity provider. ``twist`` changes the claims of the next token, ``sign`` how it is signed."""

    address: str = ""
    claims: dict[str, Any] = field(
        default_factory=lambda: {"sub": "42", "name": "Mina Kim", "groups": ["all", "tocsin-officers"]}
    )
    twist: dict[str, Any] = field(default_factory=dict)
    sign: Callable[[dict[str, Any]], str] = lambda claims: jwt.encode(
        {"alg": "RS256", "kid": "1"}, claims, KEY
    )
    name: str = ""
    asked: dict[str, str] = field(default_factory=dict)
    """What the hub asked for when it sent the browser here."""
    refused: list[str] = field(default_factory=list)

    def metadata(self) -> dict[str, Any]:
        return {
            "issuer": self.name or self.address,
            "authorization_endpoint": f"{self.address}/authorize",
            "token_endpoint": f"{self.address}/token",
            "jwks_uri": f"{self.address}/keys",
            "id_token_signing_alg_values_supported": ["RS256", "HS256", "none"],
        }

    def keys(self) -> dict[str, Any]:
        return {"keys": [{**KEY.as_dict(private=False), "kid": "1", "use": "sig", "alg": "RS256"}]}

    def token(self, form: dict[str, list[str]], credentials: str) -> dict[str, Any] | None:
        """A token for the code of this login; ``None`` if whoever asks is not the hub that began it."""
        digest = hashlib.sha256(form.get("code_verifier", [""])[0].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        expected = "Basic " + base64.b64encode(f"tocsin:{SECRET.replace(' ', '+')}".encode()).decode()
        plain = "Basic " + base64.b64encode(f"tocsin:{SECRET}".encode()).decode()
        if credentials not in {expected, plain} or challenge != self.asked.get("code_challenge"):
            self.refused.append(credentials)
            return None
        now = int(time.time())
        claims = {
            "iss": self.address, "aud": "tocsin", "iat": now, "exp": now + 300,
            "nonce": self.asked.get("nonce"), **self.claims, **self.twist,
        }  # fmt: skip
        sent = {"access_token": "a", "token_type": "Bearer", "id_token": self.sign(claims)}
        return {name: value for name, value in sent.items() if value}


def handler_of(provider: Provider) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = {"/.well-known/openid-configuration": provider.metadata, "/keys": provider.keys}
            self._say(200, known[self.path]())

        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            answer = provider.token(form, self.headers.get("Authorization", ""))
            self._say(200 if answer else 401, answer or {"error": "invalid_client"})

        def _say(self, status: int, body: dict[str, Any]) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler


@pytest.fixture
def provider() -> Iterator[Provider]:
    made = Provider()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(made))
    made.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield made
    server.shutdown()
    server.server_close()
    thread.join(10)


@pytest.fixture
def hub(tmp_path: Path, provider: Provider) -> Iterator[Hub]:
    (tmp_path / "oidc.secret").write_text(SECRET + "\n", encoding="utf-8")
    oidc = OidcSettings(
        issuer=provider.address,
        client_secret_file=tmp_path / "oidc.secret",
        name="Works",
        zones_claim="zones",
    )
    made = build(HubSettings(state_folder=tmp_path / "state", access=CHEAP, oidc=oidc))
    made.writer.start(made.ingest.settle)
    yield made
    made.writer.stop()
    made.services.store.close()


def go(hub: Hub, provider: Provider, client: FlaskClient | None = None, **changes: Any) -> TestResponse:
    """Log in at the provider, as a browser would; ``changes`` are what comes back otherwise."""
    client = client or hub.app.test_client()
    address = client.get("/oidc/start").location
    assert address.startswith(f"{provider.address}/authorize?")
    provider.asked = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
    assert provider.asked["redirect_uri"] == f"{hub.services.settings.web.origin}/oidc/back"
    sent = {"code": "c", "state": provider.asked["state"], **changes}
    return client.get("/oidc/back", query_string=sent)


def test_an_account_of_the_company_opens_a_session(hub: Hub, provider: Provider) -> None:
    provider.claims["zones"] = ["hall-1"]
    client = hub.app.test_client()
    assert "/oidc/start" in client.get("/login").text
    assert client.get("/history?label=siren").status_code == 302
    answer = go(hub, provider, client)
    assert (answer.status_code, answer.location) == (302, "/history?label=siren")
    assert client.get("/api/v1/rooms").status_code == 200
    (mina,) = hub.services.people.all()
    assert (mina.name, mina.role, mina.zones) == ("Mina Kim", Role.OFFICER, frozenset({"hall-1"}))


def test_role_and_zones_are_those_of_the_last_login(hub: Hub, provider: Provider) -> None:
    provider.claims["zones"] = ["hall-1"]
    go(hub, provider)
    (before,) = hub.services.people.all()
    provider.claims |= {"groups": "tocsin-workers", "zones": ["yard", "hall-1"], "name": "Mina K."}
    go(hub, provider)
    (after,) = hub.services.people.all()
    assert after == Person(before.id, "Mina K.", Role.WORKER, zones=frozenset({"yard", "hall-1"}))


def test_the_last_admin_stays_one_whatever_the_provider_says(hub: Hub, provider: Provider) -> None:
    provider.claims["groups"] = ["tocsin-admins"]
    go(hub, provider)
    provider.claims |= {"groups": ["tocsin-workers"], "zones": ["hall-1"]}
    assert go(hub, provider).status_code == 302
    (boss,) = hub.services.people.all()
    assert boss.role is Role.ADMIN


def test_who_was_shut_out_here_stays_out(hub: Hub, provider: Provider) -> None:
    provider.claims["zones"] = ["hall-1"]
    go(hub, provider)
    (mina,) = hub.services.people.all()
    hub.writer.call(lambda recorder: keeping.disable(recorder, mina.id))
    assert go(hub, provider).status_code == 403


def unsigned(claims: dict[str, Any]) -> str:
    """A token that says that it needs no signature."""
    parts = [{"alg": "none"}, claims]
    return (
        ".".join(base64.urlsafe_b64encode(json.dumps(p).encode()).decode().rstrip("=") for p in parts) + "."
    )


LATE = {"exp": 1_700_000_000, "iat": 1_699_999_000}


@pytest.mark.parametrize(
    ("twist", "sign", "why"),
    [
        ({"aud": "another-hub"}, None, "Claim"),
        ({"aud": "another-hub", "azp": "tocsin"}, None, "another client"),
        ({"aud": ["another-hub", "third"], "azp": "tocsin"}, None, "another client"),
        ({"iss": "https://evil.example"}, None, "InvalidClaim"),
        ({"nonce": "of another login"}, None, "InvalidClaim"),
        ({"nonce": None}, None, "InvalidClaim"),
        (LATE, None, "ExpiredToken"),
        ({"groups": ["all"]}, None, "names no role"),
        ({"groups": None}, None, "names no role"),
        ({"zones": []}, None, "names no zone"),
        ({"zones": ["Hall 1!"]}, None, "zones: a zone is"),
        ({"sub": None}, None, "InvalidClaim"),
        ({}, lambda claims: jwt.encode({"alg": "RS256", "kid": "1"}, claims, STRANGER), "BadSignature"),
        (
            {},
            lambda claims: jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(SECRET)),
            "UnsupportedAlgorithm",
        ),
        ({}, unsigned, "UnsupportedAlgorithm"),
        ({}, lambda _: "not.a.token", "Decode"),
        ({}, lambda _: "", "KeyError"),
    ],
)
def test_what_does_not_fit_lets_nobody_in(
    hub: Hub,
    provider: Provider,
    twist: dict[str, Any],
    sign: Callable[[dict[str, Any]], str] | None,
    why: str,
) -> None:
    provider.claims["zones"] = ["hall-1"]
    provider.twist = twist
    provider.sign = sign or provider.sign
    client = hub.app.test_client()
    answer = go(hub, provider, client)
    assert answer.status_code == 403
    assert "Works" in answer.text
    assert client.get("/api/v1/rooms").status_code == 401
    assert hub.services.people.all() == ()
    assert provider.refused == [], "it was the hub that refused"
    (line,) = audit.lines(hub.services.store)
    assert (line.action, line.subject) == ("login.failed", "oidc")
    assert why in line.detail


@pytest.mark.parametrize("changes", [{"state": "made-up"}, {"state": ""}, {"error": "access_denied"}])
def test_an_answer_that_nobody_asked_for_lets_nobody_in(
    hub: Hub, provider: Provider, changes: dict[str, Any]
) -> None:
    provider.claims["zones"] = ["hall-1"]
    assert go(hub, provider, **changes).status_code == 403
    assert hub.app.test_client().get("/oidc/back?code=c&state=x").status_code == 403
    assert hub.services.people.all() == ()


def test_an_answer_of_another_browser_lets_nobody_in(hub: Hub, provider: Provider) -> None:
    """Whoever makes somebody open the end of a login of one's own cannot log her in as oneself."""
    provider.claims["zones"] = ["hall-1"]
    mine = hub.app.test_client()
    address = mine.get("/oidc/start").location
    state = parse_qs(urlsplit(address).query)["state"][0]
    assert hub.app.test_client().get(f"/oidc/back?code=c&state={state}").status_code == 403


def test_a_provider_with_another_name_or_none_at_all_is_told(hub: Hub, provider: Provider) -> None:
    provider.name = "https://evil.example"
    assert hub.app.test_client().get("/oidc/start").status_code == 403
    person(hub, "Boss", role=Role.ADMIN)
    assert log_in_as(hub, person(hub)).get("/").status_code == 200, "who is in stays in"


def test_a_secret_that_is_not_there_is_named(tmp_path: Path) -> None:
    oidc = OidcSettings(issuer="https://id.example.org", client_secret_file=tmp_path / "none")
    with pytest.raises(SettingsError, match=r"client_secret_file: .*none cannot be read"):
        build(HubSettings(state_folder=tmp_path / "state", oidc=oidc))


def test_without_a_claim_for_zones_everybody_sees_all() -> None:
    settings = OidcSettings()
    made = person_of({"sub": "1", "groups": "tocsin-workers", "name": "  "}, settings)
    assert (made.name, made.role, made.zones) == ("1", Role.WORKER, frozenset())
    with pytest.raises(BadInputError, match="names no role"):
        person_of({"sub": "1", "groups": {"tocsin-admins": True}}, settings)
