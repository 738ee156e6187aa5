"""Joins what the network and the rhythm say of one alarm into one detection, from a first sign to certainty.

Pure rules: no clock, no numpy, no sound. Only fire and carbon monoxide alarms have a standard rhythm; what
the network says of other labels passes unchanged. For the two::

    one window far above the threshold ──▶ fast ──▶ certain: the network's rule is met
                                                        └──▶ confirmed: the rhythm agrees
    the rhythm alone ──▶ rhythm ──▶ confirmed: the network agrees

All of it is one detection with one number. It ends when neither the network nor the rhythm keeps it. A first
sign that does not come true within the span of its rule is ended, and is no first sign again for a while.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count

from tocsin_shared.detector import TOP, Change
from tocsin_shared.events import Certainty, Phase, Rhythm
from tocsin_shared.manifest import DetectionRule, LabelSpec
from tocsin_shared.rhythm import CYCLES, CYCLES_ALONE, Match

LABEL_OF = {Rhythm.T3: "smoke_alarm", Rhythm.T4: "co_alarm"}
"""What a rhythm says by itself."""
FAST_SHARE = 0.9
"""A first sign lies at least this share of the way from its label's on_threshold to 1."""
FAST_REST_SECONDS = 30.0
"""After a first sign that did not come true, there is none of that label for this long."""
LONGEST_SECONDS = 60.0
"""What the rhythm alone keeps up is ended after this long, and told again if it goes on."""
REMEMBERED_SECONDS = 20.0


@dataclass(frozen=True)
class Window:
    """What the network says of one window."""

    end: float
    """Stream time, seconds."""
    scores: Sequence[float]
    level_dbfs: float | None


@dataclass
class _Alarm:
    """A detection while it lasts."""

    told: Change
    """As last told."""
    by_network: bool = False
    fast_until: float = -math.inf
    rhythm_end: float | None = None
    """End of the last pulse of the rhythm; ``None`` when there is none now."""


