"""How well a bundle hears recordings as a node would: single windows, and events through the detector.

Every recording is put into made ambience of its own, with some seconds before and after, so that it begins
and ends as sounds in a room do. The detector is the node's own. YAMNet may hear the same recordings, alone
and without ambience, as a peer: right where a class that is wanted is among its five best at any time.
Both hear a recording at a level of our choice, whatever the level at which it was stored.
"""

import fnmatch
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tocsin_models.corpus import MISLEADING_SHARE
from tocsin_models.figures import Scores, WindowFigures, poisson_upper, wilson, window_figures
from tocsin_models.label_map import LabelMap
from tocsin_models.rows import Problem, inside, read_rows
from tocsin_models.scenes import ENOUGH_SECONDS, TOO_LITTLE_SECONDS, active_inside, activity
from tocsin_models.streams import LEAD_SECONDS, TAIL_SECONDS, Scored, Told, detections, scored
from tocsin_models.teacher import Teacher
from tocsin_shared.audio import read_clip
from tocsin_shared.classifier import Classifier
from tocsin_shared.errors import AudioError, BadInputError
from tocsin_shared.features import Samples
from tocsin_shared.labels import Severity, severity_of
from tocsin_shared.synthesis import ambience, mix

EARLY_SECONDS, LATE_SECONDS = 0.6, 2.5
"""A detection belongs to a recording if it begins this long before it at most, or after its end."""
PEER_BEST = 5
PEER_PEAK = 0.95
"""Peak at which the peer hears a recording: what is stored softly would be silence to it."""
RATE_HZ = 16_000
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Item:
    """One recording and what it means to the bundle."""

    path: Path
    label: str
    """As the data set calls it."""
    right: tuple[str, ...]
    """Labels of the bundle, any of which is right; empty where nothing is to be told."""
    may_hold: frozenset[str]


@dataclass(frozen=True)
class Chosen:
    """What is to be heard, and what is wrong with the rest."""

    items: tuple[Item, ...]
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class Order:
    """How recordings are heard."""

    seed: int = 1
    snr_db: tuple[float, float] = (10.0, 25.0)
    """Level of a recording above its ambience."""
    peer: "Peer | None" = None


@dataclass(frozen=True)
class Peer:
    """YAMNet, which hears the same recordings."""

    teacher: Teacher
    wanted: Mapping[str, Sequence[int]]
    """For labels of the data set, the classes of which one is to be named."""


@dataclass(frozen=True)
class Events:
    """Recordings of one label of the data set, through the detector."""

    right: tuple[str, ...]
    of: int
    hits: int
    interval: tuple[float, float]
    latency_seconds: tuple[float, float] | None
    """Median and 95th percentile from the first sound to the detection; ``None`` without a hit."""
    told_instead: Mapping[str, int]
    """Labels told that are neither right nor in doubt, by the number of recordings."""
    peer: tuple[int, tuple[float, float]] | None = None
    """Hits of the peer on the same recordings, with their interval."""


@dataclass(frozen=True)
class FalseAlarms:
    """Detections in recordings that hold nothing of the kind."""

    hours: float
    """Of streams in which nothing is to be told."""
    recorded_hours: float
    """Of recordings in them; the rest is ambience."""
    told: Mapping[str, int]
    alarms: int
    """Of labels whose severity is ``alarm``."""
    alarms_per_hour: float | None
    """``None`` where there was no such stream."""
    alarms_per_hour_at_most: float | None
    """Upper bound, 95 %; ``None`` likewise."""


@dataclass(frozen=True)
class Report:
    """All figures of one evaluation."""

    bundle: str
    recordings: int
    macro_f1: float
    windows: WindowFigures
    events: Mapping[str, Events]
    false_alarms: FalseAlarms
    problems: tuple[str, ...]
    misleading: bool
    """Whether so much could not be heard that the figures would mislead."""
    by_label: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """For each label of the bundle: recordings in which it was right, and those of them that were hit."""


def choose(
    manifest: Path, meanings: LabelMap, bundle_labels: Sequence[str], where: Sequence[str] = ()
) -> Chosen:
    """The rows of ``manifest`` that ``where`` leaves, each ``COLUMN=PATTERN`` or ``COLUMN!=PATTERN``.

    Patterns of one column are alternatives, columns must all agree. A label without a meaning, a file that
    is not there and a file that stands twice are problems.

    Raises:
        BadInputError: the manifest cannot be read, a condition names no column, or nothing is left.
    """
    conditions = [_condition(text) for text in where]
    columns = ["path", "label", *dict.fromkeys(column for column, _, _ in conditions)]
    problems: list[Problem] = []
    items: dict[Path, Item] = {}
    lacking: Counter[str] = Counter()
    for row in read_rows(manifest, columns, ("path", "label"), problems):
        label = row.values["label"]
        if label in meanings.ignored or not _meets(row.values, conditions):
            continue
        path = inside(manifest.parent, row.values["path"], row.place, problems)
        if path is None:
            continue
        if not meanings.knows(label):
            text = f"the label {label!r} has no meaning yet; give it one in a file for --labels"
            problems.append(Problem("label", row.place, text))
        elif path in items:
            problems.append(Problem("duplicate", row.place, f"{row.values['path']} stands there twice"))
        else:
            right = tuple(one for one in meanings.right[label] if one in bundle_labels)
            doubts = frozenset(meanings.may_hold.get(label, ()))
            if meanings.right[label] and not right:
                lacking[label] += 1
                continue
            items[path] = Item(path, label, right, doubts)
    for label, count in lacking.items():
        text = f"{count} of {label!r} left out: the bundle has none of {', '.join(meanings.right[label])}"
        problems.append(Problem("label", str(manifest), text, misleads=False))
    if not items:
        wrong = f"; the first of {len(problems)} problems: {problems[0]}" if problems else ""
        raise BadInputError(f"{manifest}: no recording is left to be heard{wrong}")
    return Chosen(tuple(items.values()), tuple(problems))


