"""Rules: who is told of an incident, by which channel and when. Values in, a plan out; time is an argument.

They fail open. A shift, quiet hours, a zone or a policy that cannot be judged never keeps an alert back: it
goes out, to more people rather than to fewer. The database is all that they remember by: what is due is due
because no delivery since then is written down, so a hub that was started anew goes on where it ended.

The end of a sound is not the end of its danger: a scream lasts two seconds, and a detector falls silent when
it burns. So an alarm that was cleared but not acknowledged still climbs its steps, for
:attr:`Site.cleared_seconds`; only who was seen to have it is not told again. Everything below an alarm wakes
nobody any more once it is over.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum
from functools import cached_property

from tocsin_hub.alerts.model import Alert, Audience, ChannelName, Delivery, Policy, PolicyStep, Told
from tocsin_hub.alerts.policies import PERSONAL, fallback, tells_somebody_soon
from tocsin_hub.incidents.model import Answer, Incident, IncidentSeverity, LogLine, Step
from tocsin_hub.people.model import DailySpan, Person, Role

CLEARED_SECONDS = 1800.0
AGAIN_SECONDS = 10.0
HELP_REPEAT_SECONDS = 30.0
PLACE_RETRY_SECONDS = 30.0
LAST_RESORT_SECONDS = 60.0
REHEARSED_SECONDS = 900.0
SHOWN_SECONDS = 10.0
"""What a phone or page has not said to show so long after it was sent counts as not having got through."""
_RECEIPTS = frozenset({ChannelName.PUSH, ChannelName.PAGE})
"""Channels whose other end says that it shows an alert; of the others, being accepted must do."""
_MOST_ROUNDS = 500
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Reason(StrEnum):
    """Why a person is told, or why not."""

    TOLD = "told"
    LATER = "later"
    """A step that has not come yet means her."""
    ANSWERED = "answered"
    ACKNOWLEDGED = "acknowledged"
    CLEARED = "cleared"
    LATE = "late"
    OFF_SHIFT = "off_shift"
    QUIET = "quiet"
    MUTED = "muted"
    OTHER_ZONE = "other_zone"
    DISABLED = "disabled"
    UNREACHABLE = "unreachable"
    """She has no phone, no open page and no address."""
    ENOUGH = "enough"
    """She was told as often as the policy says."""
    NOT_MEANT = "not_meant"
    """No step of the policy means her."""


@dataclass(frozen=True)
class Site:
    """What the rules must know of the site."""

    time_zone: tzinfo | None
    """In which shifts and quiet hours are meant; ``None``: they cannot be judged."""
    reaches: Callable[[ChannelName, Person | None], bool]
    """Whether a channel leads to a person at all; ``None`` is a place, or whoever has a page open."""
    cleared_seconds: float = CLEARED_SECONDS
    """How long after its end an alarm that nobody acknowledged is still told."""
    policies_sound: bool = True
    """Whether every policy of the site could be read."""


@dataclass(frozen=True)
class Send:
    """Somebody is to be told now."""

    person: str | None
    """``None``: a place; with the channel ``page``, whoever has a page open."""
    audience: Audience
    channel: ChannelName
    repeat: int = 0
    """How often she was told before by this channel."""
    reachable: bool = True
    """``False``: nothing leads to her; that is to be written down, and nothing sent."""


@dataclass(frozen=True)
class Plan:
    """What is to be done about one incident."""

    policy: Policy
    sends: tuple[Send, ...]
    next_us: int | None
    """When to plan again if nothing happens; ``None``: nothing more is due."""
    reasons: Mapping[str, Reason] = field(default_factory=dict)
    """For every person, by id."""


@dataclass(frozen=True)
class Telling:
    """One line of a rehearsal: a person would be told."""

    person: str | None
    audience: Audience
    channel: ChannelName
    after_seconds: float
    repeats: int = 0
    """How often again within the rehearsal, if she does not answer."""


@dataclass(frozen=True)
class Rehearsal:
    """What would happen if nobody answered."""

    policy: Policy
    tellings: tuple[Telling, ...]
    reasons: Mapping[str, Reason]


@dataclass(frozen=True)
class Stand:
    """What the timeline of an incident says by now."""

    began_us: int
    """Since when it is as severe as it is."""
    help_us: int | None
    """When somebody last asked for help, if nobody acknowledged that yet."""
    acknowledged: bool
    answers: Mapping[str, Answer]
    """By person; what was said before it grew worse does not count any more."""


def stand(incident: Incident, log: Sequence[LogLine]) -> Stand:
    """What holds now, from the lines of ``log`` in the order in which they were written."""
    began_us, help_us, acknowledged = incident.opened_us, None, False
    answers: dict[str, Answer] = {}
    for line in log:
        # A call for help stands in the timeline by itself, and lets the answers of the others hold.
        worse = line.step in {Step.REOPENED, Step.ESCALATED} and line.person is None
        if worse or line.step is Step.OPENED:
            began_us, acknowledged = line.at_us, False
            answers = {} if worse else answers
        elif line.step is Step.ACKNOWLEDGED:
            help_us, acknowledged = None, True
        elif line.step is Step.ANSWERED and line.person is not None and line.detail in set(Answer):
            answers[line.person] = Answer(line.detail)
            if line.detail == Answer.NEED_HELP:
                help_us, acknowledged = line.at_us, False
    return _completed(Stand(began_us, help_us, acknowledged, answers), incident, log)


def _completed(found: Stand, incident: Incident, log: Sequence[LogLine]) -> Stand:
    """``found`` where the incident's row knows what its timeline does not, and the other way round."""
    steps = {line.step for line in log}
    asked = any(line.detail == Answer.NEED_HELP for line in log)
    help_us = found.help_us
    if incident.help_us is not None and not asked:
        answered = incident.acknowledged_us is not None and incident.acknowledged_us >= incident.help_us
        help_us = None if answered else incident.help_us
    unlogged = incident.acknowledged and Step.ACKNOWLEDGED not in steps and help_us is None
    acknowledged = incident.acknowledged and (found.acknowledged or unlogged)
    return replace(found, help_us=help_us, acknowledged=acknowledged)


