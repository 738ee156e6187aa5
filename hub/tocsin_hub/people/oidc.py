"""Logging in with the account of a company: OpenID Connect, authorization code flow with PKCE.

Imported only where ``[oidc]`` names an issuer; needs the extra ``oidc``. Role and zones are what the
provider says at each login. Where it says nothing that fits, nobody gets in.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import requests
from authlib.integrations.base_client import OAuthError
from authlib.integrations.flask_client import OAuth
from flask import Blueprint, Flask, current_app, render_template
from flask.typing import ResponseReturnValue
from joserfc.errors import JoseError

from tocsin_hub.people import audit, keeping
from tocsin_hub.people.entrance import enter
from tocsin_hub.people.keeping import Entry
from tocsin_hub.people.limits import limit
from tocsin_hub.people.model import Person, Role
from tocsin_hub.people.reading import COLUMNS, account_from_row
from tocsin_hub.people.rules import FieldError, clean_name, clean_zones
from tocsin_hub.recorder import Recorder
from tocsin_hub.services import services
from tocsin_hub.settings import OidcSettings
from tocsin_shared.errors import BadInputError, SettingsError

Claims = Mapping[str, Any]
_TIMEOUT_SECONDS = 5.0
_LEEWAY_SECONDS = 30
_SIGNATURES = {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
"""Only those that need the provider's private key: never none, never one that the client secret makes."""

oidc = Blueprint("oidc", __name__, url_prefix="/oidc")


def attach(app: Flask, settings: OidcSettings) -> None:
    """Let people log in at the provider that ``settings`` name.

    Raises:
        SettingsError: the file of the client secret cannot be read.
    """
    provider = OAuth(app)
    provider.register(
        "company",
        server_metadata_url=f"{settings.issuer.rstrip('/')}/.well-known/openid-configuration",
        client_id=settings.client_id,
        client_secret=_secret(settings.client_secret_file),
        client_kwargs={
            "scope": settings.scope,
            "code_challenge_method": "S256",
            "default_timeout": _TIMEOUT_SECONDS,
        },
    )
    app.extensions["tocsin_oidc"] = provider.company
    app.register_blueprint(oidc)


def _secret(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"oidc.client_secret_file: {path} cannot be read: {error}") from error


@oidc.get("/start")
@limit("60 per 15 minutes")
def start() -> ResponseReturnValue:
    """Sends the browser to the provider."""
    try:
        client = _client()
        answer: ResponseReturnValue = client.authorize_redirect(f"{services().settings.web.origin}/oidc/back")
    except (OAuthError, requests.RequestException, ValueError, KeyError, RuntimeError) as error:
        return _failed(type(error).__name__)
    return answer


@oidc.get("/back")
@limit("60 per 15 minutes")
def back() -> ResponseReturnValue:
    """Takes what the provider says about whoever comes back from it."""
    hub = services()
    try:
        token = _client().authorize_access_token(leeway=_LEEWAY_SECONDS)
        claims = token["userinfo"]
        _check_audience(claims, hub.settings.oidc.client_id)
        person = person_of(claims, hub.settings.oidc)
    except (OAuthError, JoseError, requests.RequestException, ValueError, KeyError, RuntimeError) as error:
        return _failed(type(error).__name__)
    except BadInputError as error:
        return _failed(str(error))
    known = _known(claims, person)
    return _failed("shut out") if known is None else enter(known, "login.oidc")


def _client() -> Any:
    """The client, once it is sure to speak with the issuer that the settings name.

    Raises:
        ValueError: the provider calls itself otherwise, or signs only in ways that prove nothing.
    """
    client: Any = current_app.extensions["tocsin_oidc"]
    metadata = client.load_server_metadata()
    if metadata.get("issuer") != services().settings.oidc.issuer:
        raise ValueError("the provider has another name than oidc.issuer")
    offered = set(metadata.get("id_token_signing_alg_values_supported") or ["RS256"])
    if not offered & _SIGNATURES:
        raise ValueError("the provider offers no signature that proves anything")
    metadata["id_token_signing_alg_values_supported"] = sorted(offered & _SIGNATURES)
    return client


def _check_audience(claims: Claims, client_id: str) -> None:
    """Refuse a token that was made for another client (OpenID Connect Core 1.0, 3.1.3.7, step 3).

    Raises:
        BadInputError: it was.
    """
    audience = claims.get("aud")
    if client_id not in (audience if isinstance(audience, list) else [audience]):
        raise BadInputError("the token was made for another client")


def _failed(why: str) -> ResponseReturnValue:
    address = audit.here()
    services().writer.call(
        lambda recorder: audit.note(recorder, None, "login.failed", "oidc", why, address=address)
    )
    return render_template("login.html", oidc_failed=True), 403


def _known(claims: Claims, person: Person) -> Person | None:
    """The person whom the provider means, added or brought up to date; ``None`` if she was shut out."""
    hub = services()
    subject, now_us = f"{claims['iss']} {claims['sub']}", hub.clock()

    def write(recorder: Recorder) -> Person | None:
        sql = f"SELECT {COLUMNS} FROM people WHERE subject = ?"  # noqa: S608
        row = recorder.database.execute(sql, (subject,)).fetchone()
        if row is None:
            return keeping.add(recorder, person, Entry(subject=subject), now_us)
        before = account_from_row(row).person
        if not before.enabled:
            return None
        changes = {"name": person.name, "role": person.role, "zones": person.zones}
        if all(getattr(before, name) == value for name, value in changes.items()):
            return before
        try:
            return keeping.change(recorder, before.id, **changes)
        except FieldError:  # the last admin stays one, so that somebody can put right what the provider says
            return before

    return hub.writer.call(write)


def person_of(claims: Claims, settings: OidcSettings) -> Person:
    """The person whom ``claims`` describe.

    Raises:
        BadInputError: they give her no role, or no zones where zones are wanted.
    """
    role = next(
        (role for role, names in _roles(settings) if names & _texts(claims, settings.role_claim)), None
    )
    if role is None:
        raise BadInputError(f"the claim {settings.role_claim!r} names no role")
    zones = clean_zones(_texts(claims, settings.zones_claim)) if settings.zones_claim else frozenset()
    if settings.zones_claim and not zones and role is not Role.ADMIN:
        raise BadInputError(f"the claim {settings.zones_claim!r} names no zone")
    names = [str(claims.get(claim) or "").strip()[:80] for claim in ("name", "preferred_username", "sub")]
    return Person(id="", name=clean_name(next(filter(None, names), "")), role=role, zones=zones)


def _roles(settings: OidcSettings) -> Iterable[tuple[Role, set[str]]]:
    return zip(Role, (set(settings.admins), set(settings.officers), set(settings.workers)), strict=True)


def _texts(claims: Claims, name: str) -> set[str]:
    value = claims.get(name)
    values = value if isinstance(value, list) else [value]
    return {one for one in values if isinstance(one, str)}
