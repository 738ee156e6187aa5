"""When scores become a detection: k hits of n windows, hysteresis, and limits of length, all in seconds.

Pure rules: no clock, no numpy, no sound. The node steps one detector with every window, and evaluation
steps the very same one over recordings.

A rule is written in seconds and compiled for the hop. A window that ends at ``e`` is new in
``(e − hop, e]``: that stretch is what its score is booked on. So the onset of a detection is the end of
its first hit minus one hop, and its offset is the end of the last window that kept it alive. Both lie
late by what the network needs to be sure, the offset by at most the length of a window.

For each label::

    quiet ──k hits of n──▶ pending ──min_seconds──▶ told ──release_seconds or max_seconds──▶ quiet
                              └──release_seconds──▶ quiet (never told)

Hits inside a detection that has ended, or inside its refractory time, count for nothing afterwards:
two detections of one label never overlap, and the next begins after the refractory time.
"""

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count

from tocsin_shared.errors import BundleError, SettingsError
from tocsin_shared.events import Certainty, Phase, Rhythm
from tocsin_shared.manifest import DetectionRule, LabelSpec

UPDATE_GAIN = 0.1
"""An update is told when the peak has risen by this much since it was last told: at most ten times."""

TOP = 3
"""How many labels are named beside a peak."""

_EPSILON = 1e-6
"""Seconds that are no difference; 0.3 / 0.1 is 2.9999999999999996."""


@dataclass(frozen=True)
class Change:
    """What there is to tell about one detection. Later phases repeat all that earlier ones said."""

    phase: Phase
    detection: int
    """Number of the detection, from 1; never used twice by one detector."""
    label: str
    score: float
    """Highest score so far."""
    top: tuple[tuple[str, float], ...]
    """The three best labels of the window with the highest score, best first."""
    onset_seconds: float
    offset_seconds: float | None
    """``None`` while the sound lasts."""
    level_dbfs: float | None
    """Highest level so far; ``None`` is digital silence."""
    rhythm: Rhythm = Rhythm.NONE
    certainty: Certainty = Certainty.CERTAIN


@dataclass(frozen=True)
class HopRule:
    """A rule compiled for one hop."""

    label: str
    rule: DetectionRule
    hop_seconds: float
    hits: int
    """k: so many windows must be hits …"""
    windows: int
    """… among this many, n."""


@dataclass(frozen=True)
class _Heard:
    """One label's share of one window."""

    end: float
    score: float
    top: tuple[tuple[str, float], ...]
    level: float | None


def compile_rule(label: str, rule: DetectionRule, hop_seconds: float) -> HopRule:
    """``rule`` in windows of ``hop_seconds``: n = ⌊span / hop⌋, k = ⌈active / hop⌉, each at least 1.

    Raises:
        BundleError: the rule contradicts itself; the text names label and remedy.
        SettingsError: the rule is sound, but with this hop it could never be met.
    """
    for wrong, why in _contradictions(rule):
        if wrong:
            raise BundleError(f"rule of label {label!r}: {why}")
    windows = max(1, math.floor(rule.span_seconds / hop_seconds + _EPSILON))
    hits = max(1, math.ceil(rule.active_seconds / hop_seconds - _EPSILON))
    if hits > windows:
        raise SettingsError(
            f"label {label!r} could never be detected with a hop of {hop_seconds:g} s: its rule needs "
            f"{hits} hits, but {rule.span_seconds:g} s hold {windows} windows; choose a shorter hop"
        )
    if rule.release_seconds < hop_seconds - _EPSILON:
        raise SettingsError(
            f"label {label!r}: a hop of {hop_seconds:g} s is longer than its release_seconds "
            f"({rule.release_seconds:g}), so every detection would end at once; choose a shorter hop"
        )
    return HopRule(label, rule, hop_seconds, hits, windows)


def _contradictions(rule: DetectionRule) -> list[tuple[bool, str]]:
    return [
        (
            rule.off_threshold > rule.on_threshold,
            f"off_threshold {rule.off_threshold:g} is above on_threshold {rule.on_threshold:g}",
        ),
        (
            rule.active_seconds > rule.span_seconds,
            f"active_seconds {rule.active_seconds:g} do not fit into span_seconds {rule.span_seconds:g}",
        ),
        (
            rule.min_seconds > rule.max_seconds,
            f"min_seconds {rule.min_seconds:g} is above max_seconds {rule.max_seconds:g}",
        ),
        (rule.max_seconds <= 0.0, "max_seconds must be above 0"),
        (
            rule.max_seconds < rule.active_seconds,
            f"max_seconds {rule.max_seconds:g} is below active_seconds {rule.active_seconds:g}",
        ),
    ]


