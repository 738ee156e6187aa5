"""The whole product over recordings: which are told by ``tocsin node listen``, and which only seem to be.

The node runs as a process of its own, as it does on a Raspberry Pi; only its lines of JSON are read.
"""

import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tocsin_models.card import interval, table
from tocsin_models.corpus import Clip
from tocsin_models.recipe import EVALUATION_FOLDS, TOLD, label_of
from tocsin_shared.errors import BadInputError, UnavailableError

TIMEOUT_SECONDS = 1_800
NEGATIVES = {"fold 4 of ESC-50, other classes": 50, "speech": 20, "interface sounds": 15, "empty room": 15}
"""How many clips of each kind without alarms are heard; 100 in all."""


@dataclass(frozen=True)
class Heard:
    """What the node told of one clip."""

    clip: Clip
    kind: str
    """Row of the table."""
    expected: str
    """A label that is told, or ``background``."""
    told: tuple[str, ...]
    """Labels of its detections."""


def chosen(clips: Sequence[Clip], seed: int) -> list[tuple[str, str, Clip]]:
    """(kind, expected label, clip) of all that is to be heard: every alarm, and 100 clips without one.

    Alarms are those of fold 4 of ESC-50 and of the ICU; negatives are drawn with ``seed`` from tier A.
    """
    alarms = [
        (f"{clip.label} ({clip.source})", label_of(clip), clip)
        for clip in clips
        if label_of(clip) in TOLD and (clip.note == EVALUATION_FOLDS["esc50_union"] or clip.source == "icu_alarm")
    ]
    rng = np.random.default_rng(seed)
    negatives: list[tuple[str, str, Clip]] = []
    for kind, count in NEGATIVES.items():
        found = [clip for clip in clips if clip.tier == "A" and _negative_kind(clip) == kind]
        drawn = sorted(rng.permutation(len(found))[:count])
        negatives += [(kind, "background", found[int(index)]) for index in drawn]
    return [*sorted(alarms, key=lambda item: item[0]), *negatives]


def _negative_kind(clip: Clip) -> str | None:
    if clip.source == "icu_alarm" and clip.label == "no_alarm_room":
        return "empty room"
    if clip.group == "ui_sounds":
        return "interface sounds"
    if clip.group == "ast_ru":
        return "speech"
    other = clip.note == EVALUATION_FOLDS["esc50_union"] and label_of(clip) == "background"
    return "fold 4 of ESC-50, other classes" if other else None


def listen(items: Sequence[tuple[str, str, Clip]], bundle: Path, variant: str | None = None) -> list[Heard]:
    """What the node tells of ``items``.

    Raises:
        UnavailableError: the node's command is not installed, or failed.
        BadInputError: it answered with something that is no line of JSON.
    """
    told: dict[str, list[str]] = defaultdict(list)
    command = [sys.executable, "-m", "tocsin_shared", "node", "listen", "--json", "--bundle", str(bundle)]
    command += ["--variant", variant] if variant else []
    answer = _run([*command, *(str(clip.path) for _, _, clip in items)])
    for line in answer.splitlines():
        found = _detection(line)
        told[found[0]].append(found[1])
    return [Heard(clip, kind, label, tuple(told[str(clip.path)])) for kind, label, clip in items]


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(f"tocsin node listen could not be run: {error}") from error
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise UnavailableError(f"tocsin node listen ended with status {done.returncode}: {last}")
    return done.stdout


def _detection(line: str) -> tuple[str, str]:
    try:
        found = json.loads(line)
        return str(found["file"]), str(found["label"])
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise BadInputError(f"tocsin node listen: not a detection: {line[:120]!r}") from error


def listening_table(heard: Sequence[Heard], seed: int) -> str:
    """Hits and false alarms as Markdown."""
    kinds: dict[str, list[Heard]] = defaultdict(list)
    for one in heard:
        kinds[one.kind].append(one)
    alarms = [_alarm_row(kind, ones) for kind, ones in kinds.items() if ones[0].expected != "background"]
    quiet = [_quiet_row(kind, ones) for kind, ones in kinds.items() if ones[0].expected == "background"]
    every = [one for one in heard if one.expected == "background"]
    return (
        f"Each clip alone through `tocsin node listen`; negatives drawn with seed {seed}. No clip, and no "
        "other clip "
        "of its group, was trained on.\n\n"
        + table(["alarm", "detected", "95 % interval", "told as something else only", "not told"], alarms)
        + "\n\n"
        + table(
            ["no alarm", "false alarms", "95 % interval", "told as"], [*quiet, _quiet_row("**all**", every)]
        )
    )


def _alarm_row(kind: str, ones: Sequence[Heard]) -> list[str]:
    hits = sum(one.expected in one.told for one in ones)
    wrong = [one.told[0] for one in ones if one.told and one.expected not in one.told]
    return [
        f"{kind} → {ones[0].expected}",
        f"{hits} / {len(ones)}",
        interval(hits, len(ones)),
        _counted(wrong),
        str(len(ones) - hits - len(wrong)),
    ]


def _quiet_row(kind: str, ones: Sequence[Heard]) -> list[str]:
    false = [one for one in ones if one.told]
    labels = [label for one in false for label in sorted(set(one.told))]
    return [kind, f"{len(false)} / {len(ones)}", interval(len(false), len(ones)), _counted(labels)]


def _counted(labels: Sequence[str]) -> str:
    return ", ".join(f"{label} {labels.count(label)}" for label in sorted(set(labels))) or "0"
