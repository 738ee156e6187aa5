"""The hub as a real process: gunicorn, sockets, login, signals, and a broker full of garbage."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
import requests
from paho.mqtt.enums import CallbackAPIVersion
from socketio.exceptions import ConnectionError as Refused

from tests.hub import fuzz
from tests.hub.brokers import Node, broker
from tests.hub.parts import after, birth, ulid, wait_until
from tests.hub.processes import Dashboard, hub_process, is_alive, seconds_until
from tests.shared.messages import sound
from tocsin_shared import codec
from tocsin_shared.topics import node_topic

NOBODY = 1
"""A port on which no broker listens."""

pytestmark = pytest.mark.slow


def tell(node: Node, number: int) -> None:
    """Event ``number`` of the press shop."""
    event = sound(id=ulid(number), seq=number, onset=after(number))
    node.send(node_topic("press-1", "ev", event.label), codec.encode(event))


@pytest.mark.broker
def test_a_card_that_was_copied_is_a_trouble(tmp_path: Path) -> None:
    """Fault 101: two machines with the identity of one node displace one another; officers are told."""
    with broker("mosquitto", tmp_path) as port, hub_process(tmp_path, port) as hub:
        dashboard = Dashboard(hub.address, hub.browser()).open()
        twins = [_machine(port, boot) for boot in ("b1", "b2")]
        try:
            told = dashboard.wait_for("incident", 60)
        finally:
            for twin in twins:
                twin.disconnect()
                twin.loop_stop()
            dashboard.close()
    assert (told["label"], told["origin_node"], told["zone"]) == ("node_twice", "press-1", "hall-1")


def _machine(port: int, boot: str) -> mqtt.Client:
    """Says that it is press-1 as often as it is let in."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2, "press-1", protocol=mqtt.MQTTv5)
    client.reconnect_delay_set(1, 2)

    def say(*_: object) -> None:
        client.publish(node_topic("press-1", "birth"), codec.encode(birth(boot=boot)), qos=1)

    client.on_connect = say
    client.connect("127.0.0.1", port, 30)
    client.loop_start()
    return client


@pytest.mark.broker
@pytest.mark.parametrize("kind", ["mosquitto", "embedded"])
def test_an_event_travels_from_the_broker_to_a_dashboard(tmp_path: Path, kind: str) -> None:
    """The first login link is in the log; a websocket gets room and event; the API tells the same."""
    with broker(kind, tmp_path) as port, hub_process(tmp_path, port) as hub:
        browser = hub.browser(hub.first_link())
        dashboard = Dashboard(hub.address, browser).open()
        assert dashboard.transport == "websocket"
        assert dashboard.wait_for("hello")["change"] == 0
        node = Node(port)
        node.send(node_topic("press-1", "birth"), codec.encode(birth()))
        tell(node, 1)
        assert dashboard.wait_for("room")["room"] == "Press shop"
        event = dashboard.wait_for("event")
        stored = browser.get(f"{hub.address}/api/v1/events?after=0", timeout=5).json()["events"]
        assert stored == [event]
        assert browser.get(hub.address, timeout=5).status_code == 200
        assert hub.health()["status"] == "ok"
        dashboard.close()
        node.close()


def test_the_socket_is_only_for_those_with_a_session_and_of_this_origin(tmp_path: Path) -> None:
    with hub_process(tmp_path, NOBODY, status=503) as hub:
        with pytest.raises(Refused):
            Dashboard(hub.address, requests.Session()).open()
        with pytest.raises(Refused):
            Dashboard(hub.address, hub.browser()).open(Origin="https://evil.example")
        ours = Dashboard(hub.address, hub.browser()).open(Origin=hub.address)
        ours.wait_for("hello")
        ours.close()


