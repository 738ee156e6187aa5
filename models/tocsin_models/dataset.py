"""From recordings and made sounds to arrays of windows for one split, always the same for one seed."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tocsin_models.corpus import Clip, ReadReport, Split, read_sounds
from tocsin_models.files import whole_file
from tocsin_models.recipe import (
    BEDS,
    EVENTS,
    LABELS,
    NOT_STANDARD,
    RESPONSES,
    YAMNET_CLASSES,
    taught_by,
)
from tocsin_models.scenes import Pools, SceneSpec, Sound, scene
from tocsin_models.teacher import CLASSES, Teacher, opinion
from tocsin_shared.errors import BadInputError
from tocsin_shared.features import Samples, log_mel
from tocsin_shared.manifest import FeatureSpec
from tocsin_shared.synthesis import sound
from tocsin_shared.synthesis.alarms import continuous_alarm
from tocsin_shared.synthesis.decoys import decoy
from tocsin_shared.synthesis.rooms import room

MADE_SECONDS = 6.0
"""Length of a made sound: more than one period of T3 and of T4."""
RESPONSE_SECONDS = 2.0
PIECE_WINDOWS = 250
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
    taught: npt.NDArray[np.float16]
    """What YAMNet hears in each window, shape (windows, 521); (windows, 0) where it was not asked."""

    def __len__(self) -> int:
        return len(self.frames)

    def inputs(self, chosen: "npt.NDArray[np.intp] | slice" = slice(None)) -> npt.NDArray[np.float32]:
        """A copy of the frames as the network takes them: float32 (windows, window_frames, mel_bands, 1)."""
        return self.frames[chosen].astype(np.float32)[..., None]


def made_pools(
    per_label: int, rng: np.random.Generator, teacher: Teacher | None = None
) -> dict[str, list[Sound]]:
    """``per_label`` made sounds of every event, and twice as many decoys as ``background``.

    Of what no standard describes, such as a bark, ``teacher`` picks the half that it takes for the real thing
    the soonest.
    """
    pools = {}
    for label in EVENTS:
        picked = teacher is not None and label in NOT_STANDARD
        made = [_made(label, number, rng) for number in range(per_label * (2 if picked else 1))]
        if teacher is not None and picked:
            believed = [-opinion(teacher.scores(one), YAMNET_CLASSES)[label] for one in made]
            made = [made[number] for number in np.argsort(believed, kind="stable")[:per_label]]
        pools[label] = [Sound(label, one) for one in made]
    decoys = [Sound("background", decoy(MADE_SECONDS, rng)) for _ in range(2 * per_label)]
    return pools | {"background": decoys}


def _made(label: str, number: int, rng: np.random.Generator) -> Samples:
    """Of ten smoke alarms three are continuous, as older ones are, the rest T3."""
    if label == "smoke_alarm" and number % 10 < 3:
        return continuous_alarm(MADE_SECONDS, rng)
    return sound(label, MADE_SECONDS, rng)


def pools_of(
    clips: Iterable[Clip],
    per_label: int,
    rng: np.random.Generator,
    report: ReadReport,
    tell: Tell,
    *,
    teacher: Teacher | None = None,
) -> Pools:
    """Pools from the ``clips`` of one split and from made sounds; ``teacher`` says what else is in a clip."""
    recorded: dict[str, list[Sound]] = {}
    beds = [Sound("background", room(MADE_SECONDS, rng)) for _ in range(per_label)]
    responses: list[Samples] = []
    for clip, samples in read_sounds(clips, report, tell):
        if clip.label in RESPONSES:
            responses.append(samples[: round(RESPONSE_SECONDS * 16_000)])
            continue
        heard = {} if teacher is None else opinion(teacher.scores(samples), YAMNET_CLASSES)
        label, doubts = taught_by(clip, heard)
        recorded.setdefault(label, []).append(Sound(label, samples, doubts))
        if clip.label in BEDS and label == "background":
            beds.append(recorded[label][-1])
    return Pools(made_pools(per_label, rng, teacher), recorded, beds, responses)


@dataclass(frozen=True)
class Draw:
    """Which windows are to be drawn."""

    count: int
    features: FeatureSpec
    seed: tuple[int, ...]
    """Windows come in pieces of :data:`PIECE_WINDOWS`; each has a generator of its own, from this and its
    number, so that the same windows come out however many processes share the work."""
    yamnet: Path | None = None
    """Where given, YAMNet says what it hears in each window."""
    jobs: int = 1


def draw_windows(pools: Pools, draw: Draw, tell: Tell) -> Windows:
    """Windows of random scenes."""
    pieces = [
        (number, min(PIECE_WINDOWS, draw.count - number * PIECE_WINDOWS))
        for number in range(-(-draw.count // PIECE_WINDOWS))
    ]
    drawn = []
    for number, piece in enumerate(_Piece.mapped(pools, draw, pieces), start=1):
        drawn.append(piece)
        if number % 8 == 0:
            tell(f"  {number * PIECE_WINDOWS} of {draw.count} windows")
    return Windows(
        *(
            np.concatenate([getattr(piece, name) for piece in drawn])
            for name in ("frames", "targets", "weights", "taught")
        )
    )


class _Piece:
    """What a process that draws has in its memory: children of a fork share it."""

    pools: Pools
    draw: Draw
    teacher: Teacher | None = None

    @classmethod
    def mapped(cls, pools: Pools, draw: Draw, pieces: Sequence[tuple[int, int]]) -> Iterator[Windows]:
        """The ``pieces`` in their order."""
        cls.pools, cls.draw = pools, draw
        if draw.jobs == 1:
            cls.start()
            yield from map(cls.drawn, pieces)
            return
        # The pools are hundreds of megabytes: children inherit them instead of being sent a copy each.
        with ProcessPoolExecutor(draw.jobs, get_context("fork"), initializer=cls.start) as executor:
            yield from executor.map(cls.drawn, pieces)

    @classmethod
    def start(cls) -> None:
        """An interpreter is not to be shared by processes: each has its own."""
        cls.teacher = None if cls.draw.yamnet is None else Teacher(cls.draw.yamnet)

    @classmethod
    def drawn(cls, piece: tuple[int, int]) -> Windows:
        """One piece."""
        (number, count), features, spec = piece, cls.draw.features, SceneSpec()
        rng = np.random.default_rng([*cls.draw.seed, number])
        frames = np.empty((count, features.window_frames, features.mel_bands), dtype=np.float16)
        targets = np.empty((count, len(LABELS)), dtype=np.float32)
        weights = np.empty_like(targets)
        taught = np.empty((count, CLASSES if cls.teacher else 0), dtype=np.float16)
        for row in range(count):
            one = scene(cls.pools, spec, LABELS, features.window_samples, rng)
            frames[row] = log_mel(one.samples, features)
            targets[row], weights[row] = one.targets, one.weights
            if cls.teacher is not None:
                taught[row] = cls.teacher.scores(one.samples).mean(axis=0)
        return Windows(frames, targets, weights, taught)


def save_windows(windows: Windows, path: Path) -> None:
    """Write ``windows`` to ``path``, whole or not at all.

    Raises:
        UnavailableError: the disk is full or read-only.
    """
    with whole_file(path) as file:
        np.savez(file, **vars(windows))


def load_windows(path: Path) -> Windows:
    """The windows in ``path``.

    Raises:
        BadInputError: not a file that :func:`save_windows` wrote.
    """
    try:
        with np.load(path) as file:
            return Windows(file["frames"], file["targets"], file["weights"], file["taught"])
    except (OSError, ValueError, KeyError) as error:
        raise BadInputError(f"{path}: not a file of windows; delete it to make it again: {error}") from error


def joined(first: Windows, second: Windows) -> Windows:
    """The windows of both."""
    names = [each.name for each in fields(Windows)]
    return Windows(*(np.concatenate([getattr(first, name), getattr(second, name)]) for name in names))


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
