"""The gate that every small file must pass: as good as the network it was made from, window by window."""

from dataclasses import dataclass

from tocsin_models.figures import Scores, agreement


@dataclass(frozen=True)
class Bounds:
    """What a file must keep of the network that it was made from."""

    max_f1_drop_points: float = 0.5
    min_agreement: float = 0.985
    min_cosine: float = 0.99


@dataclass(frozen=True)
class Verdict:
    """What a file keeps of the network it was made from."""

    windows: int
    macro_f1: float
    f1_drop_points: float
    """Macro-F1 of the original less that of the file, times 100."""
    agreement: float
    """Share of the windows with the same best label."""
    cosine: float
    """Mean cosine between the logits of both."""
    failures: tuple[str, ...]
    """What it does not keep; empty where it passes."""

    @property
    def passed(self) -> bool:
        """Whether it may be used."""
        return not self.failures


def verdict(logits: Scores, original: Scores, *, f1: float, original_f1: float, bounds: Bounds) -> Verdict:
    """Verdict on a file by its ``logits`` and those of the network, both of shape (windows, labels).

    ``f1`` and ``original_f1`` are the macro-F1 of each on the same windows, between 0 and 1. A figure that
    is not a number is a failure.
    """
    alike, drop = agreement(logits, original), 100.0 * (original_f1 - f1)
    failures = []
    if not drop <= bounds.max_f1_drop_points:
        failures.append(f"macro-F1 falls by {drop:.2f} points, {bounds.max_f1_drop_points:g} are allowed")
    if not alike.top_1 >= bounds.min_agreement:
        failures.append(
            f"the best label is the same in {alike.top_1:.2%}, {bounds.min_agreement:.1%} are needed"
        )
    if not alike.cosine >= bounds.min_cosine:
        failures.append(f"the cosine of the logits is {alike.cosine:.4f}, {bounds.min_cosine:g} is needed")
    return Verdict(len(logits), f1, drop, alike.top_1, alike.cosine, tuple(failures))
