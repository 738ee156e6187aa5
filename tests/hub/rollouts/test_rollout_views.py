"""How a rollout looks to the API, the live channel and its page."""

from dataclasses import replace
from typing import Any

from tests.hub.rollouts.site import NEW, OLD, T0
from tocsin_hub.rollouts.actions import Action
from tocsin_hub.rollouts.model import (
    Course,
    Execution,
    NodeView,
    Pause,
    Reason,
    Ring,
    Rollout,
    Status,
    Target,
)
from tocsin_hub.rollouts.reading import LogEntry
from tocsin_hub.rollouts.views import installed, limited, possible, rollout_json
from tocsin_hub.rooms import Hearing, Rooms
from tocsin_hub.times import from_us, iso
from tocsin_shared.events import NodeReported, SlotState, UpdateState

ROOMS = Rooms((), Hearing(connected=True, since_us=T0))
ROLLOUT = Rollout(
    id="01ARZ3NDEKTSV4RRFFQ69G5FAV",
    variants=(NEW,),
    rings=(Ring(name="1"), Ring(name="rest")),
    targets=(
        Target("n1", "hall", 0, Execution.FAILED, T0, "E_GOLDEN", "self_testing", NEW, seq=3),
        Target("n2", "attic", 1),
    ),
    created_by="ann",
    created_us=T0,
    status=Status.PAUSED,
    pause=Pause.ERROR_THRESHOLD,
    back=(OLD,),
)
LOG = (
    LogEntry(T0, 1, "created", "ann", "", None, ""),
    LogEntry(T0, 2, "node_failed", None, "n1", 0, "E_GOLDEN"),
    LogEntry(T0, 2, "error_threshold", None, "", 0, "1 of 1"),
    LogEntry(T0, 2, "node_skipped", None, "n2", 1, "offline"),
)


def view(seq: int) -> NodeView:
    report = NodeReported(
        node="n1",
        boot="b",
        at=from_us(T0),
        enabled=True,
        active=SlotState(bundle="sentry-0.1.0+float16"),
        seq=seq,
        state=UpdateState.FAILED,
        step="golden",
        detail="fire.wav was not heard",
    )
    return NodeView("n1", "hall", online=True, hearing=True, last_seen_us=T0, report=report)


def shown(seq: int = 3, rollout: Rollout = ROLLOUT) -> dict[str, Any]:
    waits = (Reason("zone_busy", "n2", 1, lasting=True), Reason("node_failed", "n1", 0))
    return rollout_json(
        rollout, nodes={"n1": view(seq)}, rooms=ROOMS, names={"ann": "Ann"}, log=LOG, waits=waits
    )


def test_a_rollout_says_where_each_node_stands_and_why() -> None:
    told = shown()
    assert (told["name"], told["release"], told["state"]) == ("sentry", "0.2.0", "paused")
    assert (told["reason"], told["reason_detail"]) == ("error_threshold", "1 of 1")
    assert told["created_by"] == {"id": "ann", "name": "Ann"}
    first, second = told["rings"]
    one = first["nodes"][0]
    assert (one["state"], one["stage"], one["error"]) == ("failed", "self_testing", "E_GOLDEN")
    assert (one["detail"], one["step"]) == ("fire.wav was not heard", "golden")
    assert (one["active_release"], one["active_variant"]) == ("0.1.0", "float16")
    assert one["since"] == iso(T0)
    assert second["nodes"][0]["waits"] == "zone_busy"
    assert second["nodes"][0]["online"] is False


def test_what_a_node_said_of_another_directive_is_not_shown_with_this_one() -> None:
    one = shown(seq=2)["rings"][0]["nodes"][0]
    assert (one["detail"], one["step"]) == ("", "")
    assert one["active_release"] == "0.1.0"


def test_of_other_zones_nothing_is_shown() -> None:
    told = limited(shown(), {"hall"})
    assert [[one["node"] for one in ring["nodes"]] for ring in told["rings"]] == [["n1"], []]
    assert "n2" not in [line["node"] for line in told["log"]]
    assert told["actions"] == []
    assert limited(shown(), ()) == shown()


def test_what_can_be_done_is_what_the_rules_allow() -> None:
    running = replace(ROLLOUT, status=Status.RUNNING, pause=None)
    assert possible(running) == [Action.PAUSE, Action.ABORT, Action.ROLLBACK]
    assert possible(replace(running, back=())) == [Action.PAUSE, Action.ABORT]
    assert possible(replace(running, course=Course.ABORTING)) == [Action.ROLLBACK]
    assert possible(replace(ROLLOUT, pause=Pause.MANUAL)) == [Action.RESUME, Action.ABORT, Action.ROLLBACK]
    assert possible(replace(ROLLOUT, status=Status.SUPERSEDED)) == []


def test_the_name_of_a_bundle_tells_release_and_variant() -> None:
    assert installed("fire-watch-0.2.0+full-int8") == ("0.2.0", "full-int8")
    assert installed("odd") == ("odd", "")
