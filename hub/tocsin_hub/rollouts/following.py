"""Rules: what a node reports, or no longer reports, becomes its state in the rollout: a level, no edge."""

from dataclasses import replace

from tocsin_hub.rollouts.model import (
    FINAL,
    GOOD,
    LIVE,
    SETTLED,
    Execution,
    Limits,
    NodeView,
    Target,
)
from tocsin_hub.times import to_us
from tocsin_shared.events import NodeReported, UpdateState

SECOND_US = 1_000_000
_LIMITED = frozenset(
    {
        Execution.OFFERED,
        Execution.ACCEPTED,
        Execution.DEFERRED,
        Execution.DOWNLOADING,
        Execution.VERIFYING,
        Execution.SELF_TESTING,
        Execution.SHADOWING,
        Execution.ACTIVATING,
        Execution.SOAKING,
        Execution.ROLLING_BACK,
    }
)
UNDER_WAY = _LIMITED | {Execution.UNREACHABLE}
"""A directive is out, and its end is waited for."""
RUNNING = frozenset(UpdateState) - FINAL - {UpdateState.IDLE}
"""A node that says so is at work on a directive."""


def in_flight(target: Target, limits: Limits, now_us: int) -> bool:
    """Whether the node may still activate, or has and did not prove it, for all that the hub can know.

    A directive that was taken back may have been read before; what was live stays so until the node speaks.
    """
    if target.seq == 0 or target.reported in FINAL or target.state is Execution.REMOVED:
        return False
    span = (limits.directive + limits.total) * SECOND_US
    return target.reported in LIVE or now_us < target.offered_us + span


def followed(target: Target, view: NodeView | None, limits: Limits, now_us: int) -> Target:
    """``target`` as it stands at ``now_us``, given what is known of its node."""
    if target.state is Execution.REMOVED:
        return target
    if view is None:
        return _moved(replace(target, standing=False), Execution.REMOVED, now_us, "removed")
    if view.report is not None and target.seq > 0:
        target = _by_report(target, view.report, now_us, online=view.online)
    if target.state not in UNDER_WAY:
        return target
    return _by_clock(target, view, limits, now_us)


def _by_report(target: Target, report: NodeReported, now_us: int, *, online: bool) -> Target:
    stale = report.boot == target.boot and to_us(report.at) < target.reported_at_us
    if target.state in GOOD and not stale:
        return _watched(target, report, now_us)
    if target.reported in FINAL or stale:
        return target
    if report.seq > target.seq:  # another directive took its place
        ended = replace(target, reported=UpdateState.CANCELED, standing=False)
        return _moved(ended, Execution.CANCELED, now_us, "superseded")
    old = report.seq < target.seq or report.state is UpdateState.IDLE
    if old or (target.state is not Execution.UNREACHABLE and _known(target, report)):
        return target
    return _told(target, report, now_us, online=online)


def _known(target: Target, report: NodeReported) -> bool:
    """Whether this very word was followed before."""
    same = report.boot == target.boot and report.state is target.reported
    return same and to_us(report.at) == target.reported_at_us


def _watched(target: Target, report: NodeReported, now_us: int) -> Target:
    """One that has proved itself: it is to stay so."""
    if report.seq > target.seq or _runs(target, report):
        return target
    told = replace(target, reported=UpdateState.ROLLED_BACK, stage=target.state, forgiven=False)
    told = replace(told, boot=report.boot, reported_at_us=to_us(report.at))
    return _moved(told, Execution.ROLLED_BACK, now_us, report.error or "fell_back")


def _told(target: Target, report: NodeReported, now_us: int, *, online: bool) -> Target:
    told = replace(
        target,
        reported=report.state,
        reported_at_us=to_us(report.at),
        boot=report.boot,
        shadow_windows=report.shadow_windows,
        shadow_disagreements=report.shadow_disagreements,
        shadow_alarms=report.shadow_alarms,
        active_alarms=report.active_alarms,
    )
    state = Execution(report.state)
    if state in GOOD and not _runs(target, report):
        # It says that all is well, and listens with something else: what listens is what counts.
        told, state = replace(told, reported=UpdateState.ROLLED_BACK), Execution.ROLLED_BACK
    elif state in GOOD and not report.proven:
        told, state = replace(told, reported=UpdateState.SOAKING), Execution.SOAKING
    given_up = target.state is Execution.TIMED_OUT or (target.state is Execution.UNREACHABLE and not online)
    if given_up and told.reported not in FINAL:
        return told  # only its end changes that, or that it speaks again
    code = "" if state in GOOD else report.error
    if state in SETTLED and state not in GOOD:
        told = replace(told, stage=report.step)
        code = code or "fell_back"
    return _moved(told, state, now_us, code)


def _runs(target: Target, report: NodeReported) -> bool:
    return target.variant is not None and report.active.sha256 == target.variant.sha256


def _by_clock(target: Target, view: NodeView, limits: Limits, now_us: int) -> Target:
    silent = not view.online and now_us - view.last_seen_us > limits.silence * SECOND_US
    if target.reported in LIVE and silent and target.state is not Execution.UNREACHABLE:
        target = _moved(replace(target, stage=target.state), Execution.UNREACHABLE, now_us, "silent")
    long = now_us - target.offered_us > limits.total * SECOND_US
    if target.state in _LIMITED:
        most: float = getattr(limits, target.state.value)
        long = long or now_us - target.since_us > most * SECOND_US
    if not long:
        return target
    over = replace(target, stage=target.state, standing=False)
    return _moved(over, Execution.TIMED_OUT, now_us, "time_limit")


def _moved(target: Target, state: Execution, now_us: int, code: str) -> Target:
    if state is target.state:
        return replace(target, code=code)
    return replace(target, state=state, since_us=now_us, code=code)
