"""How much of the line bundles may take, all nodes together: slots, and a rate that they share."""

import threading
import time
from collections.abc import Callable

_MOST_BEHIND_SECONDS = 0.25
"""Nobody may make up for a longer pause by sending all at once."""


class Pacing:
    """Slots, and bytes per second that all who have one share. Safe to use from several threads."""

    def __init__(
        self,
        slots: int,
        bytes_per_second: float,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._slots = threading.BoundedSemaphore(slots)
        self._rate = bytes_per_second
        self._monotonic, self._sleep = monotonic, sleep
        self._lock = threading.Lock()
        self._free_at = monotonic()
        """When the line has sent all that was allowed so far."""
        self.under_way = 0
        """Downloads at the moment …"""
        self.sent_bytes = 0
        """… bytes of bundles that were sent since the start …"""
        self.turned_away = 0
        """… and how often a node was told to come again."""

    def take(self) -> bool:
        """Take a slot, if one is free; :meth:`give_back` it."""
        taken = self._slots.acquire(blocking=False)
        with self._lock:
            if taken:
                self.under_way += 1
            else:
                self.turned_away += 1
        return taken

    def give_back(self) -> None:
        """Let somebody else have the slot."""
        with self._lock:
            self.under_way -= 1
        self._slots.release()

    def wait(self, length: int) -> None:
        """Wait until the rate allows ``length`` more bytes."""
        with self._lock:
            now = self._monotonic()
            self._free_at = max(self._free_at, now - _MOST_BEHIND_SECONDS) + length / self._rate
            pause = self._free_at - now
            self.sent_bytes += length
        if pause > 0:
            self._sleep(pause)
