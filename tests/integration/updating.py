"""A trust repository with some signed releases, and nodes of paper that report on updates."""

import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import paho.mqtt.client as mqtt

from tests.integration.browser import PaperNode
from tocsin_hub.demo.broker import BrokerAddress
from tocsin_shared.codec import decode
from tocsin_shared.events import NodeReported, SlotState, UpdateState
from tocsin_shared.topics import node_topic
from tocsin_shared.trust.bundles import Notes, pack
from tocsin_shared.trust.directive import Directive, SignedDirective
from tocsin_shared.trust.keys import make_key
from tocsin_shared.trust.repository import FirstKeys, OnlineKeys, add_bundle, found, renew

VARIANTS = ("float16", "full-int8")
RELEASES = ("0.1.0", "0.2.0", "0.3.0")
_PATIENCE_SECONDS = 20.0


def signed_repository(folder: Path) -> str:
    """Make a repository and the hub's keys in ``folder``; the lines of the hub's settings that name them."""
    keys = folder / "hub-keys"
    keys.mkdir(parents=True)
    now = datetime.now(UTC).replace(microsecond=0)
    (folder / "engineers").mkdir()
    root = [make_key(folder / "engineers" / f"root-{number}.key", None) for number in range(3)]
    targets, models = (make_key(folder / "engineers" / f"{name}.key", None) for name in ("targets", "models"))
    online = OnlineKeys(*(make_key(keys / f"{name}.key", None) for name in ("snapshot", "timestamp")))
    director = make_key(keys / "director.key", None)
    first = FirstKeys(root, targets, [models], online.snapshot, online.timestamp, director.public_key)
    repository = found(folder / "updates", first, now)
    for release in RELEASES:
        for variant in VARIANTS:
            notes = Notes(name="sentry", release=release, variant=variant, floor="0.1.0")
            archive = pack({"manifest.json": f"{release} {variant}".encode()})
            add_bundle(repository, archive, notes, [models], now)
    renew(repository, online, now)
    return f'[updates]\nrepository = "{folder / "updates"}"\nkeys = "{keys}"\n'


@dataclass(frozen=True)
class Told:
    """What a node was told to run."""

    seq: int
    directive: Directive


class UpdatingNode(PaperNode):
    """A node of paper that reads what it is to run, and reports how it fares with it as a test says."""

    def __init__(self, broker: BrokerAddress, node: str, zone: str, room: str) -> None:
        super().__init__(broker, node, zone, room)
        self._told: Told | None = None
        self._came = threading.Condition()
        self._active = SlotState(bundle="sentry-0.1.0+full-int8")
        self._client.on_message = self._on_message

    def __enter__(self) -> "UpdatingNode":
        super().__enter__()
        self.report(UpdateState.IDLE)
        self._client.subscribe(node_topic(self.node, "cmd", "desired"), 1)
        return self

    def _on_message(self, _client: object, _data: object, message: mqtt.MQTTMessage) -> None:
        if not message.payload:
            return
        body = decode(bytes(message.payload), SignedDirective).body
        read = msgspec.json.decode(body, type=Directive)
        with self._came:
            self._told = Told(read.seq, read)
            self._came.notify_all()

    def told(self) -> Told:
        """What it was told; waits for it."""
        with self._came:
            assert self._came.wait_for(lambda: self._told is not None, _PATIENCE_SECONDS), (
                f"{self.node}: nothing"
            )
            assert self._told is not None
            return self._told

    def install(self) -> None:
        """Listen with what it was told to run."""
        wanted = self.told().directive
        self._active = SlotState(
            bundle=f"{wanted.name}-{wanted.release}+{wanted.variant}", sha256=wanted.sha256
        )

    def report(self, state: UpdateState, **changes: Any) -> None:
        """Say how it fares with what it was told last."""
        values: dict[str, Any] = {
            "node": self.node,
            "boot": self.boot,
            "at": datetime.now(UTC),
            "enabled": True,
            "active": self._active,
            "seq": self._told.seq if self._told else 0,
            "state": state,
            "proven": state not in {UpdateState.ACTIVATING, UpdateState.SOAKING},
        }
        self._send("state", NodeReported(**(values | changes)), retain=True)
