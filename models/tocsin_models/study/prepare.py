"""From data sets to feature shards: choose, split, balance, compute, and say plainly what is wrong.

The output folder holds ``shards/`` and, written last, ``prepared.json``: a run that was stopped has no
``prepared.json`` and goes on where it was. Memory grows with the number of recordings by a few hundred
bytes each, never with their length.
"""

import difflib
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tocsin_models.corpus import MISLEADING_SHARE, Split
from tocsin_models.files import write_whole
from tocsin_models.rows import Problem
from tocsin_models.study.balance import Dealt, Item, class_weights, deal
from tocsin_models.study.settings import LEAST_RECORDINGS, DataSettings, FeatureSettings, StudySettings
from tocsin_models.study.shards import Order, Shard, read_shard
from tocsin_models.study.sources import (
    Found,
    Layout,
    Recording,
    normal,
    read_data_set,
    renamed,
    without_twins,
)
from tocsin_models.study.work import make_shards
from tocsin_shared.errors import BadInputError

RECORDINGS_PER_SHARD = 64
LOST = frozenset({"unreadable", "missing", "silent"})
"""Kinds of problems that mislead only where there are many of them."""


@dataclass(frozen=True)
class Task:
    """What is to be prepared."""

    data: tuple[Path, ...]
    layout: Layout
    settings: StudySettings
    out: Path
    classes: tuple[str, ...] = ()
    """The only labels that are right; any where it is empty."""
    scheduler: str = ""
    workers: int = 1


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """What ``prepared.json`` holds."""

    schema: int = 1
    classes: tuple[str, ...]
    """In the order of the network's outputs."""
    features: FeatureSettings
    shards: dict[Split, tuple[str, ...]]
    """Names of the shards of each split."""
    before: dict[str, int]
    """Recordings of each class as found."""
    recordings: dict[str, dict[Split, int]]
    """Recordings of each class that are used."""
    windows: dict[str, dict[Split, int]]
    weights: tuple[float, ...]
    """Of the classes in the loss, without a cap."""
    settings: DataSettings
    problems: tuple[Problem, ...]
    misleading: tuple[str, ...]
    """Why figures made from this would mislead; empty where they would not."""


def prepare(task: Task, tell: Callable[[str], None]) -> Prepared:
    """Make all shards that are not there yet, and ``prepared.json``.

    Raises:
        BadInputError: a data set cannot be read at all, or no class is fit to be learnt.
        UnavailableError: a disk is full, or the cluster is not there; what is made stays.
    """
    found = collected(task)
    tell(f"{len(found.recordings)} recordings, {len(found.problems)} problems")
    dealt = deal([Item(one.label, one.group, one.fold) for one in found.recordings], task.settings.data)
    problems = [*found.problems, *_left_out(dealt, task.settings.data)]
    if len(dealt.classes) < 2:
        first = "\n  ".join(str(one) for one in problems[:20])
        raise BadInputError(f"fewer than two classes are fit to be learnt:\n  {first}")
    (task.out / "prepared.json").unlink(missing_ok=True)
    orders = ordered(task, found.recordings, dealt)
    flat = [order for split in Split for order in orders[split]]
    tell(
        f"{len(dealt.classes)} classes, {sum(len(one.recordings) for one in flat)} recordings, "
        f"{len(flat)} shards"
    )
    shards = make_shards(flat, scheduler=task.scheduler, workers=task.workers, tell=tell)
    result = _prepared(task, found, dealt, shards, problems)
    _write(task.out, result)
    return result


def _left_out(dealt: Dealt, settings: DataSettings) -> list[Problem]:
    """Classes that are not learnt; no surprise where the settings ask for more recordings than must be."""
    wanted = settings.min_recordings > LEAST_RECORDINGS
    return [Problem("class", name, why, misleads=not wanted) for name, why in dealt.left_out.items()]


def collected(task: Task) -> Found:
    """The recordings of all data sets with the labels that count, each once, and what is wrong with them."""
    recordings: list[Recording] = []
    problems: list[Problem] = []
    for root in task.data:
        found = read_data_set(root, task.layout, task.settings.data.sources)
        recordings += found.recordings
        problems += found.problems
    kept, twins = without_twins(renamed(recordings, task.settings.data.merged))
    kept, unknown = _known(kept, tuple(map(normal, task.classes)))
    return Found(tuple(kept), (*problems, *twins, *unknown, *_spellings(kept)))


def _known(recordings: list[Recording], classes: Sequence[str]) -> tuple[list[Recording], list[Problem]]:
    if not classes:
        return recordings, []
    problems = []
    for one in recordings:
        if one.label not in classes:
            near = difflib.get_close_matches(one.label, classes, n=1, cutoff=0.6)
            text = f"the label {one.label!r} is none of the classes" + (
                f"; the nearest is {near[0]!r}" if near else ""
            )
            problems.append(Problem("label", one.name, text))
    return [one for one in recordings if one.label in classes], problems


