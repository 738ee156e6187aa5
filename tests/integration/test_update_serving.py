"""Bundles from a real hub to the downloader of a real node, through a line that is cut."""

import hashlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import requests

from tests.hub.processes import HubProcess
from tests.hub.rollouts.conftest import Air
from tocsin_hub.demo.broker import free_port
from tocsin_node.update.download import Download, Patience, Wanted
from tocsin_node.update.fetching import Web

pytestmark = pytest.mark.slow
CONTENT = bytes(number * number % 251 for number in range(600_000))
SHA = hashlib.sha256(CONTENT).hexdigest()
PLACE = f"/updates/targets/models/sentry/{SHA}.0.3.0-float16.tar"
FAST = Patience(bytes_per_second=1e9, total_seconds=60.0)


class Line:
    """Passes bytes between a node and a hub; the first connections are cut after so many bytes."""

    def __init__(self, port: int, cuts: list[int]) -> None:
        self._port, self._cuts = port, cuts
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._door.getsockname()[1]
        self.sent = 0
        """Bytes that the hub has sent and that came through."""
        self.asked: list[str] = []
        threading.Thread(target=self._open, daemon=True).start()

    def close(self) -> None:
        """Nobody comes in any more."""
        self._door.close()

    def _open(self) -> None:
        with suppress(OSError):
            while True:
                node, _ = self._door.accept()
                threading.Thread(target=self._pass, args=(node,), daemon=True).start()

    def _pass(self, node: socket.socket) -> None:
        left = self._cuts.pop(0) if self._cuts else None
        with node, socket.create_connection(("127.0.0.1", self._port)) as hub, suppress(OSError):
            question = node.recv(65_536)
            self.asked.append(question.decode("latin-1"))
            hub.sendall(question)
            while got := hub.recv(16_384):
                got = got if left is None else got[:left]
                node.sendall(got)
                self.sent += len(got)
                left = None if left is None else left - len(got)
                if left == 0:
                    return


@contextmanager
def cut_line(port: int, cuts: list[int]) -> Iterator[Line]:
    line = Line(port, cuts)
    try:
        yield line
    finally:
        line.close()


@pytest.fixture(scope="module", name="hub")
def _hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    """A hub of its own process, with one signed bundle."""
    folder = tmp_path_factory.mktemp("hub")
    air = Air(folder)
    air.bundle(content=CONTENT)
    air.look()
    air.hub.stop()
    hub = HubProcess(folder, free_port())
    with hub.config.open("a", encoding="utf-8") as config:
        config.write(f'[updates]\nrepository = "{folder}/updates"\nkeys = "{folder}/keys"\n')
        config.write("bytes_per_second = 50_000_000.0\n")
    hub.start(503)  # there is no broker
    yield hub
    assert hub.stop() == 0


def port_of(hub: HubProcess) -> int:
    return int(hub.address.rpartition(":")[2])


@pytest.mark.parametrize("tenth", range(1, 10))
def test_c32_a_download_that_was_cut_at_a_tenth_goes_on_there(
    hub: HubProcess, tmp_path: Path, tenth: int
) -> None:
    with cut_line(port_of(hub), [len(CONTENT) * tenth // 10]) as line:
        wanted = Wanted(f"http://127.0.0.1:{line.port}{PLACE}", len(CONTENT), SHA, tmp_path / "part")
        assert Download(Web(), wanted, FAST).run() == CONTENT
    assert len(line.asked) == 2
    assert "range: bytes=" in line.asked[1].lower()
    assert f'if-range: "{SHA}"' in line.asked[1].lower()
    assert line.sent < len(CONTENT) + 100_000, "what came once does not come again"


def test_c32_cut_at_every_tenth_of_one_download(hub: HubProcess, tmp_path: Path) -> None:
    with cut_line(port_of(hub), [len(CONTENT) // 10] * 9) as line:
        wanted = Wanted(f"http://127.0.0.1:{line.port}{PLACE}", len(CONTENT), SHA, tmp_path / "part")
        assert Download(Web(), wanted, FAST).run() == CONTENT
    assert len(line.asked) >= 10


def test_a_part_of_other_content_is_never_joined_to_this(hub: HubProcess) -> None:
    """``If-Range`` that names something else gets the whole file; a range beyond the end, 416."""
    part = requests.get(hub.address + PLACE, headers={"Range": "bytes=100-199"}, timeout=10)
    assert (part.status_code, part.content) == (206, CONTENT[100:200])
    assert part.headers["Content-Range"] == f"bytes 100-199/{len(CONTENT)}"
    assert part.headers["ETag"] == f'"{SHA}"'
    other = {"Range": "bytes=100-199", "If-Range": f'"{"0" * 64}"'}
    whole = requests.get(hub.address + PLACE, headers=other, timeout=10)
    assert (whole.status_code, len(whole.content)) == (200, len(CONTENT))
    beyond = requests.get(hub.address + PLACE, headers={"Range": f"bytes={len(CONTENT)}-"}, timeout=10)
    assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, f"bytes */{len(CONTENT)}")


@pytest.mark.parametrize(
    "path",
    [
        "/updates/targets/models/sentry/../../../hub-keys/director.key",
        "/updates/targets/models/sentry/%2e%2e/%2e%2e/root.json",
        f"/updates/targets/models/sentry/{'0' * 64}.0.3.0-float16.tar",
        "/updates/targets/config/director.json",
        "/updates/metadata/..%2f..%2fhub.toml",
        "/updates/metadata/passwd",
        "/updates/keys/director.key",
    ],
)
def test_nothing_but_the_repository_is_served(hub: HubProcess, path: str) -> None:
    request = requests.Request("GET", hub.address + path).prepare()
    request.url = hub.address + path  # as an attacker sends it: not made shorter
    with requests.Session() as session:
        assert session.send(request, timeout=10).status_code == 404
