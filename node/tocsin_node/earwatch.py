"""Keeps the register of troubles true to what the microphone gives, or does not give."""

import logging

from tocsin_node.ears import Change, Ears
from tocsin_node.meter import Meter
from tocsin_node.pipeline import Sound
from tocsin_node.troubles import Troubles
from tocsin_shared.errors import UnavailableError
from tocsin_shared.events import TroubleKind

UNHEARD = (TroubleKind.MIC_ABSENT, TroubleKind.MIC_BUSY, TroubleKind.MIC_WRONG_RATE)
"""Why a microphone cannot be opened; at most one of them at a time."""

log = logging.getLogger("tocsin.node.ears")


class MicrophoneError(UnavailableError):
    """A microphone cannot be used now; ``kind`` says why."""

    def __init__(self, message: str, kind: TroubleKind = TroubleKind.MIC_ABSENT) -> None:
        super().__init__(message)
        self.kind = kind


class EarWatch:
    """Watches one source. Belongs to the thread of the ears."""

    def __init__(self, sample_rate_hz: int, troubles: Troubles, *, live: bool) -> None:
        self._meter = Meter(sample_rate_hz)
        self._ears = Ears(live=live)
        self._troubles = troubles
        self._hears = False

    def heard(self, sound: Sound, dropped_blocks: int) -> None:
        """Take note of ``sound``; ``dropped_blocks`` counts all that were lost so far."""
        if not self._hears:
            self._hears = True
            self._troubles.end(*UNHEARD)
        for second in self._meter.push(sound, dropped_blocks):
            self._note(self._ears.push(second))

    def lost(self, error: UnavailableError) -> None:
        """Take note that there is no sound, and why."""
        self._hears = False
        self._meter.restart()
        self._note(self._ears.forget())
        kind = error.kind if isinstance(error, MicrophoneError) else TroubleKind.MIC_ABSENT
        self._troubles.end(*(other for other in UNHEARD if other is not kind))
        self._troubles.begin(kind, str(error))

    def _note(self, changes: list[Change]) -> None:
        for change in changes:
            if change.begins:
                log.warning("trouble: %s (%s)", change.kind, change.detail)
                self._troubles.begin(change.kind, change.detail)
            else:
                log.info("trouble is over: %s", change.kind)
                self._troubles.end(change.kind)
