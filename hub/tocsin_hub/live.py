"""The live channel of the dashboards: Socket.IO namespace ``/live``. It emits and decides nothing.

What is emitted is a hint; the database is the truth. On ``hello``, which comes with every connection and
whenever the channel could not keep up, a dashboard fetches what changed after its own cursor.
"""

import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from flask import Flask, request
from flask_socketio import ConnectionRefusedError as Refused
from flask_socketio import Namespace, SocketIO

from tocsin_hub.incidents.model import Incident
from tocsin_hub.incidents.reading import Incidents
from tocsin_hub.people import access, sessions
from tocsin_hub.people.model import Person, Role
from tocsin_hub.rooms import NodeRecord, Rooms
from tocsin_hub.services import Services, services
from tocsin_hub.settings import SPARE_THREADS, WebSettings
from tocsin_hub.store import StoredEvent
from tocsin_hub.threads import end_process, start_thread
from tocsin_hub.views import event_json, incident_json, incidents_json, room_json
from tocsin_hub.web.beats import Beats
from tocsin_hub.web.ports import Bus
from tocsin_shared.errors import UnavailableError

NAMESPACE = "/live"
_QUEUE = 5000
_AT_ONCE = 200
"""So many things at most are looked up together; a lone one waits for no other."""
_ROOMS_WAIT_SECONDS = 2.0
"""Rooms wait at most so long for what sounds."""
_EVERYWHERE = "everywhere"
"""The Socket.IO room of those who see all zones."""
_OFFICERS = "officers"
"""The Socket.IO room of officers and admins who see all zones."""
_REVIEW_US = 60 * 1_000_000

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Seat:
    """One connected dashboard."""

    person: Person
    """As she was when it connected; what she may see stands still until it connects again."""
    session: str
    """SHA-256 of the session's id."""
    change: int
    """Persons were last looked at when they had this number of changes."""
    reviewed_us: int