class Detector:
    """Turns the scores of one stream into detections. Not thread-safe.

    Raises, when made:
        BundleError, SettingsError: as :func:`compile_rule`, or no positive hop.
    """

    def __init__(self, labels: Sequence[LabelSpec], hop_seconds: float) -> None:
        if not (math.isfinite(hop_seconds) and hop_seconds > 0.0):
            raise SettingsError(f"the hop must be above 0 s, not {hop_seconds:g}")
        numbers = count(1)
        self._names = tuple(label.name for label in labels)
        self._tracks = [
            (index, _Track(compile_rule(label.name, label.rule, hop_seconds), lambda: next(numbers)))
            for index, label in enumerate(labels)
            if label.rule is not None
        ]
        self._last_end = -math.inf

    def step(self, end_seconds: float, scores: Sequence[float], level_dbfs: float | None) -> list[Change]:
        """What a window changes.

        ``end_seconds`` is the stream's time at the window's end and grows with every step; a leap, as
        after a microphone that was away, ends what it silenced. ``scores`` stand in the order of the
        labels; ``level_dbfs`` is that of the last second before the end.
        """
        if len(scores) != len(self._names):
            raise ValueError(f"{len(scores)} scores for {len(self._names)} labels")
        if not end_seconds > self._last_end:
            raise ValueError(f"time must grow: {end_seconds} s after {self._last_end} s")
        self._last_end = end_seconds
        top = self._top(scores)
        changes: list[Change] = []
        for index, track in self._tracks:
            changes += track.step(_Heard(end_seconds, float(scores[index]), top, level_dbfs))
        return changes

    def flush(self) -> list[Change]:
        """End every open detection, as at the end of a recording; stepping may go on afterwards."""
        return [change for _, track in self._tracks for change in track.close()]

    @property
    def open_count(self) -> int:
        """Detections that were told and have not ended."""
        return sum(track.told for _, track in self._tracks)

    def _top(self, scores: Sequence[float]) -> tuple[tuple[str, float], ...]:
        ranked = sorted(zip(self._names, map(float, scores), strict=True), key=lambda pair: -pair[1])
        return tuple(ranked[:TOP])


class _Open:
    """A detection while it lasts."""

    def __init__(self, onset: float) -> None:
        self.onset = onset
        self.last_alive = onset
        self.number: int | None = None
        """``None`` until it is told."""
        self.told_score = 0.0
        self.score = -1.0
        self.top: tuple[tuple[str, float], ...] = ()
        self.level: float | None = None

    def hear(self, heard: _Heard) -> None:
        if heard.score > self.score:
            self.score, self.top = heard.score, heard.top
        if heard.level is not None:
            self.level = heard.level if self.level is None else max(self.level, heard.level)


class _Track:
    """The state of one label."""

    def __init__(self, rule: HopRule, next_number: Callable[[], int]) -> None:
        self._rule = rule
        self._next_number = next_number
        self._recent: deque[_Heard] = deque(maxlen=rule.windows)
        self._open: _Open | None = None
        self._quiet_until = -math.inf

    @property
    def told(self) -> bool:
        return self._open is not None and self._open.number is not None

    def step(self, heard: _Heard) -> list[Change]:
        changes = self._close_if_silenced_by(heard)
        if self._open is not None:
            return changes + self._go_on(self._open, heard)
        return changes + self._wait(heard)

    def close(self) -> list[Change]:
        """End the detection that is open, if any."""
        ended, self._open = self._open, None
        self._recent.clear()
        if ended is None or ended.number is None:
            return []
        offset = min(ended.last_alive, ended.onset + self._rule.rule.max_seconds)
        self._quiet_until = offset + self._rule.rule.refractory_seconds
        return [self._change(Phase.OFFSET, ended, offset)]

    def _close_if_silenced_by(self, heard: _Heard) -> list[Change]:
        """A leap in time as long as the release ends a detection before the window after it counts."""
        if self._open is None:
            return []
        unheard = heard.end - self._rule.hop_seconds - self._open.last_alive
        return self.close() if unheard >= self._rule.rule.release_seconds - _EPSILON else []

    def _wait(self, heard: _Heard) -> list[Change]:
        hop, windows = self._rule.hop_seconds, self._rule.windows
        if heard.end - hop < self._quiet_until - _EPSILON:
            return []
        self._recent.append(heard)
        while self._recent[0].end < heard.end - windows * hop + hop / 2:
            self._recent.popleft()
        hits = [past for past in self._recent if past.score >= self._rule.rule.on_threshold]
        if len(hits) < self._rule.hits:
            return []
        return self._begin(hits[0])

    def _begin(self, first_hit: _Heard) -> list[Change]:
        # Where time is large, end − hop may fall a rounding below the end of what went before.
        current = _Open(max(first_hit.end - self._rule.hop_seconds, self._quiet_until))
        for heard in self._recent:
            if heard.end >= first_hit.end:
                current.hear(heard)
        current.last_alive = self._recent[-1].end
        self._open = current
        return self._tell(current) + self._close_if_too_long(current)

    def _go_on(self, current: _Open, heard: _Heard) -> list[Change]:
        current.hear(heard)
        if heard.score >= self._rule.rule.off_threshold:
            current.last_alive = heard.end
        elif heard.end - current.last_alive >= self._rule.rule.release_seconds - _EPSILON:
            return self.close()
        return self._tell(current) + self._close_if_too_long(current)

    def _close_if_too_long(self, current: _Open) -> list[Change]:
        lasted = current.last_alive - current.onset
        return self.close() if lasted >= self._rule.rule.max_seconds - _EPSILON else []

    def _tell(self, current: _Open) -> list[Change]:
        if current.number is None:
            if current.last_alive - current.onset < self._rule.rule.min_seconds - _EPSILON:
                return []
            current.number = self._next_number()
            current.told_score = current.score
            return [self._change(Phase.ONSET, current)]
        if current.score - current.told_score < UPDATE_GAIN:
            return []
        current.told_score = current.score
        return [self._change(Phase.UPDATE, current)]

    def _change(self, phase: Phase, current: _Open, offset: float | None = None) -> Change:
        assert current.number is not None  # noqa: S101  # nothing is told of a detection without a number
        return Change(
            phase=phase,
            detection=current.number,
            label=self._rule.label,
            score=current.score,
            top=current.top,
            onset_seconds=current.onset,
            offset_seconds=offset,
            level_dbfs=current.level,
        )
