"""A rollout on nodes that do not exist: the real rules, simulated time, and faults from a script. Pure."""

import hashlib
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

from tocsin_hub.rollouts.actions import Action, act
from tocsin_hub.rollouts.following import SECOND_US
from tocsin_hub.rollouts.model import (
    LIVE,
    Gate,
    Limits,
    NodeView,
    Order,
    Pause,
    Ring,
    Rollout,
    Status,
    Target,
    Variant,
    World,
)
from tocsin_hub.rollouts.rings import plan_rings
from tocsin_hub.rollouts.rules import step
from tocsin_hub.times import from_us
from tocsin_shared.errors import BadInputError
from tocsin_shared.events import NodeReported, SlotState, UpdateState

START_US = 1_704_096_000 * SECOND_US
"""2024-01-01T08:00:00Z, when every rehearsal begins."""
TICK_SECONDS = 30
MOST_SECONDS = 14 * 86_400
"""A rehearsal that has come to no end by then is told as it stands."""
BOARD, INTERPRETER = "Raspberry Pi 4 Model B", "ai-edge-litert 2.0"


class Fault(StrEnum):
    """What can be wrong with a bundle, or with a node."""

    TOO_SLOW = "too_slow"
    NEVER_ALARMS = "never_alarms"
    ALWAYS_ALARMS = "always_alarms"
    PERMUTED_LABELS = "permuted_labels"
    NAN = "nan"
    TAMPERED = "tampered"
    DOES_NOT_LOAD = "does_not_load"
    LEAKS = "leaks"
    CRASHES = "crashes"
    INCOMPATIBLE = "incompatible"
    DISK_FULL = "disk_full"
    HANGS = "hangs"
    """Never leaves its self-test, and says nothing new."""
    DRIFTS = "drifts"
    """Passes the node's own shadow, and yet hears more alarms than the bundle before."""
    FALLS_BACK_LATER = "falls_back_later"
    """An hour after it has proved itself."""
    OFFLINE = "offline"
    SILENT = "silent"
    """Goes away while it activates."""
    FLAPPING = "flapping"
    """Comes and goes every two minutes."""
    DEAF = "deaf"
    """Its microphone is away: others cannot rely on it."""


_ENDS: Mapping[Fault, tuple[UpdateState, UpdateState, str]] = {
    Fault.INCOMPATIBLE: (UpdateState.ACCEPTED, UpdateState.REJECTED, "E_INCOMPATIBLE"),
    Fault.TAMPERED: (UpdateState.DOWNLOADING, UpdateState.FAILED, "E_DOWNLOAD_TAMPER"),
    Fault.DISK_FULL: (UpdateState.DOWNLOADING, UpdateState.FAILED, "E_DISK"),
    Fault.DOES_NOT_LOAD: (UpdateState.SELF_TESTING, UpdateState.FAILED, "E_LOAD"),
    Fault.PERMUTED_LABELS: (UpdateState.SELF_TESTING, UpdateState.FAILED, "E_GOLDEN"),
    Fault.NAN: (UpdateState.SELF_TESTING, UpdateState.FAILED, "E_GOLDEN"),
    Fault.TOO_SLOW: (UpdateState.SELF_TESTING, UpdateState.FAILED, "E_BUDGET"),
    Fault.NEVER_ALARMS: (UpdateState.SHADOWING, UpdateState.FAILED, "E_SHADOW"),
    Fault.ALWAYS_ALARMS: (UpdateState.SHADOWING, UpdateState.FAILED, "E_SHADOW"),
    Fault.CRASHES: (UpdateState.ACTIVATING, UpdateState.ROLLED_BACK, "E_CRASH"),
    Fault.LEAKS: (UpdateState.SOAKING, UpdateState.ROLLED_BACK, "E_SOAK"),
}
"""In which state a node finds the fault, how it ends, and with which code: as the node's half does."""
_COURSE: tuple[tuple[UpdateState, float, float], ...] = (
    (UpdateState.ACCEPTED, 5, 60),
    (UpdateState.DOWNLOADING, 30, 300),
    (UpdateState.VERIFYING, 5, 30),
    (UpdateState.SELF_TESTING, 20, 90),
    (UpdateState.SHADOWING, 600, 900),
    (UpdateState.ACTIVATING, 2, 10),
    (UpdateState.SOAKING, 600, 900),
)
"""States of an update that goes well, and their shortest and longest time, seconds."""
_LATER_SECONDS = 3600.0
_FLAP_SECONDS = 120.0

Number = Annotated[float, Meta(ge=0.0, le=1e7)]


