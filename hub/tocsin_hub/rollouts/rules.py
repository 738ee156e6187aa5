"""Rules: a rollout, what nodes report and what is open at a site give what is to be done now. Pure.

::

    DRAFT → AWAITING_APPROVAL → SCHEDULED → RUNNING ⇄ PAUSED(reason)
                                              ├─ forward ──→ SUCCEEDED | SUCCEEDED_WITH_FAILURES ─→ RUNNING
                                              ├─ aborting ─→ ABORTED          (a ring is reopened) ──┘
                                              └─ returning → ROLLED_BACK
    from SCHEDULED on also → SUPERSEDED

Everything is a level: :func:`step` on the rollout as the database has it, and on what nodes say, decides the
same whether the hub has run all the time or has just started. Called twice, it changes nothing more.
"""

from dataclasses import replace

from tocsin_hub.rollouts.following import RUNNING, SECOND_US, UNDER_WAY, followed, in_flight
from tocsin_hub.rollouts.gates import open_gate, readable, stopped, waiting
from tocsin_hub.rollouts.model import (
    BAD,
    FINAL,
    GOOD,
    LIVE,
    PASSING,
    SETTLED,
    Course,
    Decision,
    Execution,
    NodeView,
    Order,
    Pause,
    Reason,
    Ring,
    RingState,
    Rollout,
    Status,
    Target,
    Variant,
    World,
)
from tocsin_hub.rollouts.rings import choose_variant

ENDED = (Status.SUCCEEDED, Status.SUCCEEDED_WITH_FAILURES)
"""What a node that falls back, or one that catches up, opens again."""
_NOT_BEGUN = (Status.DRAFT, Status.AWAITING_APPROVAL)
_PATIENCE = frozenset({"zone_busy", "node_busy", "parallel"})
"""Others are on their way: to wait for them is no reason to leave a node out."""


def step(rollout: Rollout, world: World, now_us: int) -> Decision:
    """What is to be done at ``now_us``."""
    if rollout.status in _NOT_BEGUN:
        return Decision(rollout)
    return _Step(rollout, world, now_us).decided()


def standing_orders(rollout: Rollout, now_us: int) -> tuple[Order, ...]:
    """The directives that are to stand at the broker: published again after a start, the same as before."""
    orders = [_order(rollout, one) for one in rollout.targets if one.standing and one.reported not in FINAL]
    return tuple(one for one in orders if one is not None and one.expires_us > now_us)


def _order(rollout: Rollout, target: Target) -> Order | None:
    if target.variant is None:
        return None
    expires_us = target.offered_us + int(rollout.limits.directive * SECOND_US)
    lengths = (rollout.soak_seconds, rollout.shadow_seconds)
    return Order(target.node, target.seq, target.variant, target.offered_us, expires_us, rollout.id, *lengths)


def hold(rollout: Rollout, world: World, now_us: int) -> tuple[Pause, str] | None:
    """What at the site forbids that anything begins, whatever the rollout says; ``None`` if nothing does."""
    if world.alarm_open or world.drill_open:
        return Pause.SAFETY_HOLD, "alarm" if world.alarm_open else "drill"
    if world.degraded:
        return Pause.HUB_DEGRADED, ""
    needed_us = now_us + int((rollout.limits.directive + rollout.limits.total) * SECOND_US)
    if world.metadata_expires_us is not None and world.metadata_expires_us < needed_us:
        return Pause.METADATA_EXPIRING, ""
    return None


