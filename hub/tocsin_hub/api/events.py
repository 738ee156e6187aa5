"""Rooms and events over HTTP."""

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from msgspec import Meta

from tocsin_hub.api.answers import Cursor, Events, Forgotten, RoomList
from tocsin_hub.api.parts import asked, described, needs, problem, who
from tocsin_hub.forgetting import NoRoomError, StillHeardError
from tocsin_hub.people import audit
from tocsin_hub.people.model import Role
from tocsin_hub.services import services
from tocsin_hub.store import MAX_PAGE, HistoryFilter, StoredEvent
from tocsin_hub.times import iso
from tocsin_hub.views import Json, event_json, room_json
from tocsin_shared.labels import Severity

DEFAULT_PAGE = 50
_LARGEST = 2**63 - 1
_OF_THE_PAST = ["before", "node", "label", "severity"]

events = Blueprint("events", __name__)

Change = Annotated[int, Meta(ge=0, le=_LARGEST, extra_json_schema={"x-not-with": _OF_THE_PAST})]
Limit = Annotated[int, Meta(ge=1, le=MAX_PAGE)]
NodeFilter = Annotated[
    str, Meta(pattern=r"^([a-z0-9-]{3,32})?(?!\n)$", description="3 to 32 of a-z, 0-9 and -; empty means all")
]
LabelFilter = Annotated[
    str,
    Meta(
        pattern=r"^([a-z][a-z0-9_]{0,63})?(?!\n)$",
        description="1 to 64 of a-z, 0-9 and _, a letter first; empty means all",
    ),
]
SeverityFilter = Literal["", "alarm", "warning", "notice", "none"]


class EventsQuery(msgspec.Struct):
    """Events that changed after a change, or those of the past."""

    after: Change | None = None
    before: Cursor = ""
    limit: Limit | None = None
    node: NodeFilter = ""
    label: LabelFilter = ""
    severity: SeverityFilter = ""


@events.get("/rooms")
@described("rooms", answer=RoomList)
def list_rooms() -> ResponseReturnValue:
    """Every room with its state."""
    hub = services()
    return jsonify(
        at=iso(hub.clock()), rooms=[room_json(one) for one in hub.rooms.all() if who().sees(one.zone)]
    )


@events.delete("/rooms/<node>")
@needs(Role.ADMIN)
@described("rooms", answer=Forgotten, errors=(409,))
def forget_room(node: str) -> ResponseReturnValue:
    """Forget the room of a node that is gone; what was heard in it stays in the history.

    If the node speaks again, its room is back.
    """
    hub = services()
    record = hub.rooms.get(node)
    if record is None or not who().sees(record.zone):
        return problem(404, "not_found", "There is no room of this node.")
    try:
        hub.forgetting.give_up(node, audit.noting("room.forgotten", node))
    except NoRoomError as error:  # somebody else was faster
        return problem(404, "not_found", str(error))
    except StillHeardError as error:
        return problem(409, "still_heard", str(error))
    return jsonify(node=node)


@events.get("/events")
@described("events", query=EventsQuery, answer=Events)
def list_events() -> ResponseReturnValue:
    """Events that changed after ``after``, or those of the past, newest onset first.

    With ``after`` (0 to begin with), go on from ``next`` until there is no ``more``: then every change was
    seen. Without it, the cursor ``next`` leads to the older ones, and is null at the end.
    """
    query = asked(EventsQuery)
    return _history(query) if query.after is None else _changes(query.after, query.limit or MAX_PAGE)


def _changes(after: int, limit: int) -> ResponseReturnValue:
    hub = services()
    page = hub.store.events_after(after, limit, who().zones)
    shown = _events_json(page.events)
    return jsonify(events=shown, next=page.next, more=page.more)


def _history(query: EventsQuery) -> ResponseReturnValue:
    hub = services()
    severity = Severity(query.severity) if query.severity else None
    only = HistoryFilter(query.node or None, query.label or None, severity)
    limit = query.limit or DEFAULT_PAGE
    page = hub.store.events_before(query.before or None, limit, only, who().zones)
    shown = _events_json(page.events)
    return jsonify(events=shown, next=page.next)


def _events_json(events: Sequence[StoredEvent]) -> list[Json]:
    hub = services()
    incidents = hub.incidents.ids_of(event.id for event in events)
    return [event_json(event, hub.rooms.get(event.node), incidents.get(event.id)) for event in events]
