"""Log-mel features: one code path for training, calibration, evaluation and the node.

A frame is ``frame_length`` samples under a periodic Hann window; its magnitude spectrum is summed into
mel bands, and ``y = clip((ln(mel + log_offset) − mean) / scale, clip_low, clip_high)``. The constants
belong to the bundle. There is no normalisation by clip: a quiet room must look quiet.

The mel scale is O'Shaughnessy's ``1127 · ln(1 + f / 700)`` (Speech Communication, 1987; the one HTK
uses), with triangles of height 1 that are straight on the mel axis.

The batch form and the streaming form run the same arithmetic on the same frames, so that a recording
gives the same numbers (to float32 rounding) whether it comes at once or sample by sample.
"""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from tocsin_shared.manifest import FeatureSpec

Samples = npt.NDArray[np.float32]
"""Sound as float32 in [−1, 1], shape (samples,), one channel."""
Frames = npt.NDArray[np.float32]
"""Log-mel frames as float32, shape (frames, mel_bands)."""


def log_mel(samples: Samples, spec: FeatureSpec) -> Frames:
    """All whole frames of ``samples``, shape (frames, mel_bands); zero frames if it is too short."""
    count = frame_count(len(samples), spec)
    if count == 0:
        return np.empty((0, spec.mel_bands), dtype=np.float32)
    framed = np.lib.stride_tricks.sliding_window_view(samples, spec.frame_length)[:: spec.frame_hop][:count]
    # Filled up with zeros here: numpy would do the same frame by frame, in twice the time of the transform.
    padded = np.zeros((count, spec.fft_length), dtype=np.float32)
    np.multiply(framed, hann(spec.frame_length), out=padded[:, : spec.frame_length])
    spectrum = np.abs(np.fft.rfft(padded)).astype(np.float32, copy=False)
    frames: Frames = spectrum @ mel_matrix(spec)
    frames += np.float32(spec.log_offset)
    np.log(frames, out=frames)
    frames -= np.float32(spec.mean)
    frames /= np.float32(spec.scale)
    return np.clip(frames, spec.clip_low, spec.clip_high, out=frames)


def frame_count(samples: int, spec: FeatureSpec) -> int:
    """Number of whole frames in ``samples`` samples."""
    return max(0, 1 + (samples - spec.frame_length) // spec.frame_hop)


@lru_cache(maxsize=8)
def hann(length: int) -> Samples:
    """Periodic Hann window, shape (length,)."""
    angle = 2.0 * np.pi * np.arange(length) / length
    return (0.5 - 0.5 * np.cos(angle)).astype(np.float32)


@lru_cache(maxsize=8)
def mel_matrix(spec: FeatureSpec) -> npt.NDArray[np.float32]:
    """Weights from magnitude spectrum to mel bands, shape (fft_length // 2 + 1, mel_bands)."""

    def mel(hertz: npt.ArrayLike) -> npt.NDArray[np.float64]:
        return 1127.0 * np.log1p(np.asarray(hertz, dtype=np.float64) / 700.0)

    bins = mel(np.linspace(0.0, spec.sample_rate_hz / 2, spec.fft_length // 2 + 1))[:, None]
    edges = np.linspace(mel(spec.mel_low_hz), mel(spec.mel_high_hz), spec.mel_bands + 2)
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    triangles = np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre))
    weights: npt.NDArray[np.float32] = np.maximum(0.0, triangles).astype(np.float32)
    return weights


class FeatureStream:
    """Frames from sound that arrives in pieces; a push costs only the frames that it completes.

    Not thread-safe: one stream belongs to one thread.
    """

    def __init__(self, spec: FeatureSpec) -> None:
        self._spec = spec
        self._rest = np.empty(0, dtype=np.float32)

    def push(self, samples: Samples) -> Frames:
        """Frames completed by ``samples``, shape (frames, mel_bands), often none; copies what it keeps."""
        pending = np.concatenate([self._rest, samples])
        frames = log_mel(pending, self._spec)
        self._rest = pending[len(frames) * self._spec.frame_hop :].copy()
        return frames


class WindowStream:
    """Windows of ``window_frames`` frames, one every ``hop_frames``, from sound that arrives in pieces.

    The first window comes as soon as it is full. Not thread-safe.
    """

    def __init__(self, spec: FeatureSpec, hop_frames: int) -> None:
        if not 1 <= hop_frames <= spec.window_frames:
            raise ValueError(f"hop_frames must be 1 to {spec.window_frames}, not {hop_frames}")
        self._spec = spec
        self._hop_frames = hop_frames
        self._features = FeatureStream(spec)
        self._frames = np.empty((0, spec.mel_bands), dtype=np.float32)
        self._first_frame = 0

    def push(self, samples: Samples) -> list[tuple[int, Frames]]:
        """Windows completed by ``samples``: (index of the sample just after the window, its frames).

        Each window has shape (window_frames, mel_bands) and is a copy of the caller's own.
        """
        self._frames = np.concatenate([self._frames, self._features.push(samples)])
        windows = []
        while len(self._frames) >= self._spec.window_frames:
            last = self._first_frame + self._spec.window_frames - 1
            end = last * self._spec.frame_hop + self._spec.frame_length
            windows.append((end, self._frames[: self._spec.window_frames].copy()))
            self._frames = self._frames[self._hop_frames :]
            self._first_frame += self._hop_frames
        return windows


def level_dbfs(samples: Samples) -> float | None:
    """Root-mean-square level of ``samples`` in dBFS; ``None`` for digital silence or no samples."""
    if len(samples) == 0:
        return None
    power = float(np.mean(np.square(samples, dtype=np.float64)))
    return 10.0 * float(np.log10(power)) if power > 0.0 else None
