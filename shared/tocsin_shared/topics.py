"""The MQTT topics of Tocsin: the only place that builds or splits them.

The tree is ``tocsin/v1/…``; see ``docs/wire.md``. Levels hold ``[a-z0-9_-]`` only, so that the same
topics work on brokers that treat dots, spaces or other signs in their own way.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from tocsin_shared.errors import DecodeError
from tocsin_shared.events import NODE_ID_PATTERN

ROOT = "tocsin/v1"
HUB_STATE = f"{ROOT}/hub/state"
NODE_KINDS = ("conn", "birth", "hb", "ev", "bf", "state", "troubles")
"""What a node publishes, each below its own id."""

_NODE_ID = re.compile(NODE_ID_PATTERN)


@dataclass(frozen=True)
class NodeTopic:
    """A topic of one node, taken apart."""

    node: str
    kind: str
    """One of :data:`NODE_KINDS`, or ``ack`` or ``cmd`` for what the hub sends."""
    rest: str = ""
    """What follows the kind: a label for ``ev``, an operation for ``cmd``."""


def node_topic(node: str, kind: str, rest: str = "") -> str:
    """Topic of ``node`` for ``kind``, such as ``tocsin/v1/n/press-1/ev/siren``."""
    topic = f"{ROOT}/n/{node}/{kind}"
    return f"{topic}/{rest}" if rest else topic


def actuator_topic(zone: str) -> str:
    """Topic on which the lamps, shakers and wristbands of ``zone`` are told what to do."""
    return f"{ROOT}/actuator/{zone}"


def node_subscriptions() -> tuple[str, ...]:
    """Filters with which the hub hears every node."""
    return tuple(f"{ROOT}/n/+/{kind}" + ("/+" if kind == "ev" else "") for kind in NODE_KINDS)


@lru_cache(4096)  # of a site whose sounds come fast, topics are few
def parse_node_topic(topic: str) -> NodeTopic:
    """Take a node's topic apart.

    Raises:
        DecodeError: the topic is not one of a node, or its node id is not well formed.
    """
    prefix = f"{ROOT}/n/"
    levels = topic.removeprefix(prefix).split("/") if topic.startswith(prefix) else []
    if len(levels) not in {2, 3} or not _NODE_ID.match(levels[0]):
        raise DecodeError(f"topic {topic[:120]!r} is not one of a Tocsin node")
    return NodeTopic(*levels)
