"""Real brokers as child processes, with the little client that plays a node."""

import queue
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from tests.authority import Authority
from tocsin_hub.demo.broker import embedded_command, free_port, mosquitto_command, running
from tocsin_shared import codec
from tocsin_shared.events import EventRef, EventsCommitted, SoundDetected
from tocsin_shared.topics import HUB_STATE, node_topic

MOSQUITTO = "/usr/sbin/mosquitto"


def keeping_broker(folder: Path, port: int, most: int) -> list[str]:
    """Command line of a Mosquitto that keeps ``most`` messages for a client that is away; 0: all of them."""
    made = mosquitto_command(folder, port, MOSQUITTO)
    config = folder / "mosquitto.conf"
    text = config.read_text(encoding="utf-8")
    config.write_text(
        re.sub(r"max_queued_messages \d+", f"max_queued_messages {most}", text), encoding="utf-8"
    )
    return made


def command(kind: str, folder: Path, port: int, protocol: str) -> list[str]:
    """Command line of a broker: ``embedded`` or ``mosquitto``, listening for ``protocol`` on ``port``."""
    if kind == "mosquitto":
        return mosquitto_command(folder, port, MOSQUITTO)
    return embedded_command(folder, port, protocol)


@contextmanager
def broker(kind: str, folder: Path, protocol: str = "5", port: int | None = None) -> Iterator[int]:
    """The port of a broker that runs for the life of the ``with`` block."""
    port = port or free_port()
    with running(command(kind, folder, port, protocol), folder / "broker.log", port):
        yield port


@contextmanager
def tls_broker(folder: Path, authority: Authority) -> Iterator[int]:
    """The port, of TLS, of a Mosquitto that wants to be shown a certificate of ``authority``."""
    plain, port = free_port(), free_port()
    made = mosquitto_command(folder, plain, MOSQUITTO)
    own = authority.certificate("broker", 30)
    with (folder / "mosquitto.conf").open("a", encoding="utf-8") as config:
        config.write(
            f"listener {port} 127.0.0.1\ncafile {authority.ca}\ncertfile {own}\n"
            f"keyfile {own.with_suffix('.key')}\nrequire_certificate true\nallow_anonymous true\n"
        )
    with running(made, folder / "broker.log", plain):
        yield port


class Node:
    """Publishes what a test wants, and keeps what the hub answers."""

    def __init__(self, port: int, protocol: str = "5", node: str = "press-1") -> None:
        five = protocol == "5"
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2, f"test-{node}", protocol=mqtt.MQTTv5 if five else mqtt.MQTTv311
        )
        self._node = node
        self._client.on_message = self._on_message
        self._subscribed: queue.Queue[object] = queue.Queue()
        self._client.on_subscribe = lambda *_: self._subscribed.put(None)
        self.refs: list[EventRef] = []
        self.hub_states: list[bytes] = []
        self._client.connect("127.0.0.1", port, 30)
        self._client.loop_start()
        self._client.subscribe([(node_topic(node, "ack"), 1), (HUB_STATE, 1)])
        self._subscribed.get(timeout=5)

    def send(self, topic: str, payload: bytes, retain: bool = False, qos: int = 1) -> None:
        """Publish, and wait until the broker has it."""
        self._client.publish(topic, payload, qos=qos, retain=retain).wait_for_publish(5)

    def tell(self, message: SoundDetected) -> None:
        """Publish a live event, and wait until the broker has it."""
        self.send(node_topic(self._node, "ev", message.label), codec.encode(message))

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(self, _client: mqtt.Client, _userdata: object, message: mqtt.MQTTMessage) -> None:
        if message.topic == HUB_STATE:
            self.hub_states.append(bytes(message.payload))
        else:
            self.refs += codec.decode(bytes(message.payload), EventsCommitted).refs
