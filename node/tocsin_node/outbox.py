"""The outbox: every event is on the disk before it is sent, and stays until the hub says it has it.

A row goes only by :meth:`Outbox.acknowledge`, when id and number both agree, or when the outbox is full,
and then never an alarm. Whatever the disk does, the node goes on hearing and sending:

- a database that cannot be read is moved aside, and a fresh one begins where the numbers stood, with the
  events that could still be read;
- while the disk refuses to write (full, read-only), events are kept in a bounded table in memory, are
  sent from there, and move to the disk once it takes them.

Thread-safe: one lock, held for one short statement or transaction at a time.
"""

import fcntl
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from tocsin_node.outbox_table import Counts, OutboxTable, Row, salvage
from tocsin_shared.codec import encode
from tocsin_shared.errors import SettingsError
from tocsin_shared.events import EventRef, SoundDetected, TroubleKind

MAX_TRIES = 20
"""A row that the other side has refused so often is set aside as dead."""
SPARE_ROWS = 1000
"""Events kept in memory while the disk refuses them."""
_DROP_ROWS = 64
_ROOMY = 0.9
"""An outbox that was full has room again below this share of what it may take."""
_REOPEN_SECONDS = 5.0
_RENEW_SECONDS = 60.0
"""A database whose disk refuses is closed and opened again this often: a stick that was pulled out, say."""

Trouble = Callable[[TroubleKind, str], None]
T = TypeVar("T")
log = logging.getLogger("tocsin.node.outbox")


def _nobody_asks(_kind: TroubleKind, _detail: str) -> None:
    return


