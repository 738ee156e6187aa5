"""From blocks of sound to detections: features, network, detector, rhythm, and the figures of the heartbeat.

The pipeline belongs to one thread. It works in the time of the stream, which counts samples and knows no
jitter; :class:`Sound` says when a block was there by the monotonic clock, and so when a detection was.
"""

import math
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tocsin_node.agreement import Agreement, Window
from tocsin_shared.detector import Change, Detector
from tocsin_shared.errors import SettingsError
from tocsin_shared.events import Phase
from tocsin_shared.features import Frames, Samples, WindowStream, level_dbfs
from tocsin_shared.manifest import Manifest
from tocsin_shared.pulses import RhythmStream

AMBIENT_SECONDS = 60
"""The level of the room is the median of this many seconds before an onset …"""
SILENT_SECONDS = 3.0
"""Digital silence for this long means that the microphone gives nothing."""
FULL_SCALE = 0.999
"""A sample at or above this is clipped; 16 bit sound reaches 0.99997."""
_TIMINGS = 256


class Judge(Protocol):
    """What gives scores; :class:`tocsin_shared.classifier.Classifier` is the real one."""

    @property
    def manifest(self) -> Manifest:
        """Labels, rules and features."""

    def scores(self, window: Frames) -> "np.typing.NDArray[np.float32]":
        """Score of each label, shape (labels,)."""


@dataclass(frozen=True)
class Sound:
    """A block of sound, as a source hands it over."""

    samples: Samples
    """One channel at the sample rate of the model, shape (samples,)."""
    arrived: float
    """Monotonic time at which its last sample was there, seconds."""


@dataclass(frozen=True)
class Detected:
    """A change with what the pipeline knows beside it."""

    change: Change
    onset: float
    """Monotonic time, seconds."""
    offset: float | None
    ambient_dbfs: float | None
    """Level of the room before the onset; ``None`` is digital silence or nothing heard yet."""


@dataclass(frozen=True)
class Vitals:
    """How the ears fare; see :class:`tocsin_shared.events.Heartbeat`."""

    level_dbfs: float | None
    clipped_ratio: float
    inference_p95_ms: float | None


class Levels:
    """Level of the last second, of the room, and what was clipped. Not thread-safe."""

    def __init__(self, sample_rate_hz: int) -> None:
        self._rate = sample_rate_hz
        self._second = np.zeros(sample_rate_hz, dtype=np.float32)
        self._filled = 0
        self._room: deque[tuple[float, float | None]] = deque(maxlen=AMBIENT_SECONDS)
        self._next_room = 1.0
        self.silent_samples = 0

    def restart(self) -> None:
        """Forget the last second, but not the room."""
        self._filled = self.silent_samples = 0

    def push(self, samples: Samples) -> None:
        """Take ``samples``, shape (samples,)."""
        kept = samples[-self._rate :]
        self._second = np.concatenate([self._second[len(kept) :], kept])
        self._filled = min(self._rate, self._filled + len(kept))
        loud = np.flatnonzero(samples)
        self.silent_samples = (
            len(samples) - 1 - int(loud[-1]) if len(loud) else self.silent_samples + len(samples)
        )

    def last_second(self) -> float | None:
        """Level of the last second, or of as much as there is, dBFS."""
        return level_dbfs(self._second[self._rate - self._filled :])

    def note_room(self, now: float, *, quiet: bool) -> None:
        """Keep the level at ``now``, stream seconds, once a second, while ``quiet``: nothing is detected."""
        if now >= self._next_room:
            self._next_room = math.floor(now) + 1.0
            if quiet:
                self._room.append((now, self.last_second()))

    def room_before(self, onset: float) -> float | None:
        """Median level of the seconds before ``onset``; ``None`` if there were none, or only silence."""
        before = [
            -math.inf if level is None else level
            for at, level in self._room
            if onset - AMBIENT_SECONDS <= at <= onset
        ]
        median = statistics.median_low(before) if before else -math.inf
        return median if math.isfinite(median) else None


