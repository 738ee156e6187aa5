"""The edge to the broker of one simulated node: a paho client that has no thread of its own.

A loop that others share (:mod:`tocsin_hub.fleet.loop`) says when its socket can be read or written.
"""

import contextlib
import selectors
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client as PahoClient
from paho.mqtt.client import ConnectFlags, MQTTMessage
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from tocsin_hub.fleet.model import NODE, Out
from tocsin_shared.broker import BrokerSettings, connect_options, make_client

CONNECT_SECONDS = 3.0


def settings_of(settings: BrokerSettings, node: str) -> BrokerSettings:
    """The broker's settings as ``node`` has them: its name stands in for :data:`NODE`."""

    def named(file: Path | None) -> Path | None:
        return None if file is None else Path(str(file).replace(NODE, node))

    return replace(
        settings,
        username=settings.username.replace(NODE, node),
        password_file=named(settings.password_file),
        cert_file=named(settings.cert_file),
        key_file=named(settings.key_file),
    )


class Client:
    """The connections of one node, one after another; each has a last will, and so a client, of its own."""

    def __init__(
        self,
        settings: BrokerSettings,
        node: str,
        selector: selectors.BaseSelector,
        *,
        on_up: Callable[[], None],
        on_down: Callable[[str], None],
        on_message: Callable[[str, bytes, bool], None],
    ) -> None:
        """``on_down`` is told why; it is called once for each :meth:`open` that did not raise."""
        self._settings = settings_of(settings, node)
        self._node = node
        self._selector = selector
        self._on_up, self._on_down, self._on_message = on_up, on_down, on_message
        self._paho: PahoClient | None = None
        self._socket: socket.socket | None = None
        self._interest = 0
        self._refused = ""
        self.up = False
        """Whether the broker has taken the node in."""

    def open(self, will: Out) -> None:
        """Begin a connection.

        Raises:
            OSError: it cannot be begun.
            SettingsError: a password or certificate file cannot be used.
        """
        self._paho = paho = make_client(self._settings, self._node, reconnect=False)
        paho.connect_timeout = CONNECT_SECONDS
        paho.will_set(will.topic, will.payload, will.qos, will.retain)
        paho.on_socket_register_write = _left_to_the_loop
        paho.on_connect = self._connected
        paho.on_message = self._heard
        self._refused = ""
        try:
            paho.connect(**connect_options(self._settings))
        except BaseException:
            self._paho = None
            raise
        self._socket = paho.socket()  # type: ignore[assignment]  # there is no websocket among ours
        self._watch(selectors.EVENT_READ)
        self.flush()

    def subscribe(self, topics: list[tuple[str, int]]) -> None:
        """Hear ``topics``."""
        if self._paho is not None:
            self._paho.subscribe(topics)

    def send(self, out: Out) -> None:
        """Queue a message; :meth:`flush` writes it."""
        if self._paho is not None:
            self._paho.publish(out.topic, out.payload, out.qos, out.retain)

    def ready(self, mask: int) -> None:
        """The socket can be read, written, or both."""
        if mask & selectors.EVENT_READ and self._paho is not None:
            self._settle(self._read(self._paho))
        self.flush()

    def flush(self) -> None:
        """Write what waits, as far as the socket takes it."""
        if self._paho is not None and self._paho.want_write():
            self._settle(self._paho.loop_write())
        if self._paho is not None:
            wanted = selectors.EVENT_WRITE if self._paho.want_write() else 0
            self._watch(selectors.EVENT_READ | wanted)

    def tick(self) -> None:
        """Once a second or so: keeps the connection alive, or finds it dead."""
        if self._paho is not None:
            self._settle(self._paho.loop_misc())
        self.flush()

    def drop(self) -> None:
        """Break the connection without a word, as a pulled plug does."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def leave(self) -> None:
        """Say goodbye; the broker forgets the session."""
        if self._paho is None:
            return
        properties = None
        if self._settings.modern:
            properties = Properties(PacketTypes.DISCONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = 0
        self._paho.disconnect(properties=properties)
        self.flush()

    def _read(self, paho: PahoClient) -> MQTTErrorCode:
        result = paho.loop_read()
        # What TLS has decrypted already makes no socket readable.
        while result == MQTTErrorCode.MQTT_ERR_SUCCESS and getattr(self._socket, "pending", int)():
            result = paho.loop_read()
        return result

    def _settle(self, result: MQTTErrorCode) -> None:
        # loop_misc and loop_write may close the socket and call it a success.
        if self._paho is not None and (result != MQTTErrorCode.MQTT_ERR_SUCCESS or not self._paho.socket()):
            self._closed(self._refused or "the connection ended")

    def _closed(self, why: str) -> None:
        if self._socket is not None and self._interest:
            self._selector.unregister(self._socket)
        if self._socket is not None:
            self._socket.close()
        self._paho, self._socket, self._interest, self.up = None, None, 0, False
        self._on_down(why)

    def _watch(self, interest: int) -> None:
        if self._socket is None or interest == self._interest:
            return
        if self._interest:
            self._selector.modify(self._socket, interest, self)
        else:
            self._selector.register(self._socket, interest, self)
        self._interest = interest

    def _connected(
        self, _client: PahoClient, _data: Any, _flags: ConnectFlags, reason: ReasonCode, _properties: Any
    ) -> None:
        if reason.is_failure:
            self._refused = f"the broker refuses it: {reason}"
            return
        self.up = True
        self._on_up()

    def _heard(self, _client: PahoClient, _data: Any, message: MQTTMessage) -> None:
        self._on_message(message.topic, bytes(message.payload), message.retain)


def _left_to_the_loop(_client: PahoClient, _data: Any, _opened: Any) -> None:
    # With this set, publish() queues and does not write by itself.
    return
