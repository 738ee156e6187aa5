"""RULES: which sound is played in which room, when and how loud. Values in, values out."""

from dataclasses import dataclass
from pathlib import Path
from random import Random

from tocsin_shared.labels import Severity, severity_of

FIRST_SECONDS = 2.0
"""Time from the moment that all rooms listen to the first sound."""
GAP_SECONDS = (7.0, 12.0)
"""Quiet in one room between two sounds: longer than any detection takes to end."""
SETTLE_SECONDS = 8.0
"""Time kept free at the end, so that the last sound can still be told."""

LENGTH_SECONDS = {
    "smoke_alarm": (6.0, 10.0),
    "co_alarm": (6.0, 8.0),
    "evacuation_siren": (5.0, 9.0),
    "emergency_siren": (4.0, 8.0),
    "vehicle_horn": (1.5, 3.0),
    "reversing_beeper": (4.0, 7.0),
    "glass_breaking": (1.0, 2.0),
    "gunshot_or_explosion": (1.0, 3.0),
    "scream": (2.0, 4.0),
    "chainsaw_or_power_tool": (4.0, 8.0),
    "machine_alarm_beep": (4.0, 7.0),
    "engine": (5.0, 9.0),
    "dog_bark": (2.0, 4.0),
    "crying": (3.0, 6.0),
    "phone_or_door_bell": (3.0, 6.0),
    "knock": (1.5, 3.0),
    "speech": (3.0, 6.0),
}
LEVEL_DBFS = (-32.0, -16.0)
BED_DBFS = -52.0


@dataclass(frozen=True)
class Room:
    """One room of the demo."""

    node: str
    zone: str
    name: str


ROOMS = (
    Room("press-shop", "hall-1", "Press shop · 프레스실"),
    Room("paint-line", "hall-1", "Paint line · 도장 라인"),
    Room("warehouse", "hall-2", "Warehouse · 창고"),
)


@dataclass(frozen=True)
class Cue:
    """One sound to be played. ``at_seconds`` counts from the start of the script."""

    at_seconds: float
    node: str
    label: str
    seconds: float
    level_dbfs: float
    file: Path | None = None
    """A recording to play instead of a made sound."""

    @property
    def expected(self) -> bool:
        """True if somebody must be told of this sound."""
        return is_told(self.label)


def is_told(label: str) -> bool:
    """True for a label that somebody must be told of; an unlabelled recording (``""``) is not judged."""
    return bool(label) and severity_of(label) in {Severity.ALARM, Severity.WARNING}


def write_script(
    rng: Random, labels: tuple[str, ...], seconds: float, rooms: tuple[Room, ...] = ROOMS
) -> list[Cue]:
    """A script of ``seconds``: every room goes through all ``labels``, in an order of its own, for ever.

    If smoke alarms are among them, the first sound of the whole script is one, two seconds after the start.
    """
    cues = []
    first = "smoke_alarm" if "smoke_alarm" in labels else None
    for number, room in enumerate(rooms):
        at = FIRST_SECONDS + number * 1.7
        for label in _endless(rng, labels, first=first if number == 0 else None):
            length = round(rng.uniform(*LENGTH_SECONDS[label]), 1)
            if at + length + SETTLE_SECONDS > seconds:
                break
            cues.append(Cue(round(at, 2), room.node, label, length, round(rng.uniform(*LEVEL_DBFS), 1)))
            at += length + rng.uniform(*GAP_SECONDS)
    return sorted(cues, key=lambda cue: cue.at_seconds)


def script_of_recordings(
    rng: Random, files: list[tuple[Path, float]], seconds: float, rooms: tuple[Room, ...] = ROOMS
) -> list[Cue]:
    """A script that plays ``files`` (path, length in seconds), spread over the rooms in shuffled order."""
    free_at = [FIRST_SECONDS + number * 1.7 for number in range(len(rooms))]
    cues = []
    for path, length in rng.sample(files, len(files)):
        number = min(range(len(rooms)), key=free_at.__getitem__)
        at = free_at[number]
        if at + length + SETTLE_SECONDS > seconds:
            continue
        level = round(rng.uniform(*LEVEL_DBFS), 1)
        cues.append(Cue(round(at, 2), rooms[number].node, label_of(path), length, level, path))
        free_at[number] = at + length + rng.uniform(*GAP_SECONDS)
    return sorted(cues, key=lambda cue: cue.at_seconds)


def label_of(path: Path) -> str:
    """The label that a recording's folder or file name begins with, or ``""``."""
    for name in (path.parent.name, path.name):
        for label in LENGTH_SECONDS:
            if name.lower().startswith(label):
                return label
    return ""


def _endless(rng: Random, labels: tuple[str, ...], first: str | None) -> list[str]:
    order = [first] if first else []
    while len(order) < 1000:
        order += _one_round(rng, labels)
    return order


def _one_round(rng: Random, labels: tuple[str, ...]) -> list[str]:
    """All ``labels`` once; what nobody must be told of comes between two others as long as they last."""
    told, others = ([label for label in labels if is_told(label) is wanted] for wanted in (True, False))
    rng.shuffle(told)
    rng.shuffle(others)
    mixed = [label for pair in zip(told, others, strict=False) for label in pair]
    return [*mixed, *told[len(others) :], *others[len(told) :]]
