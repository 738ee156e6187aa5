"""The gate lets a faithful file through and refuses one that is not, each time with the reason."""

import numpy as np
import pytest

from tocsin_models.figures import Scores
from tocsin_models.gate import Bounds, verdict


def logits(seed: int = 1) -> Scores:
    return np.random.default_rng(seed).normal(0.0, 3.0, (400, 18)).astype(np.float32)


def test_a_faithful_file_passes() -> None:
    original = logits()
    found = verdict(original + 1e-4, original, f1=0.75, original_f1=0.753, bounds=Bounds())
    assert found.passed
    assert found.windows == 400
    assert found.f1_drop_points == pytest.approx(0.3)


def test_each_loss_is_a_reason_of_its_own() -> None:
    original = logits()
    worse = verdict(original, original, f1=0.74, original_f1=0.75, bounds=Bounds())
    assert worse.failures == ("macro-F1 falls by 1.00 points, 0.5 are allowed",)
    swapped = original.copy()
    swapped[:20] = np.roll(swapped[:20], 1, axis=1)
    (reason, *_) = verdict(swapped, original, f1=0.75, original_f1=0.75, bounds=Bounds()).failures
    assert "98.5% are needed" in reason
    noisy = np.sign(original) * np.abs(original) ** 3
    (reason,) = verdict(noisy, original, f1=0.75, original_f1=0.75, bounds=Bounds(min_agreement=0.0)).failures
    assert reason.startswith("the cosine of the logits is")


def test_what_is_no_number_is_refused() -> None:
    broken = np.full_like(logits(), np.nan)
    assert not verdict(broken, logits(), f1=np.nan, original_f1=0.75, bounds=Bounds()).passed


def test_random_answers_are_refused_for_every_reason() -> None:
    found = verdict(logits(2), logits(3), f1=0.05, original_f1=0.75, bounds=Bounds())
    assert len(found.failures) == 3
