"""Scenes hold what their targets say, at every phase, and nothing is taught that nobody knows."""

from pathlib import Path

import numpy as np
import pytest

from tocsin_models.dataset import (
    Draw,
    Windows,
    balanced,
    draw_windows,
    joined,
    load_windows,
    made_pools,
    save_windows,
)
from tocsin_models.recipe import EVENTS, LABELS
from tocsin_models.scenes import Placed, Pools, SceneSpec, Sound, activity, cut, scene, targets_of
from tocsin_shared.errors import BadInputError
from tocsin_shared.manifest import FeatureSpec
from tocsin_shared.synthesis.rooms import room

FEATURES = FeatureSpec(window_frames=192)


@pytest.fixture(scope="module")
def pools() -> Pools:
    rng = np.random.default_rng(0)
    beds = [Sound("background", room(4.0, rng)) for _ in range(3)]
    return Pools(made_pools(3, rng), {}, beds)


def placed(label: str, active_seconds: float, doubts: frozenset[str] = frozenset()) -> Placed:
    return Placed(
        Sound(label, np.zeros(1, dtype=np.float32), doubts), np.zeros(1, dtype=np.float32), active_seconds
    )


def target(parts: list[Placed], doubts: frozenset[str] = frozenset()) -> dict[str, float | None]:
    """1, 0 or ``None`` for unknown, by label."""
    targets, weights = targets_of(parts, doubts, LABELS)
    return {label: float(t) if w else None for label, t, w in zip(LABELS, targets, weights, strict=True)}


def test_enough_of_a_sound_is_a_positive_and_its_absence_a_negative() -> None:
    found = target([placed("emergency_siren", 1.0)])
    assert found["emergency_siren"] == 1.0
    assert found["smoke_alarm"] == 0.0
    assert found["background"] == 0.0


def test_too_little_of_a_sound_is_neither() -> None:
    found = target([placed("emergency_siren", 0.2)])
    assert found["emergency_siren"] is None
    assert found["background"] is None
    assert found["vehicle_horn"] == 0.0


def test_no_event_is_background() -> None:
    assert target([])["background"] == 1.0
    assert target([placed("background", 1.0)])["background"] == 1.0


def test_what_a_recording_may_hold_is_not_denied() -> None:
    assert target([placed("background", 1.0, frozenset({"speech"}))])["speech"] is None
    assert target([], frozenset({"vehicle_horn"}))["vehicle_horn"] is None
    assert target([placed("speech", 1.0)], frozenset({"speech"}))["speech"] == 1.0


def test_two_sounds_at_once_are_both_taught() -> None:
    found = target([placed("speech", 1.0), placed("smoke_alarm", 1.5)])
    assert (found["speech"], found["smoke_alarm"], found["background"]) == (1.0, 1.0, 0.0)


def test_activity_follows_the_sound_and_not_its_pauses() -> None:
    tone = np.sin(np.arange(16_000) * 0.5).astype(np.float32)
    active = activity(np.concatenate([np.zeros(16_000, dtype=np.float32), tone, 1e-3 * tone]))
    assert active.tolist() == [False] * 50 + [True] * 50 + [False] * 50


def test_silence_is_never_active() -> None:
    assert not activity(np.zeros(3_200, dtype=np.float32)).any()


def test_cut_reaches_over_both_ends() -> None:
    ramp = np.arange(5, dtype=np.float32)
    assert cut(ramp, -2, 4).tolist() == [0.0, 0.0, 0.0, 1.0]
    assert cut(ramp, 3, 4).tolist() == [3.0, 4.0, 0.0, 0.0]
    assert cut(ramp, 9, 2).tolist() == [0.0, 0.0]


def test_a_scene_is_one_window_within_full_scale_and_always_the_same(pools: Pools) -> None:
    for seed in range(40):
        first, again = (
            scene(pools, SceneSpec(), LABELS, FEATURES.window_samples, np.random.default_rng(seed))
            for _ in range(2)
        )
        assert first.samples.shape == (FEATURES.window_samples,)
        assert first.samples.dtype == np.float32
        assert np.isfinite(first.samples).all()
        assert np.abs(first.samples).max() <= 1.0
        assert np.array_equal(first.samples, again.samples)
        assert np.array_equal(first.targets, again.targets)


def test_every_label_is_drawn(pools: Pools) -> None:
    rng = np.random.default_rng(4)
    drawn = [scene(pools, SceneSpec(), LABELS, FEATURES.window_samples, rng) for _ in range(500)]
    assert (np.sum([one.targets for one in drawn], axis=0) >= 5).all()


def test_made_pools_hold_every_event_and_decoys() -> None:
    found = made_pools(2, np.random.default_rng(1))
    assert set(found) == {*EVENTS, "background"}
    assert len(found["emergency_siren"]) == 2


def test_windows_are_saved_whole_and_read_back(pools: Pools, tmp_path: Path) -> None:
    windows = draw_windows(pools, Draw(6, FEATURES, (2,)), lambda _: None)
    save_windows(windows, tmp_path / "windows.npz")
    read = load_windows(tmp_path / "windows.npz")
    assert np.array_equal(read.frames, windows.frames)
    assert read.inputs().shape == (6, 192, 64, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["windows.npz"]
    (tmp_path / "windows.npz").write_bytes(b"torn")
    with pytest.raises(BadInputError, match="delete it to make it again"):
        load_windows(tmp_path / "windows.npz")


def test_calibration_draws_rare_labels_as_often_as_common_ones() -> None:
    rare = len(LABELS) - 1
    targets = np.zeros((1_000, len(LABELS)), dtype=np.float32)
    targets[: 1_000 - 5 * rare, rare] = 1.0
    for label in range(rare):
        targets[1_000 - 5 * (label + 1) : 1_000 - 5 * label, label] = 1.0
    frames, taught = np.zeros((1_000, 1, 1), dtype=np.float16), np.zeros((1_000, 0), dtype=np.float16)
    windows = Windows(frames, targets, np.ones_like(targets), taught)
    chosen = balanced(windows, 5 * len(LABELS), np.random.default_rng(0))
    assert len(set(chosen.tolist())) == 5 * len(LABELS)
    assert targets[chosen].sum(axis=0).tolist() == [5.0] * len(LABELS)


def test_windows_are_the_same_however_many_processes_draw_them(pools: Pools) -> None:
    alone, shared = (
        draw_windows(pools, Draw(520, FeatureSpec(window_frames=10), (3,), jobs=jobs), lambda _: None)
        for jobs in (1, 2)
    )
    assert len(alone) == 520
    assert np.array_equal(alone.frames, shared.frames)
    assert np.array_equal(alone.targets, shared.targets)
    assert len(np.unique(alone.frames, axis=0)) > 500, "pieces differ from one another"
    assert len(joined(alone, shared)) == 1_040
