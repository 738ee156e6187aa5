"""The same comparison for a bundle that ships: every variant on every runtime, beside YAMNet, in one run.

A bundle hears several things at once, so macro-F1 is that of its labels at a score of one half, over windows
that ``tocsin models make`` drew from recordings and made sounds that it was not trained on.
"""

import csv
import io
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from tocsin_models.dataset import Windows, load_windows
from tocsin_models.figures import Scores, agreement, sigmoid, table, window_figures
from tocsin_models.files import write_whole
from tocsin_models.study import plots
from tocsin_models.study.metrics import Interval
from tocsin_models.study.quantizing import Measured, measure
from tocsin_models.study.tables import Machine, Row
from tocsin_models.teacher import PATCH_SAMPLES
from tocsin_shared.errors import BadInputError, UnavailableError
from tocsin_shared.features import WindowStream
from tocsin_shared.manifest import FeatureSpec, Manifest, read_manifest, read_variant

ROUNDS, REPEATS = 3, 150
HOP_SECONDS = 0.5
RESAMPLES = 200
BASE, SMALLEST = "float32", "full-int8"
Tell = Callable[[str], None]


@dataclass(frozen=True)
class BundleComparison:
    """What is to be compared."""

    bundle: Path
    windows: Path
    """File of windows that the bundle was not trained on, as ``tocsin models make`` leaves it in its run."""
    out: Path
    pythons: tuple[Path, ...] = ()
    """Pythons with other runtimes than this one has."""
    peers: tuple[Path, ...] = ()
    """TFLite files of YAMNet; shares of time are those of the first."""
    threads: tuple[int, ...] = (1, 2)


@dataclass(frozen=True)
class Target:
    """One line of the table."""

    name: str
    file: Path
    python: Path | None
    threads: int
    peer: bool = False


@dataclass(frozen=True)
class Done:
    """A comparison that was made."""

    name: str
    date: str
    machine: Machine
    labels: tuple[str, ...]
    windows: int
    rows: tuple[Row, ...]
    peers: tuple[str, ...]

    def share(self, row: Row) -> float | None:
        """Time of features and network for a hop, divided by the peer's for a window, on the same runtime."""
        same = [
            one
            for one in self.rows
            if one.variant in self.peers[:1] and (one.python, one.threads) == (row.python, row.threads)
        ]
        if not same or same[0].median_ms is None or row.median_ms is None or row.variant in self.peers:
            return None
        return (row.median_ms + self.machine.features_median_ms) / same[0].median_ms


def compare_bundle(order: BundleComparison, tell: Tell) -> str:
    """Measure everything, write tables and figures to ``order.out``, and give the Markdown.

    Raises:
        BundleError, BadInputError: the bundle or the windows cannot be used, or do not fit one another.
        UnavailableError: no file runs on any runtime, or the disk is full.
    """
    manifest, windows = read_manifest(order.bundle), load_windows(order.windows)
    _fit(manifest, windows, order)
    for variant in manifest.variants:
        read_variant(order.bundle, variant)
    with tempfile.TemporaryDirectory(prefix="tocsin-") as folder:
        sound, patches = Path(folder) / "windows.npy", Path(folder) / "patches.npy"
        np.save(sound, windows.inputs())
        np.save(patches, np.random.default_rng(1).normal(0.0, 0.1, (4, PATCH_SAMPLES)).astype(np.float32))
        found, failed, features = _measured(
            _targets(order, manifest), sound, patches, manifest.features, tell
        )
    rows = _rows(found, failed, manifest, windows)
    done = Done(
        name=manifest.name,
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
        machine=Machine.here((float(np.median(features)), float(np.quantile(features, 0.95)))),
        labels=manifest.label_names,
        windows=len(windows),
        rows=tuple(rows),
        peers=tuple(_peer_name(path) for path in order.peers),
    )
    text = _text(done, manifest)
    _write(done, text, order.out)
    return text


