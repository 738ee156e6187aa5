"""Asking a broker, before a fleet is sent to it, whether it lets a node in; a refusal with its remedy."""

import socket
import ssl
import time
from dataclasses import dataclass
from typing import Any

from paho.mqtt.client import Client, ConnectFlags, MQTTMessage
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode

from tocsin_hub.fleet.client import CONNECT_SECONDS, settings_of
from tocsin_hub.fleet.model import Plan
from tocsin_hub.fleet.node import Node
from tocsin_shared.broker import BrokerSettings, connect_options, make_client
from tocsin_shared.codec import decode
from tocsin_shared.errors import DecodeError, UnavailableError
from tocsin_shared.events import HubPresence, Presence
from tocsin_shared.topics import HUB_STATE

ANSWER_SECONDS = 10.0
_HUB_SECONDS = 2.0
_ACL = (
    "allow each node its own topics (Mosquitto, acl_file: pattern readwrite tocsin/v1/n/%u/#, and topic read "
    "tocsin/v1/hub/state) and give the nodes their names as users with --username '{node}'"
)


@dataclass
class _Heard:
    """What the broker said."""

    reason: ReasonCode | None = None
    """Of its answer to CONNECT."""
    subscribed: list[ReasonCode] | None = None
    published: ReasonCode | None = None
    hub: Presence | None = None


def probe(plan: Plan) -> bool:
    """Connect, subscribe and publish as the first node of ``plan`` does; whether a hub is there.

    Raises:
        SettingsError: a password or certificate file cannot be used.
        UnavailableError: the broker refuses it, or is not there; the text names the remedy.
    """
    node = Node(plan, 0)
    settings = settings_of(plan.broker, node.id)
    heard = _Heard()
    client = _client(settings, node, heard)
    try:
        client.connect(**connect_options(settings))
    except (OSError, ValueError) as error:
        raise UnavailableError(_unreachable(settings, error)) from error
    try:
        _until(client, lambda: heard.reason is not None)
        _check_let_in(settings, heard)
        _until(client, lambda: heard.subscribed is not None and heard.published is not None)
        _check_allowed(settings, node, heard)
        _until(client, lambda: heard.hub is not None, _HUB_SECONDS)
    finally:
        client.disconnect()
        client.loop(0.1)
    return heard.hub is Presence.ONLINE


def _client(settings: BrokerSettings, node: Node, heard: _Heard) -> Client:
    client = make_client(settings, node.id, reconnect=False)
    client.connect_timeout = CONNECT_SECONDS

    def connected(
        client: Client, _data: Any, _flags: ConnectFlags, reason: ReasonCode, _properties: Any
    ) -> None:
        heard.reason = reason
        if not reason.is_failure:
            client.subscribe(node.subscriptions)
            will = node.will()
            client.publish(will.topic, will.payload, 1, retain=True)

    def subscribed(
        _client: Client, _data: Any, _mid: int, reasons: list[ReasonCode], _properties: Any
    ) -> None:
        heard.subscribed = reasons

    def published(_client: Client, _data: Any, _mid: int, reason: ReasonCode, _properties: Any) -> None:
        heard.published = reason

    def message(_client: Client, _data: Any, message: MQTTMessage) -> None:
        if message.topic == HUB_STATE:
            heard.hub = _presence(bytes(message.payload))

    client.on_connect, client.on_subscribe = connected, subscribed
    client.on_publish, client.on_message = published, message
    return client


def _presence(payload: bytes) -> Presence | None:
    try:
        return decode(payload, HubPresence).state
    except DecodeError:
        return None


def _until(client: Client, done: Any, seconds: float = ANSWER_SECONDS) -> None:
    """Hear until ``done``, the connection ends, or the time is over."""
    deadline = time.monotonic() + seconds
    while not done() and time.monotonic() < deadline:
        if client.loop(0.1) != MQTTErrorCode.MQTT_ERR_SUCCESS:
            return


def _check_let_in(settings: BrokerSettings, heard: _Heard) -> None:
    where = f"the broker {settings.host}:{settings.port}"
    if heard.reason is None:
        raise UnavailableError(
            f"{where} ended the connection without an answer: it may want TLS (mqtts://… and --ca-file), "
            "a certificate (--cert-file, --key-file), or may not speak MQTT 5 (--protocol 3.1.1)"
        )
    if heard.reason.is_failure:
        raise UnavailableError(f"{where} refuses the nodes: {heard.reason}; {_remedy(heard.reason)}")


def _remedy(reason: ReasonCode) -> str:
    text = str(reason).lower()
    if "protocol" in text:
        return "give --protocol 3.1.1"
    if "user name" in text or "authoriz" in text:
        return (
            "give a user whom the broker knows with --username NAME --password-file FILE; "
            "{node} in both stands for the name of each node"
        )
    if "identifier" in text:
        return "names of nodes that the broker takes are made with --prefix"
    return "look into the broker's log"


def _check_allowed(settings: BrokerSettings, node: Node, heard: _Heard) -> None:
    where = f"the broker {settings.host}:{settings.port}"
    who = settings.username or "a client without a user name"
    if heard.subscribed is None or heard.published is None:
        raise UnavailableError(
            f"{where} ended the connection when the node {node.id} subscribed and spoke; {_ACL}"
        )
    if any(reason.is_failure for reason in heard.subscribed):
        raise UnavailableError(f"{where} does not let {who} hear the topics of the node {node.id}; {_ACL}")
    if heard.published.is_failure:
        raise UnavailableError(
            f"{where} does not let {who} speak as the node {node.id} ({heard.published}); {_ACL}"
        )


def _unreachable(settings: BrokerSettings, error: Exception) -> str:
    where = f"the broker {settings.host}:{settings.port}"
    if isinstance(error, ConnectionRefusedError):
        return (
            f"{where} refuses the connection: nothing listens there; start it, or name another with --broker"
        )
    if isinstance(error, socket.gaierror):
        return f"{where}: there is no such host ({error.strerror}); look at --broker"
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"{where} shows a certificate that --ca-file {settings.ca_file} does not vouch for: "
            f"{error.verify_message}"
        )
    if isinstance(error, ssl.SSLError) or (settings.ca_file and isinstance(error, ConnectionError)):
        return f"{where} does not speak TLS as we do ({error}); without TLS it is mqtt://, not mqtts://"
    if isinstance(error, TimeoutError):
        return f"{where} does not answer within {CONNECT_SECONDS:.0f} s; look at --broker and at firewalls"
    return f"{where} cannot be reached: {error}"
