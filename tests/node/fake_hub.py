"""A hub of a few lines: hears everything, keeps it, and acknowledges events unless told not to."""

import threading
import time
from collections.abc import Callable
from typing import Any

from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from tests.node.conftest import BrokerProcess
from tests.node.events import event
from tocsin_shared.codec import decode, encode
from tocsin_shared.events import (
    Backfill,
    EventRef,
    EventsCommitted,
    HubPresence,
    Presence,
    SoundDetected,
)
from tocsin_shared.topics import HUB_STATE, parse_node_topic

NODE = "press-1"


class FakeHub:
    """Hears everything, keeps every message, and acknowledges events unless told not to."""

    def __init__(self, broker: BrokerProcess, host: str = "127.0.0.1") -> None:
        self.acks = True
        self.messages: list[tuple[str, bytes]] = []
        version = MQTTProtocolVersion.MQTTv5 if broker.protocol == "5" else MQTTProtocolVersion.MQTTv311
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="hub", protocol=version)
        self.client.on_connect = self._on_connect
        self.client.on_message = self._on_message
        subscribed = threading.Event()
        self.client.on_subscribe = lambda *_: subscribed.set()
        self.client.reconnect_delay_set(1, 1)
        self.client.connect(host, broker.port, 10)
        self.client.loop_start()
        assert subscribed.wait(10.0)

    def stop(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def payloads(self, kind: str) -> list[bytes]:
        return [
            payload
            for topic, payload in list(self.messages)
            if topic.startswith(f"tocsin/v1/n/{NODE}/{kind}")
        ]

    def live(self) -> list[SoundDetected]:
        return [decode(payload, SoundDetected) for payload in self.payloads("ev")]

    def late(self) -> list[SoundDetected]:
        return [one for payload in self.payloads("bf") for one in decode(payload, Backfill).events]

    def seqs(self) -> set[int]:
        return {one.seq for one in self.live() + self.late()}

    def commit(self, events: list[SoundDetected]) -> None:
        refs = tuple(EventRef(one.id, one.seq) for one in events)
        self.say(f"tocsin/v1/n/{NODE}/ack", encode(EventsCommitted(refs=refs)))

    def say(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        self.client.publish(topic, payload, qos=1, retain=retain)

    def _on_connect(self, client: mqtt.Client, *_: Any) -> None:
        client.subscribe("tocsin/v1/#", 1)
        here = HubPresence(state=Presence.ONLINE, epoch="e0", at=event(1).onset)
        client.publish(HUB_STATE, encode(here), qos=1, retain=True)

    def _on_message(self, _client: Any, _data: Any, message: mqtt.MQTTMessage) -> None:
        self.messages.append((message.topic, bytes(message.payload)))
        kind = parse_node_topic(message.topic).kind if "/n/" in message.topic else ""
        if self.acks and kind == "ev":
            self.commit([decode(bytes(message.payload), SoundDetected)])
        if self.acks and kind == "bf":
            self.commit(list(decode(bytes(message.payload), Backfill).events))


def until(true: Callable[[], object], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.01)
