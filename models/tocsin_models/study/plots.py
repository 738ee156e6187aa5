"""Figures as PNG files, drawn without a screen."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tocsin_models.files import write_whole

DOTS_PER_INCH = 110
MANY_CLASSES = 60
"""Beyond this many, names of classes would be a black bar."""
BLUE, ORANGE = "#0072b2", "#d55e00"
"""Told apart by people of any colour vision (Okabe and Ito)."""


def distribution(before: Mapping[str, int], after: Mapping[str, int], path: Path) -> None:
    """Recordings of each class, as found and as trained on, the most common first."""
    names = sorted(before, key=lambda name: (-before[name], name))
    figure, (upper, lower) = _figure(10.0, 7.0, rows=2)
    for axes, counts, colour, title in (
        (upper, before, BLUE, "Recordings of each class as found"),
        (lower, after, ORANGE, "Recordings of each class in training, after under-sampling"),
    ):
        values = [counts.get(name, 0) for name in names]
        axes.bar(range(len(names)), values, color=colour)
        shown = [value for value in values if value]
        ratio = f"; largest to smallest {max(shown) / min(shown):.1f} : 1" if shown else ""
        axes.set_title(f"{title} ({sum(values)}{ratio})")
        axes.set_ylabel("recordings")
        _name_ticks(axes, names)
    _save(figure, path)


def curves(history: Sequence[Mapping[str, float]], path: Path) -> None:
    """Accuracy and loss of every epoch, of training and of validation."""
    figure, pair = _figure(10.0, 4.0, columns=2)
    epochs = range(1, len(history) + 1)
    for axes, name in zip(pair, ("accuracy", "loss"), strict=True):
        axes.plot(epochs, [one[name] for one in history], color=BLUE, label="training, with augmentation")
        axes.plot(
            epochs, [one[f"validation_{name}"] for one in history], color=ORANGE, ls="--", label="validation"
        )
        axes.set_title(name.capitalize())
        axes.set_xlabel("epoch")
        axes.legend()
        axes.grid(alpha=0.3)
    pair[1].set_yscale("log")
    _save(figure, path)


def confusion_matrix(matrix: npt.NDArray[np.int64], names: Sequence[str], path: Path) -> None:
    """Share of each class's windows (row) that was taken for each class (column)."""
    size = min(12.0, 4.0 + 0.3 * len(names))
    figure, axes = _figure(size + 1.0, size)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="cividis", vmin=0.0, vmax=1.0)
    figure.colorbar(image, ax=axes, label="share of the windows of the row")
    axes.set_xlabel("said")
    axes.set_ylabel("true")
    _name_ticks(axes, names)
    if len(names) <= MANY_CLASSES:
        axes.set_yticks(range(len(names)), readable(names), fontsize=7)
    _save(figure, path)


def scatter(points: Sequence[tuple[str, float, float]], x_label: str, title: str, path: Path) -> None:
    """Named points (name, x, macro-F1); x on a logarithmic axis."""
    figure, axes = _figure(8.0, 5.0)
    marks = "os^Dv<>pP*X"
    for number, (name, x, f1) in enumerate(points):
        axes.plot(x, f1, marks[number % len(marks)], markersize=9, label=name)
    axes.set_xscale("log")
    axes.set_ylim(-0.03, 1.0)
    axes.set_xlabel(x_label)
    axes.set_ylabel("macro-F1")
    axes.set_title(title)
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    _save(figure, path)


def readable(names: Sequence[str]) -> list[str]:
    """``names``, or their numbers where no font here can draw them."""
    from matplotlib.font_manager import findfont  # noqa: PLC0415
    from matplotlib.ft2font import FT2Font  # noqa: PLC0415

    glyphs = FT2Font(findfont("DejaVu Sans")).get_charmap()
    drawable = all(ord(sign) in glyphs for name in names for sign in name)
    return list(names) if drawable else [f"class {number}" for number in range(1, len(names) + 1)]


def _figure(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Any, Any]:
    from matplotlib.figure import Figure  # noqa: PLC0415  # takes a second, and few commands draw

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns)


def _name_ticks(axes: Any, names: Sequence[str]) -> None:
    if len(names) <= MANY_CLASSES:
        axes.set_xticks(range(len(names)), readable(names), rotation=90, fontsize=7)
    else:
        axes.set_xlabel(f"{len(names)} classes")


def _save(figure: Any, path: Path) -> None:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    write_whole(path, buffer.getvalue())
