"""The link against real brokers: nothing is lost, nothing rests on the broker's word."""

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

import tocsin_node.delivery
import tocsin_node.link
from tests.node.conftest import BrokerProcess
from tests.node.events import born, event
from tests.node.fake_hub import NODE, FakeHub, until
from tests.node.test_metrics import BEAT
from tocsin_node.delivery import BATCH_EVENTS
from tocsin_node.link import Hooks, Identity, Link
from tocsin_node.outbox import Outbox
from tocsin_node.outbox_table import OutboxTable, Row
from tocsin_node.retiming import corrected
from tocsin_shared.broker import BrokerSettings
from tocsin_shared.codec import decode, encode
from tocsin_shared.events import (
    Clock,
    HubPresence,
    NodeBorn,
    NodeConnection,
    Presence,
    SoundDetected,
)
from tocsin_shared.topics import HUB_STATE

log = logging.getLogger("tocsin.tests.link")
pytestmark = [pytest.mark.slow, pytest.mark.broker]


class Node:
    """An outbox and its link, with both loops running."""

    def __init__(self, port: int, protocol: str, folder: Path, host: str = "127.0.0.1", **more: Any) -> None:
        self.outbox = Outbox(folder / "outbox.sqlite", 1_000_000_000)
        self.outbox.open()
        settings = BrokerSettings(host=host, port=port, protocol=protocol, keepalive_seconds=5)
        self.link = Link(settings, Identity(NODE, "b1"), self.outbox, born, chance=lambda: 0.0, **more)
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self.link.run_network, args=(self._stop,), name="link"),
            threading.Thread(target=self.link.run_sender, args=(self._stop,), name="sender"),
        ]
        for thread in self._threads:
            thread.start()

    def tell(self, label: str = "siren") -> SoundDetected:
        kept = self.outbox.add(lambda seq: event(seq, label))
        self.link.announce(kept.seq)
        return kept

    def close(self) -> None:
        self.link.stop()
        self._stop.set()
        for thread in self._threads:
            thread.join(10.0)
        assert not any(thread.is_alive() for thread in self._threads)
        self.outbox.close()


@contextmanager
def node(broker: BrokerProcess, folder: Path, host: str = "127.0.0.1", **more: Any) -> Iterator[Node]:
    made = Node(broker.port, broker.protocol, folder, host, **more)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def hub(broker: BrokerProcess) -> Iterator[FakeHub]:
    made = FakeHub(broker)
    yield made
    made.stop()


def emptied(one: Node) -> Callable[[], bool]:
    return lambda: one.outbox.depth().waiting == 0


def test_an_event_goes_out_at_once_and_leaves_the_outbox_by_the_hubs_word(
    broker: BrokerProcess, hub: FakeHub, tmp_path: Path
) -> None:
    with node(broker, tmp_path) as one:
        until(lambda: one.link.connected)
        delays = []
        for _ in range(10):
            began = time.monotonic()
            kept = one.tell()
            until(lambda seq=kept.seq: seq in hub.seqs())  # type: ignore[misc]
            delays.append(time.monotonic() - began)
        until(emptied(one))
        assert hub.live()[-1].label == "siren"
        assert hub.late() == []
        assert sorted(delays)[5] < 0.1


def test_the_node_presents_itself_and_says_goodbye(
    broker: BrokerProcess, hub: FakeHub, tmp_path: Path
) -> None:
    with node(broker, tmp_path) as one:
        until(lambda: one.link.connected and hub.payloads("birth") and hub.payloads("conn"))
        assert decode(hub.payloads("birth")[0], NodeBorn).session == 1
        online = decode(hub.payloads("conn")[0], NodeConnection)
        assert (online.state, online.boot, online.session) == (Presence.ONLINE, "b1", 1)
    until(lambda: len(hub.payloads("conn")) == 2)
    offline = decode(hub.payloads("conn")[1], NodeConnection)
    assert (offline.state, offline.session) == (Presence.OFFLINE, 1)


