"""The edge to the broker: paho, one client for each connection.

A fresh client for each connection means a fresh last will (it carries the number of the connection) and
that nothing which paho itself has queued is ever sent: what goes out is decided by
:mod:`tocsin_node.delivery` from the outbox alone.

Two loops, each to be run in a thread of its own: :meth:`Link.run_network` connects, again and again, and
hears; :meth:`Link.run_sender` sends. Neither ends before ``stop`` is set.
"""

import contextlib
import logging
import math
import random
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import msgspec
from paho.mqtt import client as mqtt
from paho.mqtt.reasoncodes import ReasonCode

from tocsin_node.delivery import Batch, Delivery
from tocsin_node.home_assistant import Retained
from tocsin_node.outbox import Outbox
from tocsin_node.outbox_table import Row
from tocsin_node.tls import CertificateWatch
from tocsin_shared.broker import BrokerSettings, connect_options, make_client
from tocsin_shared.codec import decode, encode
from tocsin_shared.errors import DecodeError, SettingsError
from tocsin_shared.events import (
    Backfill,
    EventsCommitted,
    Heartbeat,
    HubPresence,
    NodeBorn,
    NodeConnection,
    NodeReported,
    Presence,
    SoundDetected,
    TroublesChanged,
)
from tocsin_shared.topics import HUB_STATE, node_topic

CONNECT_SECONDS = 5.0
SETTLE_SECONDS = 30.0
"""A connection that lasted this long lets the next wait begin at the shortest again."""
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 1.0, 15.0
URGENT_WAIT_SECONDS = 1.0
"""A sound that is told between two tries brings the next one so soon, at most."""
LOOKUP_SECONDS = 60.0
"""Name servers that do not answer may hold a connect up for so long; that is no stall."""
_IDLE_SECONDS = 1.0
_GOODBYE_SECONDS = 1.0
_UNSENDABLE = frozenset({0x90, 0x95, 0x99})
"""PUBACK reasons that will be the same tomorrow: topic invalid, packet too large, payload invalid."""
_TAKEN_OVER = 0x8E
_UNANSWERED = (
    "it may want TLS or a certificate (broker.ca_file, cert_file, key_file), "
    'or may not speak this MQTT (broker.protocol = "3.1.1")'
)

SELFTEST = "selftest"
"""``cmd/selftest``, whose payload says nothing: the node is to test itself."""
DESIRED = "desired"
"""``cmd/desired``, retained: what the node is to run, as the director signed it."""

log = logging.getLogger("tocsin.node.link")


def _no_beat(_thread: str, _pause_seconds: float) -> None:
    return


def _as_it_is(event: SoundDetected) -> SoundDetected:
    return event


@dataclass(frozen=True)
class Hooks:
    """Who else takes part in the work of a link; called from its threads, so none of them may wait."""

    connected: Callable[[], None] = lambda: None
    """The node is presented to the broker."""
    committed: Callable[[Iterable[str]], None] = lambda _ids: None
    """The hub has the detections with these ids."""
    beat: Callable[[str, float], None] = _no_beat
    """A thread makes headway, and may be silent for so many seconds more than usual."""
    retimed: Callable[[SoundDetected], SoundDetected] = _as_it_is
    """The event as it is to be told now; see :func:`tocsin_node.retiming.corrected`."""


@dataclass(frozen=True)
class Identity:
    """Who this process is to the broker."""

    node: str
    boot: str