class Outbox:
    """Events on their way to the hub, in the SQLite file ``path``; see :meth:`open`.

    ``trouble`` is told a kind and what is wrong, or ``""`` once that is over; it must not call back.
    """

    def __init__(self, path: Path, max_bytes: int, trouble: Trouble = _nobody_asks) -> None:
        self._path = path
        self._trouble = trouble
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._file_lock: int | None = None
        self._disk: OutboxTable | None = None
        self._spare = OutboxTable.in_memory()
        self._gone: dict[int, EventRef] = {}
        self._size = 0
        self._last_seq = 0
        self._failing = False
        self._full = False
        self._thorough = True
        self._saved: list[Row] = []
        self._reopen_at = self._renew_at = 0.0

    def open(self) -> None:
        """Open the database, or make it. One that cannot be used now is no error: memory serves meanwhile.

        Raises:
            SettingsError: another node has it open, or the node may not write at this place.
        """
        self._file_lock = _locked(self._path)
        with self._lock:
            self._table()

    def close(self) -> None:
        """Give the database back; what waits in memory only is lost, and the log says so."""
        with self._lock:
            self._settle()
            if lost := self._spare.counts().waiting:
                log.error("outbox %s: %d events were in memory only and are lost", self._path, lost)
            for table in (self._disk, self._spare):
                if table is not None:
                    table.close()
            if self._file_lock is not None:
                os.close(self._file_lock)
                self._file_lock = None

    @property
    def only_in_memory(self) -> int:
        """How many events would be lost if the process ended now."""
        with self._lock:
            return self._spare.counts().waiting

    @property
    def last_seq(self) -> int:
        """The highest number that was given away, 0 for none."""
        return self._last_seq

    def add(self, make: Callable[[int], SoundDetected]) -> SoundDetected:
        """Number an event, make it, and keep it; on return it is on the disk, or the log says why not.

        Raises:
            DecodeError: the event breaks a limit of the wire; nothing was kept.
        """
        with self._lock:
            self._settle()
            event = make(self._last_seq + 1)
            row = Row(event.seq, event.id, event.label, encode(event))
            if not self._write(lambda disk: disk.insert([row])):
                self._keep_in_memory(row)
            self._last_seq = event.seq
            self._size += row.size
            self._make_room()
            return event

    def waiting(self, limit: int, *, after: int = 0, without: Iterable[int] = ()) -> list[Row]:
        """The next rows to send: severest first, then oldest; numbers above ``after``, dead ones left out."""
        with self._lock:
            left_out = [*without, *self._gone]
            rows = self._spare.waiting(limit, after, left_out)
            rows += self._read(lambda disk: disk.waiting(limit, after, left_out)) or []
            return sorted(rows, key=lambda row: row.order)[:limit]

    def acknowledge(self, refs: Iterable[EventRef]) -> list[int]:
        """Forget the rows that ``refs`` name by id and number; returns the numbers that were waiting.

        Where the disk refuses to forget, the rows are left out from now on, and deleted later.
        """
        with self._lock:
            wanted = [ref for ref in refs if ref.seq not in self._gone]
            found = self._spare.named(wanted) + (self._read(lambda disk: disk.named(wanted)) or [])
            self._gone |= {row.seq: EventRef(row.id, row.seq) for row in found}
            self._size -= sum(row.size for row in found)
            self._settle()
            return [row.seq for row in found]

    def count_try(self, seqs: Iterable[int]) -> None:
        """Note that the other side refused these rows; after :data:`MAX_TRIES` a row is dead."""
        self._count(list(seqs), MAX_TRIES)

    def set_aside(self, seqs: Iterable[int]) -> None:
        """Count these rows as dead: they could never be sent."""
        self._count(list(seqs), 1)

    def _count(self, seqs: list[int], limit: int) -> None:
        with self._lock:
            self._spare.count_tries(seqs, limit)
            self._write(lambda disk: disk.count_tries(seqs, limit))

    def depth(self) -> Counts:
        """How much waits, is dead, and was given up since the outbox was made."""
        with self._lock:
            spare = self._spare.counts()
            disk = self._read(lambda disk: disk.counts()) or Counts(0, 0, 0)
            waiting = spare.waiting + disk.waiting - len(self._gone)
            return Counts(max(0, waiting), spare.dead + disk.dead, spare.dropped + disk.dropped)

    def settle(self) -> None:
        """Try again what the disk refused before; to be called now and then."""
        with self._lock:
            if self._failing:
                self._look_again()
            self._settle()
            self._note_room()

    def _settle(self) -> None:
        """Bring to the disk what is known in memory only: rows, rows that are gone, and drops."""
        gone = list(self._gone.values())
        rows = self._spare.waiting(SPARE_ROWS)
        dropped = self._spare.counts().dropped
        if not (gone or rows or dropped):
            return
        kept = [row for row in rows if row.seq not in self._gone]
        moved = self._write(lambda disk: _bring(disk, kept, gone, dropped))
        with self._spare.transaction():
            self._spare.delete(gone)
            if moved:
                self._spare.delete(EventRef(row.id, row.seq) for row in rows)
                self._spare.add_dropped(-dropped)
        if moved:
            self._gone.clear()
            self._recovered()
        if moved and rows:
            log.warning("outbox %s takes events again; %d brought from memory", self._path, len(kept))

    def _look_again(self) -> None:
        """See whether the disk works again; one that was away for long has to be opened anew."""
        if time.monotonic() >= self._renew_at and self._disk is not None:
            self._renew_at = time.monotonic() + _RENEW_SECONDS
            self._disk.close()
            self._disk = None
            self._reopen_at = 0.0
        self._write(lambda disk: disk.add_dropped(0))

    def _write(self, work: Callable[[OutboxTable], object]) -> bool:
        """Do ``work`` in one transaction on the disk; False when the disk refuses."""

        def write(disk: OutboxTable) -> bool:
            with disk.transaction():
                work(disk)
            if not (self._gone or self._spare.counts().waiting):
                self._recovered()
            return True

        return bool(self._read(write))

    def _read(self, work: Callable[[OutboxTable], T]) -> T | None:
        """What ``work`` gives on the disk's table; ``None`` when the disk refuses."""
        for _ in range(2):
            table = self._table()
            if table is None:
                return None
            try:
                return work(table)
            except (sqlite3.OperationalError, sqlite3.IntegrityError) as error:
                self._refused(error)
                return None
            except sqlite3.DatabaseError as error:
                self._give_up(table, error)
        return None

    def _table(self) -> OutboxTable | None:
        """The table on the disk, opened again now and then if it is not open."""
        if self._disk is None and time.monotonic() >= self._reopen_at:
            self._reopen_at = time.monotonic() + _REOPEN_SECONDS
            try:
                self._disk = self._opened_or_fresh()
                self._size = self._disk.size() + self._spare.size()
                self._last_seq = max(self._last_seq, self._disk.last_seq())
            except (sqlite3.Error, OSError) as error:
                self._refused(error)
        return self._disk

    def _give_up(self, table: OutboxTable, error: sqlite3.Error) -> None:
        table.close()
        self._disk = None
        self._reopen_at = 0.0
        try:
            self._move_aside(error)
        except OSError as again:
            self._refused(again)

    def _opened_or_fresh(self) -> OutboxTable:
        """The table that is there, or a fresh one with whatever could be saved of a broken one."""
        # Only at the start all of it is read: later, a live alarm would wait meanwhile.
        thorough, self._thorough = self._thorough, False
        try:
            table = OutboxTable.open(self._path, thorough=thorough)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            self._move_aside(error)
            table = OutboxTable.open(self._path)
        try:
            with table.transaction():
                table.insert(self._saved)
        except sqlite3.Error:
            table.close()
            raise
        self._saved = []
        return table

    def _move_aside(self, error: Exception) -> None:
        aside = f"{self._path}.broken-{time.strftime('%Y%m%dT%H%M%S')}-{time.time_ns() % 10**9:09d}"
        for suffix in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                Path(f"{self._path}{suffix}").replace(f"{aside}{suffix}")
        log.critical(
            "outbox %s cannot be read (%s): moved to %s; a fresh one begins", self._path, error, aside
        )
        text = f"the outbox could not be read ({error}); kept aside as {Path(aside).name}"
        self._trouble(TroubleKind.OUTBOX_CORRUPT, text)
        self._saved = salvage(Path(aside))
        log.warning("%d events were saved from %s", len(self._saved), aside)

    def _refused(self, error: Exception) -> None:
        if not self._failing:
            log.critical("outbox %s: the disk refuses: %s; events are kept in memory", self._path, error)
            self._trouble(TroubleKind.DISK, f"the disk refuses ({error}); events are kept in memory only")
            self._renew_at = time.monotonic() + _RENEW_SECONDS
        self._failing = True

    def _recovered(self) -> None:
        """The disk took all that waited for it: a small write alone may find a place on a full disk."""
        if self._failing:
            log.warning("outbox %s: the disk works again", self._path)
            self._trouble(TroubleKind.DISK, "")
        self._failing = False

    def _keep_in_memory(self, row: Row) -> None:
        with self._spare.transaction():
            self._spare.insert([row])
            lost = self._spare.drop(self._spare.counts().waiting - SPARE_ROWS, alarms_too=True)
        if lost:
            self._size -= sum(lost)
            log.critical("outbox: memory is full as well; %d events are lost", len(lost))

    def _note_room(self) -> None:
        if self._full and self._size <= self._max_bytes * _ROOMY:
            self._full = False
            self._trouble(TroubleKind.OUTBOX_FULL, "")

    def _make_room(self) -> None:
        self._note_room()
        while self._size > self._max_bytes:
            if not self._full:
                self._full = True
                self._trouble(
                    TroubleKind.OUTBOX_FULL, "the outbox is full; the least severe events are given up"
                )
            dropped: list[int] = []
            self._write(lambda disk: dropped.extend(disk.drop(_DROP_ROWS, alarms_too=False)))  # noqa: B023
            if not dropped:
                return
            self._size -= sum(dropped)
            log.critical("outbox %s is full: the %d least severe events given up", self._path, len(dropped))


def _bring(disk: OutboxTable, rows: list[Row], gone: list[EventRef], dropped: int) -> None:
    disk.insert(rows)
    disk.delete(gone)
    disk.add_dropped(dropped)


def _locked(path: Path) -> int | None:
    """Hold a lock beside the database, so that two nodes never send from one outbox."""
    if path.is_dir():
        raise SettingsError(f"outbox.path {path}: is a folder; name a file in it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file_lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except (PermissionError, FileNotFoundError, FileExistsError, NotADirectoryError) as error:
        text = f"outbox.path {path}: the node cannot write there ({error.strerror}); name another place"
        raise SettingsError(text) from error
    except OSError as error:  # full or read-only: no mistake of the settings, and the node must run
        log.critical("outbox %s: cannot be locked: %s", path, error)
        return None
    try:
        fcntl.flock(file_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(file_lock)
        text = f"outbox.path {path}: another node has it open; stop that one or name another place"
        raise SettingsError(text) from error
    return file_lock
