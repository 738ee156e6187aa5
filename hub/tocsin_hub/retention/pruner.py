"""The thread that lets go of what is old, piece by piece, through the writer's queue."""

import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import Protocol, TypeVar

from tocsin_hub.place import Place, PostgresPlace, database_errors, tidy_postgres
from tocsin_hub.recorder import Recorder
from tocsin_hub.retention import pruning
from tocsin_hub.retention.rules import FIRST_ROWS, Matter, Pruned, Term, is_due, next_rows, spare_pages, terms
from tocsin_hub.settings import StoreSettings
from tocsin_hub.threads import end_process, start_thread
from tocsin_shared.errors import UnavailableError

T = TypeVar("T")
_LOOK_SECONDS = 60.0
_RETRY_LOOKS = 15
_LEAST_PAUSE_SECONDS = 0.02
_PAGES = 256

log = logging.getLogger(__name__)


class Writer(Protocol):
    """What writes for the thread; the pieces queue behind the messages that are there already."""

    def call(self, write: Callable[[Recorder], T], /) -> T:
        """Write something and wait until it is committed."""


class Direct:
    """Writes by a connection of its own, where no hub runs."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def call(self, write: Callable[[Recorder], T], /) -> T:
        """Write something and commit it.

        Raises:
            UnavailableError: the database refused.
        """
        with database_errors(self._recorder.path), self._recorder.transaction():
            return write(self._recorder)


class Pruner:
    """Looks once a day. Its failure costs disk space, never an event: it is told and tried again."""

    def __init__(
        self,
        keep: StoreSettings,
        place: Place,
        writer: Writer,
        clock: Callable[[], int],
        on_removed: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._keep = keep
        self._place = place
        self._writer = writer
        self._clock = clock
        self._on_removed = on_removed
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self.last: Pruned | None = None
        """What the last look did."""
        self.trouble = ""
        """Why the last try failed; empty when all is well."""

    def start(self, on_death: Callable[[str], None] = end_process) -> None:
        """Start the thread; it looks at once if that is overdue."""
        self._thread = start_thread("pruner", self._run, on_death)

    def stop(self) -> None:
        """End the thread; a piece under way is finished."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(5.0)

    def _run(self) -> None:
        looks = 0
        while not self._stopping.is_set():
            if looks <= 0:
                looks = 0 if self._look() else _RETRY_LOOKS
            looks -= 1
            self._stopping.wait(_LOOK_SECONDS)

    def _look(self) -> bool:
        """Let go of what is old if that is due; ``False`` if that failed."""
        try:
            if self.last is None:
                self.last = self._writer.call(lambda recorder: pruning.last(recorder.database))
            if self._is_due():
                self.prune()
        except UnavailableError as error:
            if not self._stopping.is_set():
                self.trouble = str(error)
                log.warning("nothing old could be let go of: %s; it is tried again", error)
            return False
        self.trouble = ""
        return True

    def _is_due(self) -> bool:
        now_us = self._clock()
        hour = datetime.fromtimestamp(now_us / 1e6).astimezone().hour
        return is_due(now_us, self.last.at_us if self.last else None, hour, self._keep.prune_hour)

    def prune(self) -> Pruned:
        """Let go of everything that is old.

        Raises:
            UnavailableError: the database refused, or the hub is stopping.
        """
        began, at_us = time.monotonic(), self._clock()
        counts = {term.matter: self._let_go(term) for term in terms(self._keep, at_us)}
        self._tidy(at_us)
        removed = {str(matter): count for matter, count in counts.items() if count}
        pruned = Pruned(at_us, round(time.monotonic() - began, 3), removed)
        self._writer.call(lambda recorder: pruning.note(recorder.database, pruned))
        words = ", ".join(f"{count} {name}" for name, count in removed.items()) or "nothing was old enough"
        log.info("pruned in %.1f s: %s", pruned.seconds, words)
        self.last = pruned
        return pruned

    def _let_go(self, term: Term) -> int:
        place: pruning.Place | None = pruning.START
        rows, removed = FIRST_ROWS, 0
        while place is not None:
            piece, seconds = self._timed(
                lambda recorder, at=place, most=rows: pruning.prune_piece(recorder.database, term, at, most)  # type: ignore[misc]
            )
            if term.matter is Matter.EVENTS:
                self._on_removed(piece.removed)
            removed += piece.removed
            place, rows = piece.place, next_rows(rows, seconds)
        return removed

    def _tidy(self, at_us: int) -> None:
        if isinstance(self._place, PostgresPlace):
            tidy_postgres(self._place, at_us)
        else:
            self._shrink()

    def _shrink(self) -> None:
        """Give the file system back what will hardly be filled again."""
        free, pages = self._writer.call(lambda recorder: pruning.free_pages(recorder.database))
        for _ in range(0, spare_pages(free, pages), _PAGES):
            self._timed(lambda recorder: pruning.give_back(recorder.database, _PAGES))

    def _timed(self, write: Callable[[Recorder], T]) -> tuple[T, float]:
        """One piece, what it took the writer, and a pause as long, in which it is there for others."""
        if self._stopping.is_set():
            raise UnavailableError("the hub is stopping")
        began = time.monotonic()
        result = self._writer.call(write)
        seconds = time.monotonic() - began
        self._stopping.wait(max(_LEAST_PAUSE_SECONDS, seconds))
        return result, seconds
