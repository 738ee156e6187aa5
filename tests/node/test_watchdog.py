"""Whole nodes in which something stands still: systemd is told, and the process goes down with the reason."""

import contextlib
import faulthandler
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.node.conftest import BrokerProcess
from tests.node.fake_hub import FakeHub, until
from tests.node.fake_judge import tone
from tocsin_node.watchdog import last_resort

pytestmark = [pytest.mark.slow, pytest.mark.broker]

NODE = """
import ctypes, dataclasses, logging, sys, time
from pathlib import Path
from tests.node.fake_judge import FakeJudge
from tocsin_node import agent, link, settings
from tocsin_node.settings import WatchdogSettings

class Judge(FakeJudge):
    name, runtime = "fake-0.1.0+none", "none"
    windows = 0

    def scores(self, window):
        self.windows += 1
        if self.windows > 4 and how == "interpreter":
            time.sleep(600)
        if self.windows > 4 and how == "python":
            ctypes.PyDLL(None).sleep(600)  # which keeps the lock of the whole Python interpreter
        return super().scores(window)

def stuck(self):
    time.sleep(600)

how, config = sys.argv[1:]
logging.basicConfig(level="INFO", stream=sys.stderr)
agent.load_bundle = lambda *_: Judge()
agent.STOP_SECONDS = 4.0
if how == "sender":
    link.Link._due = stuck
if how == "heartbeat":
    agent.health.temperature_celsius = lambda: time.sleep(600)
read = settings.load(Path(config))
watchdog = WatchdogSettings(stall_seconds=3.0 if how else 60.0)  # a busy machine is no stall
sys.exit(agent.build(dataclasses.replace(read, watchdog=watchdog)).run())
"""


class Supervised:
    """A node whose part ``how`` stands still after a while, a tone in its room, and what systemd hears."""

    def __init__(
        self, folder: Path, port: int, how: str, *, sound: bool = True, outbox: Path | None = None
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.heard: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(folder / "notify"))
        config = folder / "node.toml"
        config.write_text(
            f'node = "press-1"\nheartbeat_seconds = 1.0\n[source]\nkind = "stdin"\n[broker]\nport = {port}\n'
            f'[outbox]\npath = "{outbox or folder / "outbox.sqlite"}"\n'
        )
        self.log_path = folder / "node.log"
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", NODE, how, str(config)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**os.environ, "NOTIFY_SOCKET": str(folder / "notify"), "WATCHDOG_USEC": "1000000"},
            )
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._hear, name="supervisor")]
        if sound:
            self._threads.append(threading.Thread(target=self._play, name="player"))
        for thread in self._threads:
            thread.start()

    @property
    def log(self) -> str:
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def close(self) -> None:
        self._stop.set()
        self.process.kill()
        self.process.wait()
        for thread in self._threads:
            thread.join(10.0)
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        self._socket.close()

    def _hear(self) -> None:
        self._socket.settimeout(0.2)
        while not self._stop.is_set():
            with contextlib.suppress(TimeoutError):
                self.heard += self._socket.recv(4096).decode().splitlines()

    def _play(self) -> None:
        assert self.process.stdin is not None
        block = (tone(0.1) * 32767).astype("<i2").tobytes()
        with contextlib.suppress(OSError, ValueError):
            while not self._stop.wait(0.1):
                os.write(self.process.stdin.fileno(), block)


@contextlib.contextmanager
def supervised(
    folder: Path, port: int, how: str, *, sound: bool = True, outbox: Path | None = None
) -> Iterator[Supervised]:
    made = Supervised(folder, port, how, sound=sound, outbox=outbox)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def stalled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Supervised]]:
    """Nodes without a broker, each of which stands still in its own way; they wait beside one another."""
    with contextlib.ExitStack() as nodes:
        yield {
            how: nodes.enter_context(supervised(tmp_path_factory.mktemp(how), 1, how))
            for how in ("interpreter", "sender", "heartbeat", "python")
        }


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[BrokerProcess]:
    """One broker is enough here."""
    made = BrokerProcess("iotcore", "5", tmp_path)
    made.start()
    yield made
    made.kill()


def test_while_all_is_well_systemd_hears_of_it_until_the_node_says_that_it_stops(
    broker: BrokerProcess, tmp_path: Path
) -> None:
    with supervised(tmp_path, broker.port, "") as node:
        until(lambda: node.heard.count("WATCHDOG=1") >= 6, 30.0)
        assert node.heard.index("READY=1") < 3
        until(lambda: any("microphone listening; connected; " in line for line in node.heard), 30.0)
        node.process.send_signal(signal.SIGTERM)
        assert node.process.wait(20.0) == 0
        until(lambda: node.heard[-1] == "STOPPING=1")
        assert node.heard.count("READY=1") == 1


@pytest.mark.parametrize(
    ("how", "named"),
    [("interpreter", "ears for"), ("sender", "sender for"), ("heartbeat", "heartbeat for")],
)
def test_a_thread_that_stands_still_is_named_and_takes_the_process_down(
    stalled: dict[str, Supervised], how: str, named: str
) -> None:
    node = stalled[how]
    assert node.process.wait(60.0) == 1
    assert "no headway: " in node.log
    assert named in node.log
    until(lambda: any(line.startswith("STATUS=no headway: ") for line in node.heard))
    told = next(number for number, line in enumerate(node.heard) if "no headway" in line)
    assert named in node.heard[told]
    assert "WATCHDOG=1" in node.heard[:told]
    assert "WATCHDOG=1" not in node.heard[told:]
    assert "Current thread" in node.log, "where each thread stood"


def test_a_python_that_stands_still_as_a_whole_is_ended_without_it(stalled: dict[str, Supervised]) -> None:
    node = stalled["python"]
    assert node.process.wait(60.0) == 1
    assert "Timeout (" in node.log
    assert "in scores" in node.log


def test_ears_that_claim_to_listen_and_hear_nothing_are_a_stall(
    broker: BrokerProcess, tmp_path: Path
) -> None:
    hub = FakeHub(broker)
    with supervised(tmp_path, broker.port, "silence", sound=False) as node:
        assert node.process.wait(40.0) == 1
        assert "no headway: ears for" in node.log
        until(lambda: any(b'"watchdog"' in told and b"ears for" in told for told in hub.payloads("troubles")))
    hub.stop()


@pytest.mark.parametrize("by_monotonic_clock", [1, None])
def test_the_last_resort_is_for_pythons_that_no_clock_can_fool(
    monkeypatch: pytest.MonkeyPatch, by_monotonic_clock: int | None
) -> None:
    armed: list[float] = []
    monkeypatch.setattr(sysconfig, "get_config_var", {"HAVE_SEM_CLOCKWAIT": by_monotonic_clock}.get)
    monkeypatch.setattr(faulthandler, "dump_traceback_later", lambda seconds, **_: armed.append(seconds))
    last_resort(5.0)
    assert armed == ([5.0] if by_monotonic_clock else [])
