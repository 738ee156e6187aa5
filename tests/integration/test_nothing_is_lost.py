"""Pull the plug while alarms sound: nothing that was produced is missing afterwards, nothing is twice."""

import time
from pathlib import Path

import pytest

from tests.integration.facility import Facility, wait_until


def all_stored(facility: Facility) -> bool:
    """Every produced message is in the hub's database, each detection in the last phase it reached."""
    last = {one.id: one.phase for one in facility.produced()}
    stored = facility.stored()
    return set(last) <= set(stored) and all(stored[event] == phase for event, phase in last.items())


@pytest.mark.slow
@pytest.mark.broker
@pytest.mark.parametrize("which", ["embedded", "mosquitto"])
def test_kill_9_of_broker_hub_and_node(tmp_path: Path, which: str) -> None:
    """Each process in turn is killed with -9 while an alarm sounds, and stays away through another one."""
    with Facility(tmp_path, which) as facility:
        facility.play("scream", 5.0)
        wait_until(lambda: len(facility.stored()) >= 1, 30.0, "the first scream in the database")

        facility.play("smoke_alarm", 6.0)
        time.sleep(2.5)
        facility.kill_broker()
        before = len(facility.produced())
        time.sleep(8.0)
        facility.play("scream", 4.0)
        wait_until(lambda: len(facility.produced()) > before, 20.0, "a detection while the broker is away")
        facility.start_broker()

        time.sleep(8.0)
        facility.play("smoke_alarm", 6.0)
        time.sleep(2.5)
        facility.kill_hub()
        before = len(facility.produced())
        time.sleep(8.0)
        facility.play("scream", 4.0)
        wait_until(lambda: len(facility.produced()) > before, 20.0, "a detection while the hub is away")
        facility.site.start_hub()

        time.sleep(6.0)
        facility.play("smoke_alarm", 8.0)
        time.sleep(3.0)
        facility.kill_node()
        facility.start_node()
        time.sleep(3.0)
        facility.play("scream", 4.0)
        wait_until(lambda: all_stored(facility), 60.0, "everything that was produced")

        produced = facility.produced()
        assert len({one.id for one in produced}) >= 6
        assert [one.seq for one in produced] == sorted({one.seq for one in produced}), "a seq came twice"
        assert set(facility.stored()) == {one.id for one in produced}
