"""What follows what: a run, and what has happened, give the run as it goes on. Pure.

::

    clock → directive → … → shadow → activate → soak → commit → SUCCEEDED
      │         refused        │         └───────┴───────┴──→ back → ROLLED_BACK
      └─ REJECTED / FAILED ────┘ (nothing was live, so there is nothing to take back)
"""

from dataclasses import dataclass
from enum import StrEnum

from msgspec.structs import replace

from tocsin_node.update.journal import Run
from tocsin_node.update.steps import JUDGING, LIVE, ORDER, STATES, Fault, Step
from tocsin_shared.events import UpdateState


class Happened(StrEnum):
    """What became of a step."""

    PASSED = "passed"
    REFUSED = "refused"
    LATER = "later"
    """Not now, and not for ever: counted."""
    WAIT = "wait"
    """Not now, for a reason that is nobody's fault: not counted."""
    STARTED = "started"
    """The process has started and found the run unfinished."""
    SUPERSEDED = "superseded"
    """A newer directive is there."""
    INSTALLED = "installed"
    """The bundle is the active one already."""


@dataclass(frozen=True)
class Limits:
    """How patient the node is."""

    tries: int = 5
    """So often is a run put off before it fails."""
    starts: int = 3
    """So often may the process start while a run is on its way; one more is a crash loop."""
    moves: int = 90
    """No run that goes straight on needs more, not even with all starts."""


@dataclass(frozen=True)
class Why:
    """The reason of what happened."""

    fault: Fault | None = None
    detail: str = ""


NO_REASON = Why()


def follow(
    run: Run, happened: Happened, why: Why = NO_REASON, *, live: bool = False, limits: Limits = Limits()
) -> Run:
    """``run`` after ``happened``; ``live`` says whether its bundle is the active one on the disk."""
    if run.over:
        return run
    live = live and run.step in LIVE
    if run.moves >= limits.moves and happened is not Happened.SUPERSEDED:
        return _refused(run, Why(Fault.LOOP), live=live or run.step in LIVE)
    return _followed(replace(run, moves=run.moves + 1), happened, why, live, limits)


def _followed(run: Run, happened: Happened, why: Why, live: bool, limits: Limits) -> Run:
    match happened:
        case Happened.PASSED:
            after = _passed(run)
        case Happened.REFUSED:
            after = _refused(run, why, live=live or run.step in LIVE)
        case Happened.LATER | Happened.WAIT:
            after = _put_off(run, happened, why, live, limits)
        case Happened.STARTED:
            after = _started(run, live, limits)
        case Happened.INSTALLED:
            after = replace(run, outcome=UpdateState.ALREADY_INSTALLED)
        case Happened.SUPERSEDED:  # what is live ends by itself, one way or the other
            settled = run.step in LIVE or run.back
            after = run if settled else replace(run, outcome=UpdateState.CANCELED)
    return after


def _passed(run: Run) -> Run:
    if run.back:
        return replace(run, outcome=UpdateState.ROLLED_BACK)
    if run.step is ORDER[-1]:
        return replace(run, outcome=UpdateState.SUCCEEDED, fault="", detail="")
    following = ORDER[ORDER.index(run.step) + 1]
    starts = 0 if following is Step.SOAK else run.starts
    return replace(run, step=following, starts=starts, fault="", detail="")


def _refused(run: Run, why: Why, *, live: bool) -> Run:
    told = run if run.back and run.fault else replace(run, fault=why.fault or "", detail=why.detail[:120])
    if run.back:  # not even the way back worked: whoever takes back has put the installation's bundle there
        return replace(told, outcome=UpdateState.FAILED, fault=Fault.TAKE_BACK)
    if live:
        return replace(told, back=True)
    return replace(told, outcome=UpdateState.REJECTED if run.step in JUDGING else UpdateState.FAILED)


def _put_off(run: Run, happened: Happened, why: Why, live: bool, limits: Limits) -> Run:
    if run.back or live or (happened is Happened.LATER and run.tries + 1 >= limits.tries):
        return _refused(run, why, live=live)
    tries = run.tries + (happened is Happened.LATER)
    # Everything is judged anew the next time: the directive may be over by then, or another is there.
    return replace(run, step=Step.CLOCK, tries=tries, moves=0, fault=why.fault or "", detail=why.detail[:120])


def _started(run: Run, live: bool, limits: Limits) -> Run:
    run = replace(run, starts=run.starts + 1)
    if run.back:
        return run
    if run.starts > limits.starts:
        return _refused(run, Why(Fault.CRASH, f"in step {run.step}"), live=live)
    if not live:
        return replace(run, step=Step.CLOCK)
    return run if run.step is Step.COMMIT else replace(run, step=Step.SOAK)


def reported(run: Run | None, *, waiting: bool = False) -> UpdateState:
    """What a node says of ``run``; ``waiting`` while it is put off."""
    if run is None:
        return UpdateState.IDLE
    if run.outcome is not None:
        return run.outcome
    if run.back:
        return UpdateState.ROLLING_BACK
    return UpdateState.DEFERRED if waiting else STATES[run.step]
