"""From a trained run to six files, each judged against the network before it may be used.

``variants/`` of the run folder holds the files that passed the gate, ``rejected/`` those that did not, and
``variants.json`` says what each keeps, of which network, and with which windows it was calibrated.
"""

import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tocsin_models.corpus import Split
from tocsin_models.files import write_whole
from tocsin_models.gate import Verdict
from tocsin_models.study.calibration import calibration
from tocsin_models.study.gate import judge
from tocsin_models.study.metrics import Numbers
from tocsin_models.study.prepare import read_prepared
from tocsin_models.study.reading import Floats, Store
from tocsin_models.study.report import keras_logits
from tocsin_models.study.training import BEST, Run, start_backend, trained
from tocsin_models.variants import VARIANTS, convert
from tocsin_shared.errors import BadInputError, UnavailableError

INVOKE = Path(__file__).with_name("invoke.py")
DIAGNOSTIC = "16x8"
"""Has reference kernels only, so every fourth window must do."""
EVERY = 4
LIMIT_SECONDS = 900
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Heldout:
    """Windows that the network has not learnt from, and what it says of them."""

    windows: Floats
    true: Numbers
    logits: Floats


@dataclass(frozen=True)
class Measured:
    """What :mod:`tocsin_models.study.invoke` found out about one file."""

    runtime: str
    numpy: str
    load_ms: float
    times_ms: list[float]
    peak_mib: float
    logits: Floats | None = None


def measure(
    model: Path,
    windows: Path,
    *,
    python: Path | None = None,
    threads: int = 1,
    repeats: int = 0,
    logits: bool = True,
    forget_scale: bool = False,
) -> Measured:
    """Run ``model`` over the windows in the file ``windows`` in a process of its own.

    Raises:
        UnavailableError: the interpreter has no runtime, or the runtime cannot load or run the model.
    """
    with tempfile.TemporaryDirectory(prefix="tocsin-") as folder:
        out = Path(folder) / "logits.npy"
        command = [
            str(python or sys.executable),
            str(INVOKE),
            str(model),
            str(windows),
            str(threads),
            str(repeats),
        ]
        command += ["--logits", str(out)] if logits else []
        command += ["--forget-scale"] if forget_scale else []
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LIMIT_SECONDS)
        except OSError as error:
            raise UnavailableError(f"{model} on {command[0]}: {error.strerror}") from error
        except subprocess.TimeoutExpired as error:
            raise UnavailableError(f"{model} on {command[0]}: not done in {LIMIT_SECONDS} s") from error
        if done.returncode != 0:
            raise UnavailableError(f"{model} on {command[0]}: {_last_line(done.stderr, model)}")
        found = json.loads(done.stdout.splitlines()[-1])
        return Measured(**found, logits=np.load(out) if logits else None)


def _last_line(text: str, model: Path) -> str:
    lines = [line.replace(str(model), model.name) for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it ended without a word"


def held_out(run: Run, model: Any, splits: Sequence[Split]) -> Heldout:
    """All windows of ``splits``, in memory, with the logits of ``model``."""
    prepared, windows, labels, logits = read_prepared(run.prepared), [], [], []
    for split in splits:
        store = Store.open(run.prepared, prepared, split)
        windows.append(store.read(store.places()))
        labels.append(np.concatenate(store.labels()))
        logits.append(keras_logits(model, store))
    return Heldout(np.concatenate(windows), np.concatenate(labels), np.concatenate(logits))


def quantize(run: Run, tell: Tell) -> dict[str, Verdict]:
    """Convert the network of ``run`` six times and judge each file on the windows of validation and test.

    Raises:
        BadInputError: nothing is trained yet.
        UnavailableError: TensorFlow is not the backend, or the disk is full.
    """
    prepared = read_prepared(run.prepared)
    start_backend(run.settings.training)
    need_tensorflow()
    model, settings = trained(run), run.settings.quantize
    chosen = calibration(Store.open(run.prepared, prepared, Split.TRAIN), settings.windows, settings.seed)
    held = held_out(run, model, (Split.VALIDATION, Split.TEST))
    fixed = trained(run, batch=1)
    verdicts, sizes = {}, {}
    with tempfile.TemporaryDirectory(prefix="tocsin-") as folder:
        windows = Path(folder) / "windows.npy"
        np.save(windows, held.windows)
        for variant in VARIANTS:
            content = convert(fixed, variant, chosen.windows)
            sizes[variant] = len(content)
            verdicts[variant] = _judged(run, variant, content, windows, held)
            one = verdicts[variant]
            tell(
                f"  {variant:10} {len(content):>11,} bytes, macro-F1 {one.macro_f1:.4f}, same label "
                f"{one.agreement:.2%}, cosine {one.cosine:.4f}: {'; '.join(one.failures) or 'passed'}"
            )
    summary = {
        "weights_sha256": hashlib.sha256((run.folder / BEST).read_bytes()).hexdigest(),
        "calibration": {"windows": len(chosen.windows), "seed": settings.seed, "sha256": chosen.sha256},
        "variants": {name: {"bytes": sizes[name], **asdict(one)} for name, one in verdicts.items()},
    }
    write_whole(run.folder / "variants.json", json.dumps(summary, indent=1).encode() + b"\n")
    return verdicts


def need_tensorflow() -> None:
    """Converting needs TensorFlow, whatever the network was trained with.

    Raises:
        UnavailableError: another backend is set.
    """
    import keras  # noqa: PLC0415

    if (backend := keras.backend.backend()) != "tensorflow":
        raise UnavailableError(
            f"only TensorFlow converts, but KERAS_BACKEND is {backend}; unset it for this step"
        )


def _judged(run: Run, variant: str, content: bytes, windows: Path, held: Heldout) -> Verdict:
    part = slice(None, None, EVERY if variant == DIAGNOSTIC else 1)
    with tempfile.TemporaryDirectory(prefix="tocsin-") as folder:
        file, few = Path(folder) / f"{variant}.tflite", Path(folder) / "few.npy"
        file.write_bytes(content)
        if variant == DIAGNOSTIC:
            np.save(few, held.windows[part])
        found = measure(file, few if variant == DIAGNOSTIC else windows)
    assert found.logits is not None  # noqa: S101  # measure was asked for them
    verdict = judge(found.logits, held.logits[part], held.true[part], run.settings.quantize)
    for name in ("variants", "rejected"):
        (run.folder / name / f"{variant}.tflite").unlink(missing_ok=True)
    write_whole(run.folder / ("variants" if verdict.passed else "rejected") / f"{variant}.tflite", content)
    return verdict


def file_of(run: Run, variant: str) -> Path:
    """The file of ``variant``, passed or not.

    Raises:
        BadInputError: it has not been made.
    """
    for name in ("variants", "rejected"):
        if (path := run.folder / name / f"{variant}.tflite").is_file():
            return path
    raise BadInputError(f"{run.folder}: has no {variant} file; run `tocsin models quantize` first")
