"""Rooms and events over HTTP."""

import re
from collections.abc import Sequence

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue

from tocsin_hub.api.parts import who
from tocsin_hub.services import services
from tocsin_hub.store import MAX_PAGE, HistoryFilter, StoredEvent
from tocsin_hub.times import iso
from tocsin_hub.views import Json, event_json, room_json
from tocsin_shared.errors import BadInputError
from tocsin_shared.events import NODE_ID_PATTERN
from tocsin_shared.labels import LABEL_PATTERN, Severity

DEFAULT_PAGE = 50
_LARGEST = 2**63 - 1

events = Blueprint("events", __name__)


@events.get("/rooms")
def list_rooms() -> ResponseReturnValue:
    """Every room with its state."""
    hub = services()
    return jsonify(
        at=iso(hub.clock()), rooms=[room_json(one) for one in hub.rooms.all() if who().sees(one.zone)]
    )


@events.get("/events")
def list_events() -> ResponseReturnValue:
    """Events after a change (``after``), or those of the past, newest first (``before``)."""
    return _changes() if "after" in request.args else _history()


def _changes() -> ResponseReturnValue:
    _allow("after", "limit")
    hub = services()
    limit = _number("limit", MAX_PAGE, 1, MAX_PAGE)
    page = hub.store.events_after(_number("after", 0, 0, _LARGEST), limit, who().zones)
    shown = _events_json(page.events)
    return jsonify(events=shown, next=page.next, more=page.more)


def _history() -> ResponseReturnValue:
    _allow("before", "limit", "node", "label", "severity")
    hub = services()
    only = HistoryFilter(
        _matching("node", NODE_ID_PATTERN, "3 to 32 of a-z, 0-9 and -"),
        _matching("label", LABEL_PATTERN, "1 to 64 of a-z, 0-9 and _, a letter first"),
        _severity(),
    )
    limit = _number("limit", DEFAULT_PAGE, 1, MAX_PAGE)
    try:
        page = hub.store.events_before(request.args.get("before") or None, limit, only, who().zones)
    except BadInputError as error:
        raise BadInputError(f"before: {error}") from error
    shown = _events_json(page.events)
    return jsonify(events=shown, next=page.next)


def _events_json(events: Sequence[StoredEvent]) -> list[Json]:
    hub = services()
    incidents = hub.incidents.ids_of(event.id for event in events)
    return [event_json(event, hub.rooms.get(event.node), incidents.get(event.id)) for event in events]


def _allow(*names: str) -> None:
    for name in request.args:
        if name not in names:
            raise BadInputError(f"{name[:40]}: there is no such parameter here; known are {', '.join(names)}")
        if len(request.args.getlist(name)) > 1:
            raise BadInputError(f"{name}: given more than once")


def _number(name: str, default: int, low: int, high: int) -> int:
    text = request.args.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 19 and low <= int(text) <= high):
        raise BadInputError(f"{name}: must be a whole number from {low} to {high}")
    return int(text)


def _matching(name: str, pattern: str, words: str) -> str | None:
    text = request.args.get(name) or None
    if text is not None and not re.fullmatch(pattern, text):
        raise BadInputError(f"{name}: must be {words}")
    return text


def _severity() -> Severity | None:
    text = request.args.get("severity") or None
    if text is not None and text not in set(Severity):
        raise BadInputError(f"severity: must be one of {', '.join(Severity)}")
    return None if text is None else Severity(text)
