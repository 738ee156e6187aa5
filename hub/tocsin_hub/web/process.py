"""The root of a web process: pages, API and live channel, as many of them as a site needs beside its hub."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flask import Flask, abort, request
from flask.typing import ResponseReturnValue

from tocsin_hub.api import problem
from tocsin_hub.app import create_app
from tocsin_hub.forgetting import Forgetting
from tocsin_hub.live import Live
from tocsin_hub.place import PostgresPlace, check_postgres
from tocsin_hub.services import Health, Services
from tocsin_hub.settings import HubSettings
from tocsin_hub.threads import end_process
from tocsin_hub.times import now_us
from tocsin_hub.web.beats import Standing
from tocsin_hub.web.mirror import Mirror
from tocsin_hub.web.ports import Bus
from tocsin_hub.wiring import Parts, engine_of, parts_of, rollouts_of, services_of
from tocsin_hub.writer import Outcome, Receipt, Writer
from tocsin_shared.errors import SettingsError, UnavailableError

HUB_PATHS = (
    "/admin",
    "/rollouts",
    "/updates",
    "/metrics",
    "/api/v1/bundles",
    "/api/v1/me/addresses",
    "/api/v1/me/phones",
    "/api/v1/people",
    "/api/v1/policies",
    "/api/v1/receipts",
    "/api/v1/rollouts",
)
"""What only the hub answers, because it stands in its memory; the proxy sends these there."""
_FILES = ("secret.key", "vapid.pem")
"""What a web process shares with the hub: with other keys nobody would be logged in at both."""


@dataclass(frozen=True)
class WebProcess:
    """A web process whose parts are connected."""

    services: Services
    app: Flask
    writer: Writer
    live: Live
    bus: Bus
    mirror: Mirror

    def start(self, on_death: Callable[[str], None] = end_process) -> None:
        """Start all threads; the hub and Redis may come later."""
        self.bus.start(on_again=self.live.greet_here, on_death=on_death)
        self.live.start(on_death)
        self.writer.start(self._settle, on_death)
        self.mirror.start(self.services, on_death)

    def stop(self) -> None:
        """Stop all threads; what people did is committed."""
        self.mirror.stop()
        self.writer.stop()
        self.live.stop()
        self.bus.stop()
        self.services.store.close()

    def _settle(self, outcomes: Sequence[Outcome], _receipts: Sequence[Receipt]) -> None:
        latest = {incident.id: incident for outcome in outcomes for incident in outcome.incidents}
        for incident in latest.values():
            self.live.show(incident)
        if latest:
            self.bus.changed()


def check(settings: HubSettings) -> None:
    """Whether a web process can stand beside a hub of these ``settings``.

    Raises:
        SettingsError: they name no PostgreSQL or no Redis.
        UnavailableError: the database cannot be used, or the hub was never started.
    """
    if not isinstance(settings.database, PostgresPlace):
        raise SettingsError(
            "store.url: a web process reads the hub's PostgreSQL; a hub on SQLite is one process alone"
        )
    if not settings.web.redis:
        raise SettingsError("web.redis: a web process hears of the hub by a Redis; say where it is, in both")
    for name in _FILES:
        if not (settings.state_folder / name).is_file():
            raise UnavailableError(
                f"{settings.state_folder / name} is not there: start the hub first, or copy "
                f"{' and '.join(_FILES)} from its state folder, so that whoever is logged in there is here"
            )
    check_postgres(settings.database)


def build_web(settings: HubSettings, clock: Callable[[], int] = now_us) -> WebProcess:
    """A web process that is ready to start.

    Raises:
        SettingsError: see :func:`check`; or an identity provider is set, and cannot be used as it is set.
        UnavailableError: see :func:`check`.
    """
    check(settings)
    parts = parts_of(settings, clock, leads=False)
    if parts.bus is None:
        raise SettingsError("web.redis is not set")
    mirror = Mirror(
        store=parts.store,
        incidents=parts.incidents,
        rooms=parts.rooms,
        phones=parts.phones,
        live=parts.live,
        beats=parts.beats,
        bus=parts.bus,
        clock=clock,
    )
    services = services_of(
        parts,
        engine=engine_of(parts),
        rollouts=rollouts_of(parts),
        forgetting=_noting(parts),
        health=lambda: _health(parts, mirror),
    )
    app = create_app(services)
    app.before_request(_refuse_what_is_the_hubs)
    parts.live.attach(app)
    parts.live.on_pages = mirror.pages_changed
    return WebProcess(services, app, parts.writer, parts.live, parts.bus, mirror)


def _noting(parts: Parts) -> Forgetting:
    return Forgetting(
        store=parts.store, rooms=parts.rooms, writer=parts.writer, broker=None, clock=parts.clock
    )


def _health(parts: Parts, mirror: Mirror) -> Health:
    state = parts.writer.state
    return Health(
        database=state.trouble or "ok",
        broker_connected=mirror.standing is not Standing.CUT_OFF and parts.rooms.hearing.connected,
        stored=parts.store.event_count(),
        quarantined=parts.store.counter("quarantined"),
        queue=state.waiting,
        last_commit_ms=None if state.last_commit_ms is None else round(state.last_commit_ms, 3),
        pruned=None,
        prune_trouble="",
    )


def _refuse_what_is_the_hubs() -> ResponseReturnValue | None:
    path = request.path
    if not any(path == one or path.startswith(f"{one}/") for one in HUB_PATHS):
        return None
    words = f"{path} is answered by the hub alone; the proxy before both must send it there."
    if path.startswith("/api/"):
        return problem(503, "answered_by_the_hub", words)
    return abort(503, words)
