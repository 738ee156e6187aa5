"""Rules: one simulated node, from a sound to the hub's acknowledgement, without any connection.

What it wants to send is the result of a call; what came is an argument. So are all clocks.
"""

from dataclasses import dataclass

import msgspec
from ulid import ULID

from tocsin_hub.fleet.model import Out, Plan, Record
from tocsin_hub.fleet.outbox import Outbox, Row
from tocsin_hub.fleet.script import Occurrence
from tocsin_hub.times import from_us, to_us
from tocsin_shared.codec import decode, encode
from tocsin_shared.errors import DecodeError
from tocsin_shared.events import (
    Backfill,
    Certainty,
    Clock,
    EventsCommitted,
    Heartbeat,
    HubPresence,
    MicState,
    NodeBorn,
    NodeConnection,
    Phase,
    Presence,
    ScoredLabel,
    SoundDetected,
)
from tocsin_shared.topics import HUB_STATE, node_topic

BUNDLE = "simulated-1.0+none"
_LEVEL_DBFS, _AMBIENT_DBFS = -28.0, -52.0


@dataclass(frozen=True)
class Moment:
    """One moment by two clocks."""

    mono: float
    """Seconds of the clock that nobody sets."""
    utc_us: int
    """Microseconds of UTC."""


class Node:
    """One node; ``number`` counts from 0."""

    def __init__(self, plan: Plan, number: int) -> None:
        self._plan = plan
        self.id = plan.name(number)
        self.zone = plan.zone(number)
        self.outbox = Outbox()
        self.records: dict[str, Record] = {}
        self._open: dict[Occurrence, SoundDetected] = {}
        self._made: dict[str, float] = {}
        self._boots = 0
        self._session = 0
        self._epoch: str | None = None
        self.garbage = 0
        """Messages that could not be read."""
        self.restart()

    @property
    def subscriptions(self) -> list[tuple[str, int]]:
        """Topics and QoS that a node hears."""
        return [(self._topic("ack"), 1), (HUB_STATE, 1)]

    def restart(self) -> None:
        """Another process runs on the node: it has a boot of its own, and nothing sounds that it knows of."""
        self._boots += 1
        self._session = 0
        self._open.clear()

    @property
    def boot(self) -> str:
        """Name of the process; begins with the run's."""
        return f"{self._plan.run}.{self._boots}"

    def will(self) -> Out:
        """What the broker is to say if the next connection breaks."""
        return self._presence(Presence.OFFLINE, self._session + 1)

    def connected(self, now: Moment) -> list[Out]:
        """The broker has taken the node in: what it says first."""
        self._session += 1
        self.outbox.connected()
        return [self._presence(Presence.ONLINE, self._session), self._birth(now), self.beat(now)]

    def farewell(self) -> list[Out]:
        """What a node says before it leaves by itself; the broker then forgets that it ever was there."""
        return [self._presence(Presence.OFFLINE, self._session), Out(self._topic("conn"), b"", retain=True)]

    def begins(self, sound: Occurrence, now: Moment) -> None:
        """A sound begins: it is told at once."""
        event = SoundDetected(
            id=str(ULID()),
            node=self.id,
            zone=self.zone,
            label=sound.label,
            score=0.9,
            top=(ScoredLabel(sound.label, 0.9), ScoredLabel("background", 0.05)),
            level_dbfs=_LEVEL_DBFS,
            ambient_dbfs=_AMBIENT_DBFS,
            onset=from_us(now.utc_us),
            offset=None,
            mono_ns=int(now.mono * 1e9),
            onset_mono_ns=int(now.mono * 1e9),
            boot=self.boot,
            seq=self.outbox.next_seq,
            clock=Clock.NTP,
            bundle=BUNDLE,
            phase=Phase.ONSET,
            certainty=Certainty.CERTAIN,
        )
        self.outbox.add(event, now.mono)
        self._open[sound] = event
        self._made[event.id] = now.mono
        self.records[event.id] = Record(
            event.id, self.id, event.label, event.boot, now.utc_us, event.seq, Phase.ONSET, sound.storm
        )

    def ends(self, sound: Occurrence, now: Moment) -> None:
        """The sound ends; nothing if another process heard it begin."""
        event = self._open.pop(sound, None)
        if event is None:
            return
        last = msgspec.structs.replace(
            event,
            offset=from_us(max(now.utc_us, to_us(event.onset))),
            phase=Phase.OFFSET,
            seq=self.outbox.next_seq,
            mono_ns=int(now.mono * 1e9),
        )
        self.outbox.add(last, now.mono)
        record = self.records[event.id]
        record.seq, record.phase, record.complete = last.seq, Phase.OFFSET, False

    def hush(self, now: Moment) -> None:
        """All that sounds ends."""
        for sound in list(self._open):
            self.ends(sound, now)

    def due(self, now: Moment) -> Out | None:
        """The next message from the outbox, if there is one to be sent now."""
        rows = self.outbox.due(now.mono)
        if not rows:
            return None
        if rows[0].live:
            event = rows[0].event
            return Out(self._topic("ev", event.label), encode(event))
        for row in rows:
            self.records[row.event.id].waited = True
        return self._backfill(rows)

    def hears(self, topic: str, payload: bytes, *, retained: bool, now: Moment) -> None:
        """Take a message; one that cannot be read is counted."""
        try:
            if topic == HUB_STATE:
                self._hub(decode(payload, HubPresence), fresh=not retained)
            elif topic == self._topic("ack"):
                self._acknowledged(decode(payload, EventsCommitted), now)
        except DecodeError:
            self.garbage += 1

    def beat(self, now: Moment) -> Out:
        """A heartbeat, which may be lost."""
        heartbeat = Heartbeat(
            node=self.id,
            boot=self.boot,
            at=from_us(now.utc_us),
            mic=MicState.LISTENING,
            level_dbfs=_AMBIENT_DBFS,
            clipped_ratio=0.0,
            dropped_blocks=0,
            inference_p95_ms=5.0,
            outbox_depth=len(self.outbox),
            outbox_dropped=0,
            outbox_dead=0,
            clock=Clock.NTP,
        )
        return Out(self._topic("hb"), encode(heartbeat), qos=0)

    def _hub(self, hub: HubPresence, *, fresh: bool) -> None:
        # A hub that says just now that it is there may have missed what was sent before.
        if fresh or self._epoch not in {None, hub.epoch}:
            self.outbox.hub(away=True)
        self.outbox.hub(away=hub.state is Presence.OFFLINE)
        self._epoch = hub.epoch

    def _acknowledged(self, committed: EventsCommitted, now: Moment) -> None:
        for event in self.outbox.acknowledged(committed.refs):
            record = self.records[event.id]
            record.complete = record.complete or event.seq == record.seq
            if record.acknowledged_us is None:
                record.acknowledged_us = round((now.mono - self._made.pop(event.id)) * 1e6)

    def _backfill(self, rows: tuple[Row, ...]) -> Out:
        events = tuple(msgspec.structs.replace(row.event, late=True) for row in rows)
        return Out(self._topic("bf"), encode(Backfill(events=events)))

    def _birth(self, now: Moment) -> Out:
        birth = NodeBorn(
            node=self.id,
            zone=self.zone,
            room=self.id,
            boot=self.boot,
            session=self._session,
            at=from_us(now.utc_us),
            version="simulated",
            bundle=BUNDLE,
            runtime="none",
            hardware="simulated",
            source="simulated",
            labels=(),
            hop_seconds=0.5,
            heartbeat_seconds=self._plan.heartbeat_seconds,
            outbox_depth=len(self.outbox),
        )
        return Out(self._topic("birth"), encode(birth))

    def _presence(self, state: Presence, session: int) -> Out:
        message = NodeConnection(state=state, boot=self.boot, session=session)
        return Out(self._topic("conn"), encode(message), retain=True)

    def _topic(self, kind: str, rest: str = "") -> str:
        return node_topic(self.id, kind, rest)
