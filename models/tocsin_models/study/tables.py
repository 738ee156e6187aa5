"""The comparison as Markdown, CSV, JSON and figures."""

import csv
import io
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tocsin_models.corpus import Split
from tocsin_models.figures import table
from tocsin_models.files import write_whole
from tocsin_models.study import plots
from tocsin_models.study.ablation import Broken
from tocsin_models.study.metrics import Interval
from tocsin_models.study.prepare import Prepared
from tocsin_models.study.settings import StudySettings
from tocsin_models.study.training import Run

THE_STUDY = {
    "original (HDF5)": (285.34, 1.1509, 0.890),
    "float32": (94.75, 0.5975, 0.890),
    "int8": (24.59, 0.6287, 0.2831),
    "full-int8": (24.59, 0.6303, 0.0001),
    "float16": (47.42, 0.5851, 0.8902),
    "dynamic": (24.40, 0.6308, 0.8499),
}
"""Table 2 of the study: size in MB, inference time in seconds, F1."""
BASE = "float32"


@dataclass(frozen=True)
class Comparison:
    """What is to be compared."""

    run: Run
    out: Path
    pythons: tuple[Path, ...] = ()
    """Pythons with other runtimes than this one has."""
    threads: tuple[int, ...] = (1, 2)
    with_ablation: bool = True


@dataclass(frozen=True)
class Row:
    """One file on one runtime with so many threads; ``None`` where nothing was measured."""

    variant: str
    size_bytes: int
    python: str
    threads: int
    runtime: str = ""
    median_ms: float | None = None
    p95_ms: float | None = None
    load_ms: float | None = None
    peak_mib: float | None = None
    windows: int | None = None
    macro_f1: float | None = None
    interval: Interval | None = None
    f1: dict[str, float] | None = None
    agreement: float | None = None
    cosine: float | None = None
    failure: str = ""

    def timed(
        self, *, runtime: str, median_ms: float, p95_ms: float, load_ms: float, peak_mib: float
    ) -> "Row":
        """The row with times and memory."""
        return replace(
            self, runtime=runtime, median_ms=median_ms, p95_ms=p95_ms, load_ms=load_ms, peak_mib=peak_mib
        )

    def judged(
        self,
        *,
        windows: int,
        macro_f1: float,
        interval: Interval,
        f1: dict[str, float],
        agreement: float,
        cosine: float,
    ) -> "Row":
        """The row with what the file can do."""
        return replace(
            self,
            windows=windows,
            macro_f1=macro_f1,
            interval=interval,
            f1=f1,
            agreement=agreement,
            cosine=cosine,
        )


@dataclass(frozen=True)
class Machine:
    """Where it was measured."""

    processor: str
    cores: int
    system: str
    python: str
    features_median_ms: float
    features_p95_ms: float

    @classmethod
    def here(cls, features_ms: tuple[float, float]) -> "Machine":
        """This machine."""
        system = f"{platform.system()} {platform.machine()}"
        return cls(processor(), os.cpu_count() or 1, system, platform.python_version(), *features_ms)


@dataclass(frozen=True)
class Done:
    """A comparison that was made."""

    name: str
    date: str
    machine: Machine
    classes: tuple[str, ...]
    windows: dict[str, int]
    """Windows of each split."""
    input_shape: tuple[int, int]
    """Frames and mel bands."""
    rows: tuple[Row, ...]
    broken: tuple[Broken, ...]
    misleading: tuple[str, ...]

    @classmethod
    def of(
        cls,
        *,
        settings: StudySettings,
        prepared: Prepared,
        rows: Sequence[Row],
        broken: Sequence[Broken],
        machine: Machine,
        date: str,
    ) -> "Done":
        """The comparison of ``rows``."""
        spec = settings.features.spec
        counts = {split.value: sum(one.get(split, 0) for one in prepared.windows.values()) for split in Split}
        return cls(
            settings.name,
            date,
            machine,
            prepared.classes,
            counts,
            (spec.window_frames, spec.mel_bands),
            tuple(rows),
            tuple(broken),
            prepared.misleading,
        )

    @property
    def text(self) -> str:
        """All tables as Markdown."""
        return (
            "\n\n".join([_head(self), _beside(self), _everything(self), _classes(self), _broken(self)]) + "\n"
        )


