"""``tocsin node listen``: recordings or the microphone through the node's own pipeline, without a broker.

A recording is judged as if it sounded in a silent room: a window of silence goes before and after it, so
that a clip shorter than a window is heard, and one that ends with a bang is heard to its end.
"""

import json
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from tocsin_node.bundle import load_bundle
from tocsin_node.capture import MicrophoneSource, load_portaudio
from tocsin_node.pipeline import Detected, Judge, Pipeline, Sound
from tocsin_shared.audio import read_blocks, sound_files
from tocsin_shared.errors import AudioError
from tocsin_shared.events import Phase
from tocsin_shared.features import Samples
from tocsin_shared.manifest import FeatureSpec

MICROPHONE = "mic"
"""The word that stands for the microphone among the paths."""
_BLOCK_MS = 100


@dataclass(frozen=True)
class Request:
    """What the user asked for."""

    paths: tuple[str, ...]
    bundle: str
    variant: str
    hop_seconds: float
    device: str
    json: bool


@dataclass(frozen=True)
class Heard:
    """One detection in one recording; times in seconds from its beginning."""

    file: str
    label: str
    score: float
    top: tuple[tuple[str, float], ...]
    onset_s: float
    offset_s: float
    level_dbfs: float | None

    def as_json(self) -> str:
        """One JSON object on one line."""
        top = [{"label": label, "score": score} for label, score in self.top]
        return json.dumps({**asdict(self), "top": top}, ensure_ascii=False)

    def as_text(self) -> str:
        """One line for a person."""
        level = "silence" if self.level_dbfs is None else f"{self.level_dbfs:.1f} dBFS"
        others = ", ".join(f"{label} {score:.2f}" for label, score in self.top if label != self.label)
        span = f"{self.onset_s:7.2f} s to {self.offset_s:7.2f} s"
        return f"{self.file}: {span}  {self.label} {self.score:.2f}  {level}  ({others})"


def listen(request: Request) -> int:
    """Print what is heard; returns the exit status: 0 if all could be read, 1 if something could not.

    Raises:
        BundleError, SettingsError, UnavailableError: the model or the microphone cannot be used.
    """
    judge = load_bundle(request.bundle, request.variant)
    unread = 0
    for path in request.paths:
        if path == MICROPHONE:
            _listen_to_microphone(judge, request)
        else:
            unread += _listen_to_path(judge, request, Path(path))
    return 1 if unread else 0


def _listen_to_path(judge: Judge, request: Request, path: Path) -> int:
    """Returns how many files could not be read."""
    try:
        files = sound_files(path)
    except AudioError as error:
        _complain(str(error))
        return 1
    return sum(not _listen_to_file(judge, request, file) for file in files)


def _listen_to_file(judge: Judge, request: Request, file: Path) -> bool:
    loud = False
    try:
        for item in detections(judge, request.hop_seconds, file):
            if isinstance(item, Heard):
                print(item.as_json() if request.json else item.as_text(), flush=True)  # noqa: T201
            else:
                loud = loud or item
    except AudioError as error:
        _complain(str(error))
        return False
    if not loud:
        _complain(f"{file}: digital silence throughout, so there is nothing to hear")
    return True


def detections(judge: Judge, hop_seconds: float, file: Path) -> Iterator[Heard | bool]:
    """What is heard in ``file`` as it is read; between, for each block, whether it is more than silence.

    Raises:
        AudioError: the file cannot be read, or not to its end; what comes before was yielded.
    """
    spec = judge.manifest.features
    pipeline = Pipeline(judge, hop_seconds)
    lead = _silence(spec, spec.window_samples - round(pipeline.hop_seconds * spec.sample_rate_hz))
    lead_seconds = len(lead) / spec.sample_rate_hz
    pipeline.push(Sound(lead, 0.0))
    for samples in read_blocks(file, spec.sample_rate_hz):
        yield bool(samples.any())
        yield from _ended(pipeline.push(Sound(samples, 0.0)), str(file), lead_seconds)
    length = pipeline.stream_seconds - lead_seconds
    last = pipeline.push(Sound(_silence(spec, spec.window_samples), 0.0)) + pipeline.flush()
    yield from _ended(last, str(file), lead_seconds, length)


def _silence(spec: FeatureSpec, samples: int) -> Samples:
    return np.zeros(max(0, samples), dtype=np.float32)


def _ended(
    found: Sequence[Detected], file: str, lead_seconds: float, length: float = float("inf")
) -> Iterator[Heard]:
    for change in (one.change for one in found):
        if change.phase is Phase.OFFSET and change.offset_seconds is not None:
            yield Heard(
                file=file,
                label=change.label,
                score=round(change.score, 4),
                top=tuple((label, round(score, 4)) for label, score in change.top),
                onset_s=round(max(0.0, change.onset_seconds - lead_seconds), 2),
                offset_s=round(min(length, change.offset_seconds - lead_seconds), 2),
                level_dbfs=None if change.level_dbfs is None else round(change.level_dbfs, 1),
            )


def _listen_to_microphone(judge: Judge, request: Request) -> None:
    """Until Ctrl-C; a detection is printed when it ends, and its begin is told at once on stderr."""
    load_portaudio()
    pipeline = Pipeline(judge, request.hop_seconds)
    source = MicrophoneSource(request.device, judge.manifest.features.sample_rate_hz, _BLOCK_MS)
    try:
        for sound in source.sounds(threading.Event()):
            if pipeline.stream_seconds == 0.0:
                _complain(f"listening to {source.name}; Ctrl-C ends it")
            _print_live(pipeline.push(sound), request)
    except KeyboardInterrupt:
        _print_live(pipeline.flush(), request)


def _print_live(found: Iterable[Detected], request: Request) -> None:
    found = list(found)
    for detected in found:
        if detected.change.phase is Phase.ONSET:
            _complain(f"{time.strftime('%H:%M:%S')} {detected.change.label} {detected.change.score:.2f} …")
    for heard in _ended(found, MICROPHONE, 0.0):
        print(heard.as_json() if request.json else heard.as_text(), flush=True)  # noqa: T201


def _complain(text: str) -> None:
    print(f"tocsin node listen: {text}", file=sys.stderr, flush=True)  # noqa: T201
