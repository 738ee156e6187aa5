"""The Flask application around the pages and the API: health, headers, errors."""

import re
import secrets
from datetime import timedelta
from http import HTTPStatus
from typing import Any

import msgspec
from flask import Flask, Response, g, jsonify, make_response, render_template, request
from flask.json.provider import DefaultJSONProvider
from flask.typing import ResponseReturnValue
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import HTTPException
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.routing import RequestRedirect

from tocsin_hub.alerts.pages import pages
from tocsin_hub.api import api, problem, receipts
from tocsin_hub.auth import auth, secret_key
from tocsin_hub.drill import drill, drills_running
from tocsin_hub.incidents.pages import incident_pages
from tocsin_hub.metrics import EXTENSION as METRICS
from tocsin_hub.metrics import Metrics, metrics
from tocsin_hub.people.entrance import entrance
from tocsin_hub.people.guard import watch
from tocsin_hub.people.limits import limiter, seconds_to_wait
from tocsin_hub.people.pages import people
from tocsin_hub.phones import page as _worker_page  # noqa: F401 - adds its views to the pages
from tocsin_hub.phones import roads_page as _roads_page  # noqa: F401 - so does this
from tocsin_hub.plan.pages import may_edit, plan
from tocsin_hub.rollouts.pages import rollout_pages
from tocsin_hub.rollouts.serving import updates
from tocsin_hub.services import EXTENSION, Health, Services, services
from tocsin_hub.settings import HubSettings, WebSettings
from tocsin_hub.times import iso
from tocsin_shared.errors import SettingsError, UnavailableError

MAX_BODY_BYTES = 64 * 1024
_COUNT_SECONDS = 1.0
"""Nobody waits longer than this for a count."""
_PERMISSIONS = "camera=(), geolocation=(), microphone=(), payment=(), usb=(), browsing-topics=()"
_HOST = re.compile(r"[A-Za-z0-9.\-:\[\]]{1,255}")


class _Json(DefaultJSONProvider):
    """Answers written by msgspec, in a tenth of the time: a page of 500 events is a large one."""

    def response(self, *args: Any, **kwargs: Any) -> Response:
        """What ``jsonify`` returns."""
        body = msgspec.json.encode(self._prepare_response_obj(args, kwargs))
        return Response(body, mimetype=self.mimetype)


def create_app(hub: Services) -> Flask:
    """The web application of ``hub``; nothing is started.

    Raises:
        SettingsError: an identity provider is set, and cannot be used as it is set.
        UnavailableError: the secret that signs cookies can neither be read nor made.
    """
    app = Flask("tocsin_hub")
    access = hub.settings.access
    app.config.update(
        SECRET_KEY=secret_key(hub.settings.state_folder),
        # The prefix makes browsers refuse a cookie that another host of the domain, or plain HTTP, would set.
        SESSION_COOKIE_NAME="__Host-tocsin_session" if hub.settings.web.secure else "tocsin_session",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=hub.settings.web.secure,
        SESSION_REFRESH_EACH_REQUEST=False,
        PERMANENT_SESSION_LIFETIME=timedelta(days=max(access.session_days, access.phone_days)),
        MAX_CONTENT_LENGTH=MAX_BODY_BYTES,
        PROVIDE_AUTOMATIC_OPTIONS=False,  # nobody else's pages may ask, so there is nothing to tell them
    )
    if proxies := hub.settings.web.proxies:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=proxies, x_proto=proxies)  # type: ignore[method-assign]
    app.json = _Json(app)
    app.extensions[EXTENSION] = hub
    app.extensions[METRICS] = Metrics(hub)
    site = (pages, people, plan, drill, incident_pages, rollout_pages)
    for blueprint in (api, receipts, auth, entrance, *site, metrics, updates):
        app.register_blueprint(blueprint)
    _let_company_in(app, hub.settings)
    _count(app, hub.settings.web)
    watch(app)
    app.add_url_rule("/healthz", view_func=healthz)
    app.add_template_global(csp_nonce)
    app.add_template_global(may_edit)
    app.add_template_global(drills_running)
    app.after_request(_with_headers)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(UnavailableError, _unavailable)
    return app


def _let_company_in(app: Flask, settings: HubSettings) -> None:
    """Offer to log in at an identity provider, if the settings name one."""
    app.jinja_env.globals["oidc_name"] = settings.oidc.name if settings.oidc.issuer else ""
    if not settings.oidc.issuer:
        return
    try:
        from tocsin_hub.people import oidc  # noqa: PLC0415 - its packages are an extra
    except ImportError as error:
        raise SettingsError(f"oidc.issuer is set: pip install 'tocsin[oidc]' ({error})") from error
    oidc.attach(app, settings.oidc)


