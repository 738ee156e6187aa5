"""Which variant, thread count and hop a machine should take, judged from measured CPU times."""

from collections.abc import Sequence
from dataclasses import dataclass

HOPS_SECONDS = (0.5, 1.0, 2.0)
"""Hops to choose from, quickest first; a shorter one than the default costs more and is a user's choice."""
MOST_LOAD = 0.25
"""A node may keep one core busy for this share: a hot board still keeps up at a quarter of its clock."""
FASTER_RATIO = 0.9
"""Another variant is taken instead of the preferred one only if it needs less than this share of its time."""


@dataclass(frozen=True)
class Cost:
    """What one way to run the model takes."""

    variant: str
    threads: int
    invoke_ms: float
    """CPU time of one window, milliseconds."""


@dataclass(frozen=True)
class Advice:
    """What to write into the settings, and why."""

    variant: str
    threads: int
    hop_seconds: float
    load: float
    """CPU time of features and network as a share of one core."""
    words: str


def advice(costs: Sequence[Cost], features_ms: float, preferred: str) -> Advice:
    """The advice for ``costs``; ``features_ms`` is CPU time for half a second of sound.

    Raises:
        ValueError: ``costs`` has nothing of ``preferred``.
    """
    usual = min((cost for cost in costs if cost.variant == preferred), key=lambda cost: cost.invoke_ms)
    fastest = min(costs, key=lambda cost: cost.invoke_ms)
    best = fastest if fastest.invoke_ms < FASTER_RATIO * usual.invoke_ms else usual
    loads = {hop: (2.0 * features_ms * hop + best.invoke_ms) / (hop * 1e3) for hop in HOPS_SECONDS}
    hop = next((hop for hop in HOPS_SECONDS if loads[hop] <= MOST_LOAD), HOPS_SECONDS[-1])
    return Advice(best.variant, best.threads, hop, loads[hop], _words(best, hop, loads[hop]))


def _words(best: Cost, hop: float, load: float) -> str:
    setting = f'variant = "{best.variant}", threads = {best.threads}, hop_seconds = {hop:g}'
    if load >= 1.0:
        return f"this machine is too slow: even with {setting} it falls behind; take a faster board"
    if load > MOST_LOAD:
        return f"this machine just keeps up: take {setting}; it leaves {1.0 - load:.0%} of one core"
    return f"take {setting}; hearing then needs {load:.1%} of one core"
