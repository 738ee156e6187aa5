"""The thread that moves the hub's packets: what it gathers, and what paho's own loop gets wrong."""

import contextlib
import os
import resource
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import MQTTErrorCode

from tests.authority import Authority
from tests.hub.brokers import Node, broker, tls_broker
from tests.hub.parts import ulid, wait_until
from tocsin_hub.demo.broker import free_port
from tocsin_hub.link import Link
from tocsin_hub.network import GatheringClient, GatheringSocket, Network
from tocsin_hub.times import now_us
from tocsin_hub.writer import Receipt
from tocsin_shared import codec
from tocsin_shared.broker import BrokerSettings, connect_options, make_client
from tocsin_shared.events import EventRef, EventsCommitted
from tocsin_shared.topics import node_topic

MANY = 1_500


class Ear:
    """Takes what a link hears, and acknowledges it from another thread, as the writer does."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.receipts: list[Receipt] = []
        self.may_hear = threading.Event()
        self.may_hear.set()

    def __call__(self, _topic: str, payload: bytes, _retained: bool, receipt: Receipt | None) -> None:
        self.may_hear.wait(30)
        self.heard.append(payload)
        if receipt is not None:
            self.receipts.append(receipt)


@contextlib.contextmanager
def linked(settings: BrokerSettings, ear: Ear) -> Iterator[Link]:
    """A link that is connected."""
    deaths: list[str] = []
    link = Link(settings, "epoch", now_us)
    link.start(ear, lambda *_: None, deaths.append)
    try:
        wait_until(lambda: link.connected, "the broker")
        yield link
    finally:
        link.stop()
    assert deaths == []


def acknowledge_all(link: Link, ear: Ear) -> None:
    given = 0
    for _ in range(MANY):
        for receipt in ear.receipts[given:]:
            link.acknowledge(receipt)
            given += 1
        if given == MANY:
            return
        threading.Event().wait(0.01)
    raise AssertionError(f"{given} of {MANY} messages were heard")


def send_many(port: int) -> None:
    sender = make_client(BrokerSettings(port=port), "sender")
    sender.max_inflight_messages = MANY
    sender.connect(**connect_options(BrokerSettings(port=port)))
    sender.loop_start()
    sent = [sender.publish(node_topic("press-1", "hb"), b"%d" % number, qos=1) for number in range(MANY)]
    for one in sent:
        one.wait_for_publish(10)
    sender.disconnect()
    sender.loop_stop()


@pytest.mark.slow
@pytest.mark.broker
def test_only_the_network_thread_ever_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads that write at once may tear each other's packets, and TLS bears one thread only."""
    writers: set[str] = set()
    write = Client.loop_write

    def watched(client: Client) -> MQTTErrorCode:
        if client._client_id == b"hub":
            writers.add(threading.current_thread().name)
        return write(client)

    monkeypatch.setattr(Client, "loop_write", watched)
    ear = Ear()
    with broker("mosquitto", tmp_path) as port, linked(BrokerSettings(port=port), ear) as link:
        send_many(port)
        acknowledge_all(link, ear)
        link.publish_retained("tocsin/v1/test", b"kept")
    assert writers == {"mqtt"}