class Agreement:
    """Detections of network and rhythm together. Not thread-safe; times are those of the stream."""

    def __init__(self, labels: Sequence[LabelSpec], hop_seconds: float) -> None:
        self._names = tuple(label.name for label in labels)
        self._rules = {
            one.name: one.rule for one in labels if one.rule is not None and one.name in LABEL_OF.values()
        }
        self._hop_seconds = hop_seconds
        self._next = count(1)
        self._numbers: dict[int, int] = {}
        self._alarms: dict[str, _Alarm] = {}
        self._no_fast_until: dict[str, float] = {}
        self._ended: dict[str, float] = {}
        self._recent: deque[Window] = deque()

    @property
    def open_count(self) -> int:
        """Detections that were told and have not ended."""
        return len(self._numbers) + len(self._alarms)

    def hear(self, window: Window, changes: Sequence[Change]) -> list[Change]:
        """What a window and the ``changes`` that the detector made of it change."""
        self._recent.append(window)
        while self._recent[0].end < window.end - REMEMBERED_SECONDS:
            self._recent.popleft()
        found = [joined for change in changes for joined in self._join(change)]
        changed = {change.label for change in changes}
        for label, rule in self._rules.items():
            if label not in changed:
                found += self._look_for_fast(label, rule, window)
        return found

    def match(self, now: float, matches: Sequence[Match]) -> list[Change]:
        """What the rhythms that sound at ``now`` change; rhythms that are not among them are over."""
        found = []
        by_rhythm = {one.rhythm: one for one in matches if one.cycles >= CYCLES}
        for rhythm, label in LABEL_OF.items():
            found += self._with_rhythm(label, rhythm, by_rhythm.get(rhythm), now)
        return found

    def flush(self, changes: Sequence[Change]) -> list[Change]:
        """End everything, the detector's last ``changes`` included."""
        found = []
        for alarm in self._alarms.values():
            alarm.rhythm_end, alarm.fast_until = None, -math.inf
        found += [joined for change in changes for joined in self._join(change)]
        now = self._recent[-1].end if self._recent else 0.0
        for label in list(self._alarms):
            found += self._end(label, now)
        return found

    def _join(self, change: Change) -> list[Change]:
        if change.label not in self._rules:
            return [self._renumbered(change)]
        alarm = self._alarms.get(change.label)
        if alarm is None:
            onset = max(change.onset_seconds, self._ended.get(change.label, -math.inf))
            begun = replace(change, detection=next(self._next), onset_seconds=onset)
            self._alarms[change.label] = _Alarm(begun, by_network=True)
            return [begun]
        alarm.fast_until = -math.inf
        alarm.by_network = change.phase is not Phase.OFFSET
        _raise(alarm, change)
        if alarm.by_network:
            return [self._update(alarm, _certainty(alarm))]
        if alarm.rhythm_end is not None:
            return []
        return self._end(change.label, change.offset_seconds or alarm.told.onset_seconds)

    def _renumbered(self, change: Change) -> Change:
        number = self._numbers.get(change.detection) or next(self._next)
        self._numbers[change.detection] = number
        if change.phase is Phase.OFFSET:
            del self._numbers[change.detection]
        return replace(change, detection=number)

    def _look_for_fast(self, label: str, rule: DetectionRule, window: Window) -> list[Change]:
        alarm = self._alarms.get(label)
        if alarm is not None:
            if math.isinf(alarm.fast_until) or alarm.by_network or alarm.rhythm_end is not None:
                return []
            if window.end < alarm.fast_until:
                return []
            self._no_fast_until[label] = window.end + FAST_REST_SECONDS
            return self._end(label, alarm.fast_until - rule.span_seconds)
        score = window.scores[self._names.index(label)]
        sign = rule.on_threshold + FAST_SHARE * (1.0 - rule.on_threshold)
        if score < sign or window.end < self._no_fast_until.get(label, -math.inf):
            return []
        onset = max(window.end - self._hop_seconds, self._ended.get(label, -math.inf))
        begun = replace(self._begun(label, onset), certainty=Certainty.FAST)
        self._alarms[label] = _Alarm(begun, fast_until=window.end + rule.span_seconds)
        return [begun]

    def _with_rhythm(self, label: str, rhythm: Rhythm, match: Match | None, now: float) -> list[Change]:
        alarm = self._alarms.get(label)
        if match is None:
            return self._without_rhythm(label, alarm)
        if alarm is None:
            if match.cycles < CYCLES_ALONE or match.end <= self._ended.get(label, -math.inf):
                return []
            onset = max(match.start, self._ended.get(label, -math.inf))
            begun = replace(self._begun(label, onset), rhythm=rhythm, certainty=Certainty.RHYTHM)
            self._alarms[label] = _Alarm(begun, rhythm_end=match.end)
            return [begun]
        alarm.rhythm_end = match.end
        if alarm.told.rhythm is not rhythm:
            alarm.told = replace(alarm.told, rhythm=rhythm)
            return [self._update(alarm, Certainty.CONFIRMED)]
        if not alarm.by_network and now - alarm.told.onset_seconds >= LONGEST_SECONDS:
            return self._end(label, now)
        return []

    def _without_rhythm(self, label: str, alarm: _Alarm | None) -> list[Change]:
        if alarm is None or alarm.rhythm_end is None:
            return []
        over, alarm.rhythm_end = alarm.rhythm_end, None
        return [] if alarm.by_network else self._end(label, over)

    def _begun(self, label: str, onset: float) -> Change:
        """A detection that begins without the detector: score and level are the best since ``onset``."""
        heard = [one for one in self._recent if one.end > onset] or list(self._recent)[-1:]
        place = self._names.index(label) if label in self._names else None
        best = max(heard, key=lambda one: 0.0 if place is None else one.scores[place], default=None)
        levels = [one.level_dbfs for one in heard if one.level_dbfs is not None]
        ranked = (
            [] if best is None else sorted(zip(self._names, best.scores, strict=True), key=lambda p: -p[1])
        )
        return Change(
            phase=Phase.ONSET,
            detection=next(self._next),
            label=label,
            score=0.0 if best is None or place is None else best.scores[place],
            top=tuple(ranked[:TOP]),
            onset_seconds=onset,
            offset_seconds=None,
            level_dbfs=max(levels, default=None),
        )

    def _update(self, alarm: _Alarm, certainty: Certainty) -> Change:
        alarm.told = replace(alarm.told, phase=Phase.UPDATE, certainty=certainty)
        return alarm.told

    def _end(self, label: str, offset: float) -> list[Change]:
        told = self._alarms.pop(label).told
        self._ended[label] = max(offset, told.onset_seconds)
        return [replace(told, phase=Phase.OFFSET, offset_seconds=self._ended[label])]


def _certainty(alarm: _Alarm) -> Certainty:
    return Certainty.CERTAIN if alarm.told.rhythm is Rhythm.NONE else Certainty.CONFIRMED


def _raise(alarm: _Alarm, change: Change) -> None:
    """Score and level are the highest so far."""
    if change.score > alarm.told.score:
        alarm.told = replace(alarm.told, score=change.score, top=change.top)
    if change.level_dbfs is not None:
        level = alarm.told.level_dbfs
        highest = change.level_dbfs if level is None else max(level, change.level_dbfs)
        alarm.told = replace(alarm.told, level_dbfs=highest)
