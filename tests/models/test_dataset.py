"""Recordings find their way into pools: events as events, rooms as rooms, the rest as background."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from tocsin_models.corpus import Clip, ReadReport
from tocsin_models.dataset import pools_of
from tocsin_models.recipe import LABELS
from tocsin_models.scenes import Pools, SceneSpec, scene
from tocsin_shared.manifest import FeatureSpec


def recording(folder: Path, label: str, seconds: float = 3.0) -> Clip:
    path = folder / f"{label}-0123456789.wav"
    noise = np.random.default_rng(len(label)).uniform(-0.3, 0.3, round(seconds * 16_000))
    soundfile.write(path, noise.astype(np.float32), 16_000)
    return Clip(path, label, "s", f"g-{label}", "A", "CC0")


@pytest.fixture(scope="module")
def pools(tmp_path_factory: pytest.TempPathFactory) -> Pools:
    folder = tmp_path_factory.mktemp("corpus")
    labels = ("car_horn", "dog", "rain", "RIR", "laughing")
    clips = [recording(folder, label) for label in labels]
    report = ReadReport()
    found = pools_of(clips, 2, np.random.default_rng(0), report, lambda _: None)
    assert report.read == len(labels)
    return found


def test_labels_of_the_corpus_become_labels_of_the_model(pools: Pools) -> None:
    assert len(pools.recorded["vehicle_horn"]) == 1
    assert len(pools.recorded["background"]) == 2
    assert len(pools.recorded["dog_bark"]) == 1
    assert "RIR" not in pools.recorded


def test_a_response_of_a_room_is_no_sound_but_is_kept_short(pools: Pools) -> None:
    assert [len(response) for response in pools.responses] == [32_000]


def test_steady_sounds_lie_under_others_as_well(pools: Pools) -> None:
    assert len(pools.beds) == 3, "two made rooms and the rain"


def test_what_may_be_heard_in_laughter_is_remembered(pools: Pools) -> None:
    assert sorted(sorted(sound.doubts) for sound in pools.recorded["background"]) == [[], ["speech"]]


def test_scenes_of_recordings_are_as_good_as_any(pools: Pools) -> None:
    rng = np.random.default_rng(3)
    drawn = [
        scene(pools, SceneSpec(recorded_share=1.0), LABELS, FeatureSpec().window_samples, rng)
        for _ in range(200)
    ]
    assert np.sum([one.targets[LABELS.index("vehicle_horn")] for one in drawn]) > 2
    assert all(np.isfinite(one.samples).all() for one in drawn)
