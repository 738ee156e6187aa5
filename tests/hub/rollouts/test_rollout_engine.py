"""The engine on a real database: what it publishes, and when, whatever dies in between."""

from dataclasses import replace

import pytest

from tests.hub.parts import feed, ulid
from tests.hub.rollouts.conftest import Air
from tests.shared.messages import sound
from tocsin_hub.incidents.model import Drill, HubTrouble
from tocsin_hub.rollouts import reading, rules
from tocsin_hub.rollouts.actions import Action, IllegalTransitionError
from tocsin_hub.rollouts.drafts import Draft
from tocsin_hub.rollouts.engine import UpdatesOffError
from tocsin_hub.rollouts.model import Gate, Pause, Rollout, Status
from tocsin_hub.rollouts.rehearse import Fault, FaultLine, Script
from tocsin_hub.times import from_us, now_us
from tocsin_shared.errors import BadInputError, UnavailableError
from tocsin_shared.events import SlotState, UpdateState
from tocsin_shared.trust.directive import Directive, opened
from tocsin_shared.trust.keys import make_key
from tocsin_shared.trust.repository import sign_again

ADA, BO = ulid(1), ulid(2)
ROOMS = {"press-1": "hall-1", "press-2": "hall-1", "dock-1": "hall-2", "dock-2": "hall-2"}


def begun(air: Air, *, release: str = "0.3.0", nodes: dict[str, str] | None = None, **draft: object) -> str:
    """A rollout that is on; its id."""
    for name, zone in (ROOMS if nodes is None else nodes).items():
        air.node(name, zone)
    made = created(air, release, **draft)
    rollouts = air.hub.services.rollouts
    rollouts.act(made, Action.APPROVE, BO, now_us())
    rollouts.act(made, Action.START, ADA, now_us())
    return made


def created(air: Air, release: str = "0.3.0", **draft: object) -> str:
    values: dict[str, object] = {"rings": ("1", "rest"), "gate": Gate(soak_seconds=0.0)}
    wanted = Draft("sentry", release, **values | draft)  # type: ignore[arg-type]
    return air.hub.services.rollouts.create(wanted, ADA, now_us())


def stands(air: Air, rollout: str) -> Rollout:
    return air.hub.services.rollouts.get(rollout)


def codes(air: Air, rollout: str) -> list[str]:
    return [line.code for line in reading.log_of(air.hub.services.store, rollout)]


def read(air: Air, node: str) -> Directive:
    """What ``node`` reads of the directive that stands for it."""
    return opened(air.desired[node], air.repository.director_keys())


def succeeds(air: Air, node: str) -> None:
    directive = read(air, node)
    active = SlotState(bundle="sentry-0.3.0+float16", sha256=directive.sha256)
    air.says(node, seq=directive.seq, state=UpdateState.SUCCEEDED, active=active, proven=True)


def troubles(air: Air) -> dict[str, str]:
    """Troubles of the hub that last, with their words."""
    return {one.group: one.detail for one in air.hub.services.incidents.open_troubles("")}


def test_a_directive_is_signed_for_the_canary_alone_and_every_other_word_is_cleared(air: Air) -> None:
    sha256 = air.bundle()
    rollout = begun(air)
    air.look()
    canary = read(air, "dock-2" if air.desired.get("dock-2") else next(iter(filter_signed(air))))
    assert (canary.sha256, canary.rollout, canary.seq) == (sha256, rollout, 1)
    assert set(air.desired) == set(ROOMS)
    assert len(filter_signed(air)) == 1


def filter_signed(air: Air) -> list[str]:
    return [node for node, payload in air.desired.items() if payload]


def test_nodes_are_told_ten_in_a_look(air: Air) -> None:
    """A hundred that ask for a bundle in one second would hold up alarms."""
    air.bundle()
    begun(air, nodes={f"node-{n:02}": f"zone-{n % 12}" for n in range(24)}, rings=("12", "rest"))
    air.look()
    assert len(filter_signed(air)) == 10
    told = dict(air.desired)
    air.look()
    assert len(filter_signed(air)) == 12
    assert {node: air.desired[node] for node in told} == told


