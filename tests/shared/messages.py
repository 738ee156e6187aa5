"""Valid messages for tests; every field can be overridden."""

from datetime import UTC, datetime
from typing import Any

from tocsin_shared.events import Clock, Phase, ScoredLabel, SoundDetected

WHEN = datetime(2026, 11, 23, 2, 38, 11, 250_000, tzinfo=UTC)


def sound(**changes: Any) -> SoundDetected:
    """A smoke alarm that has just begun in the press shop."""
    fields: dict[str, Any] = {
        "id": "01JDB8Z6Q4T3M0V5X7Y9ABCDEF",
        "node": "press-1",
        "zone": "hall-1",
        "label": "smoke_alarm",
        "score": 0.93,
        "top": (ScoredLabel("smoke_alarm", 0.93), ScoredLabel("siren", 0.21)),
        "level_dbfs": -24.5,
        "ambient_dbfs": -51.0,
        "onset": WHEN,
        "offset": None,
        "mono_ns": 123_456_789,
        "boot": "b1",
        "seq": 7,
        "clock": Clock.NTP,
        "bundle": "sentry-0.1.0+full-int8",
        "phase": Phase.ONSET,
    }
    return SoundDetected(**{**fields, **changes})
