"""Figures about a model, with what they are worth: F1 over labels, agreement, Wilson intervals."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.float32]


def sigmoid(logits: Scores) -> Scores:
    """Scores between 0 and 1."""
    return (1.0 / (1.0 + np.exp(-np.clip(logits, -80.0, 80.0)))).astype(np.float32)


@dataclass(frozen=True)
class WindowFigures:
    """How well a model labels single windows."""

    windows: int
    macro_f1: float
    f1: dict[str, float]


def window_figures(scores: Scores, targets: Scores, weights: Scores, labels: Sequence[str]) -> WindowFigures:
    """F1 of each label at a score of one half and their mean; unknown targets are left out.

    All arrays have the shape (windows, labels).
    """
    f1 = {}
    for number, label in enumerate(labels):
        known = weights[:, number] > 0.0
        f1[label] = _f1(scores[known, number] >= 0.5, targets[known, number] >= 0.5)
    return WindowFigures(len(scores), float(np.mean(list(f1.values()))), f1)


def _f1(said: npt.NDArray[np.bool_], true: npt.NDArray[np.bool_]) -> float:
    """Harmonic mean of precision and recall; 0 where nothing was right."""
    right = int(np.sum(said & true))
    return 2.0 * right / max(1, int(said.sum()) + int(true.sum()))


@dataclass(frozen=True)
class Agreement:
    """How near a quantized model is to the one it was made from."""

    top_1: float
    """Share of windows with the same best label."""
    cosine: float
    """Mean cosine between the two vectors of logits."""


def agreement(logits: Scores, reference: Scores) -> Agreement:
    """Agreement of two models over the same windows, shape (windows, labels)."""
    same = np.mean(np.argmax(logits, axis=1) == np.argmax(reference, axis=1))
    length = np.linalg.norm(logits, axis=1) * np.linalg.norm(reference, axis=1)
    cosine = np.sum(logits * reference, axis=1) / np.maximum(length, 1e-9)
    return Agreement(float(same), float(np.mean(cosine)))


def wilson(hits: int, of: int, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a share of ``hits`` in ``of`` trials (Wilson, JASA 22, 1927); (0, 1) of none."""
    if of == 0:
        return 0.0, 1.0
    share, square = hits / of, z * z
    middle = share + square / (2 * of)
    spread = z * math.sqrt(share * (1.0 - share) / of + square / (4.0 * of * of))
    scale = 1.0 + square / of
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)


def poisson_upper(count: int, confidence: float = 0.95) -> float:
    """Largest mean that ``count`` events do not contradict (one-sided, exact): 3.0 for none, 4.74 for one."""

    def at_most(mean: float) -> float:
        term = total = math.exp(-mean)
        for number in range(1, count + 1):
            term *= mean / number
            total += term
        return total

    low, high = 0.0, 10.0 + 3.0 * count
    for _ in range(60):
        middle = (low + high) / 2.0
        low, high = (middle, high) if at_most(middle) > 1.0 - confidence else (low, middle)
    return high


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def interval(hits: int, of: int) -> str:
    """Wilson interval as text."""
    low, high = wilson(hits, of)
    return f"{low:.2f} to {high:.2f}"
