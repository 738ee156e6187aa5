"""Rollout rules: the fault cases 59 to 75 of section E, each by its number, and what stands beside them."""

from dataclasses import replace

import msgspec
import pytest

from tests.hub.rollouts.site import NEW, OLD, T0, Site
from tocsin_hub.rollouts.actions import ALLOWED, Action, IllegalTransitionError, act
from tocsin_hub.rollouts.following import SECOND_US
from tocsin_hub.rollouts.gates import ErrorLimit, parse_errors, stopped
from tocsin_hub.rollouts.model import (
    Execution,
    Gate,
    NodeView,
    Pause,
    Ring,
    RingState,
    Status,
    Target,
    Variant,
    World,
)
from tocsin_hub.rollouts.rings import choose_variant, plan_rings
from tocsin_hub.rollouts.rules import standing_orders, step
from tocsin_shared.errors import BadInputError
from tocsin_shared.events import UpdateState

PAIR = (("a-1",), ("a-2",))


def ring_of(bad: int, good: int, queued: int = 0) -> list[Target]:
    states = [Execution.FAILED] * bad + [Execution.SUCCEEDED] * good + [Execution.QUEUED] * queued
    return [Target(f"n-{number}", "z", 0, state) for number, state in enumerate(states)]


@pytest.mark.parametrize(
    ("errors", "bad", "good", "fires"),
    [
        ("3", 2, 8, False),
        ("3", 3, 7, True),
        ("3", 4, 6, True),
        ("20%", 1, 9, False),
        ("20%", 2, 8, True),
        ("20%", 3, 7, True),
        ("20%", 1, 3, False),  # four have ended, five must have
        ("3 or 50%", 3, 20, True),
        ("100%", 0, 0, False),
    ],
)
def test_case_59_a_threshold_fires_at_its_number_and_not_before(
    errors: str, bad: int, good: int, fires: bool
) -> None:
    found = stopped(Ring(Gate(errors=errors, min_executed=5)), ring_of(bad, good, queued=10))
    assert (found is not None and found[0] is Pause.ERROR_THRESHOLD) is fires


def test_case_59_a_percentage_is_judged_in_a_ring_that_is_smaller_than_the_minimum() -> None:
    assert stopped(Ring(Gate(errors="50%", min_executed=5)), ring_of(bad=1, good=1)) is not None


@pytest.mark.parametrize(
    "text", ["", "0", "0%", "101%", "three", "-1", "nan%", "3 or", " or 3%", "5% or 3", "33%%"]
)
def test_case_59_an_expression_that_means_nothing_pauses(text: str) -> None:
    assert parse_errors(text) is None
    site = Site(PAIR, Gate(errors=text)).begin()
    decision = site.step()
    assert (decision.rollout.status, decision.rollout.pause) == (Status.PAUSED, Pause.BAD_EXPRESSION)
    assert not decision.directives


def test_case_59_numbers_that_are_none_pause_too() -> None:
    for gate in (Gate(soak_seconds=float("nan")), Gate(success_share=1.5), Gate(max_alarm_drift=-1.0)):
        assert Site(PAIR, gate).begin().step().rollout.pause is Pause.BAD_EXPRESSION
    assert parse_errors("3 or 2.5%") == ErrorLimit(3, 2.5)


def test_case_59_a_ring_without_nodes_stops_nobody() -> None:
    site = Site(((), ("a-1", "a-2"))).begin()
    site.all_well()
    assert site.status() is Status.SUCCEEDED


def test_case_60_offline_for_the_whole_ring_waits_is_left_out_and_catches_up() -> None:
    site = Site((("a-1", "a-2", "b-1", "b-2"),), Gate(soak_seconds=60.0)).begin()
    site.nodes["a-1"].online = False
    site.all_well(rounds=60)  # 15 minutes: the grace is 30
    assert site.target("a-1").state is Execution.QUEUED
    assert site.status() is Status.RUNNING
    assert site.target("a-2").state is Execution.QUEUED  # a-1 is away, so a-2 is the last that hears
    site.step(1800.0)
    assert site.target("a-1").state is Execution.SKIPPED
    assert site.target("a-1").code == "offline"
    site.step(60.0)
    assert site.status() is Status.SUCCEEDED_WITH_FAILURES
    site.nodes["a-1"].online = True
    site.all_well()
    assert site.status() is Status.SUCCEEDED
    assert {one.state for one in site.rollout.targets} == {Execution.SUCCEEDED}