def test_it_takes_two_persons_and_a_refusal_is_written_down(air: Air) -> None:
    air.bundle()
    air.node("press-1", "hall-1")
    rollout = created(air)
    rollouts = air.hub.services.rollouts
    with pytest.raises(IllegalTransitionError, match="another person"):
        rollouts.act(rollout, Action.APPROVE, ADA, now_us())
    with pytest.raises(IllegalTransitionError, match="cannot start"):
        rollouts.act(rollout, Action.START, BO, now_us())
    assert codes(air, rollout) == ["created", "submit", "refused", "refused"]
    assert rollouts.act(rollout, Action.APPROVE, BO, now_us()).status is Status.SCHEDULED


def test_one_person_is_enough_where_the_settings_say_so(tmp_path) -> None:  # type: ignore[no-untyped-def]
    air = Air(tmp_path, two_persons=False)
    air.bundle()
    air.node("press-1", "hall-1")
    rollout = created(air, two_persons=False)
    assert air.hub.services.rollouts.act(rollout, Action.APPROVE, ADA, now_us()).approved_by == ADA
    asked = created(air)
    with pytest.raises(IllegalTransitionError):
        air.hub.services.rollouts.act(asked, Action.APPROVE, ADA, now_us())
    air.hub.stop()


def test_ring_after_ring_until_every_node_has_proved_itself(air: Air) -> None:
    air.bundle()
    rollout = begun(air)
    for _ in range(12):
        air.look()
        for node in filter_signed(air):
            succeeds(air, node)
    assert stands(air, rollout).status is Status.SUCCEEDED
    assert {one.seq for one in stands(air, rollout).targets} == {1}


def test_the_broker_holds_what_the_database_says_after_a_start(air: Air) -> None:
    """The very bytes that were published before; a node that knows them does nothing."""
    air.bundle()
    begun(air)
    air.look()
    before = dict(air.desired)
    air.desired.clear()
    air.restart()
    air.look()
    assert air.desired == before


