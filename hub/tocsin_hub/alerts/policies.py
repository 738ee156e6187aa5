"""Policies: the set that a site starts with, the form in which they are kept, and what they must keep to."""

from itertools import pairwise
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from tocsin_hub.alerts.model import Audience, ChannelName, Policy, PolicyStep
from tocsin_hub.incidents.model import IncidentSeverity
from tocsin_shared.errors import BadInputError
from tocsin_shared.events import Zone

SCHEMA = 1
"""Version of the document; raised only when an old reader would misread a new document."""
MOST_STEPS = 10
MOST_POLICIES = 100
SHORTEST_REPEAT_SECONDS = 10.0
LONGEST_SECONDS = 86_400.0
SOON_SECONDS = 10.0
"""An alarm must reach somebody within this time: what NFPA 72 (10.11.1) allows a fire alarm."""
PERSONAL = (ChannelName.PUSH, ChannelName.PAGE, ChannelName.APPRISE)
"""Channels that lead to a person."""

Seconds = Annotated[float, Meta(ge=0.0, le=LONGEST_SECONDS)]
Name = Annotated[str, Meta(min_length=1, max_length=80)]
GroupName = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,63}(?!\n)$")]


class StepDocument(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One step of a policy, as it is kept and sent."""

    after_seconds: Seconds
    audience: Audience
    channels: Annotated[tuple[ChannelName, ...], Meta(min_length=1, max_length=len(ChannelName))]
    repeat_seconds: Annotated[float, Meta(ge=SHORTEST_REPEAT_SECONDS, le=LONGEST_SECONDS)] | None = None


class PolicyDocument(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A policy, as it is kept and sent; its id and its place in the order stand beside it."""

    schema: Annotated[int, Meta(ge=1, le=SCHEMA)] = SCHEMA
    name: Name
    severities: Annotated[tuple[IncidentSeverity, ...], Meta(min_length=1, max_length=len(IncidentSeverity))]
    zones: Annotated[tuple[Zone, ...], Meta(max_length=1000)] = ()
    groups: Annotated[tuple[GroupName, ...], Meta(max_length=1000)] = ()
    steps: Annotated[tuple[StepDocument, ...], Meta(max_length=MOST_STEPS)] = ()
    most_repeats: Annotated[int, Meta(ge=0, le=1000)] | None = None
    help_tells_zone: bool = True
    enabled: bool = True


class PolicyError(BadInputError):
    """A policy that would do something else than whoever wrote it can mean."""

    def __init__(self, fault: str, sentence: str, **values: object) -> None:
        """``fault`` names it in the family ``policy_error`` of the catalogue; ``values`` are placeholders."""
        super().__init__(sentence)
        self.fault = fault
        self.values = values


def decode(text: str) -> PolicyDocument:
    """A document that was kept.

    Raises:
        BadInputError: it is not a policy of this version.
    """
    try:
        return msgspec.json.decode(text, type=PolicyDocument)
    except (msgspec.MsgspecError, UnicodeError, RecursionError, ValueError) as error:
        raise BadInputError(f"the policy cannot be read: {error}") from error


def encode(document: PolicyDocument) -> str:
    """``document`` as it is kept."""
    return msgspec.json.encode(document).decode()


def checked(key: str, order: int, document: PolicyDocument) -> Policy:
    """The policy that ``document`` describes.

    Raises:
        PolicyError: it would do something else than whoever wrote it can mean; the sentence says what.
    """
    if not document.name.strip():
        raise PolicyError("name", "name: give the policy a name")
    for number, step in enumerate(document.steps, start=1):
        _check_step(number, step)
    for number, (before, after) in enumerate(pairwise(document.steps), start=2):
        if after.after_seconds < before.after_seconds:
            sentence = f"step {number}: comes before step {number - 1}; put the steps in order"
            raise PolicyError("order", sentence, step=number, before=number - 1)
    policy = to_policy(key, order, document)
    if IncidentSeverity.ALARM in policy.severities:
        _check_alarm(policy)
    return policy


def _check_step(number: int, step: StepDocument) -> None:
    place = step.audience is Audience.PLACE
    for channel in step.channels:
        if (channel is ChannelName.ACTUATOR) is not place:
            remedy = "choose the channel actuator alone" if place else "choose push, page or apprise"
            sentence = f"step {number}: {channel} does not lead to {step.audience}; {remedy}"
            raise PolicyError("place" if place else "person", sentence, step=number)
    if len(set(step.channels)) != len(step.channels):
        raise PolicyError("twice", f"step {number}: names a channel twice", step=number)


def _check_alarm(policy: Policy) -> None:
    if not tells_somebody_soon(policy):
        sentence = (
            f"steps: a policy for alarms must tell people within {SOON_SECONDS:.0f} s; add a step that tells "
            "the zone, the officers or everybody"
        )
        raise PolicyError("alarm_soon", sentence, seconds=round(SOON_SECONDS))
    if not any(step.repeat_seconds for step in policy.steps if step.audience is not Audience.PLACE):
        sentence = "steps: a policy for alarms must tell again until somebody acknowledges; let a step repeat"
        raise PolicyError("alarm_repeat", sentence)


def tells_somebody_soon(policy: Policy) -> bool:
    """Whether people, and not lamps alone, are told within :data:`SOON_SECONDS`."""
    people = {Audience.IN_ZONE, Audience.OFFICERS, Audience.EVERYBODY}
    return any(
        step.audience in people and step.after_seconds <= SOON_SECONDS and set(step.channels) & set(PERSONAL)
        for step in policy.steps
    )


def to_policy(key: str, order: int, document: PolicyDocument) -> Policy:
    """``document`` as the rules take it; nothing is checked."""
    return Policy(
        id=key,
        name=document.name.strip(),
        order=order,
        severities=frozenset(document.severities),
        zones=frozenset(document.zones),
        groups=frozenset(document.groups),
        steps=tuple(
            PolicyStep(step.after_seconds, step.audience, step.channels, step.repeat_seconds)
            for step in document.steps
        ),
        most_repeats=document.most_repeats,
        enabled=document.enabled,
        help_tells_zone=document.help_tells_zone,
    )


def to_document(policy: Policy) -> PolicyDocument:
    """``policy`` as it is kept and sent."""
    return PolicyDocument(
        name=policy.name,
        severities=tuple(sorted(policy.severities)),
        zones=tuple(sorted(policy.zones)),
        groups=tuple(sorted(policy.groups)),
        steps=tuple(
            StepDocument(
                after_seconds=step.after_seconds,
                audience=step.audience,
                channels=step.channels,
                repeat_seconds=step.repeat_seconds,
            )
            for step in policy.steps
        ),
        most_repeats=policy.most_repeats,
        help_tells_zone=policy.help_tells_zone,
        enabled=policy.enabled,
    )


def _default(
    order: int, severity: IncidentSeverity, steps: tuple[PolicyStep, ...], most_repeats: int | None = None
) -> Policy:
    return Policy(
        id=f"default-{severity}",
        name=severity.capitalize(),
        order=order,
        severities=frozenset({severity}),
        zones=frozenset(),
        groups=frozenset(),
        steps=steps,
        most_repeats=most_repeats,
    )


DEFAULTS: tuple[Policy, ...] = (
    _default(
        1,
        IncidentSeverity.ALARM,
        (
            PolicyStep(0.0, Audience.PLACE, (ChannelName.ACTUATOR,), 30.0),
            PolicyStep(0.0, Audience.IN_ZONE, PERSONAL, 30.0),
            PolicyStep(0.0, Audience.OFFICERS, PERSONAL, 30.0),
            PolicyStep(30.0, Audience.BUDDIES, PERSONAL, 30.0),
            PolicyStep(120.0, Audience.EVERYBODY, PERSONAL, 60.0),
        ),
    ),
    _default(
        2,
        IncidentSeverity.WARNING,
        (
            PolicyStep(0.0, Audience.IN_ZONE, (ChannelName.PUSH, ChannelName.PAGE), 60.0),
            PolicyStep(60.0, Audience.OFFICERS, (ChannelName.PUSH, ChannelName.PAGE)),
        ),
        most_repeats=1,
    ),
    _default(
        3,
        IncidentSeverity.NOTICE,
        (PolicyStep(0.0, Audience.IN_ZONE, (ChannelName.PUSH, ChannelName.PAGE)),),
        most_repeats=0,
    ),
    _default(
        4,
        IncidentSeverity.TROUBLE,
        (
            PolicyStep(0.0, Audience.OFFICERS, PERSONAL, 600.0),
            # Whoever relies on a room must know that nobody listens there.
            PolicyStep(60.0, Audience.IN_ZONE, (ChannelName.PUSH, ChannelName.PAGE)),
        ),
        most_repeats=3,
    ),
)
"""What a site starts with, and what holds where none of its own policies does."""


def fallback(severity: IncidentSeverity) -> Policy:
    """The policy for incidents that no policy of the site fits."""
    return next(policy for policy in DEFAULTS if severity in policy.severities)
