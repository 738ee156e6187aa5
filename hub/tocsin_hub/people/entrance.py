"""Pages of those who come in: logging in by a password, saying who one is, using an invitation."""

from dataclasses import dataclass

from flask import Blueprint, make_response, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from werkzeug.wrappers import Response

from tocsin_hub import i18n
from tocsin_hub.auth import Origin, open_session
from tocsin_hub.people import access, audit, invitations, keeping, passwords
from tocsin_hub.people.access import viewer
from tocsin_hub.people.invitations import Invitation
from tocsin_hub.people.keeping import Entry
from tocsin_hub.people.limits import limit
from tocsin_hub.people.model import Person, Role
from tocsin_hub.people.reading import Account
from tocsin_hub.people.rules import FieldError, check_password, clean_login, clean_name
from tocsin_hub.recorder import Recorder
from tocsin_hub.services import services

entrance = Blueprint("entrance", __name__)


@dataclass(frozen=True)
class Failed:
    """What was wrong with a form, to be told beside its field."""

    field: str
    key: str
    values: dict[str, object]


def _was_refused(response: Response) -> bool:
    return response.status_code >= 400


def _name_tried() -> str:
    return "login:" + request.form.get("login", "").strip().lower()[:64]


def _tries() -> str:
    return f"{services().settings.access.login_tries} per 15 minutes"


@entrance.get("/login")
def login() -> ResponseReturnValue:
    """The form to log in by a password."""
    return redirect("/") if access.current() else _login_form()


@entrance.post("/login")
@limit("40 per 15 minutes", counts=_was_refused)
@limit(_tries, by=_name_tried, counts=_was_refused)
def log_in() -> ResponseReturnValue:
    """Open a session for whoever knows the password. What was wrong is not said: name or password."""
    hub = services()
    known = _account_named(request.form.get("login", ""))
    password = request.form.get("password", "")
    verdict = passwords.check(password, known.password_hash if known else None, hub.settings.access)
    if known is None or not verdict.right:
        # A name that is not known may be a password in the wrong field: it is not written down.
        subject, address = (known.login or "" if known else "?"), audit.here()
        hub.writer.call(lambda recorder: audit.note(recorder, None, "login.failed", subject, address=address))
        return _login_form(failed=True), 403
    if verdict.better_hash:
        old, new = known.password_hash or "", verdict.better_hash
        hub.writer.call(lambda recorder: keeping.rehash(recorder, known.person.id, old, new))
    return enter(known.person, "login.password")


def _account_named(login: str) -> Account | None:
    try:
        known = services().people.account_by_login(clean_login(login))
    except FieldError:
        return None
    return known if known is not None and known.person.enabled else None


def enter(person: Person, how: str) -> Response:
    """Open a session for ``person`` and lead her to the page that she wanted."""
    hub, origin = services(), Origin()
    now_us = hub.clock()

    def write(recorder: Recorder) -> None:
        open_session(recorder, person, origin, now_us)
        audit.note(recorder, person, how, person.name, origin.device, address=origin.address)

    hub.writer.call(write)
    return greet(person, origin.remember())


def greet(person: Person, wanted: str) -> Response:
    """Lead a person who has just come in to a page, in her language."""
    answer = make_response(redirect(wanted))
    if person.language in i18n.LANGUAGES:
        i18n_cookie(answer, person.language)
    return answer


def i18n_cookie(answer: Response, language: str) -> None:
    """Remember a language in this browser."""
    answer.set_cookie(
        i18n.COOKIE,
        language,
        max_age=i18n.COOKIE_SECONDS,
        secure=request.is_secure,
        httponly=True,
        samesite="Lax",
    )


def _login_form(*, failed: bool = False) -> str:
    return render_template("login.html", failed=failed, tried=request.form.get("login", "")[:64])


@entrance.get("/welcome")
@access.page_for(Role.OFFICER)
def welcome() -> ResponseReturnValue:
    """Asks somebody who came by a link for her name and a password."""
    account = services().people.account(viewer().id)
    if account is None or account.login is not None:
        return redirect(url_for("people.account"))
    return _welcome_form()


