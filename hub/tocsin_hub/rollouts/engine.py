"""The thread that carries rollouts out: reads, lets the rules decide, writes, and only then publishes.

Everything is a level. Each look reads what stands in the database, and what is to stand at the broker follows
from that alone; so a hub that was killed anywhere, and a broker that was away, are nothing special.
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from ulid import ULID

from tocsin_hub.incidents.desk import Desk
from tocsin_hub.incidents.model import HubTrouble
from tocsin_hub.incidents.reading import Incidents
from tocsin_hub.recorder import Recorder
from tocsin_hub.rollouts import actions, keeping, planning, reading, rules, world
from tocsin_hub.rollouts.actions import Action, IllegalTransitionError
from tocsin_hub.rollouts.drafts import Draft, Offered
from tocsin_hub.rollouts.keeping import ChangedMeanwhileError
from tocsin_hub.rollouts.model import NodeView, Order, Reason, Rollout, Status, World
from tocsin_hub.rollouts.planning import Origin
from tocsin_hub.rollouts.rehearse import Rehearsal, Script, rehearse_rollout
from tocsin_hub.rollouts.reports import Reports, saved
from tocsin_hub.rollouts.trust import Trust
from tocsin_hub.rollouts.views import rollout_json
from tocsin_hub.rooms import Rooms
from tocsin_hub.store import Store
from tocsin_hub.threads import end_process, start_thread
from tocsin_hub.writer import Writer
from tocsin_shared.errors import BadInputError, TocsinError, UnavailableError
from tocsin_shared.events import NodeReported
from tocsin_shared.topics import node_topic
from tocsin_shared.trust.roles import RoleStatus

T = TypeVar("T")
LOOK_SECONDS = 1.0
_LEAST_SECONDS = 0.2
"""Between two looks, however often somebody wakes the thread."""
RENEW_SECONDS = 30.0
SETTLE_US = 2_000_000
"""So long after the broker has come, nodes' retained words are surely there."""
BROKER_LOST_US = 10_000_000
"""A broker that is away for less is no reason to take offers back."""
_TRIES = 5
_AT_ONCE = 10
"""Nodes that are told of a bundle in one look: a hundred that ask for it in one second hold up alarms."""
_PATIENCE = 30
"""Looks that fail one after another before people are told."""
_CLOSED = (Status.ABORTED, Status.ROLLED_BACK, Status.SUPERSEDED)
"""Looked after until no directive of theirs can run any more."""

log = logging.getLogger(__name__)


class UnknownRolloutError(BadInputError):
    """There is no rollout of that id."""


class UpdatesOffError(BadInputError):
    """Nothing goes over the air here."""


class Retains(Protocol):
    """The broker, as far as it is needed here."""

    def publish_retained(self, topic: str, payload: bytes) -> None:
        """Send, to be kept, and wait until the broker has it."""


@dataclass(frozen=True)
class Surroundings:
    """What the engine is built on."""

    store: Store
    writer: Writer
    rooms: Rooms
    incidents: Incidents
    desk: Desk
    broker: Retains
    clock: Callable[[], int]
    """Microseconds of UTC."""
    show: Callable[[dict[str, Any]], None]
    """Shows a rollout that changed to whoever looks at one."""
    two_persons: bool = True
    """Whether another person must approve every rollout."""


