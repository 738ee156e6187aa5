"""The node tests itself: a made smoke alarm must pass the network, the outbox and the hub.

Injected, it is mixed over the live sound and judged by a pipeline of its own, beside the one that listens:
a real alarm in that moment is told as it always is, and is never taken for the test.

Played by a loudspeaker, it passes the microphone too. Then a detection that begins while it sounds is
taken for the test; one that goes on when the test must be long over is real after all, and told as such.

What the test detects goes the way of every event, marked as a test, until the hub says that it is stored.
"""

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from tocsin_node.pipeline import Detected, Pipeline, Sound
from tocsin_node.troubles import Troubles
from tocsin_shared import synthesis
from tocsin_shared.errors import UnavailableError
from tocsin_shared.events import Certainty, Phase, SoundDetected, TroubleKind
from tocsin_shared.features import Samples

LABEL = "smoke_alarm"
SOUND_SECONDS = 8.0
"""Two periods of an alarm's rhythm (ISO 8201): as long as the network and its rule need."""
LEVEL_DBFS = -20.0
HEAR_SECONDS = 4.0
"""So long after the end of the sound it must have been heard."""
STORE_SECONDS = 60.0
"""So long after it was heard the hub must have it."""
EARLY_SECONDS = 0.5
"""An onset is booked up to a hop early; what began before that is not the alarm that the test plays."""
REAL_SECONDS = 15.0
"""What is still detected so long after the end of a played alarm is real: its rule lets go after 5 s."""
REQUEST_SECONDS = 60.0
"""A test that is asked for is not run more often."""

log = logging.getLogger("tocsin.node.selftest")


@dataclass
class _Test:
    """One test. Times are monotonic, seconds."""

    began: float
    pipeline: Pipeline | None
    """``None`` for an alarm that is played, and once an injected one is over."""
    over: bool = False
    """The sound is over, and whatever it was heard as."""
    played: int = 0
    """Samples of the sound that were mixed in."""
    heard: float | None = None
    id: str | None = None
    """The event that must be stored."""
    stored: set[str] = field(default_factory=set)
    """What the hub has stored since the test began."""


class SelfTest:
    """Runs a test every ``every_seconds``, if that is not 0, and when :meth:`request` was called.

    ``make_pipeline`` gives a fresh pipeline around the node's own network. ``play`` begins to play sound
    and raises :class:`UnavailableError`; without it, the sound is injected. All but :meth:`request` and
    :meth:`committed` belong to the thread of the ears.
    """

    def __init__(
        self,
        every_seconds: float,
        rate_hz: int,
        make_pipeline: Callable[[], Pipeline],
        troubles: Troubles,
        *,
        play: Callable[[Samples], None] | None = None,
    ) -> None:
        self._every = every_seconds
        self._rate = rate_hz
        self._make_pipeline = make_pipeline
        self._troubles = troubles
        self._play = play
        self._open_alarms: set[int] = set()
        self._claimed: dict[int, Detected] = {}
        self._now = self._sound_ends = 0.0
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
        now = self._now = sound.arrived
        if self._test is None and self._is_due(now):
            self._begin(now)
        if self._test is None:
            return []
        found = self._listened(self._test, sound) if self._test.pipeline else []
        self._test.over = self._test.pipeline is None and now >= self._sound_ends + HEAR_SECONDS
        if (verdict := self._verdict(self._test, now)) is not None:
            self._conclude(self._test, verdict, now)
        return found

    def claims(self, detected: Detected) -> bool:
        """Whether a detection of the listening pipeline is that of an alarm which the test plays."""
        change = detected.change
        if change.label != LABEL:
            return False
        if self._is_ours(detected) or change.detection in self._claimed:
            self._claimed[change.detection] = detected
            if self._test is not None and self._test.heard is None and _by_network(detected):
                self._test.heard = self._now
        self._open_alarms.add(change.detection)
        if change.phase is not Phase.OFFSET:
            return change.detection in self._claimed
        self._open_alarms.discard(change.detection)
        return self._claimed.pop(change.detection, None) is not None

    def _is_ours(self, detected: Detected) -> bool:
        """Whether ``detected`` begins while the test plays its alarm."""
        test = self._test
        if test is None or self._play is None or test.over or detected.change.phase is not Phase.ONSET:
            return False
        return detected.onset >= test.began - EARLY_SECONDS

    def corrections(self) -> list[Detected]:
        """Detections that were told as a test and go on without it: they are real, and to be told so."""
        if not self._claimed or self._now < self._sound_ends + REAL_SECONDS:
            return []
        real = [
            replace(one, change=replace(one.change, phase=Phase.UPDATE)) for one in self._claimed.values()
        ]
        self._claimed.clear()
        return real

    def abandon(self) -> list[Detected]:
        """There is no more sound: give a test up without a verdict; what must still be told of it."""
        test, self._test = self._test, None
        found = test.pipeline.flush() if test and test.pipeline else []
        return [one for one in found if one.change.label == LABEL]

    def told(self, event: SoundDetected) -> None:
        """What :meth:`heard` gave was told as ``event``."""
        if self._test is not None and self._test.id is None:
            self._test.id = event.id

    def _begin(self, now: float) -> None:
        self._sound_ends = now + SOUND_SECONDS
        if self._play is None:
            log.info("self-test: an alarm is mixed in, for the test alone")
            self._test = _Test(now, self._make_pipeline())
            return
        log.info("self-test: an alarm is played")
        self._test = _Test(now, None)
        try:
            self._play(self._alarm())
        except UnavailableError as error:
            self._conclude(self._test, str(error), now)

    def _is_due(self, now: float) -> bool:
        if self._due is None:
            self._due = now + self._every
        if self._play and self._open_alarms:
            return False  # a real alarm is not played over
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
        if test.heard is None and any(map(_by_network, ours)):
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
        if not test.over:
            return None
        if test.heard is None:
            return "the test alarm was not recognised: check microphone, speaker and model"
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


def _by_network(detected: Detected) -> bool:
    """The rhythm alone proves the microphone, but not the model."""
    return detected.change.certainty is not Certainty.RHYTHM
