"""A site over RabbitMQ 3.10 with its MQTT plugin: MQTT 3.1.1, no wildcard for what is retained."""

import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from tests.hub.processes import hub_process
from tests.integration.facility import ROOM, Facility, wait_until
from tests.integration.rabbitmq import START_SECONDS, port_mapper, rabbitmq_command
from tests.integration.test_nothing_is_lost import all_stored
from tocsin_hub.demo.broker import free_port, running
from tocsin_hub.fleet.cli import main
from tocsin_shared import codec
from tocsin_shared.events import NodeBorn, NodeConnection, Presence

pytestmark = [pytest.mark.slow, pytest.mark.broker]


def known(facility: Facility) -> tuple[NodeBorn | None, NodeConnection | None]:
    """What the hub has on its disk of who the node is, and whether it is there."""
    database = sqlite3.connect(f"file:{facility.folder / 'hub' / 'hub.sqlite'}?mode=ro", uri=True)
    try:
        row = database.execute("select birth, conn from nodes where node = ?", (ROOM.node,)).fetchone()
    finally:
        database.close()
    birth, conn = row or (None, None)
    return (
        codec.decode(birth.encode(), NodeBorn) if birth else None,
        codec.decode(conn.encode(), NodeConnection) if conn else None,
    )


def is_offline(facility: Facility) -> bool:
    """Whether the hub has heard the node's last will."""
    conn = known(facility)[1]
    return conn is not None and conn.state is Presence.OFFLINE


def test_a_killed_broker_a_killed_node_and_another_hub_lose_nothing(tmp_path: Path) -> None:
    """Each detection is stored once; the last will comes; a hub that knows nothing learns who is there."""
    with port_mapper(tmp_path) as mapper, Facility(tmp_path, "rabbitmq", mapper) as facility:
        facility.play("scream", 4.0)
        wait_until(lambda: len(facility.stored()) >= 1, 60.0, "the first scream in the database")

        facility.play("smoke_alarm", 4.0)
        before = len(facility.produced())
        wait_until(lambda: len(facility.produced()) > before, 60.0, "an alarm")
        facility.kill_broker()
        facility.play("scream", 4.0)
        before = len(facility.produced())
        wait_until(lambda: len(facility.produced()) > before, 60.0, "a detection without a broker")
        facility.start_broker()
        wait_until(lambda: all_stored(facility), 90.0, "everything that was produced")

        facility.kill_hub()
        shutil.rmtree(facility.folder / "hub")
        facility.site.start_hub()
        wait_until(lambda: known(facility)[0] is not None, 60.0, "the node's birth at a hub without memory")
        birth = known(facility)[0]
        assert birth is not None
        assert (birth.zone, birth.room) == (ROOM.zone, ROOM.name)

        facility.kill_node()
        wait_until(lambda: is_offline(facility), 60.0, "the last will")


def test_two_hundred_nodes_lose_nothing(tmp_path: Path) -> None:
    """All of them alarm at once; none of their sounds is missing, none is twice."""
    port = free_port()
    with port_mapper(tmp_path) as mapper:
        command = rabbitmq_command(tmp_path, port, mapper)
        with (
            running(command, tmp_path / "broker.log", port, START_SECONDS),
            hub_process(tmp_path, port, protocol="3.1.1"),
        ):
            report = tmp_path / "report.json"
            arguments = [
                "--broker", f"mqtt://127.0.0.1:{port}", "--protocol", "3.1.1", "--nodes", "200",
                "--rate", "10", "--seconds", "5", "--alarm-storm", "--seed", "5", "--drain-seconds", "120",
                "--processes", "1", "--report", str(report), "--database", str(tmp_path / "state/hub.sqlite"),
            ]  # fmt: skip
            status = main(["simulate", *arguments])
    found = json.loads(report.read_text(encoding="utf-8"))
    assert status == 0, found
    assert (found["lost"], found["twice"], found["waiting"]) == (0, 0, 0)
    assert found["stored"] == found["produced"] >= 200
    assert found["connected"] == 200
