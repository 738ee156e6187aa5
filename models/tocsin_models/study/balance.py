"""Which class and which split a recording belongs to: rules that know neither files nor sound.

A group is whatever recordings were cut from one original; it is never in two splits. Classes are dealt out
from the rarest to the most common, so that the rare ones, which have the least room, find every split open.
"""

import math
import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tocsin_models.corpus import Split
from tocsin_models.study.settings import DataSettings


class Item(NamedTuple):
    """What the rules need to know of a recording."""

    label: str
    group: str
    fold: str = ""


@dataclass(frozen=True)
class Dealt:
    """What became of every recording."""

    splits: tuple[Split | None, ...]
    """As long as the items; ``None`` where the recording is not used."""
    classes: tuple[str, ...]
    """Labels that are learnt, in the order of the network's outputs."""
    left_out: Mapping[str, str]
    """Labels that are not, and why."""


def deal(items: Sequence[Item], settings: DataSettings) -> Dealt:
    """Classes, splits and under-sampling of ``items``; the same for the same seed and order."""
    left_out = _unfit(items, settings.min_recordings)
    classes = tuple(sorted({item.label for item in items} - set(left_out)))
    kept = [item for item in items if item.label not in left_out]
    where = split_groups(kept, settings)
    lacking = _lacking(kept, classes, where)
    if lacking:
        left_out |= lacking
        classes = tuple(label for label in classes if label not in lacking)
    splits = [where[item.group] if item.label in classes else None for item in items]
    return Dealt(_under_sampled(items, splits, settings), classes, left_out)


def _unfit(items: Sequence[Item], min_recordings: int) -> dict[str, str]:
    counts = Counter(item.label for item in items)
    groups = defaultdict(set)
    for item in items:
        groups[item.label].add(item.group)
    reasons = {
        label: f"{count} recordings, {min_recordings} are needed (data.min_recordings)"
        for label, count in counts.items()
        if count < min_recordings
    }
    return reasons | {
        label: f"its recordings come from {len(names)} group(s); training, validation and test need one each"
        for label, names in groups.items()
        if len(names) < 3 and label not in reasons
    }


def split_groups(items: Sequence[Item], settings: DataSettings) -> dict[str, Split]:
    """The split of every group."""
    shares = {Split.VALIDATION: settings.validation_share, Split.TEST: settings.test_share}
    shares[Split.TRAIN] = 1.0 - sum(shares.values())
    held = {item.group for item in items if item.fold and item.fold in settings.test_folds}
    where = dict.fromkeys(sorted(held), Split.TEST)
    sizes: dict[str, Counter[str]] = defaultdict(Counter)
    for item in items:
        sizes[item.label][item.group] += 1
    for label in sorted(sizes, key=lambda name: (sum(sizes[name].values()), name)):
        _deal_class(sizes[label], shares, where, random.Random(f"{settings.seed} {label}"))  # noqa: S311
    return where


def _deal_class(
    groups: Counter[str], shares: Mapping[Split, float], where: dict[str, Split], rng: random.Random
) -> None:
    total, given = sum(groups.values()), Counter(dict.fromkeys(shares, 0))
    for group in groups:
        if group in where:
            given[where[group]] += groups[group]
    order = sorted(set(groups) - set(where))
    rng.shuffle(order)
    # Large groups first: what is left over at the end evens the splits out.
    order.sort(key=lambda name: -groups[name])
    for number, group in enumerate(order):
        empty = [split for split in Split if given[split] == 0]
        pool = empty if len(empty) >= len(order) - number else list(Split)
        where[group] = max(pool, key=lambda split: shares[split] * total - given[split])
        given[where[group]] += groups[group]


def _lacking(items: Sequence[Item], classes: Sequence[str], where: Mapping[str, Split]) -> dict[str, str]:
    found = {(item.label, where[item.group]) for item in items}
    return {
        label: "no recording is left for " + " and ".join(gaps)
        for label in classes
        if (gaps := [split.value for split in Split if (label, split) not in found])
    }


def _under_sampled(
    items: Sequence[Item], splits: Sequence[Split | None], settings: DataSettings
) -> tuple[Split | None, ...]:
    """Shuffle the training recordings of each class and leave out those beyond the cap."""
    kept = list(splits)
    by_label: dict[str, list[int]] = defaultdict(list)
    for number, split in enumerate(splits):
        if split is Split.TRAIN:
            by_label[items[number].label].append(number)
    for label, numbers in by_label.items():
        random.Random(f"{settings.seed} sample {label}").shuffle(numbers)  # noqa: S311
        for number in numbers[settings.max_recordings or len(numbers) :]:
            kept[number] = None
    return tuple(kept)


def class_weights(counts: Sequence[int], largest: float) -> tuple[float, ...]:
    """Weight of each class in the loss, inverse to its ``counts`` of windows; at most ``largest``.

    Their mean over all windows is 1, so that the learning rate means the same with and without them.
    """
    total, classes = sum(counts), len(counts)
    raw = [min(largest, total / (classes * count)) if count else 0.0 for count in counts]
    mean = math.fsum(weight * count for weight, count in zip(raw, counts, strict=True)) / max(1, total)
    return tuple(weight / mean if mean else 0.0 for weight in raw)
