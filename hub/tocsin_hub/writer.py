"""The one thread that writes the database: a bounded queue before it, one commit for many pieces of work.

What must not happen before the disk has it (acknowledging, telling the dashboards) is an outcome of the
work, and outcomes are handed on only after COMMIT.
"""

import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from tocsin_hub.connection import FAULTS, REFUSALS
from tocsin_hub.incidents.model import Incident
from tocsin_hub.recorder import Recorder
from tocsin_hub.settings import IngestSettings
from tocsin_hub.store import StoredEvent
from tocsin_hub.threads import end_process, start_thread
from tocsin_shared.errors import TocsinError, UnavailableError
from tocsin_shared.events import EventRef

T = TypeVar("T")
CALL_SECONDS = 10.0
_LOOK_SECONDS = 0.2
_IDLE_SECONDS = 0.002
"""A commit does not wait for company any longer when nothing has come for this long."""
_RETRY_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)

log = logging.getLogger(__name__)


class Receipt(msgspec.Struct, frozen=True):
    """Names one MQTT message that waits for its PUBACK."""

    mid: int
    qos: int
    connection: int
    """Counts the hub's connections: a message number means nothing on another one."""


class Outcome(msgspec.Struct, frozen=True):
    """What a piece of work leaves to be done once it is on the disk."""

    node: str = ""
    refs: tuple[EventRef, ...] = ()
    """Messages of ``node`` that it may now forget."""
    changed: tuple[StoredEvent, ...] = ()
    """Events that dashboards must see."""
    incidents: tuple[Incident, ...] = ()
    """Incidents that dashboards, and whoever alerts people, must see."""
    answer: Callable[[], None] | None = None
    """Tells whoever waits for this very work."""


class Work(msgspec.Struct, frozen=True):
    """Something to write. ``write`` may run more than once, but is committed only once."""

    write: Callable[[Recorder], Outcome]
    instead: Callable[[str], "Work | None"]
    """What to write when the database refuses ``write`` for the reason given, whatever else it stores."""
    event: str = ""
    """Id of the event that ``write`` will record, so that it can be looked up with others."""
    receipt: Receipt | None = None
    """What the broker is told once this, or what is written in its place, is on the disk."""


Settle = Callable[[Sequence[Outcome], Sequence[Receipt]], None]
"""Called after COMMIT with what it left to be done, and with the receipts in the order of the messages."""


NOTHING = Work(lambda _: Outcome(), lambda _: None)
"""Writes nothing."""


@dataclass(frozen=True)
class WriterState:
    """How the writer fares."""

    trouble: str
    """Why nothing can be committed at the moment; empty when all is well."""
    waiting: int
    last_commit_ms: float | None
    """How long the last COMMIT took; ``None`` before the first."""
    latest_change: int
    """Last change that is committed."""


