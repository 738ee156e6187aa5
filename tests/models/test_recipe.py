"""What a recording teaches: its own label, what YAMNet finds in it, and nothing that nobody knows."""

from pathlib import Path

from tocsin_models.corpus import Clip, Split
from tocsin_models.recipe import (
    EVENTS,
    LABELS,
    RECOGNISED_ONLY,
    TOLD,
    YAMNET_CLASSES,
    evaluation_groups,
    only_for_thresholds,
    split_of,
    taught_by,
)
from tocsin_models.teacher import CLASSES
from tocsin_shared.labels import SEVERITIES, Severity


def clip(label: str, *, source: str = "s", group: str = "g", tier: str = "A", note: str = "") -> Clip:
    return Clip(Path(f"{label}-0000000000.ogg"), label, source, group, tier, "CC0", note)


def test_every_label_has_a_severity_and_only_those_that_matter_are_told() -> None:
    assert set(LABELS) <= set(SEVERITIES)
    assert [label for label in LABELS if SEVERITIES[label] is Severity.NONE] == ["speech", "background"]
    assert set(TOLD) == set(LABELS) - RECOGNISED_ONLY
    assert {"speech", "background"} <= RECOGNISED_ONLY


def test_every_event_has_classes_of_yamnet() -> None:
    assert set(YAMNET_CLASSES) == set(EVENTS)
    assert all(0 <= number < CLASSES for numbers in YAMNET_CLASSES.values() for number in numbers)


def test_what_yamnet_hears_besides_is_in_doubt() -> None:
    label, doubts = taught_by(clip("dog"), {"dog_bark": 0.9, "crying": 0.3, "scream": 0.01})
    assert label == "dog_bark"
    assert doubts == {"crying"}


def test_a_sound_whose_name_says_little_is_what_yamnet_is_sure_of() -> None:
    assert taught_by(clip("game_sfx"), {"gunshot_or_explosion": 0.9})[0] == "gunshot_or_explosion"
    assert taught_by(clip("game_sfx"), {"gunshot_or_explosion": 0.4})[0] == "background"
    assert taught_by(clip("rain"), {"gunshot_or_explosion": 0.9})[0] == "background", "rain is rain"


def test_nothing_of_the_evaluation_is_trained_on() -> None:
    heard = clip("siren", source="esc50_union", group="fs1", note="fold4")
    city = clip("siren", source="us8k_part", group="fs2", tier="B", note="fold2;true_len=4.000")
    same_group = [clip("siren", group="fs1", note="fold1"), clip("rain", group="fs2")]
    groups = evaluation_groups((heard, city, *same_group))
    assert [split_of(one, groups) for one in same_group] == [Split.TEST, Split.TEST]
    assert split_of(clip("siren", group="fs3", note="fold1"), groups) is Split.TRAIN
    assert split_of(clip("siren", group="fs3", tier="B"), groups) is None
    assert only_for_thresholds(clip("siren", group="fs3", tier="B"), groups)
    assert not only_for_thresholds(clip("siren", group="fs3"), groups), "it is learnt from"
    assert not only_for_thresholds(clip("street_music", group="fs2", tier="B"), groups), "it is evaluated"
