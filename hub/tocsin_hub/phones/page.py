"""The worker's page, and what makes it an app: manifest, service worker, a shell without network."""

from flask import Response, jsonify, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from tocsin_hub import i18n
from tocsin_hub.i18n import Catalogue
from tocsin_hub.pages import pages
from tocsin_hub.people import access
from tocsin_hub.people.model import Role
from tocsin_hub.services import services

ICONS = ((192, "any"), (512, "any"), (512, "maskable"))
_GROUND, _COLOUR = "#f5f6f7", "#0b5a6e"


@pages.before_request
def _workers_start_here() -> ResponseReturnValue | None:
    """Sends a worker who opens the dashboard to her own page."""
    if request.endpoint != "pages.dashboard":
        return None
    person = access.current()
    if person is None or person.may(Role.OFFICER):
        return None
    return redirect(url_for("pages.me"))


@pages.get("/me")
@access.page_for(Role.WORKER)
def me() -> str:
    """What concerns one person: alarms in her rooms, her answers, her phone, her other addresses."""
    return render_template("me.html", addresses=services().phones.apprise.of(access.viewer().id))


@pages.get("/manifest.webmanifest")
def manifest() -> Response:
    """What a phone wants to know before it puts the page among its apps."""
    root = request.script_root
    answer = jsonify(
        id=f"{root}/me",
        name="Tocsin",
        short_name="Tocsin",
        start_url=f"{root}/me",
        scope=f"{root}/",
        display="standalone",
        background_color=_GROUND,
        theme_color=_COLOUR,
        icons=[
            {
                "src": url_for("static", filename="icons/icon.svg"),
                "sizes": "any",
                "type": "image/svg+xml",
            },
            *(
                {
                    "src": url_for("static", filename=f"icons/{purpose}-{size}.png"),
                    "sizes": f"{size}x{size}",
                    "type": "image/png",
                    "purpose": purpose,
                }
                for size, purpose in ICONS
            ),
        ],
    )
    answer.mimetype = "application/manifest+json"
    return answer


@pages.get("/sw.js")
def service_worker() -> Response:
    """The script that shows notifications; at the root, so that all pages are in its scope.

    It has no language of its own: what it says by itself, it says in all of them.
    """
    every = [i18n.catalogue(code) for code in i18n.LANGUAGES]
    words = {
        "news_title": " · ".join(one.t("phone.news_title") for one in every),
        "news_body": "\n".join(one.t("phone.news_body") for one in every),
        "renew_title": " · ".join(one.t("phone.renew_title") for one in every),
        "renew_body": "\n".join(one.t("phone.renew_body") for one in every),
    }
    shell = render_template("me_offline.html", every=[_shell_words(one) for one in every])
    answer = Response(render_template("sw.js", words=words, shell=shell), mimetype="text/javascript")
    answer.headers["Service-Worker-Allowed"] = f"{request.script_root}/"
    return answer


def _shell_words(texts: Catalogue) -> dict[str, str]:
    return {
        "language": texts.language,
        "heading": texts.t("me.offline_heading"),
        "text": texts.t("me.offline_text"),
        "again": texts.t("me.offline_again"),
    }
