"""Light, dark, or as the reader's system has it: chosen in the address, remembered in a cookie.

The choice is part of the page as it is sent, so that no page shows in the wrong colours first and no
script is needed.
"""

from flask import Response, request

SYSTEM = "system"
THEMES: dict[str, str] = {SYSTEM: "(prefers-color-scheme: dark)", "light": "not all", "dark": "all"}
"""Theme → the media for which the dark colours count."""

_COOKIE = "tocsin_theme"
_COOKIE_SECONDS = 365 * 86_400


def chosen() -> str:
    """The theme of this answer: asked for in the address, else remembered, else as the system has it."""
    for name in (request.args.get("theme"), request.cookies.get(_COOKIE)):
        if name in THEMES:
            return name
    return SYSTEM


def remember(response: Response) -> Response:
    """``response`` with the theme kept for the next pages, if one was asked for."""
    asked = request.args.get("theme")
    if asked in THEMES:
        response.set_cookie(
            _COOKIE, asked, max_age=_COOKIE_SECONDS, secure=request.is_secure, httponly=True, samesite="Lax"
        )
    return response
