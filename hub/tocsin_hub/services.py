"""What the pages, the API and the live channel may use: one frozen object, made at the root."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from flask import current_app

from tocsin_hub.alerts.engine import Engine
from tocsin_hub.alerts.reading import AlertReading
from tocsin_hub.forgetting import Forgetting
from tocsin_hub.incidents.desk import Desk
from tocsin_hub.incidents.reading import Incidents
from tocsin_hub.people.reading import People
from tocsin_hub.phones.service import Phones
from tocsin_hub.retention.rules import Pruned
from tocsin_hub.rollouts.engine import Rollouts
from tocsin_hub.rollouts.pacing import Pacing
from tocsin_hub.rooms import Rooms
from tocsin_hub.settings import HubSettings
from tocsin_hub.store import Store
from tocsin_hub.writer import Writer

EXTENSION = "tocsin"


@dataclass(frozen=True)
class Health:
    """How the hub fares, without anything secret."""

    database: str
    """``ok``, or why nothing can be stored."""
    broker_connected: bool
    stored: int
    """Detections in the database."""
    quarantined: int
    """Messages ever kept aside."""
    queue: int
    """Messages that wait for the disk."""
    last_commit_ms: float | None
    pruned: Pruned | None
    """What was let go of last."""
    prune_trouble: str
    """Why nothing could be let go of; empty when all is well."""
    web_processes: int | None = None
    """How many web processes the hub hears; ``None`` without a Redis, and in a web process."""

    @property
    def ok(self) -> bool:
        """Whether events come in and are stored."""
        return self.broker_connected and self.database == "ok"


@dataclass(frozen=True)
class Services:
    """The parts of a running hub."""

    settings: HubSettings
    store: Store
    people: People
    rooms: Rooms
    phones: Phones
    writer: Writer
    epoch: str
    """New for each start of the hub."""
    clock: Callable[[], int]
    """Microseconds of UTC."""
    latest_change: Callable[[], int]
    """Number of the last change that is on the disk."""
    health: Callable[[], Health]
    incidents: Incidents
    """Reads incidents."""
    desk: Desk
    """Takes what people do about incidents."""
    alerts: AlertReading
    """Reads alerts and policies."""
    engine: Engine
    """Tells people."""
    rollouts: Rollouts
    """Carries models over the air."""
    forgetting: Forgetting
    """Forgets rooms that are given up."""
    pacing: Pacing
    """How much of the line they may take."""


def services() -> Services:
    """The parts of the hub that answers the current request."""
    return cast("Services", current_app.extensions[EXTENSION])
