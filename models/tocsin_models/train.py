"""Training: windows in, weights out; the seed fixes what is drawn, threads may change last digits.

Where the network starts from YAMNet, it learns twice. First its own last layers learn from what YAMNet's
layers hear, which is worked out once for all epochs; then all layers learn together, cut off and rounded as
integers will be. Both times they are also held to what the whole of YAMNet hears.
"""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tocsin_models.dataset import Windows
from tocsin_models.net import NetSpec, Start, build, capped, of_yamnet, start_from_yamnet, yamnet
from tocsin_models.teacher import CLASSES
from tocsin_shared.manifest import FeatureSpec

History = list[dict[str, float]]
Tell = Callable[[str], None]
Batch = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]
UNFOLDING_WINDOWS = 256
"""Windows that show the statistics at each layer when weights of YAMNet are unfolded."""
NOTHING: tuple[str, ...] = ()
LEAST_SPREAD = 0.02
"""A channel of YAMNet that differs less is not made larger than one that differs this much."""
CAPPING_WINDOWS = 2_000
"""Windows that show how far the layers reach."""
PIECE = 64
"""Windows that go through a network at once where nothing is learnt."""


@dataclass(frozen=True)
class TrainSpec:
    """How long and how fast to learn."""

    epochs_of_last: int = 5
    """Epochs of the last layers alone, or of the whole network where nothing starts from YAMNet."""
    epochs: int = 4
    """Epochs of all layers, capped and rounded."""
    batch: int = 64
    rate_of_last: float = 1e-3
    rate: float = 5e-4
    smoothing: float = 0.02
    """Targets are drawn this far towards one half."""
    still: tuple[str, ...] = ("stem", *(f"layer{number}_" for number in range(2, 8)))
    """Layers that are held still to the end where they are YAMNet's: what they hear is the same for every
    sound."""
    teaching: float = 30.0
    """Weight of the loss that holds the network to the classes that YAMNet names (learning without
    forgetting, arXiv 1606.09282), so that it does not lose what no recording here teaches."""
    likeness: float = 5.0
    """Weight of the loss that has it know the means of YAMNet's last channels (arXiv 1412.6550)."""
    threads: int = 2
    seed: int = 1


@dataclass(frozen=True)
class Stage:
    """A part of the training."""

    epochs: int
    rate: float
    """Highest learning rate; it falls as a cosine."""
    still: tuple[str, ...] = ()
    """Layers that are held still, by the beginnings of their names."""


@dataclass(frozen=True)
class Lesson:
    """What is shown, and what is to be answered."""

    shown: npt.NDArray[np.float16]
    """Windows, or maps of a layer; what is shown first comes first."""
    wanted: npt.NDArray[np.float32]
    """As :func:`masked_loss` takes it, one row for each of ``shown``."""

    def inputs(self, chosen: "npt.NDArray[np.intp] | slice" = slice(None)) -> npt.NDArray[np.float32]:
        """A copy of what is shown as a network takes it, the windows with one channel."""
        some = self.shown[chosen].astype(np.float32)
        return some[..., None] if some.ndim == 3 else some


Data = tuple[Lesson, Lesson]
"""To learn from, and to validate with."""


def train(
    windows: Windows,
    validation: Windows,
    *,
    net: NetSpec,
    features: FeatureSpec,
    spec: TrainSpec,
    start: Start | None,
    tell: Tell,
) -> tuple[Any, History]:
    """A trained Keras model from windows to logits and, for each epoch, its losses.

    Raises:
        BadInputError: ``net`` does not fit ``start``.
    """
    set_up(spec)
    labels, shown = windows.targets.shape[1], windows.frames[:CAPPING_WINDOWS].astype(np.float32)[..., None]
    first = Stage(spec.epochs_of_last, spec.rate_of_last)
    model = build(net, features, labels, capped=False)
    if start is None:
        data, still = (lesson(windows), lesson(validation)), NOTHING
        learner = with_answers(model, data[0])
        history = fit(learner, data, spec, first, tell)
    else:
        start_from_yamnet(model, net, features, start, shown[:UNFOLDING_WINDOWS])
        tell("  what YAMNet hears")
        last, still = of_yamnet(net)[-1], spec.still
        data, maps = taught(windows, validation, yamnet(start, features, last))
        learner = with_answers(model, data[0])
        history = fit(beyond(last, learner), maps, spec, first, tell)
    model = capped(model, net, features, shown)
    rounding = build(net, features, labels, rounded=True)
    rounding.set_weights(model.get_weights())
    rounder = with_answers(rounding, data[0])
    if start is not None:
        rounder.get_layer("answers").set_weights(learner.get_layer("answers").get_weights())
    history += fit(rounder, data, spec, Stage(spec.epochs, spec.rate, still), tell)
    model.set_weights(rounding.get_weights())
    return model, history


