"""Figures of a classifier with one label for each window, and how far they may be trusted.

Windows of one original are not independent, so intervals come from drawing whole groups again (bootstrap
by cluster): they are wider, and true.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int64]
Matrix = npt.NDArray[np.int64]
"""Shape (classes, classes): rows are the truth, columns what was said."""


@dataclass(frozen=True)
class Averages:
    """Means over the classes that occur, each class counting the same; accuracy over windows."""

    precision: float
    recall: float
    f1: float
    accuracy: float


@dataclass(frozen=True)
class Interval:
    """95 % interval."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:.3f} to {self.high:.3f}"


def confusion(said: Numbers, true: Numbers, classes: int) -> Matrix:
    """How often each class was taken for each."""
    counts = np.bincount(true * classes + said, minlength=classes * classes)
    return counts.reshape(classes, classes).astype(np.int64)


def by_class(
    matrix: Matrix,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Precision, recall and F1 of each class; 0 where there is nothing to divide by."""
    right = np.diag(matrix).astype(np.float64)
    said, true = matrix.sum(axis=0), matrix.sum(axis=1)
    precision = right / np.maximum(said, 1)
    recall = right / np.maximum(true, 1)
    return precision, recall, 2.0 * right / np.maximum(said + true, 1)


def averages(matrix: Matrix) -> Averages:
    """Means over the classes that occur in the truth or in what was said.

    A class that does neither has no F1, and is left out rather than counted as 0.
    """
    occurs = (matrix.sum(axis=0) + matrix.sum(axis=1)) > 0
    if not occurs.any():
        return Averages(0.0, 0.0, 0.0, 0.0)
    precision, recall, f1 = (float(values[occurs].mean()) for values in by_class(matrix))
    return Averages(precision, recall, f1, float(np.trace(matrix) / matrix.sum()))


def intervals(
    said: Numbers, true: Numbers, groups: Sequence[str], classes: int, *, draws: int = 1_000, seed: int = 1
) -> dict[str, Interval]:
    """95 % interval of each of :class:`Averages`, from ``draws`` resamplings of whole groups."""
    names, number = np.unique(np.array(groups), return_inverse=True)
    matrices = np.zeros((len(names), classes * classes), dtype=np.int64)
    np.add.at(matrices, (number, true * classes + said), 1)
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(draws):
        times = np.bincount(rng.integers(len(names), size=len(names)), minlength=len(names))
        drawn = averages((times @ matrices).reshape(classes, classes))
        rows.append((drawn.precision, drawn.recall, drawn.f1, drawn.accuracy))
    low, high = np.quantile(np.array(rows), (0.025, 0.975), axis=0)
    return {
        name: Interval(float(low[at]), float(high[at]))
        for at, name in enumerate(("precision", "recall", "f1", "accuracy"))
    }


def by_recording(
    logits: npt.NDArray[np.float32], names: Sequence[str]
) -> tuple[npt.NDArray[np.float64], list[int]]:
    """Mean probability over the windows of each recording, and the first window of each."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    probabilities = shifted / shifted.sum(axis=1, keepdims=True)
    unique, first, number = np.unique(np.array(names), return_index=True, return_inverse=True)
    sums = np.zeros((len(unique), logits.shape[1]))
    np.add.at(sums, number, probabilities)
    return sums / np.bincount(number)[:, None], [int(one) for one in first]
