"""What is sent next, and what is sent again: the rules between outbox and broker.

Pure: time comes as an argument, rows come from a function. A row counts as delivered only when the hub
has said so; neither the broker's word nor a closed socket means anything here.

- A row made in this connection and younger than :data:`LIVE_SECONDS` goes at once, alone, as it is.
- Everything else is late: it goes in batches, only while no live row waits.
- At most :data:`WINDOW` messages wait for the hub's word, late ones at most :data:`LATE_WINDOW`, so that
  an alarm always finds a place; and late rows go at a bounded rate, so that a site whose hub was away for
  days does not drown it on its return.
- What has no answer after :data:`RESEND_SECONDS` goes again, except while the hub is known to be away.
- A row that stays without an answer while later ones get theirs is refused, and counted as such; the
  batches it travels in are halved each time, so that one bad row cannot hold up others.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tocsin_node.outbox_table import Row

WINDOW = 20
LATE_WINDOW = 10
LIVE_SECONDS = 30.0
RESEND_SECONDS = 15.0
BATCH_EVENTS = 64
BATCH_BYTES = 60_000
_ENVELOPE_BYTES = 64

Waiting = Callable[[int, int, Iterable[int]], list[Row]]
"""``(limit, after, without)`` → rows, severest first, then oldest."""


@dataclass(frozen=True)
class Batch:
    """Rows that make one message."""

    rows: tuple[Row, ...]
    late: bool

    @property
    def seqs(self) -> tuple[int, ...]:
        """Numbers of the rows."""
        return tuple(row.seq for row in self.rows)


@dataclass
class _Sent:
    """A message that waits for the hub's word."""

    seqs: set[int]
    at: float
    late: bool


class Delivery:
    """Which rows are on their way; late ones at most ``late_per_second``. Not thread-safe."""

    def __init__(self, late_per_second: float = math.inf) -> None:
        self._late_seconds = 1.0 / late_per_second
        self._late_from = -math.inf
        self._sent: list[_Sent] = []
        self._made: dict[int, float] = {}
        self._announced = 0
        self._hub_away = False
        self._batch_limit = BATCH_EVENTS
        self._last_answered = -1.0

    def connected(self, last_seq: int) -> None:
        """A connection began when ``last_seq`` was the highest number: all older rows are late."""
        if any(sent.late for sent in self._sent):
            # The connection broke under a batch, perhaps because of it: the broker may bear less.
            self._batch_limit = max(1, self._batch_limit // 2)
        self._sent.clear()
        self._made.clear()
        self._announced = last_seq

    def made(self, seq: int, now: float) -> None:
        """Row ``seq`` was made at ``now``."""
        self._made[seq] = now
        self._announced = max(self._announced, seq)

    def hub(self, *, away: bool) -> None:
        """The hub came or went; when it comes, all that it has not answered goes again."""
        if self._hub_away and not away:
            self._sent.clear()
        self._hub_away = away

    def next(self, waiting: Waiting, now: float) -> Batch | None:
        """The message to send now, which counts as sent; ``None`` while there is none."""
        if len(self._sent) >= WINDOW:
            return None
        batch = self._live(waiting, now) or self._late(waiting, now)
        if batch is not None:
            self._sent.append(_Sent(set(batch.seqs), now, batch.late))
        return batch

    def unsent(self, batch: Batch) -> None:
        """``batch`` could not be handed to the broker after all."""
        self._sent = [sent for sent in self._sent if not sent.seqs.intersection(batch.seqs)]

    def answered(self, seqs: Iterable[int]) -> None:
        """The hub has these rows."""
        for seq in seqs:
            self._made.pop(seq, None)
            for sent in self._sent:
                if seq in sent.seqs:
                    sent.seqs.discard(seq)
                    self._last_answered = max(self._last_answered, sent.at)
        if any(sent.late and not sent.seqs for sent in self._sent):
            self._batch_limit = BATCH_EVENTS
        self._sent = [sent for sent in self._sent if sent.seqs]

    def overdue(self, now: float) -> list[int]:
        """Let go what had no answer in time, so that it goes again; returns the rows that were refused."""
        self._made = {seq: at for seq, at in self._made.items() if now - at < LIVE_SECONDS}
        if self._hub_away:
            return []
        over = [sent for sent in self._sent if now - sent.at >= RESEND_SECONDS]
        self._sent = [sent for sent in self._sent if sent not in over]
        return [seq for sent in over if self._last_answered >= sent.at for seq in sent.seqs]

    def wake_in(self, now: float) -> float:
        """Seconds until something may be overdue, at most :data:`RESEND_SECONDS`."""
        due = [sent.at + RESEND_SECONDS - now for sent in self._sent] if not self._hub_away else []
        due += [self._late_from - now] if self._late_from > now else []
        return max(0.0, min([*due, RESEND_SECONDS]))

    def _under_way(self) -> list[int]:
        return [seq for sent in self._sent for seq in sent.seqs]

    def _live(self, waiting: Waiting, now: float) -> Batch | None:
        oldest = min(self._made, default=self._announced + 1)
        rows = waiting(WINDOW, oldest - 1, self._under_way())
        live = (row for row in rows if self._is_live(row, now))
        return next((Batch((row,), late=False) for row in live), None)

    def _is_live(self, row: Row, now: float) -> bool:
        # A row beyond the last announced one has just been committed by another thread.
        made = self._made.get(row.seq, now if row.seq > self._announced else None)
        return made is not None and now - made < LIVE_SECONDS

    def _late(self, waiting: Waiting, now: float) -> Batch | None:
        if now < self._late_from or sum(sent.late for sent in self._sent) >= LATE_WINDOW:
            return None
        found = waiting(self._batch_limit, 0, self._under_way())
        rows = [row for row in found if not self._is_live(row, now)]
        if not rows:
            return None
        limit = max(1, min(self._batch_limit, BATCH_EVENTS >> rows[0].tries))
        taken: list[Row] = []
        size = _ENVELOPE_BYTES
        for row in rows[:limit]:
            size += len(row.payload) + 1
            if taken and size > BATCH_BYTES:
                break
            taken.append(row)
        self._late_from = now + len(taken) * self._late_seconds
        return Batch(tuple(sorted(taken, key=lambda row: row.seq)), late=True)
