"""Topics are built and taken apart in one place."""

import pytest

from tocsin_shared.errors import DecodeError
from tocsin_shared.topics import NodeTopic, node_subscriptions, node_topic, parse_node_topic


def test_parsing_undoes_building() -> None:
    """What is built can be taken apart again."""
    assert parse_node_topic(node_topic("press-1", "ev", "siren")) == NodeTopic("press-1", "ev", "siren")
    assert parse_node_topic(node_topic("press-1", "hb")) == NodeTopic("press-1", "hb")


@pytest.mark.parametrize(
    "topic",
    ["", "tocsin/v1", "tocsin/v2/n/press-1/hb", "tocsin/v1/n/UP/hb", "tocsin/v1/n/a/b/c/d", "tocsin/v1/n/ab"],
)
def test_a_foreign_topic_is_refused(topic: str) -> None:
    """A topic of somebody else raises, and is named."""
    with pytest.raises(DecodeError, match="not one of a Tocsin node"):
        parse_node_topic(topic)


def test_the_hub_never_hears_its_own_words() -> None:
    """The subscriptions leave out what the hub itself publishes below a node."""
    filters = node_subscriptions()
    assert "tocsin/v1/n/+/ev/+" in filters
    assert not any("/ack" in one or "/cmd" in one or one.endswith("#") for one in filters)
