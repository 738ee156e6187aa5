"""Rules: of which detections a clip is kept, what of the sound, and which clips must go. Pure; fails closed.

Positions are samples of the stream, counted from the start of the process.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tocsin_shared.events import Phase, SoundDetected
from tocsin_shared.labels import Severity, severity_of


@dataclass(frozen=True)
class Span:
    """A stretch of the stream, half-open, samples."""

    begin: int
    end: int


@dataclass(frozen=True)
class Judged:
    """What the network says of one window."""

    span: Span
    speech: float
    """The network's own score of ``speech``, 0 to 1."""


@dataclass(frozen=True)
class KeptClip:
    """A clip on the disk."""

    id: str
    written: float
    """Seconds since 1970."""
    size_bytes: int


def is_wanted(event: SoundDetected) -> bool:
    """Whether a clip of ``event`` may be kept: of the begin of an alarm, never of a self-test."""
    return event.phase is Phase.ONSET and not event.test and severity_of(event.label) is Severity.ALARM


def is_free_of_speech(span: Span, windows: Iterable[Judged], speech_above: float) -> bool:
    """Whether windows judge all of ``span``, and none that touches it scores speech above ``speech_above``.

    What nobody judged may be speech. ``windows`` come in the order of the stream.
    """
    known_to = span.begin
    for window in windows:
        if window.span.end <= span.begin or window.span.begin >= span.end:
            continue
        if window.span.begin > known_to or not window.speech <= speech_above:  # so that NaN is refused, too
            return False
        known_to = max(known_to, window.span.end)
    return span.begin < span.end <= known_to


def must_go(
    kept: Sequence[KeptClip], now: float, *, max_age_seconds: float, max_bytes: int, coming_bytes: int = 0
) -> list[KeptClip]:
    """Which clips go at ``now``, seconds since 1970, so that ``coming_bytes`` more fit: the oldest first."""
    oldest_first = sorted(kept, key=lambda clip: (clip.written, clip.id))
    size = coming_bytes + sum(clip.size_bytes for clip in kept)
    going = []
    for clip in oldest_first:
        if now - clip.written > max_age_seconds or size > max_bytes:
            going.append(clip)
            size -= clip.size_bytes
    return going


def from_the_future(kept: Iterable[KeptClip], now: float) -> list[KeptClip]:
    """Clips of a clock that ran ahead: they begin to age now, or they would be kept for too long."""
    return [clip for clip in kept if clip.written > now]