class Live:
    """Hands events and rooms to the connected dashboards, in a thread of its own."""

    def __init__(
        self,
        web: WebSettings,
        rooms: Rooms,
        epoch: str,
        latest_change: Callable[[], int],
        incidents: Incidents | None = None,
        *,
        held: int = 0,
        beats: Beats | None = None,
        bus: Bus | None = None,
    ) -> None:
        """``incidents`` tells who answered, and her name; without it incidents are shown without answers.

        ``held`` threads are not for dashboards, because downloads may need them. ``beats`` tell of the pages
        that are open at other processes, to which ``bus`` carries what is emitted.
        """
        self._beats = beats or Beats()
        self._bus = bus
        self.on_pages: Callable[[], None] = lambda: None
        """Told when a page was opened or closed; must not wait."""
        self._most = web.threads - SPARE_THREADS - held
        self._web = web
        self._rooms = rooms
        self._epoch = epoch
        self._latest_change = latest_change
        self._incidents = incidents
        self._socketio: SocketIO | None = None
        self._namespace: _LiveNamespace | None = None
        self._queue: queue.Queue[StoredEvent | NodeRecord | Incident | None] = queue.Queue(_QUEUE)
        self._overflowed = threading.Event()
        self._thread: threading.Thread | None = None

    def attach(self, app: Flask) -> None:
        """Serve the namespace beside the pages of ``app``."""
        # Named, because Flask-SocketIO takes eventlet or gevent as soon as one of them is installed.
        self._socketio = SocketIO(
            app,
            async_mode="threading",
            cors_allowed_origins=[self._web.origin] if self._web.public_url else None,
            max_http_buffer_size=16_384,
            **({} if self._bus is None else {"client_manager": self._bus}),
        )
        self._namespace = _LiveNamespace(self._hello, self._most, self._pages_changed)
        self._socketio.on_namespace(self._namespace)

    def start(self, on_death: Callable[[str], None] = end_process) -> None:
        """Start the thread that emits."""
        self._thread = start_thread("live", self._run, on_death)

    def stop(self) -> None:
        """End the thread; what is queued is not emitted any more."""
        with suppress(queue.Empty):
            while True:
                self._queue.get_nowait()
        self._queue.put(None)
        if self._thread is not None:
            self._thread.join(5.0)

    def show(self, item: StoredEvent | NodeRecord | Incident) -> None:
        """Emit an event, a room or an incident soon; never waits.

        When the queue is full, dashboards are told to fetch.
        """
        if self._is_deserted:
            return  # whoever connects now is told by ``hello`` to fetch
        try:
            self._queue.put_nowait(item)
        except queue.Full:
            self._overflowed.set()

    def review(self, hub: Services) -> None:
        """Cut off dashboards of persons who may not see any more what they saw when they connected."""
        if self._namespace is None or self._socketio is None:
            return
        with suppress(UnavailableError):  # the database is looked at again in a second
            for sid in self._namespace.review(hub):
                self._socketio.server.disconnect(sid, namespace=NAMESPACE)

    def count(self, person: str | None) -> int:
        """How many pages a person has open; ``None``: how many are open at all."""
        here = 0 if self._namespace is None else self._namespace.count(person)
        return here + self._beats.pages(person, time.monotonic())

    def pages(self) -> dict[str, int]:
        """How many pages each person has open at this process."""
        return {} if self._namespace is None else self._namespace.pages()

    def let_in(self, may: bool) -> None:
        """Whether dashboards may be connected; if not, those that are here are cut off."""
        if self._namespace is None or self._socketio is None:
            return
        for sid in self._namespace.let_in(may):
            self._socketio.server.disconnect(sid, namespace=NAMESPACE)

    def greet(self) -> None:
        """Have every dashboard, at other processes, too, fetch what it may have missed."""
        self._emit("hello", self._hello(), None)

    def greet_here(self) -> None:
        """Have every dashboard of this process fetch."""
        if self._socketio is not None and not (self._namespace is None or self._namespace.deserted):
            with suppress(UnavailableError):  # asked again in a second
                self._socketio.server.emit("hello", self._hello(), namespace=NAMESPACE, ignore_queue=True)

    @property
    def _is_deserted(self) -> bool:
        """Whether there is nobody to be shown anything, here or at another process."""
        here = self._namespace is None or self._namespace.deserted
        return self._namespace is not None and here and not self._beats.others(time.monotonic())

    def tell(self, person: str | None, name: str, data: dict[str, Any]) -> None:
        """Emit to every page of a person; ``None``: to every page."""
        if self._socketio is not None:
            to = None if person is None else person_room(person)
            self._socketio.emit(name, data, namespace=NAMESPACE, to=to)

    def tell_officers(self, name: str, data: dict[str, Any]) -> None:
        """Emit to every page of an officer or admin of all zones."""
        if self._socketio is not None:
            self._socketio.emit(name, data, namespace=NAMESPACE, to=_OFFICERS)

    def _pages_changed(self) -> None:
        self.on_pages()

    def _run(self) -> None:
        rooms: dict[str, NodeRecord] = {}
        shown_at = time.monotonic()
        while (items := self._gather()) is not None:
            rooms |= {item.node: item for item in items if isinstance(item, NodeRecord)}
            self._show_all([item for item in items if not isinstance(item, NodeRecord)])
            # Of every heartbeat a room is shown anew; what sounds is shown before.
            if self._queue.empty() or time.monotonic() - shown_at > _ROOMS_WAIT_SECONDS:
                for room in rooms.values():
                    self._emit("room", room_json(room), room.zone)
                rooms.clear()
                shown_at = time.monotonic()
            if self._overflowed.is_set() and self._queue.empty():
                self._overflowed.clear()
                self._emit("hello", self._hello(), None)

    def _gather(self) -> list[StoredEvent | NodeRecord | Incident] | None:
        """What waits, in order, each thing once, as it is now; ``None`` at the end."""
        latest: dict[tuple[type, str], StoredEvent | NodeRecord | Incident] = {}
        item = self._queue.get()
        with suppress(queue.Empty):
            while item is not None:
                key = type(item), item.node if isinstance(item, NodeRecord) else item.id
                latest.pop(key, None)
                latest[key] = item
                if len(latest) >= _AT_ONCE:
                    break
                item = self._queue.get_nowait()
        return None if item is None else list(latest.values())

    def _show_all(self, items: Sequence[StoredEvent | Incident]) -> None:
        """Emit ``items``; what the database is asked for, it is asked for all of them at once."""
        incidents = [item for item in items if isinstance(item, Incident)]
        told = {json["id"]: json for json in self._incidents_json(incidents)}
        belongs = self._incidents_of([item.id for item in items if isinstance(item, StoredEvent)])
        for item in items:
            if isinstance(item, Incident):
                self._emit("incident", told[item.id], item.zone or None)
            else:
                shown = event_json(item, self._rooms.get(item.node), belongs.get(item.id))
                self._emit("event", shown, item.zone)

    def _incidents_of(self, events: Sequence[str]) -> dict[str, str]:
        if self._incidents is not None and events:
            with suppress(UnavailableError):  # shown for themselves, as if no incident told of them
                return self._incidents.ids_of(events)
        return {}

    def _incidents_json(self, incidents: Sequence[Incident]) -> list[dict[str, Any]]:
        if self._incidents is not None and incidents:
            with suppress(UnavailableError):  # shown all the same: it may be about this very database
                return incidents_json(incidents, self._rooms, self._incidents)
        return [incident_json(incident, self._rooms, (), {}) for incident in incidents]

    def _hello(self) -> dict[str, Any]:
        return {"change": self._latest_change(), "epoch": self._epoch}

    def _emit(self, name: str, data: dict[str, Any], zone: str | None) -> None:
        """Emit to those who see ``zone``; ``None``: to all."""
        if self._socketio is not None:
            to = None if zone is None else [_EVERYWHERE, _room_of(zone)]
            self._socketio.emit(name, data, namespace=NAMESPACE, to=to)


