"""At the door of every request: bodies that are too large, and requests that other sites had a browser send.

A form carries a token of its session. A request to the API that changes something must be JSON, which a form
of another site cannot send, and must not come from another origin, as far as the browser says.
"""

from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

from flask import Flask, current_app, request
from flask_wtf.csrf import CSRFProtect
from werkzeug.exceptions import Forbidden, RequestEntityTooLarge, UnsupportedMediaType

from tocsin_hub.services import services

View = TypeVar("View", bound=Callable[..., Any])
JSON = "application/json"
SAFE = {"GET", "HEAD", "OPTIONS"}
_WITH_A_BODY = {"POST", "PUT", "PATCH"}
_forms = CSRFProtect()


def takes_body(most: int) -> Callable[[View], View]:
    """Lets a view take bodies of up to ``most`` bytes. Put it below the decorator of the route."""

    def mark(view: View) -> View:
        view.max_body_bytes = most  # type: ignore[attr-defined]
        return view

    return mark


def watch(app: Flask) -> None:
    """Look at every request to ``app`` before anybody else does."""
    app.config.update(WTF_CSRF_CHECK_DEFAULT=False, WTF_CSRF_TIME_LIMIT=None, WTF_CSRF_SSL_STRICT=False)
    _forms.init_app(app)
    app.before_request(_refuse)


def _refuse() -> None:
    _limit_body()
    if request.method in SAFE or request.endpoint is None:
        return
    if not from_here():
        raise Forbidden("This request was sent by another site, and is refused.")
    if not request.path.startswith("/api/"):
        _forms.protect()
    elif request.method in _WITH_A_BODY and request.mimetype != JSON:
        raise UnsupportedMediaType(f"Send {JSON}.")


def _limit_body() -> None:
    view = current_app.view_functions.get(request.endpoint or "")
    most = getattr(view, "max_body_bytes", current_app.config["MAX_CONTENT_LENGTH"])
    request.max_content_length = most
    # Refused by its announcement: nobody waits until it has come.
    if request.content_length is not None and request.content_length > most:
        raise RequestEntityTooLarge(f"More than {most} bytes are not taken here.")


def from_here() -> bool:
    """Whether the request was sent by a page of this hub, or by no page at all.

    Fetch Metadata where the browser sends it (to trustworthy origins only), else ``Origin``, which browsers
    send with every request that changes something. A program sends neither, and has no session of somebody
    else's to misuse.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in {"same-origin", "none"}
    origin = request.headers.get("Origin")
    return origin is None or origin == services().settings.web.origin or _same_host(origin)


def _same_host(origin: str) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and parts.netloc.lower() == request.host.lower()
