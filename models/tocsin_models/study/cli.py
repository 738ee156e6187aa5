"""``tocsin models prepare | train | quantize | compare``: the study from recordings to its table."""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tocsin_shared.errors import BadInputError
from tocsin_shared.settings import load

if TYPE_CHECKING:
    from tocsin_models.study.training import Run

COMMANDS = {
    "prepare": "data sets → feature shards, split by group and balanced; goes on where it was stopped",
    "train": "feature shards → a trained ResNet-50 with curves and figures; goes on where it was stopped",
    "quantize": "a trained network → six tflite files, each through the gate",
    "compare": "six files × runtimes × threads → the study's table, beside the study's own",
}


def add_command(parser: argparse.ArgumentParser, name: str) -> None:
    """Give ``parser`` the options of the command ``name``, one of :data:`COMMANDS`."""
    # A bundle that is compared has no settings, no prepared data and no run.
    needed = name != "compare"
    parser.add_argument(
        "--config", type=Path, required=needed, help="settings, such as models/configs/resnet50.toml"
    )
    if name == "prepare":
        _add_prepare(parser)
    else:
        parser.add_argument("--data", type=Path, required=needed, help="folder that `prepare --out` made")
        parser.add_argument("--run", type=Path, required=needed, help="folder of the run")
    if name == "compare":
        _add_compare(parser)
    parser.set_defaults(
        run_command={"prepare": _prepare, "train": _train, "quantize": _quantize, "compare": _compare}[name]
    )


def _add_prepare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data", type=Path, required=True, action="append", help="folder of a data set; may be given again"
    )
    parser.add_argument(
        "--layout", default="auto", choices=("auto", "folders", "csv", "esc50", "urbansound8k", "aihub")
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for shards, figure and report")
    parser.add_argument("--classes", type=Path, help="file with the labels that are right, one a line")
    parser.add_argument(
        "--scheduler",
        default="",
        metavar="tcp://HOST:PORT",
        help="Dask scheduler of a cluster that sees the same disks (default: this machine)",
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=os.cpu_count() or 1,
        help="processes on this machine (default: all cores)",
    )


def _add_compare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, help="folder for tables and figures")
    parser.add_argument(
        "--runtime-python",
        type=Path,
        action="append",
        default=[],
        metavar="PYTHON",
        help="Python that has another runtime, such as tflite-runtime with numpy<2; may be given again",
    )
    parser.add_argument("--threads", type=int, action="append", help="threads to measure (default: 1 and 2)")
    parser.add_argument("--bundle", type=Path, help="compare the variants of this bundle instead of a run")
    parser.add_argument(
        "--windows", type=Path, help="with --bundle: windows-test.npz of the run that made the bundle"
    )
    parser.add_argument(
        "--peer",
        type=Path,
        action="append",
        default=[],
        metavar="TFLITE",
        help="with --bundle: a TFLite file of YAMNet to time as well; may be given again",
    )
    parser.add_argument(
        "--no-ablation", action="store_true", help="leave out the files that are broken on purpose"
    )


def _prepare(arguments: argparse.Namespace) -> int:
    from tocsin_models.corpus import Split  # noqa: PLC0415  # keeps --help instant
    from tocsin_models.study import plots  # noqa: PLC0415
    from tocsin_models.study.prepare import Task, prepare  # noqa: PLC0415
    from tocsin_models.study.settings import StudySettings  # noqa: PLC0415
    from tocsin_models.study.sources import Layout  # noqa: PLC0415

    settings = load(arguments.config, StudySettings)
    task = Task(
        tuple(arguments.data),
        Layout(arguments.layout),
        settings,
        arguments.out,
        _labels(arguments.classes),
        arguments.scheduler,
        max(1, arguments.workers),
    )
    result = prepare(task, _tell)
    after = {label: counts.get(Split.TRAIN, 0) for label, counts in result.recordings.items()}
    plots.distribution(result.before, after, arguments.out / "distribution.png")
    for problem in result.problems[:50]:
        print(f"{problem.kind}: {problem}")
    if len(result.problems) > 50:
        print(f"and {len(result.problems) - 50} more, in {arguments.out / 'problems.txt'}")
    windows = sum(sum(counts.values()) for counts in result.windows.values())
    print(f"{len(result.classes)} classes, {windows} windows: {arguments.out}")
    for reason in result.misleading:
        print(f"tocsin models prepare: figures made from this would mislead: {reason}", file=sys.stderr)
    return 1 if result.misleading else 0


