"""The loop of one process of the fleet: sockets and timers of many nodes, in one thread."""

import heapq
import itertools
import resource
import selectors
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from tocsin_hub.fleet.client import Client
from tocsin_hub.fleet.model import Plan, Record, Tally
from tocsin_hub.fleet.node import Moment, Node
from tocsin_hub.fleet.script import Drop, Occurrence, chance_of, drops_of, sounds_of
from tocsin_hub.times import now_us
from tocsin_shared.errors import SettingsError

TICK_SECONDS = 1.0
_TURN_SECONDS = 0.2
"""Longest wait for sockets: how soon an order of the parent process is seen."""
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 1.0, 15.0
_URGENT_WAIT_SECONDS = 1.0
"""As of a real node: a sound that is told brings the next try so soon, at most."""
_FAREWELL_SECONDS = 2.0
_CONNECTING = 50
"""So many nodes of one process knock at the broker at once."""


def here() -> Moment:
    """Now."""
    return Moment(time.monotonic(), now_us())


class Timers:
    """What is to be done when; seconds of the monotonic clock."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()

    def at(self, due: float, what: Callable[[], None]) -> None:
        """Do ``what`` as soon as ``due`` is over."""
        heapq.heappush(self._heap, (due, next(self._count), what))

    def wait(self, now: float) -> float:
        """Seconds until the next is due, at most :data:`_TURN_SECONDS`."""
        return max(0.0, min(self._heap[0][0] - now, _TURN_SECONDS)) if self._heap else _TURN_SECONDS

    def run(self, now: float) -> None:
        """Do what is due."""
        while self._heap and self._heap[0][0] <= now:
            heapq.heappop(self._heap)[2]()


@dataclass
class _Member:
    """One node in its loop."""

    node: Node
    client: Client
    alive: bool = True
    """False while its process is down: it hears nothing."""
    away: bool = False
    """It dropped out on purpose, and does not try to come back yet."""
    knocking: bool = False
    """A connection was begun, and the broker has not answered."""
    wakes: bool = False
    """A timer looks after its outbox."""
    wait: float = _FIRST_WAIT_SECONDS
    """Before the next try to connect, seconds."""
    queued: bool = True
    """It stands in the queue of those that are to connect."""


class Fleet:
    """The nodes ``numbers`` of a plan."""

    def __init__(self, plan: Plan, numbers: range) -> None:
        self._plan = plan
        self._selector = selectors.DefaultSelector()
        self._timers = Timers()
        self._members = {number: self._member(number) for number in numbers}
        self._queue = list(reversed(self._members.values()))
        self._connecting = 0
        self._refusal = ""
        self._connections = self._heartbeats = 0
        self._hushed = self._leaving = False
        self._chance = chance_of(plan, -1 - numbers.start)
        now, beat, chance = time.monotonic(), plan.heartbeat_seconds, self._chance.random
        for member in self._members.values():
            self._timers.at(now + chance() * TICK_SECONDS, partial(self._tick, member))
            self._timers.at(now + chance() * beat, partial(self._beats, member))

    @property
    def connected(self) -> int:
        """Nodes that the broker has taken in."""
        return sum(member.client.up for member in self._members.values())

    @property
    def waiting(self) -> int:
        """Messages in all outboxes."""
        return sum(len(member.node.outbox) for member in self._members.values())

    def turn(self) -> None:
        """Wait a little for sockets and timers, and do what they ask for."""
        self._let_in()
        for key, mask in self._selector.select(self._timers.wait(time.monotonic())):
            key.data.ready(mask)
        self._timers.run(time.monotonic())

    def play(self, begin: float) -> None:
        """Begin the script at ``begin`` of the monotonic clock."""
        for number, member in self._members.items():
            chance = chance_of(self._plan, number)
            for sound in sounds_of(self._plan, chance):
                self._timers.at(begin + sound.at, partial(self._begins, member, sound))
                self._timers.at(begin + sound.until, partial(self._ends, member, sound))
            for drop in drops_of(self._plan, chance):
                self._timers.at(begin + drop.at, partial(self._drops, member, drop))
                self._timers.at(begin + drop.back, partial(self._returns, member))

    def hush(self) -> None:
        """End what sounds; nothing begins any more, and all nodes come back for what waits."""
        self._hushed = True
        for member in self._members.values():
            if member.alive:
                member.node.hush(here())
                self._push(member)
            self._returns(member)

    def leave(self) -> None:
        """Every node says goodbye."""
        self._leaving = True
        for member in self._members.values():
            if member.client.up:
                for out in member.node.farewell():
                    member.client.send(out)
                member.client.flush()
        deadline = time.monotonic() + _FAREWELL_SECONDS
        while time.monotonic() < deadline:
            self.turn()
        for member in self._members.values():
            member.client.leave()

    def tally(self) -> Tally:
        """How all nodes fare."""
        members = self._members.values()
        records = [record for member in members for record in member.node.records.values()]
        return Tally(
            connected=self.connected,
            produced=len(records),
            acknowledged=sum(record.acknowledged_us is not None for record in records),
            waiting=self.waiting,
            connections=self._connections,
            resent=sum(member.node.outbox.resent for member in members),
            heartbeats=self._heartbeats,
            refusal=self._refusal,
            maxrss_kb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        )

    def records(self) -> list[Record]:
        """The ledger of all nodes."""
        return [record for member in self._members.values() for record in member.node.records.values()]

    def _member(self, number: int) -> _Member:
        node = Node(self._plan, number)
        client = Client(
            self._plan.broker,
            node.id,
            self._selector,
            on_up=lambda: self._up(self._members[number]),
            on_down=lambda why: self._down(self._members[number], why),
            on_message=lambda topic, payload, retained: self._heard(
                self._members[number], topic, payload, retained
            ),
        )
        return _Member(node, client)

    def _let_in(self) -> None:
        while self._queue and self._connecting < _CONNECTING and not self._leaving:
            member = self._queue.pop()
            member.queued = False
            if member.away:
                continue
            # Before it is opened: what is opened may be closed again before that call returns.
            member.knocking = True
            self._connecting += 1
            try:
                member.client.open(member.node.will())
            except (OSError, ValueError, SettingsError) as error:
                self._no_longer_knocking(member)
                self._refusal = str(error)
                self._again(member)
                break  # whatever keeps one out keeps the others out as well

    def _again(self, member: _Member) -> None:
        """Queue the node for another try, a little later each time."""
        pause = member.wait * (0.5 + self._chance.random() / 2.0)
        member.wait = min(2.0 * member.wait, _LONGEST_WAIT_SECONDS)
        self._timers.at(time.monotonic() + pause, partial(self._enqueue, member))

    def _enqueue(self, member: _Member) -> None:
        """Queue the node for a try, unless it is there, or stands in the queue."""
        if not (member.queued or member.knocking or member.client.up):
            member.queued = True
            self._queue.append(member)

    def _hurry(self, member: _Member) -> None:
        """A sound is told: try soon, if the node is not connected."""
        if not member.client.up and not member.knocking and not member.away:
            pause = _URGENT_WAIT_SECONDS * (0.5 + self._chance.random() / 2.0)
            self._timers.at(time.monotonic() + pause, partial(self._enqueue, member))

    def _up(self, member: _Member) -> None:
        self._no_longer_knocking(member)
        self._connections += 1
        member.wait = _FIRST_WAIT_SECONDS
        member.client.subscribe(member.node.subscriptions)
        for out in member.node.connected(here()):
            member.client.send(out)
        self._push(member)

    def _down(self, member: _Member, why: str) -> None:
        self._no_longer_knocking(member)
        if not member.away and not self._leaving:
            self._refusal = why
            self._again(member)

    def _no_longer_knocking(self, member: _Member) -> None:
        self._connecting -= member.knocking
        member.knocking = False

    def _heard(self, member: _Member, topic: str, payload: bytes, retained: bool) -> None:
        member.node.hears(topic, payload, retained=retained, now=here())
        self._push(member)

    def _begins(self, member: _Member, sound: Occurrence) -> None:
        if member.alive and not self._hushed:
            member.node.begins(sound, here())
            self._push(member)
            self._hurry(member)

    def _ends(self, member: _Member, sound: Occurrence) -> None:
        if member.alive:
            member.node.ends(sound, here())
            self._push(member)
            self._hurry(member)

    def _drops(self, member: _Member, drop: Drop) -> None:
        if self._hushed:
            return
        member.away = True
        if drop.restart:
            member.alive = False
            member.node.restart()
        member.client.drop()

    def _returns(self, member: _Member) -> None:
        was_away, member.away, member.alive = member.away, False, True
        if was_away:
            self._enqueue(member)

    def _push(self, member: _Member) -> None:
        """Send what the node has to send, and look again when there may be more."""
        now = here()
        while member.client.up and not member.away and (out := member.node.due(now)) is not None:
            member.client.send(out)
        member.client.flush()
        wait = member.node.outbox.wake_in(now.mono)
        if wait is not None and not member.wakes:
            member.wakes = True
            self._timers.at(now.mono + wait, partial(self._wakes, member))

    def _wakes(self, member: _Member) -> None:
        member.wakes = False
        member.node.outbox.overdue(time.monotonic())
        self._push(member)

    def _beats(self, member: _Member) -> None:
        if member.client.up and not member.away:
            member.client.send(member.node.beat(here()))
            member.client.flush()
            self._heartbeats += 1
        self._timers.at(time.monotonic() + self._plan.heartbeat_seconds, partial(self._beats, member))

    def _tick(self, member: _Member) -> None:
        member.client.tick()
        self._timers.at(time.monotonic() + TICK_SECONDS, partial(self._tick, member))
