"""Who uses Tocsin: persons, their roles, their zones, and when they are at work."""

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What a person may do; each role may all that the next one may."""

    ADMIN = "admin"
    """Adds people and nodes, sets policies."""
    OFFICER = "officer"
    """Watches the rooms, answers for the others, starts drills."""
    WORKER = "worker"
    """Is warned, and answers for herself."""


@dataclass(frozen=True)
class DailySpan:
    """Some minutes of some days; a span that ends before it starts goes on after midnight."""

    days: frozenset[int]
    """Days on which it starts, Monday is 0; empty means every day."""
    start_minute: int
    """Minutes after midnight of the site's time zone, 0 to 1439."""
    end_minute: int
    """Minutes after midnight, exclusive; equal to the start means the whole day."""


@dataclass(frozen=True)
class Person:
    """Somebody whom the hub knows."""

    id: str
    """ULID."""
    name: str
    role: Role
    language: str | None = None
    """Language code in which she is told; ``None``: as her browser asks."""
    zones: frozenset[str] = frozenset()
    """Zones that she sees and is told of; empty means all of them."""
    buddy: str | None = None
    """Id of who is told next if she does not answer."""
    shift: tuple[DailySpan, ...] = ()
    """When she is at work; empty means always."""
    quiet: tuple[DailySpan, ...] = ()
    """When she is told of alarms only."""
    muted: frozenset[str] = frozenset()
    """Labels, or kinds of trouble, of which she is not told; never those of severity ``alarm``."""
    enabled: bool = True

    def sees(self, zone: str) -> bool:
        """Whether what happens in ``zone`` is for her eyes."""
        return not self.zones or zone in self.zones

    def may(self, role: Role) -> bool:
        """Whether she may do what ``role`` may."""
        order = list(Role)
        return order.index(self.role) <= order.index(role)