class Link:
    """Delivers what waits in ``outbox``.

    ``born`` makes the description for a connection's number; old events go at most ``late_per_second``;
    ``chance`` gives numbers in [0, 1) that keep a site's nodes from connecting all at once.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        identity: Identity,
        outbox: Outbox,
        born: Callable[[int], NodeBorn],
        *,
        hooks: Hooks = Hooks(),  # frozen, so one may serve all
        certificates: CertificateWatch | None = None,
        late_per_second: float = math.inf,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._settings = settings
        self._identity = identity
        self._outbox = outbox
        self._born = born
        self._hooks = hooks
        self._certificates = certificates or CertificateWatch(settings)
        self._chance = chance
        self._changed = threading.Condition()
        self._delivery = Delivery(late_per_second)
        self._client: mqtt.Client | None = None
        self._on_the_way: dict[int, Batch] = {}
        self._urgent_at: float | None = None
        """When the next try is due because a sound is told; on the monotonic clock."""
        self._session = 0
        self._answered = False
        self._hub_epoch: str | None = None
        self._strange_hub = False
        self.garbage = 0
        """Messages from outside that could not be read."""
        self.on_stored: Callable[[Iterable[str]], None] = lambda _ids: None
        """Called with the ids of the detections that the hub has; must not wait."""
        self.on_command: Callable[[str], None] = lambda _operation: None
        """Called with the operation that somebody asks for; must not wait."""
        self.on_directive: Callable[[bytes], None] | None = None
        """Called with each directive as it came; without it none is asked for; must not wait."""
        self.beside: Callable[[int], Iterable[Retained]] = lambda _session: ()
        """What others than the hub are told at each connection, by its number; must not wait."""

    @property
    def connected(self) -> bool:
        """Whether the broker has taken the node in."""
        return self._client is not None

    def announce(self, seq: int) -> None:
        """Row ``seq`` has been committed just now: send it at once."""
        with self._changed:
            now = time.monotonic()
            self._delivery.made(seq, now)
            if self._client is None and self._urgent_at is None:
                # Not all at once: a sound that one node of a site hears, others hear, too.
                self._urgent_at = now + self._chance() * URGENT_WAIT_SECONDS / 2.0
            self._changed.notify_all()

    def send_heartbeat(self, heartbeat: Heartbeat) -> None:
        """Send ``heartbeat`` if there is a connection; a lost one is no loss.

        Before it, a hub that was not there when the node came is told who the node is: heartbeats of a
        site's nodes are spread over time, so its start is no rush.
        """
        client = self._client
        if client is None:
            return
        if self._strange_hub:
            self._strange_hub = False
            client.publish(self._topic("birth"), self._birth(), qos=1)
            self._hooks.connected()
        client.publish(self._topic("hb"), encode(heartbeat), qos=0)

    def send_troubles(self, troubles: TroublesChanged) -> None:
        """Send ``troubles``, retained, if there is a connection; without one they are due after the next."""
        client = self._client
        if client is not None:
            client.publish(self._topic("troubles"), encode(troubles), qos=1, retain=True)

    def send_state(self, state: NodeReported) -> None:
        """Send ``state``, retained, if there is a connection; without one it is due after the next."""
        client = self._client
        if client is not None:
            try:
                client.publish(self._topic("state"), encode(state), qos=1, retain=True)
            except DecodeError as error:
                log.warning("the state of the node cannot be told: %s", error)

    def send_birth(self) -> None:
        """Say anew who the node is, if there is a connection: another bundle listens."""
        client = self._client
        if client is not None:
            client.publish(self._topic("birth"), self._birth(), qos=1)

    def drain(self, seconds: float) -> bool:
        """Wait until the hub has everything, at most ``seconds``; whether it has."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while (waiting := self._outbox.depth().waiting) and time.monotonic() < deadline:
                self._changed.wait(max(0.0, deadline - time.monotonic()))
        return waiting == 0

    def run_network(self, stop: threading.Event) -> None:
        """Connect, hear until the connection breaks, wait, and begin again, until ``stop``."""
        wait = FIRST_WAIT_SECONDS
        while not stop.is_set():
            began = time.monotonic()
            self._urgent_at = None
            self._connection(stop)
            if time.monotonic() - began > SETTLE_SECONDS:
                wait = FIRST_WAIT_SECONDS
            self._hooks.beat("link", wait)
            self._pause(stop, wait * (0.5 + self._chance() / 2.0))
            wait = min(2.0 * wait, LONGEST_WAIT_SECONDS)

    def _pause(self, stop: threading.Event, seconds: float) -> None:
        """Wait before the next try to connect: so long, or less when a sound is told meanwhile."""
        now = time.monotonic()
        soonest, latest = now + URGENT_WAIT_SECONDS / 2.0, now + seconds
        with self._changed:
            while not stop.is_set():
                urgent = math.inf if self._urgent_at is None else max(soonest, self._urgent_at)
                left = min(urgent, latest) - time.monotonic()
                if left <= 0.0:
                    return
                self._changed.wait(min(left, _IDLE_SECONDS))

    def run_sender(self, stop: threading.Event) -> None:
        """Send what is due, until ``stop``."""
        while not stop.is_set():
            self._hooks.beat("sender", 0.0)
            with self._changed:
                client, batch = self._due()
                if client is None or batch is None:
                    self._changed.wait(min(_IDLE_SECONDS, self._delivery.wake_in(time.monotonic())))
                    continue
            self._send(client, batch)

    def stop(self) -> None:
        """Say goodbye and disconnect, so that the last will is not sent."""
        client = self._client
        if client is not None:
            farewell = self._presence(Presence.OFFLINE, self._session)
            with contextlib.suppress(RuntimeError, ValueError):
                client.publish(self._topic("conn"), farewell, qos=1, retain=True).wait_for_publish(
                    _GOODBYE_SECONDS
                )
            client.disconnect()
        with self._changed:
            self._changed.notify_all()

    def _connection(self, stop: threading.Event) -> None:
        """One connection, from the first packet to the last."""
        self._answered = False
        self._hooks.beat("link", LOOKUP_SECONDS)
        try:
            client = self._fresh_client()
            # paho asks for the address of the host each time, so a broker that moved is found again.
            client.connect(**connect_options(self._settings))
            while not stop.is_set() and client.loop(timeout=_IDLE_SECONDS) == mqtt.MQTT_ERR_SUCCESS:
                self._hooks.beat("link", 0.0)
            if not self._answered and not stop.is_set():
                log.warning(
                    "broker %s ended the connection without an answer: %s", self._address, _UNANSWERED
                )
        except (OSError, ValueError, SettingsError) as error:
            log.warning("broker %s: %s", self._address, self._certificates.note_failure(error))
        finally:
            with self._changed:
                self._client = None
                self._on_the_way.clear()
                self._changed.notify_all()

    def _fresh_client(self) -> mqtt.Client:
        client = make_client(self._settings, self._identity.node, reconnect=False)
        client.connect_timeout = CONNECT_SECONDS
        client.will_set(
            self._topic("conn"), self._presence(Presence.OFFLINE, self._session + 1), qos=1, retain=True
        )
        client.on_socket_register_write = _left_to_the_network_thread
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        return client

    def _due(self) -> tuple[mqtt.Client | None, Batch | None]:
        now = time.monotonic()
        if refused := self._delivery.overdue(now):
            log.warning("the hub passes over %d events; they are tried again", len(refused))
            self._outbox.count_try(refused)
        if self._client is None:
            return None, None
        return self._client, self._delivery.next(self._waiting, now)

    def _waiting(self, limit: int, after: int, without: Any) -> list[Row]:
        return self._outbox.waiting(limit, after=after, without=without)

    def _send(self, client: mqtt.Client, batch: Batch) -> None:
        events = self._readable(batch)
        if not events:
            return
        if batch.late:
            late = tuple(msgspec.structs.replace(event, late=True) for event in events)
            topic, payload = self._topic("bf"), encode(Backfill(events=late))
        else:
            topic, payload = self._topic("ev", events[0].label), encode(events[0])
        sent = client.publish(topic, payload, qos=1)
        with self._changed:
            if sent.rc == mqtt.MQTT_ERR_SUCCESS:
                self._on_the_way[sent.mid] = batch
            else:
                self._delivery.unsent(batch)

    def _readable(self, batch: Batch) -> list[SoundDetected]:
        """The events of ``batch`` as they are told now; rows that this version cannot read are set aside."""
        events, unreadable = [], []
        for row in batch.rows:
            try:
                events.append(self._hooks.retimed(decode(row.payload, SoundDetected)))
            except DecodeError as error:
                log.warning("event seq=%d is set aside: %s", row.seq, error)
                unreadable.append(row.seq)
        if unreadable:
            self._outbox.set_aside(unreadable)
            with self._changed:
                self._delivery.answered(unreadable)
        return events

    def _on_connect(
        self, client: mqtt.Client, _data: Any, flags: mqtt.ConnectFlags, reason: ReasonCode, _properties: Any
    ) -> None:
        self._answered = True
        if reason.is_failure:
            log.warning("broker %s refuses the node: %s", self._address, reason)
            return
        self._session += 1
        client.subscribe([(self._topic("ack"), 1), (HUB_STATE, 1), (self._topic("cmd", SELFTEST), 0)])
        if self.on_directive is not None:
            client.subscribe(self._topic("cmd", DESIRED), 1)
        client.publish(
            self._topic("conn"), self._presence(Presence.ONLINE, self._session), qos=1, retain=True
        )
        client.publish(self._topic("birth"), self._birth(), qos=1)
        for one in self.beside(self._session):
            client.publish(one.topic, one.payload, qos=1, retain=True)
        log.info(
            "connected to %s session=%d session_present=%s",
            self._address,
            self._session,
            flags.session_present,
        )
        with self._changed:
            self._delivery.connected(self._outbox.last_seq)
            self._client = client
            self._changed.notify_all()
        self._certificates.note_connection(client.socket())
        self._hooks.connected()

    def _on_disconnect(
        self, _client: mqtt.Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any
    ) -> None:
        if reason.value == _TAKEN_OVER:
            log.warning("disconnected: another client has connected under the name %s", self._identity.node)
        elif self._answered:
            log.log(logging.WARNING if reason.is_failure else logging.INFO, "disconnected: %s", reason)

    def _on_publish(
        self, _client: mqtt.Client, _data: Any, mid: int, reason: ReasonCode, _properties: Any
    ) -> None:
        with self._changed:
            batch = self._on_the_way.pop(mid, None)
        if not reason.is_failure:
            return  # the broker's word proves nothing: the row stays until the hub's
        log.warning("the broker refuses a message: %s", reason)
        if batch is not None and reason.value in _UNSENDABLE:
            self._outbox.count_try(batch.seqs)

    def _on_message(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        try:
            if message.topic == HUB_STATE:
                self._on_hub(decode(bytes(message.payload), HubPresence), fresh=not message.retain)
            elif message.topic == self._topic("ack"):
                self._on_committed(decode(bytes(message.payload), EventsCommitted))
            elif message.topic == self._topic("cmd", SELFTEST) and not message.retain:
                self.on_command(SELFTEST)
            elif message.topic == self._topic("cmd", DESIRED) and self.on_directive is not None:
                self.on_directive(bytes(message.payload))
        except DecodeError as error:
            self.garbage += 1
            log.warning("ignored on %s (%d so far): %s", message.topic, self.garbage, error)

    def _on_hub(self, hub: HubPresence, *, fresh: bool) -> None:
        """Take note; a hub that says just now that it is there may have missed what was sent before."""
        away = hub.state is Presence.OFFLINE
        log.info("hub is %s", hub.state)
        with self._changed:
            another = self._hub_epoch not in {None, hub.epoch}
            if fresh or another:
                self._delivery.hub(away=True)
            self._delivery.hub(away=away)
            # It may not know the node: a birth is not kept by the broker, and not every broker (RabbitMQ)
            # tells the hub what it keeps.
            if not away and (another or (fresh and self._hub_epoch is None)):
                self._strange_hub = True
            self._hub_epoch = hub.epoch
            self._changed.notify_all()

    def _on_committed(self, committed: EventsCommitted) -> None:
        known = self._outbox.acknowledge(committed.refs)
        with self._changed:
            self._delivery.answered(known)
            self._changed.notify_all()
        self._hooks.committed([ref.id for ref in committed.refs])
        for ref in committed.refs:
            log.debug("committed id=%s seq=%d", ref.id, ref.seq)
        self.on_stored([ref.id for ref in committed.refs])

    def _birth(self) -> bytes:
        born = self._born(self._session)
        try:
            return encode(born)
        except DecodeError as error:
            log.warning("the node's description is sent without its labels: %s", error)
            return encode(msgspec.structs.replace(born, labels=()))

    def _presence(self, state: Presence, session: int) -> bytes:
        return encode(NodeConnection(state=state, boot=self._identity.boot, session=session))

    @property
    def _address(self) -> str:
        return f"{self._settings.host}:{self._settings.port}"

    def _topic(self, kind: str, rest: str = "") -> str:
        return node_topic(self._identity.node, kind, rest)


def _left_to_the_network_thread(_client: mqtt.Client, _data: Any, _opened: Any) -> None:
    # With this set, publish() wakes the network thread instead of writing by itself: a TLS connection
    # bears only one thread at a time.
    return
