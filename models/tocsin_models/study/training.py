"""ResNet-50 learns from shards: any backend of Keras 3, a checkpoint after every epoch, and on it goes.

The run folder holds ``checkpoint.keras`` and ``training.json``; both are replaced whole, the latter last.
A run that was stopped goes on after its last whole epoch with the order of windows that it would have had.
"""

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tocsin_models.corpus import Split
from tocsin_models.files import write_whole
from tocsin_models.study.balance import class_weights
from tocsin_models.study.prepare import Prepared, read_prepared
from tocsin_models.study.reading import Floats, Places, Store, at_other_levels, augmented, epoch_plan
from tocsin_models.study.resnet import resnet
from tocsin_models.study.settings import StudySettings, TrainingSettings
from tocsin_shared.errors import BadInputError, UnavailableError

CHECKPOINT, STATE, BEST = "checkpoint.keras", "training.json", "best.weights.h5"
Tell = Callable[[str], None]
History = list[dict[str, float]]


@dataclass(frozen=True)
class Run:
    """Where a network learns, and from what."""

    prepared: Path
    folder: Path
    settings: StudySettings


@dataclass
class Progress:
    """How far a run is."""

    model: Any
    history: History


def learn(run: Run, tell: Tell) -> History:
    """Train up to the last epoch of the settings, from where the run folder stands; losses of every epoch.

    Raises:
        BadInputError: the data are not prepared, or the run folder is that of other settings.
        UnavailableError: the disk is full; what was learnt up to the last whole epoch stays.
    """
    prepared = read_prepared(run.prepared)
    _open(run, prepared)
    start_backend(run.settings.training)
    train, validation = (
        Store.open(run.prepared, prepared, split) for split in (Split.TRAIN, Split.VALIDATION)
    )
    steps = len(train) // run.settings.training.batch
    if steps == 0:
        raise BadInputError(f"{run.prepared}: {len(train)} training windows do not fill one batch")
    progress = _resumed(run, prepared, steps, tell)
    weights = _weights(prepared, run.settings.training)
    for epoch in range(len(progress.history), run.settings.training.epochs):
        figures = _epoch(progress.model, train, run.settings, weights, epoch)
        loss, accuracy = validated(progress.model, validation)
        progress.history.append({**figures, "validation_loss": loss, "validation_accuracy": accuracy})
        _save(run, progress)
        tell(_line(progress.history, run.settings.training.epochs))
    return progress.history


