"""The alert engine: looks at every incident that may have to be told, and hands what is due to the channels.

It decides nothing; :mod:`tocsin_hub.alerts.rules` does. What is sent is written down first, so that a hub
that dies forgets nobody; if the database cannot be written, the message goes out all the same.
"""

import logging
import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import tzinfo
from functools import partial

from ulid import ULID

from tocsin_hub.alerts import keeping, rules
from tocsin_hub.alerts.keeping import Result
from tocsin_hub.alerts.limits import RoadLimits
from tocsin_hub.alerts.model import (
    NO_CHANNEL,
    NO_ROOM,
    STARTED_ANEW,
    Alert,
    Channel,
    ChannelName,
    Delivery,
    Message,
    Told,
)
from tocsin_hub.alerts.reading import AlertReading, PolicySet
from tocsin_hub.alerts.roads import Road, is_loud, roads_of
from tocsin_hub.alerts.rules import Plan, Send, Site
from tocsin_hub.incidents.model import Incident, IncidentSeverity, LogLine, Step
from tocsin_hub.people.model import Person, Role
from tocsin_hub.recorder import Recorder
from tocsin_hub.threads import end_process, start_thread
from tocsin_hub.writer import Outcome, Work, Writer
from tocsin_shared.errors import UnavailableError

_Outcome = tuple[ChannelName, Message, int, str | None]
"""By which channel, what, when, and why it failed if it did."""
WRITE_SECONDS = 2.0
"""A database that takes longer does not hold an alert back."""
LOOK_SECONDS = 10.0
"""Everything is looked at anew at least this often: shifts begin, pages are opened, people are added."""
BUSY_SECONDS = 0.5
"""While messages are under way, overdue ones are looked for this often."""

_INCIDENTS = "the alert engine cannot read the database: %s; it goes on with what it knows"
_PEOPLE = "people cannot be read: %s; those are told who were known before"
_POLICIES = "policies cannot be read: %s; the last ones hold"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SiteFacts:
    """What the engine must know of its site; every call may ask the database."""

    people: Callable[[], Sequence[Person]]
    room_of: Callable[[Incident], str]
    """The room that is the likely origin, for people."""
    time_zone: tzinfo | None
    cleared_seconds: float = rules.CLEARED_SECONDS


@dataclass(frozen=True)
class _Batch:
    """What is written down before it is sent."""

    alerts: tuple[Alert, ...] = ()
    deliveries: tuple[tuple[Delivery, str | None], ...] = ()
    lines: tuple[LogLine, ...] = ()

    def told(self, incident: str, known: Iterable[Alert]) -> list[Told]:
        """The same as what was told."""
        alerts = {one.id: one for one in (*known, *self.alerts)}
        by_alert: dict[str, list[Delivery]] = {}
        for delivery, _ in self.deliveries:
            by_alert.setdefault(delivery.alert, []).append(delivery)
        return [
            Told(alerts[key], tuple(made))
            for key, made in by_alert.items()
            if key in alerts and alerts[key].incident == incident
        ]


@dataclass
class _Memory:
    """What is known without the database, for as long as that cannot be asked."""

    incidents: dict[str, Incident] = field(default_factory=dict)
    told: dict[str, tuple[Told, ...]] = field(default_factory=dict)
    people: Sequence[Person] = ()
    policies: PolicySet | None = None
    unwritten: list[_Batch] = field(default_factory=list)


