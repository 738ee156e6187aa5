"""Who may look: one-time login links, and the sessions that they open.

A link's token and a session's id are 32 random bytes each; the database keeps only their SHA-256, so
that a stolen copy of it opens nothing.
"""

import hashlib
import os
import secrets
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import ParamSpec

from flask import Blueprint, current_app, make_response, redirect, request, session, url_for
from flask.typing import ResponseReturnValue

from tocsin_hub.recorder import Recorder
from tocsin_hub.services import services
from tocsin_hub.settings import WebSettings
from tocsin_shared.errors import UnavailableError

P = ParamSpec("P")
LINK_MINUTES = 15
SESSION_DAYS = 30
OFFICER = "officer"
_TOKEN_BYTES = 32

auth = Blueprint("auth", __name__)


def hashed(token: str) -> str:
    """What the database keeps of a token."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def make_login_link(
    recorder: Recorder, web: WebSettings, now_us: int, valid_minutes: int = LINK_MINUTES
) -> str:
    """A fresh link that logs one person in, once; call it inside a transaction."""
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    recorder.add_login_link(hashed(token), now_us, now_us + valid_minutes * 60 * 1_000_000)
    return f"{web.origin}/login/{token}"


def secret_key(folder: Path) -> bytes:
    """The key that signs cookies; made once, readable by the hub's user only.

    Raises:
        UnavailableError: it can neither be read nor made.
    """
    path = folder / "secret.key"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.exists():
            _make_secret(path)
        key = path.read_bytes()
    except OSError as error:
        raise UnavailableError(f"the hub's secret {path} cannot be used: {error.strerror}") from error
    if len(key) < _TOKEN_BYTES:
        raise UnavailableError(f"the hub's secret {path} is damaged; delete it, and everybody logs in anew")
    return key


def _make_secret(path: Path) -> None:
    made = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(secrets.token_bytes(_TOKEN_BYTES))
        file.flush()
        os.fsync(file.fileno())
    try:
        # link() rather than replace(): of two processes that start together, the first one's key stays.
        path.hardlink_to(made)
    except FileExistsError:
        pass
    finally:
        made.unlink()


def is_logged_in() -> bool:
    """Whether the current request comes with an open session."""
    known = session.get("id")
    if not isinstance(known, str) or session.get("role") != OFFICER:
        return False
    hub = services()
    return hub.store.session_is_open(hashed(known), hub.clock())


def login_required(view: Callable[P, ResponseReturnValue]) -> Callable[P, ResponseReturnValue]:
    """Sends whoever is not logged in to ``/signed-out`` instead of to the page ``view``."""

    @wraps(view)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> ResponseReturnValue:
        return view(*args, **kwargs) if is_logged_in() else redirect(url_for("pages.signed_out"))

    return guarded


@auth.route("/login/<token>", methods=["GET"])
def login(token: str) -> ResponseReturnValue:
    """Use a one-time link up and open a session."""
    # A HEAD request comes from a program that looks whether the link works; it must not use it up.
    if request.method == "HEAD":
        return "", 204
    hub = services()
    now_us = hub.clock()
    session_id = secrets.token_urlsafe(_TOKEN_BYTES)

    def use(recorder: Recorder) -> bool:
        if not recorder.use_login_link(hashed(token), now_us):
            return False
        expires_us = now_us + SESSION_DAYS * 86_400 * 1_000_000
        recorder.open_session(hashed(session_id), OFFICER, now_us, expires_us)
        return True

    if not hub.writer.call(use):
        page = make_response(current_app.view_functions["pages.signed_out"]())
        page.status_code = 403
        return page
    session.clear()
    session.permanent = True
    session.update(id=session_id, role=OFFICER)
    return redirect("/")


@auth.post("/logout")
def logout() -> ResponseReturnValue:
    """Close the session, here and in the database, so that a copied cookie is worth nothing."""
    known = session.get("id")
    session.clear()
    if isinstance(known, str):
        services().writer.call(lambda recorder: recorder.close_session(hashed(known)))
    return redirect(url_for("pages.signed_out"))
