"""In the hub: says each second to its web processes that it is there, and follows what they write."""

import threading
from collections.abc import Callable

from tocsin_hub.live import Live
from tocsin_hub.rooms import Rooms
from tocsin_hub.threads import end_process, start_thread
from tocsin_hub.web.follower import Follower
from tocsin_hub.web.ports import Bus

BEAT_SECONDS = 1.0


class Others:
    """Web processes, as the hub sees them."""

    def __init__(self, bus: Bus, follower: Follower, rooms: Rooms, live: Live) -> None:
        self._bus = bus
        self.follower = follower
        self._rooms = rooms
        self._live = live
        self._beat_now = threading.Event()
        self._stopping = False

    def start(self, on_death: Callable[[str], None] = end_process) -> None:
        """Start all threads; call it when the hub leads and its writer is open."""
        self._live.on_pages = self._beat_now.set
        self._bus.start(self.follower.wake, self._live.greet, on_death)
        self.follower.start(on_death)
        start_thread("beats", self._run, on_death)

    def stop(self) -> None:
        """End all threads; web processes learn at once that there is no hub."""
        self._stopping = True
        self._beat_now.set()
        self.follower.stop()
        self._bus.beat(leads=False, pages={})
        self._bus.stop()

    def _run(self) -> None:
        while not self._stopping:
            hearing = self._rooms.hearing
            self._bus.beat(
                leads=True, hears=hearing.connected, since_us=hearing.since_us, pages=self._live.pages()
            )
            self._beat_now.wait(BEAT_SECONDS)
            self._beat_now.clear()