def _fit(manifest: Manifest, windows: Windows, order: BundleComparison) -> None:
    spec = manifest.features
    wanted = (spec.window_frames, spec.mel_bands, len(manifest.labels))
    if (*windows.frames.shape[1:], windows.targets.shape[1]) != wanted:
        raise BadInputError(
            f"{order.windows}: its windows are not those of {manifest.name} {manifest.release}"
        )


def _peer_name(path: Path) -> str:
    return f"peer: {path.stem}"


def _targets(order: BundleComparison, manifest: Manifest) -> list[Target]:
    targets = []
    for python in (None, *order.pythons):
        for threads in order.threads:
            targets += [
                Target(one.name, order.bundle / one.file, python, threads) for one in manifest.variants
            ]
            targets += [Target(_peer_name(path), path, python, threads, peer=True) for path in order.peers]
    return targets


def _measured(
    targets: Sequence[Target], sound: Path, patches: Path, spec: FeatureSpec, tell: Tell
) -> tuple[dict[Target, list[Measured]], dict[Target, str], list[float]]:
    """Every target again and again, so that a busy moment meets all; and milliseconds of the features."""
    found: dict[Target, list[Measured]] = {target: [] for target in targets}
    failed: dict[Target, str] = {}
    features: list[float] = []
    for turn in range(ROUNDS):
        for target in targets:
            if target in failed:
                continue
            wanted = turn == 0 and target.threads == targets[0].threads and not target.peer
            windows = patches if target.peer else sound
            try:
                measured = measure(
                    target.file, windows, python=target.python, threads=target.threads, repeats=REPEATS,
                    logits=wanted,
                )  # fmt: skip
                found[target].append(measured)
            except UnavailableError as error:
                failed[target] = str(error).split(": ", 1)[1]
                tell(f"  {target.name}: {failed[target]}")
        features += _features_ms(spec)
        tell(f"  round {turn + 1} of {ROUNDS}")
    if all(not one for one in found.values()):
        raise UnavailableError(f"no file runs: {next(iter(failed.values()))}")
    return found, failed, features


def _features_ms(spec: FeatureSpec) -> list[float]:
    """Milliseconds that the features of one hop take in a node."""
    hop = round(HOP_SECONDS * spec.sample_rate_hz)
    stream, times = WindowStream(spec, round(hop / spec.frame_hop)), []
    sound = np.random.default_rng(1).normal(0.0, 0.1, hop).astype(np.float32)
    for _ in range(REPEATS):
        start = time.perf_counter()
        stream.push(sound)
        times.append((time.perf_counter() - start) * 1e3)
    return times[10:]


def _rows(
    found: dict[Target, list[Measured]], failed: dict[Target, str], manifest: Manifest, windows: Windows
) -> list[Row]:
    original = next((one[0].logits for key, one in found.items() if key.name == BASE and one), None)
    rows = []
    for target, measured in found.items():
        row = Row(
            target.name,
            target.file.stat().st_size,
            str(target.python or ""),
            target.threads,
            failure=failed.get(target, ""),
        )
        if measured:
            times = np.concatenate([one.times_ms for one in measured])
            row = row.timed(
                runtime=measured[0].runtime,
                median_ms=float(np.median(times)),
                p95_ms=float(np.quantile(times, 0.95)),
                load_ms=float(np.median([one.load_ms for one in measured])),
                peak_mib=max(one.peak_mib for one in measured),
            )
            if (logits := measured[0].logits) is not None and original is not None:
                row = _judged(row, logits, original, manifest.label_names, windows)
        rows.append(row)
    return rows


def _judged(row: Row, logits: Scores, original: Scores, labels: Sequence[str], windows: Windows) -> Row:
    scores, alike, rng = sigmoid(logits), agreement(logits, original), np.random.default_rng(1)

    def macro_f1(chosen: "np.typing.NDArray[np.intp]") -> float:
        targets, weights = windows.targets[chosen], windows.weights[chosen]
        return window_figures(scores[chosen], targets, weights, labels).macro_f1

    drawn = [macro_f1(rng.integers(0, len(scores), len(scores))) for _ in range(RESAMPLES)]
    whole = window_figures(scores, windows.targets, windows.weights, labels)
    return row.judged(
        windows=len(scores),
        macro_f1=whole.macro_f1,
        interval=Interval(float(np.quantile(drawn, 0.025)), float(np.quantile(drawn, 0.975))),
        f1=whole.f1,
        agreement=alike.top_1,
        cosine=alike.cosine,
    )


