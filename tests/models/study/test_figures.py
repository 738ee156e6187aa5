"""Figures agree with hand counts, intervals widen where groups are few, and epochs see every window."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.models.study import trees
from tocsin_models.study.metrics import averages, by_recording, confusion, intervals
from tocsin_models.study.reading import at_other_levels, augmented, epoch_plan
from tocsin_shared.features import log_mel
from tocsin_shared.manifest import FeatureSpec


def test_averages_count_each_class_the_same() -> None:
    true, said = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 1, 0])
    found = averages(confusion(said, true, 4))
    assert found.precision == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)
    assert found.recall == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert found.f1 == pytest.approx((4 / 6 + 4 / 5 + 0) / 3)
    assert found.accuracy == pytest.approx(4 / 6)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=50))
def test_figures_are_shares_and_perfect_only_where_all_is_right(pairs: list[tuple[int, int]]) -> None:
    true, said = np.array(pairs).T
    found = averages(confusion(said, true, 5))
    for value in (found.precision, found.recall, found.f1, found.accuracy):
        assert 0.0 <= value <= 1.0
    assert math.isclose(found.f1, 1.0) == bool((true == said).all())


def test_few_groups_make_wide_intervals() -> None:
    rng = np.random.default_rng(0)
    true = np.repeat([0, 1], 200)
    wrong = np.repeat(rng.random(20) < 0.3, 20)
    said = np.where(wrong, 1 - true, true)
    alone = intervals(said, true, [str(n) for n in range(400)], 2, draws=300)["accuracy"]
    grouped = intervals(said, true, [str(n // 20) for n in range(400)], 2, draws=300)["accuracy"]
    share = float(np.mean(said == true))
    assert alone.low < share < alone.high
    assert grouped.high - grouped.low > 2.5 * (alone.high - alone.low)


def test_windows_of_a_recording_speak_together() -> None:
    logits = np.array([[3.0, 0.0], [0.0, 1.0], [0.0, 2.0]], dtype=np.float32)
    means, first = by_recording(logits, ["a", "b", "a"])
    assert first == [0, 1]
    assert means.sum(axis=1) == pytest.approx([1.0, 1.0])
    assert means[0, 0] == pytest.approx((1 / (1 + math.exp(-3)) + 1 / (1 + math.exp(2))) / 2)


@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=12),
    st.integers(1, 5),
    st.integers(1, 16),
    st.integers(0, 9),
)
def test_an_epoch_sees_every_window_once_but_for_the_rest(
    sizes: list[int], buffer: int, batch: int, seed: int
) -> None:
    plan = epoch_plan(sizes, buffer, batch, np.random.default_rng(seed))
    seen = [tuple(place) for places in plan for place in places]
    assert len(set(seen)) == len(seen) == sum(sizes) // batch * batch
    assert all(len(places) == batch for places in plan)
    assert all(0 <= row < sizes[shard] for shard, row in seen)


def test_features_at_another_level_are_those_of_the_louder_sound() -> None:
    spec = FeatureSpec(mel_bands=16)
    samples = trees.tone(700.0, 0.5) * np.float32(0.1)
    frames = log_mel(samples, spec)[None, ..., None]
    rng, same = np.random.default_rng(5), np.random.default_rng(5)
    changed = at_other_levels(frames, 12.0, spec, rng)
    gain = 10.0 ** (same.uniform(-12.0, 12.0, (1, 1, 1, 1)).item() / 20.0)
    np.testing.assert_allclose(changed[0, ..., 0], log_mel(samples * np.float32(gain), spec), atol=1e-3)
    np.testing.assert_allclose(at_other_levels(frames, 0.0, spec, rng), frames, atol=1e-3)


def test_mixup_mixes_windows_and_targets_alike() -> None:
    frames = np.stack([np.full((6, 20, 1), n, dtype=np.float32) for n in range(4)])[:, :, :, :]
    frames = np.repeat(frames, 4, axis=1)
    targets = np.eye(4, dtype=np.float32)
    mixed, labels = augmented(frames.copy(), targets, 0.4, np.random.default_rng(3))
    assert labels.sum(axis=1) == pytest.approx(np.ones(4))
    # A window of the constant n can only have been blotted with its own constant.
    assert mixed[:, 0, 0, 0] == pytest.approx(labels @ np.arange(4), abs=1e-5)
    plain, same = augmented(frames.copy(), targets, 0.0, np.random.default_rng(3))
    assert (same == targets).all()
    assert plain[:, 0, 0, 0] == pytest.approx(np.arange(4))