def test_case_61_silence_after_activation_is_an_error_until_it_speaks() -> None:
    site = Site((("a-1",), ("a-2", "a-3"))).begin()
    site.step()
    site.to("a-1", UpdateState.ACTIVATING)
    site.nodes["a-1"].online = False
    site.step(100.0)
    assert site.target("a-1").state is Execution.ACTIVATING
    site.step(30.0)
    assert site.target("a-1").state is Execution.UNREACHABLE
    assert site.rollout.pause is Pause.ERROR_THRESHOLD
    site.nodes["a-1"].online = True
    site.to("a-1", UpdateState.SUCCEEDED)
    assert site.target("a-1").state is Execution.SUCCEEDED
    site.act(Action.RESUME)
    site.all_well()
    assert site.status() is Status.SUCCEEDED


def test_case_62_all_of_the_canary_fail_and_nobody_else_is_offered_anything() -> None:
    site = Site((("a-1", "b-1"), ("a-2", "b-2")), Gate(errors="2")).begin()
    site.step()
    for name in ("a-1", "b-1"):
        site.hear(name)
        site.nodes[name].fail()
        site.hear(name)
    decision = site.step(5.0)
    assert decision.transition == (Status.RUNNING, Status.PAUSED)
    assert site.rollout.pause is Pause.ERROR_THRESHOLD
    site.step(86_400.0)
    assert site.states() == {"a-1": "failed", "b-1": "failed", "a-2": "queued", "b-2": "queued"}
    assert set(site.desired) == {"a-1", "b-1"}


def test_case_63_a_step_made_anew_from_what_was_written_decides_the_same() -> None:
    site = Site((("a-1", "b-1"), ("a-2", "b-2"))).begin()
    for _ in range(120):
        read_again = msgspec.json.decode(msgspec.json.encode(site.rollout), type=type(site.rollout))
        assert step(read_again, site.world(), site.now) == step(site.rollout, site.world(), site.now)
        site.step()
        again = step(site.rollout, site.world(), site.now)
        assert (again.rollout, again.directives, again.withdrawals) == (site.rollout, (), ())
        site.hear()
        for node in site.nodes.values():
            node.move()
        site.hear()
        site.now += 20 * SECOND_US
    assert site.status() is Status.SUCCEEDED


def test_case_63_what_was_written_and_not_published_stands_to_be_published() -> None:
    site = Site(PAIR).begin()
    decision = site.step()
    assert standing_orders(site.rollout, site.now + SECOND_US) == decision.directives
    site.to("a-1", UpdateState.SUCCEEDED)
    assert [one.node for one in standing_orders(site.rollout, site.now)] == []


@pytest.mark.parametrize("state", [None, *UpdateState])
def test_case_65_abort_in_each_state_of_a_node(state: UpdateState | None) -> None:
    site = Site(PAIR).begin()
    site.step()
    node = site.nodes["a-1"]
    if state is not None:
        site.hear("a-1")
        node.state = state
        if state in (UpdateState.ACTIVATING, UpdateState.SOAKING, UpdateState.SUCCEEDED):
            node.active = NEW.sha256
        site.hear("a-1")
        site.step()
    site.act(Action.ABORT)
    decision = site.step()
    assert site.target("a-2").state is Execution.CANCELED
    live = state in (UpdateState.ACTIVATING, UpdateState.SOAKING, UpdateState.ROLLING_BACK)
    unread = state in (None, UpdateState.IDLE)
    if unread:
        assert site.target("a-1").state is Execution.CANCELED
    if unread or state in (UpdateState.ACCEPTED, UpdateState.DEFERRED, UpdateState.SHADOWING):
        assert decision.withdrawals == ("a-1",)
    if live:
        assert decision.withdrawals == ()
        assert site.status() is Status.RUNNING
        node.state = UpdateState.SUCCEEDED
        site.hear("a-1")
        site.step(5.0)
    if unread or live:
        assert site.status() is Status.ABORTED
    assert not site.step(86_400.0 * 3).directives


