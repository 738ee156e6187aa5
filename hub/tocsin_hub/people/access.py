"""Who asks, and whether she may: for pages, the API and the live channel.

Role and zones are those of the moment: a person who is disabled is out with her next request.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import ParamSpec

from flask import g, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue

from tocsin_hub.people import sessions
from tocsin_hub.people.model import Person, Role
from tocsin_hub.people.secret import hashed
from tocsin_hub.people.sessions import TOUCH_US, Session
from tocsin_hub.recorder import Recorder
from tocsin_hub.services import Services, services
from tocsin_hub.writer import Outcome, Work
from tocsin_shared.errors import UnavailableError

P = ParamSpec("P")
View = Callable[P, ResponseReturnValue]
NEXT = "next"
"""Key in the cookie: the page that a stranger asked for."""


def current() -> Person | None:
    """The person who sent the current request, if she is logged in.

    Raises:
        UnavailableError: the database cannot be used at the moment.
    """
    if "person" not in g:
        g.person = _person()
    person: Person | None = g.person
    return person


def current_session() -> Session | None:
    """The session that the current request came in, if it lasts.

    Raises:
        UnavailableError: the database cannot be used at the moment.
    """
    if "open_session" not in g:
        known = session.get("id")
        hub = services()
        found = sessions.session_of(hub.store, hashed(known)) if isinstance(known, str) else None
        g.open_session = found if found is not None and found.lasts(hub.clock()) else None
    opened: Session | None = g.open_session
    return opened


def _person() -> Person | None:
    opened = current_session()
    if opened is None:
        return None
    hub = services()
    person = hub.people.get(opened.person)
    if person is None or not person.enabled:
        return None
    _note_use(hub, opened)
    return person


def _note_use(hub: Services, opened: Session) -> None:
    now_us = hub.clock()
    if now_us - opened.seen_us < TOUCH_US:
        return

    def write(recorder: Recorder) -> Outcome:
        sessions.touch(recorder, opened.id_sha256, now_us)
        return Outcome()

    with suppress(UnavailableError):  # a disk that is full shuts nobody out
        hub.writer.put(Work(write, lambda _: None), patience_seconds=0)


def viewer() -> Person:
    """The person who looks at a page that only those who are logged in may see."""
    person = current()
    if person is None:
        raise RuntimeError("this view is not guarded by page_for or login_required")
    return person


def login_required(view: View[P]) -> View[P]:
    """Shows a page to everybody who is logged in; others are sent to log in."""
    return page_for(Role.WORKER)(view)


def page_for(role: Role) -> Callable[[View[P]], View[P]]:
    """Shows a page to persons who may what ``role`` may; others are sent to log in, or told that."""

    def guard(view: View[P]) -> View[P]:
        @wraps(view)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> ResponseReturnValue:
            person = current()
            if person is None:
                return to_log_in()
            return view(*args, **kwargs) if person.may(role) else refused()

        return guarded

    return guard


def to_log_in() -> ResponseReturnValue:
    """Sends a stranger to log in; the page that she wanted comes after that."""
    if request.method == "GET":
        session[NEXT] = request.full_path.rstrip("?")[:500]
    return redirect(url_for("pages.signed_out"))


def refused() -> ResponseReturnValue:
    """Tells somebody that a page is not for her role."""
    return render_template("problem.html", refused=True), 403
