"""Events and rooms as the tests of the node need them."""

from datetime import UTC, datetime

from ulid import ULID

from tocsin_shared.events import Clock, NodeBorn, Phase, SoundDetected


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


def born(session: int) -> NodeBorn:
    """A valid description for the connection number ``session``."""
    return NodeBorn(
        node="press-1",
        zone="hall",
        room="Press 1",
        boot="b1",
        session=session,
        at=datetime(2026, 1, 1, tzinfo=UTC),
        version="0.1.0",
        bundle="sentry-0.1.0+full-int8",
        runtime="ai-edge-litert 2.3.0",
        hardware="test",
        source="test",
        labels=("siren",),
        hop_seconds=0.5,
        heartbeat_seconds=10.0,
        outbox_depth=0,
    )