class FaultLine(Struct, frozen=True, forbid_unknown_fields=True):
    """One line of the script: these nodes have this fault, for this time."""

    fault: Fault
    nodes: tuple[str, ...] = ("*",)
    """Names of nodes, ``zone:NAME``, or ``*`` for all."""
    from_seconds: Number = 0.0
    to_seconds: Number = 1e7
    """Faults of a node (offline, flapping, deaf) last from … to …, since the beginning."""


class SiteLine(Struct, frozen=True, forbid_unknown_fields=True):
    """Something that happens at the site."""

    kind: Annotated[str, Meta(pattern=r"^(alarm|drill|degraded)(?!\n)$")]
    from_seconds: Number
    to_seconds: Number


class Script(Struct, frozen=True, forbid_unknown_fields=True):
    """A fault script, as it stands in its file (JSON)."""

    faults: tuple[FaultLine, ...] = ()
    site: tuple[SiteLine, ...] = ()
    rings: Annotated[tuple[str, ...], Meta(min_length=1, max_length=100)] = ("1", "25%", "rest")
    """As :func:`tocsin_hub.rollouts.rings.plan_rings` takes them."""
    success_share: float = 1.0
    soak_seconds: Number = 600.0
    errors: str = "1"
    min_executed: Annotated[int, Meta(ge=0, le=1_000_000)] = 5
    max_parallel: Annotated[int, Meta(ge=1, le=100_000)] = 20
    offline_grace_seconds: Number = 1800.0
    lone_zones: tuple[str, ...] = ()


@dataclass(frozen=True)
class Moment:
    """One line of what would happen."""

    seconds: float
    """Since the beginning."""
    ring: int | None
    node: str
    code: str
    detail: str


@dataclass(frozen=True)
class RingResult:
    """How a ring would end."""

    ring: int
    state: str
    nodes: int
    states: Mapping[str, int]
    """How many of its nodes stand in which state."""
    codes: Mapping[str, int]
    """How many of its nodes give which reason."""


@dataclass(frozen=True)
class Rehearsal:
    """What would happen."""

    status: Status
    pause: Pause | None
    seconds: float
    """How long it would take, until it ends or stops."""
    directives: int
    most_at_work: int
    """Most nodes of one zone that were between activation and the end of their soak at once; more than 1 is a
    fault of the rules."""
    rings: tuple[RingResult, ...]
    moments: tuple[Moment, ...]


