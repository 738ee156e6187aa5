"""Windows as a node hears them: a sound somewhere in a room, near or far, over what else is there.

Pure: pools of sounds and a random generator in, samples and targets out. A target is 1 where enough of
a sound lies inside the window, 0 where none does, and is left out of the loss in between, or where
nobody knows whether a recording holds such a sound.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tocsin_shared.features import Samples
from tocsin_shared.synthesis.levels import at_level, clipped, convolved, room_response, small_speaker

Targets = npt.NDArray[np.float32]

ENOUGH_SECONDS = {
    "smoke_alarm": 0.25,
    "co_alarm": 0.18,
    "evacuation_siren": 0.5,
    "emergency_siren": 0.4,
    "vehicle_horn": 0.25,
    "reversing_beeper": 0.25,
    "glass_breaking": 0.12,
    "gunshot_or_explosion": 0.1,
    "scream": 0.25,
    "chainsaw_or_power_tool": 0.4,
    "machine_alarm_beep": 0.2,
    "engine": 0.5,
    "dog_bark": 0.1,
    "crying": 0.3,
    "phone_or_door_bell": 0.25,
    "knock": 0.08,
    "speech": 0.35,
}
"""A label is taught as present when its sound is active for this long inside the window …"""
TOO_LITTLE_SECONDS = 0.045
"""… and as absent when for less than this."""
ACTIVE_DB = 25.0
"""A 20 ms piece counts as active when it is within this of the loud parts of its sound."""
PIECE_SECONDS = 0.02


@dataclass(frozen=True)
class Sound:
    """One sound of a pool."""

    label: str
    """``background`` for what must not be told."""
    samples: Samples
    doubts: frozenset[str] = frozenset()
    """Labels that may be heard in it as well."""


@dataclass(frozen=True)
class Pools:
    """What scenes are made of."""

    made: Mapping[str, Sequence[Sound]]
    """Synthesized sounds by label, ``background`` holding the decoys."""
    recorded: Mapping[str, Sequence[Sound]]
    """Recordings by label; a label may be missing."""
    beds: Sequence[Sound]
    """What may lie under everything."""
    responses: Sequence[Samples] = ()
    """Impulse responses of rooms."""


@dataclass(frozen=True)
class SceneSpec:
    """How scenes are drawn."""

    shares: Mapping[str, float] = field(
        default_factory=lambda: {
            "smoke_alarm": 0.06,
            "co_alarm": 0.04,
            "evacuation_siren": 0.055,
            "emergency_siren": 0.055,
            "vehicle_horn": 0.055,
            "reversing_beeper": 0.035,
            "glass_breaking": 0.05,
            "gunshot_or_explosion": 0.045,
            "scream": 0.045,
            "chainsaw_or_power_tool": 0.04,
            "machine_alarm_beep": 0.06,
            "engine": 0.035,
            "dog_bark": 0.035,
            "crying": 0.035,
            "phone_or_door_bell": 0.04,
            "knock": 0.035,
            "speech": 0.07,
            "background": 0.22,
            "nothing": 0.05,
        }
    )
    """How often each label is the main sound; ``nothing`` leaves the bed alone."""
    recorded_share: float = 0.5
    """How often a recording is taken where there is one."""
    loudest_dbfs: float = -6.0
    softest_dbfs: float = -46.0
    snr_db: tuple[float, float] = (-3.0, 25.0)
    no_bed_share: float = 0.1
    second_share: float = 0.3
    """How often a second sound, of any label, is there as well."""
    room_share: float = 0.45
    speaker_share: float = 0.25
    clipping_share: float = 0.06


@dataclass(frozen=True)
class Scene:
    """One window and what it teaches."""

    samples: Samples
    targets: Targets
    """Shape (labels,), 0 or 1."""
    weights: Targets
    """Shape (labels,), 0 where the target is unknown."""


@dataclass(frozen=True)
class Placed:
    """A sound cut to one window."""

    sound: Sound
    samples: Samples
    active_seconds: float
    """How long it is active inside the window."""


def scene(
    pools: Pools, spec: SceneSpec, labels: Sequence[str], count: int, rng: np.random.Generator
) -> Scene:
    """One window of ``count`` samples."""
    level = float(rng.uniform(spec.softest_dbfs, spec.loudest_dbfs))
    bed, doubts = _bed(pools, spec, count, level, rng)
    parts = _parts(pools, spec, count, rng)
    mixed = bed
    for number, part in enumerate(parts):
        own = level if number == 0 else level + float(rng.uniform(-12.0, 6.0))
        mixed = mixed + at_level(_through_room(part.samples, pools, spec, rng), own)
    drive = float(rng.uniform(3.0, 18.0)) if rng.random() < spec.clipping_share else 0.0
    loudest = float(np.max(np.abs(mixed), initial=1e-9))
    raised = clipped(mixed / loudest if drive else mixed, drive)
    targets, weights = targets_of(parts, doubts, labels)
    return Scene(raised, targets, weights)


def _parts(pools: Pools, spec: SceneSpec, count: int, rng: np.random.Generator) -> list[Placed]:
    kinds, shares = list(spec.shares), np.array(list(spec.shares.values()))
    kind = kinds[int(rng.choice(len(kinds), p=shares / shares.sum()))]
    if kind == "nothing":
        return []
    parts = [_placed(_drawn(pools, kind, spec, rng), count, rng)]
    if rng.random() < spec.second_share:
        other = kinds[int(rng.integers(len(kinds) - 1))] if rng.random() < 0.4 else "background"
        parts.append(_placed(_drawn(pools, other, spec, rng), count, rng))
    return parts


def _drawn(pools: Pools, label: str, spec: SceneSpec, rng: np.random.Generator) -> Sound:
    recorded = pools.recorded.get(label, ())
    if recorded and rng.random() < spec.recorded_share:
        sound = recorded[int(rng.integers(len(recorded)))]
        return Sound(sound.label, _at_speed(sound.samples, float(rng.uniform(0.88, 1.14))), sound.doubts)
    made = pools.made[label]
    return made[int(rng.integers(len(made)))]


def _at_speed(samples: Samples, speed: float) -> Samples:
    """``samples`` played faster or slower, pitch included, as another specimen of the thing would sound."""
    places = np.arange(0.0, max(1, len(samples) - 1), speed)
    played: Samples = np.interp(places, np.arange(len(samples)), samples).astype(np.float32)
    return played


def _placed(sound: Sound, count: int, rng: np.random.Generator) -> Placed:
    """``sound`` cut to ``count`` samples at any phase; mostly so that enough of it is inside."""
    active = activity(sound.samples)
    patient = rng.random() < 0.85
    for _ in range(8):
        start = int(rng.integers(-count + 1_600, max(len(sound.samples) - 1_600, -count + 1_601)))
        inside = active_inside(active, start, count)
        if not patient or inside >= ENOUGH_SECONDS.get(sound.label, 0.1):
            break
    return Placed(sound, cut(sound.samples, start, count), inside)


def cut(samples: Samples, start: int, count: int) -> Samples:
    """``count`` samples from ``start`` on, which may lie before the beginning; silence where nothing is."""
    window = np.zeros(count, dtype=np.float32)
    low, high = max(0, start), min(len(samples), start + count)
    if low < high:
        window[low - start : high - start] = samples[low:high]
    return window


def activity(samples: Samples, rate_hz: int = 16_000) -> npt.NDArray[np.bool_]:
    """For every 20 ms of ``samples``, whether the sound is there: within 25 dB of its loud parts."""
    size = round(PIECE_SECONDS * rate_hz)
    pieces = cut(samples, 0, -(-len(samples) // size) * size).reshape(-1, size)
    power = np.mean(pieces.astype(np.float64) ** 2, axis=1)
    loud = float(np.quantile(power, 0.98)) if len(power) else 0.0
    active: npt.NDArray[np.bool_] = power > max(loud * 10.0 ** (-ACTIVE_DB / 10.0), 1e-9)
    return active


def active_inside(active: npt.NDArray[np.bool_], start: int, count: int, rate_hz: int = 16_000) -> float:
    """Seconds for which a sound of that :func:`activity` sounds in ``count`` samples from ``start`` on."""
    size = round(PIECE_SECONDS * rate_hz)
    low, high = max(0, -(-start // size)), max(0, (start + count) // size)
    return float(active[low:high].sum()) * PIECE_SECONDS


def _through_room(samples: Samples, pools: Pools, spec: SceneSpec, rng: np.random.Generator) -> Samples:
    if rng.random() < spec.room_share:
        samples = convolved(samples, _response(pools, rng))
    if rng.random() < spec.speaker_share:
        samples = small_speaker(
            samples, float(rng.uniform(60.0, 450.0)), float(rng.uniform(3_800.0, 7_500.0))
        )
    return samples


def _response(pools: Pools, rng: np.random.Generator) -> Samples:
    if pools.responses and rng.random() < 0.5:
        return pools.responses[int(rng.integers(len(pools.responses)))]
    return room_response(float(rng.uniform(0.15, 1.5)), rng)


def _bed(
    pools: Pools, spec: SceneSpec, count: int, level: float, rng: np.random.Generator
) -> tuple[Samples, frozenset[str]]:
    if rng.random() < spec.no_bed_share:
        return np.zeros(count, dtype=np.float32), frozenset()
    bed = pools.beds[int(rng.integers(len(pools.beds)))]
    start = int(rng.integers(0, max(1, len(bed.samples) - count)))
    looped = np.resize(bed.samples, max(len(bed.samples), count + start))
    return at_level(cut(looped, start, count), level - float(rng.uniform(*spec.snr_db))), bed.doubts


def targets_of(
    parts: Sequence[Placed], bed_doubts: frozenset[str], labels: Sequence[str]
) -> tuple[Targets, Targets]:
    """Targets and weights of a window that holds ``parts``; the last label is background."""
    targets = np.zeros(len(labels), dtype=np.float32)
    weights = np.ones(len(labels), dtype=np.float32)
    doubts = bed_doubts.union(*(part.sound.doubts for part in parts if part.active_seconds > 0.0))
    for number, label in enumerate(labels[:-1]):
        inside = max((part.active_seconds for part in parts if part.sound.label == label), default=0.0)
        targets[number] = inside >= ENOUGH_SECONDS[label]
        unsure = TOO_LITTLE_SECONDS <= inside < ENOUGH_SECONDS[label] or (
            label in doubts and not targets[number]
        )
        weights[number] = 0.0 if unsure else 1.0
    targets[-1] = not targets[:-1].any()
    weights[-1] = 1.0 if targets[:-1].any() or weights[:-1].all() else 0.0
    return targets, weights
