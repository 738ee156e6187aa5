"""The gate that every small file must pass: as good as the network it was made from, window by window."""

from dataclasses import dataclass

from tocsin_models.figures import agreement
from tocsin_models.study.metrics import Numbers, averages, confusion
from tocsin_models.study.reading import Floats
from tocsin_models.study.settings import QuantizeSettings


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


def judge(logits: Floats, original: Floats, true: Numbers, settings: QuantizeSettings) -> Verdict:
    """Verdict on a file by its ``logits`` and those of the network, both of shape (windows, classes)."""
    classes = original.shape[1]
    f1, best = (averages(confusion(one.argmax(axis=1), true, classes)).f1 for one in (logits, original))
    alike, drop = agreement(logits, original), 100.0 * (best - f1)
    failures = []
    if not drop <= settings.max_f1_drop_points:
        failures.append(f"macro-F1 falls by {drop:.2f} points, {settings.max_f1_drop_points:g} are allowed")
    if not alike.top_1 >= settings.min_agreement:
        failures.append(
            f"the best label is the same in {alike.top_1:.2%}, {settings.min_agreement:.1%} are needed"
        )
    if not alike.cosine >= settings.min_cosine:
        failures.append(f"the cosine of the logits is {alike.cosine:.4f}, {settings.min_cosine:g} is needed")
    return Verdict(len(true), f1, drop, alike.top_1, alike.cosine, tuple(failures))
