"""Which threads still make headway: the rule behind the watchdog. Pure: time is an argument.

Each thread says now and then that it lives. One that stays silent for longer than it may is stalled: its
thread is there, but nothing is heard, sent or told any more.
"""

import threading
from dataclasses import dataclass


@dataclass(frozen=True)
class Stall:
    """A thread that makes no headway."""

    name: str
    seconds: float
    """How long it has been silent."""

    def __str__(self) -> str:
        return f"{self.name} for {self.seconds:.0f} s"


class Beats:
    """When each thread was last heard. Thread-safe.

    ``limit_seconds`` is how long a thread may be silent; times are those of any one monotonic clock.
    """

    def __init__(self, limit_seconds: float) -> None:
        self._limit = limit_seconds
        self._lock = threading.Lock()
        self._heard: dict[str, tuple[float, float]] = {}

    @property
    def limit_seconds(self) -> float:
        """How long a thread may be silent that has announced no pause."""
        return self._limit

    def beat(self, name: str, now: float, pause_seconds: float = 0.0) -> None:
        """The thread ``name`` lives; it may be silent for ``pause_seconds`` more than usual from here."""
        with self._lock:
            self._heard[name] = (now, now + max(0.0, pause_seconds) + self._limit)

    def stalled(self, now: float) -> list[Stall]:
        """The threads that are overdue, longest silence first."""
        with self._lock:
            overdue = [Stall(name, now - at) for name, (at, due) in self._heard.items() if now > due]
        return sorted(overdue, key=lambda stall: -stall.seconds)
