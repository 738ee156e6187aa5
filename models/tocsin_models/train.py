"""Training: windows in, weights out; the seed fixes what is drawn, threads may change last digits."""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tocsin_models.dataset import Windows
from tocsin_models.net import Folded, NetSpec, Start, build, capped, ease, start_from_yamnet, start_head
from tocsin_models.recipe import LABELS, YAMNET_CLASSES
from tocsin_shared.manifest import FeatureSpec

History = list[dict[str, float]]
Data = tuple[Windows, Windows]
"""To learn from, and to validate with."""
Tell = Callable[[str], None]
Batch = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]
UNFOLDING_WINDOWS = 256
"""Windows that show the statistics at each layer when weights of YAMNet are unfolded."""
CAPPING_WINDOWS = 2_000
"""Windows that show how far the last layers reach."""


@dataclass(frozen=True)
class TrainSpec:
    """How long and how fast to learn."""

    epochs_of_head: int = 1
    """Epochs with the first layers held still, while what follows them is still random."""
    epochs: int = 4
    """Epochs of the whole network."""
    batch: int = 64
    epochs_with_caps: int = 5
    """Epochs after the last layers have been cut off, in which they round as integers will; only for a
    network that starts from YAMNet."""
    rate_of_head: float = 1e-3
    rate: float = 3e-4
    rate_with_caps: float = 3e-4
    smoothing: float = 0.02
    """Targets are drawn this far towards one half."""
    still_at_first: tuple[str, ...] = ("stem", "layer")
    """Layers that are held still at first; only where they start from weights that know something."""
    still: tuple[str, ...] = ("stem", *(f"layer{number}_" for number in range(2, 8)))
    """Layers that are held still to the end, likewise: what they hear is the same for every sound."""
    teaching: float = 5.0
    """Weight of the loss that holds the network to what YAMNet hears (learning without forgetting,
    arXiv 1606.09282), so that it does not lose what no recording here teaches."""
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

    With ``start`` the model learns from both: from targets, and from what YAMNet hears in the windows,
    through a second last layer that is thrown away afterwards. Its last layers are capped at the end, and
    learn to live with that.

    Raises:
        BadInputError: ``net`` does not fit ``start``.
    """
    set_up(spec)
    data = (windows, validation)
    model = build(net, features, windows.targets.shape[1], capped=False)
    history: History = []
    if start is None:
        history += fit(model, data, spec, Stage(spec.epochs, spec.rate), tell)
        return capped(model, net, features, windows.inputs(slice(UNFOLDING_WINDOWS))), history
    start_from_yamnet(model, net, features, start, windows.inputs(slice(UNFOLDING_WINDOWS)))
    start_head(model, start.classes, [YAMNET_CLASSES.get(label, ()) for label in LABELS])
    learner = with_classes(model, start.classes)
    for stage in (
        Stage(spec.epochs_of_head, spec.rate_of_head, spec.still_at_first),
        Stage(spec.epochs, spec.rate, spec.still),
    ):
        history += fit(learner, data, spec, stage, tell)
    model = with_caps(model, net, features, windows)
    rounding = build(net, features, windows.targets.shape[1], rounded=True)
    rounding.set_weights(model.get_weights())
    learner = with_classes(rounding, heard_by(model, windows))
    stage = Stage(spec.epochs_with_caps, spec.rate_with_caps, spec.still)
    history += fit(learner, data, spec, stage, tell)
    model.set_weights(rounding.get_weights())
    return model, history


def with_caps(model: Any, net: NetSpec, features: FeatureSpec, windows: Windows) -> Any:
    """``model`` with its last layers cut off, see :func:`tocsin_models.net.capped`."""
    shown = windows.inputs(slice(UNFOLDING_WINDOWS, UNFOLDING_WINDOWS + CAPPING_WINDOWS))
    tamed = capped(model, net, features, shown)
    ease(tamed, net)
    return tamed


def heard_by(model: Any, windows: Windows, count: int = 4_000) -> Folded:
    """YAMNet's last layer for the means of ``model``: ridge regression on what YAMNet said of ``windows``."""
    import keras  # noqa: PLC0415

    tap = keras.Model(model.inputs[0], model.get_layer("mean").output)
    means = tap.predict(windows.inputs(slice(count)), batch_size=64, verbose=0)
    known = np.concatenate([means.reshape(len(means), -1), np.ones((len(means), 1))], axis=1).astype(float)
    scores = np.clip(windows.taught[:count].astype(float), 1e-4, 1.0 - 1e-4)
    square = known.T @ known + np.eye(known.shape[1])
    found = np.linalg.solve(square, known.T @ np.log(scores / (1.0 - scores))).astype(np.float32)
    return Folded(found[:-1], found[-1])


