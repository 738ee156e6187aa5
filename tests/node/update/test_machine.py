"""The rules of a run: whatever happens, it ends, and what was live is never left behind unproven."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tocsin_node.update.journal import Run
from tocsin_node.update.machine import Happened, Limits, Why, follow, reported
from tocsin_node.update.steps import JUDGING, LIVE, ORDER, OWN, STATES, WORDS, Fault, Step
from tocsin_node.update.updater import TASKS
from tocsin_shared.events import UpdateState
from tocsin_shared.trust.directive import Directive

NOW = datetime.now(UTC)
DIRECTIVE = Directive(
    node="press-1",
    seq=1,
    issued=NOW,
    expires=NOW + timedelta(days=1),
    rollout="spring",
    name="sentry",
    release="1.0.0",
    variant="float16",
    sha256="ab" * 32,
)
RUN = Run(directive=DIRECTIVE)
WHY = Why(Fault.GOLDEN, "hears engine")


def at(step: Step, **change: object) -> Run:
    return Run(directive=DIRECTIVE, step=step, **change)  # type: ignore[arg-type]


def test_fourteen_steps_in_order_end_in_success() -> None:
    """And each has a task, a state and a word for what can go wrong."""
    run, states = RUN, []
    while not run.over:
        states.append(reported(run))
        run = follow(run, Happened.PASSED, live=run.step in LIVE)
    assert run.outcome is UpdateState.SUCCEEDED
    assert states == [STATES[step] for step in ORDER]
    assert len(ORDER) == 14
    assert tuple(task.step for task in TASKS) == ORDER
    assert set(WORDS) == set(Fault)
    assert set(OWN) <= set(ORDER)


@pytest.mark.parametrize("step", ORDER)
def test_what_is_refused_before_it_is_live_ends_and_after_goes_back(step: Step) -> None:
    """REJECTED by its papers, FAILED by what it does, ROLLED_BACK once it was live."""
    run = follow(at(step), Happened.REFUSED, WHY, live=step in LIVE)
    if step in LIVE:
        assert reported(run) is UpdateState.ROLLING_BACK
        run = follow(run, Happened.PASSED)
    expected = (
        UpdateState.ROLLED_BACK
        if step in LIVE
        else UpdateState.REJECTED
        if step in JUDGING
        else UpdateState.FAILED
    )
    assert (run.outcome, run.fault, run.detail) == (expected, Fault.GOLDEN, "hears engine")


def test_d55_a_way_back_that_fails_is_told() -> None:
    """The installation's bundle listens then."""
    run = follow(at(Step.SOAK), Happened.REFUSED, WHY, live=True)
    run = follow(run, Happened.REFUSED, Why(Fault.DISK))
    assert (run.outcome, run.fault) == (UpdateState.FAILED, Fault.TAKE_BACK)


def test_d54_three_starts_on_trial_and_one_more_goes_back() -> None:
    """A crash loop is told from a power cut by its number."""
    run = at(Step.SOAK)
    for _ in range(3):
        run = follow(run, Happened.STARTED, live=True)
        assert (run.step, run.back) == (Step.SOAK, False)
    run = follow(run, Happened.STARTED, live=True)
    assert run.back
    assert run.fault == Fault.CRASH


def test_starts_before_it_is_live_begin_anew_and_end_in_the_end() -> None:
    """A bundle that ends the node in its shadow is not tried for ever."""
    run = at(Step.SHADOW)
    for _ in range(3):
        run = follow(run, Happened.STARTED)
        assert run.step is Step.CLOCK
        run = Run(**{name: getattr(run, name) for name in run.__struct_fields__} | {"step": Step.SHADOW})
    run = follow(run, Happened.STARTED)
    assert (run.outcome, run.fault) == (UpdateState.FAILED, Fault.CRASH)


@pytest.mark.parametrize(
    ("step", "live", "expected"),
    [
        (Step.ACTIVATE, True, Step.SOAK),
        (Step.ACTIVATE, False, Step.CLOCK),
        (Step.COMMIT, True, Step.COMMIT),
        (Step.DOWNLOAD, True, Step.CLOCK),
    ],
)
def test_d57_the_disk_decides_after_a_power_cut(step: Step, live: bool, expected: Step) -> None:
    """Not what the journal meant to do."""
    assert follow(at(step), Happened.STARTED, live=live).step is expected


def test_a_newer_directive_cancels_what_is_not_live_yet() -> None:
    """And waits for what is."""
    assert follow(at(Step.SHADOW), Happened.SUPERSEDED).outcome is UpdateState.CANCELED
    assert not follow(at(Step.SOAK), Happened.SUPERSEDED, live=True).over


def test_what_is_put_off_is_counted_only_if_somebody_is_at_fault() -> None:
    """An open alarm may last; a server that is never there ends it."""
    run = RUN
    for _ in range(50):
        run = follow(at(Step.LOCK, tries=run.tries), Happened.WAIT, Why(Fault.BUSY))
        assert not run.over
    for _ in range(4):
        run = follow(at(Step.DOWNLOAD, tries=run.tries), Happened.LATER, WHY)
        assert (run.over, run.step) == (False, Step.CLOCK)
    assert follow(at(Step.DOWNLOAD, tries=run.tries), Happened.LATER, WHY).outcome is UpdateState.FAILED


def test_a_bundle_that_listens_already_is_no_work_and_never_taken_back() -> None:
    """Even if a check before that fails while it is the active one."""
    assert follow(at(Step.COMPATIBLE), Happened.INSTALLED).outcome is UpdateState.ALREADY_INSTALLED
    assert not follow(at(Step.METADATA), Happened.REFUSED, WHY, live=True).back


@given(st.lists(st.tuples(st.sampled_from(Happened), st.booleans()), max_size=400))
def test_whatever_happens_the_rules_hold(story: list[tuple[Happened, bool]]) -> None:
    """Ends stay ends; success only through the whole soak; what was live ends proven or taken back."""
    run, on_disk, soaked = RUN, False, False
    for happened, swapped in story:
        if run.over:
            assert follow(run, happened, WHY, live=on_disk) is run
            break
        if run.step is Step.ACTIVATE and not run.back and (happened is Happened.PASSED or swapped):
            on_disk = True
        soaked = soaked or (run.step is Step.SOAK and happened is Happened.PASSED and not run.back)
        back = run.back
        run = follow(run, happened, WHY, live=on_disk)
        if back and happened in {Happened.PASSED, Happened.REFUSED}:
            on_disk = False
        assert run.step in ORDER
        if run.outcome is UpdateState.SUCCEEDED:
            assert soaked
            assert on_disk
        elif run.over and run.outcome is not UpdateState.ALREADY_INSTALLED:
            assert not on_disk or run.outcome is UpdateState.FAILED


@settings(max_examples=30)
@given(
    st.lists(
        st.sampled_from([Happened.PASSED, Happened.STARTED, Happened.REFUSED]), min_size=120, max_size=120
    )
)
def test_no_run_goes_on_for_ever(story: list[Happened]) -> None:
    """Every story without waiting ends within its moves."""
    run = RUN
    for happened in story:
        run = follow(run, happened, WHY, live=run.step in LIVE, limits=Limits())
    assert run.over
