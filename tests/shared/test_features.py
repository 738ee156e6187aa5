"""The features are one code path: batch and stream give the same numbers."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin_shared.features import (
    FeatureStream,
    WindowStream,
    frame_count,
    level_dbfs,
    log_mel,
    mel_matrix,
)
from tocsin_shared.manifest import FeatureSpec

SPEC = FeatureSpec()
NOISE = np.random.default_rng(3).normal(0.0, 0.1, 16_000 * 4).astype(np.float32)


@given(st.lists(st.integers(0, 9000), min_size=1, max_size=30))
def test_a_stream_gives_what_a_batch_gives(sizes: list[int]) -> None:
    """However the sound is cut into pieces, the frames are the same to float32 rounding."""
    stream = FeatureStream(SPEC)
    edges = np.clip(np.cumsum([0, *sizes]), 0, len(NOISE))
    pieces = [stream.push(NOISE[a:b]) for a, b in pairwise(edges)]
    batch = log_mel(NOISE[: edges[-1]], SPEC)
    assert np.allclose(np.concatenate(pieces), batch, atol=1e-5)
    assert len(batch) == frame_count(int(edges[-1]), SPEC)


@pytest.mark.parametrize("hop_seconds", [0.1, 0.5, 1.6, 2.0])
def test_windows_are_slices_of_the_batch(hop_seconds: float) -> None:
    """Each window is the batch's frames at its place, and says where it ends."""
    hop = round(hop_seconds * 100)
    stream = WindowStream(SPEC, hop)
    windows = [
        window for start in range(0, len(NOISE), 1600) for window in stream.push(NOISE[start : start + 1600])
    ]
    batch = log_mel(NOISE, SPEC)
    assert len(windows) == 1 + (len(batch) - SPEC.window_frames) // hop
    for number, (end, frames) in enumerate(windows):
        assert np.allclose(frames, batch[number * hop : number * hop + SPEC.window_frames], atol=1e-5)
        assert end == number * hop * SPEC.frame_hop + SPEC.window_samples


@pytest.mark.parametrize("hop_frames", [0, -1, 201])
def test_a_hop_beyond_the_window_is_refused(hop_frames: int) -> None:
    """A hop longer than the window would leave sound unheard."""
    with pytest.raises(ValueError, match="1 to 200"):
        WindowStream(SPEC, hop_frames)


def test_a_tone_lands_in_its_band() -> None:
    """A 1 kHz tone is strongest in the band whose centre is nearest to 1 kHz."""
    time = np.arange(16_000) / 16_000
    frames = log_mel((0.1 * np.sin(2 * np.pi * 1000.0 * time)).astype(np.float32), SPEC)
    edges = np.linspace(1127 * np.log1p(125 / 700), 1127 * np.log1p(7500 / 700), 66)
    centres = 700 * np.expm1(edges[1:-1] / 1127)
    assert int(frames.mean(axis=0).argmax()) == int(np.abs(centres - 1000.0).argmin())


def test_values_keep_to_the_fixed_range() -> None:
    """Silence and full-scale noise both stay inside the clip range, which no clip can widen."""
    loud = np.random.default_rng(1).choice(np.array([-1.0, 1.0], dtype=np.float32), 40_000)
    silent = log_mel(np.zeros(40_000, dtype=np.float32), SPEC)
    assert silent.min() == silent.max() == pytest.approx((np.log(1e-3) + 3.0) / 2.0, abs=1e-4)
    assert SPEC.clip_low <= silent.min() < log_mel(loud, SPEC).max() <= SPEC.clip_high


def test_a_quiet_room_looks_quiet() -> None:
    """There is no normalisation by clip: less sound gives smaller numbers."""
    assert log_mel(NOISE * np.float32(0.01), SPEC).mean() < log_mel(NOISE, SPEC).mean() - 1.0


def test_every_band_has_weight() -> None:
    """No mel band is narrower than the grid of the spectrum, or it would always be empty."""
    weights = mel_matrix(SPEC)
    assert weights.shape == (257, 64)
    assert (weights.sum(axis=0) > 0.0).all()


def test_too_little_sound_gives_no_frame() -> None:
    """Not enough data is an empty answer, not zeros."""
    assert log_mel(NOISE[:399], SPEC).shape == (0, 64)
    assert log_mel(NOISE[:400], SPEC).shape == (1, 64)


def test_level_of_silence_is_none() -> None:
    """Digital silence has no level; a full-scale square wave has 0 dBFS, a sine −3."""
    assert level_dbfs(np.zeros(100, dtype=np.float32)) is None
    assert level_dbfs(np.empty(0, dtype=np.float32)) is None
    assert level_dbfs(np.ones(100, dtype=np.float32)) == pytest.approx(0.0)
    sine = np.sin(2 * np.pi * np.arange(1600) / 16).astype(np.float32)
    assert level_dbfs(sine) == pytest.approx(-3.01, abs=0.01)
