"""In a web process: what the hub keeps in its memory is read from the database, and whether there is a hub.

A dashboard whose process heard of no hub would be calm while alarms sound. So dashboards are cut off as soon
as there is none: they say that nothing is heard, as they do when the hub itself is gone.
"""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from tocsin_hub.forgetting import retired
from tocsin_hub.incidents.model import HubTrouble
from tocsin_hub.incidents.reading import Incidents
from tocsin_hub.live import Live
from tocsin_hub.phones.service import Phones
from tocsin_hub.place import seconds_since_lead
from tocsin_hub.rooms import Rooms
from tocsin_hub.services import Services
from tocsin_hub.store import Store
from tocsin_hub.threads import end_process, start_thread
from tocsin_hub.web.beats import Beats, Standing, standing
from tocsin_hub.web.ports import Bus
from tocsin_shared.errors import UnavailableError

LOOK_SECONDS = 1.0
ROOMS_SECONDS = 2.0
PHONES_SECONDS = 10.0
LEAD_SECONDS = 10.0
"""The hub that leads writes each second; one that has not for so long stands still."""
_FIRST_SECONDS = 2.0

log = logging.getLogger(__name__)


class Mirror:
    """A thread that looks at the hub and at the database each second."""

    def __init__(
        self,
        *,
        store: Store,
        incidents: Incidents,
        rooms: Rooms,
        phones: Phones,
        live: Live,
        beats: Beats,
        bus: Bus,
        clock: Callable[[], int],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._incidents = incidents
        self._rooms = rooms
        self._phones = phones
        self._live = live
        self._beats = beats
        self._bus = bus
        self._clock = clock
        self._monotonic = monotonic
        self._change = 0
        self._read: dict[str, float] = {}
        self._beat_now = threading.Event()
        self._stopping = False
        self._services: Services | None = None
        self.standing = Standing.CUT_OFF
        """How this process hears of what the hub does."""

    def start(self, services: Services, on_death: Callable[[str], None] = end_process) -> None:
        """Start the thread."""
        self._services = services
        self._live.let_in(False)
        start_thread("mirror", self._run, on_death)

    def stop(self) -> None:
        """End the thread, and tell the hub that no page is open here any more."""
        self._stopping = True
        self._beat_now.set()
        self._bus.beat(leads=False, pages={})

    def pages_changed(self) -> None:
        """Tell the hub at once who has pages open here. From any thread; never waits."""
        self._beat_now.set()

    def _run(self) -> None:
        self._await_somebody()
        while not self._stopping:
            self._bus.beat(leads=False, pages=self._live.pages())
            # Many pages that open at once hurry the beat, and not what asks the database.
            if self._is_due("hub", LOOK_SECONDS / 2):
                self.look()
                if self._services is not None:
                    self._live.review(self._services)
            self._beat_now.wait(LOOK_SECONDS)
            self._beat_now.clear()

    def _await_somebody(self) -> None:
        """Give the hub and Redis a moment to be heard for the first time."""
        until = self._monotonic() + _FIRST_SECONDS
        while self._beats.hub(self._monotonic()) is None and self._monotonic() < until:
            self._bus.beat(leads=False, pages={})
            self._beat_now.wait(_FIRST_SECONDS / 10)

    def look(self) -> None:
        """See how this process stands, and read what is due; never raises."""
        before, self.standing = self.standing, self._judged()
        if self.standing is not before:
            log.log(
                logging.ERROR if self.standing is Standing.CUT_OFF else logging.WARNING,
                "%s: %s",
                self.standing,
                {
                    Standing.LIVE: "the hub is heard",
                    Standing.ASKING: "Redis is away; the database is asked each second",
                    Standing.CUT_OFF: "no hub is heard; dashboards are cut off, and say so",
                }[self.standing],
            )
        with suppress(UnavailableError):  # read again in a second
            self._read_what_is_due()
        if self.standing is Standing.CUT_OFF:
            self._rooms.set_hearing(False, self._clock())
        self._live.let_in(self.standing is not Standing.CUT_OFF)

    def _judged(self) -> Standing:
        heard = self._beats.hub(self._monotonic())
        found = standing(None if heard is None else heard[0], self._bus.own_seconds)
        if found is Standing.LIVE and heard is not None:
            self._rooms.set_hearing(heard[1].hears, heard[1].since_us)
        if found is not None:
            return found
        try:
            wrote = seconds_since_lead(self._store.rows)
            if wrote is None or wrote > LEAD_SECONDS:
                return Standing.CUT_OFF
            troubles = {one.group for one in self._incidents.open_troubles("")}
        except UnavailableError:
            return Standing.CUT_OFF
        self._rooms.set_hearing(HubTrouble.BROKER_LOST not in troubles, self._clock())
        return Standing.ASKING

    def _read_what_is_due(self) -> None:
        if self._is_due("rooms", ROOMS_SECONDS):
            self._rooms.replace(self._store.nodes(), retired(self._store))
        if self._is_due("phones", PHONES_SECONDS):
            self._phones.registry.reload()
            self._phones.apprise.reload()
        if self.standing is Standing.ASKING:
            change = self._store.counter("change")
            if change != self._change:
                self._live.greet_here()
            self._change = change

    def _is_due(self, what: str, seconds: float) -> bool:
        now = self._monotonic()
        if now - self._read.get(what, -seconds) < seconds:
            return False
        self._read[what] = now
        return True
