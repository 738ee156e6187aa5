"""The MQTT broker as node and hub both reach it: settings, and a paho client that is made from them.

What must never differ between the two stands here: sessions that outlive a connection, TLS, and
packets that do not wait for company.
"""

import contextlib
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tocsin_shared.errors import SettingsError
from tocsin_shared.settings import setting

SESSION_SECONDS = 86_400
"""The broker keeps messages for an absent client for a day, the most that RabbitMQ grants."""


@dataclass(frozen=True)
class BrokerSettings:
    """The table ``[broker]`` of a settings file."""

    host: str = setting("127.0.0.1", "Name or address of the broker.")
    port: int = setting(1883, "Port of the broker; 8883 is usual with TLS.", minimum=1, maximum=65535)
    protocol: str = setting("5", "MQTT version; 3.1.1 for brokers that lack 5.", choices=("5", "3.1.1"))
    username: str = setting("", "User name at the broker; empty for none.")
    password_file: Path | None = setting(None, "File that holds the password.", shown='"broker-password"')
    ca_file: Path | None = setting(
        None, "Certificates that vouch for the broker; given, TLS is used.", shown='"ca.pem"'
    )
    cert_file: Path | None = setting(None, "The certificate that is shown to the broker.", shown='"own.pem"')
    key_file: Path | None = setting(None, "The key of that certificate.", shown='"own.key"')
    keepalive_seconds: int = setting(
        10,
        "After one and a half times this silence the broker says that this side is offline.",
        minimum=5,
        maximum=600,
    )

    def __post_init__(self) -> None:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file go together")
        if self.cert_file is not None and self.ca_file is None:
            raise ValueError("cert_file needs ca_file")
        if self.password_file is not None and not self.username:
            raise ValueError("password_file needs username")

    @property
    def modern(self) -> bool:
        """Whether MQTT 5 is spoken."""
        return self.protocol == "5"


def make_client(
    settings: BrokerSettings,
    client_id: str,
    *,
    manual_ack: bool = False,
    reconnect: bool = True,
    kind: type[Client] = Client,
) -> Client:
    """A client of this ``kind`` that is not connected yet; ``manual_ack`` leaves PUBACKs to the caller.

    Raises:
        SettingsError: a password or certificate file cannot be used; the text names it.
    """
    client = kind(
        CallbackAPIVersion.VERSION2,
        client_id=client_id,
        protocol=MQTTProtocolVersion.MQTTv5 if settings.modern else MQTTProtocolVersion.MQTTv311,
        clean_session=None if settings.modern else False,
        reconnect_on_failure=reconnect,
        manual_ack=manual_ack,
    )
    if settings.username:
        client.username_pw_set(settings.username, _password(settings))
    if (context := _tls_context(settings)) is not None:
        client.tls_set_context(context)
    client.on_socket_open = _send_without_delay
    return client


def connect_options(settings: BrokerSettings, receive_maximum: int | None = None) -> dict[str, Any]:
    """Keyword arguments for ``connect`` or ``connect_async`` of a client of :func:`make_client`.

    ``receive_maximum`` is how many messages may wait for their PUBACK; it counts with MQTT 5 only.
    """
    options: dict[str, Any] = {
        "host": settings.host,
        "port": settings.port,
        "keepalive": settings.keepalive_seconds,
    }
    if settings.modern:
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = SESSION_SECONDS
        if receive_maximum is not None:
            properties.ReceiveMaximum = receive_maximum
        # False on every connect: Mosquitto does not keep a session on its disk that was opened clean.
        options |= {"clean_start": False, "properties": properties}
    return options


def _password(settings: BrokerSettings) -> str | None:
    if settings.password_file is None:
        return None
    try:
        return settings.password_file.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeError) as error:
        text = f"broker.password_file: {settings.password_file} cannot be read: {error}"
        raise SettingsError(text) from error


def _tls_context(settings: BrokerSettings) -> ssl.SSLContext | None:
    if settings.ca_file is None:
        return None
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if settings.cert_file is not None:
            context.load_cert_chain(settings.cert_file, settings.key_file)
    except (OSError, ValueError) as error:
        raise SettingsError(_tls_trouble(settings, error)) from error
    return context


def _tls_trouble(settings: BrokerSettings, error: Exception) -> str:
    files = [file for file in (settings.ca_file, settings.cert_file, settings.key_file) if file is not None]
    for file in files:
        if not file.is_file():
            return f"broker: the file {file} does not exist"
    reason = error.reason if isinstance(error, ssl.SSLError) else error
    return f"broker: {', '.join(map(str, files))} cannot be used for TLS: {reason}"


def _send_without_delay(_client: Client, _data: Any, opened: Any) -> None:
    # Nagle's algorithm would hold an alarm back while an earlier packet waits for its acknowledgement.
    with contextlib.suppress(OSError, AttributeError):
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
