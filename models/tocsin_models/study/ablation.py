"""How an integer file comes to nothing: mistakes that give figures like the study's 0.2831 and 0.0001.

Each is one that is easily made and that leaves float16 and dynamic range as they were, as in the study:
calibrating with numbers at random, calibrating with data scaled like pictures, and feeding an integer
input without its scale and zero point.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tocsin_models.corpus import Split
from tocsin_models.gate import Verdict
from tocsin_models.study.calibration import calibration
from tocsin_models.study.gate import judge
from tocsin_models.study.prepare import read_prepared
from tocsin_models.study.quantizing import EVERY, Heldout, file_of, measure
from tocsin_models.study.reading import Floats, Store
from tocsin_models.study.training import Run, trained
from tocsin_models.variants import convert


@dataclass(frozen=True)
class Broken:
    """A file made wrongly, and what the gate says of it."""

    mistake: str
    variant: str
    verdict: Verdict


def calibrations(windows: Floats, seed: int) -> dict[str, Floats]:
    """Wrong calibrations of the same size as the right one, ``windows``, by what is wrong with them."""
    rng = np.random.default_rng(seed)
    return {
        "calibrated with random numbers from 0 to 1": rng.random(windows.shape, dtype=np.float32),
        "calibrated with windows divided by 255": windows / np.float32(255.0),
        "calibrated with one window": windows[:1],
    }


def ablation(
    run: Run, held: Heldout, windows: Path, few: Path, tell: Callable[[str], None]
) -> tuple[Broken, ...]:
    """Every mistake with the verdict on it; ``windows`` and ``few`` are files of all windows of ``held`` and
    of every fourth."""
    prepared, settings = read_prepared(run.prepared), run.settings.quantize
    right = calibration(Store.open(run.prepared, prepared, Split.TRAIN), settings.windows, settings.seed)
    model, found = trained(run, batch=1), []
    with tempfile.TemporaryDirectory(prefix="tocsin-") as folder:
        file = Path(folder) / "broken.tflite"
        for mistake, wrong in calibrations(right.windows, settings.seed).items():
            file.write_bytes(convert(model, "int8", wrong))
            found.append(Broken(mistake, "int8", _verdict(file, windows, held, run)))
            tell(f"  {mistake}: macro-F1 {found[-1].verdict.macro_f1:.4f}")
        file.write_bytes(convert(model, "16x8", calibrations(right.windows, settings.seed)[_RANDOM]))
        found.append(Broken(_RANDOM, "16x8", _verdict(file, few, held, run, every=EVERY)))
    verdict = _verdict(file_of(run, "full-int8"), windows, held, run, forget_scale=True)
    found.append(Broken("fed without scale and zero point", "full-int8", verdict))
    return tuple(found)


_RANDOM = "calibrated with random numbers from 0 to 1"


def _verdict(
    file: Path, windows: Path, held: Heldout, run: Run, *, every: int = 1, forget_scale: bool = False
) -> Verdict:
    logits = measure(file, windows, forget_scale=forget_scale).logits
    assert logits is not None  # noqa: S101  # measure was asked for them
    return judge(logits, held.logits[::every], held.true[::every], run.settings.quantize)
