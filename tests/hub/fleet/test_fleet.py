"""The simulator with a real broker and a real hub, and brokers that refuse it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.hub import postgres_server
from tests.hub.brokers import MOSQUITTO, broker
from tests.hub.parts import wait_until
from tests.hub.processes import Dashboard, hub_process
from tocsin_hub.demo.broker import free_port, mosquitto_command, running
from tocsin_hub.fleet.cli import main
from tocsin_hub.recorder import prepare
from tocsin_shared.errors import SettingsError, TocsinError, UnavailableError

pytestmark = pytest.mark.broker
SIMULATE = [sys.executable, "-m", "tocsin_shared", "fleet", "simulate"]


def arguments(port: int, folder: Path, *more: str, nodes: int = 12) -> list[str]:
    """Few nodes that say much."""
    return [
        "--broker", f"mqtt://127.0.0.1:{port}", "--nodes", str(nodes), "--seed", "5", "--rate", "40",
        "--drain-seconds", "120", "--report", str(folder / "report.json"), *more,
    ]  # fmt: skip


def report(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return found


@pytest.mark.slow
def test_storm_churn_and_a_killed_hub_lose_nothing(tmp_path: Path) -> None:
    """Nodes drop out, all alarm at once, the hub is killed and comes again: each sound is there once."""
    database, ledger = tmp_path / "state" / "hub.sqlite", tmp_path / "ledger"
    more = [
        "--churn",
        "--alarm-storm",
        "--seconds",
        "16",
        "--database",
        str(database),
        "--ledger",
        str(ledger),
    ]
    with broker("mosquitto", tmp_path) as port, hub_process(tmp_path, port) as hub:
        command = [*SIMULATE, *arguments(port, tmp_path, *more), "--processes", "2"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as simulation:
            wait_until(lambda: hub.health()["stored"] > 10, "sounds", 60)
            assert hub.process is not None
            os.killpg(hub.process.pid, signal.SIGKILL)
            hub.process.wait(20)
            hub.start()
            output, _ = simulation.communicate(timeout=200)
        assert simulation.returncode == 0, output
        stored = hub.health()["stored"]
    found, lines = report(tmp_path), ledger.read_text(encoding="utf-8").splitlines()
    assert stored == found["stored"] == found["produced"] == len(lines) > 50
    assert (found["lost"], found["twice"], found["stale"], found["waiting"]) == (0, 0, 0, 0)
    assert sum(json.loads(line)["storm"] for line in lines) >= 10  # a node that is down then hears nothing
    assert found["waited"] > 0
    assert found["connections"] > found["connected"] == 12


@pytest.mark.slow
def test_a_postgresql_that_is_away_while_all_alarm_costs_no_sound(tmp_path: Path) -> None:
    """Its server loses power in the storm and is away for a while; dashboards and watchmen are told so."""
    server = postgres_server.made(safe=True)
    server.start()
    place = server.new("hub")
    more = ["--alarm-storm", "--seconds", "16", "--database", place.url]
    try:
        with broker("mosquitto", tmp_path) as port, hub_process(tmp_path, port, database=place.url) as hub:
            dashboard = Dashboard(hub.address, hub.browser()).open()
            command = [*SIMULATE, *arguments(port, tmp_path, *more), "--processes", "2"]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as simulation:
                wait_until(lambda: hub.health()["stored"] > 10, "sounds", 60)
                server.stop("immediate")
                wait_until(lambda: hub.health_status() == 503, "the hub to say so", 30)
                time.sleep(10)
                said = hub.health()["database"]
                server.start()
                output, _ = simulation.communicate(timeout=200)
            assert simulation.returncode == 0, output
            wait_until(lambda: hub.health_status() == 200, "the hub to be well", 30)
            stored = hub.health()["stored"]
            dashboard.close()
    finally:
        server.remove()
    found = report(tmp_path)
    assert said != "ok"
    assert stored == found["stored"] == found["produced"] > 50
    assert (found["lost"], found["twice"], found["stale"], found["waiting"]) == (0, 0, 0, 0)
    told = {one["label"] for name, one in dashboard.got if name == "incident" and one["kind"] == "trouble"}
    assert told == {"database_refuses"}


@pytest.mark.slow
def test_a_lost_sound_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A database that lacks what the hub acknowledged makes the exit status 1, and sounds are named."""
    prepare(tmp_path / "empty.sqlite")
    with broker("embedded", tmp_path) as port, hub_process(tmp_path, port):
        wrong = ["--database", str(tmp_path / "empty.sqlite"), "--seconds", "3"]
        assert main(["simulate", *arguments(port, tmp_path, *wrong, nodes=3)]) == 1
    found = report(tmp_path)
    assert found["produced"] == found["lost"] == found["lost_after_word"] > 0
    assert found["named"]["lost"][0] in capsys.readouterr().out


