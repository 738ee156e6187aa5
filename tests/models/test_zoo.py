"""What ships keeps its promises: made sounds are told by the right name; a quiet room is not."""

from functools import cache

import numpy as np
import pytest

from tocsin_models.bundle import misheard
from tocsin_models.recipe import LABELS, TOLD
from tocsin_models.streams import detections, made_alarm, scored
from tocsin_shared.classifier import Classifier
from tocsin_shared.features import Samples
from tocsin_shared.labels import SEVERITIES, Severity
from tocsin_shared.manifest import read_manifest, read_variant, shipped_bundle
from tocsin_shared.synthesis import ambience, mix, sound

SURE = ("smoke_alarm", "vehicle_horn", "glass_breaking", "scream")
"""Labels of which every made sound must be told; the card says how well the others are heard."""


@cache
def classifier() -> Classifier:
    return Classifier.load(shipped_bundle())


def told(samples: Samples) -> list[str]:
    stream = scored("stream", "", samples, classifier())
    return [found.label for found in detections(stream, classifier().manifest.labels)]


def test_every_file_is_the_one_in_the_manifest() -> None:
    folder = shipped_bundle()
    manifest = read_manifest(folder)
    assert manifest.label_names == LABELS
    assert {"float16", "float32"} <= {variant.name for variant in manifest.variants}
    for variant in manifest.variants:
        read_variant(folder, variant)


def test_every_variant_hears_the_golden_clips_rightly() -> None:
    assert misheard(shipped_bundle()) == {}


def test_a_label_is_told_if_it_matters_to_anybody() -> None:
    rules = {label.name for label in read_manifest(shipped_bundle()).labels if label.rule is not None}
    assert rules == set(TOLD)
    assert all(SEVERITIES[label] is not Severity.NONE for label in rules)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("snr_db", [10.0, 25.0])
@pytest.mark.parametrize("label", SURE)
def test_a_made_alarm_is_told_by_its_name(label: str, snr_db: float, seed: int) -> None:
    assert label in told(made_alarm(label, snr_db, np.random.default_rng(seed)))


@pytest.mark.parametrize("label", [label for label in TOLD if label != "evacuation_siren"])
def test_every_label_is_told_more_often_than_not(label: str) -> None:
    """All but evacuation sirens, which the card calls weak."""
    heard = [told(made_alarm(label, 20.0, np.random.default_rng(seed))) for seed in range(8)]
    assert sum(label in labels for labels in heard) >= 5


def test_the_bursts_of_t4_are_one_alarm() -> None:
    rng = np.random.default_rng(3)
    heard = mix(sound("co_alarm", 18.0, rng), ambience(24.0, rng), 20.0, start=32_000)
    assert told(heard) == ["co_alarm"]


@pytest.mark.parametrize("seed", range(4))
def test_nothing_is_told_of_people_who_speak_in_a_room(seed: int) -> None:
    rng = np.random.default_rng(seed)
    assert told(mix(sound("speech", 15.0, rng), ambience(20.0, rng), 15.0, start=32_000)) == []


def test_speech_is_recognised_although_it_is_not_told() -> None:
    stream = scored("stream", "", sound("speech", 6.0, np.random.default_rng(1)), classifier())
    assert stream.scores[:, LABELS.index("speech")].max() > 0.8
