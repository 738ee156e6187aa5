"""What a person chooses before there is a rollout: a signed release, rings, a gate, when it begins."""

from dataclasses import dataclass, field

from tocsin_hub.rollouts.model import Gate, Variant


@dataclass(frozen=True)
class Offered:
    """One signed release that stands in the repository."""

    name: str
    """Name of the bundle, such as ``sentry``."""
    release: str
    """Such as ``0.2.0``."""
    floor: str
    """Once a node has proved it, that node takes nothing older than this."""
    variants: tuple[Variant, ...]
    """By name."""


@dataclass(frozen=True)
class Draft:
    """A rollout that somebody thinks of; names are not checked yet."""

    name: str
    release: str
    variants: tuple[str, ...] = ()
    """Names of variants in order of preference; empty is all that are signed, as they come."""
    rings: tuple[str, ...] = ("1", "25%", "rest")
    """As :func:`tocsin_hub.rollouts.rings.plan_rings` takes them."""
    nodes: tuple[str, ...] = ()
    """Which nodes at all; empty is all of the site."""
    gate: Gate = field(default_factory=Gate)
    """Of each ring."""
    back: str | None = None
    """Release that a rollback offers; ``None`` names none."""
    starts_us: int | None = None
    """Begins by itself then, microseconds of UTC; ``None`` waits for a person's word."""
    two_persons: bool = True
    """Whoever approves must be another person than who made it; the settings may ask for it all the same."""
    max_parallel: int = 20
    """Most nodes that are on their way at once."""
    offline_grace: float = 1_800.0
    """So long does a ring wait for nodes that cannot be offered anything, seconds."""
    lone_zones: frozenset[str] = frozenset()
    """Zones with one node alone that may be updated all the same."""
    soak_seconds: float | None = None
    """How long each node proves the bundle; ``None`` leaves it to the node."""
    shadow_seconds: float | None = None
    """How long each node runs it in the shadow; ``None`` leaves it to the node."""