def _condition(text: str) -> tuple[str, str, bool]:
    column, found, pattern = text.partition("=")
    if not (found and column.strip("! ")):
        raise BadInputError(f"--where {text}: must be COLUMN=PATTERN or COLUMN!=PATTERN, such as note=fold4*")
    return column.rstrip("! "), pattern.strip(), not column.endswith("!")


def _meets(values: Mapping[str, str], conditions: Sequence[tuple[str, str, bool]]) -> bool:
    wanted: dict[str, bool] = {}
    for column, pattern, positive in conditions:
        fits = fnmatch.fnmatchcase(values[column], pattern)
        if not positive and fits:
            return False
        if positive:
            wanted[column] = wanted.get(column, False) or fits
    return all(wanted.values())


@dataclass(frozen=True)
class _Heard:
    """One recording after the bundle, and after the peer if there is one."""

    item: Item
    seconds: float
    stream: Scored
    told: tuple[Told, ...]
    active: tuple[float, ...]
    """Seconds of the recording's own sound in each window."""
    first_sound: float
    """When it is first heard in the stream, seconds."""
    to_be_told: bool
    """Whether a right label is one that the bundle tells; ``speech`` is not."""
    peer_hit: bool | None

    @property
    def hits(self) -> list[Told]:
        """Right detections that belong to the recording."""
        span = (LEAD_SECONDS - EARLY_SECONDS, LEAD_SECONDS + self.seconds + LATE_SECONDS)
        return [
            one
            for one in self.told
            if one.label in self.item.right and span[0] <= one.onset_seconds <= span[1]
        ]

    @property
    def wrong(self) -> list[str]:
        """Labels that were told and are neither right nor in doubt."""
        known = {*self.item.right, *self.item.may_hold}
        return [one.label for one in self.told if one.label not in known]


def evaluate(classifier: Classifier, chosen: Chosen, order: Order, tell: Tell) -> Report:
    """All figures of ``classifier`` over what was ``chosen``.

    Raises:
        BadInputError: not a single recording can be read.
    """
    heard, problems = [], list(chosen.problems)
    for number, item in enumerate(chosen.items):
        try:
            samples = read_clip(item.path)
        except AudioError as error:
            problems.append(Problem("unreadable", str(item.path), str(error)))
            tell(f"left out: {error}")
            continue
        if not activity(samples).any():
            problems.append(Problem("silent", str(item.path), "holds nothing but silence"))
            continue
        rng = np.random.default_rng([order.seed, number])
        heard.append(_hear(classifier, item, samples, order, rng))
        if (number + 1) % 100 == 0:
            tell(f"  {number + 1} of {len(chosen.items)} recordings")
    if not heard:
        first = problems[len(chosen.problems)]
        raise BadInputError(f"none of {len(chosen.items)} recordings can be read; the first: {first}")
    labels = classifier.manifest.label_names
    windows = _window_figures(heard, labels)
    # A list of recordings of which most are not there is as misleading as one of which most are damaged.
    misleads = sum(one.misleads or one.kind == "missing" for one in problems)
    return Report(
        bundle=classifier.name,
        recordings=len(heard),
        macro_f1=windows.macro_f1,
        windows=windows,
        events={label: _events(ones) for label, ones in _by_label(heard).items() if ones[0].to_be_told},
        false_alarms=_false_alarms([one for one in heard if not one.to_be_told]),
        problems=tuple(map(str, problems)),
        misleading=misleads > MISLEADING_SHARE * (len(heard) + misleads),
        by_label=_of_bundle(heard, labels),
    )


