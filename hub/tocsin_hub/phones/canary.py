"""When each phone is checked, and who counts as reached."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from enum import StrEnum

from tocsin_hub.phones.model import Phone
from tocsin_hub.times import to_us

LATEST = timedelta(hours=4)
"""A hub that was off at the time of the check makes up for it so much later at most, lest it wakes people."""


class Reach(StrEnum):
    """Whether a person's phone is reached, as far as the hub knows."""

    NO_PHONE = "no_phone"
    UNKNOWN = "unknown"
    """Never checked yet."""
    WAITING = "waiting"
    """The check is under way."""
    REACHED = "reached"
    NOT_REACHED = "not_reached"


def last_moment_us(now: datetime, at: str) -> int | None:
    """The last moment at or before ``now`` when phones were to be checked, microseconds of UTC.

    ``now`` knows the time zone of the site; ``at`` is ``HH:MM`` or empty, which means never.
    """
    if not at:
        return None
    hour, minute = (int(part) for part in at.split(":"))
    moment = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    return to_us(moment if moment <= now else moment - timedelta(days=1))


def due(phones: Iterable[Phone], now_us: int, moment_us: int | None) -> list[Phone]:
    """The phones that are to be checked now: once for each moment, and not too long after it."""
    if moment_us is None or now_us - moment_us > LATEST // timedelta(microseconds=1):
        return []
    return [
        phone
        for phone in phones
        if phone.created_us < moment_us and (phone.canary_us is None or phone.canary_us < moment_us)
    ]


def reach(phones: Sequence[Phone], now_us: int, patience_minutes: float) -> Reach:
    """Whether a person with these phones is reached: one that shows what it is sent is enough."""
    if not phones:
        return Reach.NO_PHONE
    states = {_state(phone, now_us, patience_minutes) for phone in phones}
    order = (Reach.REACHED, Reach.WAITING, Reach.UNKNOWN, Reach.NOT_REACHED)
    return next(state for state in order if state in states)


def _state(phone: Phone, now_us: int, patience_minutes: float) -> Reach:
    if phone.canary_us is None:
        return Reach.UNKNOWN if phone.shown_us is None else Reach.REACHED
    if phone.shown_us is not None and phone.shown_us >= phone.canary_us:
        return Reach.REACHED
    waited_us = now_us - phone.canary_us
    return Reach.WAITING if waited_us < patience_minutes * 60e6 else Reach.NOT_REACHED
