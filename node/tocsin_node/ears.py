"""Rules: what was measured second by second becomes troubles of the microphone, each with start and end.

Pure: time stands in what is measured. Nothing here mutes anything: a quiet far alarm reaches the network
whatever these rules think of the microphone.

==============  ===========================================  =======================================
trouble         begins                                       ends
==============  ===========================================  =======================================
mic_silent      3 s of digital silence                       1 s with sound
mic_constant    3 s of one value that is not 0               1 s with sound
mic_dc          mean beyond 5 % of full scale for 5 s        within 3 % for 5 s
mic_hum         98 % of the power is mains hum for 20 s      less than 90 % for 10 s
mic_clipping    0.1 % of the samples of 10 s at full scale   less than 0.01 % for 10 s
mic_drops       1 % of the blocks of 10 s lost               less than 0.2 % for 10 s
mic_wrong_rate  7 % too many or too few samples in 5 s,      within 5 % three times
                three times
mic_level       30 min beyond what the room's last 7 days    5 min within it
                knew, and 20 dB more; after 24 h at least
==============  ===========================================  =======================================
"""

import math
import statistics
from collections import deque
from dataclasses import dataclass

from tocsin_shared.events import TroubleKind

RECENT_SECONDS = 10
"""Shares of clipped samples and lost blocks are taken over this many seconds."""
PACE_SECONDS = 5
MINUTE_SECONDS = 60
NORM_MINUTES, LEAST_NORM_MINUTES = 7 * 24 * 60, 24 * 60
"""The room's norm is what its last week was like, and needs a day to begin with: nights are not days."""
MARGIN_DB = 20.0
LOW_QUANTILE, HIGH_QUANTILE = 0.05, 0.95


@dataclass(frozen=True)
class Second:
    """What was measured in one second of sound."""

    at: float
    """Monotonic time at which its last sample was there, seconds."""
    level_dbfs: float
    """Level without the mean; −inf for silence and for any other constant value."""
    mean: float
    """Mean of the samples, −1 to 1."""
    clipped_share: float
    hum_share: float
    """Share of the power at 50 or 60 Hz and their first harmonics, whichever is more."""
    dropped_blocks: int
    blocks: int
    """Blocks that arrived."""


@dataclass(frozen=True)
class Change:
    """A trouble began or ended."""

    kind: TroubleKind
    begins: bool
    detail: str = ""


class _Watch:
    """One trouble: begins after ``patience`` bad looks in a row, ends after ``doubt`` good ones."""

    def __init__(self, kind: TroubleKind, patience: int, doubt: int) -> None:
        self.kind = kind
        self.is_open = False
        self._patience = patience
        self._doubt = doubt
        self._streak = 0

    def look(self, bad: bool | None, detail: str) -> list[Change]:
        """``bad`` is ``None`` where nothing can be said, or neither is clear: counting begins anew."""
        if bad is None or bad == self.is_open:
            self._streak = 0
            return []
        self._streak += 1
        if self._streak < (self._doubt if self.is_open else self._patience):
            return []
        self._streak = 0
        self.is_open = not self.is_open
        return [Change(self.kind, self.is_open, detail if self.is_open else "")]

    def close(self) -> list[Change]:
        """End it without a look."""
        was_open, self.is_open, self._streak = self.is_open, False, 0
        return [Change(self.kind, begins=False)] if was_open else []


