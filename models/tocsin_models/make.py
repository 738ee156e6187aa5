"""The whole way from recordings to a bundle, in steps that are each kept in a run folder.

A step whose file is there is not done again, so a run that was stopped goes on where it was. The run
folder also holds the settings; other settings need another folder.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import msgspec
import numpy as np

from tocsin_models import recipe
from tocsin_models.bundle import GOLDEN_LABELS, misheard, write_bundle
from tocsin_models.card import Origin, card_text
from tocsin_models.corpus import Clip, ReadReport, Split, read_manifest_csv, read_sounds
from tocsin_models.dataset import (
    Draw,
    Windows,
    clips_of,
    draw_windows,
    joined,
    load_windows,
    pools_of,
    save_windows,
)
from tocsin_models.earlier import earlier
from tocsin_models.evaluate import Evaluation, evaluated
from tocsin_models.files import write_whole
from tocsin_models.gate import Bounds, Verdict
from tocsin_models.integers import settled, settled_shape
from tocsin_models.net import NetSpec, read_yamnet
from tocsin_models.quantize import (
    CALIBRATION_WINDOWS,
    SHIPPED,
    choose_calibration,
    files,
    judged,
    network_logits,
    trained,
)
from tocsin_models.rules import calibrated, with_threshold
from tocsin_models.streams import Scored, made_quiet, recorded_quiet
from tocsin_models.teacher import Teacher, opinion
from tocsin_models.train import TrainSpec, save_run, train
from tocsin_shared.classifier import Classifier
from tocsin_shared.errors import BadInputError
from tocsin_shared.features import Samples
from tocsin_shared.manifest import FeatureSpec, LabelSpec

Tell = Callable[[str], None]
FEATURES = FeatureSpec(window_frames=192)
"""Two of the stretches of 96 frames that YAMNet hears at once: 1.935 s of sound."""
SETTLING_WINDOWS = 1_500
"""Windows that show how far channels reach before the last rounding."""


@dataclass(frozen=True)
class Size:
    """How much is made of everything."""

    windows: dict[str, int]
    """Windows of each split."""
    made_per_label: dict[str, int]
    """Made sounds of each label, for each split."""
    net: NetSpec
    train: TrainSpec
    quiet_seconds: float
    """Made quiet streams that thresholds are set on, beside the recordings."""
    streams_each: int
    """Made streams of each label in the evaluation."""
    bounds: Bounds = field(default_factory=Bounds)
    """What a variant must keep of the network to ship."""


FULL = Size(
    windows={"train": 48_000, "validation": 4_000, "test": 4_000},
    made_per_label={"train": 300, "validation": 60, "test": 60},
    net=NetSpec(),
    train=TrainSpec(),
    quiet_seconds=7_200.0,
    streams_each=25,
)
QUICK = Size(
    windows={"train": 512, "validation": 64, "test": 64},
    made_per_label={"train": 8, "validation": 4, "test": 4},
    net=NetSpec(stem=8, blocks=((16, 2), (32, 2), (32, 1))),
    train=TrainSpec(epochs=3, rate=3e-3, batch=32),
    quiet_seconds=60.0,
    streams_each=2,
    bounds=Bounds(max_f1_drop_points=10.0, min_agreement=0.5, min_cosine=0.9),
)
"""For tests: the same way in well under a minute, with a model that is good for nothing, which is why it
must keep less."""


@dataclass(frozen=True)
class Order:
    """What is to be made."""

    out: Path
    run: Path
    corpus: Path | None
    """``None``: made sounds only."""
    yamnet: Path | None
    """``None``: the network starts from chance."""
    start: Path | None
    """Float32 file of an earlier release, whose weights are taken instead of training; ``None``: train."""
    name: str
    release: str
    seed: int
    size: Size
    threads: int = 2
    """Threads to train with, and processes that draw windows."""


def make(order: Order, until: str, tell: Tell) -> None:
    """Do what is left to do up to the step ``until``: ``train``, ``quantize`` or ``bundle``.

    Raises:
        BadInputError: the corpus or YAMNet cannot be used, or the run folder is that of another order.
    """
    _check_inputs(order)
    _open_run(order)
    _windows_step(order, tell)
    _train_step(order, tell)
    if until == "train":
        return
    _quantize_step(order, tell)
    if until == "quantize":
        return
    _bundle_step(order, tell)


def _check_inputs(order: Order) -> None:
    """What is wrong with the inputs is said at once, and not after an hour of work."""
    _clips(order)
    if order.start is not None:
        earlier(order.start, order.size.net, FEATURES, len(recipe.LABELS))
    if order.yamnet is not None:
        read_yamnet(order.yamnet, len(order.size.net.blocks) + 1)


def _open_run(order: Order) -> None:
    order.run.mkdir(parents=True, exist_ok=True)
    settings = {"size": asdict(order.size), "seed": order.seed, "corpus": order.corpus is not None}
    settings |= {"yamnet": order.yamnet is not None, "start": _sha256(order.start)}
    wanted, path = json.dumps(settings, indent=1, sort_keys=True) + "\n", order.run / "run.json"
    if path.exists() and path.read_text(encoding="utf-8") != wanted:
        raise BadInputError(f"{order.run}: holds a run with other settings; name another --run, or delete it")
    write_whole(path, wanted.encode())


def _clips(order: Order) -> tuple[Clip, ...]:
    return () if order.corpus is None else read_manifest_csv(order.corpus)


def _of_split(order: Order, split: Split) -> list[Clip]:
    clips = _clips(order)
    where = partial(recipe.split_of, evaluation_groups=recipe.evaluation_groups(clips))
    return clips_of(split, clips, where)


def _windows_step(order: Order, tell: Tell) -> None:
    for number, split in enumerate(Split):
        path = order.run / f"windows-{split}.npz"
        if path.exists():
            continue
        tell(f"{split}: sounds")
        rng, report = np.random.default_rng([order.seed, number]), ReadReport()
        teacher = None if order.yamnet is None else Teacher(order.yamnet)
        each = order.size.made_per_label[split]
        pools = pools_of(_of_split(order, split), each, rng, report, tell, teacher=teacher)
        report.check()
        tell(f"{split}: {report.read} recordings, windows")
        count, seed = order.size.windows[split], (order.seed, 20 + number)
        save_windows(
            draw_windows(pools, Draw(count, FEATURES, seed, order.yamnet, order.threads), tell), path
        )


def _load(order: Order, split: Split) -> Windows:
    return load_windows(order.run / f"windows-{split}.npz")


def _train_step(order: Order, tell: Tell) -> None:
    if (order.run / "float.weights.h5").exists():
        return
    spec = replace(order.size.train, seed=order.seed, threads=order.threads)
    windows, net = _load(order, Split.TRAIN), order.size.net
    if order.start is None:
        tell("training")
        model, history = train(
            windows,
            _load(order, Split.VALIDATION),
            net=net,
            features=FEATURES,
            spec=spec,
            start=None if order.yamnet is None else read_yamnet(order.yamnet, len(net.blocks) + 1),
            tell=tell,
        )
    else:
        model, history = earlier(order.start, net, FEATURES, len(recipe.LABELS)), []
    tell("weights that integers hold")
    save_run(settled(model, net, FEATURES, windows.inputs(slice(SETTLING_WINDOWS))), history, spec, order.run)


def _quantize_step(order: Order, tell: Tell) -> None:
    if (order.run / "variants.json").exists():
        return
    tell("quantizing")
    weights, labels = order.run / "float.weights.h5", len(recipe.LABELS)
    calibration = choose_calibration(_load(order, Split.TRAIN), CALIBRATION_WINDOWS, order.seed)
    for name, content in files(weights, settled_shape(order.size.net), FEATURES, calibration, labels).items():
        write_whole(order.run / f"{name}.tflite", content)
    verdicts = _gate(order, tell)
    summary = _Summary(calibration.sha256, verdicts)
    write_whole(order.run / "variants.json", msgspec.json.format(msgspec.json.encode(summary), indent=1))


def _gate(order: Order, tell: Tell) -> dict[str, Verdict]:
    """Judge every variant on the windows of validation and test; those that are refused do not ship.

    Raises:
        BadInputError: none of them may ship.
    """
    draft, held = order.run / "draft", joined(_load(order, Split.VALIDATION), _load(order, Split.TEST))
    _write(order, draft, tuple(with_threshold(label, 0.5) for label in recipe.LABELS), "", golden=())
    weights = order.run / "float.weights.h5"
    model = trained(weights, settled_shape(order.size.net), FEATURES, len(recipe.LABELS), batch=None)
    original = network_logits(model, (order.run / "float32.tflite").read_bytes(), held)
    verdicts = judged(draft, original, held, order.size.bounds)
    for name, one in verdicts.items():
        size = (order.run / f"{name}.tflite").stat().st_size
        tell(
            f"  {name:10} {size:>11,} bytes, macro-F1 {one.macro_f1:.4f}, "
            f"same label {one.agreement:.2%}, cosine {one.cosine:.4f}: {'; '.join(one.failures) or 'passed'}"
        )
    if not any(one.passed for one in verdicts.values()):
        raise BadInputError(f"{order.run}: the gate refuses every variant; train longer, or on more")
    return verdicts


def _summary(order: Order) -> "_Summary":
    return msgspec.json.decode((order.run / "variants.json").read_bytes(), type=_Summary)


class _Summary(msgspec.Struct):
    """What ``variants.json`` holds."""

    calibration_sha256: str
    verdicts: dict[str, Verdict]


def _bundle_step(order: Order, tell: Tell) -> None:
    passed = tuple(name for name, one in _summary(order).verdicts.items() if one.passed)
    draft = order.run / "passed"
    _write(order, draft, tuple(with_threshold(label, 0.5) for label in recipe.LABELS), "", variants=passed)
    labels = _thresholds(order, draft, tell)
    _write(order, draft, labels, "", variants=passed)
    figures = _evaluated(order, draft, tell)
    wrong = misheard(draft)
    for label, what in wrong.items():
        tell(f"  no golden clip of {label}: {what}")
    golden = tuple(label for label in GOLDEN_LABELS if label not in wrong)
    _write(
        order, order.out, labels, card_text(_origin(order), labels, figures), golden=golden, variants=passed
    )
    tell(f"bundle: {order.out}")


def _thresholds(order: Order, draft: Path, tell: Tell) -> tuple[LabelSpec, ...]:
    """Labels with the thresholds of ``thresholds.json``, which are set first where there are none."""
    path = order.run / "thresholds.json"
    if not path.exists():
        tell("thresholds")
        found = calibrated(_quiet(order, Split.VALIDATION, Classifier.load(draft), tell))
        chosen = {label.name: label.rule.on_threshold for label in found if label.rule is not None}
        write_whole(path, msgspec.json.format(msgspec.json.encode(chosen), indent=1))
    chosen = msgspec.json.decode(path.read_bytes(), type=dict[str, float])
    for label in recipe.LABELS:
        tell(f"  {label}: " + (f"{chosen[label]:g}" if label in chosen else "recognised only"))
    return tuple(with_threshold(label, chosen.get(label, 0.5)) for label in recipe.LABELS)


def _quiet(order: Order, split: Split, classifier: Classifier, tell: Tell) -> list[Scored]:
    """Streams of ``split`` in which nothing is to be told.

    Those of validation, which thresholds are set on, hold recordings besides that may not be learnt from.
    """
    teacher = None if order.yamnet is None else Teacher(order.yamnet)

    def recordings() -> Iterator[tuple[str, Samples, frozenset[str]]]:
        clips = [clip for clip in _of_split(order, split) if clip.label not in recipe.RESPONSES]
        if split is Split.VALIDATION:
            groups = recipe.evaluation_groups(_clips(order))
            clips += [clip for clip in _clips(order) if recipe.only_for_thresholds(clip, groups)]
        for clip, samples in read_sounds(clips, ReadReport(), tell):
            heard = {} if teacher is None else opinion(teacher.scores(samples), recipe.YAMNET_CLASSES)
            label, doubts = recipe.taught_by(clip, heard)
            if label not in recipe.TOLD:
                yield clip.path.name, samples, doubts

    rng = np.random.default_rng([order.seed, 10 + list(Split).index(split)])
    return [*recorded_quiet(recordings(), classifier), *made_quiet(order.size.quiet_seconds, rng, classifier)]


def _evaluated(order: Order, draft: Path, tell: Tell) -> Evaluation:
    """Figures of ``evaluation.json``, which are measured first where there are none."""
    path = order.run / "evaluation.json"
    if not path.exists():
        tell("evaluation")
        quiet = _quiet(order, Split.TEST, Classifier.load(draft), tell)
        windows, each, seed = _load(order, Split.TEST), order.size.streams_each, order.seed + 100
        figures = evaluated(draft, windows, quiet, each=each, seed=seed, tell=tell)
        write_whole(path, msgspec.json.format(msgspec.json.encode(figures), indent=1))
    return msgspec.json.decode(path.read_bytes(), type=Evaluation)


def _sha256(path: Path | None) -> str | None:
    return None if path is None else hashlib.sha256(path.read_bytes()).hexdigest()


def _origin(order: Order) -> Origin:
    training = json.loads((order.run / "training.json").read_text(encoding="utf-8"))
    return Origin(
        name=order.name,
        release=order.release,
        seed=order.seed,
        yamnet_sha256=_sha256(order.yamnet),
        start_sha256=_sha256(order.start),
        clips=tuple(_of_split(order, Split.TRAIN)),
        windows=order.size.windows["train"],
        parameters=int(training["parameters"]),
        calibration_sha256=_summary(order).calibration_sha256,
        sizes={name: (order.run / f"{name}.tflite").stat().st_size for name in SHIPPED},
        verdicts=_summary(order).verdicts,
    )


def _write(
    order: Order,
    folder: Path,
    labels: tuple[LabelSpec, ...],
    card: str,
    *,
    golden: tuple[str, ...] = GOLDEN_LABELS,
    variants: tuple[str, ...] = SHIPPED,
) -> None:
    write_bundle(
        folder,
        name=order.name,
        release=order.release,
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        features=FEATURES,
        labels=labels,
        variants={name: (order.run / f"{name}.tflite").read_bytes() for name in variants},
        card=card,
        seed=order.seed,
        golden_labels=golden,
    )