def fits(policy: Policy, incident: Incident) -> bool:
    """Whether ``policy`` is one for ``incident``; one that would leave an alarm untold never is."""
    if not policy.enabled or incident.severity not in policy.severities:
        return False
    if policy.zones and incident.zone and incident.zone not in policy.zones:
        return False
    if policy.groups and not policy.groups & {incident.group, incident.label}:
        return False
    return incident.severity is not IncidentSeverity.ALARM or tells_somebody_soon(policy)


def chosen(incident: Incident, policies: Iterable[Policy]) -> Policy:
    """The first enabled policy that fits, or what holds where a site has none."""
    ordered = sorted(policies, key=lambda policy: policy.order)
    return next((policy for policy in ordered if fits(policy, incident)), fallback(incident.severity))


def local_time(us: int, time_zone: tzinfo | None) -> datetime | None:
    """``us`` in the site's time zone; ``None`` where that cannot be told."""
    if time_zone is None:
        return None
    try:
        return (_EPOCH + timedelta(microseconds=us)).astimezone(time_zone)
    except (OverflowError, ValueError, OSError):
        return None


def within(spans: Iterable[DailySpan], local: datetime | None) -> bool | None:
    """Whether ``local`` lies in one of ``spans``; ``None`` where that cannot be judged."""
    if local is None:
        return None
    verdicts = [_covers(span, local) for span in spans]
    if True in verdicts:
        return True
    return None if None in verdicts else False


def _covers(span: DailySpan, local: datetime) -> bool | None:
    start, end = span.start_minute, span.end_minute
    if not (0 <= start < 1440 and 0 <= end <= 1440 and span.days <= set(range(7))):
        return None
    minute, today = local.hour * 60 + local.minute, local.weekday()
    yesterday = (today - 1) % 7
    if start < end:
        return start <= minute < end and _on(span, today)
    return (minute >= start and _on(span, today)) or (minute < end and _on(span, yesterday))


def _on(span: DailySpan, day: int) -> bool:
    return not span.days or day in span.days


