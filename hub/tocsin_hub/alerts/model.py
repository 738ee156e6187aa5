"""What an alert is: policies, messages to persons, deliveries by a channel, and the channels' port."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from tocsin_hub.incidents.model import Incident, IncidentSeverity
from tocsin_hub.people.model import Person

TEST_INCIDENT = "test"
"""In place of an incident's id for what is only a test of a channel."""


class ChannelName(StrEnum):
    """The roads to a person, or to a place."""

    PUSH = "push"
    """Web Push to the person's phones."""
    PAGE = "page"
    """Every page that the person has open."""
    APPRISE = "apprise"
    """Addresses of other services: ntfy on the LAN, a pager, SMS."""
    ACTUATOR = "actuator"
    """Lamps, shakers and wristbands of a zone, by MQTT."""


class Audience(StrEnum):
    """Whom a step of a policy means; all of them only where the incident's zone is theirs."""

    IN_ZONE = "in_zone"
    """Workers of the zone who are on shift."""
    BUDDIES = "buddies"
    """Buddies of those who were told and did not answer."""
    OFFICERS = "officers"
    """Officers on shift; all officers if none is."""
    EVERYBODY = "everybody"
    """Everybody on the site."""
    PLACE = "place"
    """Nobody by name: the actuators of the zone."""


@dataclass(frozen=True)
class PolicyStep:
    """Tell some people by some channels, some time after the incident began."""

    after_seconds: float
    """From the opening of the incident; steps come in this order."""
    audience: Audience
    channels: tuple[ChannelName, ...]
    repeat_seconds: float | None = None
    """Told again at this distance until acknowledged; ``None``: once."""


@dataclass(frozen=True)
class Policy:
    """An ordered plan for the incidents that it fits; the first enabled policy that fits is used."""

    id: str
    name: str
    order: int
    severities: frozenset[IncidentSeverity]
    zones: frozenset[str]
    """Empty means every zone."""
    groups: frozenset[str]
    """Groups of labels, or kinds of trouble; empty means all."""
    steps: tuple[PolicyStep, ...]
    most_repeats: int | None
    """Nobody is told again more often than this; for severity ``alarm`` it does not count."""
    enabled: bool = True
    help_tells_zone: bool = True
    """Whether everybody of the steps is told anew when somebody asks for help; the officers always are."""


@dataclass(frozen=True)
class Alert:
    """One person is to know of one incident; all deliveries to her hang on it.

    Times are microseconds of UTC.
    """

    id: str
    """ULID."""
    incident: str
    person: str | None
    """``None``: a place, the zone of the incident."""
    audience: Audience
    created_us: int
    answered_us: int | None = None
    answer: str | None = None


NO_CHANNEL = "nothing leads to this person: no phone, no open page, no address"
STARTED_ANEW = "the hub was started anew before the channel answered"
NO_ROOM = "too much waited for the channel"
"""Why a delivery failed that no channel took; channels have words of their own."""


@dataclass(frozen=True)
class Delivery:
    """One try to reach somebody by one channel."""

    id: str
    """ULID."""
    alert: str
    channel: ChannelName
    queued_us: int
    accepted_us: int | None = None
    """When the channel's service took it."""
    shown_us: int | None = None
    """When the person's device said that it shows it."""
    failed_us: int | None = None
    error: str = ""


@dataclass(frozen=True)
class Told:
    """An alert with all that was tried so far to bring it to its person."""

    alert: Alert
    deliveries: tuple[Delivery, ...] = ()


@dataclass(frozen=True)
class Message:
    """What is handed to a channel."""

    delivery: str
    """Id; a device that shows it may say so with ``receipt``."""
    alert: str
    receipt: str
    """Token for the receipt and for an answer from the lock screen, once; only its SHA-256 is stored."""
    incident: Incident
    room: str
    """Name of the room that is the likely origin."""
    candidates: tuple[str, ...]
    """Up to three labels, the likeliest first."""
    person: Person | None
    repeat: int
    """0 for the first time."""
    seconds_ago: float
    """From the onset to now."""
    address: str
    """Path of the page that shows it, such as ``/me?incident=…``."""


class Channel(Protocol):
    """One road. An instance is called from threads of its own, so that a slow one delays no other.

    One thread, unless the instance has a number ``lanes``: how many calls of :meth:`send` it bears at once.
    """

    name: ChannelName

    def reaches(self, person: Person | None) -> bool:
        """Whether the person has this channel at all (a phone, an address); cheap."""

    def send(self, message: Message) -> None:
        """Hand the message to the service; returns when it was accepted.

        Raises:
            UnavailableError: it was not accepted; the sentence is shown to the officer.
        """