class Engine:
    """One thread that plans, and threads for each channel. :meth:`on_incident` never waits."""

    def __init__(
        self,
        *,
        reading: AlertReading,
        writer: Writer,
        channels: Sequence[Channel],
        facts: SiteFacts,
        secret: bytes,
        clock: Callable[[], int],
        limits: RoadLimits | None = None,
    ) -> None:
        self._reading = reading
        self._writer = writer
        self._facts = facts
        self._secret = secret
        self._clock = clock
        self.roads: dict[ChannelName, Road] = roads_of(channels, limits or RoadLimits(), self._report)
        self._lock = threading.Lock()
        self._fresh: dict[str, Incident | None] = {}
        self._due: dict[str, int] = {}
        self._results: queue.SimpleQueue[_Outcome] = queue.SimpleQueue()
        self._unwritten_results: list[Result] = []
        self._complained: set[tuple[str, ChannelName]] = set()
        self._unread: set[str] = set()
        """What cannot be read at the moment, as it was logged."""
        self._memory = _Memory()
        self._looked_us: int | None = None
        self._turning = False
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, on_death: Callable[[str], None] = end_process) -> None:
        """Start all threads; what a former hub left open is taken up."""
        for road in self.roads.values():
            road.start(on_death)
        self._wake.set()
        self._thread = start_thread("alerts", self._run, on_death)

    def stop(self) -> None:
        """End all threads; what is under way is taken up at the next start."""
        self._stopping.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(2 * WRITE_SECONDS + 1.0)
        for road in self.roads.values():
            road.stop()

    def on_incident(self, incident: Incident) -> None:
        """An incident changed and is on the disk; look at it soon."""
        with self._lock:
            self._fresh[incident.id] = incident
        self._wake.set()

    def look_again(self) -> None:
        """People or policies changed; look at everything soon."""
        self._looked_us = None
        self._memory.policies = None
        self._wake.set()

    @property
    def idle(self) -> bool:
        """Whether nothing is under way, and nothing waits to be looked at or written down."""
        waiting = any(road.waiting for road in self.roads.values()) or not self._results.empty()
        unwritten = bool(self._memory.unwritten or self._unwritten_results)
        looked = (
            self._looked_us is not None and not self._fresh and not self._wake.is_set() and not self._turning
        )
        return looked and not waiting and not unwritten

    def people(self) -> Sequence[Person]:
        """The people whom the engine may tell."""
        return self._facts.people()

    def site(self) -> Site:
        """The site as the rules take it."""
        sound = self._memory.policies is None or not self._memory.policies.unreadable
        return Site(self._facts.time_zone, self._reaches, self._facts.cleared_seconds, sound)

    def _reaches(self, channel: ChannelName, person: Person | None) -> bool:
        road = self.roads.get(channel)
        if road is None:
            return False
        try:
            return road.channel.reaches(person)
        except Exception:  # in doubt it is tried
            log.exception("the channel %s does not know whom it reaches", channel)
            return True

    def _report(self, channel: ChannelName, message: Message, error: str | None) -> None:
        self._results.put((channel, message, self._clock(), error))
        if error is not None:
            self._wake.set()
        # What was taken is only written down: waking this thread for each of hundreds holds up the others.

    def _run(self) -> None:
        self._resume()
        while not self._stopping.is_set():
            self._wake.wait(self._pause())
            self._turning = True
            self._wake.clear()
            if not self._stopping.is_set():
                self._turn()
            self._turning = False

    def _turn(self) -> None:
        """Whatever is due now. Alarms first: results only make the next turn wiser."""
        for road in self.roads.values():
            road.give_up_overdue()
        for incident in self._to_look_at():
            self._look_at(incident)
        self._write_unwritten()
        self._write_results()

    def _pause(self) -> float:
        """How long nothing is due, seconds."""
        now_us = self._clock()
        busy = any(road.waiting for road in self.roads.values()) or not self._results.empty()
        unwritten = self._memory.unwritten or self._unwritten_results
        longest = BUSY_SECONDS if busy or unwritten else LOOK_SECONDS
        next_us = min(self._due.values(), default=now_us + round(LOOK_SECONDS * 1e6))
        return min(longest, max(0.0, (next_us - now_us) / 1e6))

    def _to_look_at(self) -> list[Incident]:
        """Incidents that changed, those whose time has come, and now and then all that wait; worst first."""
        now_us = self._clock()
        with self._lock:
            fresh, self._fresh = self._fresh, {}
        due = [key for key, at_us in self._due.items() if at_us <= now_us]
        everything = self._looked_us is None or abs(now_us - self._looked_us) >= LOOK_SECONDS * 1e6
        found: dict[str, Incident] = {}
        try:
            if everything:
                found = {one.id: one for one in self._reading.waiting(self._cleared_after_us(now_us))}
                self._looked_us = now_us
                self._forget(found)
            for key in {*fresh, *due} - set(found):
                # What the database does not take is told all the same: it may be about this very database.
                known = self._reading.incident(key) or fresh.get(key)
                found |= {} if known is None else {key: known}
            self._unread.discard(_INCIDENTS)
        except UnavailableError as error:
            self._complain(_INCIDENTS, error)
            found = {**self._memory.incidents, **{key: one for key, one in fresh.items() if one is not None}}
        for key in set(due) - set(found):
            del self._due[key]
        severities = list(IncidentSeverity)
        return sorted(found.values(), key=lambda one: (severities.index(one.severity), -one.opened_us))

    def _cleared_after_us(self, now_us: int) -> int:
        return now_us - round(self._facts.cleared_seconds * 1e6)

    def _forget(self, waiting: dict[str, Incident]) -> None:
        """Let go of what nobody waits for any more."""
        self._memory.incidents = {key: one for key, one in self._memory.incidents.items() if key in waiting}
        self._memory.told = {key: one for key, one in self._memory.told.items() if key in waiting}
        if len(self._complained) > 10_000:
            self._complained.clear()

    def _look_at(self, incident: Incident) -> None:
        now_us = self._clock()
        told, lines = self._case(incident)
        people, policies = self._people(), self._policies()
        try:
            plan = rules.plan(
                incident,
                lines,
                policies=policies.policies,
                people=people,
                told=told,
                now_us=now_us,
                site=self.site(),
            )
        except Exception:  # a fault in the rules must not keep an alarm back
            log.exception("incident %s cannot be judged; everybody is told", incident.id)
            plan = rules.last_resort(incident, people, told, now_us, self.site())
        self._stamp(rules.answers(lines, told))
        self._remember_due(incident.id, plan)
        if plan.sends:
            self._tell(incident, told, plan, people)

    def _remember_due(self, incident: str, plan: Plan) -> None:
        if plan.next_us is None:
            self._due.pop(incident, None)
        else:
            self._due[incident] = plan.next_us

    def _case(self, incident: Incident) -> tuple[tuple[Told, ...], tuple[LogLine, ...]]:
        """Who was told, and what the timeline says; what memory has where the database cannot be asked."""
        try:
            lines = self._reading.log(incident.id)
            told = self._reading.told(incident.id)
        except UnavailableError:
            lines, told = (), self._memory.told.get(incident.id, ())
        known = {one.alert.id: one for one in told}
        for batch in self._memory.unwritten:
            for one in batch.told(incident.id, [each.alert for each in told]):
                before = known.get(one.alert.id, Told(one.alert))
                ids = {each.id for each in before.deliveries}
                more = tuple(each for each in one.deliveries if each.id not in ids)
                known[one.alert.id] = replace(before, deliveries=(*before.deliveries, *more))
        self._memory.incidents[incident.id] = incident
        self._memory.told[incident.id] = tuple(known.values())
        return self._memory.told[incident.id], lines

    def _people(self) -> Sequence[Person]:
        try:
            self._memory.people = self._facts.people()
            self._unread.discard(_PEOPLE)
        except UnavailableError as error:
            self._complain(_PEOPLE, error)
        return self._memory.people

    def _policies(self) -> PolicySet:
        try:
            self._memory.policies = self._reading.policies()
            self._unread.discard(_POLICIES)
        except UnavailableError as error:
            self._complain(_POLICIES, error)
        return self._memory.policies or PolicySet((), own=False)

    def _complain(self, what: str, error: UnavailableError) -> None:
        """Log once that something cannot be read, until it was read again: alarms bring many questions."""
        if what not in self._unread:
            log.error(what, error)
        self._unread.add(what)

    def _tell(self, incident: Incident, told: Sequence[Told], plan: Plan, people: Sequence[Person]) -> None:
        now_us = self._clock()
        batch, sends = self._written_down(incident, told, plan.sends, now_us)
        try:
            self._writer.call(partial(_write, batch=batch), WRITE_SECONDS)
        except UnavailableError as error:
            log.error("alerts of %s cannot be written down: %s; they are sent anyway", incident.id, error)  # noqa: TRY400
            self._memory.unwritten.append(batch)
            self._memory.told[incident.id] = (
                *told,
                *batch.told(incident.id, [one.alert for one in told]),
            )
        messages = self._messages(incident, sends, {one.id: one for one in people}, now_us)
        self._hand_over(messages)
        if any(not send.reachable for send, _ in sends):
            self._look_at_soon({incident.id})  # whom nothing leads to may bring the next step at once

    def _written_down(
        self, incident: Incident, told: Sequence[Told], sends: Sequence[Send], now_us: int
    ) -> tuple[_Batch, list[tuple[Send, Delivery]]]:
        alerts = {one.alert.person: one.alert for one in told}
        before = {(one.alert.person, each.channel) for one in told for each in one.deliveries}
        new: list[Alert] = []
        made: list[tuple[Send, Delivery]] = []
        lines: list[LogLine] = []
        for send in sends:
            if send.person not in alerts:
                alert = Alert(str(ULID()), incident.id, send.person, send.audience, now_us)
                alerts[send.person] = alert
                new.append(alert)
            delivery = Delivery(str(ULID()), alerts[send.person].id, send.channel, now_us)
            if not send.reachable:
                delivery = replace(delivery, failed_us=now_us, error=NO_CHANNEL)
            made.append((send, delivery))
            if (send.person, send.channel) not in before:
                step = Step.ALERTED if send.reachable else Step.UNREACHED
                lines.append(LogLine(incident.id, now_us, step, send.person, detail=str(send.channel)))
        pairs = tuple((one, self._receipt_sha256(one.id)) for _, one in made)
        return _Batch(tuple(new), pairs, tuple(lines)), made

    def _receipt_sha256(self, delivery: str) -> str:
        return keeping.receipt_sha256(keeping.receipt_of(self._secret, delivery))

    def _messages(
        self,
        incident: Incident,
        sends: Iterable[tuple[Send, Delivery]],
        people: dict[str, Person],
        now_us: int,
    ) -> list[tuple[ChannelName, Message]]:
        room = self._room_of(incident)
        candidates = self._candidates(incident)
        return [
            (
                send.channel,
                Message(
                    delivery=delivery.id,
                    alert=delivery.alert,
                    receipt=keeping.receipt_of(self._secret, delivery.id),
                    incident=incident,
                    room=room,
                    candidates=candidates,
                    person=None if send.person is None else people.get(send.person),
                    repeat=send.repeat,
                    seconds_ago=max(0.0, (now_us - incident.opened_us) / 1e6),
                    address=address_of(incident, people.get(send.person or "")),
                ),
            )
            for send, delivery in sends
            if send.reachable
        ]

    def _room_of(self, incident: Incident) -> str:
        try:
            return self._facts.room_of(incident)
        except Exception:  # a name is not worth an alarm
            log.exception("the room of incident %s cannot be named", incident.id)
            return incident.origin_node or incident.zone

    def _candidates(self, incident: Incident) -> tuple[str, ...]:
        try:
            return self._reading.candidates(incident.first_event) or (incident.label,)
        except (UnavailableError, ValueError):
            return (incident.label,)

    def _hand_over(self, messages: Iterable[tuple[ChannelName, Message]]) -> None:
        by_channel: dict[ChannelName, list[Message]] = {}
        for channel, message in messages:
            by_channel.setdefault(channel, []).append(message)
        for channel, portion in by_channel.items():
            for left in self.roads[channel].offer(portion):
                level = logging.CRITICAL if is_loud(left) else logging.WARNING
                log.log(level, "%s: %s is not sent", NO_ROOM, left.delivery)
                self._report(channel, left, NO_ROOM)

    def _stamp(self, answers: dict[str, tuple[int, str]]) -> None:
        if not answers:
            return
        try:
            self._writer.put(_work(partial(keeping.note_answers, answers=answers)), BUSY_SECONDS)
        except UnavailableError as error:
            log.warning("answers are written down later: %s", error)

    def _write_unwritten(self) -> None:
        """Write down what was sent while the database could not be written."""
        while self._memory.unwritten:
            batch = self._memory.unwritten[0]
            try:
                self._writer.call(partial(_write, batch=batch), BUSY_SECONDS)
            except UnavailableError:
                return
            del self._memory.unwritten[0]

    def _write_results(self) -> None:
        """Write down what became of messages; failures make everything be planned anew."""
        results, self._unwritten_results = self._unwritten_results, []
        failed: set[str] = set()
        while True:
            try:
                outcome = self._results.get_nowait()
            except queue.Empty:
                break
            _, message, at_us, error = outcome
            results.append(Result(message.delivery, at_us, error, self._line(outcome)))
            failed |= set() if error is None else {message.incident.id}
        if not results or self._memory.unwritten:
            self._unwritten_results = results  # what is not written down yet cannot be stamped
            return
        work = _work(partial(keeping.note_results, results=results), partial(self._look_at_soon, failed))
        try:
            self._writer.put(work, BUSY_SECONDS)
        except UnavailableError:
            self._unwritten_results = results

    def _look_at_soon(self, incidents: set[str]) -> None:
        if incidents:
            with self._lock:
                for key in incidents:
                    self._fresh.setdefault(key, None)
            self._wake.set()

    def _line(self, outcome: _Outcome) -> LogLine | None:
        """The timeline says once for each person and channel that it does not get through."""
        channel, message, at_us, error = outcome
        if error is None or (message.alert, channel) in self._complained:
            return None
        self._complained.add((message.alert, channel))
        person = None if message.person is None else message.person.id
        return LogLine(message.incident.id, at_us, Step.UNREACHED, person, detail=str(channel))

    def _resume(self) -> None:
        """Send again what a former hub handed to a channel without hearing what became of it."""
        try:
            unsettled = self._reading.unsettled()
        except UnavailableError as error:
            log.error("what a former hub left open cannot be read: %s", error)  # noqa: TRY400
            return
        if unsettled:
            log.warning("%d messages were under way when the hub ended", len(unsettled))
        now_us, people = self._clock(), {one.id: one for one in self._people()}
        given_up: list[Result] = []
        for alert, delivery in unsettled:
            incident = self._still_waiting(alert.incident, now_us)
            if incident is None or delivery.channel not in self.roads:
                given_up.append(Result(delivery.id, now_us, STARTED_ANEW))
            else:
                send = Send(alert.person, alert.audience, delivery.channel)
                self._hand_over(self._messages(incident, [(send, delivery)], people, now_us))
        if given_up:
            self._unwritten_results += given_up

    def _still_waiting(self, key: str, now_us: int) -> Incident | None:
        """The incident, if what was under way about it is still worth sending."""
        try:
            incident = self._reading.incident(key)
        except UnavailableError:
            return self._memory.incidents.get(key)
        if incident is None or incident.acknowledged:
            return None
        over = incident.cleared_us is not None and incident.cleared_us < self._cleared_after_us(now_us)
        return None if over else incident


def address_of(incident: Incident, person: Person | None) -> str:
    """Path of the page that shows ``incident`` to ``person``."""
    watches = person is not None and person.may(Role.OFFICER)
    return f"/incidents/{incident.id}" if watches else f"/me?incident={incident.id}"


def _write(recorder: Recorder, batch: _Batch) -> None:
    keeping.note_sends(recorder, batch.alerts, batch.deliveries, batch.lines)


def _work(write: Callable[[Recorder], None], then: Callable[[], None] | None = None) -> Work:
    def run(recorder: Recorder) -> Outcome:
        write(recorder)
        return Outcome(answer=then)

    return Work(run, lambda _: None)
