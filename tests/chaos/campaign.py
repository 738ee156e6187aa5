"""A campaign: faults by a script, sounds all the while, and then what must hold is held against it."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.chaos.invariants import Outcome
from tests.chaos.script import CALM_SECONDS, OF_SQLITE, Fault, Kind, calm, script
from tests.chaos.site import ChaosSite
from tests.hub.postgres_server import PostgresServer
from tests.integration.facility import wait_until
from tocsin_hub.times import now_us

DRAIN_SECONDS = 120.0
_STEP_SECONDS = 0.5
_PLAY_SECONDS = 9.0

Say = Callable[[str], None]


def run(
    folder: Path,
    seed: int,
    seconds: float,
    say: Say,
    *,
    kinds: Sequence[Kind] = OF_SQLITE,
    late_seconds: float = 2.0,
    database: PostgresServer | None = None,
) -> Outcome:
    """Play the script of ``seed``, for at least ``seconds``; what came of it.

    The hub has its database in a file, or in ``database``, which runs.

    Raises:
        AssertionError: a process died that nobody killed, or what waited was not sent in time.
    """
    faults = script(seed, seconds, kinds)
    until = max((fault.healed for fault in faults), default=0.0) + CALM_SECONDS
    with ChaosSite(folder, seed, database) as site:
        fleet = site.start_fleet(until + CALM_SECONDS, DRAIN_SECONDS)
        began_us, began = now_us(), time.monotonic()
        _play(site, faults, began, until, say)
        say("the script is over; what waits is sent")
        wait_until(lambda: fleet.poll() is not None, DRAIN_SECONDS + 60.0, "the fleet to be done")
        wait_until(lambda: _all_stored(site), 60.0, "the real room's sounds to be stored")
        assert not site.dead(), f"these ended by themselves: {site.dead()}"
        return Outcome(
            began_us=began_us,
            faults=faults,
            calm=calm(faults, until),
            made=site.made(),
            rows=site.rows(),
            told=site.told(),
            reported=site.reported(),
            late_seconds=late_seconds,
        )


def _play(site: ChaosSite, faults: Sequence[Fault], began: float, until: float, say: Say) -> None:
    """Begin and end each fault in its time, while alarms sound in the real room."""
    waiting, lasting, next_sound = list(faults), list[Fault](), 0.0
    while (at := time.monotonic() - began) < until:
        if at >= next_sound:
            site.play()
            next_sound = at + _PLAY_SECONDS
        while waiting and waiting[0].at <= at:
            fault = waiting.pop(0)
            say(f"{at:6.1f} s  {fault.kind}, for {fault.lasts:.0f} s")
            site.begin(fault)
            lasting.append(fault)
        for fault in list(lasting):
            if fault.ends <= at:
                site.end(fault)
                lasting.remove(fault)
            else:
                site.step(fault)
        time.sleep(_STEP_SECONDS)


def _all_stored(site: ChaosSite) -> bool:
    stored = {row.id: row.seq for row in site.rows()}
    return all(stored.get(one.id, -1) >= one.seq for one in site.of_room())