def test_case_66_a_superseded_rollout_lets_go_and_the_nodes_go_on_to_the_newer_one() -> None:
    site = Site((("a-1", "b-1", "c-1", "a-2", "b-2", "c-2"),)).begin()
    site.step()
    site.to("a-1", UpdateState.SOAKING)
    site.act(Action.SUPERSEDE)
    decision = site.step()
    assert site.status() is Status.SUPERSEDED
    assert set(decision.withdrawals) == {"b-1", "c-1"}
    site.nodes["a-1"].move()
    site.hear("a-1")
    site.step(1.0)
    assert site.target("a-1").state is Execution.SUCCEEDED
    newer = replace(site.rollout, id="01HZY0000000000000000000R1", status=Status.RUNNING, variants=(OLD,))
    fresh = tuple(Target(one.node, one.zone, 0) for one in site.rollout.targets)
    site.rollout = replace(newer, targets=fresh, rings=(Ring(site.gate),))
    site.all_well()
    assert site.status() is Status.SUCCEEDED
    assert {node.active for node in site.nodes.values()} == {OLD.sha256}


def test_case_66_another_directive_on_a_node_cancels_ours() -> None:
    site = Site(PAIR).begin()
    site.step()
    site.hear("a-1")
    site.nodes["a-1"].seq = 9
    site.hear("a-1")
    site.step(1.0)
    assert (site.target("a-1").state, site.target("a-1").code) == (Execution.CANCELED, "superseded")


def test_case_67_a_node_that_is_removed_is_no_longer_waited_for_and_stays_removed() -> None:
    site = Site((("a-1", "a-2", "a-3"),)).begin()
    site.step()
    gone = site.nodes.pop("a-1")
    site.all_well()
    assert site.target("a-1").state is Execution.REMOVED
    assert site.status() is Status.SUCCEEDED
    site.nodes["a-1"] = gone
    site.all_well(rounds=5)
    assert site.target("a-1").state is Execution.REMOVED


def test_case_68_late_and_contradictory_words_never_undo_an_end() -> None:
    site = Site((("a-1",), ("a-2",))).begin()
    site.step()
    site.hear("a-1")
    early = site.nodes["a-1"].told
    site.nodes["a-1"].fail()
    site.now += SECOND_US
    site.hear("a-1")
    site.step()
    for word in (UpdateState.DOWNLOADING, UpdateState.SUCCEEDED, UpdateState.SOAKING):
        site.nodes["a-1"].say(site.now + SECOND_US, state=word)
        site.step()
        assert site.target("a-1").state is Execution.FAILED
    site.nodes["a-1"].told = early
    site.step()
    assert site.target("a-1").state is Execution.FAILED


def test_case_68_an_older_word_of_the_same_boot_is_not_followed() -> None:
    site = Site(PAIR).begin()
    site.step()
    site.to("a-1", UpdateState.SOAKING)
    site.nodes["a-1"].say(T0, state=UpdateState.DOWNLOADING)
    site.step()
    assert site.target("a-1").state is Execution.SOAKING


def test_case_68_success_that_listens_with_something_else_is_none() -> None:
    site = Site(PAIR).begin()
    site.step()
    site.hear("a-1")
    site.nodes["a-1"].say(site.now + 1, state=UpdateState.SUCCEEDED)  # still listens with the factory's
    site.step(1.0)
    assert site.target("a-1").state is Execution.ROLLED_BACK
    site.nodes["a-1"].active = NEW.sha256


def test_case_69_a_success_whose_report_was_lost_is_seen_in_the_level() -> None:
    site = Site(PAIR).begin()
    site.step()
    node = site.nodes["a-1"]
    node.read(site.desired["a-1"], site.now)
    while node.state is not UpdateState.SUCCEEDED:
        node.move()  # and says nothing of all that
    site.step(60.0)
    assert site.target("a-1").state is Execution.OFFERED
    node.say(site.now)
    site.step(5.0)
    assert site.target("a-1").state is Execution.SUCCEEDED


