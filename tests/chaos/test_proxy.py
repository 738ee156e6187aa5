"""The proxy does what it says, to a real echo server."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.chaos.proxy import CALM, Proxy, Weather


@pytest.fixture
def line() -> Iterator[Proxy]:
    """A proxy before a server that says again what it hears."""
    server = socket.create_server(("127.0.0.1", 0))
    stopping = threading.Event()

    def serve() -> None:
        while not stopping.is_set():
            try:
                there, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=echo, args=(there,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    with Proxy(server.getsockname()[1]) as proxy:
        yield proxy
    stopping.set()
    server.close()


def echo(there: socket.socket) -> None:
    with there:
        try:
            while data := there.recv(65_536):
                there.sendall(data)
        except OSError:
            return


def connected(line: Proxy, seconds: float = 10.0) -> socket.socket:
    return socket.create_connection(("127.0.0.1", line.port), timeout=seconds)


def said(here: socket.socket, data: bytes) -> bytes:
    """What comes back."""
    here.sendall(data)
    back = b""
    while len(back) < len(data):
        part = here.recv(65_536)
        if not part:
            break
        back += part
    return back


def test_in_calm_weather_everything_passes(line: Proxy) -> None:
    """In both directions, and is counted."""
    with connected(line) as here:
        data = bytes(range(256)) * 2000
        assert said(here, data) == data
        assert line.connections == 1
    assert line.passed_bytes >= 2 * len(data)


def test_latency_and_slices_delay_what_passes_and_change_nothing(line: Proxy) -> None:
    """Three slices there, three back."""
    line.weather = Weather(latency_seconds=0.1, slice_bytes=10)
    with connected(line) as here:
        began = time.monotonic()
        assert said(here, b"x" * 30) == b"x" * 30
        assert time.monotonic() - began >= 0.4


def test_little_bandwidth_takes_its_time(line: Proxy) -> None:
    """A kilobyte at two kilobytes a second, there and back."""
    line.weather = Weather(bytes_per_second=2000.0, slice_bytes=100)
    with connected(line) as here:
        began = time.monotonic()
        assert len(said(here, b"x" * 1000)) == 1000
        assert time.monotonic() - began >= 0.5


def test_on_a_stalled_line_nothing_passes_until_it_is_well_again(line: Proxy) -> None:
    """And neither side is told."""
    with connected(line, 0.5) as here:
        assert said(here, b"before") == b"before"
        line.weather = Weather(stalled=True)
        here.sendall(b"after")
        with pytest.raises(TimeoutError):
            here.recv(10)
        line.weather = CALM
        here.settimeout(10.0)
        assert here.recv(10) == b"after"


def test_of_a_mute_line_one_direction_passes(line: Proxy) -> None:
    """The server hears, and its answer does not come."""
    with connected(line, 0.5) as here:
        assert said(here, b"before") == b"before"
        line.weather = Weather(mute=True)
        passed = line.passed_bytes
        here.sendall(b"after")
        with pytest.raises(TimeoutError):
            here.recv(10)
        assert line.passed_bytes == passed + len(b"after")
        line.weather = CALM
        here.settimeout(10.0)
        assert here.recv(10) == b"after"


def test_a_line_that_is_down_cuts_and_lets_nobody_through(line: Proxy) -> None:
    """And is there again afterwards."""
    with connected(line) as here:
        assert said(here, b"before") == b"before"
        line.weather = Weather(down=True)
        assert lost(here)
    assert refused(line)
    line.weather = CALM
    with connected(line) as here:
        assert said(here, b"again") == b"again"


def test_connections_are_reset_and_new_ones_pass(line: Proxy) -> None:
    """By RST and not by a farewell."""
    with connected(line) as here:
        assert said(here, b"before") == b"before"
        line.cut()
        with pytest.raises(ConnectionResetError):
            here.recv(10)
    with connected(line) as here:
        assert said(here, b"again") == b"again"


def refused(line: Proxy) -> bool:
    """Whether nobody is let through: told at once, or with the first look."""
    try:
        with connected(line) as here:
            return lost(here)
    except ConnectionResetError:
        return True


def lost(here: socket.socket) -> bool:
    """Whether the connection is gone."""
    try:
        return here.recv(10) == b""
    except ConnectionResetError:
        return True
