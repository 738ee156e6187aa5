"""A whole site takes a model over the air, ring by ring; five bad ones get no further than one room."""

from collections.abc import Iterator

import pytest

from tests.integration.fleet import Fleet, nodes, released, told

pytestmark = [pytest.mark.slow, pytest.mark.broker]
GOOD, VARIANT = "0.3.0", "float16"
CANARY = "alpha-1"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with Fleet(tmp_path_factory.mktemp("fleet")) as made:
        yield made


def test_a_model_goes_ring_by_ring_to_every_room_although_the_hub_is_killed(fleet: Fleet) -> None:
    """Canary, 2, 3; two kills of the hub at transitions; no window of sound is missed."""
    bundle = released(fleet.folder, GOOD)
    fleet.run(
        "models", "publish", str(bundle), "--key", "usb/models.key", "--repository", "updates", "--floor", "0.2.0"
    )  # fmt: skip
    rollout = fleet.begun(GOOD, "--variant", VARIANT, "--variant", "float32", "--shadow", "1")
    fleet.until(
        rollout, lambda one: nodes(one)[CANARY]["state"] not in {"queued", "offered"}, "canary begins"
    )
    fleet.kill_hub()
    fleet.until(rollout, lambda one: one["rings"][0]["state"] == "passed", "the canary proves it")
    fleet.until(rollout, lambda one: one["rings"][1]["state"] != "pending", "the second ring begins")
    fleet.kill_hub()
    done = fleet.until(rollout, lambda one: one["state"] not in {"running"}, "it ends")
    assert done["state"] == "succeeded", told(done)
    assert [ring["state"] for ring in done["rings"]] == ["passed"] * 3
    assert [len(ring["nodes"]) for ring in done["rings"]] == [1, 2, 3]
    for one in nodes(done).values():
        assert (one["active_release"], one["active_variant"], one["windows_missed"]) == (GOOD, VARIANT, 0)
    began = [line["node"] for line in done["log"] if line["code"] == "node_offered"]
    assert len(began) == len(set(began)) == 6, "every node was asked once, whatever happened to the hub"
