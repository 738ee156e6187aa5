"""Rules: the processes of a site tell each other each second that they are there, and what they see.

Everything here is a value in and a value out; the time is an argument. Only :class:`Beats` remembers.
"""

import threading
from enum import StrEnum

import msgspec

FRESH_SECONDS = 6.0
"""A process of which nothing was heard for so long is not there: five beats and some more were missed."""


class Beat(msgspec.Struct, frozen=True, kw_only=True, tag_field="method", tag="beat"):
    """What a process says of itself."""

    host_id: str
    """Which process says it; new for each start."""
    leads: bool
    """Whether it is the hub, which hears and alerts. The last word of one that ends is that it does not."""
    hears: bool = False
    """Of the hub: whether the broker is there."""
    since_us: int = 0
    """Of the hub: since when that is so."""
    pages: dict[str, int]
    """How many pages each person has open there."""


class Changed(msgspec.Struct, frozen=True, kw_only=True, tag_field="method", tag="changed"):
    """A web process has written something; the hub looks at once what it is."""

    host_id: str


class Standing(StrEnum):
    """How a web process hears of what the hub does."""

    LIVE = "live"
    """The hub says it."""
    ASKING = "asking"
    """Redis is away: the database is asked."""
    CUT_OFF = "cut_off"
    """There is no hub, or it stands still: nobody may take this process's silence for peace."""


def standing(hub_seconds: float | None, own_seconds: float | None) -> Standing | None:
    """How a web process stands that heard the hub, and itself, by Redis so long ago (``None``: never).

    ``None``: neither was heard lately, so only the database can tell whether there is a hub.
    """
    if hub_seconds is not None and hub_seconds <= FRESH_SECONDS:
        return Standing.LIVE
    if own_seconds is not None and own_seconds <= FRESH_SECONDS:
        return Standing.CUT_OFF
    return None


class Beats:
    """The last beat of every other process. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: dict[str, tuple[float, Beat]] = {}

    def take(self, beat: Beat, now: float) -> None:
        """Note what was heard at ``now``, seconds."""
        with self._lock:
            self._last = {key: one for key, one in self._last.items() if now - one[0] <= FRESH_SECONDS}
            self._last[beat.host_id] = now, beat

    def hub(self, now: float) -> tuple[float, Beat] | None:
        """How many seconds ago the hub was heard, and what it said; ``None`` if it ended or never spoke."""
        with self._lock:
            found = [(now - at, beat) for at, beat in self._last.values() if beat.leads]
        return min(found, key=lambda one: one[0], default=None)

    def others(self, now: float) -> int:
        """How many other processes are there."""
        return len(self._fresh(now))

    def pages(self, person: str | None, now: float) -> int:
        """How many pages a person has open at the others; ``None``: how many are open at all."""
        beats = self._fresh(now)
        if person is None:
            return sum(sum(beat.pages.values()) for beat in beats)
        return sum(beat.pages.get(person, 0) for beat in beats)

    def _fresh(self, now: float) -> list[Beat]:
        with self._lock:
            return [beat for at, beat in self._last.values() if now - at <= FRESH_SECONDS]