def test_without_the_hubs_word_it_is_sent_again_until_it_comes(
    broker: BrokerProcess, hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tocsin_node.delivery, "RESEND_SECONDS", 0.3)
    hub.acks = False
    with node(broker, tmp_path) as one:
        kept = one.tell()
        until(lambda: [e.seq for e in hub.live() + hub.late()].count(kept.seq) >= 3)
        assert one.outbox.depth().waiting == 1
        hub.acks = True
        until(emptied(one))
        assert {e.id for e in hub.live() + hub.late()} == {kept.id}


def test_with_no_hub_at_all_nothing_is_lost_and_it_comes_late_marked_as_late(
    broker: BrokerProcess, tmp_path: Path
) -> None:
    with node(broker, tmp_path) as one:
        until(lambda: one.link.connected)
        kept = [one.tell() for _ in range(30)]
        time.sleep(0.5)
        assert one.outbox.depth().waiting == 30
    hub = FakeHub(broker)
    with node(broker, tmp_path) as one:
        until(emptied(one), 20.0)
        assert {e.seq for e in hub.late()} == {e.seq for e in kept}
        assert all(e.late for e in hub.late())
    hub.stop()


def test_a_live_alarm_does_not_wait_behind_what_is_old(
    broker: BrokerProcess, hub: FakeHub, tmp_path: Path
) -> None:
    outbox = Outbox(tmp_path / "outbox.sqlite", 100_000_000)
    outbox.open()
    for _ in range(1000):
        outbox.add(lambda seq: event(seq, "dog_bark"))
    outbox.close()
    with node(broker, tmp_path) as one:
        until(lambda: one.link.connected and hub.late())
        began = time.monotonic()
        kept = one.tell("smoke_alarm")
        until(hub.live)
        assert time.monotonic() - began < 1.0
        assert hub.live()[0].seq == kept.seq
        until(emptied(one), 60.0)
        assert hub.seqs() == set(range(1, 1002))
        assert all(len(payload) <= 64_000 for payload in hub.payloads("bf"))


def test_garbage_from_outside_is_counted_and_kills_nothing(
    broker: BrokerProcess, hub: FakeHub, tmp_path: Path
) -> None:
    hub.acks = False
    with node(broker, tmp_path) as one:
        until(lambda: one.link.connected)
        kept = one.tell()
        until(hub.live)
        junk = [b"", b"{", b"\xff\xfe", b'{"refs": [{"id": 1}]}', b"[" * 5000, b'{"refs": 7, "schema": 1}']
        for payload in junk:
            hub.say(f"tocsin/v1/n/{NODE}/ack", payload)
        hub.say(HUB_STATE, b"not json")
        hub.commit([event(kept.seq)])  # the number of the row, but another event's id
        hub.commit([event(999, event_id=kept.id)])
        until(lambda: one.link.garbage == len(junk) + 1)
        assert one.outbox.depth().waiting == 1
        hub.commit([kept])
        until(emptied(one))


def test_a_broker_that_dies_and_comes_back_loses_nothing(
    broker: BrokerProcess, hub: FakeHub, tmp_path: Path
) -> None:
    with node(broker, tmp_path) as one:
        until(lambda: one.link.connected)
        before = one.tell()
        until(emptied(one))
        broker.kill()
        until(lambda: not one.link.connected)
        while_away = [one.tell() for _ in range(5)]
        broker.start()
        until(emptied(one), 30.0)
        assert hub.seqs() >= {before.seq, *(e.seq for e in while_away)}
        after = decode(hub.payloads("conn")[-1], NodeConnection)
        assert (after.state, after.session) == (Presence.ONLINE, 2)


