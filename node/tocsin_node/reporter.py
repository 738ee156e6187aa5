"""Makes events of what the pipeline detected: who, when by the wall clock, and under which id."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ulid import ULID

from tocsin_node.pipeline import Detected
from tocsin_node.retiming import moment
from tocsin_shared.events import Clock, Phase, ScoredLabel, SoundDetected

_LOWEST_DBFS, _HIGHEST_DBFS = -200.0, 20.0


@dataclass(frozen=True)
class Place:
    """What every event of this process says about its node."""

    node: str
    zone: str
    boot: str
    bundle: str


@dataclass(frozen=True)
class Times:
    """The clocks: ``wall`` and ``mono`` in seconds, and how far the wall clock can be trusted."""

    wall: Callable[[], float]
    mono: Callable[[], float]
    trust: Callable[[], Clock]


@dataclass(frozen=True)
class _Told:
    """What all phases of one detection share."""

    id: str
    onset: datetime
    onset_mono: float
    """Monotonic time of the onset, seconds."""
    clock: Clock
    """How far the wall clock could be trusted when it told the onset."""


class Reporter:
    """Keeps the id and the onset of each detection from its first phase to its last. Not thread-safe.

    The wall clock is read once for each detection, together with the monotonic one: when it is set while
    a sound lasts, onset and offset still stand as far apart as they were. Only a clock that was not to be
    trusted is read again once it is.
    """

    def __init__(self, place: Place, times: Times) -> None:
        self._place = place
        self._times = times
        self._told: dict[int, _Told] = {}

    def decided_by(self, bundle: str) -> None:
        """From here on ``bundle`` decides."""
        self._place = replace(self._place, bundle=bundle)

    def event(self, detected: Detected, seq: int, *, test: bool = False) -> SoundDetected:
        """The event number ``seq`` for ``detected``; ``test`` says that the node's own test is the cause."""
        change = detected.change
        told = self._told[change.detection] = self._onset(detected)
        event = SoundDetected(
            id=told.id,
            node=self._place.node,
            zone=self._place.zone,
            label=change.label,
            score=_score(change.score),
            top=tuple(ScoredLabel(label, _score(score)) for label, score in change.top),
            level_dbfs=told_level(change.level_dbfs),
            ambient_dbfs=told_level(detected.ambient_dbfs),
            onset=told.onset,
            offset=_offset(told, detected),
            mono_ns=max(0, round(self._times.mono() * 1e9)),
            onset_mono_ns=max(0, round(told.onset_mono * 1e9)),
            boot=self._place.boot,
            seq=seq,
            clock=told.clock,
            bundle=self._place.bundle,
            phase=change.phase,
            rhythm=change.rhythm,
            certainty=change.certainty,
            test=test,
        )
        if change.phase is Phase.OFFSET:
            del self._told[change.detection]
        return event

    def _onset(self, detected: Detected) -> _Told:
        """What was told of this detection before, if a clock told it that is as good as today's."""
        before, trust = self._told.get(detected.change.detection), self._times.trust()
        if before is not None and (before.clock is Clock.NTP or trust is not Clock.NTP):
            return before
        began = detected.onset if before is None else before.onset_mono
        onset = moment(self._times.wall() - (self._times.mono() - began))
        return _Told(str(ULID()) if before is None else before.id, onset, began, trust)


def _offset(told: _Told, detected: Detected) -> datetime | None:
    if detected.offset is None:
        return None
    # Blocks may arrive early or late by some milliseconds, but a sound never ends before it began.
    return told.onset + timedelta(seconds=max(0.0, detected.offset - detected.onset))


def _score(score: float) -> float:
    return round(min(1.0, max(0.0, score)), 4)


def told_level(level: float | None) -> float | None:
    """``level`` in dBFS as the wire bears it."""
    return None if level is None else round(min(_HIGHEST_DBFS, max(_LOWEST_DBFS, level)), 1)
