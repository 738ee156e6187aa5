"""What Mosquitto makes of a shared subscription, on which several ingest workers could be built.

It is what docs/scaling.md says of it; a Mosquitto that does otherwise makes another decision possible.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.hub.brokers import broker
from tests.integration.facility import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.broker]
SHARED = "$share/tocsin-hub/t/#"
BATCH = 100


class Worker:
    """One of those that share; with ``keeps``, the broker keeps its session while it is away."""

    def __init__(self, port: int, name: str, *, keeps: bool, subscribes: bool = True) -> None:
        self.got: list[int] = []
        self.acknowledges = True
        self._ready = threading.Event()
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            name,
            protocol=mqtt.MQTTv5,
            manual_ack=True,
            reconnect_on_failure=False,
        )
        self._client.on_message = self._heard
        self._client.on_connect = lambda *_: None if subscribes else self._ready.set()
        self._client.on_subscribe = lambda *_: self._ready.set()
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = 3600 if keeps else 0
        self._client.connect("127.0.0.1", port, 30, clean_start=not keeps, properties=properties)
        self._client.loop_start()
        if subscribes:
            self._client.subscribe(SHARED, 1)
        assert self._ready.wait(30)

    def die(self) -> None:
        """Break the connection without a word."""
        opened = self._client.socket()
        assert opened is not None
        opened.close()
        self._client.loop_stop()

    def _heard(self, client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        self.got.append(int(message.payload))
        if self.acknowledges:
            client.ack(message.mid, message.qos)


class Speaker:
    """Publishes numbers at QoS 1."""

    def __init__(self, port: int) -> None:
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, "speaker", protocol=mqtt.MQTTv5)
        self._client.connect("127.0.0.1", port, 30)
        self._client.loop_start()
        self._next = 0

    def say(self, count: int = BATCH) -> range:
        """The numbers, which the broker has."""
        numbers = range(self._next, self._next + count)
        for number in numbers:
            sent = self._client.publish(f"t/{number}", str(number), 1)
        sent.wait_for_publish(30)
        self._next += count
        return numbers

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@contextmanager
def shared(folder: Path, *, keeps: bool) -> Iterator[tuple[Speaker, Worker, Worker, int]]:
    """Two workers, and somebody who speaks to both."""
    with broker("mosquitto", folder) as port:
        speaker = Speaker(port)
        first, second = (Worker(port, name, keeps=keeps) for name in ("first", "second"))
        try:
            yield speaker, first, second, port
        finally:
            speaker.close()
            second.die()


def all_given(numbers: range, *workers: Worker) -> bool:
    """Whether each number was given to one of ``workers``."""
    return set(numbers) <= {number for worker in workers for number in worker.got}


@pytest.mark.parametrize("keeps", [True, False])
def test_messages_are_split_evenly(tmp_path: Path, keeps: bool) -> None:
    with shared(tmp_path, keeps=keeps) as (speaker, first, second, _):
        numbers = speaker.say(1000)
        wait_until(lambda: all_given(numbers, first, second), 60.0, "all of them")
        assert sorted(first.got + second.got) == list(numbers)
        assert 400 <= len(first.got) <= 600
        first.die()


def test_what_a_dead_worker_held_waits_for_itself_alone(tmp_path: Path) -> None:
    """With sessions that are kept, it is also given its share of all that comes while it is dead."""
    with shared(tmp_path, keeps=True) as (speaker, first, second, port):
        first.acknowledges = False
        held = speaker.say()
        wait_until(lambda: len(first.got) == 20 and len(second.got) == BATCH // 2, 60.0, "a full window")
        first.die()
        after = speaker.say()
        wait_until(lambda: len(second.got) == BATCH, 60.0, "its share, and no more")
        again = Worker(port, "first", keeps=True, subscribes=False)
        wait_until(lambda: len(again.got) == BATCH, 60.0, "what waited")
        assert sorted(again.got + second.got) == [*held, *after]
        again.die()


def test_without_a_session_what_it_held_is_gone_and_the_other_has_all_that_comes(tmp_path: Path) -> None:
    """So such workers may rest on nothing but that nodes tell again what was not acknowledged."""
    with shared(tmp_path, keeps=False) as (speaker, first, second, _):
        first.acknowledges = False
        speaker.say()
        wait_until(lambda: len(first.got) == 20 and len(second.got) == BATCH // 2, 60.0, "a full window")
        first.die()
        # The broker notices in its own time; from then on the other one has everything.
        wait_until(lambda: set(speaker.say()) <= _given(second), 60.0, "everything at the other one")
        assert not set(first.got) & set(second.got)


def _given(worker: Worker) -> set[int]:
    before = -1
    while before != len(worker.got):
        before = len(worker.got)
        time.sleep(0.5)
    return set(worker.got)
