"""Both interpreters: the node's tests pass under ``tflite-runtime`` and numpy 1, and the scores are the same.

The environment is ``.venv-tflite`` in the checkout; ``make`` builds it, once.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.shared.score_dump import dump

ROOT = Path(__file__).resolve().parents[2]
STEP = 1.0 / 256.0
"""One step of a score in 8 bits: shipped files end in float32, and so have no step of their own."""
APART = {"int8": 0.05}
"""Variants whose inner layers count in integers: the two runtimes' kernels round halves differently, and one
step of an inner layer moves a score by as much as 0.02. A node that tries a new bundle allows 0.1."""
TESTS = (
    "tests/node/test_bundle.py",
    "tests/node/test_listen.py",
    "tests/node/test_pipeline.py",
    "tests/shared/test_audio.py",
    "tests/shared/test_classifier.py",
    "tests/shared/test_detector.py",
    "tests/shared/test_features.py",
)

LEFT_OUT = "not random_bytes_behind and not truncated_model and not help_answers"
"""The forerunner does not verify a file before it runs it: bytes whose hash agrees, but that are no model,
end its process. How soon ``--help`` answers has nothing to do with the interpreter."""


@pytest.fixture(name="forerunner", scope="module")
def _forerunner() -> Path:
    """Python of the environment with ``tflite-runtime``; made where it is not there yet."""
    made = subprocess.run(
        ["make", "-s", ".venv-tflite/.ready"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert made.returncode == 0, f"no environment with tflite-runtime: {made.stderr}"
    return ROOT / ".venv-tflite" / "bin" / "python"


def run(python: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    paths = os.pathsep.join(str(ROOT / part) for part in (".", "node", "hub", "shared", "models"))
    return subprocess.run(
        [python, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": paths, "TOCSIN_KERAS_PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )


@pytest.mark.slow
def test_every_variant_gives_the_same_scores_on_both(forerunner: Path) -> None:
    answer = run(forerunner, "tests/shared/score_dump.py")
    assert answer.returncode == 0, answer.stderr
    old, new = json.loads(answer.stdout), dump()
    assert old["runtime"].startswith("tflite-runtime 2.14")
    assert old["numpy"].startswith("1.")
    assert str(new["runtime"]).startswith("ai-edge-litert")
    scores = new["scores"]
    assert isinstance(scores, dict)
    assert old["scores"].keys() == scores.keys()
    for variant in scores:
        theirs, ours = np.array(old["scores"][variant]), np.array(scores[variant])
        worst = float(np.max(np.abs(theirs - ours)))
        assert worst <= APART.get(variant, STEP), f"{variant}: {worst:.5f}"
        assert (theirs.argmax(axis=1) == ours.argmax(axis=1)).all(), variant


@pytest.mark.slow
@pytest.mark.parametrize(
    ("marked", "tests"),
    [("not corpus", TESTS), ("not corpus and not slow", ("tests/node",))],
    ids=["what is near the interpreter", "the whole node"],
)
def test_the_tests_of_the_node_pass_on_the_forerunner(
    forerunner: Path, marked: str, tests: tuple[str, ...]
) -> None:
    answer = run(
        forerunner,
        "-m",
        "pytest",
        "-q",
        "-m",
        marked,
        "-p",
        "no:cacheprovider",
        "-k",
        LEFT_OUT,
        *tests,
    )
    assert answer.returncode == 0, answer.stdout[-4000:] + answer.stderr[-1000:]
    assert "skipped" not in answer.stdout, answer.stdout[-2000:]
