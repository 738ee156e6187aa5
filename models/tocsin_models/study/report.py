"""What a trained network can do, on windows and recordings it has never seen, with intervals."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tocsin_models.figures import table
from tocsin_models.files import write_whole
from tocsin_models.study import plots
from tocsin_models.study.metrics import (
    Averages,
    Interval,
    Matrix,
    Numbers,
    averages,
    by_class,
    by_recording,
    confusion,
    intervals,
)
from tocsin_models.study.reading import Floats, Store
from tocsin_models.study.training import History

NAMES = ("precision", "recall", "f1", "accuracy")


@dataclass(frozen=True)
class Figures:
    """Figures over windows or over recordings."""

    count: int
    groups: int
    averages: Averages
    intervals: dict[str, Interval]


@dataclass(frozen=True)
class Report:
    """Figures of one network on one split."""

    classes: tuple[str, ...]
    windows: Figures
    recordings: Figures
    matrix: Matrix
    """Of windows; rows are the truth."""


def keras_logits(model: Any, store: Store, batch: int = 64) -> Floats:
    """Logits of every window of ``store``, shape (windows, classes)."""
    rows = [np.asarray(model.predict_on_batch(frames)) for frames, _ in store.in_order(batch)]
    return np.concatenate(rows).astype(np.float32)


def reported(logits: Floats, store: Store) -> Report:
    """Figures of ``logits`` on the windows of ``store``."""
    true, said = np.concatenate(store.labels()), logits.argmax(axis=1)
    names, groups = zip(*store.recordings(), strict=True)
    classes = len(store.classes)
    means, first = by_recording(logits, names)
    return Report(
        store.classes,
        _figures(said, true, groups, classes),
        _figures(means.argmax(axis=1), true[first], [groups[one] for one in first], classes),
        confusion(said, true, classes),
    )


def _figures(said: Numbers, true: Numbers, groups: Sequence[str], classes: int) -> Figures:
    return Figures(
        len(said),
        len(set(groups)),
        averages(confusion(said, true, classes)),
        intervals(said, true, groups, classes),
    )


def report_text(report: Report, title: str) -> str:
    """The report as Markdown."""
    head = ["", *(f"{name}, 95 % interval" for name in NAMES)]
    rows = [
        [f"{figures.count} {what} of {figures.groups} groups", *(_cell(figures, name) for name in NAMES)]
        for what, figures in (("windows", report.windows), ("recordings", report.recordings))
    ]
    values = zip(report.classes, report.matrix.sum(axis=1), *by_class(report.matrix), strict=True)
    lines = [
        [name, str(count), f"{precision:.3f}", f"{recall:.3f}", f"{f1:.3f}"]
        for name, count, precision, recall, f1 in values
    ]
    return (
        f"# {title}\n\nMeans over the classes, each counting the same; accuracy over all. Intervals from "
        "1,000 resamplings of whole groups. No group is in training and test.\n\n"
        f"{table(head, rows)}\n\n## Windows of each class\n\n"
        f"{table(['class', 'windows', 'precision', 'recall', 'F1'], lines)}\n"
    )


def _cell(figures: Figures, name: str) -> str:
    return f"{getattr(figures.averages, name):.3f} ({figures.intervals[name]})"


def write_report(report: Report, history: History, folder: Path, title: str) -> None:
    """Text, figures and ``report.json`` in ``folder``."""
    plots.curves(history, folder / "curves.png")
    plots.confusion_matrix(report.matrix, report.classes, folder / "confusion.png")
    write_whole(folder / "report.md", report_text(report, title).encode())
    content = {**asdict(report), "matrix": report.matrix.tolist()}
    write_whole(folder / "report.json", json.dumps(content, indent=1, ensure_ascii=False).encode() + b"\n")
