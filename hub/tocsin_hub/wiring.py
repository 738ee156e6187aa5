"""What a hub and a web process beside it are built of, and how these parts are connected."""

from collections.abc import Callable
from dataclasses import dataclass

from ulid import ULID

from tocsin_hub.alerts.channels.actuator import ActuatorChannel
from tocsin_hub.alerts.channels.page import PageChannel
from tocsin_hub.alerts.engine import Engine, SiteFacts
from tocsin_hub.alerts.model import Channel
from tocsin_hub.alerts.reading import AlertReading
from tocsin_hub.alerts.timezone import site_time_zone
from tocsin_hub.auth import secret_key
from tocsin_hub.forgetting import Forgetting, retired
from tocsin_hub.incidents.desk import Desk
from tocsin_hub.incidents.model import Incident
from tocsin_hub.incidents.reading import Incidents
from tocsin_hub.link import Link
from tocsin_hub.live import Live
from tocsin_hub.people.reading import People
from tocsin_hub.phones.service import Phones
from tocsin_hub.place import Lead, lead_of
from tocsin_hub.recorder import Recorder
from tocsin_hub.rollouts.engine import Rollouts, Surroundings
from tocsin_hub.rollouts.pacing import Pacing
from tocsin_hub.rollouts.trust import trust_of
from tocsin_hub.rooms import Hearing, Rooms
from tocsin_hub.services import Health, Services
from tocsin_hub.settings import AlertSettings, HubSettings
from tocsin_hub.store import Store
from tocsin_hub.web import bus_of
from tocsin_hub.web.beats import Beats
from tocsin_hub.web.ports import Bus
from tocsin_hub.writer import Writer


@dataclass(frozen=True)
class Parts:
    """What the parts that decide are built on."""

    settings: HubSettings
    clock: Callable[[], int]
    epoch: str
    lead: Lead
    store: Store
    latest_change: Callable[[], int]
    beats: Beats
    bus: Bus | None
    """What leads to other processes; ``None`` where there are none."""
    rooms: Rooms
    link: Link
    writer: Writer
    incidents: Incidents
    people: People
    alerts: AlertReading
    live: Live
    desk: Desk
    phones: Phones


def parts_of(settings: HubSettings, clock: Callable[[], int], *, leads: bool) -> Parts:
    """The parts of the hub, which ``leads``, or of a web process, which does not.

    Raises:
        SettingsError: Redis is set, and cannot be used as it is set.
        UnavailableError: the database, the state folder or the package for Redis cannot be used.
    """
    epoch, beats = str(ULID()), Beats()
    store, lead = Store(settings.database), lead_of(settings.database)
    rooms = Rooms(store.nodes(), Hearing(connected=False, since_us=clock()), retired(store))
    writer = Writer(Recorder(settings.database, lead if leads else None), settings.ingest)
    bus = bus_of(settings.web, beats)

    def latest_change() -> int:
        return writer.state.latest_change if leads else store.counter("change")

    incidents = Incidents(store)
    desk = Desk(writer, clock, settings.incidents.limits)
    return Parts(
        settings=settings,
        clock=clock,
        epoch=epoch,
        lead=lead,
        store=store,
        latest_change=latest_change,
        beats=beats,
        bus=bus,
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
            latest_change,
            incidents,
            held=settings.download_threads,
            beats=beats,
            bus=bus,
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


def engine_of(parts: Parts) -> Engine:
    """What tells people; only the hub starts it."""
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


def rollouts_of(parts: Parts) -> Rollouts:
    """What carries models over the air; only the hub starts it.

    Raises:
        SettingsError: a trust repository is set, and cannot be used.
    """
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


def services_of(
    parts: Parts, *, engine: Engine, rollouts: Rollouts, forgetting: Forgetting, health: Callable[[], Health]
) -> Services:
    """What pages, API and live channel may use."""
    settings = parts.settings
    return Services(
        settings=settings,
        store=parts.store,
        people=parts.people,
        rooms=parts.rooms,
        phones=parts.phones,
        writer=parts.writer,
        epoch=parts.epoch,
        clock=parts.clock,
        latest_change=parts.latest_change,
        health=health,
        incidents=parts.incidents,
        desk=parts.desk,
        alerts=parts.alerts,
        engine=engine,
        rollouts=rollouts,
        forgetting=forgetting,
        pacing=Pacing(max(1, settings.download_threads), settings.updates.bytes_per_second),
    )