@dataclass(frozen=True)
class _Case:
    """All that a plan rests on, and what follows from it at once."""

    incident: Incident
    stand: Stand
    policy: Policy
    people: Sequence[Person]
    told: Sequence[Told]
    now_us: int
    site: Site

    @cached_property
    def loud(self) -> bool:
        """Nothing that a person set keeps this from her."""
        return self.incident.severity is IncidentSeverity.ALARM or self.stand.help_us is not None

    @cached_property
    def began_us(self) -> int:
        """When the steps began to count; never in the future, whatever a clock once said."""
        began_us = self.stand.began_us
        if self.stand.help_us is not None and self.policy.help_tells_zone:
            began_us = max(began_us, self.stand.help_us)
        if began_us <= self.now_us:
            return began_us
        queued = [one.queued_us for told in self.told for one in told.deliveries]
        return min((us for us in queued if us <= self.now_us), default=self.now_us)

    @cached_property
    def ended(self) -> Reason | None:
        """Why nobody is told any more."""
        if self.stand.acknowledged:
            return Reason.ACKNOWLEDGED
        if self.stand.help_us is not None:
            return None
        if self.incident.late:
            return Reason.LATE
        cleared_us = self.incident.cleared_us
        if cleared_us is None:
            return None
        over = not self.loud or self.now_us - cleared_us > self.site.cleared_seconds * 1e6
        return Reason.CLEARED if over else None

    @cached_property
    def enabled(self) -> list[Person]:
        return [person for person in self.people if person.enabled]

    @cached_property
    def local(self) -> datetime | None:
        return local_time(self.now_us, self.site.time_zone)

    @cached_property
    def deliveries(self) -> dict[str | None, list[Delivery]]:
        """What was tried since the steps began to count, by person."""
        tried: dict[str | None, list[Delivery]] = {}
        for told in self.told:
            since = [one for one in told.deliveries if self.began_us <= one.queued_us <= self.now_us]
            tried.setdefault(told.alert.person, []).extend(since)
        return tried

    @cached_property
    def unreached(self) -> dict[str, int]:
        """Who was tried and is not known to be reached, and since when, or from when on, that was in vain."""
        since = {
            person: _in_vain_us(tried)
            for person, tried in self.deliveries.items()
            if person is not None and tried
        }
        return {person: us for person, us in since.items() if us is not None}

    def in_zone(self, person: Person) -> bool:
        # A trouble of the hub itself has no zone; it is everybody's.
        return not self.incident.zone or person.sees(self.incident.zone)

    def on_shift(self, person: Person) -> bool:
        return not person.shift or within(person.shift, self.local) is not False

    def silenced(self, person: Person) -> Reason | None:
        """What keeps ``person`` from being told of this, although a step means her."""
        if person.id in self.stand.answers:
            return Reason.ANSWERED
        if self.loud:
            return None
        if person.muted & {self.incident.label, self.incident.group}:
            return Reason.MUTED
        return Reason.QUIET if person.quiet and within(person.quiet, self.local) is True else None

    def meant(self, audience: Audience) -> list[Person]:
        """The people whom ``audience`` names now."""
        match audience:
            case Audience.IN_ZONE:
                return self._of_zone()
            case Audience.OFFICERS:
                return self._officers()
            case Audience.EVERYBODY:
                return [person for person in self.enabled if self.in_zone(person)] or self.enabled
            case Audience.BUDDIES:
                return self._buddies()
        return []

    def _of_zone(self) -> list[Person]:
        workers = [one for one in self.enabled if one.role is Role.WORKER and self.in_zone(one)]
        # A zone without anybody is likely one that is misspelled somewhere.
        return [one for one in workers or self.enabled if self.on_shift(one)]

    def _officers(self) -> list[Person]:
        all_officers = [one for one in self.enabled if one.may(Role.OFFICER)] or self.enabled
        of_zone = [one for one in all_officers if self.in_zone(one)] or all_officers
        return [one for one in of_zone if self.on_shift(one)] or of_zone

    def _buddies(self) -> list[Person]:
        waiting = {one.buddy for one in self.enabled if one.buddy and self._waits(one)}
        return [one for one in self.enabled if one.id in waiting]

    def _waits(self, person: Person) -> bool:
        """Whether she was told and did not answer, or asked for help."""
        answer = self.stand.answers.get(person.id)
        return answer is Answer.NEED_HELP or (answer is None and bool(self.deliveries.get(person.id)))

    def due_us(self, step: PolicyStep, person: Person) -> int:
        """When ``step`` means ``person``: at its time, or sooner where an alarm did not get through."""
        at_us = self.began_us + _us(step.after_seconds)
        if not self.loud:
            return at_us
        sooner = [self.unreached.get(person.id)]
        if step.audience is Audience.BUDDIES:
            sooner += [self.unreached.get(one.id) for one in self.enabled if one.buddy == person.id]
            sooner += [self.stand.help_us] if self.stand.help_us is not None else []
        if step.audience is Audience.OFFICERS:
            sooner += self.unreached.values()
        tried = [one for one, deliveries in self.deliveries.items() if one is not None and deliveries]
        if step.audience is Audience.EVERYBODY and tried and len(self.unreached) == len(tried):
            sooner += [max(self.unreached.values())]
        return min([at_us, *(max(us, self.began_us) for us in sooner if us is not None)])