def start_backend(settings: TrainingSettings) -> None:
    """Seed every generator; bound the threads of TensorFlow, if that is the backend and it has not begun."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import keras  # noqa: PLC0415

    keras.utils.set_random_seed(settings.seed)
    if keras.backend.backend() == "tensorflow" and settings.threads:
        import tensorflow as tf  # noqa: PLC0415

        try:
            tf.config.threading.set_intra_op_parallelism_threads(settings.threads)
            tf.config.threading.set_inter_op_parallelism_threads(1)
        except RuntimeError:  # it has begun, with the threads it then had
            return


def _open(run: Run, prepared: Prepared) -> None:
    path = run.folder / "settings.json"
    wanted = json.dumps(
        {**asdict(run.settings), "classes": prepared.classes, "shards": prepared.shards}, indent=1
    ).encode()
    run.folder.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.read_bytes() != wanted:
        raise BadInputError(
            f"{run.folder}: holds a run with other settings or data; name another --run, or delete it"
        )
    write_whole(path, wanted)


def _weights(prepared: Prepared, settings: TrainingSettings) -> Floats:
    counts = [prepared.windows[label].get(Split.TRAIN, 0) for label in prepared.classes]
    return np.array(class_weights(counts, settings.largest_weight), dtype=np.float32)


def compiled(run: Run, classes: int, steps: int) -> Any:
    """A new network, ready to learn: Adam, a rate that rises and then falls as a cosine."""
    import keras  # noqa: PLC0415

    settings = run.settings.training
    model = resnet(run.settings.network, run.settings.features.spec, classes)
    rise = min(round(settings.warm_up_epochs * steps), settings.epochs * steps - 1)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0 if rise else settings.rate,
        max(1, settings.epochs * steps - rise),
        alpha=0.01,
        warmup_target=settings.rate if rise else None,
        warmup_steps=rise,
    )
    model.compile(
        keras.optimizers.Adam(schedule, clipnorm=5.0),
        keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=settings.smoothing),
        metrics=["accuracy"],
    )
    return model


def _resumed(run: Run, prepared: Prepared, steps: int, tell: Tell) -> Progress:
    import keras  # noqa: PLC0415

    state, checkpoint = run.folder / STATE, run.folder / CHECKPOINT
    if not state.exists():
        return Progress(compiled(run, len(prepared.classes), steps), [])
    try:
        history: History = json.loads(state.read_text(encoding="utf-8"))["epochs"]
        model = keras.saving.load_model(checkpoint)
    except (OSError, ValueError, KeyError) as error:
        raise BadInputError(
            f"{run.folder}: its checkpoint cannot be read ({error}); delete the folder"
        ) from error
    tell(f"goes on after epoch {len(history)}")
    return Progress(model, history)


def _epoch(model: Any, train: Store, study: StudySettings, weights: Floats, epoch: int) -> dict[str, float]:
    settings = study.training
    rng = np.random.default_rng([settings.seed, epoch])
    plan = epoch_plan([shard.shape[0] for shard in train.shards], settings.buffer_shards, settings.batch, rng)
    fitted = model.fit(
        batches(train, plan, weights, study, rng),
        steps_per_epoch=len(plan),
        epochs=1,
        verbose=0,
        shuffle=False,
    )
    return {name: float(values[-1]) for name, values in fitted.history.items()}


def batches(
    train: Store, plan: list[Places], weights: Floats, study: StudySettings, rng: np.random.Generator
) -> Any:
    """(windows, targets, weights) of every batch of ``plan``, as Keras takes them from a generator."""
    settings, spec = study.training, study.features.spec
    labels, eye = train.labels(), np.eye(len(train.classes), dtype=np.float32)
    for places in plan:
        targets = eye[[labels[shard][row] for shard, row in places]]
        frames = at_other_levels(train.read(places), settings.level_db, spec, rng)
        frames, targets = augmented(frames, targets, settings.mixup, rng)
        yield frames, targets, targets @ weights


def validated(model: Any, store: Store, batch: int = 64) -> tuple[float, float]:
    """Mean cross-entropy and accuracy of ``model`` over all windows of ``store``, without weights."""
    loss = right = 0.0
    for frames, labels in store.in_order(batch):
        logits = np.asarray(model.predict_on_batch(frames), dtype=np.float64)
        logits -= logits.max(axis=1, keepdims=True)
        logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        loss -= float(logs[np.arange(len(labels)), labels].sum())
        right += float((logits.argmax(axis=1) == labels).sum())
    return loss / max(1, len(store)), right / max(1, len(store))


def _save(run: Run, progress: Progress) -> None:
    """Checkpoint, then best weights, then the line that says that both are there."""
    try:
        temporary = run.folder / "part.keras"
        progress.model.save(temporary)
        temporary.replace(run.folder / CHECKPOINT)
        losses = [one["validation_loss"] for one in progress.history]
        if losses[-1] == min(losses):
            best = run.folder / "part.weights.h5"
            progress.model.save_weights(best)
            best.replace(run.folder / BEST)
    except OSError as error:
        raise UnavailableError(
            f"{run.folder}: no room for a checkpoint: {error}; make room and run again"
        ) from error
    write_whole(run.folder / STATE, json.dumps({"epochs": progress.history}, indent=1).encode())


def _line(history: History, epochs: int) -> str:
    values = ", ".join(f"{name} {value:.4f}" for name, value in history[-1].items())
    return f"epoch {len(history)} of {epochs}: {values}"


def trained(run: Run, batch: int | None = None) -> Any:
    """The network with the weights of its best epoch; ``batch`` fixes the first dimension for a converter.

    Raises:
        BadInputError: the run has learnt nothing yet, or its weights are of another network.
    """
    prepared = read_prepared(run.prepared)
    model = resnet(run.settings.network, run.settings.features.spec, len(prepared.classes), batch)
    try:
        model.load_weights(run.folder / BEST)
    except (OSError, ValueError) as error:
        raise BadInputError(f"{run.folder}: no weights of this network; train first ({error})") from error
    return model
