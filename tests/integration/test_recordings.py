"""Recordings that the shipped model never learned from, through the product's own ears."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tocsin_shared.labels import SEVERITIES, Severity


def heard(paths: list[Path]) -> dict[str, set[str]]:
    """Labels that ``tocsin node listen`` tells for each file, by the file's name."""
    command = [sys.executable, "-m", "tocsin_shared", "node", "listen", "--json", *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    found: dict[str, set[str]] = {path.name: set() for path in paths}
    for line in done.stdout.splitlines():
        detection = json.loads(line)
        found[Path(detection["file"]).name].add(detection["label"])
    return found


def clips(corpus: Path, source: str, label: str, note: str = "") -> list[Path]:
    """Recordings of ``label`` in ``source`` whose note holds ``note``."""
    with (corpus / "manifest.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if (row["source"], row["label"]) == (source, label)]
    return [corpus / row["path"] for row in rows if note in row["note"]]


SIRENS = {"emergency_siren", "evacuation_siren"}
ALARMS = {label for label, severity in SEVERITIES.items() if severity is Severity.ALARM}


@pytest.mark.slow
@pytest.mark.corpus
def test_sirens_never_learned_from_are_heard(corpus: Path) -> None:
    """Of the 99 sirens of two folds that no training saw, more than half are told; see the card."""
    sirens = clips(corpus, "esc50_union", "siren", "fold4") + clips(corpus, "us8k_part", "siren", "fold2;")
    found = heard(sirens)
    assert len(found) == 99
    assert sum(bool(SIRENS & labels) for labels in found.values()) >= 50


@pytest.mark.slow
@pytest.mark.corpus
@pytest.mark.parametrize(
    ("recorded", "label"),
    [("dog", "dog_bark"), ("crying_baby", "crying"), ("chainsaw", "chainsaw_or_power_tool")],
)
def test_what_the_card_calls_well_heard_is_heard(corpus: Path, recorded: str, label: str) -> None:
    """Of eight recordings that no training saw, at most one is missed."""
    found = heard(clips(corpus, "esc50_union", recorded, "fold4"))
    assert len(found) == 8
    assert sum(label in labels for labels in found.values()) >= 7


@pytest.mark.slow
@pytest.mark.corpus
def test_speech_is_no_alarm(corpus: Path) -> None:
    """Of 60 spoken prompts in a language that no training heard, none is told as an alarm."""
    found = heard([path for path in clips(corpus, "asterisk_speech", "speech") if "ast_ru" in path.name][:60])
    assert len(found) == 60
    assert [labels for labels in found.values() if labels & ALARMS] == []
