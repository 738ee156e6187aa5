"""Alerts, policies and time to awareness over HTTP."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import wraps
from typing import Annotated

import msgspec
from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue
from msgspec import Meta

from tocsin_hub.alerts import editing
from tocsin_hub.alerts.awareness import BOUNDS_SECONDS, BUDGET_SECONDS, Hop, figures
from tocsin_hub.alerts.editing import Trial
from tocsin_hub.alerts.model import Audience, ChannelName, Policy, Told
from tocsin_hub.alerts.passages import passages
from tocsin_hub.alerts.policies import MOST_POLICIES, PolicyDocument, StepDocument, checked, to_document
from tocsin_hub.alerts.rules import Reason, Telling
from tocsin_hub.api.parts import P, View, described, needs, problem, who
from tocsin_hub.incidents.model import Incident, IncidentKind, IncidentSeverity
from tocsin_hub.people import audit
from tocsin_hub.people.model import Role
from tocsin_hub.recorder import Recorder
from tocsin_hub.services import Services, services
from tocsin_hub.store import MAX_PAGE
from tocsin_hub.times import from_us, iso
from tocsin_shared.errors import BadInputError
from tocsin_shared.events import Ulid, Zone

DEFAULT_PAGE = 50

alerts = Blueprint("alerts", __name__)

Key = Annotated[str, Meta(min_length=1, max_length=64)]


class PolicyShown(msgspec.Struct, kw_only=True):
    """One policy with its id and its place in the order."""

    id: str
    order: int
    name: str
    severities: list[IncidentSeverity]
    zones: list[str]
    groups: list[str]
    steps: list[StepDocument]
    most_repeats: int | None
    help_tells_zone: bool
    enabled: bool


class PolicyList(msgspec.Struct):
    """The policies that hold; the first enabled one that fits an incident is used."""

    policies: list[PolicyShown]
    own: bool
    """Whether the site has set them; else they are those that a site starts with."""
    unreadable: list[str]


class PolicyKept(msgspec.Struct):
    """A policy that was kept."""

    id: str


class Move(msgspec.Struct, forbid_unknown_fields=True):
    """How many places a policy comes later; below 0, earlier."""

    by: Annotated[int, Meta(ge=-100, le=100)]


class TrialAsked(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What is tried, with the policies that hold or with a draft of one that is not saved yet."""

    label: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,63}(?!\n)$")]
    kind: IncidentKind = IncidentKind.SOUND
    zone: Zone | None = None
    weekday: Annotated[int, Meta(ge=0, le=6)]
    """Monday is 0, in the site's time zone."""
    minute: Annotated[int, Meta(ge=0, le=1439)]
    """Of the day."""
    drill: bool = False
    help: bool = False
    draft: PolicyDocument | None = None
    draft_of: Key | None = None
    """Id of the policy that the draft would replace."""


class TellingShown(msgspec.Struct):
    """Somebody would be told."""

    person: str | None
    name: str
    audience: Audience
    channel: ChannelName
    after_seconds: float
    repeats: int


class VerdictShown(msgspec.Struct):
    """Why a person would be told, or why not."""

    person: str
    name: str
    reason: Reason


class TrialShown(msgspec.Struct):
    """What would happen if nobody answered."""

    policy: str
    policy_name: str
    severity: IncidentSeverity
    tellings: list[TellingShown]
    people: list[VerdictShown]


class DeliveryShown(msgspec.Struct):
    """One try to reach somebody."""

    id: str
    channel: ChannelName
    queued: str
    accepted: str | None
    shown: str | None
    failed: str | None
    error: str


class AlertShown(msgspec.Struct):
    """One person, or the lamps of a zone, and all that was tried."""

    id: str
    person: str | None
    name: str
    audience: Audience
    created: str
    answered: str | None
    answer: str | None
    deliveries: list[DeliveryShown]


class AlertList(msgspec.Struct):
    """Who was told of an incident."""

    alerts: list[AlertShown]


class MyAlertShown(msgspec.Struct):
    """One alert of the person who asks."""

    id: str
    created: str
    answered: str | None
    answer: str | None
    accepted: str | None
    shown: str | None
    missed: bool
    """No device of hers showed it, and she did not answer."""
    incident: str
    kind: IncidentKind
    label: str
    severity: IncidentSeverity
    zone: str
    room: str
    drill: bool
    opened: str
    cleared: str | None
    acknowledged: str | None


class MyAlerts(msgspec.Struct):
    """Alerts, the newest first; ``next`` is where the older ones begin."""

    alerts: list[MyAlertShown]
    next: str | None


class MyAlertsQuery(msgspec.Struct, forbid_unknown_fields=True):
    """Which of them."""

    before: Ulid | None = None
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE)] = DEFAULT_PAGE


