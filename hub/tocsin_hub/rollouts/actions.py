"""Rules: what a person may do with a rollout in which status, and what that changes. Pure."""

from dataclasses import replace
from enum import StrEnum

from tocsin_hub.rollouts.model import BAD, Course, Execution, Pause, RingState, Rollout, Status
from tocsin_hub.rollouts.rules import wound
from tocsin_shared.errors import BadInputError


class Action(StrEnum):
    """What a person can do."""

    SUBMIT = "submit"
    APPROVE = "approve"
    DENY = "deny"
    START = "start"
    PAUSE = "pause"
    RESUME = "resume"
    ABORT = "abort"
    ROLLBACK = "rollback"
    SUPERSEDE = "supersede"


_ENDED = frozenset({Status.SUCCEEDED, Status.SUCCEEDED_WITH_FAILURES})
_GOING = frozenset({Status.RUNNING, Status.PAUSED})
_EARLY = frozenset({Status.DRAFT, Status.AWAITING_APPROVAL, Status.SCHEDULED})
ALLOWED = {
    Action.SUBMIT: frozenset({Status.DRAFT}),
    Action.APPROVE: frozenset({Status.AWAITING_APPROVAL}),
    Action.DENY: frozenset({Status.AWAITING_APPROVAL}),
    Action.START: frozenset({Status.SCHEDULED}),
    Action.PAUSE: _GOING,
    Action.RESUME: frozenset({Status.PAUSED}),
    Action.ABORT: _EARLY | _GOING,
    Action.ROLLBACK: _GOING | _ENDED | {Status.ABORTED},
    Action.SUPERSEDE: _EARLY | _GOING | _ENDED,
}
"""In which statuses each action may be taken."""


class IllegalTransitionError(BadInputError):
    """The rollout is not in a status in which this can be done."""


def act(rollout: Rollout, action: Action, person: str, now_us: int) -> Rollout:
    """``rollout`` after ``person`` has said ``action``; what follows from it is decided by the next step.

    Raises:
        IllegalTransitionError: it cannot be done in this status, or not by this person.
    """
    if rollout.status not in ALLOWED[action]:
        raise IllegalTransitionError(f"rollout {rollout.id} is {rollout.status}: it cannot {action}")
    return _DONE[action](rollout, person, now_us)


def _submitted(rollout: Rollout, _person: str, _now_us: int) -> Rollout:
    if not rollout.targets or not rollout.rings or not rollout.variants:
        raise IllegalTransitionError(f"rollout {rollout.id} has no nodes, rings or bundles; add them first")
    if any(not 0 <= one.ring < len(rollout.rings) for one in rollout.targets):
        raise IllegalTransitionError(f"rollout {rollout.id} has nodes in a ring that it has not")
    return replace(rollout, status=Status.AWAITING_APPROVAL)


def _approved(rollout: Rollout, person: str, _now_us: int) -> Rollout:
    if rollout.two_persons and person == rollout.created_by:
        raise IllegalTransitionError(f"rollout {rollout.id} needs the approval of another person")
    return replace(rollout, status=Status.SCHEDULED, approved_by=person)


def _denied(rollout: Rollout, _person: str, _now_us: int) -> Rollout:
    return replace(rollout, status=Status.DRAFT)


def _started(rollout: Rollout, _person: str, _now_us: int) -> Rollout:
    return replace(rollout, status=Status.RUNNING)


def _paused(rollout: Rollout, _person: str, _now_us: int) -> Rollout:
    if rollout.course is Course.ABORTING or rollout.pause is Pause.MANUAL:
        raise IllegalTransitionError(f"rollout {rollout.id} is {rollout.pause or rollout.course} already")
    return replace(rollout, status=Status.PAUSED, pause=Pause.MANUAL)


def _resumed(rollout: Rollout, _person: str, now_us: int) -> Rollout:
    """Go on in spite of what stopped it: errors of now stop it no more, and a shut gate is waived."""
    returning = rollout.course is Course.RETURNING
    shut = rollout.pause in (Pause.SUCCESS_GATE, Pause.SHADOW_DISAGREEMENT, Pause.ALARM_DRIFT)
    errors = rollout.pause is Pause.ERROR_THRESHOLD
    targets = rollout.targets
    if errors and not returning:
        targets = tuple(replace(one, forgiven=one.forgiven or one.state in BAD) for one in targets)
    if returning:
        targets = tuple(
            replace(one, state=Execution.QUEUED) if one.returning and one.state in BAD else one
            for one in targets
        )
    rings = wound(rollout.rings, now_us)
    if shut:
        begun = (RingState.ACTIVE, RingState.SOAKING)
        rings = tuple(replace(one, waived=True) if one.state in begun else one for one in rings)
    return replace(rollout, status=Status.RUNNING, pause=None, targets=targets, rings=rings)


def _aborted(rollout: Rollout, _person: str, _now_us: int) -> Rollout:
    if rollout.status in _EARLY:
        return replace(rollout, status=Status.ABORTED)
    return replace(rollout, status=Status.RUNNING, pause=None, course=Course.ABORTING)


def _superseded(rollout: Rollout, _person: str, _now_us: int) -> Rollout:
    return replace(rollout, status=Status.SUPERSEDED, pause=None)


def _turned(rollout: Rollout, _person: str, _now_us: int) -> Rollout:
    if not rollout.back:
        raise IllegalTransitionError(f"rollout {rollout.id} names no bundle to go back to")
    if rollout.course is Course.RETURNING:
        raise IllegalTransitionError(f"rollout {rollout.id} is on its way back already")
    return replace(rollout, status=Status.RUNNING, pause=None, course=Course.RETURNING)


_DONE = {
    Action.SUBMIT: _submitted,
    Action.APPROVE: _approved,
    Action.DENY: _denied,
    Action.START: _started,
    Action.PAUSE: _paused,
    Action.RESUME: _resumed,
    Action.ABORT: _aborted,
    Action.ROLLBACK: _turned,
    Action.SUPERSEDE: _superseded,
}
