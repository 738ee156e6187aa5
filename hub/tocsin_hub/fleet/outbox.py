"""Rules: what a simulated node sends next and again, by the rules that real nodes keep to (docs/wire.md).

Rows stand in memory; those of a real node are on its disk, so a restart of a simulated node keeps them. A row
is delivered only when the hub has said so. Time is an argument, seconds of a clock that nobody sets.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from tocsin_shared.events import EventRef, SoundDetected

WINDOW, LATE_WINDOW = 20, 10
"""Messages that may wait for the hub's word, and how many of them may be late ones."""
LIVE_SECONDS = 30.0
RESEND_SECONDS = 15.0
BATCH_EVENTS = 64
LATE_PER_SECOND = 200.0
"""As real nodes have it by default (``outbox.backfill_per_second``)."""


@dataclass(slots=True)
class Row:
    """One message about one sound."""

    event: SoundDetected
    made: float
    live: bool = True
    """It was made in this connection, and goes at once, alone."""
    under_way: bool = False


@dataclass(slots=True)
class _Sent:
    """A message that waits for the hub's word."""

    seqs: set[int]
    at: float
    late: bool


class Outbox:
    """The rows of one node."""

    def __init__(self) -> None:
        self._rows: dict[int, Row] = {}
        self._sent: list[_Sent] = []
        self._hub_away = False
        self._late_from = 0.0
        self._last = 0
        self.resent = 0
        """Messages that went again because no answer came."""

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def next_seq(self) -> int:
        """Number of the next row; never used again."""
        return self._last + 1

    def add(self, event: SoundDetected, now: float) -> None:
        """Keep ``event``, whose ``seq`` is :attr:`next_seq`."""
        self._last = event.seq
        self._rows[event.seq] = Row(event, now)

    def connected(self) -> None:
        """A connection began: nothing is under way any more, and all that waits is late."""
        self._sent.clear()
        for row in self._rows.values():
            row.live = row.under_way = False

    def hub(self, *, away: bool) -> None:
        """The hub went or came; when it comes, all that it has not answered goes again."""
        if self._hub_away and not away:
            self._again(self._sent)
        self._hub_away = away

    def acknowledged(self, refs: Iterable[EventRef]) -> list[SoundDetected]:
        """Let go of what the hub has; a word that names another message than ours counts for nothing."""
        # A set: what was sent twice may be named twice in one word.
        known = {ref.seq for ref in refs if ref.seq in self._rows and self._rows[ref.seq].event.id == ref.id}
        events = [self._rows.pop(seq).event for seq in sorted(known)]
        for sent in self._sent if known else ():
            sent.seqs.difference_update(known)
        self._sent = [sent for sent in self._sent if sent.seqs]
        return events

    def due(self, now: float) -> tuple[Row, ...]:
        """The rows that make the next message, which counts as sent; none if there is nothing to send now."""
        if not self._rows or len(self._sent) >= WINDOW:
            return ()
        rows = self._live(now) or self._late(now)
        if rows:
            for row in rows:
                row.under_way = True
            self._sent.append(_Sent({row.event.seq for row in rows}, now, not rows[0].live))
        return rows

    def overdue(self, now: float) -> None:
        """Let go of what had no answer in time, so that it goes again."""
        if not self._hub_away:
            self._again([sent for sent in self._sent if now - sent.at >= RESEND_SECONDS])

    def wake_in(self, now: float) -> float | None:
        """Seconds until there may be something to do; ``None`` while the outbox is empty."""
        if not self._rows:
            return None
        due = [] if self._hub_away else [sent.at + RESEND_SECONDS - now for sent in self._sent]
        due += [self._late_from - now] if self._late_from > now else []
        return max(0.05, min([*due, RESEND_SECONDS]))

    def _again(self, over: list[_Sent]) -> None:
        self.resent += len(over)
        for seq in [seq for sent in over for seq in sent.seqs]:
            self._rows[seq].under_way = False
        self._sent = [sent for sent in self._sent if sent not in over]

    def _live(self, now: float) -> tuple[Row, ...]:
        for row in self._rows.values():
            if not row.under_way and row.live:
                if now - row.made < LIVE_SECONDS:
                    return (row,)
                row.live = False
        return ()

    def _late(self, now: float) -> tuple[Row, ...]:
        if now < self._late_from or sum(sent.late for sent in self._sent) >= LATE_WINDOW:
            return ()
        rows = tuple(row for row in self._rows.values() if not row.under_way)[:BATCH_EVENTS]
        self._late_from = now + len(rows) / LATE_PER_SECOND if rows else self._late_from
        return rows
