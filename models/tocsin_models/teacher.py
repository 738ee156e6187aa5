"""YAMNet in float32, which has heard two million recordings: what it hears in a sound, as a teacher.

The file is the TFLite form of YAMNet (Google, Apache-2.0) that takes 15,600 samples at 16 kHz and gives
scores of 521 AudioSet classes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tocsin_shared.errors import BadInputError
from tocsin_shared.features import Samples

CLASSES = 521
PATCH_SAMPLES = 15_600
"""0.975 s: 96 frames of 25 ms every 10 ms, which is what the network sees at once."""
STEP_SAMPLES = 7_680
"""Half of 96 frames."""
Scores = npt.NDArray[np.float32]


class Teacher:
    """One interpreter of YAMNet. Not thread-safe."""

    def __init__(self, path: Path) -> None:
        """Load the file ``path``.

        Raises:
            BadInputError: not a TFLite file, or one with other inputs and outputs.
        """
        from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415  # only this needs it

        try:
            self._interpreter: Any = Interpreter(model_path=str(path), num_threads=1)
            self._interpreter.allocate_tensors()
            (self._input,) = [detail["index"] for detail in self._interpreter.get_input_details()]
            shapes = {int(d["shape"][-1]): d["index"] for d in self._interpreter.get_output_details()}
            self._output = shapes[CLASSES]
            self._heard(np.zeros(PATCH_SAMPLES, dtype=np.float32))
        except (ValueError, RuntimeError, KeyError, OSError, IndexError) as error:
            raise BadInputError(f"{path}: not a TFLite file of YAMNet: {error}") from error

    def scores(self, samples: Samples) -> Scores:
        """Scores of every patch of ``samples``, shape (patches, 521); silence is put after short sounds."""
        missing = max(0, PATCH_SAMPLES - len(samples))
        padded = np.concatenate([samples, np.zeros(missing, dtype=np.float32)])
        starts = range(0, len(padded) - PATCH_SAMPLES + 1, STEP_SAMPLES)
        return np.array([self._heard(padded[at : at + PATCH_SAMPLES]) for at in starts], dtype=np.float32)

    def _heard(self, patch: Samples) -> Scores:
        self._interpreter.set_tensor(self._input, patch.astype(np.float32))
        self._interpreter.invoke()
        heard: Scores = self._interpreter.get_tensor(self._output).reshape(-1).copy()
        return heard


def opinion(scores: Scores, classes: Mapping[str, Sequence[int]]) -> dict[str, float]:
    """Highest score of each label of ``classes`` in any patch of ``scores``, shape (patches, 521)."""
    peak = scores.max(axis=0)
    return {label: float(peak[list(numbers)].max()) for label, numbers in classes.items()}
