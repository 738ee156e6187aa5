"""What systemd is told, on a real socket of each kind."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from ulid import ULID

from tocsin_node.systemd import Notifier


@pytest.fixture(params=["path", "abstract"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """The value of NOTIFY_SOCKET, and the socket that hears."""
    name = f"@tocsin-test-{ULID()}" if request.param == "abstract" else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind("\0" + name[1:] if name.startswith("@") else name)
        heard.settimeout(10.0)
        yield name, heard


def test_lines_arrive_as_one_datagram(listener: tuple[str, socket.socket]) -> None:
    name, heard = listener
    Notifier({"NOTIFY_SOCKET": name}).tell(READY=1, STATUS="two\nlines, 마이크")
    assert heard.recv(4096).decode() == "READY=1\nSTATUS=two lines, 마이크"


def test_without_a_supervisor_nothing_happens_and_one_that_went_away_is_no_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Notifier({}).tell(READY=1)
    assert caplog.text == ""
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")}).tell(READY=1)
    assert "cannot be reached" in caplog.text


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "²"}, None),
    ],
)
def test_the_watchdog_is_fed_only_if_it_is_meant_for_this_process(
    environ: dict[str, str], seconds: float | None
) -> None:
    assert Notifier(environ).watchdog_seconds == seconds
