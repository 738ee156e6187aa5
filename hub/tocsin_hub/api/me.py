"""All that the worker's page shows, in one answer: it is small, and whole each time it is asked for."""

import msgspec
from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from tocsin_hub.api.incidents import IncidentShown, SomebodyShown
from tocsin_hub.api.parts import described, who
from tocsin_hub.api.phones import PhoneWords, phone_json
from tocsin_hub.incidents.model import Incident, IncidentKind
from tocsin_hub.incidents.reading import IncidentFilter
from tocsin_hub.phones.canary import Reach
from tocsin_hub.rooms import RoomState
from tocsin_hub.services import services
from tocsin_hub.times import iso
from tocsin_hub.views import incidents_json

ENDED_MINUTES = 15.0
"""What ended so lately is still shown, as over."""
_MOST = 50

me = Blueprint("me", __name__)


class DeafRoom(msgspec.Struct):
    """A room that is not being listened to, and since when."""

    room: str
    zone: str
    state: RoomState
    since: str


class RoomsShown(msgspec.Struct):
    """How many of the rooms that the person sees are being listened to."""

    total: int
    listening: int
    deaf: list[DeafRoom]


class Now(msgspec.Struct):
    """What concerns a person now; ``change`` grows with every change of an event or an incident."""

    at: str
    change: int
    person: SomebodyShown
    incidents: list[IncidentShown]
    rooms: RoomsShown
    reach: Reach
    phones: list[PhoneWords]


@me.get("/me/now")
@described("me", answer=Now)
def now() -> ResponseReturnValue:
    """What concerns whoever asks: incidents, rooms, and whether her phone is reached."""
    hub = services()
    person = who()
    change = hub.latest_change()  # before anything is read, so that it is never too new
    now_us = hub.clock()
    rooms = [one for one in hub.rooms.all() if person.sees(one.zone)]
    deaf = [one for one in rooms if one.state is not RoomState.LISTENING]
    return jsonify(
        at=iso(now_us),
        change=change,
        person={"id": person.id, "name": person.name},
        incidents=incidents_json(_current(person.zones, now_us), hub.rooms, hub.incidents),
        rooms={
            "total": len(rooms),
            "listening": len(rooms) - len(deaf),
            "deaf": [
                {"room": one.room, "zone": one.zone, "state": str(one.state), "since": iso(one.since_us)}
                for one in deaf
            ],
        },
        reach=str(hub.phones.reach(person.id)),
        phones=[phone_json(one) for one in hub.phones.registry.of(person.id)],
    )


def _current(zones: frozenset[str], now_us: int) -> list[Incident]:
    """Sounds that last or ended a moment ago, the newest first."""
    reading = services().incidents
    ended_us = now_us - ENDED_MINUTES * 60e6
    newest = reading.before(None, _MOST, IncidentFilter(kind=IncidentKind.SOUND), zones).incidents
    recent = [one for one in newest if one.cleared_us is None or one.cleared_us > ended_us]
    known = {one.id for one in recent}
    older = [one for one in reading.open(zones) if one.kind is IncidentKind.SOUND and one.id not in known]
    return recent + older[: _MOST - len(recent)]