@entrance.post("/welcome")
@access.page_for(Role.OFFICER)
def say_welcome() -> ResponseReturnValue:
    """Take name and password of somebody who came by a link."""
    hub, person = services(), viewer()
    account = hub.people.account(person.id)
    if account is None or account.login is not None:
        return redirect(url_for("people.account"))
    try:
        name, entry = clean_name(request.form.get("name", "")), read_entry()
        noted = audit.noting("person.password", name)

        def write(recorder: Recorder) -> None:
            keeping.set_entry(recorder, person.id, entry.login, entry.password_hash)
            keeping.change(recorder, person.id, name=name)
            noted(recorder)

        keeping.ask(hub.writer, write)
    except FieldError as error:
        return _welcome_form(failed_by(error)), 422
    return redirect("/")


def _welcome_form(failed: Failed | None = None) -> str:
    return render_template("welcome.html", failed=failed, given=request.form, least=_least())


def read_entry() -> Entry:
    """Login name and password in the form that was sent.

    Raises:
        FieldError: one of them cannot be taken.
    """
    settings = services().settings.access
    login, password = clean_login(request.form.get("login", "")), request.form.get("password", "")
    check_password(password, settings.password_length)
    if services().people.by_login(login) not in {None, access.current()}:
        raise FieldError("login", "people.login_taken", "somebody else has this login name")
    return Entry(login, passwords.hash_password(password, settings))


def _least() -> int:
    return services().settings.access.password_length


def failed_by(error: FieldError) -> Failed:
    """``error`` as a page tells it."""
    return Failed(error.field, error.key, error.values)


@entrance.get("/join/<token>")
@limit("60 per minute")
def join(token: str) -> ResponseReturnValue:
    """Shows what an invitation is for, and uses nothing up."""
    hub = services()
    invitation = invitations.find(hub.store, token, hub.clock())
    return _spent() if invitation is None else _join_form(invitation)


@entrance.post("/join/<token>")
@limit("30 per minute")
def accept(token: str) -> ResponseReturnValue:
    """Use an invitation up: a person is made, or gets in again, and a session is opened."""
    hub = services()
    invitation = invitations.find(hub.store, token, hub.clock())
    if invitation is None:
        return _spent()
    try:
        person = _let_in(invitation)
    except FieldError as error:
        return _join_form(invitation, failed_by(error)), 422
    if person is None:
        return _spent()
    session.pop(access.NEXT, None)
    return enter(person, "login.invitation")


def _let_in(invitation: Invitation) -> Person | None:
    hub = services()
    now_us, address = hub.clock(), audit.here()
    name = invitation.name if invitation.person else clean_name(request.form.get("name", ""))
    entry = _entry_for(invitation)

    def write(recorder: Recorder) -> Person | None:
        if not invitations.is_good(recorder, invitation, now_us):
            return None
        person = _person_for(recorder, invitation, name, entry, now_us)
        if person is not None:
            invitations.use(recorder, invitation, now_us)
            audit.note(recorder, person, "person.joined", person.id, person.name, address=address)
        return person

    return keeping.ask(hub.writer, write)


def _entry_for(invitation: Invitation) -> Entry:
    if not invitation.needs_password:
        return Entry()
    known = services().people.account(invitation.person) if invitation.person else None
    if known is None or known.login is None:
        return read_entry()
    password, settings = request.form.get("password", ""), services().settings.access
    check_password(password, settings.password_length)
    return Entry(known.login, passwords.hash_password(password, settings))


def _person_for(
    recorder: Recorder, invitation: Invitation, name: str, entry: Entry, now_us: int
) -> Person | None:
    """The person who comes in; ``None`` if she was disabled since she was invited."""
    if invitation.person is None:
        made = Person(id="", name=name, role=invitation.role, zones=invitation.zones)
        return keeping.add(recorder, made, entry, now_us)
    account = keeping.account(recorder, invitation.person)
    if account is None or not account.person.enabled:
        return None
    if invitation.needs_password:
        keeping.set_entry(recorder, invitation.person, entry.login, entry.password_hash)
        keeping.end_access(recorder, invitation.person, but_sha256=invitation.token_sha256)
    return account.person


def _join_form(invitation: Invitation, failed: Failed | None = None) -> str:
    known = services().people.account(invitation.person) if invitation.person else None
    return render_template(
        "join.html",
        invitation=invitation,
        login=known.login if known else None,
        failed=failed,
        given=request.form,
        least=_least(),
    )


def _spent() -> ResponseReturnValue:
    return render_template("login.html", invitation_spent=True), 403
