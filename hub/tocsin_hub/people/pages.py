"""Pages about persons: one's own, and those on which an admin keeps people, tokens and the audit log."""

import csv
import io
import logging
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import ParamSpec

from flask import Blueprint, Response, abort, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from markupsafe import Markup

from tocsin_hub import i18n
from tocsin_hub.people import access, audit, invitations, keeping, passwords, rules, sessions, tokens
from tocsin_hub.people.access import View, viewer
from tocsin_hub.people.entrance import Failed, failed_by, i18n_cookie
from tocsin_hub.people.limits import by_person, limit
from tocsin_hub.people.model import Person, Role
from tocsin_hub.people.reading import Account
from tocsin_hub.people.rules import FieldError
from tocsin_hub.people.sessions import DAY_US
from tocsin_hub.people.tokens import Scope
from tocsin_hub.recorder import Recorder
from tocsin_hub.services import services
from tocsin_hub.settings import WebSettings
from tocsin_hub.times import from_us, iso
from tocsin_shared.errors import UnavailableError
from tocsin_shared.events import TroubleKind
from tocsin_shared.labels import SEVERITIES, Severity

log = logging.getLogger(__name__)
P = ParamSpec("P")
people = Blueprint("people", __name__)
AUDIT_ROWS = 100
_CSV_ROWS = 10_000
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""A cell that begins with one of these would be computed by a spreadsheet."""
MUTABLE = tuple(
    label for label, severity in SEVERITIES.items() if severity in {Severity.WARNING, Severity.NOTICE}
)
"""What a person may mute beside troubles; alarms are never muted."""


@dataclass(frozen=True)
class SiteTrust:
    """The certificate of the site's own authority, for phones."""

    address: str
    qr: str
    fingerprint: str
    """SHA-256 as phones show it: pairs of digits, in lines of eight."""


@dataclass(frozen=True)
class Invited:
    """An invitation that was just made; its address is seen this once."""

    name: str
    address: str
    qr: str
    """An SVG element of our own making."""
    trust: SiteTrust | None = None
    """What the phone must install first, where the site has a certificate authority of its own."""


def for_admin(view: View[P]) -> View[P]:
    """Shows a page to admins of the whole site: who sees some zones only lets nobody else in."""

    @wraps(view)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> ResponseReturnValue:
        return view(*args, **kwargs) if not viewer().zones else access.refused()

    return access.page_for(Role.ADMIN)(guarded)


@people.app_template_filter("moment")
def _moment(us: int) -> dict[str, str]:
    """A time for ``<time>``: in ISO 8601, and in words."""
    return {"iso": iso(us) or "", "utc": f"{from_us(us):%Y-%m-%d %H:%M}"}


@people.app_template_global()
def describing(failed: Failed | None, name: str, hint: str) -> Markup:
    """Attributes that tie a field to what is wrong with it and to its hint."""
    wrong = failed is not None and failed.field == name
    ids = " ".join([f"wrong-{name}"] * wrong + [f"hint-{name}"] * bool(hint))
    described = Markup(' aria-describedby="{}"').format(ids) if ids else Markup()
    return described + Markup(' aria-invalid="true"') if wrong else described


@people.app_context_processor
def _who_looks() -> dict[str, Person | None]:
    try:
        return {"viewer": access.current()}
    except UnavailableError:  # the page that says so must be shown all the same
        return {"viewer": None}


# One's own page


@people.get("/account")
@access.login_required
def account() -> ResponseReturnValue:
    """Who one is, one's language, password and sessions."""
    return _account_page()


@people.post("/account/language")
@access.login_required
def set_language() -> ResponseReturnValue:
    """Choose the language in which one is told of alarms, and in which the pages are."""
    wanted = request.form.get("language", "")
    language = wanted if wanted in i18n.LANGUAGES else None
    person_id = viewer().id
    keeping.ask(services().writer, lambda recorder: keeping.change(recorder, person_id, language=language))
    answer = make_response(redirect(url_for("people.account")))
    if language:
        i18n_cookie(answer, language)
    return answer


@people.post("/account/password")
@access.login_required
@limit("10 per 15 minutes", by=by_person("password"))
def set_password() -> ResponseReturnValue:
    """Change one's password; all other sessions end."""
    hub, person, opened = services(), viewer(), access.current_session()
    known, settings = hub.people.account(person.id), hub.settings.access
    if known is None or known.login is None or opened is None:
        return redirect(url_for("entrance.welcome"))
    if not passwords.check(request.form.get("current", ""), known.password_hash, settings).right:
        return _account_page(Failed("current", "people.wrong_password", {})), 422
    try:
        rules.check_password(request.form.get("password", ""), settings.password_length)
    except FieldError as error:
        return _account_page(failed_by(error)), 422
    made = passwords.hash_password(request.form["password"], settings)
    noted, login, here = (
        audit.noting("person.password", person.id, person.name),
        known.login,
        opened.id_sha256,
    )

    def write(recorder: Recorder) -> None:
        keeping.set_entry(recorder, person.id, login, made)
        sessions.close_others(recorder, person.id, here)
        noted(recorder)

    keeping.ask(hub.writer, write)
    return redirect(url_for("people.account", done="password"))


