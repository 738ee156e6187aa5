"""The hub's connection to the MQTT broker.

Delivery is acknowledged by hand, after the disk has the message; what was not acknowledged when a
connection broke comes again on the next one, because the broker keeps the hub's session.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol

from paho.mqtt.client import (
    MQTT_ERR_SUCCESS,
    Client,
    ConnectFlags,
    DisconnectFlags,
    MQTTMessage,
    MQTTMessageInfo,
)
from paho.mqtt.reasoncodes import ReasonCode

from tocsin_hub.network import GatheringClient, Network
from tocsin_hub.threads import end_process, start_thread
from tocsin_hub.times import from_us
from tocsin_hub.writer import Receipt
from tocsin_shared import codec
from tocsin_shared.broker import BrokerSettings, connect_options, make_client
from tocsin_shared.errors import UnavailableError
from tocsin_shared.events import HubPresence, Presence
from tocsin_shared.topics import HUB_STATE, node_subscriptions

CLIENT_ID = "hub"
RECEIVE_MAXIMUM = 2000
"""Messages that may wait for their PUBACK; with the usual 20, one commit could never hold more than 20."""
WINDOW = 20
"""Messages of ours that wait for the broker's PUBACK: what paho and Mosquitto take by default. What paho
holds back beyond it, it walks through at every PUBACK: thousands of acknowledgements would take seconds."""
_STOP_SECONDS = 5.0
_PUBLISH_SECONDS = 5.0
_KEEP_ALIVE_TIMEOUT = 0x8D
"""Reason code of MQTT 5 (3.14.2.1), as paho gives it when a ping is not answered within the keepalive."""

Hears = Callable[[bool, float], None]
"""Told whether the broker is heard, and for how many seconds that has been so already."""

log = logging.getLogger(__name__)


class Receiver(Protocol):
    """Takes a message: topic, payload, whether it was retained, and what to acknowledge it by."""

    def __call__(self, topic: str, payload: bytes, retained: bool, receipt: Receipt | None, /) -> None: ...


class Link:
    """A connection that is made again for as long as the hub runs."""

    def __init__(self, settings: BrokerSettings, epoch: str, clock: Callable[[], int]) -> None:
        self._settings = settings
        self._epoch = epoch
        self._clock = clock
        self._client: Client | None = None
        self._receive: Receiver | None = None
        self._hearing: Hears = lambda *_: None
        self._connection = 0
        self._connected = False
        self._under_way: deque[MQTTMessageInfo] = deque()
        self._failure = ""
        self._stopping = False
        self._network: Network | None = None
        self._thread: threading.Thread | None = None

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted the hub."""
        return self._connected

    def start(
        self,
        receive: Receiver,
        hearing: Hears,
        on_death: Callable[[str], None] = end_process,
    ) -> None:
        """Connect in a thread, now or as soon as the broker is there; ``hearing`` is told of every change.

        Raises:
            SettingsError: a password or certificate file cannot be used.
        """
        self._receive, self._hearing = receive, hearing
        self._client = client = make_client(self._settings, CLIENT_ID, manual_ack=True, kind=GatheringClient)
        client.will_set(HUB_STATE, self._presence(Presence.OFFLINE), qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.connect_async(**connect_options(self._settings, RECEIVE_MAXIMUM))
        self._network = Network(client, self._note_failure)
        self._thread = start_thread("mqtt", self._network.run, on_death)

    def stop(self) -> None:
        """Say goodbye and disconnect; messages that are not committed yet come again another time."""
        if self._client is None or self._network is None or self._thread is None:
            return
        self._stopping = True
        if self._connected:
            farewell = self._client.publish(HUB_STATE, self._presence(Presence.OFFLINE), qos=1, retain=True)
            try:
                farewell.wait_for_publish(1.0)
            except (RuntimeError, ValueError):
                log.info("the broker left before the hub could say goodbye")
        self._network.stop()
        self._thread.join(_STOP_SECONDS)

    def acknowledge(self, receipt: Receipt) -> None:
        """Tell the broker that a message arrived, unless it came over a connection that is gone."""
        if self._client is not None and self._connected and receipt.connection == self._connection:
            self._client.ack(receipt.mid, receipt.qos)

    def publish(self, topic: str, payload: bytes) -> None:
        """Send at QoS 1, or at QoS 0 while :data:`WINDOW` messages are under way.

        Without a connection nothing is sent. Nothing rests on either: a node that does not hear that its
        event is stored sends it again.
        """
        if self._client is None or not self._connected:
            return
        under_way = self._under_way
        while under_way and under_way[0].is_published():
            under_way.popleft()
        if len(under_way) >= WINDOW:
            self._client.publish(topic, payload, qos=0)
            return
        sent = self._client.publish(topic, payload, qos=1)
        if sent.rc == MQTT_ERR_SUCCESS:
            under_way.append(sent)

    def clear(self, topics: Iterable[str]) -> bool:
        """Have the broker let go of what it keeps under ``topics``; ``False`` without a connection to it."""
        if self._client is None or not self._connected:
            return False
        for topic in topics:
            self._client.publish(topic, b"", qos=1, retain=True)
        return True

    def publish_retained(self, topic: str, payload: bytes) -> None:
        """Send at QoS 1, to be kept by the broker, and wait until it has it.

        Raises:
            UnavailableError: there is no connection, or the broker did not answer in time.
        """
        if self._client is None or not self._connected:
            raise UnavailableError("the broker is not connected")
        sent = self._client.publish(topic, payload, qos=1, retain=True)
        try:
            sent.wait_for_publish(_PUBLISH_SECONDS)
        except (RuntimeError, ValueError) as error:
            raise UnavailableError(f"the broker did not take {topic}: {error}") from error
        if not sent.is_published():
            raise UnavailableError(f"the broker did not acknowledge {topic} in {_PUBLISH_SECONDS:.0f} s")

    def _presence(self, state: Presence) -> bytes:
        return codec.encode(HubPresence(state=state, epoch=self._epoch, at=from_us(self._clock())))

    def _on_connect(
        self, client: Client, _userdata: object, _flags: ConnectFlags, reason: ReasonCode, _properties: object
    ) -> None:
        if reason.is_failure:
            self._note_failure(f"the broker refuses the hub: {reason}")
            return
        self._failure = ""
        self._connection += 1
        self._under_way = deque()
        self._connected = True
        log.info("connected to the broker %s:%d", self._settings.host, self._settings.port)
        client.subscribe([(topic, 1) for topic in node_subscriptions()])
        client.publish(HUB_STATE, self._presence(Presence.ONLINE), qos=1, retain=True)
        self._hearing(True, 0.0)

    def _note_failure(self, failure: str) -> None:
        if failure != self._failure:
            log.error("%s (%s:%d); trying again", failure, self._settings.host, self._settings.port)
        self._failure = failure

    def _on_disconnect(
        self,
        _client: Client,
        _userdata: object,
        _flags: DisconnectFlags,
        reason: ReasonCode,
        _properties: object,
    ) -> None:
        if self._connected:
            log.log(
                logging.INFO if self._stopping else logging.WARNING,
                "the connection to the broker ended: %s",
                reason,
            )
            self._connected = False
            # Then the broker was silent for that long already, and nobody knew.
            silent = self._settings.keepalive_seconds if reason == _KEEP_ALIVE_TIMEOUT else 0
            self._hearing(False, float(silent))

    def _on_subscribe(
        self, _client: Client, _userdata: object, _mid: int, reasons: list[ReasonCode], _properties: object
    ) -> None:
        for topic, reason in zip(node_subscriptions(), reasons, strict=False):
            if reason.is_failure:
                log.error("the broker does not let the hub hear %s: %s", topic, reason)

    def _on_message(self, _client: Client, _userdata: object, message: MQTTMessage) -> None:
        receipt = Receipt(message.mid, message.qos, self._connection) if message.qos else None
        if self._receive is None:
            return
        try:
            self._receive(_topic_of(message), bytes(message.payload), message.retain, receipt)
        except UnavailableError as error:
            log.info("a message was left with the broker: %s", error)


def _topic_of(message: MQTTMessage) -> str:
    try:
        return message.topic
    except UnicodeDecodeError:
        return "a topic that is not UTF-8"