def test_the_first_connection_is_tried_again_too(
    broker: BrokerProcess, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broker.kill()
    with node(broker, tmp_path) as one:
        one.tell()
        time.sleep(0.3)
        assert "Connection refused" in caplog.text
        broker.start()
        hub = FakeHub(broker)
        until(emptied(one), 20.0)
        hub.stop()


def test_a_sound_does_not_wait_until_the_next_try_to_connect(
    broker: BrokerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a long outage tries are far apart; the broker may have been back for most of that time."""
    monkeypatch.setattr(tocsin_node.link, "FIRST_WAIT_SECONDS", 60.0)
    broker.kill()
    with node(broker, tmp_path) as one:
        time.sleep(0.5)
        broker.start()
        hub = FakeHub(broker)
        time.sleep(1.0)
        assert not one.link.connected, "it has failed once, and waits for half a minute"
        told = one.tell()
        until(emptied(one), 5.0)
        assert told.seq in hub.seqs()
        hub.stop()


@pytest.mark.parametrize("broker", [("iotcore", "5"), ("iotcore", "3.1.1")], indirect=True, ids="-".join)
def test_a_broker_that_hangs_up_without_an_answer_gets_a_line_with_the_remedies(
    broker: BrokerProcess, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = Node(broker.port, "5" if broker.protocol == "3.1.1" else "3.1.1", tmp_path)
    until(lambda: "ended the connection without an answer" in caplog.text)
    assert "broker.protocol" in caplog.text
    assert not made.link.connected
    made.close()


def test_two_nodes_of_one_name_displace_one_another_and_lose_nothing(
    broker: BrokerProcess, hub: FakeHub, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "second").mkdir()
    with node(broker, tmp_path) as one:
        until(lambda: one.link.connected)
        with node(broker, tmp_path / "second") as two:
            until(lambda: two.link.connected)
            until(lambda: "disconnected: " in caplog.text)
            told = {one.tell().id, two.tell().id}
        until(emptied(one), 30.0)
        two_left = Outbox(tmp_path / "second" / "outbox.sqlite", 10_000_000)
        two_left.open()
        kept = {row.id for row in two_left.waiting(9)}
        two_left.close()
    assert told <= kept | {e.id for e in hub.live() + hub.late()}


def test_a_broker_that_says_why_it_ended_the_connection_is_quoted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    link = Link(BrokerSettings(), Identity(NODE, "b1"), Outbox(tmp_path / "outbox.sqlite", 10**6), born)
    link._answered = True
    for number in (0x8E, 0x8B):
        reason = ReasonCode(PacketTypes.DISCONNECT, identifier=number)
        link._on_disconnect(mqtt.Client(CallbackAPIVersion.VERSION2), None, None, reason, None)
    assert "another client has connected under the name press-1" in caplog.text
    assert "disconnected: Server shutting down" in caplog.text


def test_a_last_will_tells_of_a_node_that_died(
    broker: BrokerProcess, hub: FakeHub, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with node(broker, tmp_path) as one:
        until(lambda: one.link.connected and hub.payloads("conn"))
        # The socket is closed under the client, as the kernel does when a process is killed.
        one.link._client.socket().shutdown(2)  # type: ignore[union-attr]
        until(lambda: len(hub.payloads("conn")) >= 2)
        will = decode(hub.payloads("conn")[1], NodeConnection)
        assert (will.state, will.boot, will.session) == (Presence.OFFLINE, "b1", 1)
        until(lambda: len(hub.payloads("conn")) >= 3)
        assert decode(hub.payloads("conn")[2], NodeConnection).session == 2


def test_while_the_hub_is_known_to_be_away_nothing_is_repeated_and_all_is_when_it_returns(
    broker: BrokerProcess, hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tocsin_node.delivery, "RESEND_SECONDS", 0.3)
    now = event(1).onset
    hub.acks = False
    hub.say(HUB_STATE, encode(HubPresence(state=Presence.OFFLINE, epoch="e1", at=now)), retain=True)
    with node(broker, tmp_path) as one:
        until(lambda: one.link.connected)
        time.sleep(0.3)
        kept = one.tell()
        until(hub.live)
        time.sleep(1.0)
        assert [e.seq for e in hub.live()] == [kept.seq]
        hub.acks = True
        hub.say(HUB_STATE, encode(HubPresence(state=Presence.ONLINE, epoch="e2", at=now)), retain=True)
        until(emptied(one))


def test_a_hub_that_comes_anew_is_told_who_the_node_is_with_the_next_heartbeat(
    broker: BrokerProcess, hub: FakeHub, tmp_path: Path
) -> None:
    now = event(1).onset
    told = threading.Event()
    with node(broker, tmp_path, hooks=Hooks(connected=told.set)) as one:
        until(lambda: one.link.connected and hub.payloads("birth"))
        until(lambda: one.link._hub_epoch == "e0")
        one.link.send_heartbeat(BEAT)
        until(lambda: hub.payloads("hb"))
        before = len(hub.payloads("birth"))
        told.clear()
        hub.say(HUB_STATE, encode(HubPresence(state=Presence.OFFLINE, epoch="e0", at=now)), retain=True)
        hub.say(HUB_STATE, encode(HubPresence(state=Presence.ONLINE, epoch="e1", at=now)), retain=True)
        until(lambda: one.link._hub_epoch == "e1")
        for _ in range(2):
            one.link.send_heartbeat(BEAT)
        until(lambda: len(hub.payloads("hb")) == 3)
        assert len(hub.payloads("birth")) == before + 1
        assert told.is_set()


def test_an_event_that_the_hub_passes_over_is_set_aside_and_holds_nothing_up(
    broker: BrokerProcess, hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tocsin_node.delivery, "RESEND_SECONDS", 0.05)
    hub.acks = False
    with node(broker, tmp_path) as one:
        until(lambda: one.link.connected)
        bad = one.tell()

        def others_are_committed() -> bool:
            hub.commit([one.tell()])
            hub.commit([e for e in hub.live() + hub.late() if e.seq != bad.seq])
            time.sleep(0.02)
            return one.outbox.depth().dead == 1

        until(others_are_committed, 30.0)
        until(lambda: others_are_committed() and one.outbox.depth().waiting <= 2)


def test_what_the_log_says_about_a_commit_can_be_found_again(
    broker: BrokerProcess, hub: FakeHub, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "tocsin.node.link")
    with node(broker, tmp_path) as one:
        kept = one.tell()
        until(emptied(one))
    assert f"committed id={kept.id} seq={kept.seq}" in caplog.text


MOSQUITTO = pytest.mark.parametrize("broker", [("mosquitto", "5")], indirect=True, ids="-".join)


@MOSQUITTO
def test_a_hundred_thousand_old_events_drain_at_a_bounded_rate_and_live_alarms_pass_them(
    broker: BrokerProcess, hub: FakeHub, tmp_path: Path
) -> None:
    queued, per_second, alarms = 100_000, 10_000.0, 5
    table = OutboxTable.open(tmp_path / "outbox.sqlite")
    old = (event(seq, "dog_bark") for seq in range(1, queued + 1))
    with table.transaction():
        table.insert(Row(one.seq, one.id, one.label, encode(one)) for one in old)
    table.close()
    with node(broker, tmp_path, late_per_second=per_second) as one:
        until(lambda: hub.payloads("bf"), 30.0)
        began, delays = time.monotonic(), []
        for _ in range(alarms):
            made = time.monotonic()
            kept = one.tell("smoke_alarm")
            until(lambda seq=kept.seq: seq in {live.seq for live in hub.live()})  # type: ignore[misc]
            delays.append(time.monotonic() - made)
            time.sleep(0.2)
        assert one.outbox.depth().waiting > queued // 4, "the alarms did not wait for the old events"
        while len(hub.payloads("bf")) < queued // BATCH_EVENTS:
            assert time.monotonic() - began < 120.0
            time.sleep(0.25)
        until(emptied(one), 30.0)
        took = time.monotonic() - began
    assert hub.seqs() == set(range(1, queued + alarms + 1))
    log.info("drained in %.1f s; live alarms after %s s", took, [round(delay, 3) for delay in delays])
    assert took > 0.9 * queued / per_second
    assert max(delays) < 2.0


@MOSQUITTO
def test_while_the_disk_refuses_alarms_still_go_out_at_once(
    broker: BrokerProcess, hub: FakeHub, tmp_path: Path
) -> None:
    with node(broker, tmp_path) as one:
        until(lambda: one.link.connected)
        one.outbox._disk._connection.execute("PRAGMA query_only = 1")  # type: ignore[union-attr]
        hub.acks = False
        kept = one.tell("smoke_alarm")
        until(lambda: [live.id for live in hub.live()] == [kept.id])
        assert one.outbox.depth().waiting == 1, "and it waits for the hub's word in memory"
        hub.commit([kept])
        until(emptied(one))


@MOSQUITTO
def test_a_broker_that_moved_to_another_address_is_found_by_its_name(
    broker: BrokerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses, real = {"broker.site": "127.0.0.1"}, socket.getaddrinfo

    def resolve(host: Any, *rest: Any, **more: Any) -> Any:
        return real(addresses.get(host, host), *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with node(broker, tmp_path, "broker.site") as one:
        until(lambda: one.link.connected)
        broker.kill()
        until(lambda: not one.link.connected)
        kept = one.tell()
        (tmp_path / "moved").mkdir()
        moved = BrokerProcess("mosquitto", "5", tmp_path / "moved", "127.0.0.2")
        moved.port = broker.port
        moved.start()
        addresses["broker.site"] = "127.0.0.2"
        hub = FakeHub(moved, "127.0.0.2")
        until(emptied(one), 30.0)
        assert hub.seqs() == {kept.seq}
    hub.stop()
    moved.kill()


@MOSQUITTO
def test_a_row_that_this_version_cannot_read_is_set_aside_and_holds_nothing_up(
    broker: BrokerProcess, hub: FakeHub, tmp_path: Path
) -> None:
    outbox = Outbox(tmp_path / "outbox.sqlite", 10_000_000)
    outbox.open()
    outbox.add(event)
    bad = outbox.add(event)
    outbox.add(event)
    outbox._disk._connection.execute("UPDATE outbox SET payload = x'7b' WHERE seq = ?", (bad.seq,))  # type: ignore[union-attr]
    outbox.close()
    with node(broker, tmp_path) as one:
        until(emptied(one))
        assert hub.seqs() == {1, 3}
        assert one.outbox.depth().dead == 1


@MOSQUITTO
def test_what_waits_in_the_outbox_gets_its_true_time_once_the_clock_is_set(
    broker: BrokerProcess, tmp_path: Path
) -> None:
    """A board without a clock heard an alarm in 1970; when it is sent, the network has set the clock."""
    wrong = event(1).onset.replace(year=1970)

    def unset(seq: int) -> SoundDetected:
        made = msgspec.structs.replace(event(seq, "smoke_alarm"), onset=wrong, clock=Clock.UNSYNCED)
        return msgspec.structs.replace(made, onset_mono_ns=60 * 10**9)

    wall_minus_mono = event(1).onset.timestamp() - 60.0
    hooks = Hooks(retimed=lambda one: corrected(one, "b1", wall_minus_mono))
    outbox = Outbox(tmp_path / "outbox.sqlite", 10_000_000)
    outbox.open()
    outbox.add(unset)
    outbox.close()
    hub = FakeHub(broker)
    with node(broker, tmp_path, hooks=hooks) as one:
        until(emptied(one))
        live = one.outbox.add(unset)
        one.link.announce(live.seq)
        until(emptied(one))
        told = hub.late() + hub.live()
        assert [each.seq for each in told] == [1, 2]
        assert {(each.onset, each.clock) for each in told} == {(event(1).onset, Clock.NTP)}
    hub.stop()


@MOSQUITTO
def test_who_takes_part_is_told_of_commits_and_of_the_headway_of_both_threads(
    broker: BrokerProcess, hub: FakeHub, tmp_path: Path
) -> None:
    heard: list[str] = []
    beats: set[str] = set()
    hooks = Hooks(committed=heard.extend, beat=lambda thread, _pause: beats.add(thread))
    with node(broker, tmp_path, hooks=hooks) as one:
        kept = one.tell()
        until(lambda: heard == [kept.id])
        until(lambda: beats == {"link", "sender"})
