"""Levels in the database: one row for each node and minute, for :data:`KEPT_DAYS`; and what plots ask for."""

import math
from dataclasses import dataclass

from tocsin_hub.levels.rules import MINUTE_US, MinuteLevel, step_minutes
from tocsin_hub.recorder import Recorder
from tocsin_hub.store import Store
from tocsin_hub.writer import Outcome, Work
from tocsin_shared.labels import Severity, severity_of

KEPT_DAYS = 14
"""A room costs 20 000 rows of 30 bytes in this time."""
MOST_POINTS = 720
_HOUR_US = 3_600_000_000


@dataclass(frozen=True)
class LevelPoint:
    """One point of a plot of levels."""

    at_us: int
    mean_dbfs: float
    loudest_dbfs: float


@dataclass(frozen=True)
class HourCount:
    """How many detections began in one hour, by how much they matter."""

    at_us: int
    alarm: int
    warning: int
    notice: int


def saving(line: MinuteLevel) -> Work:
    """The work that stores ``line`` and lets go of what is too old."""

    def write(recorder: Recorder) -> Outcome:
        save(recorder, line)
        return Outcome()

    return Work(write, lambda _: None)


def save(recorder: Recorder, line: MinuteLevel) -> None:
    """Store ``line``, and delete the lines of its node that are older than :data:`KEPT_DAYS`."""
    execute = recorder.database.execute
    execute(
        "INSERT INTO levels (node, minute, mean_dbfs, loudest_dbfs) VALUES (?, ?, ?, ?) "
        "ON CONFLICT (node, minute) DO UPDATE SET mean_dbfs = excluded.mean_dbfs, "
        "loudest_dbfs = excluded.loudest_dbfs",
        (line.node, line.minute, line.mean_dbfs, line.loudest_dbfs),
    )
    oldest = line.minute - KEPT_DAYS * 24 * 60
    execute("DELETE FROM levels WHERE node = ? AND minute < ?", (line.node, oldest))


def levels_of(store: Store, node: str, since_us: int, until_us: int) -> list[LevelPoint]:
    """Levels of ``node`` from ``since_us`` to ``until_us``, at most :data:`MOST_POINTS` of them.

    The mean of several minutes is that of their power.

    Raises:
        UnavailableError: the database cannot be used at the moment.
    """
    first, last = since_us // MINUTE_US, until_us // MINUTE_US
    step = step_minutes(first, last, MOST_POINTS)
    rows = store.rows(
        "SELECT minute / ? * ?, mean_dbfs, loudest_dbfs FROM levels "
        "WHERE node = ? AND minute >= ? AND minute < ? ORDER BY minute",
        (step, step, node, first, last),
    )
    gathered: dict[int, list[tuple[float, float]]] = {}
    for minute, mean, loudest in rows:
        gathered.setdefault(minute, []).append((mean, loudest))
    return [_point(minute, levels) for minute, levels in gathered.items()]


def _point(minute: int, levels: list[tuple[float, float]]) -> LevelPoint:
    power = sum(10.0 ** (mean / 10.0) for mean, _ in levels) / len(levels)
    mean = round(10.0 * math.log10(max(power, 1e-30)), 1)
    return LevelPoint(minute * MINUTE_US, mean, max(loudest for _, loudest in levels))


def counts_by_hour(
    store: Store, since_us: int, until_us: int, node: str | None, zones: frozenset[str]
) -> list[HourCount]:
    """How many detections began in each hour in which any did; tests and unreported sounds do not count.

    Raises:
        UnavailableError: the database cannot be used at the moment.
    """
    conditions, parameters = ["onset_us >= ?", "onset_us < ?", "test = 0"], [since_us, until_us]
    if node is not None:
        conditions.append("node = ?")
        parameters.append(node)  # type: ignore[arg-type]
    if zones:
        conditions.append(f"zone IN ({', '.join('?' * len(zones))})")
        parameters += sorted(zones)  # type: ignore[arg-type]
    sql = (
        f"SELECT onset_us / {_HOUR_US}, label, count(*) FROM events "  # noqa: S608 - conditions of our own
        f"WHERE {' AND '.join(conditions)} GROUP BY 1, 2 ORDER BY 1"
    )
    hours: dict[int, dict[Severity, int]] = {}
    for hour, label, count in store.rows(sql, parameters):
        severity = severity_of(label)
        if severity is not Severity.NONE:
            counts = hours.setdefault(hour, {})
            counts[severity] = counts.get(severity, 0) + count
    return [
        HourCount(
            hour * _HOUR_US,
            counts.get(Severity.ALARM, 0),
            counts.get(Severity.WARNING, 0),
            counts.get(Severity.NOTICE, 0),
        )
        for hour, counts in hours.items()
    ]
