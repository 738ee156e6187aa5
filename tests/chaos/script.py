"""Rules: which faults come when. The same seed gives the same script."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What is done to the site."""

    BROKER_KILL = "broker killed"
    BROKER_STOP = "broker stopped"
    HUB_KILL = "hub killed"
    HUB_STOP = "hub stopped"
    NODE_KILL = "node killed"
    NODE_STOP = "node stopped"
    PARTITION = "nodes cut off"
    STALL = "nodes' line half open"
    HUB_PARTITION = "hub cut off"
    SLOW = "slow line"
    RESETS = "connections reset"
    DISK_FULL = "hub's disk full"
    CLOCK = "node's clock a day ahead"
    DATABASE_KILL = "database killed"
    DATABASE_STOP = "database stopped"
    REDIS_KILL = "Redis killed"
    REDIS_STOP = "Redis stopped"
    WEB_KILL = "web process killed"


_OF_SERVERS = {Kind.DATABASE_KILL, Kind.DATABASE_STOP, Kind.REDIS_KILL, Kind.REDIS_STOP, Kind.WEB_KILL}
OF_SQLITE = tuple(kind for kind in Kind if kind not in _OF_SERVERS)
OF_POSTGRESQL = tuple(kind for kind in Kind if kind is not Kind.DISK_FULL)
"""What can be done to a site whose hub has its database in a file; or in a PostgreSQL, and a web process
beside it."""

LASTS = {
    Kind.BROKER_KILL: (14.0, 20.0),
    Kind.BROKER_STOP: (25.0, 35.0),
    Kind.HUB_KILL: (5.0, 15.0),
    Kind.HUB_STOP: (25.0, 35.0),
    Kind.NODE_KILL: (14.0, 20.0),
    Kind.NODE_STOP: (20.0, 30.0),
    Kind.PARTITION: (25.0, 40.0),
    Kind.STALL: (25.0, 40.0),
    Kind.HUB_PARTITION: (14.0, 25.0),
    Kind.SLOW: (10.0, 20.0),
    Kind.RESETS: (5.0, 10.0),
    Kind.DISK_FULL: (10.0, 20.0),
    Kind.CLOCK: (10.0, 20.0),
    Kind.DATABASE_KILL: (10.0, 60.0),
    Kind.DATABASE_STOP: (15.0, 30.0),
    Kind.REDIS_KILL: (12.0, 30.0),
    Kind.REDIS_STOP: (12.0, 30.0),
    Kind.WEB_KILL: (3.0, 6.0),
}
"""Seconds from and to; long enough for whoever has to notice it."""
HEALS_SECONDS = 15.0
"""So long after a fault everything is as it was: connections are back, and what waited is sent."""
CALM_SECONDS = 8.0
"""Between healing and the next fault, for the sounds that must pass at once."""


@dataclass(frozen=True)
class Fault:
    """One fault; seconds from the beginning of the campaign."""

    kind: Kind
    at: float
    lasts: float

    @property
    def ends(self) -> float:
        """When it is taken back."""
        return self.at + self.lasts

    @property
    def healed(self) -> float:
        """From when on its consequences are over."""
        return self.ends + HEALS_SECONDS


def script(seed: int, seconds: float, kinds: Sequence[Kind] = OF_SQLITE) -> list[Fault]:
    """Faults one after another, all healed before ``seconds``; each kind comes before any comes twice."""
    dice = random.Random(seed)
    return list(_one_after_another(dice, seconds, kinds))


def _one_after_another(dice: random.Random, seconds: float, kinds: Sequence[Kind]) -> Iterator[Fault]:
    at, deck = CALM_SECONDS, list[Kind]()
    while True:
        deck = deck or dice.sample(kinds, len(kinds))
        kind = deck.pop(0)
        fault = Fault(kind, round(at, 1), round(dice.uniform(*LASTS[kind]), 1))
        if fault.healed + CALM_SECONDS > seconds:
            return
        yield fault
        at = fault.healed + CALM_SECONDS


def calm(faults: Sequence[Fault], seconds: float) -> list[tuple[float, float]]:
    """Stretches in which everything works: none of the faults, nor what they leave behind."""
    borders = [0.0, *(moment for fault in faults for moment in (fault.at, fault.healed)), seconds]
    return list(zip(borders[::2], borders[1::2], strict=True))