def _run(arguments: argparse.Namespace) -> "Run":
    from tocsin_models.study.settings import StudySettings  # noqa: PLC0415
    from tocsin_models.study.training import Run  # noqa: PLC0415

    return Run(arguments.data, arguments.run, load(arguments.config, StudySettings))


def _train(arguments: argparse.Namespace) -> int:
    from tocsin_models.corpus import Split  # noqa: PLC0415
    from tocsin_models.study.prepare import read_prepared  # noqa: PLC0415
    from tocsin_models.study.reading import Store  # noqa: PLC0415
    from tocsin_models.study.report import keras_logits, report_text, reported, write_report  # noqa: PLC0415
    from tocsin_models.study.training import learn, trained  # noqa: PLC0415

    run = _run(arguments)
    prepared = read_prepared(run.prepared)
    history = learn(run, _tell)
    test = Store.open(run.prepared, prepared, Split.TEST)
    report = reported(keras_logits(trained(run), test), test)
    title = f"{run.settings.name}: test"
    write_report(report, history, run.folder, title)
    print(report_text(report, title))
    print(f"figures: {run.folder}")
    for reason in prepared.misleading:
        print(f"tocsin models train: these figures mislead: {reason}", file=sys.stderr)
    return 1 if prepared.misleading else 0


def _quantize(arguments: argparse.Namespace) -> int:
    from tocsin_models.study.quantizing import quantize  # noqa: PLC0415

    run = _run(arguments)
    verdicts = quantize(run, _tell)
    for name, one in verdicts.items():
        place = "variants" if one.passed else "rejected"
        print(f"{name}: {run.folder / place / name}.tflite" + "".join(f"; {why}" for why in one.failures))
    return 0 if all(one.passed for one in verdicts.values()) else 1


def _compare(arguments: argparse.Namespace) -> int:
    needed = ("windows",) if arguments.bundle else ("config", "data", "run")
    if lacking := [f"--{name}" for name in needed if getattr(arguments, name) is None]:
        whole = "--bundle" if arguments.bundle else "a run (or --bundle)"
        print(f"tocsin models compare: {whole} needs {', '.join(lacking)} as well", file=sys.stderr)
        return 2
    if arguments.bundle:
        return _compare_bundle(arguments)
    from tocsin_models.study.compare import compare  # noqa: PLC0415
    from tocsin_models.study.tables import Comparison  # noqa: PLC0415

    done = compare(
        Comparison(
            _run(arguments),
            arguments.out,
            tuple(arguments.runtime_python),
            tuple(arguments.threads or (1, 2)),
            not arguments.no_ablation,
        ),
        _tell,
    )
    print(done.text)
    return 0


def _compare_bundle(arguments: argparse.Namespace) -> int:
    from tocsin_models.study.bundles import BundleComparison, compare_bundle  # noqa: PLC0415

    order = BundleComparison(
        arguments.bundle,
        arguments.windows,
        arguments.out,
        tuple(arguments.runtime_python),
        tuple(arguments.peer),
        tuple(arguments.threads or (1, 2)),
    )
    print(compare_bundle(order, _tell))
    return 0


def _labels(path: Path | None) -> tuple[str, ...]:
    if path is None:
        return ()
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path}: the classes cannot be read: {error}") from error
    if not (found := tuple(line.strip() for line in text.splitlines() if line.strip())):
        raise BadInputError(f"{path}: names no class; one stands on each line")
    return found


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
