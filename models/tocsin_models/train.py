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
from tocsin_models.net import NetSpec, Start, build, start_from_yamnet, start_head
from tocsin_models.recipe import LABELS, YAMNET_CLASSES
from tocsin_shared.manifest import FeatureSpec

Batch = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]
UNFOLDING_WINDOWS = 256
"""Windows that show the statistics at each layer when weights of YAMNet are unfolded."""


@dataclass(frozen=True)
class TrainSpec:
    """How long and how fast to learn."""

    epochs_of_head: int = 1
    """Epochs with the first layers held still, while what follows them is still random."""
    epochs: int = 4
    """Epochs of the whole network."""
    batch: int = 64
    rate_of_head: float = 1e-3
    rate: float = 3e-4
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


def train(
    windows: Windows,
    validation: Windows,
    *,
    net: NetSpec,
    features: FeatureSpec,
    spec: TrainSpec,
    start: Start | None,
    tell: Callable[[str], None],
) -> tuple[Any, list[dict[str, float]]]:
    """A trained Keras model from windows to logits and, for each epoch, its losses.

    With ``start``, and where YAMNet was asked about the windows, the model learns from both: from targets,
    and from what YAMNet hears, through a second last layer that is thrown away afterwards.

    Raises:
        BadInputError: ``net`` does not fit ``start``.
    """
    set_up(spec)
    import keras  # noqa: PLC0415

    model = build(net, features, windows.targets.shape[1])
    learner = model
    if start is not None:
        start_from_yamnet(model, net, features, start, windows.inputs(slice(UNFOLDING_WINDOWS)))
        start_head(model, start.classes, [YAMNET_CLASSES.get(label, ()) for label in LABELS])
        learner = with_classes(model, start) if windows.taught.shape[1] else model
    history = []
    stages = ((spec.epochs_of_head, spec.rate_of_head, True), (spec.epochs, spec.rate, False))
    for epochs, rate, partly in stages if start is not None else stages[1:]:
        known = spec.still_at_first if partly else spec.still
        hold_still(model, known if start is not None else ())
        steps = len(windows) // spec.batch
        schedule = keras.optimizers.schedules.CosineDecay(rate, max(1, epochs * steps), alpha=0.02)
        labels = windows.targets.shape[1]
        learner.compile(keras.optimizers.Adam(schedule), masked_loss(labels, spec.smoothing, spec.teaching))
        fitted = learner.fit(
            batches(windows, spec, np.random.default_rng(spec.seed)),
            steps_per_epoch=steps,
            epochs=epochs,
            validation_data=(validation.inputs(), side_by_side(validation)),
            verbose=0,
            shuffle=False,
            callbacks=[
                keras.callbacks.LambdaCallback(on_epoch_end=lambda number, logs: tell(_line(number, logs)))
            ],
        )
        history += [
            dict(zip(fitted.history, map(float, row), strict=True))
            for row in zip(*fitted.history.values(), strict=True)
        ]
    return model, history


def with_classes(model: Any, start: Start) -> Any:
    """``model`` with YAMNet's logits behind its own: output (batch, labels + 521)."""
    import keras  # noqa: PLC0415

    layer = keras.layers.Dense(len(start.classes.bias), name="classes")
    classes = layer(keras.layers.Flatten()(model.get_layer("mean").output))
    layer.set_weights([start.classes.kernel, start.classes.bias])
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
