"""The study's table beside ours: every file on every runtime, in one run on one machine.

Each file is timed in a process of its own, in rounds that go through all files again and again, so that a
busy moment of the machine meets all of them. Only ratios within one run mean anything elsewhere.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from tocsin_models.corpus import Split
from tocsin_models.figures import agreement
from tocsin_models.study.ablation import ablation
from tocsin_models.study.metrics import averages, by_class, confusion, intervals
from tocsin_models.study.prepare import read_prepared
from tocsin_models.study.quantizing import DIAGNOSTIC, EVERY, Heldout, Measured, file_of, held_out, measure
from tocsin_models.study.reading import Store
from tocsin_models.study.tables import Comparison, Done, Machine, Row, write_tables
from tocsin_models.study.training import Run, start_backend, trained
from tocsin_models.variants import VARIANTS
from tocsin_shared.errors import UnavailableError
from tocsin_shared.features import log_mel

ORIGINAL = "original (HDF5)"
ROUNDS, REPEATS = 3, 40
FEATURE_REPEATS = 200
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Target:
    """One line of the table: a file, a runtime and a number of threads."""

    name: str
    file: Path
    python: Path | None
    threads: int


@dataclass(frozen=True)
class Bench:
    """What all lines are measured with."""

    held: Heldout
    groups: tuple[str, ...]
    windows: Path
    few: Path
    """Every fourth window, for the file that is too slow for all."""


def compare(order: Comparison, tell: Tell) -> Done:
    """Measure everything and write tables and figures to ``order.out``.

    Raises:
        BadInputError: a file is missing; train and quantize first.
        UnavailableError: no file runs on any runtime, or the disk is full.
    """
    prepared = read_prepared(order.run.prepared)
    start_backend(order.run.settings.training)
    model = trained(order.run)
    held = held_out(order.run, model, (Split.TEST,))
    groups = tuple(group for _, group in Store.open(order.run.prepared, prepared, Split.TEST).recordings())
    with tempfile.TemporaryDirectory(prefix="tocsin-") as folder:
        bench = Bench(held, groups, Path(folder) / "windows.npy", Path(folder) / "few.npy")
        np.save(bench.windows, held.windows)
        np.save(bench.few, held.windows[::EVERY])
        original = Path(folder) / "original.h5"
        keep_original(order.run, model, original)
        rows = _rows(_targets(order, original), bench, prepared.classes, tell)
        broken = ablation(order.run, held, bench.windows, bench.few, tell) if order.with_ablation else ()
    machine = Machine.here(_features_ms(order.run))
    done = Done.of(
        settings=order.run.settings,
        prepared=prepared,
        rows=rows,
        broken=broken,
        machine=machine,
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
    )
    write_tables(done, order.out)
    return done


def keep_original(run: Run, model: object, path: Path) -> None:
    """The network as HDF5 with the state of its optimiser: what training leaves, and the study counts."""
    import keras  # noqa: PLC0415

    checkpoint = keras.saving.load_model(run.folder / "checkpoint.keras")
    checkpoint.set_weights(model.get_weights())  # type: ignore[attr-defined]
    checkpoint.save(path)


def _targets(order: Comparison, original: Path) -> list[Target]:
    targets = [Target(ORIGINAL, original, None, threads) for threads in order.threads]
    for python in (None, *order.pythons):
        for threads in order.threads:
            targets += [Target(name, file_of(order.run, name), python, threads) for name in VARIANTS]
    return targets


def _rows(targets: list[Target], bench: Bench, classes: tuple[str, ...], tell: Tell) -> list[Row]:
    found: dict[int, list[Measured]] = {number: [] for number in range(len(targets))}
    failed: dict[int, str] = {}
    for turn in range(ROUNDS):
        for number, target in enumerate(targets):
            if number in failed or (turn and target.name == DIAGNOSTIC):
                continue
            wanted = turn == 0 and target.threads == targets[0].threads
            slow = target.name == DIAGNOSTIC
            try:
                found[number].append(
                    measure(
                        target.file,
                        bench.few if slow else bench.windows,
                        python=target.python,
                        threads=target.threads,
                        repeats=REPEATS // (4 if slow else 1),
                        logits=wanted,
                    )
                )
            except UnavailableError as error:
                failed[number] = str(error).split(": ", 1)[1]
                tell(f"  {target.name}: {failed[number]}")
        tell(f"  round {turn + 1} of {ROUNDS}")
    if all(not one for one in found.values()):
        raise UnavailableError(f"no file runs: {next(iter(failed.values()))}")
    return [
        _row(target, found[number], failed.get(number, ""), bench, classes)
        for number, target in enumerate(targets)
    ]


def _row(target: Target, found: list[Measured], failure: str, bench: Bench, classes: tuple[str, ...]) -> Row:
    base = Row(
        target.name, target.file.stat().st_size, str(target.python or ""), target.threads, failure=failure
    )
    if not found:
        return base
    times = np.concatenate([one.times_ms for one in found])
    base = base.timed(
        runtime=found[0].runtime,
        median_ms=float(np.median(times)),
        p95_ms=float(np.quantile(times, 0.95)),
        load_ms=float(np.median([one.load_ms for one in found])),
        peak_mib=max(one.peak_mib for one in found),
    )
    if (logits := found[0].logits) is None:
        return base
    part = slice(None, None, EVERY if target.name == DIAGNOSTIC else 1)
    true, original, groups = bench.held.true[part], bench.held.logits[part], bench.groups[part]
    said = logits.argmax(axis=1)
    matrix, alike = confusion(said, true, len(classes)), agreement(logits, original)
    return base.judged(
        windows=len(true),
        macro_f1=averages(matrix).f1,
        interval=intervals(said, true, groups, len(classes))["f1"],
        f1=dict(zip(classes, map(float, by_class(matrix)[2]), strict=True)),
        agreement=alike.top_1,
        cosine=alike.cosine,
    )


def _features_ms(run: Run) -> tuple[float, float]:
    """Median and 95th percentile of the time that the features of one window take."""
    spec = run.settings.features.spec
    samples = np.random.default_rng(1).normal(0.0, 0.1, spec.window_samples).astype(np.float32)
    times = []
    for _ in range(FEATURE_REPEATS):
        start = time.perf_counter()
        log_mel(samples, spec)
        times.append((time.perf_counter() - start) * 1e3)
    return float(np.median(times)), float(np.quantile(times, 0.95))
