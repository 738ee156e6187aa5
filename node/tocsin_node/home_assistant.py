"""What makes Home Assistant show a node by itself: retained MQTT discovery messages.

Home Assistant reads the topics of ``docs/wire.md`` as they are; nothing is sent twice for it. One message
for each entity goes to ``{prefix}/{component}/tocsin_{node}/{entity}/config`` (Home Assistant's
documentation, "MQTT discovery"). A self-test rings nobody's bell: its events leave the sensors alone.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tocsin_shared.events import NodeBorn
from tocsin_shared.manifest import LabelSpec
from tocsin_shared.topics import node_topic

OFF_DELAY_SECONDS = 30
"""A sensor whose end of the sound got lost falls back so long after the longest detection."""
_SOUND = (
    "{% if not value_json.test | default(false) %}"
    "{{ 'OFF' if value_json.phase == 'offset' else 'ON' }}{% endif %}"
)
_TROUBLE = "{{ 'ON' if value_json.troubles | rejectattr('until') | list | count > 0 else 'OFF' }}"


@dataclass(frozen=True)
class Retained:
    """A message that the broker keeps."""

    topic: str
    payload: bytes


def discovery(born: NodeBorn, labels: Sequence[LabelSpec], prefix: str) -> list[Retained]:
    """Discovery messages of the node that ``born`` describes: one for each told label, and three."""
    entities = [_sound(born.node, label) for label in labels if label.rule is not None]
    entities += [_level(born), _online(born.node), _problem(born.node)]
    shared = {"device": _device(born), "origin": {"name": "Tocsin", "sw_version": born.version}}
    return [
        Retained(
            f"{prefix}/{component}/tocsin_{born.node}/{entity}/config",
            json.dumps(
                {"unique_id": f"tocsin_{born.node}_{entity}", "qos": 1, **shared, **config},
                ensure_ascii=False,
            ).encode(),
        )
        for component, entity, config in entities
    ]


def _device(born: NodeBorn) -> dict[str, Any]:
    return {
        "identifiers": [f"tocsin_{born.node}"],
        "name": born.room,
        "manufacturer": "Tocsin",
        "model": born.hardware,
        "sw_version": born.version,
        "suggested_area": born.room,
    }


def _available(node: str) -> dict[str, Any]:
    return {
        "availability": [
            {"topic": node_topic(node, "conn"), "value_template": "{{ value_json.state }}"},
        ]
    }


def _sound(node: str, label: LabelSpec) -> tuple[str, str, dict[str, Any]]:
    longest = 0.0 if label.rule is None else label.rule.max_seconds
    config = {
        "name": label.name.replace("_", " ").capitalize(),
        "state_topic": node_topic(node, "ev", label.name),
        "value_template": _SOUND,
        "device_class": "sound",
        "off_delay": round(longest) + OFF_DELAY_SECONDS,
        **_available(node),
    }
    return "binary_sensor", label.name, config


def _level(born: NodeBorn) -> tuple[str, str, dict[str, Any]]:
    config = {
        "name": "Sound level",
        "state_topic": node_topic(born.node, "hb"),
        "value_template": "{{ value_json.level_dbfs }}",  # silence is null, "None" here: unknown
        "unit_of_measurement": "dBFS",
        "state_class": "measurement",
        "entity_category": "diagnostic",
        "expire_after": max(10, round(3.0 * born.heartbeat_seconds)),
        **_available(born.node),
    }
    return "sensor", "level", config


def _online(node: str) -> tuple[str, str, dict[str, Any]]:
    config = {
        "name": "Connection",
        "state_topic": node_topic(node, "conn"),
        "value_template": "{{ value_json.state }}",
        "payload_on": "online",
        "payload_off": "offline",
        "device_class": "connectivity",
        "entity_category": "diagnostic",
    }
    return "binary_sensor", "connection", config


def _problem(node: str) -> tuple[str, str, dict[str, Any]]:
    config = {
        "name": "Problem",
        "state_topic": node_topic(node, "troubles"),
        "value_template": _TROUBLE,
        "device_class": "problem",
        "entity_category": "diagnostic",
        **_available(node),
    }
    return "binary_sensor", "problem", config
