"""Times that were told by a wrong clock, put right once the clock is set. Pure.

A computer without a clock of its own begins in 1970, or where it was switched off, until the network
tells the time. The monotonic clock runs on all the while, from the start of the machine: where an onset
stands on it, ``onset_mono_ns``, stays true, and the difference of the two clocks now says when it was.
"""

from datetime import UTC, datetime, timedelta

import msgspec

from tocsin_shared.events import Clock, SoundDetected

PLAUSIBLE_SECONDS = 1_577_836_800.0
"""2020-01-01: a wall clock before this is wrong, whoever vouches for it."""


def boot_token(machine: str, process: str) -> str:
    """How a node's process is named on the wire: which start of the machine, and which of the process."""
    return f"{machine}.{process}" if machine else process


def same_machine_boot(one: str, other: str) -> bool:
    """Whether two boot tokens share a monotonic clock."""
    return one.partition(".")[0] == other.partition(".")[0]


def corrected(event: SoundDetected, boot: str, wall_minus_mono: float) -> SoundDetected:
    """``event`` with onset and offset by a clock that is right now: ``wall_minus_mono`` seconds.

    An event whose clock was right, one of another start of the machine, and one that does not say where
    its onset stands on the monotonic clock stay as they are.
    """
    if event.clock is Clock.NTP or event.onset_mono_ns is None or not same_machine_boot(event.boot, boot):
        return event
    try:
        onset = moment(event.onset_mono_ns / 1e9 + wall_minus_mono)
    except (OverflowError, ValueError, OSError):
        return event
    offset = None if event.offset is None else onset + (event.offset - event.onset)
    return msgspec.structs.replace(event, onset=onset, offset=offset, clock=Clock.NTP)


def moment(wall_seconds: float) -> datetime:
    """``wall_seconds`` since 1970 in UTC; a time before that is 1970, which is the earliest that is told."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=max(0.0, wall_seconds))