class _Step:
    """One step, as it is being made. Lives for one call."""

    def __init__(self, rollout: Rollout, world: World, now_us: int) -> None:
        self.before = rollout
        self.world = world
        self.now_us = now_us
        self.limits = rollout.limits
        self.status, self.pause = rollout.status, rollout.pause
        self.rings = list(rollout.rings)
        self.targets = list(rollout.targets)
        self.reasons: list[Reason] = []
        self.orders: list[Order] = []
        self.flying: set[str] = set()
        """Nodes that may activate, or have not proved it, for all that is known."""
        self.by_zone: dict[str, list[NodeView]] = {}
        for view in world.nodes.values():
            self.by_zone.setdefault(view.zone, []).append(view)

    def decided(self) -> Decision:
        self._follow()
        self.flying = {one.node for one in self.targets if in_flight(one, self.limits, self.now_us)}
        self._start()
        self._hold()
        held = hold(self.before, self.world, self.now_us) is not None
        if self.status is Status.RUNNING or (self.status in ENDED and not held):
            self._run()
        if self.status in (Status.SUPERSEDED, Status.ABORTED):
            self._let_go()
        if self.status is Status.PAUSED:
            self._take_back_offers()
        return self._decision()

    def _decision(self) -> Decision:
        after = replace(
            self.before,
            status=self.status,
            pause=self.pause if self.status is Status.PAUSED else None,
            rings=tuple(self.rings),
            targets=tuple(self.targets),
        )
        withdrawn = tuple(
            new.node
            for old, new in zip(self.before.targets, self.targets, strict=True)
            if old.standing and not new.standing
        )
        changed = (self.before.status, self.status) if self.status is not self.before.status else None
        return Decision(after, tuple(self.orders), withdrawn, tuple(self.reasons), changed)

    # -- what nodes say -------------------------------------------------------------------------------

    def _follow(self) -> None:
        for number, old in enumerate(self.targets):
            new = followed(old, self.world.nodes.get(old.node), self.limits, self.now_us)
            self.targets[number] = new
            if new.state is not old.state:
                self.reasons.append(Reason(f"node_{new.state}", new.node, new.ring, new.code))
                if new.state in BAD and old.state not in BAD:
                    self._reopen(new)

    def _reopen(self, target: Target) -> None:
        ring = self.rings[target.ring]
        if ring.state is not RingState.PASSED or self.before.course is not Course.FORWARD:
            return
        # A gate that somebody waived was waived for what was known then.
        self.rings[target.ring] = replace(ring, state=RingState.ACTIVE, clock_us=self.now_us, waived=False)
        self.reasons.append(Reason("ring_reopened", target.node, target.ring, target.code))
        if self.status in ENDED:
            self.status = Status.RUNNING

    # -- may anything begin at all --------------------------------------------------------------------

    def _start(self) -> None:
        due = self.before.starts_us is not None and self.now_us >= self.before.starts_us
        if self.status is Status.SCHEDULED and due:
            self.status = Status.RUNNING
            self.reasons.append(Reason("started"))

    def _hold(self) -> None:
        found = hold(self.before, self.world, self.now_us)
        passing = self.status is Status.PAUSED and self.pause in PASSING
        if found is None and passing:
            self.status, self.rings = Status.RUNNING, list(wound(self.rings, self.now_us))
            self.reasons.append(Reason("hold_over", detail=str(self.pause)))
        elif found is not None and (passing or self._holdable()) and self.pause is not found[0]:
            self._stop(*found)

    def _holdable(self) -> bool:
        return self.status is Status.RUNNING and self.before.course is not Course.ABORTING

    def _stop(self, why: Pause, detail: str, ring: int | None = None) -> None:
        self.status, self.pause = Status.PAUSED, why
        self.reasons.append(Reason(why.value, ring=ring, detail=detail))

    # -- forward, out, back ---------------------------------------------------------------------------

    def _run(self) -> None:
        if self.before.course is Course.ABORTING:
            self._let_go()
            if not any(one.state in UNDER_WAY for one in self.targets):
                self._end(Status.ABORTED)
        elif self.before.course is Course.RETURNING:
            self._return()
        else:
            self._forward()

    def _forward(self) -> None:
        bad = [number for number, ring in enumerate(self.rings) if not readable(ring.gate)]
        if bad:
            self._stop(Pause.BAD_EXPRESSION, self.rings[bad[0]].gate.errors, bad[0])
            return
        current = self._judged_rings()
        if self.status is Status.PAUSED:
            return
        self._offer_all(current)
        if current == len(self.rings) and not any(one.state in UNDER_WAY for one in self.targets):
            self._end(self._outcome())
        elif self.status in ENDED:
            self.status = Status.RUNNING
            self.reasons.append(Reason("catching_up"))

    def _outcome(self) -> Status:
        counted = [one for one in self.targets if one.state is not Execution.REMOVED]
        proven = bool(counted) and all(one.good for one in counted)
        return Status.SUCCEEDED if proven else Status.SUCCEEDED_WITH_FAILURES

    def _end(self, status: Status) -> None:
        if self.status is not status:
            self.status = status
            self.reasons.append(Reason(status.value))

    def _judged_rings(self) -> int:
        """Number of the first ring that is not passed, after as many gates as are open."""
        for number in range(len(self.rings)):
            if self.rings[number].state is RingState.PASSED:
                continue
            if not self._passes(number):
                return number
        return len(self.rings)

    def _passes(self, number: int) -> bool:
        ring = self.rings[number]
        if ring.state is RingState.PENDING:
            ring = self._ring(number, RingState.ACTIVE, clock_us=self.now_us)
            self.reasons.append(Reason("ring_began", ring=number))
        self._leave_out(number)
        targets = [one for one in self.targets if one.ring == number]
        stop = stopped(ring, targets)
        verdict = open_gate(ring, targets, self.now_us)
        if stop is not None:
            self._stop(*stop, number)
        elif verdict is True:
            good_us = max((one.since_us for one in targets if one.good), default=None)
            self._ring(number, RingState.PASSED, good_us=good_us)
            self.reasons.append(Reason("ring_passed", ring=number))
        elif verdict is not False:
            self._stop(verdict, self._score(targets), number)
        elif self.now_us - (ring.clock_us or 0) > ring.gate.ring_seconds * SECOND_US:
            self._stop(Pause.TIME_LIMIT, self._score(targets), number)
        else:
            settled = all(one.state in SETTLED for one in targets)
            self._ring(number, RingState.SOAKING if settled else RingState.ACTIVE)
            self.reasons.append(waiting(number, targets))
        return verdict is True and stop is None

    @staticmethod
    def _score(targets: list[Target]) -> str:
        return f"{sum(one.good for one in targets)} of {len(targets)}"

    def _ring(self, number: int, state: RingState, **changes: int | None) -> Ring:
        self.rings[number] = replace(self.rings[number], state=state, **changes)  # type: ignore[arg-type]
        return self.rings[number]

    # -- who is offered the bundle --------------------------------------------------------------------

    def _leave_out(self, number: int) -> None:
        """Ring ``number`` no longer waits for those that are not to be had."""
        clock_us = self.rings[number].clock_us or self.now_us
        if self.now_us - clock_us <= self.limits.offline_grace * SECOND_US:
            return
        for place, one in enumerate(self.targets):
            if one.ring != number or one.state is not Execution.QUEUED:
                continue
            why = self._obstacle(one, self.before.variants)
            if why and why not in _PATIENCE:
                self._move(place, Execution.SKIPPED, why)

    def _move(self, place: int, state: Execution, code: str) -> None:
        one = self.targets[place]
        self.targets[place] = replace(one, state=state, since_us=self.now_us, code=code)
        self.reasons.append(Reason(f"node_{state}", one.node, one.ring, code))

    def _offer_all(self, current: int) -> None:
        """To the ring that is on, and to those of earlier ones that can be had now."""
        for place, one in enumerate(self.targets):
            skipped = one.state is Execution.SKIPPED and one.ring <= current
            if skipped or (one.state is Execution.QUEUED and one.ring <= current):
                self._offer(place, self.before.variants, returning=False)

    def _offer(self, place: int, variants: tuple[Variant, ...], *, returning: bool) -> None:
        one = self.targets[place]
        why = self._obstacle(one, variants)
        if why:
            self.reasons.append(Reason(why, one.node, one.ring, lasting=True))
            return
        view = self.world.nodes[one.node]
        reported = 0 if view.report is None else view.report.seq
        offered = replace(
            one,
            variant=choose_variant(variants, view),
            seq=max(view.seq, one.seq, reported) + 1,
            offered_us=self.now_us,
            standing=True,
            reported=None,
            forgiven=False,
            returning=returning,
            stage="",
        )
        self.targets[place] = offered
        self.flying.add(one.node)
        self._move(place, Execution.OFFERED, "")
        order = _order(self.before, offered)
        if order is not None:
            self.orders.append(order)

    def _obstacle(self, target: Target, variants: tuple[Variant, ...]) -> str:
        """Why ``target`` cannot be offered a bundle now; empty if it can."""
        view = self.world.nodes.get(target.node)
        if view is None or not view.online:
            return "offline"
        if view.report is None or not view.report.enabled:
            return "updates_off"
        if choose_variant(variants, view) is None:
            return "no_variant"
        if view.busy or (view.report.state in RUNNING and view.report.seq != target.seq):
            return "node_busy"
        if len(self.flying - {target.node}) >= self.limits.max_parallel:
            return "parallel"
        return self._uncovered(view)

    def _uncovered(self, view: NodeView) -> str:
        """Why the zone cannot spare this node now; empty if it can."""
        peers = [one for one in self.by_zone[view.zone] if one.node != view.node]
        if any(_at_work(one) or one.node in self.flying for one in peers):
            return "zone_busy"
        lone = not peers and view.zone in self.before.lone_zones
        return "" if lone or any(healthy(one) for one in peers) else "last_healthy"

    # -- nothing more begins --------------------------------------------------------------------------

    def _take_back_offers(self) -> None:
        """What no node has taken up is offered anew when the rollout goes on."""
        for place, one in enumerate(self.targets):
            if one.state is Execution.OFFERED and one.reported is None:
                self.targets[place] = replace(one, standing=False)
                self._move(place, Execution.QUEUED, "paused")

    def _let_go(self) -> None:
        """Withdraw all that is not live; what is live comes to its end."""
        for place, one in enumerate(self.targets):
            if one.reported not in LIVE and one.state not in SETTLED and one.standing:
                self.targets[place] = replace(one, standing=False)
            if one.state in (Execution.QUEUED, Execution.SKIPPED) or (
                one.state is Execution.OFFERED and one.reported is None
            ):
                self._move(place, Execution.CANCELED, "withdrawn")

    def _return(self) -> None:
        for place, one in enumerate(self.targets):
            if not one.returning:
                self._turn(place)
        for place, one in enumerate(self.targets):
            if one.returning and one.state is Execution.QUEUED:
                self._offer(place, self.before.back, returning=True)
        open_ones = [one for one in self.targets if one.state not in SETTLED]
        failed = [one for one in self.targets if one.returning and one.state in BAD]
        if not open_ones and failed:
            self._stop(Pause.ERROR_THRESHOLD, f"{len(failed)} did not return")
        elif not open_ones:
            self._end(Status.ROLLED_BACK)

    def _turn(self, place: int) -> None:
        """Whoever has the bundle is to go back; whoever was not asked is asked no more."""
        one = self.targets[place]
        view = self.world.nodes.get(one.node)
        report = None if view is None else view.report
        has_it = one.variant is not None and report is not None
        has_it = has_it and report.active.sha256 == one.variant.sha256  # type: ignore[union-attr]
        asked = one.node in self.flying
        if one.state in GOOD or (has_it and one.state in SETTLED and not asked):
            self.targets[place] = replace(one, returning=True)
            self._move(place, Execution.QUEUED, "returning")
        elif one.state in (Execution.QUEUED, Execution.SKIPPED) or (
            one.state is Execution.OFFERED and one.reported is None
        ):
            self.targets[place] = replace(one, standing=False)
            self._move(place, Execution.CANCELED, "withdrawn")
        elif one.standing and one.state in UNDER_WAY and one.reported not in LIVE:
            self.targets[place] = replace(one, standing=False)


def healthy(view: NodeView) -> bool:
    """Whether a zone may rely on this node while another one is updated."""
    proven = view.report is None or view.report.proven
    return view.online and view.hearing and proven and not _at_work(view)


def _at_work(view: NodeView) -> bool:
    return view.busy or (view.report is not None and view.report.state in RUNNING)


def wound(rings: list[Ring] | tuple[Ring, ...], now_us: int) -> tuple[Ring, ...]:
    """``rings`` with the clocks of those that are on set anew: a pause is no part of their time."""
    begun = (RingState.ACTIVE, RingState.SOAKING)
    return tuple(replace(one, clock_us=now_us) if one.state in begun else one for one in rings)
