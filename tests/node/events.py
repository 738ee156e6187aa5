"""Events and rooms as the tests of the node need them."""

from datetime import UTC, datetime

from ulid import ULID

from tocsin_shared.events import Clock, Phase, SoundDetected


def event(
    seq: int, label: str = "siren", *, event_id: str | None = None, phase: Phase = Phase.ONSET
) -> SoundDetected:
    """A valid event with the number ``seq``."""
    return SoundDetected(
        id=event_id or str(ULID()),
        node="press-1",
        zone="hall",
        label=label,
        score=0.9,
        top=(),
        level_dbfs=-20.0,
        ambient_dbfs=-50.0,
        onset=datetime(2026, 1, 1, tzinfo=UTC),
        offset=None,
        mono_ns=seq,
        boot="b1",
        seq=seq,
        clock=Clock.NTP,
        bundle="sentry-0.1.0+full-int8",
        phase=phase,
    )