def test_case_69_the_level_corrects_a_time_limit() -> None:
    site = Site((("a-1", "b-1", "a-2", "b-2"),), Gate(errors="4")).begin()
    site.step()
    site.to("a-1", UpdateState.SHADOWING)
    decision = site.step(7300.0)
    assert site.target("a-1").state is Execution.TIMED_OUT
    assert (site.target("a-1").stage, "a-1" in decision.withdrawals) == ("shadowing", True)
    site.step(30.0)
    assert site.target("a-1").state is Execution.TIMED_OUT  # that it still does is no news
    site.to("a-1", UpdateState.SUCCEEDED)
    assert site.target("a-1").state is Execution.SUCCEEDED


def test_case_70_a_node_that_falls_back_later_reopens_its_ring() -> None:
    site = Site((("a-1",), ("a-2",))).begin()
    site.all_well()
    assert site.status() is Status.SUCCEEDED
    site.nodes["a-1"].fall_back()
    site.hear("a-1")
    decision = site.step(5.0)
    assert site.target("a-1").state is Execution.ROLLED_BACK
    assert site.rollout.rings[0].state is RingState.ACTIVE
    assert (site.rollout.status, site.rollout.pause) == (Status.PAUSED, Pause.ERROR_THRESHOLD)
    assert "ring_reopened" in {one.code for one in decision.reasons}


def test_case_70_a_node_that_forgot_everything_reopens_its_ring_too() -> None:
    site = Site(PAIR).begin()
    site.all_well()
    site.nodes["a-1"].seq, site.nodes["a-1"].active = 0, "factory"
    site.nodes["a-1"].say(site.now, boot="b2", state=UpdateState.IDLE)
    site.step(5.0)
    assert site.target("a-1").state is Execution.ROLLED_BACK
    assert site.status() is Status.PAUSED


def test_case_71_the_last_healthy_node_of_a_zone_is_never_taken() -> None:
    site = Site((("a-1", "a-2", "b-1"),)).begin()
    site.nodes["a-2"].hearing = False
    decision = site.step()
    assert [one.node for one in decision.directives] == ["a-2"]  # not a-1, nor b-1, which is alone
    site.all_well(rounds=60)
    assert site.states() == {"a-1": "queued", "a-2": "succeeded", "b-1": "queued"}
    site.step(1800.0)
    assert site.target("b-1").code == "last_healthy"
    site.nodes["a-2"].hearing = True
    site.all_well(rounds=60)
    assert site.target("a-1").state is Execution.SUCCEEDED
    assert site.status() is Status.SUCCEEDED_WITH_FAILURES


def test_case_71_a_lone_node_is_taken_by_decision_of_a_person_only() -> None:
    site = Site((("a-1",),), lone_zones=frozenset({"a"})).begin()
    site.all_well()
    assert site.status() is Status.SUCCEEDED


@pytest.mark.parametrize("kind", ["alarm", "drill"])
def test_case_72_an_open_alarm_or_drill_freezes_until_it_is_over(kind: str) -> None:
    site = Site((("a-1", "b-1", "a-2", "b-2"),)).begin()
    site.step()
    site.to("a-1", UpdateState.DOWNLOADING)
    setattr(site, kind, True)
    decision = site.step()
    assert site.rollout.pause is Pause.SAFETY_HOLD
    assert decision.withdrawals == ("b-1",)  # a-1 is at it; b-1 has not begun
    assert not site.step(600.0).directives
    setattr(site, kind, False)
    decision = site.step()
    assert site.status() is Status.RUNNING
    assert [(one.node, one.seq) for one in decision.directives] == [("b-1", 2)]


def test_case_73_metadata_that_would_expire_on_the_way_pauses_before() -> None:
    site = Site(PAIR).begin()
    ahead = site.now + 9 * 3600 * SECOND_US
    decision = step(site.rollout, replace(site.world(), metadata_expires_us=ahead), site.now)
    assert (decision.rollout.pause, decision.directives) == (Pause.METADATA_EXPIRING, ())
    renewed = replace(site.world(), metadata_expires_us=site.now + 72 * 3600 * SECOND_US)
    assert step(decision.rollout, renewed, site.now).directives


def test_case_73_a_hub_that_does_not_do_well_begins_nothing() -> None:
    site = Site(PAIR).begin()
    decision = step(site.rollout, replace(site.world(), degraded=True), site.now)
    assert (decision.rollout.pause, decision.directives) == (Pause.HUB_DEGRADED, ())


