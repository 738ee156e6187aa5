"""The months in which events are kept: which there are, and where each begins. No database is known here."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from ulid import ULID

_AHEAD = 2
"""Months that are made before they come: a hub that nobody starts anew for so long goes on."""


@dataclass(frozen=True, order=True)
class Month:
    """A month of UTC."""

    year: int
    month: int

    @property
    def table(self) -> str:
        """The table that keeps its events."""
        return f"events_{self.year:04}_{self.month:02}"

    @property
    def next(self) -> "Month":
        """The month after."""
        return Month(self.year + self.month // 12, self.month % 12 + 1)

    @property
    def first_id(self) -> str:
        """No id of the month is before this one, none of the month before is behind it."""
        begin = datetime(self.year, self.month, 1, tzinfo=UTC)
        return str(ULID.from_bytes(int(begin.timestamp() * 1000).to_bytes(6, "big") + bytes(10)))


def month_of(now_us: int) -> Month:
    """The month of a moment, microseconds of UTC."""
    now = datetime.fromtimestamp(now_us / 1e6, UTC)
    return Month(now.year, now.month)


def month_called(table: str) -> Month | None:
    """The month whose events ``table`` keeps; ``None`` if it keeps others."""
    year, _, month = table.removeprefix("events_").partition("_")
    if len(year) != 4 or len(month) != 2 or not (year + month).isdecimal():
        return None
    return Month(int(year), int(month))


def wanted(now_us: int) -> Iterator[Month]:
    """The months that must have a table: that of ``now_us`` and some after it."""
    month = month_of(now_us)
    for _ in range(_AHEAD + 1):
        yield month
        month = month.next