def test_killed_between_commit_and_publishing_it_publishes_after_the_start(
    air: Air, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, under the number that was written down."""
    air.bundle()
    rollout = begun(air)

    def away(topic: str, payload: bytes) -> None:
        raise UnavailableError("the broker is not connected")

    with monkeypatch.context() as patch:
        patch.setattr(air, "publish_retained", away)
        with pytest.raises(UnavailableError):
            air.look()
    assert sum(one.seq for one in stands(air, rollout).targets) == 1
    assert air.desired == {}
    air.restart()
    air.look()
    (node,) = filter_signed(air)
    assert read(air, node).seq == 1
    assert codes(air, rollout).count("node_offered") == 1


def test_killed_before_the_commit_nothing_was_said(air: Air, monkeypatch: pytest.MonkeyPatch) -> None:
    air.bundle()
    rollout = begun(air)

    def dies(*_: object, **__: object) -> None:
        raise UnavailableError("the database does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(air.hub.writer, "call", dies)
        with pytest.raises(UnavailableError):
            air.look()
    assert filter_signed(air) == []
    air.restart()
    air.look()
    assert codes(air, rollout).count("node_offered") == 1


def test_what_nodes_said_is_known_after_a_start(air: Air) -> None:
    """Not every broker gives retained messages again to a session that it knows."""
    air.bundle()
    begun(air)
    air.look()
    (node,) = filter_signed(air)
    air.says(node, seq=1, state=UpdateState.SHADOWING)
    air.restart()
    assert air.hub.services.rollouts.views()[node].report.state is UpdateState.SHADOWING  # type: ignore[union-attr]


def test_while_an_alarm_is_open_nothing_begins_and_offers_are_taken_back(air: Air) -> None:
    air.bundle()
    rollout = begun(air)
    air.look()
    feed(air.hub, sound(id=ulid(7), node="press-2", zone="hall-1"))
    air.look()
    assert (stands(air, rollout).status, stands(air, rollout).pause) == (Status.PAUSED, Pause.SAFETY_HOLD)
    assert filter_signed(air) == []
    air.hub.writer.call(
        lambda recorder: recorder.database.execute("UPDATE incidents SET cleared_us = 1 WHERE kind = 'sound'")
    )
    air.look()
    assert stands(air, rollout).status is Status.RUNNING


def test_a_drill_freezes_a_rollout(air: Air) -> None:
    air.bundle()
    rollout = begun(air)
    at_us = now_us()
    air.hub.services.desk.start_drill(
        Drill(ulid(5), frozenset(), ADA, "", at_us, at_us + 60_000_000), ["hall-1"]
    )
    air.look()
    assert stands(air, rollout).pause is Pause.SAFETY_HOLD
    air.hub.services.desk.end_drill(ulid(5))
    air.look()
    assert stands(air, rollout).status is Status.RUNNING


def test_a_broker_that_is_away_for_long_freezes_it_and_one_that_is_back_is_told_all(air: Air) -> None:
    air.bundle()
    rollout = begun(air)
    air.hub.services.rooms.set_hearing(False, now_us() - 5_000_000)
    air.look()
    assert stands(air, rollout).status is Status.RUNNING, "a short break is nothing"
    air.hub.services.rooms.set_hearing(True, now_us())
    air.hub.services.rooms.set_hearing(False, now_us() - 11_000_000)
    air.look()
    assert stands(air, rollout).pause is Pause.HUB_DEGRADED
    assert air.published == []
    air.connect(air.hub)
    air.look()
    assert stands(air, rollout).status is Status.RUNNING


def test_metadata_that_would_end_on_the_way_freezes_it_and_is_told(air: Air) -> None:
    air.bundle()
    rollout = begun(air)
    later_us = now_us() + int(179.9 * 86_400e6)
    air.hub.services.rollouts._around = _at(air, later_us)
    air.connect(air.hub)
    air.look()
    assert stands(air, rollout).pause is Pause.METADATA_EXPIRING
    assert "models expires in 0.1 days" in troubles(air)[HubTrouble.TRUST_EXPIRES]
    sign_again(air.repository, "models", [air.models], from_us(later_us))
    air.hub.services.rollouts.renew_soon()
    air.look()
    assert HubTrouble.TRUST_EXPIRES not in troubles(air)
    assert stands(air, rollout).status is Status.RUNNING


def _at(air: Air, at_us: int):  # type: ignore[no-untyped-def]
    return replace(air.hub.services.rollouts._around, clock=lambda: at_us)


def test_snapshot_and_timestamp_are_signed_again_in_time(air: Air) -> None:
    before = air.repository.role("timestamp").signed.version
    air.look()
    assert air.repository.role("timestamp").signed.version == before
    air.hub.services.rollouts._around = _at(air, now_us() + int(7 * 3600e6))
    air.connect(air.hub)
    air.look()
    assert air.repository.role("timestamp").signed.version == before + 1


def test_keys_that_cannot_be_read_are_a_trouble_and_the_hub_goes_on(air: Air) -> None:
    air.bundle()
    (air.folder / "keys" / "timestamp.key").chmod(0o644)
    rollout = begun(air)
    air.look()
    assert "others can read it" in troubles(air)[HubTrouble.TRUST_EXPIRES]
    assert stands(air, rollout).pause is Pause.HUB_DEGRADED
    (air.folder / "keys" / "timestamp.key").chmod(0o600)
    air.hub.services.rollouts.renew_soon()
    air.look()
    assert troubles(air) == {}
    assert stands(air, rollout).status is Status.RUNNING


def test_a_director_that_no_node_would_believe_is_a_trouble(air: Air) -> None:
    (air.folder / "keys" / "director.key").unlink()
    make_key(air.folder / "keys" / "director.key", None)
    air.look()
    assert "not the one that the repository names" in troubles(air)[HubTrouble.TRUST_EXPIRES]


def test_one_that_begins_by_itself_takes_the_place_of_the_one_before(air: Air) -> None:
    air.bundle()
    air.bundle("0.4.0", content=b"y" * 100)
    first = begun(air)
    air.look()
    (node,) = filter_signed(air)
    air.says(node, seq=1, state=UpdateState.FAILED, error="E_GOLDEN")
    second = created(air, "0.4.0", starts_us=now_us() - 1)
    air.hub.services.rollouts.act(second, Action.APPROVE, BO, now_us())
    assert stands(air, second).status is Status.SCHEDULED
    air.look()
    assert (stands(air, first).status, stands(air, second).status) == (Status.SUPERSEDED, Status.RUNNING)
    air.look()
    assert filter_signed(air) == [node]
    offered = read(air, node)
    assert (offered.rollout, offered.release) == (second, "0.4.0")


def test_a_fault_in_the_rules_is_a_trouble_and_takes_nothing_else_down(
    air: Air, monkeypatch: pytest.MonkeyPatch
) -> None:
    air.bundle()
    begun(air)
    with monkeypatch.context() as patch:
        patch.setattr(rules, "step", lambda *_: 1 / 0)
        air.hub.services.rollouts._guarded()
    assert "ZeroDivisionError" in troubles(air)[HubTrouble.ROLLOUT_FAULT]
    feed(air.hub, sound(id=ulid(9), node="press-1", zone="hall-1"))
    assert air.hub.ingest.stored == 1
    air.hub.services.rollouts._guarded()
    assert HubTrouble.ROLLOUT_FAULT not in troubles(air)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"release": "9.9.9"}, "no bundle sentry 9.9.9"),
        ({"variants": ("float8",)}, "no variant float8"),
        ({"rings": ("1",)}, "end with the ring 'rest'"),
        ({"nodes": ("nobody-1",)}, "'nobody-1' is not there"),
        ({"back": "0.3.0"}, "the one that is rolled out"),
        ({"gate": Gate(errors="many")}, "errors are 3"),
        ({"soak_seconds": -1.0}, "soak_seconds"),
    ],
)
def test_a_draft_that_no_node_could_follow_is_refused(air: Air, change: dict, words: str) -> None:  # type: ignore[type-arg]
    air.bundle()
    air.node("press-1", "hall-1")
    air.node("press-2", "hall-1")
    with pytest.raises(BadInputError, match=words):
        created(air, **{"release": "0.3.0"} | change)


def test_a_rehearsal_is_made_with_the_rooms_of_the_site(air: Air) -> None:
    air.bundle()
    for name, zone in ROOMS.items():
        air.node(name, zone)
    rollouts = air.hub.services.rollouts
    draft = Draft("sentry", "0.3.0")
    assert rollouts.rehearse(draft, Script()).status is Status.SUCCEEDED
    bad = rollouts.rehearse(draft, Script(faults=(FaultLine(Fault.TOO_SLOW, ("zone:hall-1",)),)))
    assert (bad.status, bad.pause) == (Status.PAUSED, Pause.ERROR_THRESHOLD)
    with pytest.raises(BadInputError, match="hall-9"):
        rollouts.rehearse(draft, Script(faults=(FaultLine(Fault.TOO_SLOW, ("zone:hall-9",)),)))


def test_bundles_are_told_newest_first_and_the_lightest_variant_first(air: Air) -> None:
    air.bundle("0.3.0", "float32", b"a" * 10)
    air.bundle("0.3.0", "full-int8", b"b" * 10)
    air.bundle("0.10.0", "float16", b"c" * 10)
    found = air.hub.services.rollouts.bundles()
    assert [one.release for one in found] == ["0.10.0", "0.3.0"]
    assert [one.variant for one in found[1].variants] == ["full-int8", "float32"]


def test_without_a_repository_nothing_goes_over_the_air(hub) -> None:  # type: ignore[no-untyped-def]
    rollouts = hub.services.rollouts
    assert rollouts.bundles() == ()
    with pytest.raises(UpdatesOffError, match=r"\[updates\] repository"):
        rollouts.create(Draft("sentry", "0.3.0"), ADA, now_us())
    rollouts.look()


def test_figures_for_prometheus(air: Air) -> None:
    air.bundle()
    begun(air)
    air.look()
    text = air.hub.app.test_client().get("/metrics").text
    assert 'tocsin_trust_expires_seconds{role="timestamp"}' in text
    assert 'tocsin_rollouts{state="running"} 1.0' in text
    assert "tocsin_update_downloads 0.0" in text
