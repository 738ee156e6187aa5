"""Who asks, and whether she may: for pages, the API and the live channel."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from flask import redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from tocsin_hub.auth import is_logged_in
from tocsin_hub.people.model import Person, Role

P = ParamSpec("P")
View = Callable[P, ResponseReturnValue]
_WITHOUT_A_NAME = Person(id="", name="", role=Role.ADMIN)
"""Whoever used a login link that the command line printed."""


def current() -> Person | None:
    """The person who sent the current request, if she is logged in."""
    return _WITHOUT_A_NAME if is_logged_in() else None


def page_for(role: Role) -> Callable[[View[P]], View[P]]:
    """Shows a page to persons who may what ``role`` may; others are sent to log in, or told that."""

    def guard(view: View[P]) -> View[P]:
        @wraps(view)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> ResponseReturnValue:
            person = current()
            if person is None:
                return redirect(url_for("pages.signed_out"))
            return view(*args, **kwargs) if person.may(role) else (render_template("problem.html"), 403)

        return guarded

    return guard
