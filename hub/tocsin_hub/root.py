"""The root of the hub: builds its parts, connects them, starts them, and stops them in reverse order."""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from flask import Flask

from tocsin_hub.alerts.engine import Engine
from tocsin_hub.app import create_app
from tocsin_hub.forgetting import Forgetting
from tocsin_hub.incidents.model import Incident
from tocsin_hub.incidents.watch import Watch
from tocsin_hub.ingest import Ingest
from tocsin_hub.link import Link
from tocsin_hub.live import Live
from tocsin_hub.place import Lead
from tocsin_hub.recorder import prepare
from tocsin_hub.retention.pruner import Pruner
from tocsin_hub.rollouts.engine import Rollouts
from tocsin_hub.services import Health, Services
from tocsin_hub.settings import HubSettings
from tocsin_hub.threads import end_process, start_thread
from tocsin_hub.times import now_us
from tocsin_hub.web.follower import Follower
from tocsin_hub.web.others import Others
from tocsin_hub.web.ports import Bus
from tocsin_hub.wiring import Parts, engine_of, parts_of, rollouts_of, services_of
from tocsin_hub.writer import Writer
from tocsin_shared.errors import UnavailableError

TICK_SECONDS = 1.0
_LEAD_SECONDS = 30.0
"""A hub that is started anew waits so long for its forerunner, which may still commit."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Hub:
    """A hub whose parts are connected."""

    services: Services
    app: Flask
    """Serves the pages, the API and the live channel."""
    ingest: Ingest
    writer: Writer
    link: Link
    live: Live
    watch: Watch
    forgetting: Forgetting
    engine: Engine
    pruner: Pruner
    lead: Lead
    others: Others | None
    """Web processes beside this one; ``None`` if it is the only process."""
    _stopping: threading.Event

    def start(self, on_death: Callable[[str], None] = end_process) -> None:
        """Start all threads; the broker may come later.

        Raises:
            SettingsError: a password or certificate file of the broker cannot be used.
            UnavailableError: another hub uses the database.
        """
        self.lead.take(_LEAD_SECONDS)
        self.live.start(on_death)
        self.writer.start(self.ingest.settle, on_death)
        if self.others is not None:
            self.others.start(on_death)
        self.engine.start(on_death)
        self.services.phones.start(on_death)
        self.link.start(self.ingest.receive, self._hearing, on_death)
        self.pruner.start(on_death)
        self.services.rollouts.start(on_death)
        start_thread("ticker", self._tick, on_death)
        start_thread("keeper", self._keep, on_death)

    def stop(self) -> None:
        """Stop all threads; what was received is committed."""
        self._stopping.set()
        if self.others is not None:
            self.others.stop()
        self.services.rollouts.stop()
        self.engine.stop()
        self.services.phones.stop()
        self.pruner.stop()
        self.link.stop()
        self.writer.stop()
        self.live.stop()
        self.services.store.close()
        self.lead.release()

    def _hearing(self, connected: bool, since_seconds: float) -> None:
        self.services.rooms.set_hearing(connected, self.services.clock() - round(since_seconds * 1e6))
        if connected:
            self.services.rollouts.connected()

    def _tick(self) -> None:
        with suppress(UnavailableError):  # the writer takes nothing more: the hub is stopping
            while not self._stopping.wait(TICK_SECONDS):
                self.watch.tick()
                self.ingest.tick()

    def _keep(self) -> None:
        # Apart from the ticker, because both ask the database: one that does not answer must keep nobody from
        # noticing that, nor that a node is silent.
        with suppress(UnavailableError):
            while not self._stopping.wait(TICK_SECONDS):
                self.forgetting.tick()
                self.live.review(self.services)


def build(
    settings: HubSettings,
    clock: Callable[[], int] = now_us,
    on_incident: Callable[[Incident], None] = lambda _: None,
) -> Hub:
    """A hub that is ready to start; its database is made or brought up to date.

    ``on_incident`` is told of each change of an incident once it is on the disk; it must not wait.

    Raises:
        SettingsError: an identity provider, a trust repository or a Redis is set, and cannot be used as it
            is set.
        UnavailableError: the database or the state folder cannot be used.
    """
    prepare(settings.database)
    parts = parts_of(settings, clock, leads=True)
    engine, rollouts = engine_of(parts), rollouts_of(parts)

    def on_change(incident: Incident) -> None:
        engine.on_incident(incident)
        rollouts.wake()
        on_incident(incident)

    others = None if parts.bus is None else _others(parts, parts.bus, on_change)

    def on_own_change(incident: Incident) -> None:
        if others is not None:
            others.follower.note(incident)
        on_change(incident)

    ingest, watch = _ingest(parts, on_own_change, rollouts), _watch(parts, on_own_change)
    pruner = Pruner(settings.store, settings.database, parts.writer, clock, lambda gone: ingest.count(-gone))
    forgetting = _forgetting(parts)
    services = services_of(
        parts,
        engine=engine,
        rollouts=rollouts,
        forgetting=forgetting,
        health=lambda: _health(parts, ingest, pruner),
    )
    app = create_app(services)
    parts.live.attach(app)
    return Hub(
        services=services,
        app=app,
        ingest=ingest,
        writer=parts.writer,
        link=parts.link,
        live=parts.live,
        watch=watch,
        forgetting=forgetting,
        engine=engine,
        pruner=pruner,
        lead=parts.lead,
        others=others,
        _stopping=threading.Event(),
    )


def _others(parts: Parts, bus: Bus, on_change: Callable[[Incident], None]) -> Others:
    def tell(incident: Incident) -> None:
        on_change(incident)
        parts.live.show(incident)

    follower = Follower(parts.incidents, parts.latest_change, tell)
    return Others(bus, follower, parts.rooms, parts.live)


def _ingest(parts: Parts, on_change: Callable[[Incident], None], rollouts: Rollouts) -> Ingest:
    return Ingest(
        rooms=parts.rooms,
        put=parts.writer.put,
        broker=parts.link,
        screen=parts.live,
        clock=parts.clock,
        stored=parts.store.event_count(),
        quarantined=parts.store.counter("quarantined"),
        limits=parts.settings.incidents.limits,
        on_incident=on_change,
        on_report=rollouts.on_report,
    )


def _watch(parts: Parts, on_change: Callable[[Incident], None]) -> Watch:
    return Watch(
        settings=parts.settings.broker,
        reading=parts.incidents,
        rooms=parts.rooms,
        writer=parts.writer,
        screen=parts.live,
        on_incident=on_change,
        clock=parts.clock,
        limits=parts.settings.incidents.limits,
        queue=lambda: "" if parts.bus is None else parts.bus.trouble,
    )


def _forgetting(parts: Parts) -> Forgetting:
    return Forgetting(
        store=parts.store, rooms=parts.rooms, writer=parts.writer, broker=parts.link, clock=parts.clock
    )


def _health(parts: Parts, ingest: Ingest, pruner: Pruner) -> Health:
    state = parts.writer.state
    return Health(
        database=state.trouble or "ok",
        broker_connected=parts.link.connected,
        stored=ingest.stored,
        quarantined=ingest.quarantined,
        queue=state.waiting,
        last_commit_ms=None if state.last_commit_ms is None else round(state.last_commit_ms, 3),
        pruned=pruner.last,
        prune_trouble=pruner.trouble,
        web_processes=None if parts.bus is None else parts.beats.others(time.monotonic()),
    )
