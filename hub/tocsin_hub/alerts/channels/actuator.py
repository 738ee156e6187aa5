"""The channel ACTUATOR: what the lamps, shakers and wristbands of a zone are to do, retained on MQTT.

The message is a level and not an edge: it says what holds in the zone now, so that a lamp that was plugged
in late, or a second incident that ends before the first, leaves nothing wrong.
"""

import re
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress

from tocsin_hub.alerts.model import ChannelName, Message
from tocsin_hub.incidents.model import Incident, IncidentSeverity
from tocsin_hub.people.model import Person
from tocsin_hub.times import from_us
from tocsin_shared import codec
from tocsin_shared.errors import UnavailableError
from tocsin_shared.events import ZONE_PATTERN, ActuatorState, Switch
from tocsin_shared.topics import actuator_topic

_ZONE = re.compile(ZONE_PATTERN)
_WORST_FIRST = list(IncidentSeverity)


class ActuatorChannel:
    """Publishes what holds in a zone. What was published before is remembered for as long as it holds."""

    name = ChannelName.ACTUATOR

    def __init__(
        self,
        publish: Callable[[str, bytes], None],
        lit: Callable[[], Iterable[Incident]],
        clock: Callable[[], int],
    ) -> None:
        """``publish`` sends a retained message and waits until the broker has it, or raises UnavailableError.

        ``lit`` says for which incidents a former hub turned something on; it may raise the same.
        """
        self._publish = publish
        self._former = lit
        self._clock = clock
        self._lit: dict[str, dict[str, Incident]] | None = None
        """Incidents for which something is on, by zone."""

    def reaches(self, person: Person | None) -> bool:
        """Places, never a person."""
        return person is None

    def send(self, message: Message) -> None:
        """Publish what holds in the incident's zone from now on.

        Raises:
            UnavailableError: the broker did not take it, or the zone has no topic.
        """
        incident = message.incident
        if not _ZONE.match(incident.zone):
            raise UnavailableError(f"the zone {incident.zone!r} has no topic")
        if self._lit is None:
            self._lit = self._remembered()
        lit = self._lit.setdefault(incident.zone, {})
        if waits(incident):
            lit[incident.id] = incident
        else:
            lit.pop(incident.id, None)
        self._publish(actuator_topic(incident.zone), codec.encode(self._state(incident.zone, lit.values())))

    def _remembered(self) -> dict[str, dict[str, Incident]]:
        found: dict[str, dict[str, Incident]] = {}
        with suppress(UnavailableError):  # what lasts is told again within a repeat
            for one in self._former():
                if waits(one):
                    found.setdefault(one.zone, {})[one.id] = one
        return found

    def _state(self, zone: str, lit: Collection[Incident]) -> ActuatorState:
        at = from_us(self._clock())
        if not lit:
            return ActuatorState(zone=zone, state=Switch.OFF, at=at)
        worst = min(lit, key=lambda one: (one.drill, _WORST_FIRST.index(one.severity), one.opened_us))
        return ActuatorState(
            zone=zone,
            state=Switch.ON,
            at=at,
            severity=str(worst.severity),
            group=worst.group,
            drill=worst.drill,
            help=any(one.help_us is not None for one in lit),
            incident=worst.id,
            since=from_us(worst.opened_us),
        )


def waits(incident: Incident) -> bool:
    """Whether something in the zone is to be on for ``incident``: nobody acknowledged it, and it lasts."""
    return not incident.acknowledged and (incident.active or incident.help_us is not None)