@pytest.mark.slow
@pytest.mark.broker
def test_a_hub_with_thousands_of_open_files_finds_its_broker_again(tmp_path: Path) -> None:
    """Every dashboard is one; ``select`` takes none beyond 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    null = os.open(os.devnull, os.O_RDONLY)
    dashboards = [os.dup(null) for _ in range(1_200)]
    try:
        with broker("mosquitto", tmp_path) as port, linked(BrokerSettings(port=port), Ear()) as link:
            link.publish_retained("tocsin/v1/test", b"kept")
    finally:
        for each in (null, *dashboards):
            os.close(each)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.slow
@pytest.mark.broker
def test_what_piled_up_while_the_hub_was_busy_is_heard_to_the_last(tmp_path: Path) -> None:
    """More packets than are read at once stand in what was read ahead, where the kernel knows nothing of
    them."""
    ear = Ear()
    ear.may_hear.clear()
    with broker("mosquitto", tmp_path) as port, linked(BrokerSettings(port=port), ear):
        send_many(port)
        ear.may_hear.set()
        wait_until(lambda: len(ear.heard) == MANY, "all that piled up", 3)
    assert ear.heard == [b"%d" % number for number in range(MANY)]


@pytest.mark.slow
@pytest.mark.broker
def test_what_is_queued_is_sent_at_once_even_if_paho_believes_that_it_has_woken_us(tmp_path: Path) -> None:
    """Whoever queues a packet may be overtaken by the network thread, which sends it, before it says so.

    paho then takes the network thread for woken while nothing waits, and wakes it no more.
    """
    with broker("mosquitto", tmp_path) as port, linked(BrokerSettings(port=port), Ear()) as link:
        client = link._client
        assert client is not None
        for number in range(5):
            threading.Event().wait(0.05)
            client._call_socket_register_write()
            threading.Event().wait(0.05)
            begun = time.monotonic()
            link.publish_retained("tocsin/v1/test", b"%d" % number)
            assert time.monotonic() - begun < 0.2


@pytest.mark.slow
@pytest.mark.broker
def test_a_storm_over_tls_both_ways(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    own = authority.certificate("hub", 30)
    ear = Ear()
    with tls_broker(tmp_path, authority) as port:
        settings = BrokerSettings(
            port=port, ca_file=authority.ca, cert_file=own, key_file=own.with_suffix(".key")
        )
        node = make_client(settings, "test-node")
        refs: list[EventRef] = []
        node.on_message = lambda _c, _d, message: refs.extend(
            codec.decode(bytes(message.payload), EventsCommitted).refs
        )
        node.connect(**connect_options(settings))
        node.loop_start()
        node.subscribe(node_topic("press-1", "ack"), 1)
        with linked(settings, ear) as link:
            for number in range(MANY):
                node.publish(node_topic("press-1", "hb"), b"x" * 400, qos=1)
                ref = EventRef(id=ulid(number), seq=number)
                link.publish(node_topic("press-1", "ack"), codec.encode(EventsCommitted(refs=(ref,))))
            acknowledge_all(link, ear)
            wait_until(lambda: len(refs) == MANY, "all acknowledgements of the hub", 20)
        node.disconnect()
        node.loop_stop()


@pytest.mark.slow
@pytest.mark.broker
def test_a_goodbye_is_heard(tmp_path: Path) -> None:
    """What was gathered is sent before the connection is closed, so the last will stays unsaid."""
    with broker("mosquitto", tmp_path) as port:
        node = Node(port)
        with linked(BrokerSettings(port=port), Ear()):
            wait_until(lambda: len(node.hub_states) == 1, "the hub's presence")
        wait_until(lambda: len(node.hub_states) == 2, "its goodbye")
        threading.Event().wait(0.5)
        assert len(node.hub_states) == 2, "the broker told the last will of one who had said goodbye"
        node.close()


@pytest.mark.slow
@pytest.mark.broker
def test_it_ends_even_if_it_is_stopped_while_it_connects(tmp_path: Path) -> None:
    class Stopped(GatheringClient):
        def reconnect(self) -> MQTTErrorCode:
            network.stop()
            return super().reconnect()

    with broker("mosquitto", tmp_path) as port:
        client = make_client(BrokerSettings(port=port), "hub", kind=Stopped)
        client.connect_async(**connect_options(BrokerSettings(port=port)))
        network = Network(client, pytest.fail)
        thread = threading.Thread(target=network.run, daemon=True)
        thread.start()
        thread.join(5)
        assert not thread.is_alive()


@pytest.mark.parametrize("host", ["127.0.0.1", "no..name", "x" * 300])
def test_a_broker_that_cannot_be_reached_is_told_with_the_reason(host: str) -> None:
    failures: list[str] = []
    client = make_client(BrokerSettings(port=free_port()), "hub", kind=GatheringClient)
    client.connect_async(**connect_options(BrokerSettings(host=host, port=free_port())))
    network = Network(client, failures.append)
    thread = threading.Thread(target=network.run, daemon=True)
    thread.start()
    wait_until(lambda: bool(failures), "the failure")
    network.stop()
    thread.join(5)
    assert not thread.is_alive()
    assert failures[0].startswith("the broker cannot be reached: ")
    assert len(failures[0]) > len("the broker cannot be reached: ")


@pytest.fixture
def ends() -> Iterator[tuple[GatheringSocket, socket.socket]]:
    """A gathering socket, and the other end of its line."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    yield GatheringSocket(ours), theirs
    ours.close()
    theirs.close()


def test_reading_ahead_gives_the_same_bytes(ends: tuple[GatheringSocket, socket.socket]) -> None:
    ours, theirs = ends
    assert not ours.pending()
    with pytest.raises(BlockingIOError):
        ours.recv(1)
    theirs.send(b"abcdef")
    assert [ours.recv(1), ours.recv(2)] == [b"a", b"bc"]
    assert ours.pending()
    assert ours.recv(10) == b"def"
    assert not ours.pending()
    with pytest.raises(BlockingIOError):
        ours.recv(1)
    theirs.close()
    assert ours.recv(1) == b""


def test_what_is_sent_goes_together(ends: tuple[GatheringSocket, socket.socket]) -> None:
    ours, theirs = ends
    theirs.setblocking(False)
    assert (ours.send(b"one "), ours.send(b"two")) == (4, 3)
    with pytest.raises(BlockingIOError):
        theirs.recv(10)
    assert not ours.flush()
    assert theirs.recv(10) == b"one two"


def test_it_keeps_what_the_other_side_does_not_take_and_no_more_than_so_much(
    ends: tuple[GatheringSocket, socket.socket],
) -> None:
    ours, theirs = ends
    sent = 0
    with contextlib.suppress(BlockingIOError):
        while sent < 100_000_000:
            sent += ours.send(b"x" * 10_000)
            ours.flush()
    assert 262_144 <= sent < 100_000_000
    with pytest.raises(BlockingIOError):
        ours.send(b"more")
    assert ours.flush()
    read = 0
    while read < sent:
        read += len(theirs.recv(65_536))
        ours.flush()
    assert not ours.flush()
    assert ours.send(b"goes on") == 7


def test_a_line_that_broke_is_told_to_whoever_reads(ends: tuple[GatheringSocket, socket.socket]) -> None:
    ours, theirs = ends
    theirs.close()
    ours.send(b"lost")
    assert not ours.flush()
    assert ours.pending()
    with pytest.raises(OSError, match=r"[Pp]ipe"):
        ours.recv(1)


def test_closing_sends_what_was_gathered(ends: tuple[GatheringSocket, socket.socket]) -> None:
    ours, theirs = ends
    ours.send(b"goodbye")
    ours.close()
    assert theirs.recv(20) == b"goodbye"
    assert theirs.recv(20) == b""


@pytest.mark.slow
@pytest.mark.broker
def test_paho_still_asks_us_for_its_socket(tmp_path: Path) -> None:
    """It does not promise to; if this fails, packets are read and sent one by one."""
    with broker("mosquitto", tmp_path) as port, linked(BrokerSettings(port=port), Ear()) as link:
        assert link._client is not None
        assert isinstance(link._client.socket(), GatheringSocket)