class Rollouts:
    """All rollouts of the site. Safe to use from several threads; :meth:`start` adds one of its own.

    Without ``trust`` nothing goes over the air: what was is still told, and whoever wants more is refused.
    """

    def __init__(self, around: Surroundings, trust: Trust | None) -> None:
        self.trust = trust
        self.reports = Reports(saved(around.store))
        self._around = around
        self._woken = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._published: dict[str, int] = {}
        """By node, the number of the directive that the broker surely has; 0 is none."""
        self._afresh = threading.Event()
        """What the broker has is not known."""
        self._done: set[str] = set()
        """Rollouts that are over, and of which nothing can run any more."""
        self._waits: dict[str, tuple[Reason, ...]] = {}
        self._roles: tuple[RoleStatus, ...] = ()
        self._renew_at_us = 0
        self._words: dict[HubTrouble, str] = {}
        """Troubles that stand in the database, by kind; empty words for one that surely does not."""
        self._failures = 0
        """Looks that have failed since the last that went well."""
        self._trouble = ""
        """Why nothing may begin: keys or metadata cannot be used."""

    # -- the thread -----------------------------------------------------------------------------------

    def start(self, on_death: Callable[[str], None] = end_process) -> None:
        """Start the thread, if anything goes over the air here."""
        if self.trust is not None:
            self._thread = start_thread("rollouts", self._run, on_death)

    def stop(self) -> None:
        """End the thread; what is written is written."""
        self._stopping.set()
        self._woken.set()
        if self._thread is not None:
            self._thread.join(10.0)

    def wake(self) -> None:
        """Look soon. From any thread; never waits."""
        self._woken.set()

    def renew_soon(self) -> None:
        """Something new is signed: it goes into snapshot and timestamp at the next look."""
        self._renew_at_us = 0
        self._woken.set()

    def connected(self) -> None:
        """The broker is there again: all that is to stand there is published anew."""
        self._afresh.set()
        self._woken.set()

    def on_report(self, report: NodeReported) -> None:
        """A node has said how it fares, and it is on the disk. From any thread; never waits."""
        if self.reports.take(report):
            self._woken.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._woken.wait(LOOK_SECONDS)
            self._woken.clear()
            self._guarded()
            self._stopping.wait(_LEAST_SECONDS)

    def _guarded(self) -> None:
        """Look; no rollout is worth a hub that does not hear alarms."""
        try:
            self.look()
            self._failures = 0
        except UnavailableError as error:  # it is tried again in a second
            self._failures += 1
            log.info("rollouts wait: %s", error)
            if self._failures >= _PATIENCE:
                self._tell(HubTrouble.ROLLOUT_FAULT, str(error))
        except Exception as error:
            log.exception("rollouts could not go on")
            self._tell(HubTrouble.ROLLOUT_FAULT, f"{type(error).__name__}: {error}")

    def look(self) -> None:
        """Let the rules decide on every rollout, write that down, and make the broker hold what follows."""
        if self.trust is None:
            return
        now_us = self._around.clock()
        self._see_to_trust(self.trust, now_us)
        hearing = self._around.rooms.hearing
        for_us = now_us - hearing.since_us
        if for_us < (SETTLE_US if hearing.connected else BROKER_LOST_US):
            return  # what nodes say is not all there yet, or soon is again
        found = self._open()
        if found:
            self._decide(found, now_us)
        self._publish(self.trust, found.values(), now_us)
        self._tell(HubTrouble.ROLLOUT_FAULT, "")

    def _open(self) -> dict[str, Rollout]:
        """Every rollout of which a directive may run, or that a step may change; oldest first."""
        store = self._around.store
        ids = sorted({*reading.rollouts(store), *reading.rollouts(store, _CLOSED)} - self._done)
        read = [(one, reading.rollout(store, one)) for one in ids]
        return {key: one for key, one in read if one is not None}

    def _decide(self, found: dict[str, Rollout], now_us: int) -> None:
        views, facts = self.views(), self._facts(now_us)
        at_work = {key: world.flying(one, now_us) for key, one in found.items()}
        for key in list(found):
            others = [nodes for other, nodes in at_work.items() if other != key]
            seen = World(world.with_busy(views, others), **facts)
            found[key] = self._step(found, key, seen, now_us)
            at_work[key] = world.flying(found[key], now_us)
            if found[key].status in _CLOSED and not at_work[key]:
                self._done.add(key)

    def _step(self, found: Mapping[str, Rollout], key: str, seen: World, now_us: int) -> Rollout:
        before = found[key]
        decision = rules.step(before, seen, now_us)
        self._waits[key] = tuple(one for one in decision.reasons if one.lasting)
        told = [one for one in decision.reasons if not one.lasting]
        if decision.rollout == before and not told:
            return before
        begins = decision.transition == (Status.SCHEDULED, Status.RUNNING)
        others = _of_the_same_nodes(before, found.values()) if begins else ()

        def write(recorder: Recorder) -> Rollout:
            self._supersede(recorder, others, before.created_by, now_us)
            return keeping.decide(recorder, before, decision, now_us)

        after = self._write(write)
        if isinstance(after, ChangedMeanwhileError):
            raise UnavailableError(str(after))  # read again at the next look
        self._show(after)
        return after

    def _facts(self, now_us: int) -> dict[str, Any]:
        """What at the site may forbid that anything begins."""
        incidents, hearing = self._around.incidents, self._around.rooms.hearing
        lost = not hearing.connected and now_us - hearing.since_us >= BROKER_LOST_US
        ends = min((one.days for one in self._roles), default=None)
        return {
            "alarm_open": world.alarm_open(incidents.open()),
            "drill_open": world.drill_open(incidents.drills(), now_us),
            "degraded": lost or bool(self._around.writer.state.trouble) or bool(self._trouble),
            "metadata_expires_us": None if ends is None else now_us + int(ends * 86_400e6),
        }

    def _publish(self, trust: Trust, found: Sequence[Rollout] | Any, now_us: int) -> None:
        """Make the broker hold the directives that stand in the database, and no others."""
        if not self._around.rooms.hearing.connected:
            return
        if self._afresh.is_set():
            self._afresh.clear()
            self._published.clear()
        orders: dict[str, Order] = {}
        for one in found:
            for order in rules.standing_orders(one, now_us):
                if order.node not in orders or orders[order.node].seq < order.seq:
                    orders[order.node] = order
        known = {record.node for record in self._around.rooms.all()}
        told = 0
        for node in sorted(known | orders.keys() | self._published.keys()):
            wanted = orders.get(node)
            number = 0 if wanted is None else wanted.seq
            if self._published.get(node) != number and (wanted is None or told < _AT_ONCE):
                told += wanted is not None
                payload = b"" if wanted is None else trust.signed(wanted)
                self._around.broker.publish_retained(node_topic(node, "cmd", "desired"), payload)
                self._published[node] = number

    # -- trust ----------------------------------------------------------------------------------------

    def _see_to_trust(self, trust: Trust, now_us: int) -> None:
        """Sign what is due, and tell what expires or cannot be used."""
        if 0 <= self._renew_at_us - now_us <= RENEW_SECONDS * 1e6:
            return
        self._renew_at_us = now_us + int(RENEW_SECONDS * 1e6)
        words = []
        try:
            if done := trust.renew(now_us):
                log.info("signed: %s", ", ".join(done))
            trust.check_director()
        except TocsinError as error:
            words.append(str(error))
        self._trouble = "; ".join(words)
        with suppress(TocsinError):  # said above
            self._roles = trust.status(now_us)
            words += [f"{one.role} {one.words}" for one in self._roles if one.words]
        self._tell(HubTrouble.TRUST_EXPIRES, "; ".join(words))

    def _tell(self, kind: HubTrouble, words: str) -> None:
        """Open, change or end the trouble ``kind``, unless it stands so in the database."""
        if self._words.get(kind) == words:
            return
        try:
            if words:
                log.error("%s: %s", kind, words)
                self._around.desk.open_trouble(kind, "", words[:500])
            else:
                self._around.desk.close_trouble(kind, "")
        except UnavailableError as error:
            log.info("%s is told later: %s", kind, error)
        else:
            self._words[kind] = words

    @property
    def roles(self) -> tuple[RoleStatus, ...]:
        """How every role of the repository stood when it was last looked at."""
        return self._roles

    # -- what people do -------------------------------------------------------------------------------

    def trusted(self) -> Trust:
        """The repository and the hub's keys.

        Raises:
            UpdatesOffError: nothing goes over the air here.
        """
        if self.trust is None:
            raise UpdatesOffError("nothing goes over the air here: set [updates] repository and keys")
        return self.trust

    def bundles(self) -> tuple[Offered, ...]:
        """Every signed release that can be rolled out; none where nothing goes over the air.

        Raises:
            SettingsError: the repository cannot be read.
        """
        return () if self.trust is None else self.trust.offered()

    def create(self, draft: Draft, by: str, now_us: int) -> str:
        """Plan the rollout that ``draft`` asks for; it waits for approval. Its id.

        Raises:
            UpdatesOffError: nothing goes over the air here.
            BadInputError: it names what is not there, or what nodes would refuse.
            SettingsError: the repository cannot be read.
            UnavailableError: the database did not take it.
        """
        made = self._planned(draft, by, now_us)
        submitted = actions.act(made, Action.SUBMIT, by, now_us)

        def write(recorder: Recorder) -> Rollout:
            keeping.create(recorder, made, by)
            return keeping.change(recorder, made, submitted, action="submit", person=by, at_us=now_us)

        written = self._write(write)
        if isinstance(written, ChangedMeanwhileError):
            raise written
        self._show(written)
        return made.id

    def _planned(self, draft: Draft, by: str, now_us: int) -> Rollout:
        trust = self.trusted()
        with suppress(TocsinError):  # it is told by the thread; what is signed can be planned all the same
            trust.renew(now_us)
        origin = Origin(str(ULID()), by, now_us, self._around.two_persons)
        return planning.planned(draft, trust.offered(), self.views(), origin)

    def rehearse(self, draft: Draft, script: Script, seed: int = 0) -> Rehearsal:
        """What would happen to the rollout that ``draft`` asks for, with the faults of ``script``.

        Raises:
            BadInputError, SettingsError: as :meth:`create`, or the script names what is not there.
        """
        now_us = self._around.clock()
        return rehearse_rollout(self._planned(draft, "rehearsal", now_us), self.views(), script, seed)

    def act(self, rollout_id: str, action: Action, by: str, now_us: int) -> Rollout:
        """Do what a person says; the rollout as it stands then.

        Raises:
            UnknownRolloutError: there is none of that id.
            IllegalTransitionError: it cannot be done in this status, or not by this person.
            UpdatesOffError: nothing goes over the air here.
            UnavailableError: the database did not take it.
        """
        self.trusted()
        changed = ChangedMeanwhileError(f"rollout {rollout_id} is being changed by others; try again")
        for _ in range(_TRIES):
            after = self._acted(rollout_id, action, by, now_us)
            if not isinstance(after, ChangedMeanwhileError):
                self._done.discard(rollout_id)
                self._show(after)
                self.wake()
                return after
            changed = after
        raise changed

    def _acted(
        self, rollout_id: str, action: Action, by: str, now_us: int
    ) -> Rollout | ChangedMeanwhileError:
        before = self.get(rollout_id)
        try:
            wanted = actions.act(before, action, by, now_us)
        except IllegalTransitionError:
            self._around.writer.call(
                lambda recorder: keeping.refused(recorder, before, str(action), by, now_us)
            )
            raise
        # Whatever else the same nodes were to run is over with this.
        begins = action in (Action.START, Action.ROLLBACK)
        others = _of_the_same_nodes(before, self._open().values()) if begins else ()

        def write(recorder: Recorder) -> Rollout:
            self._supersede(recorder, others, by, now_us)
            return keeping.change(recorder, before, wanted, action=str(action), person=by, at_us=now_us)

        return self._write(write)

    def _supersede(self, recorder: Recorder, others: Sequence[Rollout], by: str, now_us: int) -> None:
        for one in others:
            after = actions.act(one, Action.SUPERSEDE, by, now_us)
            keeping.change(recorder, one, after, action="supersede", person=by, at_us=now_us)

    def _write(self, write: Callable[[Recorder], T]) -> T | ChangedMeanwhileError:
        """Write all of it or nothing; the writer itself goes on whatever becomes of it."""

        def guarded(recorder: Recorder) -> T | ChangedMeanwhileError:
            execute = recorder.database.execute
            execute("SAVEPOINT rollout")
            try:
                result: T | ChangedMeanwhileError = write(recorder)
            except ChangedMeanwhileError as error:
                execute("ROLLBACK TO rollout")
                result = error
            execute("RELEASE rollout")
            return result

        return self._around.writer.call(guarded)

    # -- what is shown --------------------------------------------------------------------------------

    def get(self, rollout_id: str) -> Rollout:
        """The rollout of that id.

        Raises:
            UnknownRolloutError: there is none.
            UnavailableError: the database cannot be used at the moment.
        """
        found = reading.rollout(self._around.store, rollout_id)
        if found is None:
            raise UnknownRolloutError(f"there is no rollout {rollout_id[:40]}")
        return found

    def newest(self, limit: int = 100) -> list[Rollout]:
        """The newest rollouts, the newest first.

        Raises:
            UnavailableError: the database cannot be used at the moment.
        """
        store = self._around.store
        ids = reading.rollouts(store, tuple(Status))[::-1][:limit]
        return [one for one in (reading.rollout(store, key) for key in ids) if one is not None]

    def statuses(self) -> dict[Status, int]:
        """How many rollouts stand where.

        Raises:
            UnavailableError: the database cannot be used at the moment.
        """
        rows = self._around.store.rows("SELECT status, count(*) FROM rollouts GROUP BY status")
        return {Status(status): count for status, count in rows}

    def views(self) -> dict[str, NodeView]:
        """What is known of every node now.

        Raises:
            UnavailableError: the database cannot be used at the moment.
        """
        seqs = reading.seqs(self._around.store)
        return world.node_views(self._around.rooms.all(), self.reports.all(), seqs)

    def shown(self, rollout: Rollout, *, log_too: bool = True) -> dict[str, Any]:
        """``rollout`` as pages, the API and the live channel tell it.

        Raises:
            UnavailableError: the database cannot be used at the moment.
        """
        lines = reading.log_of(self._around.store, rollout.id)
        persons = {rollout.created_by, rollout.approved_by, *(line.person for line in lines)} - {None}
        made = rollout_json(
            rollout,
            nodes=self.views(),
            rooms=self._around.rooms,
            names=self._around.incidents.names([one for one in persons if one is not None]),
            log=lines,
            waits=self._waits.get(rollout.id, ()),
        )
        return made if log_too else made | {"log": []}

    def _show(self, rollout: Rollout) -> None:
        with suppress(UnavailableError):  # whoever looks asks again
            self._around.show(self.shown(rollout))


def _of_the_same_nodes(rollout: Rollout, found: Sequence[Rollout] | Any) -> tuple[Rollout, ...]:
    """Rollouts that have begun, may still change something, and share a node with ``rollout``."""
    nodes = {one.node for one in rollout.targets}
    begun = actions.ALLOWED[Action.SUPERSEDE] - {Status.DRAFT, Status.AWAITING_APPROVAL, Status.SCHEDULED}
    return tuple(
        one
        for one in found
        if one.id != rollout.id and one.status in begun and any(two.node in nodes for two in one.targets)
    )
