"""A hub that lets models go over the air, with a repository and keys as ``tocsin trust init`` makes them."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner

from tests.hub.described import refuse_undescribed
from tests.hub.parts import birth, conn, heartbeat
from tocsin_hub.rollouts.settings import UpdateSettings
from tocsin_hub.root import Hub, build
from tocsin_hub.settings import HubSettings
from tocsin_hub.times import now_us
from tocsin_shared import codec
from tocsin_shared.events import NodeReported, Presence, SlotState
from tocsin_shared.topics import node_topic
from tocsin_shared.trust.bundles import Notes
from tocsin_shared.trust.keys import make_key
from tocsin_shared.trust.repository import FirstKeys, Repository, add_bundle, found


class Air:
    """A hub without a broker: what it would publish is in ``desired``."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.models = CryptoSigner(Ed25519PrivateKey.generate())
        if not (folder / "updates").exists():
            self._found()
        self.repository = Repository(folder / "updates")
        self.deaths: list[str] = []
        self.desired: dict[str, bytes] = {}
        self.published: list[tuple[str, bytes]] = []
        self.settings = HubSettings(
            state_folder=folder / "state",
            updates=UpdateSettings(repository=folder / "updates", keys=folder / "keys", **settings),
        )
        self.hub = self.started()

    def _found(self) -> None:
        signers = [CryptoSigner(Ed25519PrivateKey.generate()) for _ in range(4)]
        keys = {name: make_key(self.folder / "keys" / f"{name}.key", None) for name in HUB_KEYS}
        first = FirstKeys(
            signers[:3],
            signers[3],
            [self.models],
            keys["snapshot"],
            keys["timestamp"],
            keys["director"].public_key,
        )
        found(self.folder / "updates", first, datetime.now(UTC))

    def started(self) -> Hub:
        """A hub on the same database."""
        made = build(self.settings)
        made.app.after_request(refuse_undescribed)
        made.live.start(self.deaths.append)
        made.writer.start(made.ingest.settle, self.deaths.append)
        made.services.rollouts._around = _with(made.services.rollouts._around, broker=self)
        self.connect(made)
        return made

    def connect(self, hub: Hub, seconds_ago: float = 60.0) -> None:
        """The hub hears the broker, for long enough that all was said."""
        hub.services.rooms.set_hearing(True, now_us() - int(seconds_ago * 1e6))
        hub.services.rollouts.connected()

    def restart(self) -> None:
        """Another process on the same database; nothing of the first one is left."""
        self.hub.stop()
        self.hub = self.started()

    def publish_retained(self, topic: str, payload: bytes) -> None:
        """As the broker would."""
        self.published.append((topic, payload))
        self.desired[topic.split("/")[3]] = payload

    def bundle(self, release: str = "0.3.0", variant: str = "float16", content: bytes = b"x" * 100) -> str:
        """Sign an archive, whatever is in it; its SHA-256."""
        notes = Notes(name="sentry", release=release, variant=variant, floor="0.1.0")
        add_bundle(self.repository, content, notes, [self.models], datetime.now(UTC))
        return hashlib.sha256(content).hexdigest()

    def node(self, name: str, zone: str, **report: Any) -> None:
        """A node is there, listens, and takes bundles."""
        for kind, message in (
            ("birth", birth(node=name, zone=zone, room=name.title())),
            ("conn", conn(Presence.ONLINE)),
            ("hb", heartbeat(node=name)),
        ):
            self.hub.ingest.receive(node_topic(name, kind), codec.encode(message), False, None)
        self.says(name, **report)

    def says(self, name: str, **report: Any) -> None:
        """A node reports; in between nothing is asked of it."""
        values: dict[str, Any] = {
            "node": name,
            "boot": "b1",
            "at": datetime.now(UTC),
            "enabled": True,
            "active": SlotState(bundle="sentry-0.2.0+float32", sha256=""),
        }
        payload = codec.encode(NodeReported(**values | report))
        self.hub.ingest.receive(node_topic(name, "state"), payload, False, None)
        self.hub.writer.call(lambda _: None)

    def look(self) -> None:
        """One look of the engine."""
        self.hub.services.rollouts.look()


HUB_KEYS = ("snapshot", "timestamp", "director")


def _with(around: Any, **changes: Any) -> Any:
    return replace(around, **changes)


@pytest.fixture
def air(tmp_path: Path) -> Iterator[Air]:
    made = Air(tmp_path)
    yield made
    made.hub.stop()
    assert made.deaths == []
