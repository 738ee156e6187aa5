"""The root of the hub: builds its parts, connects them, starts them, and stops them in reverse order."""

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from flask import Flask
from ulid import ULID

from tocsin_hub.alerts.channels.actuator import ActuatorChannel
from tocsin_hub.alerts.channels.page import PageChannel
from tocsin_hub.alerts.engine import Engine, SiteFacts
from tocsin_hub.alerts.model import Channel
from tocsin_hub.alerts.reading import AlertReading
from tocsin_hub.alerts.timezone import site_time_zone
from tocsin_hub.app import create_app
from tocsin_hub.auth import secret_key
from tocsin_hub.forgetting import Forgetting, retired
from tocsin_hub.incidents.desk import Desk
from tocsin_hub.incidents.model import Incident
from tocsin_hub.incidents.reading import Incidents
from tocsin_hub.incidents.watch import Watch
from tocsin_hub.ingest import Ingest
from tocsin_hub.link import Link
from tocsin_hub.live import Live
from tocsin_hub.people.reading import People
from tocsin_hub.phones.service import Phones
from tocsin_hub.place import Lead, lead_of
from tocsin_hub.recorder import Recorder, prepare
from tocsin_hub.retention.pruner import Pruner
from tocsin_hub.rollouts.engine import Rollouts, Surroundings
from tocsin_hub.rollouts.pacing import Pacing
from tocsin_hub.rollouts.trust import trust_of
from tocsin_hub.rooms import Hearing, Rooms
from tocsin_hub.services import Health, Services
from tocsin_hub.settings import AlertSettings, HubSettings
from tocsin_hub.store import Store
from tocsin_hub.threads import end_process, start_thread
from tocsin_hub.times import now_us
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
        SettingsError: an identity provider or a trust repository is set, and cannot be used as it is set.
        UnavailableError: the database or the state folder cannot be used.
    """
    prepare(settings.database)
    parts = _parts(settings, clock)
    engine, rollouts = _engine(parts), _rollouts(parts)

    def on_change(incident: Incident) -> None:
        engine.on_incident(incident)
        rollouts.wake()
        on_incident(incident)

    ingest, watch = _ingest(parts, on_change, rollouts), _watch(parts, on_change)
    pruner = Pruner(settings.store, settings.database, parts.writer, clock, lambda gone: ingest.count(-gone))
    forgetting = _forgetting(parts)
    services = Services(
        settings=settings,
        store=parts.store,
        people=parts.people,
        rooms=parts.rooms,
        phones=parts.phones,
        writer=parts.writer,
        epoch=parts.epoch,
        clock=clock,
        health=lambda: _health(ingest, parts.writer, parts.link, pruner),
        incidents=parts.incidents,
        desk=parts.desk,
        alerts=parts.alerts,
        engine=engine,
        rollouts=rollouts,
        forgetting=forgetting,
        pacing=Pacing(max(1, settings.download_threads), settings.updates.bytes_per_second),
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
        _stopping=threading.Event(),
    )


@dataclass(frozen=True)
class _Parts:
    """What the parts of a hub that decide are built on."""

    settings: HubSettings
    clock: Callable[[], int]
    epoch: str
    lead: Lead
    store: Store
    rooms: Rooms
    link: Link
    writer: Writer
    incidents: Incidents
    people: People
    alerts: AlertReading
    live: Live
    desk: Desk
    phones: Phones


def _parts(settings: HubSettings, clock: Callable[[], int]) -> _Parts:
    epoch = str(ULID())
    store, lead = Store(settings.database), lead_of(settings.database)
    rooms = Rooms(store.nodes(), Hearing(connected=False, since_us=clock()), retired(store))
    writer = Writer(Recorder(settings.database, lead), settings.ingest)
    incidents = Incidents(store)
    desk = Desk(writer, clock, settings.incidents.limits)
    return _Parts(
        settings=settings,
        clock=clock,
        epoch=epoch,
        lead=lead,
        store=store,
        rooms=rooms,
        link=Link(settings.broker, epoch, clock),
        writer=writer,
        incidents=incidents,
        people=People(store),
        alerts=AlertReading(store),
        live=Live(
            settings.web,
            rooms,
            epoch,
            lambda: writer.state.latest_change,
            incidents,
            held=settings.download_threads,
        ),
        desk=desk,
        phones=Phones(
            settings=settings,
            store=store,
            writer=writer,
            clock=clock,
            desk=desk,
            names=incidents.names,
            zone=site_time_zone(settings.alerts.time_zone),
        ),
    )


def _engine(parts: _Parts) -> Engine:
    channels: tuple[Channel, ...] = (
        parts.phones.push,
        PageChannel(parts.live),
        parts.phones.apprise,
        ActuatorChannel(parts.link.publish_retained, parts.alerts.lit, parts.clock),
    )
    return Engine(
        reading=parts.alerts,
        writer=parts.writer,
        channels=channels,
        facts=_facts(parts.settings.alerts, parts.rooms, parts.people),
        secret=secret_key(parts.settings.state_folder),
        clock=parts.clock,
        limits=parts.settings.alerts.limits,
    )


def _rollouts(parts: _Parts) -> Rollouts:
    settings = parts.settings.updates
    around = Surroundings(
        store=parts.store,
        writer=parts.writer,
        rooms=parts.rooms,
        incidents=parts.incidents,
        desk=parts.desk,
        broker=parts.link,
        clock=parts.clock,
        show=lambda shown: parts.live.tell_officers("rollout", shown),
        two_persons=settings.two_persons,
    )
    return Rollouts(around, trust_of(settings))


def _ingest(parts: _Parts, on_change: Callable[[Incident], None], rollouts: Rollouts) -> Ingest:
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


def _watch(parts: _Parts, on_change: Callable[[Incident], None]) -> Watch:
    return Watch(
        settings=parts.settings.broker,
        reading=parts.incidents,
        rooms=parts.rooms,
        writer=parts.writer,
        screen=parts.live,
        on_incident=on_change,
        clock=parts.clock,
        limits=parts.settings.incidents.limits,
    )


def _forgetting(parts: _Parts) -> Forgetting:
    return Forgetting(
        store=parts.store, rooms=parts.rooms, writer=parts.writer, broker=parts.link, clock=parts.clock
    )


def _facts(settings: AlertSettings, rooms: Rooms, people: People) -> SiteFacts:
    def room_of(incident: Incident) -> str:
        record = rooms.get(incident.origin_node) if incident.origin_node else None
        return record.room if record is not None else incident.origin_node or incident.zone

    return SiteFacts(
        people=people.all,
        room_of=room_of,
        time_zone=site_time_zone(settings.time_zone),
        cleared_seconds=settings.cleared_minutes * 60,
    )


def _health(ingest: Ingest, writer: Writer, link: Link, pruner: Pruner) -> Health:
    state = writer.state
    return Health(
        database=state.trouble or "ok",
        broker_connected=link.connected,
        stored=ingest.stored,
        quarantined=ingest.quarantined,
        queue=state.waiting,
        last_commit_ms=None if state.last_commit_ms is None else round(state.last_commit_ms, 3),
        pruned=pruner.last,
        prune_trouble=pruner.trouble,
    )