def lesson(windows: Windows, means: npt.NDArray[np.float32] | None = None) -> Lesson:
    """What ``windows`` teach: targets, weights, what YAMNet names, and ``means`` of its last channels."""
    wanted = [windows.targets, windows.weights, windows.taught.astype(np.float32)]
    return Lesson(windows.frames, np.concatenate([*wanted, *([] if means is None else [means])], axis=1))


def taught(windows: Windows, validation: Windows, teacher: Any) -> tuple[Data, Data]:
    """Lessons with the windows, and with the maps of ``teacher`` in their place.

    Both want the means of its last channels besides, each in units of its own spread.
    """
    (maps, means), (other_maps, other_means) = (heard(teacher, lesson(one)) for one in (windows, validation))
    spread = np.maximum(means.std(axis=0, dtype=np.float64), LEAST_SPREAD)
    data = (
        lesson(windows, (means / spread).astype(np.float32)),
        lesson(validation, (other_means / spread).astype(np.float32)),
    )
    return data, (Lesson(maps, data[0].wanted), Lesson(other_maps, data[1].wanted))


def heard(teacher: Any, shown: Lesson) -> list[npt.NDArray[np.float16]]:
    """What ``teacher`` answers to everything that is ``shown``, in half precision to save memory."""
    out = [np.empty((len(shown.shown), *shape[1:]), dtype=np.float16) for shape in teacher.output_shape]
    for at in range(0, len(shown.shown), PIECE):
        for kept, answers in zip(
            out, teacher(shown.inputs(slice(at, at + PIECE)), training=False), strict=True
        ):
            kept[at : at + PIECE] = np.minimum(answers, np.finfo(np.float16).max)
    return out


def beyond(name: str, model: Any) -> Any:
    """``model`` from the map after the convolution ``name`` on; layers are shared."""
    import keras  # noqa: PLC0415

    return keras.Model(model.get_layer(f"{name}_relu").output, model.outputs[0])


def with_answers(model: Any, data: Lesson) -> Any:
    """``model`` with what it would answer to YAMNet's part of a lesson behind its own logits."""
    import keras  # noqa: PLC0415

    labels = model.output_shape[-1]
    columns = data.wanted.shape[1] - 2 * labels
    if not columns:
        return model
    flat = keras.layers.Flatten()(model.get_layer("mean").output)
    answers = keras.layers.Dense(columns, name="answers")(flat)
    return keras.Model(model.inputs[0], keras.layers.Concatenate()([model.outputs[0], answers]))


