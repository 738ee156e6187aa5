"""Rules: many levels of one minute become one line of history. Values in, values out."""

import math
from dataclasses import dataclass, field

MINUTE_US = 60_000_000


@dataclass(frozen=True)
class MinuteLevel:
    """How loud a room was in one minute."""

    node: str
    minute: int
    """Minutes since 1970 in UTC."""
    mean_dbfs: float
    """Level of the mean power of what was told in that minute."""
    loudest_dbfs: float


@dataclass
class LevelMinutes:
    """The minute that is being gathered for each node. Used by one thread alone."""

    _minutes: dict[str, "_Gathered"] = field(default_factory=dict)

    def take(self, node: str, level_dbfs: float | None, now_us: int) -> MinuteLevel | None:
        """Take one level in; the minute before, once it is over. Digital silence (``None``) is no level."""
        minute = now_us // MINUTE_US
        gathered = self._minutes.get(node)
        over = None
        if gathered is not None and gathered.minute != minute:
            over = gathered.line(node)
            gathered = None
        if level_dbfs is not None and math.isfinite(level_dbfs):
            gathered = (gathered or _Gathered(minute)).with_level(level_dbfs)
        if gathered is None:
            self._minutes.pop(node, None)
        else:
            self._minutes[node] = gathered
        return over


@dataclass(frozen=True)
class _Gathered:
    """A minute so far."""

    minute: int
    count: int = 0
    power: float = 0.0
    """Sum of the powers, full scale is 1."""
    loudest_dbfs: float = -math.inf

    def with_level(self, level_dbfs: float) -> "_Gathered":
        power = self.power + 10.0 ** (level_dbfs / 10.0)
        return _Gathered(self.minute, self.count + 1, power, max(self.loudest_dbfs, level_dbfs))

    def line(self, node: str) -> MinuteLevel:
        # A mean of decibels would hide a short loud sound; power is what adds up.
        mean = 10.0 * math.log10(max(self.power / self.count, 1e-30))
        return MinuteLevel(node, self.minute, round(mean, 1), round(self.loudest_dbfs, 1))


def step_minutes(first: int, last: int, most_points: int) -> int:
    """Minutes that one point of a plot stands for, so that there are at most ``most_points``."""
    return max(1, math.ceil((last - first) / most_points))
