"""Thresholds keep quiet streams quiet, and the times of the rules fit the standards' patterns."""

import numpy as np
import pytest

from tocsin_models.recipe import LABELS, RECOGNISED_ONLY, TOLD
from tocsin_models.rules import LEAST, LEAST_OF, TIMES, calibrated, false_alarms, with_threshold
from tocsin_models.streams import Scored, detections
from tocsin_shared.detector import compile_rule
from tocsin_shared.labels import Severity

HOUR = 3_600.0


def stream(label: str, scores: list[float], told_as: str = "background") -> Scored:
    """A stream in which ``label`` scores as given and everything else scores 0."""
    rows = np.zeros((len(scores), len(LABELS)), dtype=np.float32)
    rows[:, LABELS.index(label)] = scores
    return Scored("stream", told_as, tuple(2.0 + 0.5 * n for n in range(len(scores))), rows, HOUR)


def rule_threshold(label: str, quiet: list[Scored]) -> float:
    rule = dict(zip(LABELS, calibrated(quiet), strict=True))[label].rule
    assert rule is not None
    return rule.on_threshold


def test_a_quiet_world_gets_low_thresholds() -> None:
    quiet = [stream("emergency_siren", [0.0] * 50)]
    assert rule_threshold("smoke_alarm", quiet) == LEAST[Severity.ALARM]
    assert rule_threshold("emergency_siren", quiet) == LEAST_OF["emergency_siren"] < LEAST[Severity.ALARM]
    assert rule_threshold("evacuation_siren", quiet) == LEAST_OF["evacuation_siren"] > LEAST[Severity.ALARM]
    assert rule_threshold("dog_bark", quiet) == LEAST[Severity.NOTICE]


def test_a_threshold_rises_until_false_alarms_are_as_few_as_allowed() -> None:
    bursts = ([0.86] * 6 + [0.0] * 30) * 8
    quiet = [stream("emergency_siren", bursts)]
    chosen = rule_threshold("emergency_siren", quiet)
    assert chosen > 0.86
    assert false_alarms("emergency_siren", chosen, quiet) == 0
    assert false_alarms("emergency_siren", 0.85, quiet) == 8
    assert rule_threshold("vehicle_horn", quiet) == LEAST[Severity.WARNING], (
        "labels are calibrated one by one"
    )


def test_speech_and_background_are_never_told() -> None:
    specs = calibrated([stream("speech", [1.0] * 30)])
    assert {spec.name for spec in specs if spec.rule is None} == RECOGNISED_ONLY
    assert tuple(spec.name for spec in specs) == LABELS


@pytest.mark.parametrize("hop_seconds", [0.1, 0.25, 0.5, 1.0, 1.6])
@pytest.mark.parametrize("label", TOLD)
def test_every_rule_can_be_met_with_every_usual_hop(label: str, hop_seconds: float) -> None:
    spec = with_threshold(label, 0.9)
    assert spec.rule is not None
    assert compile_rule(label, spec.rule, hop_seconds).hits >= 1


def test_an_alarm_with_the_pauses_of_t4_is_one_detection() -> None:
    burst = [0.9] * 4 + [0.0] * 7
    specs = [with_threshold(label, 0.8) for label in LABELS]
    assert len(detections(stream("co_alarm", burst * 6), specs)) == 1


def test_a_single_window_is_enough_for_what_is_over_at_once_and_for_nothing_else() -> None:
    specs = [with_threshold(label, 0.8) for label in LABELS]
    blip = [0.0] * 5 + [0.9] + [0.0] * 12
    told = {label for label in TIMES if detections(stream(label, blip), specs)}
    assert told == {"glass_breaking"}
