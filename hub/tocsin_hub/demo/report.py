"""RULES: what was played against what was detected, stored and shown. Values in, values out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tocsin_hub.demo.script import is_told

GRACE_SECONDS = 5.0
"""A detection may begin this long after its sound has ended, and still be its."""


@dataclass(frozen=True)
class Played:
    """A sound that a room was given. Times are seconds since 1970, of this machine's clock."""

    node: str
    label: str
    onset: float
    seconds: float
    level_dbfs: float


@dataclass
class Sighting:
    """How far one detection came. Times as in :class:`Played`; ``None`` is not yet."""

    id: str
    node: str
    label: str
    detected: float | None = None
    """First seen on the broker."""
    stored: float | None = None
    """On the hub's disk."""
    shown: float | None = None
    """Arrived at a dashboard."""
    rows: int = 0
    """Rows of this id in the hub's store."""

    @property
    def seen(self) -> float:
        """The earliest of the times that are known."""
        return min((at for at in (self.detected, self.stored, self.shown) if at is not None), default=0.0)


@dataclass
class Outcome:
    """One played sound, and the detections that are taken for it."""

    played: Played
    sightings: list[Sighting] = field(default_factory=list)

    def latency(self, stage: str) -> float | None:
        """Seconds from the onset of the sound to the first time that ``stage`` was reached."""
        times = [at for sighting in self.sightings if (at := getattr(sighting, stage)) is not None]
        return min(times) - self.played.onset if times else None


def judge(played: Sequence[Played], sightings: Iterable[Sighting]) -> tuple[list[Outcome], list[Sighting]]:
    """Give each sighting to the sound that it tells of; returns (outcomes, sightings of nothing played)."""
    outcomes = [Outcome(sound) for sound in played]
    strays = []
    for sighting in sorted(sightings, key=lambda one: one.seen):
        home = next((outcome for outcome in reversed(outcomes) if _tells_of(sighting, outcome.played)), None)
        if home is None:
            strays.append(sighting)
        else:
            home.sightings.append(sighting)
    return outcomes, strays


def _tells_of(sighting: Sighting, sound: Played) -> bool:
    begins = sound.onset <= sighting.seen <= sound.onset + sound.seconds + GRACE_SECONDS
    return begins and sighting.node == sound.node and sighting.label == sound.label


def summary(played: Sequence[Played], sightings: Iterable[Sighting]) -> dict[str, Any]:
    """The report of a run.

    ``lost`` counts sounds that somebody should have been told of and that no dashboard showed;
    ``duplicates`` counts detections beyond the first of one sound, and rows stored twice.
    """
    sightings = list(sightings)
    judged, strays = judge(played, sightings)
    outcomes = [outcome for outcome in judged if is_told(outcome.played.label)]
    stages = ("detected", "stored", "shown")
    reached = {stage: sum(o.latency(stage) is not None for o in outcomes) for stage in stages}
    extra = sum(max(0, len(outcome.sightings) - 1) for outcome in outcomes)
    return {
        "played": len(outcomes),
        "detected": reached["detected"],
        "stored": reached["stored"],
        "shown": reached["shown"],
        "lost": len(outcomes) - reached["shown"],
        "duplicates": extra + sum(max(0, sighting.rows - 1) for sighting in sightings),
        "false_alarms": len(strays),
        "latency_ms": {stage: percentiles([o.latency(stage) for o in outcomes]) for stage in stages[1:]},
        "sounds": [_line(outcome) for outcome in outcomes],
        "strays": [{"node": stray.node, "label": stray.label, "id": stray.id} for stray in strays],
    }


def _line(outcome: Outcome) -> dict[str, Any]:
    sound = outcome.played
    stages = {f"{stage}_ms": _ms(outcome.latency(stage)) for stage in ("detected", "stored", "shown")}
    return {
        "node": sound.node,
        "label": sound.label,
        "onset": round(sound.onset, 3),
        "seconds": sound.seconds,
        "level_dbfs": sound.level_dbfs,
        **stages,
        "ids": [sighting.id for sighting in outcome.sightings],
    }


def percentiles(seconds: Iterable[float | None]) -> dict[str, float | None]:
    """Median and 95th percentile in milliseconds, nearest rank; ``None`` without any value."""
    known = sorted(value for value in seconds if value is not None)
    if not known:
        return {"p50": None, "p95": None}
    return {f"p{rank}": _ms(known[max(0, -(-rank * len(known) // 100) - 1)]) for rank in (50, 95)}


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)
