"""From recordings and made sounds to arrays of windows for one split, always the same for one seed."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tocsin_models.corpus import Clip, ReadReport, Split, read_sounds
from tocsin_models.recipe import BEDS, DOUBTS, EVENTS, LABELS, RESPONSES, label_of
from tocsin_models.scenes import Pools, SceneSpec, Sound, scene
from tocsin_shared.errors import BadInputError
from tocsin_shared.features import Samples, log_mel
from tocsin_shared.manifest import FeatureSpec
from tocsin_shared.synthesis import sound
from tocsin_shared.synthesis.alarms import continuous_alarm, t4_alarm
from tocsin_shared.synthesis.decoys import decoy
from tocsin_shared.synthesis.rooms import room

MADE_SECONDS = 6.0
"""Length of a made sound: more than one period of T3 and of T4."""
RESPONSE_SECONDS = 2.0
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Windows:
    """Windows of one split, in the order in which they were drawn."""

    frames: npt.NDArray[np.float16]
    """Log-mel, shape (windows, window_frames, mel_bands)."""
    targets: npt.NDArray[np.float32]
    """Shape (windows, labels)."""
    weights: npt.NDArray[np.float32]
    """Shape (windows, labels); 0 where the target is unknown."""

    def __len__(self) -> int:
        return len(self.frames)

    def inputs(self, chosen: "npt.NDArray[np.intp] | slice" = slice(None)) -> npt.NDArray[np.float32]:
        """A copy of the frames as the network takes them: float32 (windows, window_frames, mel_bands, 1)."""
        return self.frames[chosen].astype(np.float32)[..., None]


def made_pools(per_label: int, rng: np.random.Generator) -> dict[str, list[Sound]]:
    """``per_label`` made sounds of every event, and twice as many decoys as ``background``."""
    pools = {
        label: [Sound(label, _made(label, number, rng)) for number in range(per_label)] for label in EVENTS
    }
    decoys = [Sound("background", decoy(MADE_SECONDS, rng)) for _ in range(2 * per_label)]
    return pools | {"background": decoys}


def _made(label: str, number: int, rng: np.random.Generator) -> Samples:
    """Of ten smoke alarms two are continuous and two T4, the rest T3."""
    if label == "smoke_alarm" and number % 10 < 4:
        return (t4_alarm if number % 2 else continuous_alarm)(MADE_SECONDS, rng)
    return sound(label, MADE_SECONDS, rng)


def pools_of(
    clips: Iterable[Clip], per_label: int, rng: np.random.Generator, report: ReadReport, tell: Tell
) -> Pools:
    """Pools from the ``clips`` of one split and from made sounds."""
    recorded: dict[str, list[Sound]] = {}
    beds = [Sound("background", room(MADE_SECONDS, rng)) for _ in range(per_label)]
    responses: list[Samples] = []
    for clip, samples in read_sounds(clips, report, tell):
        if clip.label in RESPONSES:
            responses.append(samples[: round(RESPONSE_SECONDS * 16_000)])
            continue
        heard = Sound(label_of(clip), samples, DOUBTS.get(clip.label, frozenset()))
        recorded.setdefault(heard.label, []).append(heard)
        if clip.label in BEDS and heard.label == "background":
            beds.append(heard)
    return Pools(made_pools(per_label, rng), recorded, beds, responses)


def draw_windows(
    pools: Pools, count: int, features: FeatureSpec, rng: np.random.Generator, tell: Tell
) -> Windows:
    """``count`` windows of random scenes."""
    frames = np.empty((count, features.window_frames, features.mel_bands), dtype=np.float16)
    targets = np.empty((count, len(LABELS)), dtype=np.float32)
    weights = np.empty_like(targets)
    spec = SceneSpec()
    for number in range(count):
        drawn = scene(pools, spec, LABELS, features.window_samples, rng)
        frames[number] = log_mel(drawn.samples, features)
        targets[number], weights[number] = drawn.targets, drawn.weights
        if (number + 1) % 2_000 == 0:
            tell(f"  {number + 1} of {count} windows")
    return Windows(frames, targets, weights)


def save_windows(windows: Windows, path: Path) -> None:
    """Write ``windows`` to ``path``, whole or not at all."""
    temporary = path.with_suffix(".part")
    with temporary.open("wb") as file:
        np.savez(file, frames=windows.frames, targets=windows.targets, weights=windows.weights)
    temporary.replace(path)


def load_windows(path: Path) -> Windows:
    """The windows in ``path``.

    Raises:
        BadInputError: not a file that :func:`save_windows` wrote.
    """
    try:
        with np.load(path) as file:
            return Windows(file["frames"], file["targets"], file["weights"])
    except (OSError, ValueError, KeyError) as error:
        raise BadInputError(f"{path}: not a file of windows; delete it to make it again: {error}") from error


def balanced(windows: Windows, count: int, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    """Indices of ``count`` windows, about as many of each label, never one twice."""
    chosen: list[int] = []
    orders = [
        list(rng.permutation(np.flatnonzero(windows.targets[:, label] > 0.5))) for label in range(len(LABELS))
    ]
    taken: set[int] = set()
    while len(chosen) < min(count, len(windows)) and any(orders):
        for order in orders:
            while order and int(order[-1]) in taken:
                order.pop()
            if order and len(chosen) < count:
                chosen.append(int(order.pop()))
                taken.add(chosen[-1])
    return np.array(chosen, dtype=np.intp)


def clips_of(split: Split, clips: Sequence[Clip], where: Callable[[Clip], Split | None]) -> list[Clip]:
    """The clips that ``where`` puts into ``split``."""
    return [clip for clip in clips if where(clip) is split]
