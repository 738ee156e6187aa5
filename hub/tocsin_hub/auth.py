"""Getting in: one-time login links, and the sessions that they open; getting out."""

import os
import secrets
from pathlib import Path

from flask import Blueprint, current_app, make_response, redirect, request, session, url_for
from flask.typing import ResponseReturnValue

from tocsin_hub.people import access, audit, keeping, sessions
from tocsin_hub.people.model import Person
from tocsin_hub.people.secret import TOKEN_BYTES, fresh, hashed
from tocsin_hub.recorder import Recorder
from tocsin_hub.services import services
from tocsin_hub.settings import WebSettings
from tocsin_hub.store import Store
from tocsin_shared.errors import UnavailableError

LINK_MINUTES = 15

auth = Blueprint("auth", __name__)


def make_login_link(
    recorder: Recorder, web: WebSettings, now_us: int, valid_minutes: int = LINK_MINUTES
) -> str:
    """A fresh link that logs an admin in, once; call it inside a transaction."""
    token = fresh()
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
    if len(key) < TOKEN_BYTES:
        raise UnavailableError(f"the hub's secret {path} is damaged; delete it, and everybody logs in anew")
    return key


def _make_secret(path: Path) -> None:
    made = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(secrets.token_bytes(TOKEN_BYTES))
        file.flush()
        os.fsync(file.fileno())
    try:
        # link() rather than replace(): of two processes that start together, the first one's key stays.
        path.hardlink_to(made)
    except FileExistsError:
        pass
    finally:
        made.unlink()


def open_session(recorder: Recorder, person: Person, origin: "Origin", now_us: int) -> None:
    """Open the session that ``origin`` asks for, inside a transaction."""
    made = sessions.made_for(
        person,
        origin.settings,
        hashed(origin.session_id),
        now_us,
        address=origin.address,
        device=origin.device,
    )
    sessions.open_session(recorder, made, person.role)


class Origin:
    """Where a session is opened; made in the request, used in the writer's thread."""

    def __init__(self) -> None:
        self.session_id = fresh()
        self.settings = services().settings.access
        self.address = audit.here()
        self.device = request.headers.get("User-Agent", "")

    def remember(self) -> str:
        """Put the new session into the cookie; the address of the page that was wanted before."""
        wanted = session.get(access.NEXT)
        session.clear()  # nothing of a stranger's cookie goes on, such as a session that was fixed for her
        session.permanent = True
        session["id"] = self.session_id
        if not isinstance(wanted, str) or not wanted.startswith("/") or wanted.startswith(("//", "/\\")):
            return "/"
        return wanted


@auth.route("/login/<token>", methods=["GET"])
def login(token: str) -> ResponseReturnValue:
    """Use a one-time link up and open a session of an admin."""
    # A HEAD request comes from a program that looks whether the link works; it must not use it up.
    if request.method == "HEAD":
        return "", 204
    hub = services()
    now_us, origin = hub.clock(), Origin()

    def use(recorder: Recorder) -> Person | None:
        if not recorder.use_login_link(hashed(token), now_us):
            return None
        person = keeping.unfinished_admin(recorder, now_us)
        open_session(recorder, person, origin, now_us)
        audit.note(recorder, person, "login.link", person.name, origin.device, address=origin.address)
        return person

    # Looked up first: whoever tries out links costs no write.
    if not link_is_good(hub.store, hashed(token), now_us) or hub.writer.call(use) is None:
        page = make_response(current_app.view_functions["pages.signed_out"]())
        page.status_code = 403
        return page
    wanted = origin.remember()
    return redirect(wanted if request.args.get("to") == "page" else url_for("entrance.welcome"))


def link_is_good(store: Store, token_sha256: str, now_us: int) -> bool:
    """Whether a login link could be used now."""
    sql = (
        "SELECT 1 FROM login_links "
        "WHERE token_sha256 = ? AND purpose = 'admin' AND used_us IS NULL AND expires_us > ?"
    )
    return bool(store.rows(sql, (token_sha256, now_us)))


@auth.post("/logout")
def logout() -> ResponseReturnValue:
    """Close the session, here and in the database, so that a copied cookie is worth nothing."""
    known = session.get("id")
    session.clear()
    if isinstance(known, str):
        services().writer.call(lambda recorder: sessions.close_session(recorder, hashed(known)))
    return redirect(url_for("pages.signed_out"))