def fit(learner: Any, data: Data, spec: TrainSpec, stage: Stage, tell: Tell) -> History:
    """Let ``learner`` learn for one stage; losses of every epoch."""
    import keras  # noqa: PLC0415

    hold_still(learner, stage.still)
    windows, validation = data
    steps, labels = len(windows) // spec.batch, windows.targets.shape[1]
    schedule = keras.optimizers.schedules.CosineDecay(stage.rate, max(1, stage.epochs * steps), alpha=0.02)
    learner.compile(keras.optimizers.Adam(schedule), masked_loss(labels, spec.smoothing, spec.teaching))
    fitted = learner.fit(
        batches(windows, spec, np.random.default_rng(spec.seed)),
        steps_per_epoch=steps,
        epochs=stage.epochs,
        validation_data=(validation.inputs(), side_by_side(validation)),
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


def with_classes(model: Any, classes_of: Folded) -> Any:
    """``model`` with YAMNet's logits behind its own: output (batch, labels + 521)."""
    import keras  # noqa: PLC0415

    layer = keras.layers.Dense(len(classes_of.bias), name="classes")
    classes = layer(keras.layers.Flatten()(model.get_layer("mean").output))
    layer.set_weights([classes_of.kernel, classes_of.bias])
    return keras.Model(model.inputs[0], keras.layers.Concatenate()([model.outputs[0], classes]))


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


def masked_loss(labels: int, smoothing: float, teaching: float) -> Callable[[Any, Any], Any]:
    """Binary cross-entropy over logits, for ``y`` of :func:`side_by_side`; see :class:`TrainSpec`."""
    import keras  # noqa: PLC0415

    ops = keras.ops

    def cross_entropy(targets: Any, logits: Any) -> Any:
        return ops.maximum(logits, 0.0) - logits * targets + ops.log1p(ops.exp(-ops.abs(logits)))

    def loss(y: Any, logits: Any) -> Any:
        targets, weights, taught = y[:, :labels], y[:, labels : 2 * labels], y[:, 2 * labels :]
        smooth = targets * (1.0 - smoothing) + 0.5 * smoothing
        own = ops.sum(cross_entropy(smooth, logits[:, :labels]) * weights, axis=-1) / labels
        if not taught.shape[-1]:
            return own
        return own + teaching * ops.mean(cross_entropy(taught, logits[:, labels:]), axis=-1)

    return loss


def side_by_side(windows: Windows) -> npt.NDArray[np.float32]:
    """Targets, weights and what YAMNet hears, as :func:`masked_loss` takes them."""
    return np.concatenate([windows.targets, windows.weights, windows.taught.astype(np.float32)], axis=1)


def batches(windows: Windows, spec: TrainSpec, rng: np.random.Generator) -> Iterator[Batch]:
    """Endless batches in an order that is new in each epoch, some with stripes blotted out."""
    both = side_by_side(windows)
    while True:
        order = rng.permutation(len(windows))
        for start in range(0, len(order) - spec.batch + 1, spec.batch):
            chosen = order[start : start + spec.batch]
            frames = windows.inputs(chosen)
            for window in frames:
                blot(window, rng)
            yield frames, both[chosen]


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
