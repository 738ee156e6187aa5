"""Rules: which simulated node makes which sound when, and when it drops out. Chance is an argument."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from tocsin_hub.fleet.model import STORM_SECONDS, Plan

LABELS = ("machine_alarm_beep", "vehicle_horn", "dog_bark", "engine", "knock", "smoke_alarm", "scream")
STORM_LABEL = "smoke_alarm"
_SHORTEST_SECONDS, _LONGEST_SECONDS = 1.0, 8.0
_STORM_LASTS_SECONDS = 10.0
_BETWEEN_DROPS_SECONDS = 60.0
"""Mean time from one drop of a node to the next."""
_AWAY_SECONDS = (1.0, 20.0)
_RESTART = 1 / 3
"""Share of drops after which the node's process is another one."""


@dataclass(frozen=True)
class Occurrence:
    """A sound in a room; seconds from the beginning of the simulation."""

    at: float
    until: float
    label: str
    storm: bool = False


@dataclass(frozen=True)
class Drop:
    """A node that falls out without a word and comes back; seconds from the beginning of the simulation."""

    at: float
    back: float
    restart: bool
    """The process on the node is another one when it comes back; its outbox is the same."""


def chance_of(plan: Plan, number: int) -> random.Random:
    """The dice of node ``number``: the same for the same seed."""
    return random.Random(f"{plan.seed}:{number}")  # noqa: S311 - a simulation's dice need not be secret


def sounds_of(plan: Plan, chance: random.Random) -> list[Occurrence]:
    """The sounds of one node in order: a Poisson process, and the storm if there is one."""
    found = list(_by_chance(plan, chance))
    if plan.storm_at is not None:
        at = plan.storm_at + chance.uniform(0.0, STORM_SECONDS)
        until = max(at, min(at + _STORM_LASTS_SECONDS, plan.seconds))
        found.append(Occurrence(at, until, STORM_LABEL, storm=True))
    return sorted(found, key=lambda one: one.at)


def _by_chance(plan: Plan, chance: random.Random) -> Iterator[Occurrence]:
    if plan.rate <= 0:
        return
    at = chance.expovariate(plan.rate / 60.0)
    while at < plan.seconds:
        lasts = chance.uniform(_SHORTEST_SECONDS, _LONGEST_SECONDS)
        yield Occurrence(at, min(at + lasts, plan.seconds), chance.choice(LABELS))
        at += chance.expovariate(plan.rate / 60.0)


def drops_of(plan: Plan, chance: random.Random) -> list[Drop]:
    """When one node drops out and comes back, in order; it is back before the simulation ends."""
    found: list[Drop] = []
    at = chance.expovariate(1.0 / _BETWEEN_DROPS_SECONDS)
    while plan.churn and at < plan.seconds:
        back = min(at + chance.uniform(*_AWAY_SECONDS), plan.seconds)
        found.append(Drop(at, back, chance.random() < _RESTART))
        at = back + chance.expovariate(1.0 / _BETWEEN_DROPS_SECONDS)
    return found
