"""Rules: what is old enough to go, when it is looked at, and how much goes at once."""

from dataclasses import dataclass, field
from enum import StrEnum

from tocsin_hub.settings import StoreSettings

DAY_US = 86_400 * 1_000_000
_HOUR_US = 3600 * 1_000_000
_OVERDUE_US = 25 * _HOUR_US
_RECENT_US = 20 * _HOUR_US
_QUICK_SECONDS, _SLOW_SECONDS = 0.02, 0.05
FIRST_ROWS, _LEAST_ROWS, _MOST_ROWS = 100, 10, 2000


class Matter(StrEnum):
    """What is kept for a time of its own, in the order in which it is let go of."""

    ALERTS = "alerts"
    """Who was told, with every delivery."""
    INCIDENTS = "incidents"
    """With their timelines; one to which alerts are still kept stays as long as they do."""
    DRILLS = "drills"
    EVENTS = "events"
    AUDIT = "audit"
    QUARANTINE = "quarantine"
    TROUBLES = "troubles"


@dataclass(frozen=True)
class Term:
    """Everything of one matter that is older than a moment goes, unless it is of an incident that lasts."""

    matter: Matter
    before_us: int


@dataclass(frozen=True)
class Pruned:
    """What one look at the database let go of."""

    at_us: int
    """When it began."""
    seconds: float
    removed: dict[str, int] = field(default_factory=dict)
    """Rows by matter; matters of which nothing went are left out."""


def terms(keep: StoreSettings, now_us: int) -> tuple[Term, ...]:
    """What may go at ``now_us``; a matter that is kept for ever has no term."""
    days = {
        Matter.ALERTS: keep.keep_alerts_days,
        Matter.INCIDENTS: keep.keep_incidents_days,
        Matter.DRILLS: keep.keep_incidents_days,
        Matter.EVENTS: keep.keep_events_days,
        Matter.AUDIT: keep.keep_audit_days,
        Matter.QUARANTINE: keep.keep_quarantine_days,
        Matter.TROUBLES: keep.keep_troubles_days,
    }
    return tuple(Term(matter, now_us - days[matter] * DAY_US) for matter in Matter if days[matter])


def is_due(now_us: int, last_us: int | None, hour: int, quiet_hour: int) -> bool:
    """Whether to look again: in the quiet hour once a day, or at once if that was missed.

    ``hour`` is the hour of the day now. A last time in the future, of a clock that was wrong, counts as long
    ago as it is ahead.
    """
    if last_us is None:
        return True
    since = abs(now_us - last_us)
    return since > _OVERDUE_US or (since > _RECENT_US and hour == quiet_hour)


def next_rows(rows: int, seconds: float) -> int:
    """How many rows the next piece has, if one of ``rows`` took the writer so long, commit included."""
    if seconds > _SLOW_SECONDS:
        return max(_LEAST_ROWS, rows // 2)
    return min(_MOST_ROWS, rows * 2) if seconds < _QUICK_SECONDS else rows


def spare_pages(free: int, pages: int) -> int:
    """How many free pages go back to the file system: those above a tenth, which will be filled again."""
    return max(0, free - pages // 10)
