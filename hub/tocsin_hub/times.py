"""Points in time: whole microseconds of UTC in the database, ISO 8601 with ``Z`` for people and programs."""

import time
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
LAST_US = (datetime(9999, 1, 1, tzinfo=UTC) - _EPOCH) // _MICROSECOND
"""Anything later cannot be shown in every time zone."""


def now_us() -> int:
    """The wall clock, microseconds of UTC since 1970."""
    return time.time_ns() // 1000


def to_us(moment: datetime) -> int:
    """``moment``, which knows its time zone, as microseconds of UTC since 1970."""
    return (moment - _EPOCH) // _MICROSECOND


def from_us(us: int) -> datetime:
    """The datetime of ``us`` microseconds since 1970, in UTC."""
    return _EPOCH + timedelta(microseconds=us)


def iso(us: int | None) -> str | None:
    """``us`` as ISO 8601 in UTC with milliseconds, such as ``2024-05-01T12:00:00.250Z``; ``None`` stays."""
    if us is None:
        return None
    return from_us(us).isoformat(timespec="milliseconds").replace("+00:00", "Z")