class Writer:
    """Owns the write connection. :meth:`put` blocks while the queue is full, which holds the broker back."""

    def __init__(self, recorder: Recorder, settings: IngestSettings) -> None:
        self._recorder = recorder
        self._settings = settings
        self._settle: Settle = lambda *_: None
        self._queue: queue.Queue[Work | None] = queue.Queue(settings.queue)
        self._stopping = threading.Event()
        self._opened = threading.Event()
        self._thread: threading.Thread | None = None
        self._trouble = ""
        self._last_commit_ms: float | None = None
        self._latest_change = 0

    @property
    def state(self) -> WriterState:
        """How the writer fares right now."""
        return WriterState(self._trouble, self._queue.qsize(), self._last_commit_ms, self._latest_change)

    def start(self, settle: Settle, on_death: Callable[[str], None] = end_process) -> None:
        """Start the thread and wait until it has opened the database; ``settle`` is called after COMMIT."""
        self._settle = settle
        self._thread = start_thread("writer", self._run, on_death)
        self._opened.wait(CALL_SECONDS)

    def stop(self) -> None:
        """Commit what is queued, as far as the disk takes it, and end the thread."""
        self._stopping.set()
        with suppress(queue.Full):  # a thread with so much to do needs no waking
            self._queue.put_nowait(None)
        if self._thread is not None:
            self._thread.join(CALL_SECONDS)

    def put(self, work: Work, patience_seconds: float = math.inf) -> None:
        """Queue ``work``; waits while the queue is full.

        Raises:
            UnavailableError: the writer is being stopped, or the queue stayed full for too long.
        """
        deadline = time.monotonic() + patience_seconds
        while not self._stopping.is_set():
            try:
                return self._queue.put(work, timeout=_LOOK_SECONDS)
            except queue.Full:
                if time.monotonic() > deadline:
                    raise UnavailableError("the database cannot keep up at the moment") from None
        raise UnavailableError("the hub is stopping")

    def call(
        self,
        write: Callable[[Recorder], T],
        timeout_seconds: float = CALL_SECONDS,
        incidents: Callable[[T], tuple[Incident, ...]] = lambda _: (),
    ) -> T:
        """Write something and wait until it is committed; its result.

        ``incidents`` finds in the result those that changed, to be shown and alerted after COMMIT.

        Raises:
            UnavailableError: the database took too long, or refused.
        """
        future: Future[T] = Future()

        def work(recorder: Recorder) -> Outcome:
            result = write(recorder)
            return Outcome(answer=lambda: future.set_result(result), incidents=incidents(result))

        def refused(reason: str) -> None:
            future.set_exception(UnavailableError(f"the database refused: {reason}"))

        self.put(Work(work, refused), timeout_seconds)
        try:
            return future.result(timeout_seconds)
        except FutureTimeoutError as error:
            raise UnavailableError("the database does not answer at the moment; try again soon") from error

    def _run(self) -> None:
        self._recorder.open()
        self._latest_change = self._recorder.changes
        self._opened.set()
        try:
            while not (self._stopping.is_set() and self._queue.empty()):
                if batch := self._gather():
                    self._persist(batch)
        finally:
            self._recorder.close()

    def _gather(self) -> list[Work]:
        """The next batch: the first work, and what follows it in time."""
        first = self._queue.get()
        batch = [] if first is None else [first]
        deadline = time.monotonic() + self._settings.commit_ms / 1000
        while batch and len(batch) < self._settings.commit_rows:
            wait = min(_IDLE_SECONDS, deadline - time.monotonic())
            try:
                work = self._queue.get(timeout=wait) if wait > 0 else self._queue.get_nowait()
            except queue.Empty:
                break
            if work is None:
                break
            batch.append(work)
        return batch

    def _persist(self, batch: list[Work]) -> None:
        """Commit ``batch``, trying again for as long as the disk or the database refuses everything."""
        attempt = 0
        while True:
            try:
                return self._commit(batch)
            except FAULTS as error:
                if isinstance(error, REFUSALS):
                    return self._one_by_one(batch, error)
                self._note_trouble(error)
            except (ValueError, TypeError, OverflowError, TocsinError) as error:
                return self._one_by_one(batch, error)
            if self._stopping.wait(_RETRY_SECONDS[min(attempt, len(_RETRY_SECONDS) - 1)]):
                return log.error(
                    "stopped with %d messages not stored; the nodes will send them again", len(batch)
                )
            attempt += 1

    def _commit(self, batch: Sequence[Work]) -> None:
        self._recorder.alone = len(batch) == 1
        with self._recorder.transaction():
            self._recorder.expect([work.event for work in batch if work.event])
            outcomes = [work.write(self._recorder) for work in batch]
            begun = time.perf_counter()
        self._last_commit_ms = (time.perf_counter() - begun) * 1e3
        self._latest_change = self._recorder.changes
        if self._trouble:
            log.warning("the database takes events again")
            self._trouble = ""
        self._settle(outcomes, [work.receipt for work in batch if work.receipt is not None])
        for outcome in outcomes:
            if outcome.answer is not None:
                outcome.answer()

    def _one_by_one(self, batch: list[Work], error: Exception) -> None:
        """Find the work that the database will never take, and write something else in its place."""
        if len(batch) > 1:
            for work in batch:
                self._persist([work])
            return
        log.error("the database refused a message: %s", error)
        refused = batch[0]
        substitute = refused.instead(str(error))
        if substitute is None and refused.receipt is not None:
            substitute = NOTHING
        if substitute is not None:
            self._persist([replace(substitute, receipt=refused.receipt)])

    def _note_trouble(self, error: Exception) -> None:
        if str(error) != self._trouble:
            log.error("nothing can be stored, and nothing is acknowledged: %s; trying again", error)
        self._trouble = str(error)
