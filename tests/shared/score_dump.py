"""Scores of every variant of the shipped bundle for its golden clips, as JSON, with any interpreter.

Nothing but what a node has is imported, so that an environment with the forerunner can run it.
"""

import json
import sys

import numpy as np

from tocsin_shared.audio import read_blocks
from tocsin_shared.classifier import Classifier
from tocsin_shared.features import log_mel
from tocsin_shared.manifest import shipped_bundle


def dump() -> dict[str, object]:
    """``runtime``, ``numpy``, and ``scores``: by variant, one list of scores for each clip."""
    folder = shipped_bundle()
    found: dict[str, list[list[float]]] = {}
    runtime = ""
    manifest = Classifier.load(folder).manifest
    for variant in manifest.variants:
        classifier = Classifier.load(folder, variant.name)
        runtime = classifier.runtime
        found[variant.name] = []
        for clip in manifest.golden:
            sound = np.concatenate(list(read_blocks(folder / clip.file)))
            frames = log_mel(sound, manifest.features)[: manifest.features.window_frames]
            found[variant.name].append([float(score) for score in classifier.scores(frames)])
    return {"runtime": runtime, "numpy": np.__version__, "scores": found}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(dump()))
