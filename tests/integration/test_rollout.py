"""A whole site takes a model over the air, ring by ring; five bad ones get no further than one room."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.bad_bundles import good, mute, no_numbers, permuted, slow
from tests.integration.fleet import Fleet, nodes, released, told

pytestmark = [pytest.mark.slow, pytest.mark.broker]
GOOD, VARIANT, BAD_VARIANT = "1.1.0", "int8", "float16"
CANARY = "alpha-1"
AT_WORK = {"accepted", "downloading", "verifying", "self_testing", "shadowing", "activating", "soaking"}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with Fleet(tmp_path_factory.mktemp("fleet")) as made:
        yield made


def test_a_model_goes_ring_by_ring_to_every_room_although_the_hub_is_killed(fleet: Fleet) -> None:
    """Canary, 2, 3; two kills of the hub at transitions; no window of sound is missed."""
    bundle = str(released(fleet.folder, GOOD))
    key = ("--key", "@usb/models.key", "--floor", "1.0.0")
    fleet.run("models", "publish", bundle, *key, "--repository", "@updates")
    rollout = fleet.begun(GOOD, "--variant", VARIANT, "--variant", "float32", "--shadow", "1")
    fleet.until(rollout, lambda one: nodes(one)[CANARY]["state"] in AT_WORK, "the canary to begin")
    fleet.kill_hub()
    fleet.until(rollout, lambda one: one["rings"][1]["state"] != "pending", "the second ring to begin")
    fleet.kill_hub()
    done = fleet.until(rollout, lambda one: one["state"] != "running", "the end")
    assert done["state"] == "succeeded", told(done)
    assert [ring["state"] for ring in done["rings"]] == ["passed"] * 3
    assert [len(ring["nodes"]) for ring in done["rings"]] == [1, 2, 3]
    for one in nodes(done).values():
        assert (one["active_release"], one["active_variant"], one["windows_missed"]) == (GOOD, VARIANT, 0)
    began = [line["node"] for line in done["log"] if line["code"] == "node_offered"]
    assert len(began) == len(set(began)) == 6, "every node was asked once, whatever happened to the hub"


BAD = {
    "three times too slow": ("1.2.1", slow, "E_BUDGET", "budget", "ms are allowed"),
    "never alarms": ("1.2.2", mute, "E_SHADOW", "shadow", "it missed smoke_alarm"),
    "permuted labels": ("1.2.3", permuted, "E_GOLDEN", "golden", "hears"),
    "answers no numbers": ("1.2.4", no_numbers, "E_LOAD", "load", "no numbers"),
    "tampered": ("1.2.5", good, "E_DOWNLOAD_TAMPER", "download", ""),
}


@pytest.mark.parametrize("fault", BAD)
def test_a_bad_model_stops_in_the_canary_and_the_old_one_listens_everywhere(fleet: Fleet, fault: str) -> None:
    """Each at its own step, with a reason for people."""
    release, make, code, step, words = BAD[fault]
    archive = Path(fleet.publish(make(BAD_VARIANT, release), release, BAD_VARIANT))
    if fault == "tampered":
        content = archive.read_bytes()
        archive.write_bytes(content[:-600] + bytes([content[-600] ^ 1]) + content[-599:])
    before = fleet.active()
    rollout = fleet.begun(release, "--shadow", "6" if make is mute else "0.5")
    if make is mute:
        fleet.until(rollout, lambda one: nodes(one)[CANARY]["state"] == "shadowing", "the shadow")
        fleet.play(CANARY)
    stopped = fleet.until(rollout, lambda one: one["reason"] == "error_threshold", "it to be stopped")
    canary = nodes(stopped)[CANARY]
    assert (canary["state"], canary["error"], canary["step"]) == ("failed", code, step), told(stopped)
    assert words in canary["detail"], canary["detail"]
    assert canary["detail"].split(":")[0].strip(), "the reason begins with words for people"
    assert stopped["reason_detail"] == "1 of 1"
    others = {one["state"] for name, one in nodes(stopped).items() if name != CANARY}
    assert others == {"queued"}, "nobody else was asked"
    assert fleet.active() == before
    assert {one["windows_missed"] for one in nodes(stopped).values()} == {0}
    assert fleet.rollout("abort", rollout)["actions"] is not None
    fleet.until(rollout, lambda one: one["state"] == "aborted", "it to be given up")
