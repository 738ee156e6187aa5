"""Keeps short, encrypted clips of alarms, if a site wants them; nothing of them is ever sent.

The ears hand over sound and scores, which stay in memory; when a clip is whole and no window in it says
speech, a thread of its own encrypts and writes it, so that a slow disk never holds up the ears.
"""

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tocsin_node.clip_files import ClipFolder, ClipHeader, cipher, load_key, seal
from tocsin_node.keeping import Judged, Span, is_free_of_speech, is_wanted
from tocsin_node.settings import ClipSettings
from tocsin_shared.errors import SettingsError, TocsinError
from tocsin_shared.events import SoundDetected
from tocsin_shared.features import Samples
from tocsin_shared.manifest import Manifest

SPEECH = "speech"
LATEST_SECONDS = 30.0
"""So long after its onset a detection may be told: a rhythm needs some whole cycles."""
WAITING_CLIPS = 4
"""Whole clips that wait for the disk; what comes beyond is not kept."""
TIDY_SECONDS = 600.0

log = logging.getLogger("tocsin.node.clips")


class Ring:
    """The newest samples of the stream, as 16 bit, at least ``length`` of them. Not thread-safe."""

    def __init__(self, length: int) -> None:
        self._length = length
        self._blocks: deque[np.typing.NDArray[np.int16]] = deque()
        self._held = 0
        self.end = 0
        """Samples of the stream so far."""

    @property
    def begin(self) -> int:
        """The oldest sample that is held."""
        return self.end - self._held

    def push(self, samples: Samples) -> None:
        """Take ``samples``, shape (samples,)."""
        block = np.clip(np.round(samples * 32768.0), -32768, 32767).astype("<i2")
        self._blocks.append(block)
        self.end += len(block)
        self._held += len(block)
        while self._held - len(self._blocks[0]) >= self._length:
            self._held -= len(self._blocks.popleft())

    def cut(self, span: Span) -> bytes:
        """The samples of ``span``, 16 bit, little-endian; it must be held."""
        held = np.concatenate(self._blocks)
        return held[span.begin - self.begin : span.end - self.begin].tobytes()

    def clear(self) -> None:
        """Forget all sound; the count goes on."""
        self._blocks.clear()
        self._held = 0


@dataclass(frozen=True)
class _Pending:
    """A clip that is not whole yet."""

    event: SoundDetected
    onset: int
    """Sample of the stream."""
    span: Span


