"""What the plots of the history show: detections per hour, and how loud a room was."""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated

import msgspec
from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue
from msgspec import Meta

from tocsin_hub.api.parts import described, problem, who
from tocsin_hub.levels.keeping import counts_by_hour, levels_of
from tocsin_hub.services import services
from tocsin_hub.times import LAST_US, iso, to_us
from tocsin_shared.errors import BadInputError
from tocsin_shared.events import NODE_ID_PATTERN

LONGEST_DAYS = 31
_DAY_US = 86_400_000_000

plots = Blueprint("plots", __name__)


class Span(msgspec.Struct, forbid_unknown_fields=True):
    """From when to when; by default the last day."""

    since: str | None = None
    until: str | None = None
    node: str | None = None
    zone: str | None = None


class LevelSpan(msgspec.Struct, forbid_unknown_fields=True):
    """Which room, from when to when; by default the last day."""

    node: Annotated[str, Meta(pattern=NODE_ID_PATTERN, examples=["press-1"])]
    since: str | None = None
    until: str | None = None


class Hour(msgspec.Struct):
    """One hour in which something was heard."""

    at: str
    alarm: int
    warning: int
    notice: int


class Hours(msgspec.Struct):
    """Detections per hour; hours without any are left out."""

    since: str
    until: str
    hours: list[Hour]


class Level(msgspec.Struct):
    """How loud it was around one moment."""

    at: str
    mean_dbfs: float
    loudest_dbfs: float


class Levels(msgspec.Struct):
    """Levels of one room; minutes without a level are left out."""

    since: str
    until: str
    levels: list[Level]


@plots.get("/counts")
@described("plots", query=Span, answer=Hours, errors=(404,), judged=True)
def counts() -> ResponseReturnValue:
    """Detections per hour."""
    asked: Span = request.context.query  # type: ignore[attr-defined]
    since_us, until_us = _span(asked.since, asked.until)
    zones = who().zones if asked.zone is None else frozenset({asked.zone})
    if asked.zone is not None and not who().sees(asked.zone):
        return problem(HTTPStatus.NOT_FOUND, "not_found", "There is no such zone.")
    hours = counts_by_hour(services().store, since_us, until_us, asked.node, zones)
    shown = [
        {"at": iso(hour.at_us), "alarm": hour.alarm, "warning": hour.warning, "notice": hour.notice}
        for hour in hours
    ]
    return jsonify(since=iso(since_us), until=iso(until_us), hours=shown)


@plots.get("/levels")
@described("plots", query=LevelSpan, answer=Levels, errors=(404,), judged=True)
def levels() -> ResponseReturnValue:
    """How loud a room was, minute by minute or coarser."""
    asked: LevelSpan = request.context.query  # type: ignore[attr-defined]
    hub = services()
    record = hub.rooms.get(asked.node)
    if record is None or not who().sees(record.zone):
        return problem(HTTPStatus.NOT_FOUND, "not_found", "There is no such node.")
    since_us, until_us = _span(asked.since, asked.until)
    shown = [
        {"at": iso(point.at_us), "mean_dbfs": point.mean_dbfs, "loudest_dbfs": point.loudest_dbfs}
        for point in levels_of(hub.store, asked.node, since_us, until_us)
    ]
    return jsonify(since=iso(since_us), until=iso(until_us), levels=shown)


def _span(since: str | None, until: str | None) -> tuple[int, int]:
    """Microseconds from and to; the end is now where none is given, the begin a day before the end."""
    until_us = services().clock() if until is None else _moment("until", until)
    since_us = until_us - _DAY_US if since is None else _moment("since", since)
    if not 0 < until_us - since_us <= LONGEST_DAYS * _DAY_US:
        raise BadInputError(f"since: must be before until, by at most {LONGEST_DAYS} days")
    return since_us, until_us


def _moment(name: str, text: str) -> int:
    wrong = BadInputError(f"{name}: must be a time such as 2024-05-01T12:00:00Z")
    try:
        moment = datetime.fromisoformat(text[:40])
    except ValueError:
        raise wrong from None
    if moment.tzinfo is None or not 0 <= to_us(moment) <= LAST_US:
        raise wrong
    return to_us(moment)
