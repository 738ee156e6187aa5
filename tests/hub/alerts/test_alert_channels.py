"""The roads that the hub has by itself: open pages and the lamps of a zone; and the whole way of an alarm."""

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from msgspec import structs
from paho.mqtt.enums import CallbackAPIVersion

from tests.hub.alerts.cases import incident, worker
from tests.hub.brokers import Node, broker
from tests.hub.parts import START_US, feed, ulid, wait_until
from tests.hub.test_link import running_hub, tell
from tests.hub.test_live import connect, received
from tests.shared.messages import sound
from tocsin_hub.alerts.channels.actuator import ActuatorChannel
from tocsin_hub.alerts.channels.page import EVENT, PageChannel
from tocsin_hub.alerts.model import ChannelName, Message
from tocsin_hub.alerts.timezone import site_time_zone
from tocsin_hub.incidents.model import Incident, IncidentSeverity
from tocsin_hub.root import Hub
from tocsin_hub.times import from_us, now_us
from tocsin_shared import codec
from tocsin_shared.errors import UnavailableError
from tocsin_shared.events import ActuatorState, Switch
from tocsin_shared.topics import actuator_topic


def message(about: Incident, person: str | None = None) -> Message:
    """A message about an incident."""
    return Message(
        delivery=ulid(1),
        alert=ulid(2),
        receipt="token",
        incident=about,
        room="Press shop",
        candidates=("smoke_alarm", "siren"),
        person=None if person is None else worker(person),
        repeat=0,
        seconds_ago=2.5,
        address="/me",
    )


class Lamps:
    """Keeps what is published."""

    def __init__(self, *lit: Incident) -> None:
        self.states: list[ActuatorState] = []
        self.channel = ActuatorChannel(self.publish, lambda: lit, lambda: START_US)

    def publish(self, topic: str, payload: bytes) -> None:
        state = codec.decode(payload, ActuatorState)
        assert topic == actuator_topic(state.zone)
        self.states.append(state)

    def after(self, about: Incident) -> ActuatorState:
        self.channel.send(message(about))
        return self.states[-1]


# Lamps


def test_lamps_say_what_holds_in_the_zone() -> None:
    lamps, alarm = Lamps(), incident()
    drill = incident(id=ulid(7001), drill=True)
    horn = incident(id=ulid(7002), severity=IncidentSeverity.WARNING, group="vehicle", opened_us=START_US + 5)
    on = lamps.after(drill)
    assert (on.state, on.drill, on.incident) == (Switch.ON, True, drill.id)
    on = lamps.after(horn)
    assert (on.drill, on.incident, on.severity, on.group) == (False, horn.id, "warning", "vehicle")
    assert on.since == from_us(horn.opened_us)
    assert lamps.after(alarm).incident == alarm.id
    still = lamps.after(structs.replace(alarm, acknowledged_us=START_US))
    assert (still.state, still.incident) == (Switch.ON, horn.id)
    assert lamps.after(structs.replace(horn, cleared_us=START_US)).incident == drill.id
    off = lamps.after(structs.replace(drill, cleared_us=START_US))
    assert (off.state, off.severity, off.incident) == (Switch.OFF, None, None)


def test_a_call_for_help_keeps_lamps_on_after_the_sound() -> None:
    lamps = Lamps()
    on = lamps.after(incident(cleared_us=START_US, help_us=START_US))
    assert (on.state, on.help) == (Switch.ON, True)


def test_lamps_of_a_former_hub_are_not_forgotten() -> None:
    other = incident(id=ulid(7001))
    lamps = Lamps(other, incident(id=ulid(7002), cleared_us=START_US))
    still = lamps.after(incident(acknowledged_us=START_US))
    assert (still.state, still.incident) == (Switch.ON, other.id)


def test_a_zone_without_a_topic_is_refused() -> None:
    with pytest.raises(UnavailableError, match="has no topic"):
        Lamps().after(incident(zone="Hall #1"))


@contextmanager
def lamp(port: int, zone: str, name: str = "lamp") -> Iterator["queue.Queue[ActuatorState]"]:
    """Hears what the lamps of ``zone`` are told."""
    told: queue.Queue[ActuatorState] = queue.Queue()
    client = mqtt.Client(CallbackAPIVersion.VERSION2, f"{name}-{zone}", protocol=mqtt.MQTTv5)
    connected = threading.Event()
    client.on_connect = lambda *_: connected.set()
    client.on_message = lambda _c, _u, got: told.put(codec.decode(bytes(got.payload), ActuatorState))
    client.connect("127.0.0.1", port, 30)
    client.loop_start()
    assert connected.wait(20)
    client.subscribe(actuator_topic(zone), 1)
    try:
        yield told
    finally:
        client.disconnect()
        client.loop_stop()