def _in_vain_us(tried: Sequence[Delivery]) -> int | None:
    """When it is plain that none of ``tried`` gets through; ``None`` if one did, as far as can be told."""
    if any(one.shown_us is not None or _taken(one) for one in tried):
        return None
    if all(_failed(one) for one in tried):
        return min(one.failed_us or one.queued_us for one in tried)
    return min(one.queued_us for one in tried if not _failed(one)) + _us(SHOWN_SECONDS)


def _taken(delivery: Delivery) -> bool:
    return delivery.accepted_us is not None and delivery.channel not in _RECEIPTS


def _failed(delivery: Delivery) -> bool:
    return delivery.failed_us is not None and delivery.accepted_us is None and delivery.shown_us is None


def _us(seconds: float) -> int:
    return round(seconds * 1e6)


@dataclass(frozen=True)
class _Due:
    """A step that has come for somebody, and when it came."""

    step: PolicyStep
    at_us: int


@dataclass
class _Draft:
    """A plan in the making."""

    sends: dict[tuple[str | None, ChannelName], Send] = field(default_factory=dict)
    times: list[int] = field(default_factory=list)
    reasons: dict[str, Reason] = field(default_factory=dict)
    anybody: bool = False
    """Whether a step that has come means at least one person."""

    def later(self, us: int, now_us: int) -> None:
        if us > now_us:
            self.times.append(us)


def plan(
    incident: Incident,
    log: Sequence[LogLine],
    *,
    policies: Iterable[Policy],
    people: Sequence[Person],
    told: Sequence[Told],
    now_us: int,
    site: Site,
) -> Plan:
    """Who is to be told of ``incident`` now, when to look again, and for everybody why or why not.

    ``log`` is in the order in which it was written; ``told`` is all that was tried so far.
    """
    case = _Case(incident, stand(incident, log), chosen(incident, policies), people, told, now_us, site)
    draft = _Draft()
    if case.ended is None:
        steps = _steps(case)
        for step in steps:
            _apply(case, draft, step, None)
        come = [step for step in steps if case.began_us + _us(step.after_seconds) <= case.now_us]
        if case.loud and not draft.anybody and (come or not steps):
            _widen(case, draft)
    if case.loud and any(send.person and send.channel in _RECEIPTS for send in draft.sends.values()):
        draft.later(case.now_us + _us(SHOWN_SECONDS), case.now_us)  # to see who shows it by then
    _place(case, draft)
    reasons = {person.id: _reason(case, draft, person) for person in people}
    return Plan(case.policy, tuple(draft.sends.values()), min(draft.times, default=None), reasons)


def _steps(case: _Case) -> list[PolicyStep]:
    """The steps for people: those of the policy, and what is added where that may not be enough."""
    steps = [step for step in case.policy.steps if step.audience is not Audience.PLACE]
    if case.stand.help_us is not None:
        # Counted from the call for help, whatever else counts from where.
        after = max(0.0, (case.stand.help_us - case.began_us) / 1e6)
        steps.append(PolicyStep(after, Audience.OFFICERS, PERSONAL, HELP_REPEAT_SECONDS))
    if case.loud and not case.site.policies_sound:
        # The policy that cannot be read may have been the one that told more people.
        steps.append(PolicyStep(0.0, Audience.EVERYBODY, PERSONAL, 60.0))
    return steps


def _apply(case: _Case, draft: _Draft, step: PolicyStep, at_us: int | None) -> None:
    """Add what ``step`` asks for now; ``at_us`` says when it came, ``None`` that it comes in its time."""
    for person in case.meant(step.audience):
        due_us = case.due_us(step, person) if at_us is None else at_us
        if due_us > case.now_us:
            draft.later(due_us, case.now_us)
            draft.reasons.setdefault(person.id, Reason.LATER)
            continue
        draft.anybody = True
        silenced = case.silenced(person)
        if silenced is None:
            _tell(case, draft, _Due(step, due_us), person)
        else:
            draft.reasons[person.id] = silenced
    # Whom a step means may change until it comes.
    draft.later(case.began_us + _us(step.after_seconds), case.now_us)


def _widen(case: _Case, draft: _Draft) -> None:
    """An alarm for which nobody is meant goes on to the next step at once, at last to whoever is there."""
    for step in [*_steps(case), PolicyStep(0.0, Audience.EVERYBODY, PERSONAL, 30.0)]:
        if not draft.anybody:
            _apply(case, draft, step, case.began_us)
    if not draft.anybody:
        step = PolicyStep(0.0, Audience.EVERYBODY, (ChannelName.PAGE,), 30.0)
        _tell_by(case, draft, _Due(step, case.began_us), None, ChannelName.PAGE)


