"""What stands in a card: window figures of every variant, streams of made sounds, and speed."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tocsin_models.dataset import Windows
from tocsin_models.figures import Agreement, WindowFigures, agreement, sigmoid, window_figures
from tocsin_models.quantize import window_logits
from tocsin_models.recipe import TOLD
from tocsin_models.streams import Scored, detections, hours, made_alarms, made_quiet
from tocsin_shared.classifier import Classifier

REFERENCE = "float32"
WARM_UPS, REPEATS = 20, 200


@dataclass(frozen=True)
class Heard:
    """Made sounds of one label: how many were detected rightly, and what else was told."""

    label: str
    snr_db: float
    """Level above the ambience."""
    hits: int
    of: int
    other: int = 0
    """Detections of another label."""


@dataclass(frozen=True)
class Speed:
    """Time of one inference on one thread, milliseconds."""

    variant: str
    median_ms: float
    p95_ms: float
    runtime: str


@dataclass(frozen=True)
class Evaluation:
    """All figures of one bundle that need no node."""

    windows: dict[str, WindowFigures]
    agreement: dict[str, Agreement]
    alarms: list[Heard]
    quiet_hours: float
    quiet_told: dict[str, int]
    speeds: list[Speed] = field(default_factory=list)


def evaluated(
    folder: Path,
    windows: Windows,
    quiet: Sequence[Scored],
    *,
    each: int,
    seed: int,
    tell: Callable[[str], None],
) -> Evaluation:
    """Figures of every variant of the bundle in ``folder``; streams run through the preferred one."""
    chosen = Classifier.load(folder)
    variants = [variant.name for variant in chosen.manifest.variants]
    logits = {name: window_logits(Classifier.load(folder, name), windows) for name in variants}
    labels = chosen.manifest.label_names
    figures = {
        name: window_figures(sigmoid(values), windows.targets, windows.weights, labels)
        for name, values in logits.items()
    }
    tell(f"  {len(windows)} windows through {', '.join(variants)}")
    quiet = [*quiet, *made_quiet(60.0 * each, np.random.default_rng(seed), chosen)]
    return Evaluation(
        windows=figures,
        agreement={
            name: agreement(logits[name], logits[REFERENCE]) for name in variants if name != REFERENCE
        },
        alarms=heard_alarms(chosen, each, seed + 1),
        quiet_hours=hours(quiet),
        quiet_told=told(quiet, chosen),
        speeds=[speed(folder, name) for name in variants],
    )


SNRS_DB = (5.0, 10.0, 20.0)


def heard_alarms(classifier: Classifier, each: int, seed: int) -> list[Heard]:
    """``each`` made sounds of every told label at each of :data:`SNRS_DB` over ambience."""
    found = []
    for snr_db in SNRS_DB:
        streams = made_alarms(each, snr_db, np.random.default_rng(seed), classifier)
        for label in TOLD:
            own = [detections(s, classifier.manifest.labels) for s in streams if s.label == label]
            hits = sum(any(found.label == label for found in one) for one in own)
            other = sum(found.label != label for one in own for found in one)
            found.append(Heard(label, snr_db, hits, len(own), other))
    return found


def told(quiet: Sequence[Scored], classifier: Classifier) -> dict[str, int]:
    """How often each label is told where nothing is to be told."""
    counts = dict.fromkeys(TOLD, 0)
    for stream in quiet:
        for one in detections(stream, classifier.manifest.labels):
            counts[one.label] += one.label not in stream.doubts
    return counts


def speed(folder: Path, variant: str) -> Speed:
    """Time of one window through ``variant`` on one thread, features not included."""
    classifier = Classifier.load(folder, variant, threads=1)
    window, times = classifier.silence(), []
    for number in range(WARM_UPS + REPEATS):
        start = time.perf_counter()
        classifier.logits(window)
        if number >= WARM_UPS:
            times.append((time.perf_counter() - start) * 1e3)
    median, p95 = (float(np.quantile(times, share)) for share in (0.5, 0.95))
    return Speed(variant, median, p95, classifier.runtime)