def processor() -> str:
    """What this machine's processor is called."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith(("model name", "Model"))]
    return names[0] if names else platform.machine()


def _head(done: Done) -> str:
    machine, (frames, bands) = done.machine, done.input_shape
    runtimes = ", ".join(dict.fromkeys(row.runtime for row in done.rows if row.runtime))
    counts = ", ".join(f"{count} {split}" for split, count in done.windows.items())
    title = f"# {done.name}: size, time and macro-F1 of every file"
    words = (
        f"{len(done.classes)} classes; windows: {counts}; input {frames} × {bands} × 1. Measured {done.date} "
        f"on {machine.processor}, {machine.cores} cores, {machine.system}, Python {machine.python}, with "
        f"{runtimes}. Features of one window take {machine.features_median_ms:.2f} ms (95th percentile "
        f"{machine.features_p95_ms:.2f} ms). Times compare within this run only."
    )
    return "\n\n".join([title, words, *(f"**Misleading:** {reason}." for reason in done.misleading)])


def _first(done: Done) -> list[Row]:
    """The rows of the first runtime and the first number of threads, which also have figures."""
    return [row for row in done.rows if row.threads == done.rows[0].threads and not row.python]


def _beside(done: Done) -> str:
    ours = {row.variant: row for row in _first(done)}
    base, rows = ours[BASE], []
    for name, (megabytes, seconds, f1) in THE_STUDY.items():
        row = ours[name]
        rows.append(
            [
                name,
                f"{megabytes:.2f}",
                f"{row.size_bytes / 1e6:.2f}",
                f"{seconds:.4f}",
                _ratio(seconds, THE_STUDY[BASE][1]),
                _number(row.median_ms, "{:.2f}"),
                _ratio(row.median_ms, base.median_ms),
                f"{f1:.4f}",
                f"{_number(row.macro_f1, '{:.4f}')} ({row.interval or '–'})",
                _number(row.agreement, "{:.2%}"),
            ]
        )
    head = ["file", "study MB", "ours MB", "study s", "× plain", "ours ms", "× float32", "study F1",
            "ours macro-F1 (95 % interval)", "same label as the original"]  # fmt: skip
    return "## The study's Table 2 and ours\n\n" + table(head, rows)


def _everything(done: Done) -> str:
    base = {(row.python, row.threads): row.median_ms for row in done.rows if row.variant == BASE}
    rows = [
        [
            _named(row, done), row.runtime or "–", str(row.threads), f"{row.size_bytes / 1e6:.2f}",
            _number(row.macro_f1, "{:.4f}"), _number(row.cosine, "{:.4f}"), _number(row.median_ms, "{:.2f}"),
            _number(row.p95_ms, "{:.2f}"), _ratio(row.median_ms, base.get((row.python, row.threads))),
            _number(row.load_ms, "{:.0f}"), _number(row.peak_mib, "{:.0f}"), row.failure or "",
        ]
        for row in done.rows
    ]  # fmt: skip
    head = ["file", "runtime", "threads", "MB", "macro-F1", "cosine", "median ms", "p95 ms", "× float32",
            "load ms", "peak MiB", ""]  # fmt: skip
    return "## Every file, runtime and number of threads\n\n" + table(head, rows)


def _whole(row: Row, done: Done) -> bool:
    """Whether the figures of ``row`` are about all windows, and so compare with the others."""
    return row.windows == max(one.windows or 0 for one in done.rows)


def _named(row: Row, done: Done) -> str:
    few = row.windows is not None and not _whole(row, done)
    return f"{row.variant} (macro-F1 of {row.windows} windows only)" if few else row.variant


def _classes(done: Done) -> str:
    rows = [row for row in _first(done) if row.f1 and _whole(row, done)]
    lines = [[name, *(f"{(row.f1 or {})[name]:.3f}" for row in rows)] for name in done.classes]
    return "## F1 of each class\n\n" + table(["class", *(row.variant for row in rows)], lines)


def _broken(done: Done) -> str:
    if not done.broken:
        return "## Mistakes made on purpose\n\nNot measured."
    rows = [
        [one.mistake, one.variant, f"{one.verdict.macro_f1:.4f}",
         f"{one.verdict.macro_f1 + one.verdict.f1_drop_points / 100.0:.4f}", f"{one.verdict.agreement:.2%}",
         f"{one.verdict.cosine:.4f}", "passes" if one.verdict.passed else "refuses"]
        for one in done.broken
    ]  # fmt: skip
    head = [
        "mistake",
        "file",
        "macro-F1",
        "the original on these windows",
        "same label",
        "cosine",
        "the gate",
    ]
    return "## Mistakes made on purpose\n\n" + table(head, rows)


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else form.format(value)


def _ratio(value: float | None, base: float | None) -> str:
    return "–" if value is None or not base else f"{value / base:.2f}"


def write_tables(done: Done, out: Path) -> None:
    """``NAME.md``, ``.csv``, ``.json`` and two figures in ``out``.

    Raises:
        UnavailableError: the disk is full or read-only.
    """
    write_whole(out / f"{done.name}.md", done.text.encode())
    content = asdict(replace(done, rows=tuple(replace(row, python="") for row in done.rows)))
    write_whole(out / f"{done.name}.json", json.dumps(content, indent=1, ensure_ascii=False).encode() + b"\n")
    write_whole(out / f"{done.name}.csv", _csv(done).encode())
    shown = [row for row in done.rows if row.macro_f1 is not None and _whole(row, done)]
    sizes = [(row.variant, row.size_bytes / 1e6, row.macro_f1 or 0.0) for row in shown if not row.python]
    sizes += [(f"study: {name}", megabytes, f1) for name, (megabytes, _, f1) in THE_STUDY.items()]
    plots.scatter(sizes, "size, MB", "Size against F1", out / f"{done.name}-size.png")
    times = [
        (f"{row.variant}, {row.runtime}", row.median_ms or 0.0, row.macro_f1 or 0.0)
        for row in shown
        if row.median_ms
    ]
    title = f"Time of one window against F1, {done.rows[0].threads} thread(s)"
    plots.scatter(times, "median time of one window, ms", title, out / f"{done.name}-time.png")


def _csv(done: Done) -> str:
    buffer = io.StringIO()
    names = ["variant", "runtime", "threads", "size_bytes", "windows", "macro_f1", "low", "high", "agreement",
             "cosine", "median_ms", "p95_ms", "load_ms", "peak_mib", "failure"]  # fmt: skip
    writer = csv.DictWriter(buffer, [*names, *(f"f1_{name}" for name in done.classes)], lineterminator="\n")
    writer.writeheader()
    for row in done.rows:
        values = {name: value for name, value in asdict(row).items() if name in names}
        if row.interval:
            values |= {"low": row.interval.low, "high": row.interval.high}
        writer.writerow(values | {f"f1_{name}": value for name, value in (row.f1 or {}).items()})
    return buffer.getvalue()