class Clips:
    """The clips of one node. :meth:`run` is a thread, :meth:`stop` ends it; the rest belongs to the ears.

    ``trouble`` takes what is wrong with the clips; an empty text says that nothing is.

    Raises, when made:
        SettingsError: the bundle does not know speech.
    """

    def __init__(self, settings: ClipSettings, manifest: Manifest, trouble: Callable[[str], None]) -> None:
        if SPEECH not in manifest.label_names:
            raise SettingsError(
                f"the bundle {manifest.name} has no label {SPEECH}: nobody could tell which clips hold it; "
                "set clips.keep = false"
            )
        self._settings = settings
        self._trouble = trouble
        self._speech = manifest.label_names.index(SPEECH)
        self._window = manifest.features.window_samples
        self._rate = rate = manifest.features.sample_rate_hz
        reach = settings.seconds_before + settings.seconds_after + LATEST_SECONDS
        self._ring = Ring(round(reach * rate) + 2 * self._window)
        self._judged: deque[Judged] = deque()
        self._pending: list[_Pending] = []
        self._whole: queue.Queue[tuple[ClipHeader, bytes] | None] = queue.Queue(WAITING_CLIPS)
        self._stopping = threading.Event()
        self._folder = ClipFolder(settings.folder, settings.max_bytes, 86_400.0 * settings.max_age_days)

    def use(self, manifest: Manifest) -> None:
        """From here on the windows are judged by the bundle of ``manifest``, which knows speech."""
        self._speech = manifest.label_names.index(SPEECH)
        self._window = manifest.features.window_samples

    def window(self, end_seconds: float, scores: Sequence[float]) -> None:
        """The network judged the window that ends at ``end_seconds`` of the stream."""
        end = round(end_seconds * self._rate)
        self._judged.append(Judged(Span(end - self._window, end), scores[self._speech]))

    def told(self, event: SoundDetected, onset_seconds: float) -> None:
        """``event``, whose onset is at ``onset_seconds`` of the stream, was told."""
        if is_wanted(event):
            onset = round(onset_seconds * self._rate)
            begin = onset - round(self._settings.seconds_before * self._rate)
            end = onset + round(self._settings.seconds_after * self._rate)
            self._pending.append(_Pending(event, onset, Span(begin, end)))

    def heard(self, samples: Samples) -> None:
        """Take ``samples``, after all that was found in them was told."""
        self._ring.push(samples)
        while self._judged and self._judged[0].span.end <= self._ring.begin:
            self._judged.popleft()
        whole = [one for one in self._pending if one.span.end <= self._settled()]
        self._pending = [one for one in self._pending if one not in whole]
        for one in whole:
            self._keep(one)

    def finish(self) -> None:
        """There is no more sound: clips end where it ends, and the rest is forgotten."""
        settled = self._settled()
        for one in self._pending:
            self._keep(_Pending(one.event, one.onset, Span(one.span.begin, min(one.span.end, settled))))
        self._pending.clear()
        self._judged.clear()
        self._ring.clear()

    def _settled(self) -> int:
        """Up to here, all windows that a sample is in were judged."""
        return self._judged[-1].span.begin if self._judged else 0

    def _keep(self, one: _Pending) -> None:
        span = Span(max(one.span.begin, self._ring.begin), one.span.end)
        if not is_free_of_speech(span, self._judged, self._settings.speech_above):
            log.info("no clip of %s: it may hold speech, or is not whole", one.event.id)
            return
        header = ClipHeader(
            id=one.event.id,
            node=one.event.node,
            label=one.event.label,
            onset=one.event.onset,
            before_samples=max(0, one.onset - span.begin),
            sample_rate_hz=self._rate,
            samples=span.end - span.begin,
        )
        try:
            self._whole.put_nowait((header, self._ring.cut(span)))
        except queue.Full:
            log.warning("no clip of %s: the disk is too slow", one.event.id)

    def run(self) -> None:
        """Write clips until :meth:`stop`, and delete the old ones; whatever fails is a trouble and no end."""
        self._guarded(None)
        while not self._stopping.is_set():
            try:
                clip = self._whole.get(timeout=TIDY_SECONDS)
            except queue.Empty:
                clip = None
            self._guarded(clip)
        while not self._whole.empty():
            self._guarded(self._whole.get_nowait())

    def stop(self) -> None:
        """End the thread, once it has written what waits. From any thread."""
        self._stopping.set()
        try:
            self._whole.put_nowait(None)
        except queue.Full:
            log.debug("the thread has work, and looks by itself")

    def _guarded(self, clip: tuple[ClipHeader, bytes] | None) -> None:
        try:
            self._write(clip)
        except TocsinError as error:
            log.warning("%s", error)
            self._trouble(str(error))
        except Exception:  # a clip is never worth a node
            log.exception("a clip could not be kept")
            self._trouble("a clip could not be kept; the node's log says why")
        else:
            self._trouble("")

    def _write(self, clip: tuple[ClipHeader, bytes] | None) -> None:
        """Also without a clip the key is read: a site shall learn before an alarm that it does not fit."""
        self._folder.tidy()
        key = load_key(self._settings.key_file)
        if clip is None:
            cipher(key)
            return
        header, samples = clip
        self._folder.write(header.id, seal(key, header, samples))
        log.info("kept a clip of %s, %.1f s", header.id, header.samples / header.sample_rate_hz)