@dataclass
class _Node:
    """A node that does not exist."""

    name: str
    zone: str
    lines: tuple[FaultLine, ...]
    chance: random.Random
    active: str = "factory"
    before: str = "factory"
    seq: int = 0
    state: UpdateState = UpdateState.IDLE
    error: str = ""
    order: Order | None = None
    plan: list[tuple[float, UpdateState]] = field(default_factory=list)
    """When it will be in which state, seconds; the first is the next."""
    seen: float = 0.0
    told: NodeReported | None = None
    """What it said last while it was there."""
    shown: NodeView | None = None
    version: str = "9.0.0"
    runtime: str = INTERPRETER
    hardware: str = BOARD

    def has(self, fault: Fault) -> bool:
        return any(line.fault is fault for line in self.lines)

    def now(self, fault: Fault, seconds: float) -> bool:
        return any(
            line.fault is fault and line.from_seconds <= seconds < line.to_seconds for line in self.lines
        )

    def online(self, seconds: float) -> bool:
        if not self.lines:
            return True
        if self.now(Fault.OFFLINE, seconds):
            return False
        if self.now(Fault.SILENT, seconds) and self.told is not None and self.told.state in LIVE:
            return False
        return not (self.now(Fault.FLAPPING, seconds) and int(seconds // _FLAP_SECONDS) % 2)

    def read(self, order: Order, seconds: float) -> None:
        """A directive came; one that is known is no news, and what is live comes to its end first."""
        if order.seq <= self.seq or self.state in (UpdateState.ACTIVATING, UpdateState.SOAKING):
            return
        self.seq, self.order, self.error = order.seq, order, ""
        if order.variant.sha256 == self.active:
            self.plan = [(seconds, UpdateState.ALREADY_INSTALLED)]
            return
        self.plan = []
        at = seconds
        for state, shortest, longest in _COURSE:
            self.plan.append((at, state))
            at += self.chance.uniform(shortest, longest)
            if self._spoil(state, at):
                return
        self.plan.append((at, UpdateState.SUCCEEDED))
        if self.has(Fault.FALLS_BACK_LATER):
            self.plan.append((at + _LATER_SECONDS, UpdateState.ROLLED_BACK))

    def _spoil(self, state: UpdateState, at: float) -> bool:
        for fault, (where, end, code) in _ENDS.items():
            if where is state and self.has(fault):
                self.plan.append((at, end))
                self.error = code
                return True
        stuck = self.has(Fault.HANGS) and state is UpdateState.SELF_TESTING
        gone = self.has(Fault.SILENT) and state is UpdateState.ACTIVATING
        return stuck or gone

    def pass_time(self, seconds: float) -> None:
        while self.plan and self.plan[0][0] <= seconds:
            _, self.state = self.plan.pop(0)
            if self.order is not None and self.state is UpdateState.ACTIVATING:
                self.before, self.active = self.active, self.order.variant.sha256
            if self.state is UpdateState.ROLLED_BACK:
                self.active = self.before
                self.error = self.error or "E_SOAK"

    def view(self, seconds: float) -> NodeView:
        online = self.online(seconds)
        known = self.told is not None and (self.told.state, self.told.seq) == (self.state, self.seq)
        if self.shown is not None and online and known and not self.lines:
            return self.shown  # when a node was last seen matters for one that is away only
        if online or self.told is None:
            self.seen = seconds
            if not known:
                self.told = self._report(seconds)
        hearing = not self.now(Fault.DEAF, seconds)
        seen_us = START_US + int(self.seen * SECOND_US)
        self.shown = NodeView(
            node=self.name,
            zone=self.zone,
            online=online,
            hearing=hearing,
            last_seen_us=seen_us,
            version=self.version,
            runtime=self.runtime,
            hardware=self.hardware,
            report=self.told,
        )
        return self.shown

    def _report(self, seconds: float) -> NodeReported:
        over = not self.plan or self.state in (UpdateState.SUCCEEDED, UpdateState.ALREADY_INSTALLED)
        live = self.state in (UpdateState.ACTIVATING, UpdateState.SOAKING)
        shadowed = live or self.state is UpdateState.SUCCEEDED
        bad = self.state in (UpdateState.REJECTED, UpdateState.FAILED, UpdateState.ROLLED_BACK)
        return NodeReported(
            node=self.name,
            boot="rehearsal",
            at=from_us(START_US + int(seconds * SECOND_US)),
            enabled=True,
            active=SlotState(bundle="rehearsed", sha256=self.active),
            proven=not live,
            seq=self.seq,
            state=self.state,
            error=self.error if bad and over else "",
            shadow_windows=1000 * shadowed,
            shadow_alarms=(12 if self.has(Fault.DRIFTS) else 2) * shadowed,
            active_alarms=2 * shadowed,
        )


def rehearse(nodes: int, zones: int, script: Script, seed: int = 0) -> Rehearsal:
    """What would happen to ``nodes`` nodes in ``zones`` zones under ``script``; the same for the same seed.

    Raises:
        BadInputError: the script names nodes or zones that are not there, or its rings do not fit.
    """
    if nodes < 1 or not 1 <= zones <= nodes:
        raise BadInputError(f"{nodes} nodes in {zones} zones: at least one node, and one for each zone")
    width = len(str(max(nodes, 100)))
    site = _site([(f"node-{n + 1:0{width}}", f"zone-{n % zones + 1}") for n in range(nodes)], script, seed)
    views = {one.name: one.view(0.0) for one in site}
    return _Play(site, _rollout(script, plan_rings(script.rings, views.values()), views), script).played()


def rehearse_rollout(
    rollout: Rollout, views: Mapping[str, NodeView], script: Script, seed: int = 0
) -> Rehearsal:
    """What would happen to ``rollout``, a draft, on the nodes of ``views``, if all of them were well.

    Of ``script`` the faults and what happens at the site count; rings and gates are those of ``rollout``.

    Raises:
        BadInputError: the script names nodes or zones that are not there, or nobody may submit ``rollout``.
    """
    site = _site([(name, one.zone) for name, one in sorted(views.items())], script, seed)
    for node in site:
        known = views[node.name]
        node.version, node.runtime, node.hardware = known.version, known.runtime, known.hardware
    ready = replace(rollout, two_persons=False, starts_us=None, created_us=START_US)
    return _Play(site, _begun(ready), script).played()


def _site(places: Sequence[tuple[str, str]], script: Script, seed: int) -> list[_Node]:
    """Nodes at ``places``, which are names and zones."""
    known = {"*"} | {name for name, _ in places} | {f"zone:{zone}" for _, zone in places}
    for line in script.faults:
        strange = set(line.nodes) - known
        if strange:
            zones = [name for name in sorted(known) if name.startswith("zone:")]
            raise BadInputError(
                f"faults: {min(strange)!r} is not there; nodes are {places[0][0]} to {places[-1][0]}, "
                f"zones are {zones[0]} to {zones[-1]}"
            )
    return [
        _Node(name, zone, _lines_of(script.faults, name, zone), random.Random(f"{seed} {name}"))  # noqa: S311
        for name, zone in places
    ]


def _lines_of(lines: Iterable[FaultLine], name: str, zone: str) -> tuple[FaultLine, ...]:
    return tuple(line for line in lines if {"*", name, f"zone:{zone}"} & set(line.nodes))


def _rollout(script: Script, rings: tuple[tuple[str, ...], ...], views: Mapping[str, NodeView]) -> Rollout:
    gate = Gate(
        success_share=script.success_share,
        soak_seconds=script.soak_seconds,
        errors=script.errors,
        min_executed=script.min_executed,
    )
    made = Rollout(
        id="rehearsal",
        variants=(Variant("rehearsed", "1.0.0", "any", hashlib.sha256(b"rehearsed").hexdigest()),),
        rings=tuple(Ring(gate) for _ in rings),
        targets=tuple(
            Target(name, views[name].zone, number) for number, ring in enumerate(rings) for name in ring
        ),
        created_by="rehearsal",
        created_us=START_US,
        two_persons=False,
        limits=Limits(max_parallel=script.max_parallel, offline_grace=script.offline_grace_seconds),
        lone_zones=frozenset(script.lone_zones),
    )
    return _begun(made)


def _begun(made: Rollout) -> Rollout:
    for action in (Action.SUBMIT, Action.APPROVE, Action.START):
        made = act(made, action, "rehearsal", START_US)
    return made


class _Play:
    """One rehearsal on its way. Lives for one call."""

    def __init__(self, site: list[_Node], rollout: Rollout, script: Script) -> None:
        self.site = site
        self.rollout = rollout
        self.script = script
        self.desired: dict[str, Order] = {}
        self.moments: list[Moment] = []
        self.directives = 0
        self.most_at_work = 0

    def played(self) -> Rehearsal:
        seconds = 0.0
        while seconds <= MOST_SECONDS:
            self._tick(seconds)
            if self._stopped() or self._done(seconds):
                break
            seconds += TICK_SECONDS
        return self._result(seconds)

    def _tick(self, seconds: float) -> None:
        for node in self.site:
            order = self.desired.get(node.name)
            if order is not None and node.online(seconds):
                node.read(order, seconds)
            node.pass_time(seconds)
        self._count()
        decision = step(self.rollout, self._world(seconds), START_US + int(seconds * SECOND_US))
        self.rollout = decision.rollout
        for name in decision.withdrawals:
            self.desired.pop(name, None)
        self.desired |= {order.node: order for order in decision.directives}
        self.directives += len(decision.directives)
        self.moments += [
            Moment(seconds, one.ring, one.node, one.code, one.detail)
            for one in decision.reasons
            if not one.lasting
        ]

    def _count(self) -> None:
        at_work: dict[str, int] = {}
        for node in self.site:
            if node.state in (UpdateState.ACTIVATING, UpdateState.SOAKING):
                at_work[node.zone] = at_work.get(node.zone, 0) + 1
        self.most_at_work = max(self.most_at_work, *at_work.values(), 0)

    def _world(self, seconds: float) -> World:
        on = {line.kind for line in self.script.site if line.from_seconds <= seconds < line.to_seconds}
        views = {node.name: node.view(seconds) for node in self.site}
        return World(views, alarm_open="alarm" in on, drill_open="drill" in on, degraded="degraded" in on)

    def _stopped(self) -> bool:
        passing = (Pause.SAFETY_HOLD, Pause.HUB_DEGRADED, Pause.METADATA_EXPIRING)
        return self.rollout.status is Status.PAUSED and self.rollout.pause not in passing

    def _done(self, seconds: float) -> bool:
        """Ended, and nothing that the script has for a node is still to come."""
        if self.rollout.status not in (Status.SUCCEEDED, Status.SUCCEEDED_WITH_FAILURES):
            return False
        ends = [
            line.to_seconds for node in self.site for line in node.lines if line.to_seconds < MOST_SECONDS
        ]
        return (
            not any(node.plan for node in self.site) and seconds > max(ends, default=0.0) + 2 * TICK_SECONDS
        )

    def _result(self, seconds: float) -> Rehearsal:
        rings = tuple(self._ring(number) for number in range(len(self.rollout.rings)))
        last = self.moments[-1].seconds if self._done(seconds) and self.moments else seconds
        return Rehearsal(
            self.rollout.status,
            self.rollout.pause,
            last,
            self.directives,
            self.most_at_work,
            rings,
            tuple(self.moments),
        )

    def _ring(self, number: int) -> RingResult:
        targets = [one for one in self.rollout.targets if one.ring == number]
        return RingResult(
            number,
            str(self.rollout.rings[number].state),
            len(targets),
            _counted(str(one.state) for one in targets),
            _counted(one.code for one in targets if one.code),
        )


def _counted(words: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for word in words:
        counts[word] = counts.get(word, 0) + 1
    return dict(sorted(counts.items()))
