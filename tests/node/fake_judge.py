"""A judge without a network: the louder the window, the surer it is of a siren."""

import numpy as np

from tocsin_shared.classifier import Scores
from tocsin_shared.features import Frames, Samples
from tocsin_shared.manifest import DetectionRule, FeatureSpec, LabelSpec, Manifest, VariantSpec

RATE = 16_000


def tone(seconds: float, amplitude: float = 0.5, hertz: float = 1000.0) -> Samples:
    """A sine, shape (samples,)."""
    angle = 2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE
    made: Samples = (amplitude * np.sin(angle)).astype(np.float32)
    return made


class FakeJudge:
    """Scores a siren by the share of loud frames in the window, and everything else 0.05."""

    def __init__(self, max_seconds: float = 60.0) -> None:
        self.sureness = 1.0
        rule = DetectionRule(
            on_threshold=0.4, off_threshold=0.2, release_seconds=2.0, max_seconds=max_seconds
        )
        self.manifest = Manifest(
            name="fake",
            release="0.1.0",
            created="",
            features=FeatureSpec(),
            labels=(LabelSpec(name="siren", rule=rule), LabelSpec(name="background")),
            variants=(VariantSpec(name="none", file="none.tflite", sha256="0" * 64, size_bytes=1),),
        )

    def scores(self, window: Frames) -> Scores:
        loud = float(np.mean(window.max(axis=1) > 2.0))
        return np.array([min(0.99, self.sureness * loud), 0.05], dtype=np.float32)