def _spellings(recordings: Sequence[Recording]) -> list[Problem]:
    """Labels that differ only in capitals, blanks or signs, and so are probably one."""
    forms = defaultdict(set)
    for one in recordings:
        forms["".join(filter(str.isalnum, one.label.casefold()))].add(one.label)
    return [
        Problem(
            "label", " and ".join(sorted(same)), "are probably one label; name the one to keep in data.merge"
        )
        for same in forms.values()
        if len(same) > 1
    ]


def ordered(task: Task, recordings: Sequence[Recording], dealt: Dealt) -> dict[Split, list[Order]]:
    """The shards of each split, each with a mixture of classes."""
    orders: dict[Split, list[Order]] = {}
    for split in Split:
        chosen = [one for one, where in zip(recordings, dealt.splits, strict=True) if where is split]
        random.Random(f"{task.settings.data.seed} {split}").shuffle(chosen)  # noqa: S311
        starts = range(0, len(chosen), RECORDINGS_PER_SHARD)
        orders[split] = [
            Order(
                task.out / "shards",
                f"{split}-{number:05}",
                tuple(chosen[start : start + RECORDINGS_PER_SHARD]),
                task.settings.features,
            )
            for number, start in enumerate(starts)
        ]
    return orders


def _prepared(
    task: Task, found: Found, dealt: Dealt, shards: Sequence[Shard], problems: Sequence[Problem]
) -> Prepared:
    named: dict[Split, list[str]] = {split: [] for split in Split}
    windows = {label: Counter(dict.fromkeys(Split, 0)) for label in dealt.classes}
    used = {label: Counter(dict.fromkeys(Split, 0)) for label in dealt.classes}
    for shard in shards:
        split = Split(shard.name.split("-")[0])
        named[split].append(shard.name)
        for held in shard.recordings:
            windows[held.label][split] += held.windows
            used[held.label][split] += held.windows > 0
    everything = [*problems, *(one for shard in shards for one in shard.problems), *_leaks(shards)]
    tried = len(found.recordings) + sum(one.kind == "missing" for one in everything)
    return Prepared(
        classes=dealt.classes,
        features=task.settings.features,
        shards={split: tuple(names) for split, names in named.items()},
        before=dict(sorted(Counter(one.label for one in found.recordings).items())),
        recordings={label: dict(counts) for label, counts in used.items()},
        windows={label: dict(counts) for label, counts in windows.items()},
        weights=class_weights([windows[label][Split.TRAIN] for label in dealt.classes], float("inf")),
        settings=task.settings.data,
        problems=tuple(everything),
        misleading=tuple(_misleading(everything, tried, windows)),
    )


def _leaks(shards: Sequence[Shard]) -> list[Problem]:
    """Sounds that are the same in two splits although they are said to come from different originals."""
    where: dict[str, dict[str, str]] = defaultdict(dict)
    for shard in shards:
        for held in shard.recordings:
            if held.windows:
                where[held.digest].setdefault(shard.name.split("-")[0], held.name)
    return [
        Problem("leak", " and ".join(names.values()), f"are the same sound, but in {' and '.join(names)}")
        for names in where.values()
        if len(names) > 1
    ]


def _misleading(
    problems: Sequence[Problem], tried: int, windows: Mapping[str, Mapping[Split, int]]
) -> list[str]:
    reasons = []
    lost = sum(one.kind in LOST for one in problems)
    if lost > MISLEADING_SHARE * tried:
        reasons.append(f"{lost} of {tried} recordings cannot be used")
    for kind, count in Counter(one.kind for one in problems if one.misleads).items():
        reasons.append(f"{count} × {_KINDS[kind]}")
    for label, counts in windows.items():
        if gaps := [split.value for split in Split if not counts[split]]:
            reasons.append(f"{label}: no window is left for {' and '.join(gaps)}")
    return reasons


_KINDS = {
    "label": "a label that is missing or wrong",
    "row": "a row of a manifest that cannot be used",
    "duplicate": "a recording with two labels",
    "class": "a class that is left out",
    "archive": "an archive that cannot be read",
    "leak": "a sound that is in two splits",
}


def _write(out: Path, result: Prepared) -> None:
    lines = "".join(f"{one.kind}: {one}\n" for one in result.problems)
    write_whole(out / "problems.txt", lines.encode("utf-8", "replace"))
    write_whole(out / "prepared.json", msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")


def read_prepared(folder: Path) -> Prepared:
    """What ``prepare`` left in ``folder``.

    Raises:
        BadInputError: nothing, or something that is not finished.
    """
    try:
        return msgspec.json.decode((folder / "prepared.json").read_bytes(), type=Prepared)
    except FileNotFoundError as error:
        raise BadInputError(
            f"{folder}: not prepared; run `tocsin models prepare --out {folder}` first"
        ) from error
    except (OSError, msgspec.MsgspecError) as error:
        raise BadInputError(f"{folder / 'prepared.json'}: cannot be used: {error}") from error


def shards_of(folder: Path, prepared: Prepared, split: Split) -> list[Shard]:
    """The shards of ``split``.

    Raises:
        BadInputError: one of them is gone.
    """
    found = []
    for name in prepared.shards[split]:
        shard = read_shard(folder / "shards", name)
        if shard is None:
            raise BadInputError(
                f"{folder / 'shards' / name}: gone or damaged; run `tocsin models prepare` again"
            )
        found.append(shard)
    return found
