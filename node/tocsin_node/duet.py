"""The pipeline that speaks, and at most one beside it that hears the same and is only compared.

A new bundle listens beside the active one before it speaks, and the old one listens on beside the new one
while that is on trial: so the two can change places between two blocks, with every window of sound judged.
All sound goes through :meth:`Duet.push` in one thread, the ears; other threads ask for a change and wait
until the ears have made it.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tocsin_node.pipeline import Detected, Judge, Pipeline, Sound, Vitals
from tocsin_shared.errors import BundleError, TocsinError, UnavailableError

ASK_SECONDS = 30.0
SLOW_WINDOWS = 5
"""So many windows in a row for which the one beside takes longer than a hop, and it is silenced."""

log = logging.getLogger("tocsin.node")


@dataclass(frozen=True)
class Pair:
    """What both made of one block of sound."""

    windows: tuple[tuple[Sequence[float], Sequence[float]], ...]
    """Scores of the speaking one and of the one beside it, for each window."""
    spoken: tuple[Detected, ...]
    beside: tuple[Detected, ...]


@dataclass
class _Wish:
    """What another thread wants of the ears."""

    work: Callable[[], bool]
    done: threading.Event = field(default_factory=threading.Event)
    answer: bool = False
    taken: bool = False
    """By the ears, or by the asker who waits no more; never by both."""


class Duet:
    """Stands where a pipeline would, and is one to whoever pushes sound into it.

    ``changed`` is called in the thread of the ears with the judge that speaks from now on.
    """

    def __init__(
        self, pipeline: Pipeline, hop_seconds: float, timer: Callable[[], float] = time.perf_counter
    ) -> None:
        self._hop = hop_seconds
        self._timer = timer
        self._speaking = pipeline
        self._beside: Pipeline | None = None
        self._ended: list[Detected] = []
        self._coming: Judge | None = None
        self._wishes: deque[_Wish] = deque()
        self._taking = threading.Lock()
        self._spoken_scores: list[Sequence[float]] = []
        self._beside_scores: list[Sequence[float]] = []
        self._last_end: float | None = None
        self._slow = 0
        self.on_trial = False
        """The one beside was speaking before, and does so again at once if the speaking one fails."""
        self.failure = ""
        """Why the one beside was silenced, or why the speaking one lost its place."""
        self.missed_windows = 0
        """Windows that nobody judged, since the start, but for those while there was no sound."""
        self.heard_blocks = 0
        self.changed: Callable[[Judge], None] = lambda _judge: None
        self.compared: Callable[[Pair], None] = lambda _pair: None
        """Called in the thread of the ears for each block that both heard."""
        self.on_window: Callable[[float, Sequence[float]], None] = lambda _end, _scores: None
        self._listen_to()

    @property
    def hop_seconds(self) -> float:
        """The hop in whole frames, seconds."""
        return self._speaking.hop_seconds

    @property
    def silent(self) -> bool:
        """Whether nothing but digital silence came of late."""
        return self._speaking.silent

    @property
    def open_count(self) -> int:
        """Detections that last."""
        return self._speaking.open_count

    @property
    def judge(self) -> Judge:
        """What gives the scores that count."""
        return self._speaking.judge

    @property
    def has_other(self) -> bool:
        """Whether one listens beside."""
        return self._beside is not None

    def vitals(self) -> Vitals:
        """How the ears fare. Thread-safe."""
        return self._speaking.vitals()

    def restart(self) -> None:
        """Forget the sound so far, as after a microphone that was away."""
        self._last_end = None
        self._speaking.restart()
        if self._beside is not None:
            self._beside.restart()

    def flush(self) -> list[Detected]:
        """End what is open."""
        if self._beside is not None:
            self._beside.flush()
        return self._speaking.flush()

    def push(self, sound: Sound) -> list[Detected]:
        """What ``sound`` changes.

        Raises:
            BundleError: the model failed, and none listens beside that could take its place.
        """
        self.heard_blocks += 1
        said: list[Detected] = []
        while self._wishes:
            self._grant(self._wishes.popleft(), said)
        self._spoken_scores.clear()
        self._beside_scores.clear()
        try:
            spoken = self._speaking.push(sound)
        except BundleError as error:
            if not (self.on_trial and self._beside is not None):
                raise
            log.error("%s; the bundle before listens again", error)  # noqa: TRY400  # no trace: a file is bad
            self.failure = str(error)
            said += self._changed_places()
            self._beside = None
            return said + self._speaking.push(sound)
        self._beside_hears(sound, spoken)
        return said + spoken

    def attach(self, judge: Judge) -> bool:
        """Let ``judge`` listen beside from the next hop on; whether it will. From any thread.

        Raises:
            UnavailableError: the ears hear nothing now.
        """
        return self._ask(lambda: self._attach(judge))

    def detach(self) -> None:
        """Let nobody listen beside, from the next sound on. From any thread, whether or not the ears hear."""
        self._wishes.append(_Wish(self._detach))

    def swap(self, *, force: bool = False) -> bool:
        """Let the two change places; whether they did. From any thread.

        They do not while anything is detected, unless ``force``: then it is ended as far as the one that
        spoke goes.

        Raises:
            UnavailableError: the ears hear nothing now.
        """
        return self._ask(lambda: self._swap(force=force))

    def _ask(self, work: Callable[[], bool]) -> bool:
        wish = _Wish(work)
        self._wishes.append(wish)
        if not wish.done.wait(ASK_SECONDS) and self._took(wish):
            raise UnavailableError("the node hears nothing now")
        wish.done.wait()
        return wish.answer

    def _took(self, wish: _Wish) -> bool:
        """Whether ``wish`` is the caller's, and nobody else's any more."""
        with self._taking:
            before, wish.taken = wish.taken, True
        return not before

    def _grant(self, wish: _Wish, said: list[Detected]) -> None:
        if not self._took(wish):
            return
        self._ended = said
        wish.answer = wish.work()
        wish.done.set()

    def _attach(self, judge: Judge) -> bool:
        self._beside, self._coming, self.on_trial, self.failure, self._slow = None, judge, False, "", 0
        return True

    def _detach(self) -> bool:
        self._beside, self._coming, self.on_trial = None, None, False
        return True

    def _swap(self, *, force: bool) -> bool:
        if self._beside is None or not (force or self._speaking.open_count + self._beside.open_count == 0):
            return False
        self._ended += self._changed_places()
        return True

    def _changed_places(self) -> list[Detected]:
        """Let the one beside speak; what has to be ended of the other."""
        assert self._beside is not None  # noqa: S101  # the callers have looked
        ended = self._speaking.flush()
        self._speaking, self._beside = self._beside, self._speaking
        self.on_trial = not self.on_trial
        self._listen_to()
        self.changed(self._speaking.judge)
        return ended

    def _listen_to(self) -> None:
        self._speaking.on_window = self._spoke
        if self._beside is not None:
            self._beside.on_window = lambda _end, scores: self._beside_scores.append(scores)

    def _spoke(self, end: float, scores: Sequence[float]) -> None:
        if self._last_end is not None:
            self.missed_windows += max(0, round((end - self._last_end) / self.hop_seconds) - 1)
        self._last_end = end
        self._spoken_scores.append(scores)
        self.on_window(end, scores)

    def _beside_hears(self, sound: Sound, spoken: Sequence[Detected]) -> None:
        """Whatever becomes of the one beside, the ears go on."""
        try:
            beside = self._begun(sound) if self._beside is None else self._timed(sound)
        except TocsinError as error:
            log.warning("beside: %s", error)
            self.failure, self._beside, self._coming = str(error), None, None
            return
        if self._beside is not None:
            pairs = tuple(zip(self._spoken_scores, self._beside_scores, strict=False))
            self.compared(Pair(pairs, tuple(spoken), tuple(beside)))

    def _begun(self, sound: Sound) -> list[Detected]:
        """Begin with the one that comes, where both have their windows at the same places."""
        if self._coming is None:
            return []
        # The speaking one has had this block already; the place is counted from the begin of the block.
        before = self._speaking.samples - len(sound.samples)
        at = (self._speaking.to_next_hop + len(sound.samples)) % self._hop_samples
        if at >= len(sound.samples):
            return []
        self._beside = Pipeline(self._coming, self._hop, begins=before + at)
        self._coming = None
        self._listen_to()
        return self._timed(Sound(sound.samples[at:], sound.arrived))

    @property
    def _hop_samples(self) -> int:
        return round(self.hop_seconds * self._speaking.judge.manifest.features.sample_rate_hz)

    def _timed(self, sound: Sound) -> list[Detected]:
        if self._beside is None:
            return []
        began = self._timer()
        found = self._beside.push(sound)
        if self._beside_scores:
            slow = self._timer() - began > self.hop_seconds * len(self._beside_scores)
            self._slow = self._slow + 1 if slow else 0
        if self._slow >= SLOW_WINDOWS:
            raise BundleError("it takes longer than a hop for a window")
        return found
