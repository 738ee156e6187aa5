"""From a recording to windows of log-mel frames, however long it is."""

from collections.abc import Iterable, Iterator

import numpy as np

from tocsin_shared.features import Frames, Samples, WindowStream
from tocsin_shared.manifest import FeatureSpec

SILENCE_MARGIN = 0.01
"""A window whose every value is this near to that of digital silence is silent."""


def windows(blocks: Iterable[Samples], spec: FeatureSpec, stride_frames: int) -> Iterator[Frames]:
    """Windows of shape (window_frames, mel_bands), one every ``stride_frames``, each a copy.

    A recording shorter than a window is filled up with silence to one; a rest that does not fill a
    window is left out.
    """
    stream = WindowStream(spec, stride_frames)
    heard = made = 0
    for block in blocks:
        heard += len(block)
        for _, frames in stream.push(block):
            made += 1
            yield frames
    if made == 0:
        rest = np.zeros(max(0, spec.window_samples - heard), dtype=np.float32)
        yield from (frames for _, frames in stream.push(rest))


def is_silent(window: Frames, spec: FeatureSpec) -> bool:
    """Whether ``window`` holds nothing but digital silence, as data sets use to fill clips up."""
    silence = (np.log(spec.log_offset) - spec.mean) / spec.scale
    floor = float(np.clip(silence, spec.clip_low, spec.clip_high))
    return float(window.max()) <= floor + SILENCE_MARGIN
