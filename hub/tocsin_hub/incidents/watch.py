"""Once a second: lets time act on the incidents, and looks whether the hub itself hears and tells.

What is wrong with the database cannot be stored in it. So such a trouble is shown and told at once, and
stored under the same id as soon as that is possible again. Until then its ``change`` is 0, and the
database does not know it.
"""

import dataclasses
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from msgspec.structs import replace
from ulid import ULID

from tocsin_hub.incidents import keeping, troubles
from tocsin_hub.incidents.model import HubTrouble, Incident
from tocsin_hub.incidents.reading import Incidents
from tocsin_hub.incidents.rules import Limits
from tocsin_hub.incidents.troubles import HubFacts
from tocsin_hub.recorder import Recorder
from tocsin_hub.rooms import Rooms
from tocsin_hub.writer import Outcome, Work, WriterState
from tocsin_shared.broker import BrokerSettings
from tocsin_shared.certificate import days_left, first_certificate, not_after
from tocsin_shared.errors import BadInputError, UnavailableError

_WATCHED = (
    HubTrouble.BROKER_LOST,
    HubTrouble.DATABASE_REFUSES,
    HubTrouble.HUB_LATE,
    HubTrouble.HUB_CERTIFICATE,
    HubTrouble.QUEUE_LOST,
)
_UNSTORABLE = (HubTrouble.DATABASE_REFUSES, HubTrouble.HUB_LATE)
_CERTIFICATE_SECONDS = 3600.0

log = logging.getLogger(__name__)


class Writes(Protocol):
    """The writer, as far as it is needed here."""

    @property
    def state(self) -> WriterState:
        """How it fares."""

    def put(self, work: Work, patience_seconds: float = ..., /) -> None:
        """Queue some work."""


class Shows(Protocol):
    """Where changes are shown."""

    def show(self, item: Incident, /) -> None:
        """Show an incident soon; never waits, never raises."""


@dataclass(frozen=True)
class _Found:
    """A trouble of the hub that lasts."""

    id: str
    detail: str
    stored: bool
    """Whether the work that stores it was queued."""
    announced: Incident | None = None
    """As it was shown before it could be stored."""