def _text(done: Done, manifest: Manifest) -> str:
    machine = done.machine
    runtimes = ", ".join(dict.fromkeys(row.runtime for row in done.rows if row.runtime))
    head = (
        f"{len(done.labels)} labels, {done.windows} windows that were not trained on; input "
        f"{manifest.features.window_frames} × {manifest.features.mel_bands} × 1. Measured {done.date} on "
        f"{machine.processor}, {machine.cores} cores, {machine.system}, Python {machine.python}, with "
        f"{runtimes}. The features of one hop of {HOP_SECONDS:g} s take {machine.features_median_ms:.3f} ms "
        f"(95th percentile {machine.features_p95_ms:.3f} ms). Times compare within this run only."
    )
    judged = [row for row in done.rows if row.f1 and not row.python]
    classes = [[name, *(f"{(row.f1 or {})[name]:.3f}" for row in judged)] for name in done.labels]
    parts = [
        f"# {manifest.name} {manifest.release}: size, time and macro-F1 of every variant",
        head,
        table(HEAD, [_line(row, done) for row in done.rows]),
        PEER_TEXT,
        "## F1 of each label",
        table(["label", *(row.variant for row in judged)], classes),
    ]
    return "\n\n".join(parts) + "\n"


PEER_TEXT = """\
`× peer`: features of a hop and network, divided by the first peer's time for a window of 0.975 s, whose
features are inside the file; same runtime, same number of threads."""
HEAD = ("file", "runtime", "threads", "MB", "macro-F1 (95 % interval)", "same label as float32", "cosine",
        "median ms", "p95 ms", "× float32", "× peer", "load ms", "peak MiB", "")  # fmt: skip


def _line(row: Row, done: Done) -> list[str]:
    base = [
        one.median_ms
        for one in done.rows
        if one.variant == BASE and (one.python, one.threads) == (row.python, row.threads)
    ]
    ratio = row.median_ms / base[0] if row.median_ms and base and base[0] else None
    return [
        row.variant,
        row.runtime or "–",
        str(row.threads),
        f"{row.size_bytes / 1e6:.2f}",
        f"{_number(row.macro_f1, '.4f')} ({row.interval})" if row.interval else "–",
        _number(row.agreement, ".2%"),
        _number(row.cosine, ".4f"),
        _number(row.median_ms, ".3f"),
        _number(row.p95_ms, ".3f"),
        "–" if row.variant in done.peers else _number(ratio, ".2f"),
        _number(done.share(row), ".2f"),
        _number(row.load_ms, ".0f"),
        _number(row.peak_mib, ".0f"),
        row.failure,
    ]


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _write(done: Done, text: str, out: Path) -> None:
    write_whole(out / f"{done.name}.md", text.encode())
    content = asdict(replace(done, rows=tuple(replace(row, python="") for row in done.rows)))
    write_whole(out / f"{done.name}.json", json.dumps(content, indent=1, ensure_ascii=False).encode() + b"\n")
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerows([HEAD, *(_line(row, done) for row in done.rows)])
    write_whole(out / f"{done.name}.csv", buffer.getvalue().encode())
    shown = [row for row in done.rows if row.macro_f1 is not None]
    here = [row for row in shown if not row.python]
    sizes = [(row.variant, row.size_bytes / 1e6, row.macro_f1 or 0.0) for row in here]
    plots.scatter(sizes, "size, MB", "Size against F1", out / f"{done.name}-size.png")
    times = [(f"{row.variant}, {row.runtime}", row.median_ms or 0.0, row.macro_f1 or 0.0) for row in shown]
    title = f"Time of one window against F1, {done.rows[0].threads} thread(s)"
    plots.scatter(times, "median time of one window, ms", title, out / f"{done.name}-time.png")