def csp_nonce() -> str:
    """The number used once that allows a script of this very answer to run."""
    if "csp_nonce" not in g:
        g.csp_nonce = secrets.token_urlsafe(16)
    return str(g.csp_nonce)


def _count(app: Flask, web: WebSettings) -> None:
    """Have whoever asks too often counted, by all processes of the site together."""
    app.config.update(
        RATELIMIT_STORAGE_URI="memory://",
        RATELIMIT_IN_MEMORY_FALLBACK_ENABLED=False,
        RATELIMIT_SWALLOW_ERRORS=False,
    )
    if web.redis:
        app.config.update(
            RATELIMIT_STORAGE_URI=web.redis,
            RATELIMIT_STORAGE_OPTIONS={
                "password": web.redis_password(),
                "socket_timeout": _COUNT_SECONDS,
                "socket_connect_timeout": _COUNT_SECONDS,
            },
            RATELIMIT_IN_MEMORY_FALLBACK_ENABLED=True,
            RATELIMIT_SWALLOW_ERRORS=True,  # of several that find Redis away at once, all but one
        )
    limiter.init_app(app)


def healthz() -> ResponseReturnValue:
    """Whether events come in and are stored; for monitoring, so it needs no session."""
    health = services().health()
    answer = {
        "status": "ok" if health.ok else "degraded",
        "database": health.database,
        "broker": "connected" if health.broker_connected else "disconnected",
        "stored": health.stored,
        "quarantined": health.quarantined,
        "queue": health.queue,
        "last_commit_ms": health.last_commit_ms,
        "pruning": _pruning(health),
    }
    if health.web_processes is not None:
        answer["web_processes"] = health.web_processes
    return jsonify(answer), 200 if health.ok else 503


def _pruning(health: Health) -> dict[str, object]:
    last = health.pruned
    return {
        "status": health.prune_trouble or "ok",
        "last": last and iso(last.at_us),
        "removed": dict(last.removed) if last else {},
    }


def _with_headers(response: Response) -> Response:
    host = request.host if _HOST.fullmatch(request.host) else ""
    sockets = f" ws://{host} wss://{host}" if host else ""
    response.headers["Content-Security-Policy"] = "; ".join(
        (
            "default-src 'self'",
            f"script-src 'self' 'nonce-{csp_nonce()}'",
            f"connect-src 'self'{sockets}",
            "img-src 'self' data:",
            "object-src 'none'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action 'self'",
        )
    )
    response.headers["X-Content-Type-Options"] = "nosniff"
    # Not no-referrer: a form of our own would then be sent with the origin "null", like one of a stranger.
    response.headers["Referrer-Policy"] = "same-origin"
    response.headers["Permissions-Policy"] = _PERMISSIONS
    response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
    if services().settings.web.secure:
        response.headers["Strict-Transport-Security"] = "max-age=31536000"
    if request.endpoint is None or not request.endpoint.endswith("static"):
        response.headers["Cache-Control"] = "no-store"
    return response


def _http_error(error: HTTPException) -> ResponseReturnValue:
    if isinstance(error, RequestRedirect):
        return error
    answer = make_response(_in_words(error))
    if error.code == HTTPStatus.TOO_MANY_REQUESTS:
        answer.headers["Retry-After"] = str(seconds_to_wait())
    if allowed := dict(error.get_headers()).get("Allow"):
        answer.headers["Allow"] = allowed
    if error.code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        answer.headers["Connection"] = "close"  # the rest of the body is not read
    return answer


def _in_words(error: HTTPException) -> ResponseReturnValue:
    status, many = error.code or 500, error.code == HTTPStatus.TOO_MANY_REQUESTS
    if request.path.startswith("/api/"):
        code = (error.name or "error").lower().replace(" ", "_")
        words = f"Too many requests; try again in {seconds_to_wait()} seconds." if many else error.description
        return problem(status, code, words or error.name)
    if status == HTTPStatus.NOT_FOUND:
        return render_template("problem.html", missing=True), status
    if many:
        return render_template("problem.html", wait_seconds=seconds_to_wait()), status
    if isinstance(error, CSRFError):
        return render_template("problem.html", stale=True), status
    if status in {HTTPStatus.FORBIDDEN, HTTPStatus.REQUEST_ENTITY_TOO_LARGE}:
        return render_template("problem.html", refused=status == HTTPStatus.FORBIDDEN, large=True), status
    return error.get_response()


def _unavailable(_error: UnavailableError) -> ResponseReturnValue:
    return problem(503, "unavailable", "The database does not answer at the moment; try again soon.")
