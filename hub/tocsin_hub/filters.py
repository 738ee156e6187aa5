"""What the reader of the history wants to see, as an address says it; what cannot be read is left out."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tocsin_hub.store import HistoryFilter, Occasion
from tocsin_hub.times import to_us
from tocsin_shared.labels import Severity

_LONGEST = 64
_ZONE_NAME = re.compile(r"[A-Za-z0-9_+\-/]{1,64}")


@dataclass(frozen=True)
class Filters:
    """What is asked for; empty means all."""

    zone: str = ""
    node: str = ""
    label: str = ""
    severity: str = ""
    what: str = ""
    """An :class:`Occasion`."""
    since: str = ""
    """First day, ISO 8601."""
    until: str = ""
    """Last day, which is included."""
    clock: str = ""
    """IANA name of the time zone whose days these are; empty means UTC."""

    @property
    def any(self) -> bool:
        """Whether anything is filtered at all."""
        return any(value for name, value in self.query.items() if name != "clock")

    @property
    def query(self) -> dict[str, str]:
        """The filters that are set, for an address."""
        chosen = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in chosen.items() if value}

    @property
    def time_zone(self) -> tzinfo:
        """The time zone whose days are meant."""
        return _time_zone(self.clock) or UTC

    @property
    def since_us(self) -> int | None:
        """When the first day begins."""
        return _midnight(self.since, 0, self.time_zone)

    @property
    def until_us(self) -> int | None:
        """When the last day is over."""
        return _midnight(self.until, 1, self.time_zone)

    def for_store(self) -> HistoryFilter:
        """The same, as the store wants it."""
        return HistoryFilter(
            node=self.node or None,
            label=self.label or None,
            severity=Severity(self.severity) if self.severity else None,
            zone=self.zone or None,
            since_us=self.since_us,
            until_us=self.until_us,
            occasion=Occasion(self.what) if self.what else None,
        )


def read_filters(query: Mapping[str, str]) -> Filters:
    """The filters in an address."""
    texts = {name: query.get(name, "")[:_LONGEST] for name in ("zone", "node", "label")}
    return Filters(
        **texts,
        severity=_one_of(query.get("severity", ""), set(Severity)),
        what=_one_of(query.get("what", ""), set(Occasion)),
        since=_day(query.get("since", "")),
        until=_day(query.get("until", "")),
        clock=query.get("clock", "") if _time_zone(query.get("clock", "")) else "",
    )


def _one_of(text: str, known: set[Severity] | set[Occasion]) -> str:
    return text if text in known else ""


def _day(text: str) -> str:
    try:
        return date.fromisoformat(text[:10]).isoformat()
    except ValueError:
        return ""


def _midnight(day: str, later_days: int, zone: tzinfo) -> int | None:
    if not day:
        return None
    try:
        begins = datetime.combine(
            date.fromisoformat(day) + timedelta(days=later_days), datetime.min.time(), zone
        )
        return to_us(begins)
    except (ValueError, OverflowError):  # a day before the first or after the last that can be told
        return None


def _time_zone(name: str) -> tzinfo | None:
    if not _ZONE_NAME.fullmatch(name):
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None
