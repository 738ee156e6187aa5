"""From an MQTT message to the disk, and from the disk back to the node and on to the dashboards.

:meth:`Ingest.receive` runs in the thread of the MQTT client, :meth:`Ingest.settle` in the writer's, after
COMMIT, and :meth:`Ingest.tick` in a thread of its own.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

import msgspec
from msgspec.structs import replace

from tocsin_hub import forgetting
from tocsin_hub import rooms as rules
from tocsin_hub.incidents import keeping
from tocsin_hub.incidents.model import Incident
from tocsin_hub.incidents.rules import Limits
from tocsin_hub.levels import keeping as levels
from tocsin_hub.levels.rules import LevelMinutes
from tocsin_hub.recorder import KEPT_PAYLOAD_BYTES, Fate, Quarantined, Recorder
from tocsin_hub.rollouts import reports
from tocsin_hub.rooms import NodeRecord, Rooms
from tocsin_hub.store import StoredEvent
from tocsin_hub.times import LAST_US, to_us
from tocsin_hub.writer import NOTHING, Outcome, Receipt, Work
from tocsin_shared import codec
from tocsin_shared.errors import DecodeError
from tocsin_shared.events import (
    Backfill,
    EventRef,
    EventsCommitted,
    Heartbeat,
    NodeBorn,
    NodeConnection,
    NodeReported,
    SoundDetected,
    TroublesChanged,
)
from tocsin_shared.topics import NodeTopic, node_topic, parse_node_topic

REFS_PER_ACK = 256
"""Keeps an acknowledgement below 20 kB, the largest payload that rumqttd takes by default."""
MAX_NODES = 10_000
"""More node ids are refused: no site has so many, but a broken or hostile client may make them up."""
_SHOWN_REASON = 300

log = logging.getLogger(__name__)


class Broker(Protocol):
    """What is sent back once something is on the disk."""

    def acknowledge(self, receipt: Receipt) -> None:
        """Tell the broker that a message arrived."""

    def publish(self, topic: str, payload: bytes) -> None:
        """Send a message at QoS 1; never waits, never raises."""


class Screen(Protocol):
    """Where changes are shown."""

    def show(self, item: StoredEvent | NodeRecord | Incident) -> None:
        """Show an event, a room or an incident soon; never waits, never raises."""


class _RawBackfill(msgspec.Struct):
    """A backfill whose events are not read yet."""

    events: list[msgspec.Raw]


class Ingest:
    """Takes every message of every node; nothing that comes from outside makes it raise."""

    def __init__(
        self,
        *,
        rooms: Rooms,
        put: Callable[[Work], None],
        broker: Broker,
        screen: Screen,
        clock: Callable[[], int],
        stored: int,
        quarantined: int,
        limits: Limits = Limits(),  # noqa: B008 - it is frozen
        on_incident: Callable[[Incident], None] = lambda _: None,
        on_report: Callable[[NodeReported], None] = lambda _: None,
    ) -> None:
        """``on_incident`` is told of each change of an incident after COMMIT, in the writer's thread.

        ``on_report`` is told of what nodes say about bundles, once it is on the disk; neither may wait.
        """
        self._rooms = rooms
        self._put = put
        self._broker = broker
        self._screen = screen
        self._clock = clock
        self._limits = limits
        self._on_incident = on_incident
        self._on_report = on_report
        self._saved_us: dict[str, int] = {}
        self._levels = LevelMinutes()
        self._counting = threading.Lock()
        self.stored = stored
        """Detections in the database."""
        self.quarantined = quarantined
        """Messages ever kept aside."""

    def receive(self, topic: str, payload: bytes, retained: bool, receipt: Receipt | None) -> None:
        """Take one message; waits while the disk cannot keep up.

        Raises:
            UnavailableError: the hub is stopping.
        """
        now_us = self._clock()
        try:
            parsed = parse_node_topic(topic)
            self._check_known(parsed.node)
            works = self._works(parsed, payload, retained, now_us)
        except DecodeError as error:
            works = [self._aside(topic, payload, str(error), now_us)]
        if receipt is not None:
            # With the last work, when all before it are committed; and even without any work through the
            # queue, because MQTT wants PUBACKs in the order of the messages (MQTT-4.6.0-2), and rumqttd
            # disconnects who does not keep to it.
            works.append(replace(works.pop() if works else NOTHING, receipt=receipt))
        for work in works:
            self._put(work)

    def _check_known(self, node: str) -> None:
        if self._rooms.get(node) is None and len(self._rooms) >= MAX_NODES:
            raise DecodeError(f"node {node} is one more than the {MAX_NODES} that this hub takes")

    def _works(self, topic: NodeTopic, payload: bytes, retained: bool, now_us: int) -> list[Work]:
        if not self._rooms.is_retired(topic.node):
            return self._said(topic, payload, retained, now_us)
        if retained or not payload or topic.kind == "conn":
            return []  # what is kept, and a last will, are the broker's words: the node itself is gone
        works = self._said(topic, payload, retained, now_us)
        self._rooms.take_back(topic.node)
        log.warning("%s was retired, and speaks again: its room is back", topic.node)
        return [forgetting.returning(topic.node), *works]

    def _said(self, topic: NodeTopic, payload: bytes, retained: bool, now_us: int) -> list[Work]:
        match topic.kind:
            case "ev" if topic.rest:
                return self._event(topic, payload, now_us)
            case "bf" if not topic.rest:
                return self._backfill(topic, payload, now_us)
            case "birth" if not topic.rest:
                return self._born(topic, payload, retained, now_us)
            case "hb" if not topic.rest:
                heartbeat = codec.decode(payload, Heartbeat)
                _check_node(topic, heartbeat.node)
                return self._beat(heartbeat, retained, now_us)
            case "conn" | "troubles" | "state" if not topic.rest:
                return self._retained(topic, payload, retained, now_us)
        raise DecodeError(
            f"topic {node_topic(topic.node, topic.kind, topic.rest)!r} is not one that a node sends"
        )

    def _born(self, topic: NodeTopic, payload: bytes, retained: bool, now_us: int) -> list[Work]:
        birth = codec.decode(payload, NodeBorn)
        _check_node(topic, birth.node)
        known = self._rooms.get(birth.node)
        works = self._node(birth.node, now_us, lambda record: rules.born(record, birth), retained)
        if known is not None and known.birth is not None and known.birth.boot == birth.boot:
            return works

        def write(recorder: Recorder) -> Outcome:
            return Outcome(incidents=keeping.fold_outbox(recorder, birth, now_us, self._limits))

        return [*works, Work(write, lambda _: None)]

    def _beat(self, heartbeat: Heartbeat, retained: bool, now_us: int) -> list[Work]:
        works = self._node(heartbeat.node, now_us, lambda record: rules.beat(record, heartbeat), retained)
        line = self._levels.take(heartbeat.node, heartbeat.level_dbfs, now_us)
        return works if line is None else [*works, levels.saving(line)]

    def _retained(self, topic: NodeTopic, payload: bytes, retained: bool, now_us: int) -> list[Work]:
        if not payload:
            return []  # an empty retained message removes one from the broker; it says nothing itself
        if topic.kind == "troubles":
            return self._troubles(topic, payload, retained, now_us)
        if topic.kind == "state":
            return self._report(topic, payload, retained, now_us)
        return self._presence(topic.node, payload, retained, now_us)

    def _presence(self, node: str, payload: bytes, retained: bool, now_us: int) -> list[Work]:
        conn = codec.decode(payload, NodeConnection)
        # A last will is the broker's word: the node itself was not heard.
        silent = retained or conn.state.value == "offline"
        return self._node(node, now_us, lambda record: rules.connected(record, conn), silent)

    def _troubles(self, topic: NodeTopic, payload: bytes, retained: bool, now_us: int) -> list[Work]:
        changed = codec.decode(payload, TroublesChanged)
        _check_node(topic, changed.node)
        for trouble in changed.troubles:
            for name, moment in (("since", trouble.since), ("until", trouble.until)):
                _check_moment(name, moment)
        works = self._node(topic.node, now_us, lambda record: rules.troubled(record, changed), retained)
        return [*works, self._noting(changed, payload, now_us)]

    def _report(self, topic: NodeTopic, payload: bytes, retained: bool, now_us: int) -> list[Work]:
        """How a node fares with bundles; kept, because not every broker tells it again after a start."""
        report = codec.decode(payload, NodeReported)
        _check_node(topic, report.node)
        _check_moment("at", report.at)

        def write(recorder: Recorder) -> Outcome:
            reports.save(recorder, report)
            return Outcome(answer=lambda: self._on_report(report))

        kept = Work(
            write, lambda reason: self._aside(node_topic(report.node, "state"), payload, reason, now_us)
        )
        return [*self._node(topic.node, now_us, lambda record: record, retained), kept]

    def _noting(self, changed: TroublesChanged, payload: bytes, now_us: int) -> Work:
        def write(recorder: Recorder) -> Outcome:
            recorder.save_troubles(changed, now_us)
            record = self._rooms.get(changed.node)
            still = [trouble for trouble in changed.troubles if trouble.until is None]
            zone = record.zone if record is not None else ""
            return Outcome(
                incidents=keeping.fold_troubles(
                    recorder, changed.node, zone, still, now_us, at_us=to_us(changed.at), limits=self._limits
                )
            )

        topic = node_topic(changed.node, "troubles")
        return Work(write, lambda reason: self._aside(topic, payload, reason, now_us))

    def _node(
        self, node: str, now_us: int, rule: Callable[[NodeRecord], NodeRecord], silent: bool
    ) -> list[Work]:
        """Apply what a node said about itself; ``silent`` if it was not the node that was heard just now."""
        before, after = self._rooms.change(
            node,
            now_us,
            rule
            if silent
            else lambda record: rules.heard(rules.booted(record, rule(record), now_us), now_us),
        )
        return self._consequences(before, after, now_us)

    def _consequences(self, before: NodeRecord, after: NodeRecord, now_us: int) -> list[Work]:
        """Show a room that changed, save it when that is due, and review its unfinished events."""
        if after != before:
            self._screen.show(after)
        works = []
        saved_us = self._saved_us.get(after.node, 0)
        if not rules.same_words(before, after) or now_us - saved_us >= rules.SAVE_SECONDS * 1e6:
            self._saved_us[after.node] = now_us
            works.append(self._saving(after.node))
        boots = tuple({boot for boot in (before.boot, after.boot) if boot is not None})
        if boots and rules.activity_changed(before, after):
            works.append(_touching(after.node, boots))
        return works

    def _saving(self, node: str) -> Work:
        def write(recorder: Recorder) -> Outcome:
            # The newest record, not the one that made this due: two threads may queue their works crosswise.
            if (record := self._rooms.get(node)) is not None:
                recorder.save_node(record)
            return Outcome()

        return Work(write, lambda _: None)

    def _event(self, topic: NodeTopic, payload: bytes, now_us: int) -> list[Work]:
        message = codec.decode(payload, SoundDetected)
        _check_event(topic, message)
        if message.label != topic.rest:
            raise DecodeError(f"label {message.label} on the topic of {topic.rest}")
        return [*self._heard(topic.node, now_us), self._recording(message, payload, now_us)]

    def _backfill(self, topic: NodeTopic, payload: bytes, now_us: int) -> list[Work]:
        try:
            messages = codec.decode(payload, Backfill).events
        except DecodeError as error:
            return self._salvaged(topic, payload, error, now_us)
        works = self._heard(topic.node, now_us)
        for message in messages:
            works.append(self._recording_or_aside(topic, message, now_us))
        return works

    def _salvaged(self, topic: NodeTopic, payload: bytes, error: DecodeError, now_us: int) -> list[Work]:
        """The good events of a backfill in which some cannot be read: one must not hold up the others."""
        if len(payload) > codec.MAX_PAYLOAD_BYTES:
            raise error
        try:
            parts = msgspec.json.decode(payload, type=_RawBackfill).events
        except (msgspec.MsgspecError, UnicodeError, RecursionError, ValueError):
            raise error from None
        works = self._heard(topic.node, now_us)
        for part in parts:
            try:
                message = codec.decode(bytes(part), SoundDetected)
            except DecodeError as reason:
                works.append(
                    self._aside(node_topic(topic.node, topic.kind), bytes(part), str(reason), now_us)
                )
            else:
                works.append(self._recording_or_aside(topic, message, now_us))
        return works

    def _recording_or_aside(self, topic: NodeTopic, message: SoundDetected, now_us: int) -> Work:
        payload = codec.encode(message)
        try:
            _check_event(topic, message)
        except DecodeError as error:
            return self._aside(node_topic(topic.node, topic.kind), payload, str(error), now_us)
        return self._recording(message, payload, now_us)

    def _heard(self, node: str, now_us: int) -> list[Work]:
        known = self._rooms.get(node)
        if known is not None and rules.is_heard_now(known, now_us):
            return []
        before, after = self._rooms.change(node, now_us, lambda record: rules.heard(record, now_us))
        new = before.last_seen_us is None or before.state is not after.state
        return self._consequences(before, after, now_us) if new else []

    def _recording(self, message: SoundDetected, payload: bytes, received_us: int) -> Work:
        topic = node_topic(message.node, "ev", message.label)

        def write(recorder: Recorder) -> Outcome:
            now_us = self._clock()
            fate, event = recorder.record(message, received_us, now_us)
            if fate is Fate.FOREIGN:
                recorder.quarantine(
                    _quarantined(topic, payload, f"{message.id} is another node's event", now_us)
                )
                return Outcome(answer=self._count_quarantined)
            return Outcome(
                node=message.node,
                refs=(EventRef(id=message.id, seq=message.seq),),
                changed=() if event is None else (event,),
                incidents=() if event is None else keeping.fold_event(recorder, event, now_us, self._limits),
                answer=self._count_stored if fate is Fate.ADDED else None,
            )

        return Work(write, lambda reason: self._aside(topic, payload, reason, received_us), event=message.id)

    def _aside(self, topic: str, payload: bytes, reason: str, now_us: int) -> Work:
        item = _quarantined(topic, payload, reason, now_us)

        def write(recorder: Recorder) -> Outcome:
            recorder.quarantine(item)
            return Outcome(answer=self._count_quarantined)

        return Work(write, lambda _: None)

    def _count_stored(self) -> None:
        self.count(1)

    def count(self, more: int) -> None:
        """So many detections were stored, or let go of."""
        with self._counting:
            self.stored += more

    def _count_quarantined(self) -> None:
        self.quarantined += 1

    def settle(self, outcomes: Sequence[Outcome], receipts: Sequence[Receipt]) -> None:
        """What may happen only now that everything in ``outcomes`` is on the disk."""
        refs: dict[str, list[EventRef]] = {}
        for outcome in outcomes:
            refs.setdefault(outcome.node, []).extend(outcome.refs)
        for node, named in refs.items():
            for start in range(0, len(named), REFS_PER_ACK):
                message = EventsCommitted(refs=tuple(named[start : start + REFS_PER_ACK]))
                self._broker.publish(node_topic(node, "ack"), codec.encode(message))
        for receipt in receipts:
            self._broker.acknowledge(receipt)
        for outcome in outcomes:
            for event in outcome.changed:
                self._screen.show(event)
        # Of an incident that changed several times within one commit, the last state says all.
        latest = {incident.id: incident for outcome in outcomes for incident in outcome.incidents}
        for incident in latest.values():
            self._on_incident(incident)
            self._screen.show(incident)

    def tick(self) -> None:
        """Look which rooms fell silent or came back since the last look."""
        now_us = self._clock()
        for before, after in self._rooms.tick(now_us):
            for work in self._consequences(before, after, now_us):
                self._put(work)


def _check_node(topic: NodeTopic, node: str) -> None:
    if node != topic.node:
        raise DecodeError(f"node {node} on the topic of {topic.node}")


def _check_event(topic: NodeTopic, message: SoundDetected) -> None:
    _check_node(topic, message.node)
    for name, moment in (("onset", message.onset), ("offset", message.offset)):
        _check_moment(name, moment)


def _check_moment(name: str, moment: datetime | None) -> None:
    if moment is not None and not 0 <= to_us(moment) <= LAST_US:
        raise DecodeError(f"{name} {moment.isoformat()} is not a time that can be shown")


def _quarantined(topic: str, payload: bytes, reason: str, now_us: int) -> Quarantined:
    # Topics may hold what no database column takes; a lone surrogate is replaced, a long text cut.
    clean = topic[:_SHOWN_REASON].encode("utf-8", "backslashreplace").decode()
    why = reason[:_SHOWN_REASON].encode("utf-8", "backslashreplace").decode()
    return Quarantined(now_us, clean, why, len(payload), payload[:KEPT_PAYLOAD_BYTES])


def _touching(node: str, boots: tuple[str, ...]) -> Work:
    def write(recorder: Recorder) -> Outcome:
        return Outcome(changed=tuple(recorder.touch_open(node, boots)))

    return Work(write, lambda _: None)
