"""A short campaign; ``make chaos SECONDS=3600`` is the long one."""

from pathlib import Path

import pytest

from tests.chaos.campaign import run
from tests.chaos.invariants import broken, count
from tests.chaos.script import Kind

SECONDS, SEED = 145.0, 32
KINDS = (Kind.HUB_KILL, Kind.BROKER_KILL, Kind.DISK_FULL, Kind.RESETS)
"""Those that are short and go deep; the others are left to the long form."""
LATE_SECONDS = 10.0
"""Other tests run beside this one."""


@pytest.mark.slow
@pytest.mark.broker
@pytest.mark.timeout(600)
def test_whatever_breaks_nothing_is_lost_and_nothing_is_twice(tmp_path: Path) -> None:
    """And officers are told of each fault, and nobody is woken by what is over."""
    said: list[str] = []
    outcome = run(tmp_path, SEED, SECONDS, said.append, kinds=KINDS, late_seconds=LATE_SECONDS)
    script = "\n".join([f"seed {SEED}, logs in {tmp_path}", *said])
    assert {fault.kind for fault in outcome.faults} == set(KINDS), script
    assert broken(outcome) == [], script
    found = count(outcome)
    assert found.produced > 200, script
    assert found.calm > 20, script
    assert outcome.told, "alarms of calm stretches reach somebody"
