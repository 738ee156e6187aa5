"""A dashboard without a screen: signs in, listens on Socket.IO, and notes when each detection arrives.

Beside it a tap on the broker notes when each detection left its node. Together they tell where time goes.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import paho.mqtt.client as mqtt
import requests
import socketio
from paho.mqtt.enums import CallbackAPIVersion

from tocsin_hub.demo.broker import BrokerAddress
from tocsin_hub.demo.report import Sighting
from tocsin_shared.codec import decode
from tocsin_shared.errors import DecodeError, UnavailableError
from tocsin_shared.events import SoundDetected
from tocsin_shared.topics import ROOT, parse_node_topic

TIMEOUT_SECONDS = 5.0
Event = dict[str, Any]
"""A detection as the hub's API and Socket.IO tell it."""


class Ledger:
    """Sightings by id, filled from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sightings: dict[str, Sighting] = {}

    def note(self, event_id: str, node: str, label: str, **times: float | None) -> bool:
        """Fill in the times that are not known yet; returns True if ``shown`` was new."""
        with self._lock:
            sighting = self._sightings.setdefault(event_id, Sighting(event_id, node, label))
            new = sighting.shown is None and times.get("shown") is not None
            for stage, at in times.items():
                if getattr(sighting, stage) is None:
                    setattr(sighting, stage, at)
            return new

    def count_rows(self, rows: Counter[str]) -> None:
        """Take over how often each id stands in the store."""
        with self._lock:
            for event_id, count in rows.items():
                if event_id in self._sightings:
                    self._sightings[event_id].rows = count

    def sightings(self) -> list[Sighting]:
        """A copy of all sightings."""
        with self._lock:
            return [replace(sighting) for sighting in self._sightings.values()]


class Dashboard:
    """What an officer's browser does, as far as data goes."""

    def __init__(self, address: str, ledger: Ledger, on_shown: Callable[[float, Event], None]) -> None:
        """``on_shown`` gets the time (seconds since 1970) and the event when one is first shown."""
        self._address = address
        self._ledger = ledger
        self._on_shown = on_shown
        self._session = requests.Session()
        self._live = socketio.Client(http_session=self._session, handle_sigint=False)
        self._live.on("event", self._on_event, namespace="/live")

    def open(self, login_link: str) -> None:
        """Sign in by the one-time link and begin to listen.

        Raises:
            UnavailableError: the hub does not answer, or does not accept the link.
        """
        try:
            answer = self._session.get(login_link, timeout=TIMEOUT_SECONDS)
            answer.raise_for_status()
            self._live.connect(self._address, namespaces=["/live"], wait_timeout=TIMEOUT_SECONDS)
        except (requests.RequestException, socketio.exceptions.ConnectionError) as error:
            raise UnavailableError(f"{self._address}: the dashboard cannot be opened: {error}") from error

    def close(self) -> None:
        """Stop listening."""
        self._live.disconnect()

    def room_states(self) -> dict[str, str]:
        """State of every room that the hub knows, by node id; empty while the hub does not answer."""
        try:
            rooms = self._get("/api/v1/rooms")["rooms"]
        except UnavailableError:
            return {}
        return {room["node"]: room["state"] for room in rooms}

    def read_history(self) -> None:
        """Read all stored detections: how often each stands there, and those that the socket never told."""
        rows: Counter[str] = Counter()
        cursor: str | None = ""
        while cursor is not None:
            page = self._get("/api/v1/events", limit=200, **({"before": cursor} if cursor else {}))
            for event in page["events"]:
                rows[event["id"]] += 1
                stored = _epoch(event["committed"])
                self._ledger.note(event["id"], event["node"], event["label"], stored=stored)
            cursor = page["next"]
        self._ledger.count_rows(rows)

    def _get(self, path: str, **query: Any) -> dict[str, Any]:
        try:
            answer = self._session.get(self._address + path, params=query, timeout=TIMEOUT_SECONDS)
            answer.raise_for_status()
            body: dict[str, Any] = answer.json()
        except requests.RequestException as error:
            raise UnavailableError(f"{self._address}{path}: {error}") from error
        return body

    def _on_event(self, event: Event) -> None:
        shown = time.time()
        new = self._ledger.note(
            event["id"], event["node"], event["label"], stored=_epoch(event["committed"]), shown=shown
        )
        if new:
            self._on_shown(shown, event)


class BrokerTap:
    """Notes when a detection passes the broker. It answers nothing, so it changes nothing."""

    def __init__(self, address: BrokerAddress, ledger: Ledger) -> None:
        self._address = address
        self._ledger = ledger
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, "demo-tap", protocol=mqtt.MQTTv5)
        self._client.on_connect = lambda client, *_: client.subscribe(f"{ROOT}/n/+/ev/+", qos=1)
        self._client.on_message = self._on_message

    def open(self) -> None:
        """Connect in the background, again and again if need be."""
        self._client.connect_async(self._address.host, self._address.port, keepalive=10)
        self._client.loop_start()

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(self, _client: mqtt.Client, _userdata: object, message: mqtt.MQTTMessage) -> None:
        try:
            topic = parse_node_topic(message.topic)
            event = decode(bytes(message.payload), SoundDetected)
        except DecodeError:
            return
        self._ledger.note(event.id, topic.node, event.label, detected=time.time())


def _epoch(iso: str) -> float:
    return datetime.fromisoformat(iso).timestamp()
