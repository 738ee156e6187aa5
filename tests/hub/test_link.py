"""The hub on real brokers: Mosquitto and the embedded one, MQTT 5 and 3.1.1."""

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.proxy import Proxy, Weather
from tests.hub.brokers import Node, broker
from tests.hub.parts import birth, conn, many, ulid, wait_until
from tests.shared.messages import sound
from tocsin_hub.link import WINDOW
from tocsin_hub.root import Hub, build
from tocsin_hub.settings import HubSettings
from tocsin_hub.times import now_us
from tocsin_shared import codec
from tocsin_shared.broker import BrokerSettings, make_client
from tocsin_shared.errors import SettingsError
from tocsin_shared.events import EventRef, EventsCommitted, HubPresence, Presence, SoundDetected
from tocsin_shared.topics import node_topic

BOTH_TWICE = pytest.mark.parametrize(
    ("kind", "protocol"),
    [("mosquitto", "5"), ("mosquitto", "3.1.1"), ("embedded", "5"), ("embedded", "3.1.1")],
)


@contextlib.contextmanager
def running_hub(folder: Path, port: int, protocol: str = "5") -> Iterator[Hub]:
    """A whole hub in this process, connected to the broker on ``port``."""
    deaths: list[str] = []
    settings = HubSettings(state_folder=folder / "hub", broker=BrokerSettings(port=port, protocol=protocol))
    hub = build(settings)
    hub.start(deaths.append)
    try:
        wait_until(lambda: hub.link.connected, "the broker")
        yield hub
    finally:
        hub.stop()
    assert deaths == []


def tell(node: Node, message: SoundDetected) -> None:
    node.send(node_topic(message.node, "ev", message.label), codec.encode(message))


def states(node: Node) -> list[Presence]:
    return [codec.decode(payload, HubPresence).state for payload in node.hub_states]


@pytest.mark.slow
@pytest.mark.broker
@BOTH_TWICE
def test_from_a_node_to_the_disk_and_back(tmp_path: Path, kind: str, protocol: str) -> None:
    with broker(kind, tmp_path, protocol) as port:
        node = Node(port, protocol)
        with running_hub(tmp_path, port, protocol) as hub:
            wait_until(lambda: states(node)[-1:] == [Presence.ONLINE], "the hub's presence")
            node.send(node_topic("press-1", "conn"), codec.encode(conn(Presence.ONLINE)), retain=True)
            node.send(node_topic("press-1", "birth"), codec.encode(birth()))
            tell(node, sound())
            tell(node, sound())
            wait_until(lambda: node.refs == [EventRef(id=sound().id, seq=7)] * 2, "both acknowledgements")
            assert hub.services.store.event_count() == 1
            record = hub.services.rooms.get("press-1")
            assert record is not None
            assert record.room == "Press shop"
        wait_until(lambda: states(node)[-1] is Presence.OFFLINE, "the hub's farewell")
        node.close()


@pytest.mark.slow
@pytest.mark.broker
def test_a_broker_that_stands_still_was_not_heard_since_before_that_was_noticed(tmp_path: Path) -> None:
    """Whoever counts how long the hub was deaf must not begin when its patience ends."""
    with broker("mosquitto", tmp_path) as port, Proxy(port) as line:
        settings = BrokerSettings(port=line.port, keepalive_seconds=5)
        hub = build(HubSettings(state_folder=tmp_path / "hub", broker=settings))
        hub.start(pytest.fail)
        try:
            wait_until(lambda: hub.link.connected, "the broker")
            line.weather = Weather(stalled=True)
            wait_until(lambda: not hub.services.rooms.hearing.connected, "the end of its patience", 30)
            assert now_us() - hub.services.rooms.hearing.since_us >= 5_000_000
        finally:
            hub.stop()


@pytest.mark.slow
@pytest.mark.broker
@BOTH_TWICE
def test_a_storm_of_acknowledgements_is_not_held_back(tmp_path: Path, kind: str, protocol: str) -> None:
    """All arrive, however few may wait for their PUBACK, and none is left waiting in the hub."""
    with broker(kind, tmp_path, protocol) as port:
        node = Node(port, protocol)
        with running_hub(tmp_path, port, protocol) as hub:
            refs = [EventRef(id=ulid(number), seq=number) for number in range(600)]
            for ref in refs:
                hub.link.publish(node_topic("press-1", "ack"), codec.encode(EventsCommitted(refs=(ref,))))
                assert len(hub.link._under_way) <= WINDOW
            wait_until(lambda: sorted(node.refs, key=lambda ref: ref.seq) == refs, "all of them", 30)
        node.close()


