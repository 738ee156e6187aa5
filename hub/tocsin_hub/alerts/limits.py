"""How long a channel is tried."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RoadLimits:
    """How long a channel is tried, seconds."""

    deadline_seconds: float = 30.0
    """From handing a message over to giving it up."""
    retry_seconds: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0)
    """Waits between tries; the last one holds for all further ones."""
    queue: int = 2000
