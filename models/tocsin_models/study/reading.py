"""Windows out of shards, out of core: a plan of each epoch, and batches that read only what they hold."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tocsin_models.corpus import Split
from tocsin_models.study.prepare import Prepared, shards_of
from tocsin_models.study.shards import Shard
from tocsin_models.train import blot
from tocsin_shared.manifest import FeatureSpec

Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]
"""Shape (n, 2): shard and window in it."""


@dataclass(frozen=True)
class Store:
    """The windows of one split on disk."""

    folder: Path
    classes: tuple[str, ...]
    shards: tuple[Shard, ...]

    @classmethod
    def open(cls, folder: Path, prepared: Prepared, split: Split) -> "Store":
        """The split in the prepared ``folder``.

        Raises:
            BadInputError: a shard is gone.
        """
        return cls(folder / "shards", prepared.classes, tuple(shards_of(folder, prepared, split)))

    def __len__(self) -> int:
        return sum(shard.shape[0] for shard in self.shards)

    def labels(self) -> list[npt.NDArray[np.int64]]:
        """Class of every window, one array for each shard."""
        number = {name: index for index, name in enumerate(self.classes)}
        return [
            np.repeat(
                [number[one.label] for one in shard.recordings], [one.windows for one in shard.recordings]
            )
            for shard in self.shards
        ]

    def recordings(self) -> list[tuple[str, str]]:
        """(name, group) of the recording of every window, in order."""
        return [
            (one.name, one.group)
            for shard in self.shards
            for one in shard.recordings
            for _ in range(one.windows)
        ]

    def places(self) -> Places:
        """Every window in order."""
        rows = [(number, row) for number, shard in enumerate(self.shards) for row in range(shard.shape[0])]
        return np.array(rows, dtype=np.int64).reshape(-1, 2)

    def read(self, places: Places) -> Floats:
        """Copies of the windows at ``places`` as the network takes them, shape (n, frames, bands, 1)."""
        shape = self.shards[0].shape[1:]
        frames = np.empty((len(places), *shape, 1), dtype=np.float32)
        for number in np.unique(places[:, 0]):
            at = places[:, 0] == number
            frames[at, ..., 0] = self.shards[number].frames(self.folder)[places[at, 1]]
        return frames

    def in_order(self, batch: int) -> Iterator[tuple[Floats, npt.NDArray[np.int64]]]:
        """All windows with their classes, ``batch`` at a time."""
        places, labels = self.places(), np.concatenate(self.labels())
        for start in range(0, len(places), batch):
            yield self.read(places[start : start + batch]), labels[start : start + batch]


def epoch_plan(
    sizes: Sequence[int], buffer_shards: int, batch: int, rng: np.random.Generator
) -> list[Places]:
    """Batches of one epoch in a new order: the windows of ``buffer_shards`` shards are shuffled together, so
    that a disk reads a few files from front to end and memory holds no more than that.

    What does not fill a batch at the end is left out of this epoch.
    """
    order = rng.permutation(len(sizes))
    parts = []
    for start in range(0, len(order), buffer_shards):
        rows = [
            np.stack([np.full(sizes[number], number), np.arange(sizes[number])], axis=1)
            for number in order[start : start + buffer_shards]
        ]
        together = np.concatenate(rows)
        parts.append(together[rng.permutation(len(together))])
    places = np.concatenate(parts) if parts else np.empty((0, 2), dtype=np.int64)
    return [places[start : start + batch] for start in range(0, len(places) - batch + 1, batch)]


def at_other_levels(frames: Floats, level_db: float, spec: FeatureSpec, rng: np.random.Generator) -> Floats:
    """The features that each window would have if its sound were louder or softer by up to ``level_db``.

    Exact but for values that were clipped: the logarithm is taken back, and ``log_offset`` with it.
    """
    gain = 10.0 ** (rng.uniform(-level_db, level_db, (len(frames), 1, 1, 1)) / 20.0)
    mel = np.maximum(np.exp(frames * spec.scale + spec.mean) - spec.log_offset, 0.0) * gain
    scaled = (np.log(mel + spec.log_offset) - spec.mean) / spec.scale
    changed: Floats = np.clip(scaled, spec.clip_low, spec.clip_high).astype(np.float32)
    return changed


def augmented(
    frames: Floats, targets: Floats, mixup: float, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """``frames`` turned in time, with stripes blotted out and mixed in pairs (mixup, arXiv 1710.09412)."""
    for window in frames:
        window[:] = np.roll(window, int(rng.integers(len(window))), axis=0)
        blot(window[..., 0], rng)
    if mixup <= 0.0:
        return frames, targets
    share = np.float32(rng.beta(mixup, mixup))
    other = rng.permutation(len(frames))
    return share * frames + (1 - share) * frames[other], share * targets + (1 - share) * targets[other]