def _room_of(zone: str) -> str:
    return f"zone:{zone}"


def person_room(person: str) -> str:
    """The Socket.IO room of all pages that a person has open."""
    return f"person:{person}"


class _LiveNamespace(Namespace):  # type: ignore[misc]
    """Lets dashboards in, as far as they are logged in and threads are left."""

    def __init__(
        self, hello: Callable[[], dict[str, Any]], most: int, on_pages: Callable[[], None] = lambda: None
    ) -> None:
        super().__init__(NAMESPACE)
        self._hello = hello
        self._most = most
        self._on_pages = on_pages
        self._may_enter = True
        self._here: dict[str, _Seat] = {}
        self._lock = threading.Lock()

    def on_connect(self, _auth: object = None) -> None:
        """Refuse, or greet."""
        hub = services()
        change = hub.people.change  # before the person is looked at, so that no change of hers is missed
        person, opened = access.current(), access.current_session()
        if person is None or opened is None:
            raise Refused("not logged in")
        with self._lock:
            if not self._may_enter:
                raise Refused("no hub is heard")
            if len(self._here) >= self._most:
                log.warning("a dashboard was refused: %d are connected; raise [web] threads", self._most)
                raise Refused("too many dashboards")
            sid: str = request.sid  # type: ignore[attr-defined]
            self._here[sid] = _Seat(person, opened.id_sha256, change, hub.clock())
        for room in [_room_of(zone) for zone in person.zones] or [_EVERYWHERE]:
            self.enter_room(sid, room)
        if person.may(Role.OFFICER) and not person.zones:
            self.enter_room(sid, _OFFICERS)
        self.enter_room(sid, person_room(person.id))
        self.emit("hello", self._hello(), room=sid)
        self._on_pages()

    def on_disconnect(self, _reason: object = None) -> None:
        """Note that there is room for one more."""
        with self._lock:
            self._here.pop(request.sid, None)  # type: ignore[attr-defined]
        self._on_pages()

    def let_in(self, may: bool) -> list[str]:
        """Whether dashboards may enter from now on; the connections that must end."""
        with self._lock:
            self._may_enter = may
            return [] if may else list(self._here)

    def pages(self) -> dict[str, int]:
        """How many pages each person has open."""
        with self._lock:
            return dict(Counter(seat.person.id for seat in self._here.values()))

    def review(self, hub: Services) -> list[str]:
        """Look again at whoever is here; the connections that must end."""
        change, now_us = hub.people.change, hub.clock()
        with self._lock:
            due = {
                sid: seat
                for sid, seat in self._here.items()
                if seat.change != change or now_us - seat.reviewed_us >= _REVIEW_US
            }
        ended = [sid for sid, seat in due.items() if not _may_stay(hub, seat, now_us)]
        with self._lock:
            for sid, seat in due.items():
                if sid in self._here:
                    self._here[sid] = replace(seat, change=change, reviewed_us=now_us)
        return ended

    @property
    def deserted(self) -> bool:
        """Whether no page is connected."""
        return not self._here

    def count(self, person: str | None) -> int:
        """How many pages of a person are connected; ``None``: of anybody."""
        with self._lock:
            return sum(person in {None, seat.person.id} for seat in self._here.values())


def _may_stay(hub: Services, seat: _Seat, now_us: int) -> bool:
    person = hub.people.get(seat.person.id)
    opened = sessions.session_of(hub.store, seat.session)
    same = person is not None and person.enabled and person.zones == seat.person.zones
    same = same and person is not None and person.role is seat.person.role
    return same and opened is not None and opened.lasts(now_us)