class AwarenessQuery(msgspec.Struct, forbid_unknown_fields=True):
    """Of how many days, and whether drills count."""

    days: Annotated[int, Meta(ge=1, le=366)] = 30
    drills: bool = True


class HopShown(msgspec.Struct):
    """How long it took from the onset to one hop, seconds."""

    hop: Hop
    count: int
    bars: list[int]
    p50: float | None
    p95: float | None
    p99: float | None
    within: float | None
    leg_p50: float | None


class AwarenessShown(msgspec.Struct):
    """Time to awareness; each bar counts what took no longer than its bound, the last one the rest."""

    budget_seconds: float
    bounds_seconds: list[float]
    hops: list[HopShown]


def for_admins(view: View[P]) -> View[P]:
    """Refuses who is not an admin of the whole site: a policy is for all zones."""

    @wraps(view)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> ResponseReturnValue:
        if who().zones:
            return problem(403, "not_allowed", "This needs an admin of all zones.")
        return view(*args, **kwargs)

    return needs(Role.ADMIN)(guarded)


@alerts.get("/policies")
@for_admins
@described("policies", answer=PolicyList)
def list_policies() -> ResponseReturnValue:
    """The policies that hold, in their order."""
    found = services().alerts.policies()
    shown = [policy_json(one) for one in found.policies]
    return jsonify(policies=shown, own=found.own, unreadable=list(found.unreadable))


@alerts.post("/policies")
@for_admins
@described("policies", body=PolicyDocument, answer=PolicyKept, status=201, judged=True)
def add_policy() -> ResponseReturnValue:
    """Keep one more policy, before all others."""
    document: PolicyDocument = request.context.json  # type: ignore[attr-defined]
    key = editing.new_key()
    checked(key, 1, document)
    if not _written(key, "saved", lambda recorder, now_us: editing.add(recorder, key, document, now_us)):
        raise BadInputError(f"there are {MOST_POLICIES} policies already; delete one first")
    return jsonify(id=key), 201


# Five letters at least keep this path apart from /policies/test, which allows other methods.
@alerts.put("/policies/<string(minlength=5):policy>")
@for_admins
@described("policies", body=PolicyDocument, answer=PolicyKept, judged=True)
def change_policy(policy: str) -> ResponseReturnValue:
    """Keep this in place of a policy."""
    document: PolicyDocument = request.context.json  # type: ignore[attr-defined]
    checked(policy, 1, document)
    return _edited(
        policy, "saved", lambda recorder, now_us: editing.change(recorder, policy, document, now_us)
    )


@alerts.delete("/policies/<string(minlength=5):policy>")
@for_admins
@described("policies", answer=PolicyKept)
def delete_policy(policy: str) -> ResponseReturnValue:
    """Forget a policy; without any, those hold that a site starts with."""
    return _edited(policy, "deleted", lambda recorder, now_us: editing.delete(recorder, policy, now_us))


@alerts.post("/policies/<policy>/move")
@for_admins
@described("policies", body=Move, answer=PolicyKept, judged=True)
def move_policy(policy: str) -> ResponseReturnValue:
    """Let a policy come earlier or later in the order."""
    asked: Move = request.context.json  # type: ignore[attr-defined]
    return _edited(policy, "moved", lambda recorder, now_us: editing.move(recorder, policy, asked.by, now_us))


def _edited(policy: str, done: str, edit: Callable[[Recorder, int], bool]) -> ResponseReturnValue:
    return jsonify(id=policy) if _written(policy, done, edit) else _missing()


def _written(policy: str, done: str, edit: Callable[[Recorder, int], bool]) -> bool:
    hub, noted = services(), audit.noting(f"policy.{done}", policy)

    def write(recorder: Recorder) -> bool:
        if not edit(recorder, hub.clock()):
            return False
        noted(recorder)
        return True

    written = hub.writer.call(write)
    hub.engine.look_again()
    return written


@alerts.post("/policies/test")
@for_admins
@described("policies", body=TrialAsked, answer=TrialShown, judged=True)
def try_policies() -> ResponseReturnValue:
    """Who would be told what, and when, if nobody answered; nothing is sent and nothing kept."""
    asked: TrialAsked = request.context.json  # type: ignore[attr-defined]
    hub = services()
    site = hub.engine.site()
    found = hub.alerts.policies().policies
    if asked.draft is not None:
        found = editing.with_draft(found, asked.draft_of, asked.draft)
    at_us = editing.moment_us(site, asked.weekday, asked.minute, from_us(hub.clock()))
    trial = Trial(asked.label, asked.kind, asked.zone or "", at_us, asked.drill, asked.help)
    people = hub.engine.people()
    shown = editing.tried(trial, found, people, site)
    names = {person.id: person.name for person in people}
    return jsonify(
        policy=shown.policy.id,
        policy_name=shown.policy.name,
        severity=str(editing.incident_of(trial).severity),
        tellings=[telling_json(one, names) for one in shown.tellings],
        people=[
            {"person": key, "name": names.get(key, ""), "reason": str(why)}
            for key, why in shown.reasons.items()
        ],
    )