def _tell(case: _Case, draft: _Draft, due: _Due, person: Person) -> None:
    draft.reasons[person.id] = Reason.TOLD
    wanted = [one for one in due.step.channels if one in PERSONAL and case.site.reaches(one, person)]
    if not wanted and case.loud:
        wanted = [one for one in PERSONAL if case.site.reaches(one, person)]
    for channel in wanted:
        _tell_by(case, draft, due, person, channel)
    if not wanted:
        draft.reasons[person.id] = Reason.UNREACHABLE
        channel = next((one for one in due.step.channels if one in PERSONAL), ChannelName.PUSH)
        known = any(key[0] == person.id for key in draft.sends)
        if not known and not case.deliveries.get(person.id):
            draft.sends[person.id, channel] = Send(person.id, due.step.audience, channel, reachable=False)


def _tell_by(case: _Case, draft: _Draft, due: _Due, person: Person | None, channel: ChannelName) -> None:
    """Tell by one channel, unless that was done since it was last due."""
    key = None if person is None else person.id
    tried = [one for one in case.deliveries.get(key, ()) if one.channel is channel]
    last_due_us, next_us = _occurrence(case, due, key)
    if not case.loud and case.policy.most_repeats is not None and len(tried) > case.policy.most_repeats:
        if key is not None:
            draft.reasons[key] = Reason.ENOUGH
        return
    if next_us is not None:
        draft.later(next_us, case.now_us)
    if max((one.queued_us for one in tried), default=-1) < last_due_us - _gap_us(case, due):
        draft.sends.setdefault((key, channel), Send(key, due.step.audience, channel, len(tried)))


