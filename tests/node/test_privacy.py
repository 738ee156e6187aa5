"""No sound leaves a node: everything that it writes and sends is searched for the samples that it heard."""

import base64
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
import soundfile

from tests.node.conftest import BrokerProcess
from tests.node.fake_hub import FakeHub, until
from tests.node.test_agent import RATE, alarm, broker, hub, running
from tocsin_hub.demo.broker import free_port
from tocsin_shared.events import (
    Backfill,
    Heartbeat,
    Message,
    NodeBorn,
    NodeConnection,
    NodeReported,
    SoundDetected,
    TroublesChanged,
)
from tocsin_shared.features import Samples
from tocsin_shared.topics import parse_node_topic

__all__ = ["broker", "hub"]
GRAM, LIST_GRAM = 16, 40
"""Bytes that must agree, such as 8 samples of 16 bit; more in a list of numbers, where digits repeat."""
KINDS: dict[str, type[Message]] = {
    "conn": NodeConnection,
    "birth": NodeBorn,
    "hb": Heartbeat,
    "ev": SoundDetected,
    "bf": Backfill,
    "troubles": TroublesChanged,
    "state": NodeReported,
}


def _text(values: list[str], separator: str) -> bytes:
    return separator.join(values).encode()


ENCODINGS: dict[str, Callable[[Samples], bytes]] = {
    "int16": lambda x: (x * 32768).astype("<i2").tobytes(),
    "int16, big-endian": lambda x: (x * 32768).astype(">i2").tobytes(),
    "int32": lambda x: (x * 32768).astype("<i4").tobytes(),
    "float32": lambda x: x.astype("<f4").tobytes(),
    "float32, big-endian": lambda x: x.astype(">f4").tobytes(),
    "float64": lambda x: x.astype("<f8").tobytes(),
    "float16": lambda x: x.astype("<f2").tobytes(),
    "bytes": lambda x: (x * 128).astype("i1").tobytes(),
    "base64 of int16": lambda x: base64.b64encode((x * 32768).astype("<i2").tobytes()),
    "base64 of float32": lambda x: base64.b64encode(x.astype("<f4").tobytes()),
    "hexadecimal int16": lambda x: (x * 32768).astype("<i2").tobytes().hex().encode(),
    "hexadecimal float32": lambda x: x.astype("<f4").tobytes().hex().encode(),
    "list of int": lambda x: _text([str(v) for v in (x * 32768).astype(int)], ","),
    "spaced list of int": lambda x: _text([str(v) for v in (x * 32768).astype(int)], ", "),
    "list of float": lambda x: _text([repr(float(v)) for v in x], ","),
    "spaced list of float": lambda x: _text([repr(float(v)) for v in x], ", "),
    "list of rounded float": lambda x: _text([f"{v:.4f}" for v in x], ", "),
}


def leaks(hay: bytes, heard: Samples) -> list[str]:
    """Encodings in which a run of 48 samples of ``heard`` stands anywhere in ``hay``."""
    grams = {
        length: {hay[at : at + length] for at in range(len(hay) - length + 1)} for length in (GRAM, LIST_GRAM)
    }
    found = []
    for name, encode in ENCODINGS.items():
        length = LIST_GRAM if "list" in name else GRAM
        # Base64 looks different at each of three beginnings, of which 16 bit samples can have all.
        for begin in (0, 1, 2) if "base64" in name else (0,):
            if any(gram in grams[length] for gram in _grams(encode(heard[begin:]), length)):
                found.append(name)
                break
    return found


def _grams(encoded: bytes, length: int) -> Iterator[bytes]:
    for at in range(0, len(encoded) - length + 1, length):
        gram = encoded[at : at + length]
        if len(set(gram)) > 4:  # silence looks like any other zeros
            yield gram


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_search_finds_three_milliseconds_of_sound(encoding: str) -> None:
    random = np.random.default_rng(2)
    heard = (np.round(random.normal(0.0, 0.2, 4000) * 32768) / 32768).astype(np.float32)
    other = (np.round(random.normal(0.0, 0.2, 4000) * 32768) / 32768).astype(np.float32)
    around = random.bytes(5000)
    assert encoding in leaks(around + ENCODINGS[encoding](heard[1203:1251]) + around, heard)
    assert leaks(around + ENCODINGS[encoding](other) + around, heard) == []


class Wiretap:
    """Stands between node and broker, and keeps every byte that the node sends."""

    def __init__(self, broker_port: int) -> None:
        self.port = free_port()
        self.sent = bytearray()
        self._ends: list[socket.socket] = []
        self._broker_port = broker_port
        self._server = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for end in (self._server, *self._ends):
            end.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                node, _ = self._server.accept()
                broker = socket.create_connection(("127.0.0.1", self._broker_port))
                self._ends += [node, broker]
                for source, target, keeps in ((node, broker, True), (broker, node, False)):
                    threading.Thread(target=self._pass_on, args=(source, target, keeps), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, keeps: bool) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(65_536):
                if keeps:
                    self.sent += piece
                target.sendall(piece)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class TappedBroker(BrokerProcess):
    """What a node takes for its broker."""

    def __init__(self, tap: Wiretap) -> None:
        self.port = tap.port


@pytest.mark.slow
@pytest.mark.broker
def test_nothing_that_a_node_writes_or_sends_holds_what_it_heard(
    broker: BrokerProcess, hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = _recording(tmp_path / "room" / "spoken.wav")
    home = tmp_path / "node"
    home.mkdir()
    for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(home))
    monkeypatch.chdir(home)
    hub.acks = False  # so that the outbox keeps everything
    tap = Wiretap(broker.port)
    with running(home, TappedBroker(tap), kind="file", source='path = "../room/spoken.wav"') as node:
        until(lambda: node.process.poll() is not None, 60.0)
        assert node.end() == 0
    tap.close()
    written = b"".join(path.read_bytes() for path in sorted(home.rglob("*")) if path.is_file())
    assert b"smoke_alarm" in written
    assert b"smoke_alarm" in tap.sent
    assert leaks(written, heard) == []
    assert leaks(bytes(tap.sent), heard) == []
    assert {_kind(topic) for topic, _ in hub.messages if "/n/" in topic} >= {"ev", "hb", "birth", "troubles"}
    for topic, payload in hub.messages:
        if "/n/" in topic and _kind(topic) != "ack":
            assert _unknown_parts(payload, KINDS[_kind(topic)]) == {}


def _recording(path: Path) -> Samples:
    """Twelve seconds of room, with an alarm in it: what 16 bit make of them."""
    path.parent.mkdir()
    room = np.random.default_rng(6).normal(0.0, 0.02, 12 * RATE)
    room[4 * RATE : 9 * RATE] += alarm(5.0)
    soundfile.write(path, np.clip(room, -1.0, 1.0), RATE, subtype="PCM_16")
    heard, _ = soundfile.read(path, dtype="float32")
    kept: Samples = heard
    return kept


def _kind(topic: str) -> str:
    return parse_node_topic(topic).kind


def _unknown_parts(payload: bytes, kind: type[Message]) -> dict[str, object]:
    """Whatever of ``payload`` is no field of its message: nothing travels that the wire does not describe."""
    sent = msgspec.json.decode(payload)
    known = msgspec.to_builtins(msgspec.json.decode(payload, type=kind))
    return {name: value for name, value in sent.items() if name not in known}