def fit(learner: Any, data: Data, spec: TrainSpec, stage: Stage, tell: Tell) -> History:
    """Let ``learner`` learn for one stage; losses of every epoch."""
    import keras  # noqa: PLC0415

    hold_still(learner, stage.still)
    shown, validation = data
    columns = validation.wanted.shape[1]
    # A lesson has a weight for each label as well, and a learner has not.
    steps, labels = len(shown.shown) // spec.batch, columns - learner.output_shape[-1]
    schedule = keras.optimizers.schedules.CosineDecay(stage.rate, max(1, stage.epochs * steps), alpha=0.02)
    learner.compile(keras.optimizers.Adam(schedule), masked_loss(labels, spec))
    fitted = learner.fit(
        batches(shown, spec, np.random.default_rng(spec.seed)),
        steps_per_epoch=steps,
        epochs=stage.epochs,
        validation_data=batches(validation, spec, None),
        validation_steps=max(1, len(validation.shown) // spec.batch),
        verbose=0,
        shuffle=False,
        callbacks=[
            keras.callbacks.LambdaCallback(on_epoch_end=lambda number, logs: tell(_line(number, logs)))
        ],
    )
    return [
        dict(zip(fitted.history, map(float, row), strict=True))
        for row in zip(*fitted.history.values(), strict=True)
    ]


def set_up(spec: TrainSpec) -> None:
    """Seed every generator and bound the threads; the latter only before TensorFlow has started."""
    # Its start-up notices would stand between the lines that tell how far the training is.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import keras  # noqa: PLC0415
    import tensorflow as tf  # noqa: PLC0415

    keras.utils.set_random_seed(spec.seed)
    try:
        tf.config.threading.set_intra_op_parallelism_threads(spec.threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:  # TensorFlow has started already, with the threads it then had
        return


def hold_still(model: Any, names: tuple[str, ...]) -> None:
    """Let every layer learn, but those whose names start with one of ``names``."""
    for layer in model.layers:
        layer.trainable = not layer.name.startswith(names) if names else True


def masked_loss(labels: int, spec: TrainSpec) -> Callable[[Any, Any], Any]:
    """Binary cross-entropy over logits, and the losses that hold to YAMNet; see :class:`TrainSpec`.

    The columns of ``y`` are targets, weights, YAMNet's scores and the means of its last channels, those of
    the answers logits and what stands for YAMNet's; what YAMNet hears may be missing.
    """
    import keras  # noqa: PLC0415

    ops = keras.ops

    def cross_entropy(targets: Any, logits: Any) -> Any:
        return ops.maximum(logits, 0.0) - logits * targets + ops.log1p(ops.exp(-ops.abs(logits)))

    def loss(y: Any, answers: Any) -> Any:
        targets, weights, of_yamnet = y[:, :labels], y[:, labels : 2 * labels], y[:, 2 * labels :]
        smooth = targets * (1.0 - spec.smoothing) + 0.5 * spec.smoothing
        logits, rest = answers[:, :labels], answers[:, labels:]
        own = ops.sum(cross_entropy(smooth, logits) * weights, axis=-1) / labels
        if not of_yamnet.shape[-1]:
            return own
        named = ops.mean(cross_entropy(of_yamnet[:, :CLASSES], rest[:, :CLASSES]), axis=-1)
        alike = ops.mean(ops.square(of_yamnet[:, CLASSES:] - rest[:, CLASSES:]), axis=-1)
        return own + spec.teaching * named + spec.likeness * alike

    return loss


def batches(shown: Lesson, spec: TrainSpec, rng: np.random.Generator | None) -> Iterator[Batch]:
    """Endless batches in an order that is new in each epoch, some windows with stripes blotted out.

    Without ``rng`` in their own order, and as they are.
    """
    while True:
        order = np.arange(len(shown.shown)) if rng is None else rng.permutation(len(shown.shown))
        for start in range(0, max(1, len(order) - spec.batch + 1), spec.batch):
            chosen = order[start : start + spec.batch]
            inputs = shown.inputs(chosen)
            if rng is not None and inputs.shape[-1] == 1:
                for window in inputs:
                    blot(window, rng)
            yield inputs, shown.wanted[chosen]


def blot(window: npt.NDArray[np.float32], rng: np.random.Generator) -> None:
    """In half of the cases hide a stripe of bands or of frames, in place (SpecAugment, arXiv 1904.08779)."""
    if rng.random() < 0.5:
        return
    bands, frames = int(rng.integers(1, 9)), int(rng.integers(1, 16))
    band, frame = (
        int(rng.integers(0, window.shape[1] - bands)),
        int(rng.integers(0, window.shape[0] - frames)),
    )
    quiet = float(window.min())
    if rng.random() < 0.5:
        window[:, band : band + bands] = quiet
    else:
        window[frame : frame + frames] = quiet


def save_run(model: Any, history: list[dict[str, float]], spec: TrainSpec, folder: Path) -> None:
    """Write weights, what was set and what came of it to ``folder``."""
    temporary = folder / "part.weights.h5"
    model.save_weights(temporary)
    text = json.dumps(
        {"settings": asdict(spec), "parameters": int(model.count_params()), "epochs": history}, indent=1
    )
    (folder / "training.json").write_text(text + "\n", encoding="utf-8")
    temporary.replace(folder / "float.weights.h5")


def _line(number: int, logs: dict[str, float] | None) -> str:
    losses = ", ".join(f"{name} {value:.4f}" for name, value in (logs or {}).items())
    return f"  epoch {number + 1}: {losses}"