@people.post("/account/sessions")
@access.login_required
def end_sessions() -> ResponseReturnValue:
    """End one of one's sessions, or all but this one."""
    person, opened = viewer(), access.current_session()
    which, here = request.form.get("session", ""), opened.id_sha256 if opened else ""
    noted = audit.noting("session.ended", person.id, person.name)

    def write(recorder: Recorder) -> None:
        if which == "others":
            sessions.close_others(recorder, person.id, here)
        else:
            sessions.close_session(recorder, which, person.id)
        noted(recorder)

    services().writer.call(write)
    return redirect(url_for("people.account", done="sessions"))


def _account_page(failed: Failed | None = None) -> str:
    hub, person, opened = services(), viewer(), access.current_session()
    known = hub.people.account(person.id)
    return render_template(
        "account.html",
        person=person,
        login=known.login if known else None,
        sessions=sessions.sessions_of(hub.store, person.id, hub.clock()),
        here=opened.id_sha256 if opened else "",
        failed=failed,
        done=request.args.get("done", ""),
        least=hub.settings.access.password_length,
    )


# People


@people.get("/admin/people")
@for_admin
def everybody() -> ResponseReturnValue:
    """Who is known, and the form that invites somebody."""
    return _people_page()


@people.post("/admin/people")
@for_admin
@limit("120 per hour", by=by_person("invite"))
def invite() -> ResponseReturnValue:
    """Make an invitation for a new person, and show it this once."""
    try:
        person = replace(_named(Person(id="", name="", role=Role.WORKER)), zones=_zones_sent())
    except FieldError as error:
        return _people_page(failed_by(error)), 422
    return _people_page(invited=_invited(person))


@people.post("/admin/invitations/<token_sha256>/end")
@for_admin
def take_invitation_back(token_sha256: str) -> ResponseReturnValue:
    """End an invitation that nobody has used."""
    hub = services()
    now_us, noted = hub.clock(), audit.noting("person.invitation_ended", token_sha256[:12])

    def write(recorder: Recorder) -> bool:
        ended = invitations.take_back(recorder, token_sha256, now_us)
        if ended:
            noted(recorder)
        return ended

    if not hub.writer.call(write):
        abort(404)
    return redirect(url_for("people.everybody"))


def _named(person: Person) -> Person:
    role = request.form.get("role", "")
    if role not in set(Role):
        raise FieldError("role", "people.bad_role", "there is no such role")
    return replace(person, name=rules.clean_name(request.form.get("name", "")), role=Role(role))


def _zones_sent() -> frozenset[str]:
    others = request.form.get("more_zones", "").replace(",", " ").split()
    return rules.clean_zones([*request.form.getlist("zones"), *others])


def _invited(person: Person) -> Invited:
    hub, maker = services(), viewer().id
    now_us = hub.clock()
    ends_us = now_us + hub.settings.access.invite_days * DAY_US
    detail = f"{person.role}; zones: {rules.as_words(person.zones) or 'all'}"
    noted = audit.noting("person.invited", person.id or person.name, detail)

    def write(recorder: Recorder) -> str:
        noted(recorder)
        return invitations.invite(recorder, person, maker, now_us, ends_us)

    address = invitations.address_of(hub.writer.call(write), hub.settings.web)
    return Invited(person.name, address, invitations.qr_svg(address), _site_trust(hub.settings.web))


def _site_trust(web: WebSettings) -> SiteTrust | None:
    """What phones must trust; ``None`` if nothing, or if it cannot be read: the invitation counts more."""
    if not web.site_ca:
        return None
    try:
        fingerprint = invitations.fingerprint(Path(web.site_ca).read_bytes())
    except (OSError, ValueError) as error:
        log.error("web.site_ca: %s cannot be read: %s", web.site_ca, error)  # noqa: TRY400
        return None
    address = f"{web.origin}/site-ca.crt"
    return SiteTrust(address, invitations.qr_svg(address), fingerprint)