@pytest.mark.slow
@pytest.mark.broker
@BOTH_TWICE
def test_what_was_sent_while_the_hub_was_away_waits_in_the_broker(
    tmp_path: Path, kind: str, protocol: str
) -> None:
    with broker(kind, tmp_path, protocol) as port:
        node = Node(port, protocol)
        with running_hub(tmp_path, port, protocol):
            tell(node, sound(id=ulid(1), seq=1))
            wait_until(lambda: len(node.refs) == 1, "the first acknowledgement")
        for number in range(2, 12):
            tell(node, sound(id=ulid(number), seq=number))
        with running_hub(tmp_path, port, protocol) as hub:
            wait_until(lambda: {ref.seq for ref in node.refs} == set(range(1, 12)), "the others")
            assert hub.services.store.event_count() == 11
        node.close()


@pytest.mark.slow
@pytest.mark.broker
@pytest.mark.parametrize("kind", ["mosquitto", "embedded"])
def test_the_broker_keeps_what_the_disk_did_not_take(tmp_path: Path, kind: str) -> None:
    """No PUBACK before COMMIT: a hub that stops while its disk is stuck gets everything once more."""
    with broker(kind, tmp_path) as port:
        node = Node(port)
        with running_hub(tmp_path, port) as hub:
            stuck = threading.Event()

            def never(_batch: object) -> None:
                stuck.wait(30)

            hub.writer._commit = never  # type: ignore[method-assign,assignment]
            for message in many(5):
                tell(node, message)
            wait_until(lambda: hub.services.rooms.get("press-1") is not None, "the events in the hub")
            assert node.refs == []
            hub.link.stop()
            stuck.set()
        with running_hub(tmp_path, port) as hub:
            wait_until(lambda: len(node.refs) == 5, "all acknowledgements")
            assert hub.services.store.event_count() == 5
        node.close()


@pytest.mark.slow
@pytest.mark.broker
def test_the_hub_finds_its_broker_again(tmp_path: Path) -> None:
    """The broker comes after the hub, goes away, and comes back: rooms know, and events flow again."""
    with contextlib.ExitStack() as stack:
        with broker("mosquitto", tmp_path) as port:
            pass  # only to have a port that was good a moment ago
        settings = HubSettings(state_folder=tmp_path / "hub", broker=BrokerSettings(port=port))
        hub = build(settings)
        hub.start(pytest.fail)
        stack.callback(hub.stop)
        assert not hub.services.rooms.hearing.connected
        for number in (1, 2):
            with broker("mosquitto", tmp_path, port=port):
                wait_until(lambda: hub.services.rooms.hearing.connected, "the broker", 15)
                node = Node(port)
                tell(node, sound(id=ulid(number), seq=number))
                wait_until(lambda node=node: len(node.refs) == 1, "the acknowledgement")  # type: ignore[misc]
                node.close()
            wait_until(lambda: not hub.services.rooms.hearing.connected, "the end of the connection")
        assert hub.services.store.event_count() == 2


@pytest.mark.slow
@pytest.mark.broker
def test_a_hub_that_dies_is_reported_by_its_last_will(tmp_path: Path) -> None:
    with broker("mosquitto", tmp_path) as port:
        node = Node(port)
        with running_hub(tmp_path, port) as hub:
            wait_until(lambda: states(node)[-1:] == [Presence.ONLINE], "the hub's presence")
            client = hub.link._client
            assert client is not None
            line = client.socket()
            assert line is not None
            with socket.socket(fileno=os.dup(line.fileno())) as same:
                same.shutdown(socket.SHUT_RDWR)  # as if the cable were cut
            wait_until(lambda: Presence.OFFLINE in states(node), "the last will")
            wait_until(lambda: states(node)[-1] is Presence.ONLINE, "the return")
        node.close()


@pytest.mark.slow
@pytest.mark.broker
def test_a_refused_password_is_said_once_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from tests.hub.brokers import MOSQUITTO
    from tocsin_hub.demo.broker import free_port, running

    port = free_port()
    config = tmp_path / "m.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous false\nuser root\n", encoding="utf-8")
    with running([MOSQUITTO, "-c", str(config)], tmp_path / "log", port):
        hub = build(HubSettings(state_folder=tmp_path / "hub", broker=BrokerSettings(port=port)))
        hub.start(pytest.fail)
        wait_until(lambda: "refuses the hub: Not authorized" in caplog.text, "the refusal")
        assert not hub.link.connected
        hub.stop()
    assert caplog.text.count("refuses the hub") == 1


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        (
            {"username": "hub", "password_file": "none"},  # pragma: allowlist secret
            r"password_file: .*none cannot be read",
        ),
        ({"ca_file": "none"}, r"the file .*none does not exist"),
        ({"ca_file": "junk"}, r"cannot be used for TLS"),
        (
            {"ca_file": "junk", "cert_file": "none", "key_file": "junk"},
            r"cannot be used for TLS|does not exist",
        ),
    ],
)
def test_files_that_cannot_be_used_are_named_before_anything_starts(
    tmp_path: Path, broken: dict[str, str], complaint: str
) -> None:
    (tmp_path / "junk").write_text("no certificate")
    fields = {name: tmp_path / value if name.endswith("file") else value for name, value in broken.items()}
    with pytest.raises(SettingsError, match=complaint):
        make_client(BrokerSettings(**fields), "hub")  # type: ignore[arg-type]
