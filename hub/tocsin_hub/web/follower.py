"""In the hub: what web processes and commands write about incidents is alerted and shown like its own."""

import threading
from collections.abc import Callable
from contextlib import suppress

from tocsin_hub.incidents.model import Incident
from tocsin_hub.incidents.reading import Incidents
from tocsin_hub.threads import end_process, start_thread
from tocsin_shared.errors import UnavailableError

LOOK_SECONDS = 1.0
_PAGE = 200
_KEPT = 2000


class Follower:
    """A thread that reads which incidents changed, and tells of those that the hub did not change itself."""

    def __init__(
        self, incidents: Incidents, latest_change: Callable[[], int], tell: Callable[[Incident], None]
    ) -> None:
        """``tell`` is called in this thread; it must not wait."""
        self._incidents = incidents
        self._latest_change = latest_change
        self._tell = tell
        self._cursor = 0
        self._own: dict[str, int] = {}
        self._lock = threading.Lock()
        self._woken = threading.Event()
        self._stopping = False

    def start(self, on_death: Callable[[str], None] = end_process) -> None:
        """Follow from what is committed now on: what was before, the engines read when they start."""
        self._cursor = self._latest_change()
        start_thread("follower", self._run, on_death)

    def stop(self) -> None:
        """End the thread."""
        self._stopping = True
        self._woken.set()

    def wake(self) -> None:
        """Look at once. From any thread; never waits."""
        self._woken.set()

    def note(self, incident: Incident) -> None:
        """The hub itself has told of ``incident`` as it is now."""
        with self._lock:
            self._own.pop(incident.id, None)
            self._own[incident.id] = incident.change
            if len(self._own) > _KEPT:
                del self._own[next(iter(self._own))]

    def _run(self) -> None:
        while not self._stopping:
            self._woken.wait(LOOK_SECONDS)
            self._woken.clear()
            with suppress(UnavailableError):  # looked at again in a second
                self.look()

    def look(self) -> None:
        """Tell of what has changed.

        Raises:
            UnavailableError: the database cannot be used at the moment.
        """
        more = True
        while more:
            page = self._incidents.after(self._cursor, _PAGE)
            for incident in page.incidents:
                with self._lock:
                    own = self._own.get(incident.id)
                if own != incident.change:
                    self._tell(incident)
            self._cursor, more = page.next, page.more