def accepted(hub: Hub, key: str) -> list[int | None]:
    """When the broker took what the lamps were told of an incident."""
    told = [one for each in hub.services.alerts.told(key) for one in each.deliveries]
    return [one.accepted_us for one in told if one.channel is ChannelName.ACTUATOR]


@pytest.mark.slow
@pytest.mark.broker
def test_from_a_node_to_the_lamp_and_off_again(tmp_path: Path) -> None:
    """With a real broker: the alarm turns it on, a lamp that comes late learns it, an answer turns it off."""
    with broker("mosquitto", tmp_path) as port:
        node = Node(port)
        with running_hub(tmp_path, port) as hub, lamp(port, "hall-1") as told:
            tell(node, sound(label="smoke_alarm", onset=from_us(now_us())))
            on = told.get(timeout=20)
            assert (on.state, on.severity, on.drill) == (Switch.ON, "alarm", False)
            with lamp(port, "hall-1", "late") as late:
                assert late.get(timeout=20).incident == on.incident
            assert on.incident is not None
            hub.services.desk.acknowledge(on.incident, "eve")
            assert told.get(timeout=20).state is Switch.OFF
            lit = on.incident
            wait_until(lambda: all(accepted(hub, lit)), "the broker's word for all of it", 20)
            assert len(accepted(hub, lit)) == 2
        node.close()


def test_without_a_broker_the_lamp_is_said_to_have_failed(hub: Hub) -> None:
    with pytest.raises(UnavailableError, match="not connected"):
        hub.link.publish_retained("tocsin/v1/actuator/hall-1", b"{}")


# Pages


def test_an_alert_reaches_the_pages_of_its_person_alone(hub: Hub) -> None:
    page = connect(hub)
    received(page)
    channel = PageChannel(hub.live)
    (mine,) = {seat for seat in ("", *people_here(hub)) if hub.live.count(seat)}
    me = replace(worker("x"), id=mine)
    assert channel.reaches(me)
    assert channel.reaches(None)
    assert not channel.reaches(worker("ada"))
    channel.send(replace(message(incident()), person=me))
    hub.live.tell("ada", EVENT, {"for": "somebody else"})
    channel.send(message(incident(drill=True)))
    got = [data for name, data in received(page) if name == EVENT]
    assert [one["drill"] for one in got] == [False, True]
    assert got[0]["receipt"] == "token"
    assert got[0]["candidates"] == ["smoke_alarm", "siren"]
    page.disconnect(namespace="/live")
    wait_until(lambda: not channel.reaches(me), "the page to be gone")
    with pytest.raises(UnavailableError, match="no page is open"):
        channel.send(message(incident(), "ada"))


def people_here(hub: Hub) -> set[str]:
    """Ids of all persons in the database."""
    return {row[0] for row in hub.services.store.rows("SELECT id FROM people")}


def test_from_an_event_to_an_open_page(hub: Hub) -> None:
    """Nobody is known to the hub: whoever has a page open is told."""
    hub.engine.start(lambda name: pytest.fail(f"{name} died"))
    page = connect(hub)
    alarm = sound(label="smoke_alarm", onset=from_us(now_us()))
    feed(hub, alarm)
    seen: list[dict[str, object]] = []

    def told() -> bool:
        seen.extend(data for name, data in received(page) if name == EVENT)
        return bool(seen)

    wait_until(told, "the alert", 20)
    assert (seen[0]["severity"], seen[0]["zone"], seen[0]["active"]) == ("alarm", "hall-1", True)


# The time zone of the site


def test_the_time_zone_of_the_site(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    seoul = site_time_zone("Asia/Seoul")
    assert seoul is not None
    assert from_us(0).astimezone(seoul).hour == 9
    assert site_time_zone("Asia/Seol") is None
    assert "knows no time zone 'Asia/Seol'" in caplog.text
    assert site_time_zone("../etc/passwd") is None
    assert site_time_zone("", tmp_path / "none") is None
    broken = tmp_path / "localtime"
    broken.write_bytes(b"nonsense")
    assert site_time_zone("", broken) is None