def _people_page(failed: Failed | None = None, invited: Invited | None = None) -> str:
    return render_template(
        "admin_people.html",
        accounts=services().people.accounts(),
        waiting=invitations.open_ones(services().store, services().clock()),
        roles=list(Role),
        zones=_known_zones(),
        failed=failed,
        given=request.form,
        invited=invited,
        days=services().settings.access.invite_days,
    )


def _known_zones() -> list[tuple[str, str]]:
    """Zones to choose from: value and words, which are the same."""
    hub = services()
    named = {zone for person in hub.people.all() for zone in person.zones}
    return [(zone, zone) for zone in sorted(named | {one.zone for one in hub.rooms.all() if one.zone})]


@people.get("/admin/people/<person_id>")
@for_admin
def one_person(person_id: str) -> ResponseReturnValue:
    """What a person may, sees, and when she is told."""
    return _person_page(_known(person_id))


@people.post("/admin/people/<person_id>")
@for_admin
def change_person(person_id: str) -> ResponseReturnValue:
    """Take what the form says about a person."""
    known = _known(person_id)
    try:
        wanted = _person_sent(known.person)
        noted = audit.noting("person.changed", person_id, _difference(known.person, wanted))

        def write(recorder: Recorder) -> None:
            keeping.put(recorder, wanted)
            noted(recorder)

        keeping.ask(services().writer, write)
    except FieldError as error:
        return _person_page(known, failed_by(error)), 422
    return redirect(url_for("people.one_person", person_id=person_id, done="saved"))


def _person_sent(person: Person) -> Person:
    sent = request.form
    language, buddy = sent.get("language", ""), sent.get("buddy", "")
    if buddy and (buddy == person.id or services().people.get(buddy) is None):
        raise FieldError("buddy", "people.bad_buddy", "there is no such person")
    return replace(
        _named(person),
        zones=_zones_sent(),
        language=language if language in i18n.LANGUAGES else None,
        buddy=buddy or None,
        shift=rules.read_spans(sent.get("shift", "")[:2000], "shift"),
        quiet=rules.read_spans(sent.get("quiet", "")[:2000], "quiet"),
        muted=frozenset(sent.getlist("muted")) & {*MUTABLE, *TroubleKind},
    )


def _difference(before: Person, after: Person) -> str:
    names = ("name", "role", "language", "zones", "buddy", "shift", "quiet", "muted")
    changed = [name for name in names if getattr(before, name) != getattr(after, name)]
    return "; ".join(f"{name}: {_shown(getattr(after, name))}" for name in changed)


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return rules.write_spans(value) or "-"
    return (rules.as_words(value) if isinstance(value, frozenset) else str(value or "")) or "-"


@people.post("/admin/people/<person_id>/enabled")
@for_admin
def set_enabled(person_id: str) -> ResponseReturnValue:
    """Shut a person out, or let her in again."""
    known, enabled = _known(person_id), request.form.get("enabled") == "yes"
    noted = audit.noting("person.enabled" if enabled else "person.disabled", person_id, known.person.name)

    def write(recorder: Recorder) -> None:
        keeping.change(recorder, person_id, enabled=enabled)
        noted(recorder)

    try:
        keeping.ask(services().writer, write)
    except FieldError as error:
        return _person_page(known, failed_by(error)), 422
    return redirect(url_for("people.one_person", person_id=person_id, done="saved"))


@people.post("/admin/people/<person_id>/link")
@for_admin
@limit("120 per hour", by=by_person("invite"))
def new_link(person_id: str) -> ResponseReturnValue:
    """A new QR code for a person: on a new phone, or when a password was forgotten."""
    known = _known(person_id)
    if not known.person.enabled:
        return _person_page(known, Failed("link", "people.is_disabled", {})), 422
    return _person_page(known, invited=_invited(known.person))


@people.post("/admin/people/<person_id>/sessions")
@for_admin
def end_all_sessions(person_id: str) -> ResponseReturnValue:
    """Log a person out everywhere, such as when a phone was lost."""
    known = _known(person_id)
    noted = audit.noting("session.ended", person_id, known.person.name)

    def write(recorder: Recorder) -> None:
        keeping.end_access(recorder, person_id)
        noted(recorder)

    services().writer.call(write)
    return redirect(url_for("people.one_person", person_id=person_id, done="sessions"))


def _known(person_id: str) -> Account:
    account = services().people.account(person_id)
    if account is None:
        abort(404)
    return account


