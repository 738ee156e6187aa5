"""The file about MQTT is as the code: topics, messages, examples."""

import json
from typing import Any

import pytest
import yaml

from tests.hub.documents import ASYNCAPI, MESSAGES, asyncapi_text, schemas
from tocsin_shared import codec, events, topics
from tocsin_shared.events import Message

TEXT = ASYNCAPI.read_text(encoding="utf-8")
MADE: dict[str, Any] = yaml.safe_load(TEXT)
KINDS = {kind.__name__: kind for kind in MESSAGES}
EXAMPLES = [
    (name, example["payload"])
    for name, message in MADE["components"]["messages"].items()
    for example in message.get("examples", ())
]


def test_its_schemas_are_those_of_the_code() -> None:
    assert asyncapi_text(TEXT) == TEXT, "renew it with: make api-docs"
    assert MADE["components"]["schemas"] == schemas()


def test_it_knows_every_message() -> None:
    every = {kind.__name__ for kind in Message.__subclasses__() if kind.__module__ == events.__name__}
    assert set(KINDS) == every == set(MADE["components"]["messages"]) - {"Nothing"}


def test_its_topics_are_those_of_the_code() -> None:
    addresses = {channel["address"] for channel in MADE["channels"].values()}
    said = {
        topics.node_topic("{node}", kind, "{label}" if kind == "ev" else "") for kind in topics.NODE_KINDS
    }
    heard = {topics.node_topic("{node}", "ack"), topics.node_topic("{node}", "cmd", "selftest")}
    assert addresses == said | heard | {topics.HUB_STATE, topics.actuator_topic("{zone}")}


def test_the_hub_receives_what_it_subscribes_to_and_sends_the_rest() -> None:
    receives = {
        MADE["channels"][one["channel"]["$ref"].rsplit("/", 1)[1]]["address"]
        for one in MADE["operations"].values()
        if one["action"] == "receive"
    }
    subscribed = set(topics.node_subscriptions())
    assert {one.replace("{node}", "+").replace("{label}", "+") for one in receives} == subscribed


@pytest.mark.parametrize(("name", "payload"), EXAMPLES, ids=[name for name, _ in EXAMPLES])
def test_its_examples_can_be_read(name: str, payload: dict[str, Any]) -> None:
    message = codec.decode(json.dumps(payload).encode(), KINDS[name])
    written = json.loads(codec.encode(message))
    assert set(payload) <= set(written), "an example with a field that does not exist"


def test_every_message_has_an_example() -> None:
    assert {name for name, _ in EXAMPLES} == set(KINDS)


def test_every_reference_leads_somewhere() -> None:
    def follow(node: Any) -> None:
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            if key == "$ref":
                place = MADE
                for step in value.removeprefix("#/").split("/"):
                    place = place[step]
            elif isinstance(value, dict | list):
                follow(value)

    follow(MADE)