def _hear(
    classifier: Classifier, item: Item, samples: Samples, order: Order, rng: np.random.Generator
) -> _Heard:
    seconds = len(samples) / RATE_HZ
    bed = ambience(LEAD_SECONDS + seconds + TAIL_SECONDS, rng)
    start = round(LEAD_SECONDS * RATE_HZ)
    mixed = mix(samples, bed, float(rng.uniform(*order.snr_db)), start=start)
    stream = scored(str(item.path), item.label, mixed, classifier)
    active = activity(samples)
    window = classifier.manifest.features.window_samples
    first = int(np.argmax(active)) * 0.02 if active.any() else 0.0
    rules = {label.name for label in classifier.manifest.labels if label.rule is not None}
    return _Heard(
        item=item,
        seconds=seconds,
        stream=stream,
        told=tuple(detections(stream, classifier.manifest.labels)),
        active=tuple(
            active_inside(active, round(end * RATE_HZ) - window - start, window) for end in stream.ends
        ),
        first_sound=LEAD_SECONDS + first,
        to_be_told=bool(rules & set(item.right)),
        peer_hit=None if order.peer is None else _peer_hit(samples, item.label, order.peer),
    )


def _peer_hit(samples: Samples, label: str, peer: Peer) -> bool | None:
    wanted = peer.wanted.get(label)
    if not wanted:
        return None
    loud = samples * np.float32(PEER_PEAK / max(float(np.max(np.abs(samples))), 1e-9))
    best = np.argsort(-peer.teacher.scores(loud).max(axis=0), kind="stable")[:PEER_BEST]
    return bool(set(best.tolist()) & set(wanted))


def _window_figures(heard: Sequence[_Heard], labels: Sequence[str]) -> WindowFigures:
    """F1 over all windows whose truth is certain, and of all labels that are right somewhere."""
    scores = np.concatenate([one.stream.scores for one in heard])
    targets, weights = (
        np.concatenate(parts) for parts in zip(*(_truth(one, labels) for one in heard), strict=True)
    )
    there = [number for number in range(len(labels)) if (targets[:, number] * weights[:, number]).any()]
    names = [labels[number] for number in there]
    return window_figures(scores[:, there], targets[:, there], weights[:, there], names)


def _truth(one: _Heard, labels: Sequence[str]) -> tuple[Scores, Scores]:
    """Targets and weights of each window, shape (windows, labels).

    Where several labels are right, the one that the bundle prefers is to be there, and the others are left
    out; so is what may be heard besides, and the edge of a sound.
    """
    scores, own = one.stream.scores, [labels.index(label) for label in one.item.right]
    targets, weights = np.zeros_like(scores), np.ones_like(scores)
    doubtful = [number for number, label in enumerate(labels) if label in one.item.may_hold]
    background = labels.index("background") if "background" in labels else None
    for row, inside_seconds in enumerate(one.active):
        if inside_seconds < TOO_LITTLE_SECONDS:
            present = False
        else:
            weights[row, doubtful] = 0.0
            weights[row, own] = 0.0
            present = bool(own)
        if present:
            best = own[int(np.argmax(scores[row, own]))]
            enough = inside_seconds >= ENOUGH_SECONDS.get(labels[best], 0.3)
            targets[row, best], weights[row, best] = float(enough), float(enough)
        if background is not None:
            targets[row, background] = float(not present)
            unsure = inside_seconds >= TOO_LITTLE_SECONDS and (
                doubtful or (present and not targets[row].any())
            )
            weights[row, background] = float(not unsure)
    return targets, weights


def _by_label(heard: Iterable[_Heard]) -> dict[str, list[_Heard]]:
    found: dict[str, list[_Heard]] = defaultdict(list)
    for one in heard:
        found[one.item.label].append(one)
    return dict(sorted(found.items()))


def _events(ones: Sequence[_Heard]) -> Events:
    latencies = [min(hit.told_seconds for hit in one.hits) - one.first_sound for one in ones if one.hits]
    missed = Counter(label for one in ones for label in set(one.wrong))
    asked = [one.peer_hit for one in ones if one.peer_hit is not None]
    return Events(
        right=ones[0].item.right,
        of=len(ones),
        hits=len(latencies),
        interval=wilson(len(latencies), len(ones)),
        latency_seconds=(float(np.median(latencies)), float(np.quantile(latencies, 0.95)))
        if latencies
        else None,
        told_instead=dict(sorted(missed.items())),
        peer=(sum(asked), wilson(sum(asked), len(asked))) if asked else None,
    )


def _false_alarms(quiet: Sequence[_Heard]) -> FalseAlarms:
    told = Counter(label for one in quiet for label in one.wrong)
    hours = sum(one.stream.seconds for one in quiet) / 3600.0
    alarms = sum(count for label, count in told.items() if severity_of(label) is Severity.ALARM)
    return FalseAlarms(
        hours=hours,
        recorded_hours=sum(one.seconds for one in quiet) / 3600.0,
        told=dict(sorted(told.items())),
        alarms=alarms,
        alarms_per_hour=alarms / hours if hours else None,
        alarms_per_hour_at_most=poisson_upper(alarms) / hours if hours else None,
    )


def _of_bundle(heard: Sequence[_Heard], labels: Sequence[str]) -> dict[str, tuple[int, int]]:
    found = {}
    for label in labels:
        own = [one for one in heard if label in one.item.right and one.to_be_told]
        if own:
            found[label] = (len(own), sum(bool(one.hits) for one in own))
    return found
