"""Fetching one file, in pieces: goes on where it was cut, keeps to a rate, ends what drips or never ends."""

import hashlib
import logging
import os
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import urllib3

from tocsin_node.update.fetching import Answer, Web
from tocsin_node.update.steps import Fault, LaterError, RefusedError

PAUSE_SECONDS = 1.0
LONGEST_TURN_SECONDS = 60.0
"""A server that says when to come again is believed up to this."""
log = logging.getLogger("tocsin.node.update")


class _BusyError(Exception):
    """The server has as much to do as it may; it says when to come again."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"busy for {seconds:g} s")
        self.seconds = seconds


@dataclass(frozen=True)
class Wanted:
    """What is to come."""

    url: str
    length: int
    sha256: str
    part: Path
    """File for what has come so far."""


@dataclass(frozen=True)
class Patience:
    """How fast it may come, and how slowly."""

    bytes_per_second: float = 256_000.0
    """Not faster than this, so that alarms always find the line free."""
    slowest_bytes_per_second: float = 1_000.0
    """Slower than this for ``slow_seconds`` of waiting, and it ends."""
    slow_seconds: float = 60.0
    total_seconds: float = 3600.0
    """All of it, but for pauses while an alarm is open."""
    cuts: int = 20
    """So often is a connection that was cut made again."""


@dataclass
class _Pace:
    """Time spent, seconds, and bytes that came in it."""

    began: float
    held: float = 0.0
    turned_away: float = 0.0
    """While others had their turn: no time in which anything could come."""
    waited: float = 0.0
    waited_bytes: int = 0
    total_bytes: int = 0
    cuts: int = 0


@dataclass
class Download:
    """Fetches ``wanted``; :meth:`run` once. ``held`` says that now is no time; ``stop`` ends it."""

    web: Web
    wanted: Wanted
    patience: Patience
    held: Callable[[], bool] = lambda: False
    stop: threading.Event = field(default_factory=threading.Event)
    told: Callable[[int], None] = lambda _bytes: None
    """Called with the bytes that are there."""
    clock: Callable[[], float] = time.monotonic

    def run(self) -> bytes:
        """The file.

        Raises:
            LaterError: the server is not reached, or is too slow; what has come is kept.
            RefusedError: what came is not what was signed; nothing of it is kept.
        """
        self._pace = _Pace(self.clock())
        resumed = self._begin()
        while True:
            while self._there() < self.wanted.length:
                self._connection()
            content = self.wanted.part.read_bytes()
            if hashlib.sha256(content).hexdigest() == self.wanted.sha256:
                return content
            self.wanted.part.unlink(missing_ok=True)
            if not resumed:
                raise RefusedError(Fault.DOWNLOAD_TAMPER, self.wanted.url)
            log.warning("what was left of an earlier download was damaged; it begins anew")
            resumed = False

    def _begin(self) -> bool:
        """Whether something is there that can be gone on with."""
        there = self._there()
        if there > self.wanted.length:
            self.wanted.part.unlink(missing_ok=True)
        return 0 < there <= self.wanted.length

    def _there(self) -> int:
        try:
            return self.wanted.part.stat().st_size
        except OSError:
            return 0

    def _connection(self) -> None:
        """One request, and as much of its answer as comes."""
        self._check_time()
        there = self._there()
        headers = {"Range": f"bytes={there}-", "If-Range": f'"{self.wanted.sha256}"'} if there else {}
        try:
            with self.web.get(self.wanted.url, headers) as answer:
                self._take(answer, self._place(answer, there))
        except _BusyError as busy:
            self.stop.wait(busy.seconds)
            self._pace.turned_away += busy.seconds
        except (urllib3.exceptions.HTTPError, ConnectionError, TimeoutError) as error:
            self._cut(f"{type(error).__name__}: {error}")
        except OSError as error:
            raise RefusedError(Fault.DISK, f"{error.strerror or error}") from error

    def _place(self, answer: Answer, there: int) -> int:
        """Where the body of ``answer`` belongs: after what is there, or at the begin.

        Raises:
            LaterError: it is no answer to go on with.
        """
        if answer.status == 206 and there:
            given = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", answer.headers.get("Content-Range", ""))
            tag = answer.headers.get("ETag", f'"{self.wanted.sha256}"')
            wanted = (str(there), str(self.wanted.length - 1), str(self.wanted.length))
            if given is not None and given.groups() == wanted and tag.strip('"') == self.wanted.sha256:
                return there
            self.wanted.part.unlink(missing_ok=True)
            raise urllib3.exceptions.ProtocolError("the server gives another part than was asked for")
        if answer.status == 200:
            return 0
        if answer.status == 503 and answer.headers.get("Retry-After", "").isdecimal():
            seconds = float(answer.headers["Retry-After"])
            raise _BusyError(min(LONGEST_TURN_SECONDS, max(PAUSE_SECONDS, seconds)))
        if answer.status == 416 and there:
            self.wanted.part.unlink(missing_ok=True)
            raise urllib3.exceptions.ProtocolError("the server does not know the rest; it begins anew")
        raise LaterError(Fault.DOWNLOAD_UNREACHABLE, f"HTTP {answer.status}")

    def _take(self, answer: Answer, place: int) -> None:
        self.wanted.part.parent.mkdir(parents=True, exist_ok=True)
        with self.wanted.part.open("r+b" if place else "wb") as file:
            file.seek(place)
            file.truncate()
            try:
                self._take_chunks(answer, file.write, place)
            finally:
                file.flush()
                os.fsync(file.fileno())

    def _take_chunks(self, answer: Answer, write: Callable[[bytes], object], there: int) -> None:
        pace, began = self._pace, self.clock()
        for chunk in answer.chunks:
            pace.waited += self.clock() - began
            there += len(chunk)
            if there > self.wanted.length:
                self.wanted.part.unlink(missing_ok=True)
                raise RefusedError(Fault.DOWNLOAD_ENDLESS, f"more than {self.wanted.length} bytes")
            write(chunk)
            pace.total_bytes += len(chunk)
            pace.waited_bytes += len(chunk)
            self.told(there)
            self._check_time()
            self._keep_pace()
            began = self.clock()
        if there < self.wanted.length:
            raise urllib3.exceptions.ProtocolError(f"cut after {there} of {self.wanted.length} bytes")

    def _check_time(self) -> None:
        pace, patience = self._pace, self.patience
        if self.stop.is_set():
            raise LaterError(Fault.DOWNLOAD_UNREACHABLE, "stopped", counted=False)
        if self.clock() - pace.began - pace.held > patience.total_seconds:
            raise LaterError(Fault.DOWNLOAD_SLOW, f"not there within {patience.total_seconds:g} s")
        if pace.waited >= patience.slow_seconds:
            if pace.waited_bytes < patience.slowest_bytes_per_second * pace.waited:
                raise LaterError(
                    Fault.DOWNLOAD_SLOW, f"{pace.waited_bytes / pace.waited:.0f} bytes per second"
                )
            pace.waited, pace.waited_bytes = 0.0, 0

    def _keep_pace(self) -> None:
        """Wait until the rate allows more, and while an alarm is open."""
        pace = self._pace
        due = pace.total_bytes / self.patience.bytes_per_second
        spent = self.clock() - pace.began - pace.held - pace.turned_away
        self.stop.wait(max(0.0, due - spent))
        while self.held() and not self.stop.is_set():
            self.stop.wait(PAUSE_SECONDS)
            pace.held += PAUSE_SECONDS

    def _cut(self, reason: str) -> None:
        self._pace.cuts += 1
        log.info("download: %s; %d of %d bytes are there", reason, self._there(), self.wanted.length)
        if self._pace.cuts > self.patience.cuts:
            raise LaterError(Fault.DOWNLOAD_UNREACHABLE, reason[:100])
        self.stop.wait(min(PAUSE_SECONDS, 0.05 * self._pace.cuts))