def _gap_us(case: _Case, due: _Due) -> int:
    """Who was told by the same channel so shortly before need not be told again for another step."""
    if case.stand.help_us is not None:
        return 0
    longest_us = _us(AGAIN_SECONDS)
    return min(longest_us, _us(due.step.repeat_seconds) // 2) if due.step.repeat_seconds else longest_us


def _occurrence(case: _Case, due: _Due, person: str | None) -> tuple[int, int | None]:
    """When a step that has come was last due by now, and when it is again."""
    due_us, every_us = due.at_us, _us(due.step.repeat_seconds or 0.0)
    over = not case.incident.active and case.stand.help_us is None
    if every_us <= 0 or (over and any(one.shown_us for one in case.deliveries.get(person, ()))):
        return due_us, None
    last_us = due_us + (case.now_us - due_us) // every_us * every_us
    return last_us, last_us + every_us


def _place(case: _Case, draft: _Draft) -> None:
    """The lamps of the zone: on while the incident waits for somebody, off once it does not any more."""
    tried = [one for told in case.told if told.alert.person is None for one in told.deliveries]
    tried = [one for one in tried if one.channel is ChannelName.ACTUATOR and one.queued_us <= case.now_us]
    if not case.incident.zone or not case.site.reaches(ChannelName.ACTUATOR, None):
        return
    if case.ended is not None or not (case.incident.active or case.stand.help_us is not None):
        _place_off(case, draft, tried)
        return
    for step in case.policy.steps:
        due_us = case.began_us + _us(step.after_seconds)
        if step.audience is Audience.PLACE and due_us > case.now_us:
            draft.later(due_us, case.now_us)
        elif step.audience is Audience.PLACE:
            _tell_by(case, draft, _Due(step, due_us), None, ChannelName.ACTUATOR)


def _place_off(case: _Case, draft: _Draft, tried: Sequence[Delivery]) -> None:
    if not tried:
        return
    ends = [case.incident.cleared_us, case.incident.acknowledged_us]
    end_us = min(max((us for us in ends if us is not None), default=case.now_us), case.now_us)
    last = max(tried, key=lambda one: one.queued_us)
    due_us = end_us
    if last.queued_us >= end_us and _failed(last):
        due_us = last.queued_us + _us(PLACE_RETRY_SECONDS)
    elif last.queued_us >= end_us:
        return
    if due_us > case.now_us:
        draft.later(due_us, case.now_us)
    else:
        draft.sends[None, ChannelName.ACTUATOR] = Send(None, Audience.PLACE, ChannelName.ACTUATOR, len(tried))


def _reason(case: _Case, draft: _Draft, person: Person) -> Reason:
    if not person.enabled:
        return Reason.DISABLED
    if case.ended is not None:
        return case.ended
    if person.id in draft.reasons:
        return draft.reasons[person.id]
    if not case.in_zone(person):
        return Reason.OTHER_ZONE
    return Reason.NOT_MEANT if case.on_shift(person) else Reason.OFF_SHIFT


def last_resort(
    incident: Incident, people: Sequence[Person], told: Sequence[Told], now_us: int, site: Site
) -> Plan:
    """A plan that judges nothing, for when the other one cannot be made: an alarm goes to everybody."""
    policy = fallback(incident.severity)
    if incident.severity is not IncidentSeverity.ALARM or incident.acknowledged or incident.late:
        return Plan(policy, (), None)
    recent = {
        (one.alert.person, each.channel)
        for one in told
        for each in one.deliveries
        if abs(now_us - each.queued_us) < _us(LAST_RESORT_SECONDS)
    }
    wanted = [(one.id, each) for one in people if one.enabled for each in PERSONAL if site.reaches(each, one)]
    sends = [Send(key, Audience.EVERYBODY, each) for key, each in wanted if (key, each) not in recent]
    return Plan(policy, tuple(sends), now_us + _us(LAST_RESORT_SECONDS))


def answers(log: Sequence[LogLine], told: Sequence[Told]) -> dict[str, tuple[int, str]]:
    """For each alert that was answered and does not say so yet, by id: when and what.

    An acknowledgement answers for the person who gave it.
    """
    said: dict[str, tuple[int, str]] = {}
    for line in log:
        if line.person is not None and line.step in {Step.ANSWERED, Step.ACKNOWLEDGED}:
            answer = line.detail if line.step is Step.ANSWERED else str(Step.ACKNOWLEDGED)
            said.setdefault(line.person, (line.at_us, answer))
    return {
        one.alert.id: said[one.alert.person]
        for one in told
        if one.alert.answered_us is None and one.alert.person is not None and one.alert.person in said
    }


def rehearse(
    incident: Incident,
    policies: Sequence[Policy],
    people: Sequence[Person],
    site: Site,
    for_seconds: float = REHEARSED_SECONDS,
) -> Rehearsal:
    """What would happen within ``for_seconds`` if ``incident`` opened now and nobody answered."""
    begun_us = now_us = incident.opened_us
    told: dict[str | None, Told] = {}
    tellings: dict[tuple[str | None, ChannelName], Telling] = {}
    found = first = plan(incident, (), policies=policies, people=people, told=(), now_us=now_us, site=site)
    reasons = dict(first.reasons)
    for _ in range(_MOST_ROUNDS):
        for send in found.sends:
            _note(tellings, send, (now_us - begun_us) / 1e6)
            told[send.person] = _with_delivery(told.get(send.person), incident.id, send, now_us)
        reasons |= {key: why for key, why in found.reasons.items() if _says_more(why, reasons.get(key))}
        if found.next_us is None or found.next_us - begun_us > for_seconds * 1e6:
            break
        now_us = found.next_us
        found = plan(
            incident,
            (),
            policies=policies,
            people=people,
            told=tuple(told.values()),
            now_us=now_us,
            site=site,
        )
    ordered = sorted(tellings.values(), key=lambda one: (one.after_seconds, one.person or "", one.channel))
    return Rehearsal(first.policy, tuple(ordered), reasons)


def _says_more(new: Reason, old: Reason | None) -> bool:
    return new is Reason.TOLD or (old is not Reason.TOLD and new is not Reason.ENOUGH)


def _note(tellings: dict[tuple[str | None, ChannelName], Telling], send: Send, seconds: float) -> None:
    if not send.reachable:
        return
    known = tellings.get((send.person, send.channel))
    if known is None:
        made = Telling(send.person, send.audience, send.channel, seconds)
    else:
        made = replace(known, repeats=known.repeats + 1)
    tellings[send.person, send.channel] = made


def _with_delivery(known: Told | None, incident: str, send: Send, now_us: int) -> Told:
    """``known`` after ``send`` was shown at once, or failed at once where nothing leads to her."""
    alert = Alert(f"{send.person}", incident, send.person, send.audience, now_us)
    known = known or Told(alert)
    number = str(len(known.deliveries))
    made = Delivery(number, alert.id, send.channel, now_us, accepted_us=now_us, shown_us=now_us)
    if not send.reachable:
        made = replace(made, accepted_us=None, shown_us=None, failed_us=now_us)
    return replace(known, deliveries=(*known.deliveries, made))
