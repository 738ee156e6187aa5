"""The whole way from recordings to a bundle, in steps that are each kept in a run folder.

A step whose file is there is not done again, so a run that was stopped goes on where it was. The run
folder also holds the settings; other settings need another folder.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import msgspec
import numpy as np

from tocsin_models import recipe
from tocsin_models.bundle import GOLDEN_LABELS, misheard, write_bundle, write_whole
from tocsin_models.card import Origin, card_text
from tocsin_models.corpus import Clip, ReadReport, Split, read_manifest_csv, read_sounds
from tocsin_models.dataset import Windows, clips_of, draw_windows, load_windows, pools_of, save_windows
from tocsin_models.evaluate import Evaluation, evaluated
from tocsin_models.net import NetSpec, read_yamnet
from tocsin_models.quantize import CALIBRATION_WINDOWS, choose_calibration, float32, full_int8
from tocsin_models.rules import calibrated, with_threshold
from tocsin_models.streams import Scored, made_quiet, recorded_quiet
from tocsin_models.train import TrainSpec, save_run, train
from tocsin_shared.classifier import Classifier
from tocsin_shared.errors import BadInputError
from tocsin_shared.manifest import FeatureSpec, LabelSpec

Tell = Callable[[str], None]
INT8, FLOAT = "full-int8", "float32"


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


FULL = Size(
    windows={"train": 30_000, "validation": 3_000, "test": 3_000},
    made_per_label={"train": 300, "validation": 60, "test": 60},
    net=NetSpec(),
    train=TrainSpec(),
    quiet_seconds=3_600.0,
    streams_each=40,
)
QUICK = Size(
    windows={"train": 512, "validation": 64, "test": 64},
    made_per_label={"train": 8, "validation": 4, "test": 4},
    net=NetSpec(stem=8, blocks=((16, 2), (32, 2), (32, 1))),
    train=TrainSpec(epochs=3, rate=3e-3, batch=32),
    quiet_seconds=60.0,
    streams_each=2,
)
"""For tests: the same way in well under a minute, with a model that is good for nothing."""


@dataclass(frozen=True)
class Order:
    """What is to be made."""

    out: Path
    run: Path
    corpus: Path | None
    """``None``: made sounds only."""
    yamnet: Path | None
    """``None``: the network starts from chance."""
    name: str
    release: str
    seed: int
    size: Size
    threads: int = 2


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
    if order.yamnet is not None:
        read_yamnet(order.yamnet, len(order.size.net.blocks) + 1)


def _open_run(order: Order) -> None:
    order.run.mkdir(parents=True, exist_ok=True)
    settings = {"size": asdict(order.size), "seed": order.seed, "corpus": order.corpus is not None}
    settings |= {"yamnet": order.yamnet is not None}
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
        pools = pools_of(_of_split(order, split), order.size.made_per_label[split], rng, report, tell)
        report.check()
        tell(f"{split}: {report.read} recordings, windows")
        save_windows(draw_windows(pools, order.size.windows[split], FeatureSpec(), rng, tell), path)


def _load(order: Order, split: Split) -> Windows:
    return load_windows(order.run / f"windows-{split}.npz")


def _train_step(order: Order, tell: Tell) -> None:
    if (order.run / "float.weights.h5").exists():
        return
    tell("training")
    spec = replace(order.size.train, seed=order.seed, threads=order.threads)
    model, history = train(
        _load(order, Split.TRAIN),
        _load(order, Split.VALIDATION),
        net=order.size.net,
        features=FeatureSpec(),
        spec=spec,
        yamnet=order.yamnet,
        tell=tell,
    )
    save_run(model, history, spec, order.run)


def _quantize_step(order: Order, tell: Tell) -> None:
    if (order.run / f"{INT8}.tflite").exists():
        return
    tell("quantizing")
    windows, weights = _load(order, Split.TRAIN), order.run / "float.weights.h5"
    calibration = choose_calibration(windows, CALIBRATION_WINDOWS, order.seed)
    plain = float32(weights, order.size.net, FeatureSpec(), len(recipe.LABELS))
    small = full_int8(weights, order.size.net, FeatureSpec(), windows, calibration)
    write_whole(order.run / "calibration.sha256", f"{calibration.sha256}\n".encode())
    write_whole(order.run / f"{FLOAT}.tflite", plain)
    write_whole(order.run / f"{INT8}.tflite", small)
    tell(f"  {FLOAT} {len(plain)} bytes, {INT8} {len(small)} bytes")


def _bundle_step(order: Order, tell: Tell) -> None:
    draft = order.run / "draft"
    _write(order, draft, tuple(with_threshold(label, 0.5) for label in recipe.LABELS), "")
    tell("thresholds")
    labels = calibrated(_quiet(order, Split.VALIDATION, Classifier.load(draft), tell))
    _write(order, draft, labels, "")
    for spec in labels:
        tell(f"  {spec.name}: " + (f"{spec.rule.on_threshold:g}" if spec.rule else "recognised only"))
    tell("evaluation")
    figures = _evaluated(order, draft, tell)
    write_whole(order.run / "evaluation.json", msgspec.json.format(msgspec.json.encode(figures), indent=1))
    wrong = misheard(draft)
    for label, what in wrong.items():
        tell(f"  no golden clip of {label}: {what}")
    golden = tuple(label for label in GOLDEN_LABELS if label not in wrong)
    _write(order, order.out, labels, card_text(_origin(order), labels, figures), golden)
    tell(f"bundle: {order.out}")


def _quiet(order: Order, split: Split, classifier: Classifier, tell: Tell) -> list[Scored]:
    """Streams of ``split`` in which nothing is to be told."""
    silent = (set(recipe.EVENTS) | recipe.RESPONSES) - {"speech"}
    clips = [
        clip
        for clip in _of_split(order, split)
        if recipe.label_of(clip) not in silent and clip.label not in recipe.RESPONSES
    ]
    sounds = ((clip.path.name, samples) for clip, samples in read_sounds(clips, ReadReport(), tell))
    rng = np.random.default_rng([order.seed, 10 + list(Split).index(split)])
    return [*recorded_quiet(sounds, classifier), *made_quiet(order.size.quiet_seconds, rng, classifier)]


def _evaluated(order: Order, draft: Path, tell: Tell) -> Evaluation:
    quiet = _quiet(order, Split.TEST, Classifier.load(draft), tell)
    return evaluated(
        draft,
        _load(order, Split.TEST),
        quiet,
        each=order.size.streams_each,
        seed=order.seed + 100,
        tell=tell,
    )


def _origin(order: Order) -> Origin:
    training = json.loads((order.run / "training.json").read_text(encoding="utf-8"))
    return Origin(
        name=order.name,
        release=order.release,
        seed=order.seed,
        yamnet_sha256=None if order.yamnet is None else hashlib.sha256(order.yamnet.read_bytes()).hexdigest(),
        clips=tuple(_of_split(order, Split.TRAIN)),
        windows=order.size.windows["train"],
        parameters=int(training["parameters"]),
        calibration_sha256=(order.run / "calibration.sha256").read_text(encoding="utf-8").strip(),
        sizes={name: (order.run / f"{name}.tflite").stat().st_size for name in (INT8, FLOAT)},
    )


def _write(
    order: Order,
    folder: Path,
    labels: tuple[LabelSpec, ...],
    card: str,
    golden: tuple[str, ...] = GOLDEN_LABELS,
) -> None:
    write_bundle(
        folder,
        name=order.name,
        release=order.release,
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        features=FeatureSpec(),
        labels=labels,
        variants={name: (order.run / f"{name}.tflite").read_bytes() for name in (INT8, FLOAT)},
        card=card,
        seed=order.seed,
        golden_labels=golden,
    )
