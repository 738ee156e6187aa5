"""How often something may be asked: a bucket that fills by the time."""

from dataclasses import dataclass


@dataclass
class Bucket:
    """Holds ``burst`` at first; ``per_second`` are added, one is taken for each try."""

    burst: float
    per_second: float
    now: float
    """Seconds of the clock with which it was made."""

    def __post_init__(self) -> None:
        self._left = self.burst

    def take(self, now: float) -> bool:
        """Whether there was one left at ``now``, seconds of the same clock; it is taken."""
        self._left = min(self.burst, self._left + max(0.0, now - self.now) * self.per_second)
        self.now = max(self.now, now)
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True

    @property
    def full(self) -> bool:
        """Whether nothing was taken of late, so that it may be forgotten."""
        return self._left >= self.burst


class Buckets:
    """One bucket for each name; the full ones are forgotten, and of too many names all share one."""

    MOST = 1000

    def __init__(self, burst: float, per_second: float) -> None:
        self._burst = burst
        self._per_second = per_second
        self._buckets: dict[str, Bucket] = {}

    def take(self, name: str, now: float) -> bool:
        """Whether ``name`` may once more at ``now``, seconds."""
        if name not in self._buckets and len(self._buckets) >= self.MOST:
            self._forget(now)
            name = name if len(self._buckets) < self.MOST else ""
        return self._buckets.setdefault(name, Bucket(self._burst, self._per_second, now)).take(now)

    def _forget(self, now: float) -> None:
        for name, bucket in list(self._buckets.items()):
            if (now - bucket.now) * self._per_second >= self._burst:
                del self._buckets[name]