class Pipeline:
    """Judges sound as it comes.

    ``timer`` measures the network, in seconds; ``begins`` is how many samples of the stream went by before.
    Only :meth:`vitals` may be called by another thread.

    Raises, when made:
        BundleError, SettingsError: a rule of the bundle that contradicts itself, or cannot be met with
            this hop, or a hop longer than the window.
    """

    def __init__(
        self,
        judge: Judge,
        hop_seconds: float,
        timer: Callable[[], float] = time.perf_counter,
        begins: int = 0,
    ) -> None:
        self._judge = judge
        self._timer = timer
        self._spec = judge.manifest.features
        self._hop_frames = max(1, round(hop_seconds * self._spec.sample_rate_hz / self._spec.frame_hop))
        if self._hop_frames > self._spec.window_frames:
            raise SettingsError(
                f"hop_seconds {hop_seconds:g} is longer than the window of the model, "
                f"{self._spec.window_seconds:g} s: sound would go unheard"
            )
        self._detector = Detector(judge.manifest.labels, self.hop_seconds)
        self._agreement = Agreement(judge.manifest.labels, self.hop_seconds)
        self._ambient: dict[int, float | None] = {}
        self._lock = threading.Lock()
        self._levels = Levels(self._spec.sample_rate_hz)
        self._timings: deque[float] = deque(maxlen=_TIMINGS)
        self._clipped = self._counted = 0
        self._samples = begins
        self._arrived = 0.0
        self.on_window: Callable[[float, Sequence[float]], None] = lambda _end, _scores: None
        """Called for each window with its end, seconds of the stream, and the score of each label."""
        self.restart()

    @property
    def hop_seconds(self) -> float:
        """The hop in whole frames, seconds."""
        return self._hop_frames * self._spec.frame_hop / self._spec.sample_rate_hz

    @property
    def judge(self) -> Judge:
        """What gives the scores."""
        return self._judge

    @property
    def open_count(self) -> int:
        """Detections that last."""
        return self._detector.open_count + self._agreement.open_count

    @property
    def samples(self) -> int:
        """Length of all sound so far, samples."""
        return self._samples

    @property
    def to_next_hop(self) -> int:
        """Samples until a pipeline that begins there has its windows at the same places as this one."""
        hop = self._hop_frames * self._spec.frame_hop
        return (self._windows_begin - self._samples) % hop

    @property
    def stream_seconds(self) -> float:
        """Length of all sound so far."""
        return self._samples / self._spec.sample_rate_hz

    @property
    def silent(self) -> bool:
        """Whether nothing but digital silence came for :data:`SILENT_SECONDS`."""
        return self._levels.silent_samples >= SILENT_SECONDS * self._spec.sample_rate_hz

    def restart(self) -> None:
        """Forget the sound so far, as after a microphone that was away; time goes on where it was."""
        self._windows = WindowStream(self._spec, self._hop_frames)
        self._rhythms = RhythmStream(self._spec.sample_rate_hz, self.stream_seconds)
        self._windows_begin = self._samples
        with self._lock:
            self._levels.restart()

    def push(self, sound: Sound) -> list[Detected]:
        """What ``sound`` changes.

        Raises:
            BundleError: the model failed.
        """
        self._measure(sound.samples)
        self._samples += len(sound.samples)
        self._arrived = sound.arrived
        found: list[Detected] = []
        for end, window in self._windows.push(sound.samples):
            found += self._judge_window((self._windows_begin + end) / self._spec.sample_rate_hz, window)
        matches = self._rhythms.push(sound.samples)
        if matches is not None:
            found += map(self._detected, self._agreement.match(self.stream_seconds, matches))
        self._levels.note_room(self.stream_seconds, quiet=self.open_count == 0)
        return found

    def flush(self) -> list[Detected]:
        """End what is open, as at the end of a recording or when the microphone is gone."""
        return [self._detected(change) for change in self._agreement.flush(self._detector.flush())]

    def vitals(self) -> Vitals:
        """How the ears fare; the clipped share counts from one call to the next. Thread-safe."""
        with self._lock:
            ratio = self._clipped / self._counted if self._counted else 0.0
            self._clipped = self._counted = 0
            return Vitals(
                level_dbfs=self._levels.last_second(),
                clipped_ratio=ratio,
                inference_p95_ms=_p95_ms(self._timings),
            )

    def _measure(self, samples: Samples) -> None:
        with self._lock:
            self._levels.push(samples)
            self._clipped += int(np.count_nonzero(np.abs(samples) >= FULL_SCALE))
            self._counted += len(samples)

    def _judge_window(self, end_seconds: float, window: Frames) -> list[Detected]:
        began = self._timer()
        scores = self._judge.scores(window)
        with self._lock:
            self._timings.append(self._timer() - began)
        heard = Window(end_seconds, scores.tolist(), self._levels.last_second())
        self.on_window(heard.end, heard.scores)
        changes = self._detector.step(heard.end, heard.scores, heard.level_dbfs)
        return [self._detected(change) for change in self._agreement.hear(heard, changes)]

    def _detected(self, change: Change) -> Detected:
        if change.phase is Phase.ONSET:
            self._ambient[change.detection] = self._levels.room_before(change.onset_seconds)
        ambient = self._ambient[change.detection]
        if change.phase is Phase.OFFSET:
            del self._ambient[change.detection]
        # The newest sample was there at `arrived`, and every other as much earlier as it is older.
        start = self._arrived - self.stream_seconds
        offset = None if change.offset_seconds is None else start + change.offset_seconds
        return Detected(change, start + change.onset_seconds, offset, ambient)


def _p95_ms(timings: deque[float]) -> float | None:
    if not timings:
        return None
    return sorted(timings)[math.ceil(0.95 * len(timings)) - 1] * 1000.0
