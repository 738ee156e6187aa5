"""Home Assistant's discovery: the keys and values that its own schema takes, and templates that mean it.

The schema below says, with the library that Home Assistant uses, what its MQTT integration documents for
``binary_sensor`` and ``sensor`` ("MQTT binary sensor", "MQTT sensor", "MQTT discovery"); no other
key is allowed.
"""

import json
import re
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
import voluptuous as vol
from jinja2.sandbox import SandboxedEnvironment

from tocsin_node.home_assistant import discovery
from tocsin_shared.codec import encode
from tocsin_shared.events import (
    Clock,
    NodeBorn,
    NodeConnection,
    Phase,
    Presence,
    SoundDetected,
    Trouble,
    TroublesChanged,
)
from tocsin_shared.manifest import DetectionRule, LabelSpec

NOW = datetime(2026, 1, 2, tzinfo=UTC)
RULE = DetectionRule(on_threshold=0.5, off_threshold=0.3)
LABELS = (
    LabelSpec(name="smoke_alarm", rule=RULE),
    LabelSpec(name="siren", rule=RULE),
    LabelSpec(name="speech"),
)
BORN = NodeBorn(
    node="press-1",
    zone="hall",
    room="프레스 1",
    boot="b",
    session=1,
    at=NOW,
    version="0.1.0",
    bundle="sentry-1.0.0+float16",
    runtime="r",
    hardware="Raspberry Pi",
    source="mic",
    labels=("smoke_alarm", "siren", "speech"),
    hop_seconds=0.5,
    heartbeat_seconds=10.0,
    outbox_depth=0,
)
TOPIC = vol.All(str, vol.Length(min=1), vol.Match(r"^[^#+\0]+$"))
TEMPLATE = vol.All(str, lambda text: SandboxedEnvironment(autoescape=True).parse(text) and text)
COUNT = vol.All(int, vol.Range(min=0))
COMMON: dict[Any, Any] = {
    vol.Required("unique_id"): str,
    vol.Required("state_topic"): TOPIC,
    vol.Required("origin"): {vol.Required("name"): str, "sw_version": str, "support_url": vol.Url()},
    vol.Required("device"): {
        vol.Required("identifiers"): [str],
        **dict.fromkeys(("name", "manufacturer", "model", "sw_version", "hw_version", "suggested_area"), str),
    },
    "name": str,
    "qos": vol.In([0, 1, 2]),
    "value_template": TEMPLATE,
    "entity_category": vol.In(["config", "diagnostic"]),
    "expire_after": COUNT,
    "force_update": bool,
    "icon": str,
    "availability_mode": vol.In(["all", "any", "latest"]),
    "availability": [
        {
            vol.Required("topic"): TOPIC,
            "value_template": TEMPLATE,
            "payload_available": str,
            "payload_not_available": str,
        }
    ],
}
SCHEMAS = {
    "binary_sensor": vol.Schema(
        {
            **COMMON,
            "device_class": vol.In(["sound", "problem", "connectivity"]),
            "off_delay": COUNT,
            "payload_on": str,
            "payload_off": str,
        }
    ),
    "sensor": vol.Schema(
        {
            **COMMON,
            "unit_of_measurement": str,
            "state_class": vol.In(["measurement", "total", "total_increasing"]),
            "suggested_display_precision": COUNT,
        }
    ),
}


def configs() -> dict[str, dict[str, Any]]:
    made = discovery(BORN, LABELS, "homeassistant")
    return {one.topic.split("/")[3]: json.loads(one.payload) for one in made}


def rendered(entity: str, payload: bytes) -> str:
    """What Home Assistant makes of ``payload`` by the entity's template."""
    template = SandboxedEnvironment(autoescape=True).from_string(configs()[entity]["value_template"])
    return template.render(value_json=json.loads(payload)).strip()


def event(phase: Phase, *, test: bool = False) -> bytes:
    return encode(
        SoundDetected(
            id="01J00000000000000000000000",
            node="press-1",
            zone="hall",
            label="smoke_alarm",
            score=0.9,
            top=(),
            level_dbfs=None,
            ambient_dbfs=None,
            onset=NOW,
            offset=NOW if phase is Phase.OFFSET else None,
            mono_ns=1,
            boot="b",
            seq=1,
            clock=Clock.NTP,
            bundle="sentry",
            phase=phase,
            test=test,
        )
    )


def test_every_message_keeps_to_the_schema_and_to_the_form_of_the_topic() -> None:
    made = discovery(BORN, LABELS, "homeassistant")
    assert len(made) == 5
    for one in made:
        form = re.fullmatch(r"homeassistant/(\w+)/([a-zA-Z0-9_-]+)/([a-zA-Z0-9_-]+)/config", one.topic)
        assert form
        SCHEMAS[form[1]](json.loads(one.payload))


def test_ids_are_unique_and_the_device_is_one() -> None:
    found = list(configs().values())
    assert len({one["unique_id"] for one in found}) == len(found)
    assert {tuple(one["device"]["identifiers"]) for one in found} == {("tocsin_press-1",)}
    assert found[0]["device"]["name"] == "프레스 1"


def test_a_label_that_is_never_told_has_no_sensor() -> None:
    assert set(configs()) == {"smoke_alarm", "siren", "level", "connection", "problem"}


@pytest.mark.parametrize(
    ("phase", "state"), [(Phase.ONSET, "ON"), (Phase.UPDATE, "ON"), (Phase.OFFSET, "OFF")]
)
def test_a_sound_is_on_until_it_ends(phase: Phase, state: str) -> None:
    assert rendered("smoke_alarm", event(phase)) == state
    assert configs()["smoke_alarm"]["off_delay"] > RULE.max_seconds


def test_a_self_test_leaves_the_sensor_alone() -> None:
    assert rendered("smoke_alarm", event(Phase.ONSET, test=True)) == ""


@pytest.mark.parametrize("state", list(Presence))
def test_the_last_will_is_understood(state: Presence) -> None:
    config = configs()["connection"]
    assert {config["payload_on"], config["payload_off"]} == set(Presence)
    assert rendered("connection", encode(NodeConnection(state=state, boot="b", session=1))) == state
    (available,) = configs()["smoke_alarm"]["availability"]
    assert available["topic"] == config["state_topic"] == "tocsin/v1/n/press-1/conn"


def test_a_trouble_is_a_problem_until_it_is_over() -> None:
    trouble = Trouble(id="01J00000000000000000000000", kind="mic_hum", since=NOW)
    over = msgspec.structs.replace(trouble, until=NOW)
    for troubles, state in [((), "OFF"), ((over,), "OFF"), ((over, trouble), "ON")]:
        message = TroublesChanged(node="press-1", boot="b", at=NOW, troubles=troubles)
        assert rendered("problem", encode(message)) == state
    assert configs()["problem"]["state_topic"] == "tocsin/v1/n/press-1/troubles"
