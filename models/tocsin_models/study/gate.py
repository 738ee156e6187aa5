"""The gate for a network that names one class for each window."""

from tocsin_models.gate import Bounds, Verdict, verdict
from tocsin_models.study.metrics import Numbers, averages, confusion
from tocsin_models.study.reading import Floats
from tocsin_models.study.settings import QuantizeSettings


def judge(logits: Floats, original: Floats, true: Numbers, settings: QuantizeSettings) -> Verdict:
    """Verdict on a file by its ``logits`` and those of the network, both of shape (windows, classes)."""
    classes = original.shape[1]
    f1, best = (averages(confusion(one.argmax(axis=1), true, classes)).f1 for one in (logits, original))
    bounds = Bounds(settings.max_f1_drop_points, settings.min_agreement, settings.min_cosine)
    return verdict(logits, original, f1=f1, original_f1=best, bounds=bounds)
