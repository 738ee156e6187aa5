"""The register of what keeps this node from hearing or telling: whoever finds a trouble notes it here."""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from ulid import ULID

from tocsin_shared.events import Trouble, TroubleKind, TroublesChanged

KEPT_ENDED = 32
"""Troubles that are over and still told: the hub learns of those that came and went while it was away."""
_DETAIL_LETTERS = 120


@dataclass(frozen=True)
class _Noted:
    """A trouble by the monotonic clock, seconds: the wall clock may be set while it lasts."""

    id: str
    kind: TroubleKind
    detail: str
    since: float
    until: float | None = None


class Troubles:
    """All troubles of this process. Thread-safe; at most one of each kind is open.

    ``wall`` and ``mono`` give seconds. ``on_change`` is called after every change, in the thread that made
    it, and without a lock held.
    """

    def __init__(
        self,
        wall: Callable[[], float],
        mono: Callable[[], float],
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._wall = wall
        self._mono = mono
        self._lock = threading.Lock()
        self._open: dict[TroubleKind, _Noted] = {}
        self._ended: deque[_Noted] = deque(maxlen=KEPT_ENDED)
        self.on_change = on_change

    def begin(self, kind: TroubleKind, detail: str = "") -> bool:
        """Note that ``kind`` began; whether it is new. ``detail`` is cut to 120 letters.

        If one of this kind is open it goes on, with the detail that it began with.
        """
        with self._lock:
            if kind in self._open:
                return False
            self._open[kind] = _Noted(str(ULID()), kind, detail[:_DETAIL_LETTERS], self._mono())
        self.on_change()
        return True

    def end(self, *kinds: TroubleKind) -> bool:
        """Note that ``kinds`` are over; whether one of them was open."""
        with self._lock:
            over = [self._open.pop(kind) for kind in kinds if kind in self._open]
            now = self._mono()
            self._ended.extend(_Noted(noted.id, noted.kind, noted.detail, noted.since, now) for noted in over)
        if over:
            self.on_change()
        return bool(over)

    def note(self, kind: TroubleKind, detail: str) -> None:
        """``kind`` lasts, for the reason ``detail``; or it is over, which is an empty one."""
        if detail:
            self.begin(kind, detail)
        else:
            self.end(kind)

    def open(self) -> tuple[Trouble, ...]:
        """The troubles that last, oldest first."""
        with self._lock:
            noted = list(self._open.values())
        return tuple(self._told(one) for one in noted)

    def message(self, node: str, boot: str) -> TroublesChanged:
        """All that is open, and the newest of what is over."""
        with self._lock:
            noted = [*self._ended, *self._open.values()]
        return TroublesChanged(
            node=node,
            boot=boot,
            at=datetime.fromtimestamp(self._wall(), UTC),
            troubles=tuple(self._told(one) for one in noted),
        )

    def _told(self, noted: _Noted) -> Trouble:
        until = None if noted.until is None else self._moment(noted.until)
        return Trouble(
            id=noted.id,
            kind=noted.kind,
            since=self._moment(noted.since),
            until=until,
            detail=noted.detail,
        )

    def _moment(self, mono: float) -> datetime:
        """The wall clock's reading at ``mono``, by how the clocks stand now; never before 1970."""
        return datetime.fromtimestamp(max(0.0, self._wall() - (self._mono() - mono)), UTC)