@pytest.mark.parametrize("action", list(Action))
@pytest.mark.parametrize("status", list(Status))
def test_case_74_what_is_not_in_the_table_is_refused(action: Action, status: Status) -> None:
    rollout = replace(Site(PAIR).rollout, status=status)
    if status in ALLOWED[action]:
        assert act(rollout, action, "bo", T0) != rollout
        return
    with pytest.raises(IllegalTransitionError, match=status.value):
        act(rollout, action, "bo", T0)


def test_case_74_whoever_made_it_does_not_approve_it() -> None:
    site = Site(PAIR)
    site.act(Action.SUBMIT)
    with pytest.raises(IllegalTransitionError, match="another person"):
        site.act(Action.APPROVE, "ada")
    site.rollout = replace(site.rollout, two_persons=False)
    site.act(Action.APPROVE, "ada")
    assert site.rollout.approved_by == "ada"


def test_a_rollout_without_nodes_or_a_way_back_is_refused() -> None:
    site = Site(PAIR)
    with pytest.raises(IllegalTransitionError, match="no nodes"):
        act(replace(site.rollout, targets=()), Action.SUBMIT, "ada", T0)
    with pytest.raises(IllegalTransitionError, match="go back"):
        act(replace(site.rollout, status=Status.RUNNING, back=()), Action.ROLLBACK, "ada", T0)


def test_a_scheduled_rollout_begins_at_its_time() -> None:
    site = Site(PAIR, starts_us=T0 + 60 * SECOND_US)
    site.act(Action.SUBMIT)
    site.act(Action.APPROVE, "bo")
    assert not site.step().directives
    assert site.step(60.0).transition == (Status.SCHEDULED, Status.RUNNING)


def test_one_of_a_zone_goes_at_a_time() -> None:
    site = Site((("a-1", "a-2", "a-3", "b-1", "b-2"),)).begin()
    assert [one.node for one in site.step().directives] == ["a-1", "b-1"]
    site.to("a-1", UpdateState.SUCCEEDED)
    assert site.target("a-2").state is Execution.OFFERED


def test_a_rollback_takes_every_node_back_under_the_same_rules() -> None:
    site = Site((("a-1", "a-2"), ("b-1", "b-2"))).begin()
    site.all_well(rounds=30)
    assert site.target("a-2").state is Execution.SUCCEEDED
    site.act(Action.ROLLBACK)
    decision = site.step()
    assert site.status() is Status.RUNNING
    assert len([one for one in decision.directives if one.node.startswith("a")]) == 1
    site.all_well()
    assert site.status() is Status.ROLLED_BACK
    assert {node.active for node in site.nodes.values()} <= {OLD.sha256, "factory"}


def test_a_rollback_that_a_node_does_not_follow_is_not_called_one() -> None:
    site = Site((("a-1", "a-2"),)).begin()
    site.all_well()
    site.act(Action.ROLLBACK)
    site.step()
    site.hear("a-1")
    site.nodes["a-1"].fail()
    site.all_well()
    assert (site.rollout.status, site.rollout.pause) == (Status.PAUSED, Pause.ERROR_THRESHOLD)
    site.act(Action.RESUME)
    site.all_well()
    assert site.status() is Status.ROLLED_BACK


def test_a_gate_waits_for_its_soak() -> None:
    site = Site((("a-1",), ("a-2",)), Gate(soak_seconds=600.0)).begin()
    site.step()
    site.to("a-1", UpdateState.SUCCEEDED)
    site.step(590.0)
    assert site.rollout.rings[0].state is RingState.SOAKING
    assert site.step(20.0).directives[0].node == "a-2"


def test_a_ring_that_takes_too_long_pauses() -> None:
    site = Site(PAIR, Gate(ring_seconds=3600.0)).begin()
    site.step()
    site.to("a-1", UpdateState.DOWNLOADING)
    site.step(3500.0)
    assert site.status() is Status.RUNNING
    site.step(200.0)
    assert site.status() is Status.PAUSED


