"""Rollout rules as a state machine: nodes and people do what they like, the hub is killed at any point."""

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.hub.rollouts.site import LIVE, NEW, OLD, OVER, Node, Site
from tocsin_hub.rollouts.actions import Action, IllegalTransitionError
from tocsin_hub.rollouts.following import SECOND_US
from tocsin_hub.rollouts.model import Decision, Execution, Gate, Rollout, Status
from tocsin_hub.rollouts.rules import healthy, standing_orders, step

NAMES = ("a-1", "a-2", "a-3", "b-1", "b-2")
RINGS = (("b-1",), ("a-1", "a-2", "a-3", "b-2"))


class Rollouts(RuleBasedStateMachine):
    """A hub, its database (``site.rollout``), its broker (``site.desired``) and five nodes in two zones."""

    def __init__(self) -> None:
        super().__init__()
        self.site = Site(RINGS, Gate(soak_seconds=60.0, errors="5", success_share=0.0)).begin()
        self.given: set[tuple[str, int]] = set()
        self.last: dict[str, int] = {}

    def node(self, name: str) -> Node:
        return self.site.nodes[name]

    def decide(self) -> Decision:
        site = self.site
        decision = step(site.rollout, site.world(), site.now)
        read_again = msgspec.json.decode(msgspec.json.encode(site.rollout), type=Rollout)
        assert step(read_again, site.world(), site.now) == decision
        return decision

    def commit(self, decision: Decision) -> None:
        views = self.site.world().nodes
        for order in decision.directives:
            view = views[order.node]
            peers = [one for one in views.values() if one.zone == view.zone and one.node != order.node]
            assert any(healthy(one) for one in peers), f"{order.node} is the last that hears"
            assert order.seq > self.last.get(order.node, 0)
            self.last[order.node] = order.seq
        assert not (decision.directives and (self.site.alarm or self.site.drill))
        self.site.rollout = decision.rollout
        again = step(decision.rollout, self.site.world(), self.site.now)
        assert (again.rollout, again.directives, again.withdrawals) == (decision.rollout, (), ())

    @rule(seconds=st.sampled_from([0, 1, 5, 30, 130, 700]))
    def the_hub_decides(self, seconds: int) -> None:
        self.pass_time(seconds)
        decision = self.decide()
        self.commit(decision)
        self.site.publish(decision)

    @rule()
    def the_hub_is_killed_before_the_commit(self) -> None:
        self.decide()
        self.start()

    @rule()
    def the_hub_is_killed_between_commit_and_publishing(self) -> None:
        self.commit(self.decide())
        self.start()

    def start(self) -> None:
        """What stands at the broker is made equal to the database."""
        self.site.desired = {one.node: one for one in standing_orders(self.site.rollout, self.site.now)}

    @rule(name=st.sampled_from(NAMES), moves=st.integers(1, 8))
    def a_node_goes_on(self, name: str, moves: int) -> None:
        node = self.node(name)
        if node.online and name in self.site.desired:
            node.read(self.site.desired[name], self.site.now)
        for _ in range(moves):
            node.move()
        if node.online:
            self.tell(node)

    @rule(name=st.sampled_from(NAMES))
    def a_node_fails(self, name: str) -> None:
        node = self.node(name)
        node.fail()
        if node.online:
            self.tell(node)

    @rule(name=st.sampled_from(NAMES))
    def a_node_falls_back(self, name: str) -> None:
        node = self.node(name)
        node.fall_back()
        if node.online:
            self.tell(node)

    @rule(name=st.sampled_from(NAMES), online=st.booleans())
    def a_node_comes_or_goes(self, name: str, online: bool) -> None:
        node = self.node(name)
        node.view(self.site.now)
        node.online = online
        if online:
            self.tell(node)

    @rule(name=st.sampled_from(NAMES), hearing=st.booleans())
    def a_microphone_comes_or_goes(self, name: str, hearing: bool) -> None:
        self.node(name).hearing = hearing

    @rule(alarm=st.booleans())
    def an_alarm_begins_or_ends(self, alarm: bool) -> None:
        self.site.alarm = alarm

    @rule(draw=st.integers(0, 19))
    def a_person_acts(self, draw: int) -> None:
        """Mostly somebody lets it go on: a rollout that was given up shows little."""
        rare = {0: Action.ABORT, 1: Action.ROLLBACK, 2: Action.ROLLBACK, 3: Action.PAUSE}
        action = rare.get(draw, Action.RESUME)
        try:
            self.site.act(action)
        except IllegalTransitionError:
            return

    @rule(hours=st.integers(1, 12))
    def hours_pass(self, hours: int) -> None:
        self.pass_time(hours * 3600)

    @precondition(lambda self: self.site.rollout.status is Status.RUNNING)
    @rule(rounds=st.integers(1, 5), names=st.sets(st.sampled_from(NAMES)))
    def some_go_on(self, rounds: int, names: set[str]) -> None:
        for _ in range(rounds):
            for name in sorted(names):
                self.a_node_goes_on(name, 2)
            self.the_hub_decides(70)

    def tell(self, node: Node) -> None:
        self.site.now += 1
        node.say(self.site.now)

    def pass_time(self, seconds: int) -> None:
        self.site.now += seconds * SECOND_US
        for node in self.site.nodes.values():
            node.view(self.site.now)
            # The node's own limits: what is not live by then is given up.
            span = self.site.rollout.limits.total * SECOND_US
            if node.state not in (*OVER, *LIVE) and self.site.now - node.begun_us > span:
                node.fail("E_TIMEOUT")
                if node.online:
                    self.tell(node)

    @invariant()
    def never_two_of_a_zone_at_once(self) -> None:
        for zone in "ab":
            live = [one.name for one in self.site.nodes.values() if one.zone == zone and one.state in LIVE]
            assert len(live) <= 1, live

    @invariant()
    def no_execution_is_doubled(self) -> None:
        for node in self.site.nodes.values():
            assert len(node.runs) == len(set(node.runs))
            assert not node.runs or max(node.runs) <= self.last[node.name]

    @invariant()
    def no_execution_is_lost(self) -> None:
        """What the database calls offered stands at the broker once the hub has started."""
        orders = {one.node: one for one in standing_orders(self.site.rollout, self.site.now)}
        for one in self.site.rollout.targets:
            fresh = self.site.now < one.offered_us + self.site.rollout.limits.directive * SECOND_US
            if one.state is Execution.OFFERED and one.reported is None and fresh:
                assert orders[one.node].seq == one.seq

    @invariant()
    def success_is_proven(self) -> None:
        rollout = self.site.rollout
        for one in rollout.targets:
            wanted = (OLD if one.returning else NEW).sha256
            assert not one.good or wanted in self.node(one.node).proved
        if rollout.status is Status.SUCCEEDED:
            assert all(one.good for one in rollout.targets)


Rollouts.TestCase.settings = settings(
    max_examples=150,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestRollouts = Rollouts.TestCase