class Watch:
    """Call :meth:`tick` from one thread."""

    def __init__(
        self,
        *,
        settings: BrokerSettings,
        reading: Incidents,
        rooms: Rooms,
        writer: Writes,
        screen: Shows,
        on_incident: Callable[[Incident], None],
        clock: Callable[[], int],
        limits: Limits,
        queue: Callable[[], str] = lambda: "",
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """``queue`` says why the hub's web processes cannot be told; nothing if they can."""
        self._settings = settings
        self._reading = reading
        self._rooms = rooms
        self._writer = writer
        self._screen = screen
        self._on_incident = on_incident
        self._clock = clock
        self._limits = limits
        self._queue = queue
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._asked: float | None = None
        """When the review was asked for that is not committed yet."""
        self._queued = False
        self._found: dict[HubTrouble, _Found] = {}
        self._recalled = False
        """Whether it is known what a process before this one left open."""
        self._certificate: tuple[float | None, str] = (None, "")
        self._certificate_read: float | None = None

    def tick(self) -> None:
        """Review incidents, and look after the hub; never raises."""
        self._ask_for_review()
        if not self._recalled:
            with suppress(UnavailableError):  # the database is asked again in a second
                self._found = self._remembered() | self._found
                self._recalled = True
        self._found = self._compared(self._found, troubles.hub_troubles(self._facts()))

    def _ask_for_review(self) -> None:
        """Queue one review, which also tells how long the database takes for whatever is queued now."""
        with self._lock:
            if self._asked is None:
                self._asked = self._monotonic()
            if self._queued:
                return
            self._queued = True
        if not self._put(Work(self._review, self._refused)):
            with self._lock:
                self._queued = False

    def _review(self, recorder: Recorder) -> Outcome:
        now_us = self._clock()
        changed = (
            *keeping.review(recorder, self._rooms.get, now_us, self._limits),
            *keeping.fold_silence(recorder, self._rooms.all(), now_us, self._limits),
            *keeping.fold_twins(recorder, self._rooms.all(), now_us, self._limits),
            *keeping.end_older_outboxes(recorder, now_us),
        )
        return Outcome(incidents=changed, answer=self._reviewed)

    def _reviewed(self) -> None:
        with self._lock:
            self._asked, self._queued = None, False

    def _refused(self, reason: str) -> None:
        log.error("incidents could not be reviewed: %s", reason)
        self._reviewed()

    def _remembered(self) -> dict[HubTrouble, _Found]:
        """Troubles of the hub that a process before this one left open."""
        kinds = {str(kind): kind for kind in _WATCHED}
        return {
            kinds[incident.group]: _Found(incident.id, incident.detail, stored=True)
            for incident in self._reading.open_troubles("")
            if incident.group in kinds
        }

    def _facts(self) -> HubFacts:
        hearing, now_us = self._rooms.hearing, self._clock()
        with self._lock:
            waiting = 0.0 if self._asked is None else self._monotonic() - self._asked
        days, detail = self._certificate_ends()
        return HubFacts(
            connected=hearing.connected,
            connected_us=now_us - hearing.since_us,
            database=self._writer.state.trouble,
            waiting_us=round(waiting * 1e6),
            queue=self._queue(),
            certificate_days=days,
            certificate_detail=detail,
        )

    def _compared(
        self, before: dict[HubTrouble, _Found], now: dict[HubTrouble, str]
    ) -> dict[HubTrouble, _Found]:
        after = {kind: self._opened(kind, detail, before.get(kind)) for kind, detail in now.items()}
        gone = {kind: found for kind, found in before.items() if kind not in now}
        # What cannot be ended for now is tried again in a second.
        return after | {kind: found for kind, found in gone.items() if not self._closed(kind, found)}

    def _opened(self, kind: HubTrouble, detail: str, known: _Found | None) -> _Found:
        if known is not None and known.stored and known.detail == detail:
            return known
        found = known or self._announced(kind, detail)
        now_us, forced = self._clock(), found.id if found.announced else None

        def write(recorder: Recorder) -> Outcome:
            return Outcome(
                incidents=keeping.open_trouble(
                    recorder, kind, "", detail, now_us, limits=self._limits, incident_id=forced
                )
            )

        return dataclasses.replace(found, detail=detail, stored=self._put(Work(write, lambda _: None)))

    def _announced(self, kind: HubTrouble, detail: str) -> _Found:
        """A new trouble; one that cannot be stored for now is told at once."""
        now_us, made = self._clock(), str(ULID())
        log.error("%s: %s", kind, detail)
        if kind not in _UNSTORABLE:
            return _Found(made, detail, stored=False)
        incident = troubles.trouble_opened(
            made, kind, "", node=None, detail=detail, since_us=now_us, now_us=now_us
        ).incident
        self._tell(incident)
        return _Found(made, detail, stored=False, announced=incident)

    def _closed(self, kind: HubTrouble, found: _Found) -> bool:
        """Whether what is needed to end the trouble was done."""
        now_us = self._clock()
        if not found.stored:
            if found.announced is not None:
                self._tell(replace(found.announced, cleared_us=now_us))
            return True

        def write(recorder: Recorder) -> Outcome:
            return Outcome(incidents=keeping.close_trouble(recorder, kind, "", now_us))

        return self._put(Work(write, lambda _: None))

    def _tell(self, incident: Incident) -> None:
        self._on_incident(incident)
        self._screen.show(incident)

    def _put(self, work: Work) -> bool:
        """Whether ``work`` found a place in the queue; this thread must not wait behind a full one."""
        try:
            self._writer.put(work, 0.0)
        except UnavailableError:
            return False
        return True

    def _certificate_ends(self) -> tuple[float | None, str]:
        """Days until the hub's own certificate ends and on which day, or why that cannot be told."""
        now = self._monotonic()
        if self._certificate_read is None or now - self._certificate_read >= _CERTIFICATE_SECONDS:
            self._certificate_read = now
            self._certificate = self._read_certificate()
        return self._certificate

    def _read_certificate(self) -> tuple[float | None, str]:
        path = self._settings.cert_file
        if path is None:
            return None, ""
        try:
            end = not_after(first_certificate(path.read_text(encoding="utf-8")))
        except (OSError, UnicodeError, BadInputError) as error:
            return None, f"broker.cert_file: {path} cannot be read: {error}"
        return (
            days_left(end, self._clock() / 1e6),
            f"the hub's certificate for the broker ends on {end:%Y-%m-%d %H:%M} UTC: renew it",
        )
