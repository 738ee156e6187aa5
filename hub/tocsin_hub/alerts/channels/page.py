"""The channel PAGE: every page that a person has open, by the live channel's event ``alert``."""

from typing import Any, Protocol

from tocsin_hub.alerts.model import ChannelName, Message
from tocsin_hub.people.model import Person
from tocsin_hub.times import iso
from tocsin_shared.errors import UnavailableError

EVENT = "alert"


class Screens(Protocol):
    """The pages that are open now."""

    def count(self, person: str | None) -> int:
        """How many pages a person has open; ``None``: how many are open at all."""

    def tell(self, person: str | None, name: str, data: dict[str, Any]) -> None:
        """Emit to every page of a person; ``None``: to every page."""


class PageChannel:
    """Shows alerts on open pages."""

    name = ChannelName.PAGE

    def __init__(self, screens: Screens) -> None:
        self._screens = screens

    def reaches(self, person: Person | None) -> bool:
        """Whether the person has a page open; for nobody in particular, whether anybody has."""
        return self._screens.count(None if person is None else person.id) > 0

    def send(self, message: Message) -> None:
        """Show the message.

        Raises:
            UnavailableError: the last page was closed.
        """
        person = None if message.person is None else message.person.id
        if not self._screens.count(person):
            raise UnavailableError("no page is open any more")
        self._screens.tell(person, EVENT, alert_json(message))


def alert_json(message: Message) -> dict[str, Any]:
    """An alert as a page gets it; ``receipt`` is for saying that it is shown."""
    incident = message.incident
    return {
        "alert": message.alert,
        "delivery": message.delivery,
        "receipt": message.receipt,
        "incident": incident.id,
        "kind": str(incident.kind),
        "group": incident.group,
        "label": incident.label,
        "candidates": list(message.candidates),
        "severity": str(incident.severity),
        "zone": incident.zone,
        "room": message.room,
        "drill": incident.drill,
        "help": incident.help_us is not None,
        "active": incident.active,
        "opened": iso(incident.opened_us),
        "seconds_ago": round(message.seconds_ago, 3),
        "repeat": message.repeat,
        "address": message.address,
    }
