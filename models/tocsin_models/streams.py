"""Scores over a stream, stepped through the product's own windows and detector."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from tocsin_models.dataset import MADE_SECONDS
from tocsin_models.recipe import TOLD
from tocsin_shared.classifier import Classifier
from tocsin_shared.detector import Change, Detector
from tocsin_shared.events import Phase
from tocsin_shared.features import Samples, WindowStream
from tocsin_shared.manifest import LabelSpec
from tocsin_shared.synthesis import ambience, mix, sound
from tocsin_shared.synthesis.decoys import decoy

HOP_SECONDS = 0.5
BLOCK_SAMPLES = 1_600
LEAD_SECONDS, TAIL_SECONDS = 3.0, 4.0
"""Room alone before and after a sound."""


@dataclass(frozen=True)
class Scored:
    """One stream after the classifier."""

    name: str
    label: str
    """What is to be detected in it; ``background`` for nothing."""
    ends: tuple[float, ...]
    """Time at the end of each window, seconds."""
    scores: npt.NDArray[np.float32]
    """Shape (windows, labels)."""
    seconds: float
    doubts: frozenset[str] = frozenset()
    """Labels that may be heard in it as well: telling them is neither right nor wrong."""


@dataclass(frozen=True)
class Told:
    """A detection."""

    label: str
    onset_seconds: float
    told_seconds: float
    """End of the window with which it was told."""
    score: float


def scored(name: str, label: str, samples: Samples, classifier: Classifier) -> Scored:
    """Scores of every window of ``samples``, one every half second.

    As in ``tocsin node listen``, silence goes before and after, so that the edges of a recording are
    judged as they will be there.
    """
    spec = classifier.manifest.features
    windows = WindowStream(spec, round(HOP_SECONDS * spec.sample_rate_hz / spec.frame_hop))
    silence = np.zeros(spec.window_samples, dtype=np.float32)
    lead = spec.window_samples - round(HOP_SECONDS * spec.sample_rate_hz)
    padded = np.concatenate([silence[:lead], samples, silence])
    ends, scores = [], []
    for start in range(0, len(padded), BLOCK_SAMPLES):
        for end, frames in windows.push(padded[start : start + BLOCK_SAMPLES]):
            ends.append((end - lead) / spec.sample_rate_hz)
            scores.append(classifier.scores(frames).copy())
    table = np.array(scores, dtype=np.float32).reshape(len(ends), len(classifier.manifest.labels))
    return Scored(name, label, tuple(ends), table, len(samples) / spec.sample_rate_hz)


def detections(stream: Scored, labels: Sequence[LabelSpec]) -> list[Told]:
    """What a node would tell of ``stream``."""
    detector = Detector(labels, HOP_SECONDS)
    changes: list[Change] = []
    first_told: dict[int, float] = {}
    for end, row in zip(stream.ends, stream.scores, strict=True):
        for change in detector.step(end, [float(score) for score in row], None):
            first_told.setdefault(change.detection, end)
            changes.append(change)
    changes += detector.flush()
    return [
        Told(c.label, c.onset_seconds, first_told[c.detection], c.score)
        for c in changes
        if c.phase is Phase.OFFSET
    ]


def made_alarm(label: str, snr_db: float, rng: np.random.Generator) -> Samples:
    """A made sound of ``label``, ``snr_db`` above the ambience that goes on before and after it."""
    bed = ambience(LEAD_SECONDS + MADE_SECONDS + TAIL_SECONDS, rng)
    return mix(sound(label, MADE_SECONDS, rng), bed, snr_db, start=round(LEAD_SECONDS * 16_000))


def made_alarms(each: int, snr_db: float, rng: np.random.Generator, classifier: Classifier) -> list[Scored]:
    """``each`` streams of every label that is told."""
    return [
        scored(f"{label}-{number}", label, made_alarm(label, snr_db, rng), classifier)
        for label in TOLD
        for number in range(each)
    ]


def made_quiet(seconds: float, rng: np.random.Generator, classifier: Classifier) -> list[Scored]:
    """``seconds`` of rooms in which people speak and decoys sound, in streams of half a minute."""
    streams = []
    for number in range(max(1, round(seconds / 30.0))):
        bed = ambience(30.0, rng)
        for start in (2.0, 12.0, 22.0):
            part = sound("speech", 7.0, rng) if rng.random() < 0.4 else decoy(7.0, rng)
            bed = mix(part, bed, float(rng.uniform(0.0, 15.0)), start=round(start * 16_000))
        streams.append(scored(f"made-{number}", "background", bed, classifier))
    return streams


def recorded_quiet(
    sounds: Iterable[tuple[str, Samples, frozenset[str]]], classifier: Classifier
) -> list[Scored]:
    """Recordings, with labels in doubt, in which nothing is to be detected, each on its own."""
    return [
        replace(scored(name, "background", samples, classifier), doubts=doubts)
        for name, samples, doubts in sounds
    ]


def hours(streams: Iterable[Scored]) -> float:
    """Length of all ``streams`` together."""
    return sum(stream.seconds for stream in streams) / 3600.0