@pytest.mark.slow
def test_control_c_ends_with_the_report_so_far(tmp_path: Path) -> None:
    """What was told by then is delivered and checked."""
    with broker("mosquitto", tmp_path, "3.1.1") as port, hub_process(tmp_path, port) as hub:
        more = [
            "--seconds",
            "3000",
            "--protocol",
            "3.1.1",
            "--database",
            str(tmp_path / "state" / "hub.sqlite"),
        ]
        # Whoever runs the tests in the background of a shell has them ignore Ctrl-C.
        heeding = ["env", "--default-signal=INT"]
        command = [*heeding, *SIMULATE, *arguments(port, tmp_path, *more, nodes=3)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as simulation:
            wait_until(lambda: hub.health()["stored"] > 2, "sounds", 60)
            simulation.send_signal(signal.SIGINT)
            output, _ = simulation.communicate(timeout=60)
    found = report(tmp_path)
    assert simulation.returncode == 0, output
    assert (found["interrupted"], found["lost"]) == (True, 0)
    assert found["stored"] == found["produced"] > 2


def refused(port: int, folder: Path, *more: str, scheme: str = "mqtt") -> str:
    """What the simulator says of a broker that does not want it."""
    with pytest.raises(TocsinError) as raised:
        main(["simulate", *arguments(port, folder, *more)[2:], "--broker", f"{scheme}://127.0.0.1:{port}"])
    assert isinstance(raised.value, UnavailableError | SettingsError)
    return str(raised.value)


@contextmanager
def guarded(folder: Path, lines: str) -> Iterator[int]:
    """A Mosquitto that lets not everybody in."""
    port = free_port()
    command = mosquitto_command(folder, port, MOSQUITTO)
    config = folder / "mosquitto.conf"
    text = config.read_text(encoding="utf-8").replace("allow_anonymous true", lines)
    config.write_text(text, encoding="utf-8")
    with running(command, folder / "broker.log", port):
        yield port


def test_no_broker_is_said_at_once(tmp_path: Path) -> None:
    """With what to do about it."""
    assert "nothing listens there" in refused(free_port(), tmp_path)


def test_somebody_else_than_a_broker_is_said(tmp_path: Path) -> None:
    """Whoever hangs up without a word may want TLS or another protocol."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)
        # The connection waits in the backlog and is reset when the server closes.
        server.listen()
        port = server.getsockname()[1]
        command = [*SIMULATE, *arguments(port, tmp_path)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as simulation:
            server.accept()[0].close()
            _, said = simulation.communicate(timeout=60)
    assert simulation.returncode == 1
    assert "mqtts://" in said
    assert "--protocol 3.1.1" in said


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_bad_credentials_are_said(tmp_path: Path, protocol: str) -> None:
    """With the options that give others."""
    (tmp_path / "passwords").write_text("", encoding="utf-8")
    with guarded(tmp_path, f"allow_anonymous false\npassword_file {tmp_path}/passwords") as port:
        said = refused(port, tmp_path, "--protocol", protocol)
    assert "--username NAME --password-file FILE" in said


def test_an_acl_that_keeps_nodes_out_is_said(tmp_path: Path) -> None:
    """With the pattern that lets them in."""
    (tmp_path / "acl").write_text("topic read nothing\n", encoding="utf-8")
    with guarded(tmp_path, f"allow_anonymous true\nacl_file {tmp_path}/acl") as port:
        said = refused(port, tmp_path)
    assert "pattern readwrite tocsin/v1/n/%u/#" in said


def test_tls_where_there_is_none_is_said(tmp_path: Path) -> None:
    """The wrong scheme, and a file that does not exist."""
    authority = "/etc/ssl/certs/ca-certificates.crt"
    with broker("mosquitto", tmp_path) as port:
        # In a process of its own: paho leaves the socket of a failed handshake to the garbage collector.
        command = [*SIMULATE, "--broker", f"mqtts://127.0.0.1:{port}", "--ca-file", authority]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 1
        assert "mqtt://, not mqtts://" in done.stderr
        missing = ["--ca-file", str(tmp_path / "none.pem")]
        assert "none.pem does not exist" in refused(port, tmp_path, *missing, scheme="mqtts")


@pytest.mark.parametrize(
    ("url", "more", "told"),
    [
        ("127.0.0.1:1883", [], "mqtt://"),
        ("mqtt://127.0.0.1:port", [], "mqtt://"),
        ("mqtts://127.0.0.1", [], "--ca-file"),
        ("mqtt://me:secret@127.0.0.1", [], "--password-file"),  # pragma: allowlist secret
        ("mqtt://127.0.0.1", ["--cert-file", "own.pem"], "key-file"),
    ],
)
def test_a_wrong_address_is_said(url: str, more: list[str], told: str) -> None:
    """Before anything is tried."""
    with pytest.raises(SettingsError, match=told):
        main(["simulate", "--broker", url, *more])


def test_a_database_that_is_none_is_said(tmp_path: Path) -> None:
    """Before the broker is asked; nothing is made at that place."""
    with pytest.raises(UnavailableError, match="cannot be read"):
        main(["simulate", "--broker", "mqtt://127.0.0.1:1", "--database", str(tmp_path / "none.sqlite")])
    assert not (tmp_path / "none.sqlite").exists()


@pytest.mark.parametrize(
    "wrong", [["--nodes", "0"], ["--rate", "x"], ["--seconds", "nan"], ["--prefix", "A/b"]]
)
def test_wrong_numbers_are_wrong_usage(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 2, and the range."""
    with pytest.raises(SystemExit) as ended:
        main(["simulate", "--broker", "mqtt://127.0.0.1", *wrong])
    assert ended.value.code == 2
    assert wrong[0] in capsys.readouterr().err