class Ears:
    """Judges the microphone. Not thread-safe.

    ``live`` says that sound comes at the speed of time, as from a sound card, so that its pace can be judged.
    """

    def __init__(self, *, live: bool) -> None:
        self._live = live
        self._recent: deque[Second] = deque(maxlen=RECENT_SECONDS)
        self._silent = _Watch(TroubleKind.MIC_SILENT, 3, 1)
        self._constant = _Watch(TroubleKind.MIC_CONSTANT, 3, 1)
        self._dc = _Watch(TroubleKind.MIC_DC, 5, 5)
        self._hum = _Watch(TroubleKind.MIC_HUM, 20, 10)
        self._clipping = _Watch(TroubleKind.MIC_CLIPPING, 1, 10)
        self._drops = _Watch(TroubleKind.MIC_DROPS, 1, 10)
        self._rate = _Watch(TroubleKind.MIC_WRONG_RATE, 3, 3)
        self._norm = Norm()

    def push(self, second: Second) -> list[Change]:
        """What one more ``second`` changes."""
        self._recent.append(second)
        sounding = math.isfinite(second.level_dbfs)
        silent = not sounding and second.mean == 0.0
        return [
            *self._silent.look(silent, "digital silence: muted, or the plug is half out"),
            *self._constant.look(not sounding and not silent, f"every sample is {second.mean:.4f}"),
            *self._judge_mean(second, sounding),
            *self._judge_hum(second, sounding),
            *self._judge_clipping(),
            *self._judge_drops(),
            *self._judge_pace(),
            *(self._norm.push(second.level_dbfs) if sounding else []),
        ]

    def forget(self) -> list[Change]:
        """The microphone is gone: whatever it was like is over. What the room is like stays."""
        self._recent.clear()
        watches = (
            self._silent,
            self._constant,
            self._dc,
            self._hum,
            self._clipping,
            self._drops,
            self._rate,
        )
        return [change for watch in watches for change in watch.close()]

    def _judge_mean(self, second: Second, sounding: bool) -> list[Change]:
        bad = _between(abs(second.mean), 0.03, 0.05) if sounding else None
        return self._dc.look(bad, f"the mean is {second.mean:+.0%} of full scale")

    def _judge_hum(self, second: Second, sounding: bool) -> list[Change]:
        bad = _between(second.hum_share, 0.90, 0.98) if sounding else None
        return self._hum.look(bad, f"mains hum and nothing else at {second.level_dbfs:.0f} dBFS")

    def _judge_clipping(self) -> list[Change]:
        share = statistics.fmean(one.clipped_share for one in self._recent)
        full = len(self._recent) == RECENT_SECONDS
        bad = _between(share, 0.0001, 0.001) if full else None
        return self._clipping.look(bad, f"{share:.1%} of the samples are at full scale")

    def _judge_drops(self) -> list[Change]:
        dropped = sum(one.dropped_blocks for one in self._recent)
        everything = dropped + sum(one.blocks for one in self._recent)
        share = dropped / everything if everything else 0.0
        return self._drops.look(
            _between(share, 0.002, 0.01), f"{share:.1%} of the blocks of {len(self._recent)} s were lost"
        )

    def _judge_pace(self) -> list[Change]:
        """Samples that came against time that went by; a delayed block upsets one or two looks, not three."""
        last = list(self._recent)[-PACE_SECONDS - 1 :]
        if not self._live or len(last) <= PACE_SECONDS or any(one.dropped_blocks for one in last):
            return self._rate.look(None, "")
        pace = PACE_SECONDS / max(1e-3, last[-1].at - last[0].at)
        return self._rate.look(
            _between(abs(pace - 1.0), 0.05, 0.07), f"{pace:.2f} times as many samples as it promises"
        )


class Norm:
    """How loud the room usually is, and whether it is far from that. Levels in dBFS.

    A week is kept as medians of minutes. A microphone that loses its sensitivity, or whose gain somebody
    turned, leaves the whole range of them; a quiet night or a loud day does not. Minutes that are far off
    are not learned. A trouble that has lasted a week is the new norm, and is learned from the beginning.
    """

    def __init__(self) -> None:
        self._minute: list[float] = []
        self._minutes: deque[float] = deque(maxlen=NORM_MINUTES)
        self._watch = _Watch(TroubleKind.MIC_LEVEL, 30, 5)
        self._open_minutes = 0

    def push(self, level_dbfs: float) -> list[Change]:
        """What one more second with sound changes."""
        self._minute.append(level_dbfs)
        if len(self._minute) < MINUTE_SECONDS:
            return []
        median = statistics.median(self._minute)
        self._minute.clear()
        return self._judge(median)

    def _judge(self, minute: float) -> list[Change]:
        if len(self._minutes) < LEAST_NORM_MINUTES:
            self._minutes.append(minute)
            return []
        ordered = sorted(self._minutes)
        low = ordered[int(LOW_QUANTILE * len(ordered))]
        high = ordered[int(HIGH_QUANTILE * len(ordered))]
        far = not low - MARGIN_DB <= minute <= high + MARGIN_DB
        if not far:
            self._minutes.append(minute)
        detail = f"{minute:.0f} dBFS, where {low:.0f} to {high:.0f} dBFS are usual"
        return [*self._watch.look(far, detail), *self._relearned()]

    def _relearned(self) -> list[Change]:
        self._open_minutes = self._open_minutes + 1 if self._watch.is_open else 0
        if self._open_minutes < NORM_MINUTES:
            return []
        self._minutes.clear()
        return self._watch.close()


def _between(value: float, good: float, bad: float) -> bool | None:
    """Whether ``value`` is bad (from ``bad`` on); ``None`` in the space between, where nothing changes."""
    if value >= bad:
        return True
    return None if value > good else False
