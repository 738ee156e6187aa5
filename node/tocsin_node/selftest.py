"""The node tests itself: an alarm that nobody hears must pass the network, the outbox and the hub.

A made smoke alarm is mixed over the live sound and judged by a pipeline of its own, beside the one that
listens: a real alarm in that moment is told as it always is, and is never taken for the test. What the
test detects goes the way of every event, marked as a test, until the hub says that it is stored.
"""

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from tocsin_node.pipeline import Detected, Pipeline, Sound
from tocsin_node.troubles import Troubles
from tocsin_shared import synthesis
from tocsin_shared.events import SoundDetected, TroubleKind
from tocsin_shared.features import Samples

LABEL = "smoke_alarm"
SOUND_SECONDS = 8.0
"""Two periods of an alarm's rhythm (ISO 8201): as long as the network and its rule need."""
LEVEL_DBFS = -20.0
HEAR_SECONDS = 4.0
"""So long after the end of the sound it must have been heard."""
STORE_SECONDS = 60.0
"""So long after it was heard the hub must have it."""
REQUEST_SECONDS = 60.0
"""A test that is asked for is not run more often."""

log = logging.getLogger("tocsin.node.selftest")


@dataclass
class _Test:
    """One test. Times are monotonic, seconds."""

    began: float
    pipeline: Pipeline | None
    """``None`` once the sound is over."""
    played: int = 0
    """Samples of the sound that were mixed in."""
    heard: float | None = None
    id: str | None = None
    """The event that must be stored."""
    stored: set[str] = field(default_factory=set)
    """What the hub has stored since the test began."""


class SelfTest:
    """Runs a test every ``every_seconds``, if that is not 0, and when :meth:`request` was called.

    ``make_pipeline`` gives a fresh pipeline around the node's own network. All but :meth:`request` and
    :meth:`committed` belong to the thread of the ears.
    """

    def __init__(
        self, every_seconds: float, rate_hz: int, make_pipeline: Callable[[], Pipeline], troubles: Troubles
    ) -> None:
        self._every = every_seconds
        self._rate = rate_hz
        self._make_pipeline = make_pipeline
        self._troubles = troubles
        self._requested = threading.Event()
        self._test: _Test | None = None
        self._sound: Samples | None = None
        self._due: float | None = None
        self._last: float | None = None

    def request(self) -> None:
        """Ask for a test soon. Thread-safe."""
        self._requested.set()

    def committed(self, ids: Iterable[str]) -> None:
        """The hub has stored the detections with these ids. Thread-safe."""
        if (test := self._test) is not None:
            test.stored.update(ids)

    def heard(self, sound: Sound) -> list[Detected]:
        """Take the live ``sound``; what the test detects in it, which is to be told as a test."""
        now = sound.arrived
        if self._test is None and self._is_due(now):
            log.info("self-test: an alarm is mixed in, for the test alone")
            self._test = _Test(now, self._make_pipeline())
        if self._test is None:
            return []
        found = self._listened(self._test, sound) if self._test.pipeline else []
        if (verdict := self._verdict(self._test, now)) is not None:
            self._conclude(self._test, verdict, now)
        return found

    def abandon(self) -> list[Detected]:
        """There is no more sound: give a test up without a verdict; what must still be told of it."""
        test, self._test = self._test, None
        found = test.pipeline.flush() if test and test.pipeline else []
        return [one for one in found if one.change.label == LABEL]

    def told(self, event: SoundDetected) -> None:
        """What :meth:`heard` gave was told as ``event``."""
        if self._test is not None and self._test.id is None:
            self._test.id = event.id

    def _is_due(self, now: float) -> bool:
        if self._due is None:
            self._due = now + self._every
        if self._requested.is_set():
            self._requested.clear()
            return self._last is None or now - self._last >= REQUEST_SECONDS
        return self._every > 0.0 and now >= self._due

    def _listened(self, test: _Test, sound: Sound) -> list[Detected]:
        assert test.pipeline is not None  # noqa: S101  # the caller has seen to it
        found = test.pipeline.push(Sound(self._mixed(test, sound.samples), sound.arrived))
        if test.played >= len(self._alarm()) + HEAR_SECONDS * self._rate:
            found += test.pipeline.flush()
            test.pipeline = None
        ours = [one for one in found if one.change.label == LABEL]
        if ours and test.heard is None:
            test.heard = sound.arrived
        return ours

    def _mixed(self, test: _Test, live: Samples) -> Samples:
        """``live`` with the next piece of the alarm, if any is left; shape (samples,)."""
        piece = self._alarm()[test.played : test.played + len(live)]
        test.played += len(live)
        mixed = live.copy()
        mixed[: len(piece)] += piece
        return np.clip(mixed, -1.0, 1.0, out=mixed)

    def _alarm(self) -> Samples:
        if self._sound is None:
            made = synthesis.sound(LABEL, SOUND_SECONDS, np.random.default_rng(4), self._rate)
            self._sound = synthesis.at_level(made, LEVEL_DBFS)
        return self._sound

    def _verdict(self, test: _Test, now: float) -> str | None:
        """``None`` while it cannot be told, an empty text for a test that was passed, or what failed."""
        if test.pipeline is not None:
            return None
        if test.heard is None:
            return "the test alarm was not recognised: check the model and the machine's load"
        if test.id in test.stored:
            return ""
        if now - test.heard < STORE_SECONDS:
            return None
        return f"the test alarm was recognised, but the hub has not stored it within {STORE_SECONDS:g} s"

    def _conclude(self, test: _Test, verdict: str, now: float) -> None:
        self._test = None
        self._last = now
        self._due = now + self._every
        if verdict:
            log.error("self-test failed: %s", verdict)
            # Anew, so that the trouble says why the last test failed, and not the first.
            self._troubles.end(TroubleKind.SELFTEST_FAILED)
            self._troubles.begin(TroubleKind.SELFTEST_FAILED, verdict)
        else:
            log.info("self-test passed: recognised after %.1f s", (test.heard or now) - test.began)
            self._troubles.end(TroubleKind.SELFTEST_FAILED)