@alerts.get("/incidents/<incident>/alerts")
@needs(Role.OFFICER)
@described("alerts", answer=AlertList)
def incident_alerts(incident: str) -> ResponseReturnValue:
    """Who was told of an incident, by what, and whether it reached her."""
    hub = services()
    if hub.incidents.get(incident, who().zones) is None:
        return _missing()
    told = hub.alerts.told(incident)
    names = hub.incidents.names(one.alert.person for one in told if one.alert.person)
    return jsonify(alerts=[told_json(one, names) for one in told])


@alerts.get("/me/alerts")
@described("alerts", query=MyAlertsQuery, answer=MyAlerts)
def my_alerts() -> ResponseReturnValue:
    """What the person who asks was told, the newest first; what she missed is marked."""
    query: MyAlertsQuery = request.context.query  # type: ignore[attr-defined]
    hub = services()
    found = hub.alerts.of_person(who().id, query.before, query.limit)
    last = found[-1].told.alert.id if len(found) == query.limit else None
    return jsonify(alerts=[_mine_json(one.told, one.incident, hub) for one in found], next=last)


@alerts.get("/awareness")
@needs(Role.OFFICER)
@described("alerts", query=AwarenessQuery, answer=AwarenessShown)
def awareness() -> ResponseReturnValue:
    """How long it takes from the onset of a sound until somebody knows, hop by hop; of the newest 5,000."""
    query: AwarenessQuery = request.context.query  # type: ignore[attr-defined]
    hub = services()
    since_us = hub.clock() - query.days * 86_400_000_000
    found = figures(passages(hub.store, since_us, drills=query.drills))
    return jsonify(
        budget_seconds=BUDGET_SECONDS,
        bounds_seconds=list(BOUNDS_SECONDS),
        hops=[{**asdict(one), "hop": str(one.hop), "bars": list(one.bars)} for one in found],
    )


def policy_json(policy: Policy) -> dict[str, object]:
    """A policy as the API shows it."""
    document: dict[str, object] = msgspec.to_builtins(to_document(policy))
    document.pop("schema")
    return {"id": policy.id, "order": policy.order, **document}


def telling_json(telling: Telling, names: Mapping[str, str]) -> dict[str, object]:
    """One line of a rehearsal."""
    return {
        "person": telling.person,
        "name": names.get(telling.person or "", ""),
        "audience": str(telling.audience),
        "channel": str(telling.channel),
        "after_seconds": round(telling.after_seconds, 3),
        "repeats": telling.repeats,
    }


def told_json(told: Told, names: Mapping[str, str]) -> dict[str, object]:
    """Who was told, and every try."""
    alert = told.alert
    return {
        "id": alert.id,
        "person": alert.person,
        "name": names.get(alert.person or "", ""),
        "audience": str(alert.audience),
        "created": iso(alert.created_us),
        "answered": iso(alert.answered_us),
        "answer": alert.answer,
        "deliveries": [
            {
                "id": one.id,
                "channel": str(one.channel),
                "queued": iso(one.queued_us),
                "accepted": iso(one.accepted_us),
                "shown": iso(one.shown_us),
                "failed": iso(one.failed_us),
                "error": one.error,
            }
            for one in told.deliveries
        ],
    }


def _mine_json(told: Told, incident: Incident, hub: Services) -> dict[str, object]:
    accepted = [one.accepted_us for one in told.deliveries if one.accepted_us is not None]
    shown = [one.shown_us for one in told.deliveries if one.shown_us is not None]
    record = hub.rooms.get(incident.origin_node) if incident.origin_node else None
    return {
        "id": told.alert.id,
        "created": iso(told.alert.created_us),
        "answered": iso(told.alert.answered_us),
        "answer": told.alert.answer,
        "accepted": iso(min(accepted, default=None)),
        "shown": iso(min(shown, default=None)),
        "missed": not shown and told.alert.answered_us is None,
        "incident": incident.id,
        "kind": str(incident.kind),
        "label": incident.label,
        "severity": str(incident.severity),
        "zone": incident.zone,
        "room": record.room if record else incident.origin_node or "",
        "drill": incident.drill,
        "opened": iso(incident.opened_us),
        "cleared": iso(incident.cleared_us),
        "acknowledged": iso(incident.acknowledged_us),
    }


def _missing() -> ResponseReturnValue:
    return problem(404, "not_found", "There is nothing of this id, or it is not for you to see.")