def test_open_dashboards_leave_room_for_pages_and_do_not_delay_the_end(tmp_path: Path) -> None:
    """12 threads: four dashboards, the fifth is refused, pages answer, and SIGTERM still ends it quickly."""
    with hub_process(tmp_path, NOBODY, threads=12, status=503) as hub:
        browser = hub.browser()
        dashboards = [Dashboard(hub.address, browser).open() for _ in range(4)]
        with pytest.raises(Refused):
            Dashboard(hub.address, browser).open()
        for _ in range(5):
            assert browser.get(f"{hub.address}/api/v1/rooms", timeout=5).status_code == 200
        assert hub.process is not None
        hub.process.terminate()
        assert seconds_until(hub.process.pid) < 8
        assert hub.process.wait(5) == 0
        for dashboard in dashboards:
            dashboard.close()


@pytest.mark.broker
def test_a_worker_that_dies_is_started_anew_and_nothing_is_missing(tmp_path: Path) -> None:
    with broker("mosquitto", tmp_path) as port, hub_process(tmp_path, port) as hub:
        node = Node(port)
        tell(node, 1)
        wait_until(lambda: len(node.refs) == 1, "the acknowledgement")
        first = hub.worker
        os.kill(first, signal.SIGKILL)
        tell(node, 2)
        wait_until(lambda: {ref.seq for ref in node.refs} == {1, 2}, "the other acknowledgement", 20)
        hub.wait_for(200)
        assert hub.worker != first
        assert hub.health()["stored"] == 2
        node.close()


def test_a_worker_does_not_outlive_its_master(tmp_path: Path) -> None:
    with hub_process(tmp_path, NOBODY, status=503) as hub:
        worker = hub.worker
        assert hub.process is not None
        hub.process.kill()
        assert seconds_until(worker) < 10
        assert not is_alive(worker)


@pytest.mark.broker
@pytest.mark.parametrize("kind", ["mosquitto", "embedded"])
def test_garbage_through_a_real_broker(tmp_path: Path, kind: str) -> None:
    """Valid events between 400 broken messages are stored; the process that took them still runs."""
    with broker(kind, tmp_path) as port, hub_process(tmp_path, port) as hub:
        worker = hub.worker
        node = Node(port)
        for number, (topic, payload) in enumerate(fuzz.messages(seed=7, count=400)):
            node.send(topic, payload, retain=number % 50 == 0)
            if number % 20 == 0:
                tell(node, 1_000_000 + number)
        expected = {1_000_000 + number for number in range(0, 400, 20)}
        wait_until(lambda: expected <= {ref.seq for ref in node.refs}, "all acknowledgements", 20)
        assert hub.worker == worker
        assert hub.health()["quarantined"] > 200
        database = sqlite3.connect(tmp_path / "state" / "hub.sqlite")
        stored = {row[0] for row in database.execute("SELECT seq FROM events")}
        database.close()
        assert expected <= stored
        assert "Traceback" not in hub.log
        assert "connection to the broker ended" not in hub.log
        node.close()


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """``tocsin hub …`` to its end."""
    command = [sys.executable, "-m", "tocsin_shared", "hub", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)


def test_a_port_in_use_is_said_in_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        (tmp_path / "hub.toml").write_text(f"[web]\nport = {port}\n", encoding="utf-8")
        result = run("run", "--config", str(tmp_path / "hub.toml"))
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr == (
        f"tocsin hub: cannot listen on 127.0.0.1 port {port}: Address already in use; "
        "end the program that uses it, or change [web] host or port\n"
    )


def test_a_database_that_cannot_be_used_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "hub-state").mkdir()
    (tmp_path / "hub-state" / "hub.sqlite").write_bytes(os.urandom(5000))
    (tmp_path / "hub.toml").write_text("", encoding="utf-8")
    result = run("run", "--config", str(tmp_path / "hub.toml"))
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert "hub.sqlite cannot be used: file is not a database; stop the hub and put a backup" in line


def test_a_thread_that_dies_ends_the_process() -> None:
    code = (
        "import time; from tocsin_hub.threads import start_thread; "
        "start_thread('some-thread', lambda: 1 / 0); time.sleep(20)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=15
    )
    assert result.returncode == 70
    assert "the thread some-thread died" in result.stderr
    assert "ZeroDivisionError" in result.stderr
