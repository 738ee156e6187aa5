"""Two bundles that hear the same room: how far apart they are, and whether the new one may speak. Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from tocsin_shared.detector import Change
from tocsin_shared.events import Phase

APART = 0.3
"""Scores of one label that differ by more than this are a disagreement."""
CONFIDENT = 0.8
"""A detection of the active bundle with this peak score is one that the new one must have, too."""


@dataclass(frozen=True)
class ShadowLimits:
    """How far apart the two may be."""

    disagreements: float = 0.1
    """Share of windows."""
    more_alarms: float = 2.0
    """So many times as many detections as the active bundle …"""
    spare_alarms: int = 2
    """… and so many on top."""


@dataclass
class Tally:
    """What was counted since the new bundle began to listen. Not thread-safe."""

    windows: int = 0
    disagreements: int = 0
    active: Counter[str] = field(default_factory=Counter)
    """Detections of the active bundle, by label."""
    confident: Counter[str] = field(default_factory=Counter)
    """Those with a peak score of :data:`CONFIDENT` or more."""
    other: Counter[str] = field(default_factory=Counter)
    _sure: set[int] = field(default_factory=set)

    def window(self, active: Sequence[float], other: Sequence[float]) -> None:
        """Both judged a window; scores of the labels that both have, in one order."""
        self.windows += 1
        apart = (abs(one - two) for one, two in zip(active, other, strict=True))
        self.disagreements += any(not gap <= APART for gap in apart)

    def heard(self, change: Change, *, active: bool) -> None:
        """One of them detected something, or more of it."""
        if change.phase is Phase.ONSET:
            (self.active if active else self.other)[change.label] += 1
        if active and change.score >= CONFIDENT and change.detection not in self._sure:
            self._sure.add(change.detection)
            self.confident[change.label] += 1

    def objection(self, limits: ShadowLimits) -> str:
        """Why the new bundle may not speak, in words; nothing if it may."""
        missed = sorted(label for label in self.confident if not self.other[label])
        if missed:
            return f"it missed {', '.join(missed)}, which the active one is sure of"
        allowed = limits.more_alarms * self.active.total() + limits.spare_alarms
        if self.other.total() > allowed:
            return f"it detected {self.other.total()} times, the active one {self.active.total()} times"
        if self.disagreements > limits.disagreements * self.windows:
            return f"the two differ in {self.disagreements} of {self.windows} windows"
        return ""