@pytest.mark.parametrize(
    ("words", "pause"),
    [
        ({"shadow_windows": 1000, "shadow_disagreements": 51}, Pause.SHADOW_DISAGREEMENT),
        ({"shadow_windows": 1000, "shadow_alarms": 7, "active_alarms": 4}, Pause.ALARM_DRIFT),
        ({"shadow_windows": 1000, "shadow_alarms": 0, "active_alarms": 4}, Pause.ALARM_DRIFT),
        ({"shadow_windows": 1000, "shadow_disagreements": 50, "shadow_alarms": 6, "active_alarms": 4}, None),
    ],
)
def test_what_the_shadow_tells_stops_a_ring(words: dict[str, int], pause: Pause | None) -> None:
    site = Site(PAIR).begin()
    site.step()
    site.to("a-1", UpdateState.SHADOWING)
    site.nodes["a-1"].say(site.now + 1, **words)
    site.step(1.0)
    assert site.rollout.pause is pause


def test_a_forgiven_error_does_not_stop_again_and_a_waived_gate_opens() -> None:
    site = Site(PAIR).begin()
    site.step()
    site.hear("a-1")
    site.nodes["a-1"].fail()
    site.hear("a-1")
    site.step(5.0)
    site.act(Action.RESUME)
    site.step(5.0)
    assert site.rollout.pause is Pause.SUCCESS_GATE
    site.act(Action.RESUME)
    site.all_well()
    assert site.states() == {"a-1": "failed", "a-2": "succeeded"}
    assert site.status() is Status.SUCCEEDED_WITH_FAILURES


def views(count: int, zones: int) -> list[NodeView]:
    return [NodeView(f"n-{n:02}", f"z{n % zones}", True, True, T0) for n in range(count)]


def test_rings_by_count_share_zone_and_name() -> None:
    assert [len(ring) for ring in plan_rings(("1", "2", "3"), views(6, 2))] == [1, 2, 3]
    assert [len(ring) for ring in plan_rings(("10%", "50%", "rest"), views(11, 2))] == [2, 6, 3]
    assert plan_rings(("zone:z1", "node:n-04+n-00", "rest"), views(6, 2)) == (
        ("n-01", "n-03", "n-05"),
        ("n-00", "n-04"),
        ("n-02",),
    )
    assert {name[-1] for name in plan_rings(("3", "rest"), views(9, 3))[0]} == {"0", "1", "2"}


def test_nodes_that_are_alone_in_their_zone_go_last() -> None:
    alone = [NodeView(name, f"of-{name}", True, True, T0) for name in ("a-1", "b-1")]
    rings = plan_rings(("1", "50%", "rest"), [*alone, *views(4, 2)])
    assert rings == (("n-00",), ("n-02", "n-01", "n-03"), ("a-1", "b-1"))
    assert plan_rings(("1", "rest"), alone) == (("a-1",), ("b-1",))


@pytest.mark.parametrize(
    "specs", [("1",), ("200%",), ("zone:z9", "rest"), ("zone:z1", "zone:z1", "rest"), ("",)]
)
def test_rings_that_do_not_fit_are_refused_by_name(specs: tuple[str, ...]) -> None:
    with pytest.raises(BadInputError):
        plan_rings(specs, views(6, 2))


def test_each_node_gets_the_variant_that_fits_and_was_best_there() -> None:
    board = NodeView("n-1", "z", True, True, T0, "0.2.0", "ai-edge-litert 2.0", "Raspberry Pi 4 Model B")
    light = Variant("s", "1.0.0", "int8", "1", ("ai-edge-litert",), best_on=("pi 4",))
    exact = Variant("s", "1.0.0", "float32", "2", ("ai-edge-litert", "tflite-runtime"))
    other = Variant("s", "1.0.0", "x", "3", hardware=("Jetson",))
    newer = Variant("s", "1.0.0", "y", "4", min_node="0.3.0")
    assert choose_variant((other, newer, exact, light), board) == light
    assert choose_variant((light, exact), replace(board, runtime="tflite-runtime 2.14")) == exact
    assert choose_variant((other, newer), board) is None


def test_case_75_a_thousand_nodes_are_judged_in_one_step() -> None:
    names = tuple(f"z{n % 250}-{n}" for n in range(1000))
    site = Site((names[:10], names[10:]), Gate(errors="20%")).begin()
    decision = site.step()
    assert len(decision.directives) == 10
    size = len(msgspec.json.encode(decision.rollout))
    assert size < 1_000_000
    assert step(decision.rollout, World({}), site.now).rollout.targets[0].state is Execution.REMOVED
