"""A small site for tests of rollouts: nodes whose truth and whose word are two things."""

from dataclasses import dataclass, field

from tocsin_hub.rollouts.actions import Action, act
from tocsin_hub.rollouts.following import SECOND_US
from tocsin_hub.rollouts.model import (
    Decision,
    Gate,
    Limits,
    NodeView,
    Order,
    Ring,
    Rollout,
    Status,
    Target,
    Variant,
    World,
)
from tocsin_hub.rollouts.rules import step
from tocsin_hub.times import from_us
from tocsin_shared.events import NodeReported, SlotState, UpdateState

T0 = 1_700_000_000 * SECOND_US
NEW = Variant("sentry", "0.2.0", "full-int8", "a" * 64)
OLD = Variant("sentry", "0.2.1", "float16", "b" * 64)
WAY = (
    UpdateState.ACCEPTED,
    UpdateState.DOWNLOADING,
    UpdateState.VERIFYING,
    UpdateState.SELF_TESTING,
    UpdateState.SHADOWING,
    UpdateState.ACTIVATING,
    UpdateState.SOAKING,
    UpdateState.SUCCEEDED,
)
LIVE = (UpdateState.ACTIVATING, UpdateState.SOAKING)
OVER = (
    UpdateState.IDLE,
    UpdateState.SUCCEEDED,
    UpdateState.ALREADY_INSTALLED,
    UpdateState.REJECTED,
    UpdateState.FAILED,
    UpdateState.ROLLED_BACK,
    UpdateState.CANCELED,
)


@dataclass
class Node:
    """One node: what is true of it, and ``told``, what the broker holds of it."""

    name: str
    zone: str
    online: bool = True
    hearing: bool = True
    active: str = "factory"
    before: str = "factory"
    seq: int = 0
    state: UpdateState = UpdateState.IDLE
    error: str = ""
    order: Order | None = None
    begun_us: int = 0
    seen_us: int = T0
    told: NodeReported | None = None
    runs: list[int] = field(default_factory=list)
    """Numbers of the directives that it began with."""
    proved: set[str] = field(default_factory=set)

    def say(self, now_us: int, **changes: object) -> None:
        values: dict[str, object] = {
            "node": self.name,
            "boot": "b1",
            "at": from_us(now_us),
            "enabled": True,
            "active": SlotState(bundle="sentry-0.2.0+x", sha256=self.active),
            "proven": self.state not in LIVE,
            "seq": self.seq,
            "state": self.state,
            "error": self.error,
        }
        self.told = NodeReported(**(values | changes))  # type: ignore[arg-type]

    def view(self, now_us: int) -> NodeView:
        if self.online:
            self.seen_us = now_us
        return NodeView(
            self.name, self.zone, self.online, self.hearing, self.seen_us, "0.5.0", "", "", 0, self.told
        )

    def read(self, order: Order, now_us: int) -> None:
        """As a node does: a lower number is a replay, what is live goes first, what is late is not begun."""
        if order.seq <= self.seq or self.state in LIVE or now_us > order.expires_us:
            return
        self.seq, self.order, self.error, self.begun_us = order.seq, order, "", now_us
        self.runs.append(order.seq)
        same = order.variant.sha256 == self.active
        self.state = UpdateState.ALREADY_INSTALLED if same else UpdateState.ACCEPTED
        if same:
            self.proved.add(self.active)

    def move(self) -> None:
        """One state on."""
        if self.state in OVER or self.order is None:
            return
        self.state = WAY[WAY.index(self.state) + 1]
        if self.state is UpdateState.ACTIVATING:
            self.before, self.active = self.active, self.order.variant.sha256
        if self.state is UpdateState.SUCCEEDED:
            self.proved.add(self.active)

    def fail(self, code: str = "E_GOLDEN") -> None:
        if self.state in OVER:
            return
        self.error = code
        if self.state in LIVE:
            self.active, self.state = self.before, UpdateState.ROLLED_BACK
        else:
            self.state = UpdateState.FAILED

    def fall_back(self) -> None:
        if self.state is UpdateState.SUCCEEDED:
            self.active, self.error = self.before, "E_CRASH"


class Site:
    """Nodes, a broker that keeps directives, and a clock."""

    def __init__(
        self, rings: tuple[tuple[str, ...], ...], gate: Gate | None = None, **fields: object
    ) -> None:
        self.now = T0
        names = [name for ring in rings for name in ring]
        self.nodes = {name: Node(name, name.split("-")[0]) for name in names}
        for node in self.nodes.values():
            node.say(self.now)
        self.desired: dict[str, Order] = {}
        self.alarm = self.drill = False
        self.gate = gate or Gate(soak_seconds=60.0)
        values: dict[str, object] = {"limits": Limits(), "back": (OLD,)} | fields
        self.rollout = Rollout(
            id="01HZY0000000000000000000R0",
            variants=(NEW,),
            rings=tuple(Ring(self.gate) for _ in rings),
            targets=tuple(
                Target(name, self.nodes[name].zone, number)
                for number, ring in enumerate(rings)
                for name in ring
            ),
            created_by="ada",
            created_us=T0,
            **values,  # type: ignore[arg-type]
        )

    def begin(self) -> "Site":
        for action, person in ((Action.SUBMIT, "ada"), (Action.APPROVE, "bo"), (Action.START, "ada")):
            self.act(action, person)
        return self

    def act(self, action: Action, person: str = "ada") -> None:
        self.rollout = act(self.rollout, action, person, self.now)

    def world(self) -> World:
        return World(
            {name: node.view(self.now) for name, node in self.nodes.items()},
            alarm_open=self.alarm,
            drill_open=self.drill,
        )

    def step(self, seconds: float = 0.0) -> Decision:
        """The hub decides, writes it down and publishes."""
        self.now += int(seconds * SECOND_US)
        decision = step(self.rollout, self.world(), self.now)
        self.rollout = decision.rollout
        self.publish(decision)
        return decision

    def publish(self, decision: Decision) -> None:
        for name in decision.withdrawals:
            self.desired.pop(name, None)
        self.desired |= {one.node: one for one in decision.directives}

    def hear(self, *names: str) -> None:
        """Nodes read what stands at the broker, and say how they fare."""
        for name in names or tuple(self.nodes):
            node = self.nodes[name]
            if node.online:
                if name in self.desired:
                    node.read(self.desired[name], self.now)
                node.say(self.now)

    def to(self, name: str, state: UpdateState) -> None:
        """``name`` goes on to ``state``, and says so."""
        node = self.nodes[name]
        self.hear(name)
        for _ in WAY:
            if node.state is not state:
                node.move()
        assert node.state is state, f"{name} is {node.state}"
        self.now += SECOND_US
        node.say(self.now)
        self.step()

    def all_well(self, rounds: int = 200) -> None:
        """Every node that was asked succeeds, until nothing more happens."""
        for _ in range(rounds):
            self.hear()
            for node in self.nodes.values():
                if node.online:
                    node.move()
                    node.say(self.now)
            self.step(15.0)

    def target(self, name: str) -> Target:
        return next(one for one in self.rollout.targets if one.node == name)

    def status(self) -> Status:
        return self.rollout.status

    def states(self) -> dict[str, str]:
        return {one.node: str(one.state) for one in self.rollout.targets}