def _person_page(known: Account, failed: Failed | None = None, invited: Invited | None = None) -> str:
    hub, person = services(), known.person
    return render_template(
        "admin_person.html",
        account=known,
        person=person,
        roles=list(Role),
        zones=_known_zones(),
        others=[one for one in hub.people.all() if one.id != person.id],
        shift=rules.write_spans(person.shift),
        quiet=rules.write_spans(person.quiet),
        sounds=MUTABLE,
        troubles=list(TroubleKind),
        sessions=sessions.sessions_of(hub.store, person.id, hub.clock()),
        failed=failed,
        given=request.form if failed else None,
        invited=invited,
        days=hub.settings.access.invite_days,
        done=request.args.get("done", ""),
    )


# API tokens


@people.get("/admin/tokens")
@for_admin
def all_tokens() -> ResponseReturnValue:
    """Which programs may ask, and the form that lets one more."""
    return _tokens_page()


@people.post("/admin/tokens")
@for_admin
def add_token() -> ResponseReturnValue:
    """Make a token and show it this once."""
    hub, sent = services(), request.form
    try:
        name, scopes, days = rules.clean_name(sent.get("name", "")), _scopes_sent(), _days_sent()
    except FieldError as error:
        return _tokens_page(failed_by(error)), 422
    now_us, person = hub.clock(), viewer().id
    ends_us = now_us + days * DAY_US if days else None
    noted = audit.noting("token.made", name, rules.as_words(scopes))

    def write(recorder: Recorder) -> str:
        noted(recorder)
        return tokens.add(recorder, name, person, scopes, now_us=now_us, expires_us=ends_us)

    return _tokens_page(made=hub.writer.call(write))


def _scopes_sent() -> frozenset[Scope]:
    scopes = frozenset(scope for scope in Scope if scope in request.form.getlist("scopes"))
    if not scopes:
        raise FieldError("scopes", "tokens.no_scope", "choose at least one")
    return scopes


def _days_sent() -> int:
    text = request.form.get("days", "").strip() or "0"
    if not (text.isascii() and text.isdigit() and len(text) < 5 and int(text) <= 3650):
        raise FieldError("days", "tokens.bad_days", "must be a whole number of days up to 3650")
    return int(text)


@people.post("/admin/tokens/<token_id>/revoke")
@for_admin
def revoke_token(token_id: str) -> ResponseReturnValue:
    """End a token for good."""
    hub = services()
    now_us, noted = hub.clock(), audit.noting("token.revoked", token_id)

    def write(recorder: Recorder) -> bool:
        ended = tokens.revoke(recorder, token_id, now_us)
        if ended:
            noted(recorder)
        return ended

    if not hub.writer.call(write):
        abort(404)
    return redirect(url_for("people.all_tokens"))


def _tokens_page(failed: Failed | None = None, made: str = "") -> str:
    hub = services()
    return render_template(
        "admin_tokens.html",
        tokens=tokens.tokens(hub.store),
        names={person.id: person.name for person in hub.people.all()},
        scopes=list(Scope),
        now_us=hub.clock(),
        failed=failed,
        given=request.form if failed else None,
        made=made,
    )


# The audit log


@people.get("/admin/audit")
@for_admin
def audit_log() -> ResponseReturnValue:
    """Who did what, newest first."""
    before = request.args.get("before", "")
    cursor = int(before) if before.isascii() and before.isdigit() and len(before) < 16 else None
    action, person = _audit_filter()
    found = audit.lines(services().store, cursor, AUDIT_ROWS, action, person)
    return render_template(
        "admin_audit.html",
        lines=found,
        names=_names(),
        actions=ACTIONS,
        action=action,
        person=person,
        older=found[-1].id if len(found) == AUDIT_ROWS else None,
    )


ACTIONS = ("login", "person", "token", "session", "policy", "drill", "incident", "rollout")
"""With what the actions in the log begin."""


@people.get("/admin/audit.csv")
@for_admin
def audit_csv() -> ResponseReturnValue:
    """The same for a spreadsheet, in which no cell is a formula."""
    names = _names()
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(["at", "person", "action", "subject", "detail", "address"])
    for line in audit.lines(services().store, None, _CSV_ROWS, *_audit_filter()):
        who = names.get(line.person or "", line.person or "")
        cells = [iso(line.at_us) or "", who, line.action, line.subject, line.detail, line.address]
        rows.writerow([harmless(cell) for cell in cells])
    return Response(
        text.getvalue(),
        mimetype="text/csv",
        headers={"Content-Disposition": "attachment; filename=audit.csv"},
    )


def harmless(cell: str) -> str:
    """``cell`` so that a spreadsheet takes it for text."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def _audit_filter() -> tuple[str, str]:
    action = request.args.get("action", "")
    return action if action in ACTIONS else "", request.args.get("person", "")[:64]


def _names() -> dict[str, str]:
    return {person.id: person.name for person in services().people.all()}
