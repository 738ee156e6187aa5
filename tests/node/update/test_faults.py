"""Fault 44: {error, kill -9, hang} in every stage of a node, with real processes that are really killed.

Whatever happens, it ends; a proven bundle is active on the disk; and the report says what is.
"""

import msgspec
import pytest

from tests.node.update.world import Scene, Trap, fake_bundle, in_a_process
from tocsin_node.update.slots import ACTIVE, CANDIDATE, PREVIOUS, Slots
from tocsin_node.update.steps import LIVE, Step
from tocsin_shared.events import NodeReported, UpdateState

pytestmark = pytest.mark.slow

STAGES = (Step.DOWNLOAD, Step.STATIC, Step.GOLDEN, Step.SHADOW, Step.ACTIVATE, Step.SOAK, Step.COMMIT)


def told(scene: Scene) -> NodeReported:
    return msgspec.json.decode((scene.node / "report.json").read_bytes(), type=NodeReported)


def judge_end(scene: Scene, sha256: str, report: NodeReported) -> None:
    """What must hold of every end."""
    slots = Slots(scene.node / "update")
    succeeded = report.state is UpdateState.SUCCEEDED
    assert report.state in {UpdateState.SUCCEEDED, UpdateState.FAILED, UpdateState.ROLLED_BACK}
    assert slots.holds(ACTIVE) == (sha256 if succeeded else "")
    assert report.active.sha256 == slots.holds(ACTIVE)
    assert slots.holds(CANDIDATE) == ""
    assert slots.holds(PREVIOUS) == ""
    assert report.proven
    assert (report.error == "") == succeeded
    if slots.holds(ACTIVE):
        slots.check(slots.holds(ACTIVE))


def played(scene: Scene, trap: Trap, *, always: bool = False) -> tuple[str, NodeReported, int]:
    """Hash of the bundle, the last report, and how many processes it took."""
    sha256 = scene.site.publish(fake_bundle())
    payload = scene.site.directive(sha256)
    (scene.node / "update").mkdir(parents=True)
    for starts in range(1, 8):
        one = trap if always or starts == 1 else Trap(None, "none", soak_fails=trap.soak_fails)
        if in_a_process(scene.node, scene.server.url, scene.root, payload, one) == 0:
            return sha256, told(scene), starts
    raise AssertionError("it never ended")


@pytest.mark.parametrize("leave", [False, True], ids=["enter", "leave"])
@pytest.mark.parametrize("step", STAGES)
def test_d44_d57_killed_in_a_stage_the_next_process_ends_it(scene: Scene, step: Step, leave: bool) -> None:
    """Every one of these goes on to success: a power cut is no fault of a bundle."""
    sha256, report, starts = played(scene, Trap(step, "kill", leave))
    assert starts == 2
    assert report.state is UpdateState.SUCCEEDED
    judge_end(scene, sha256, report)


@pytest.mark.parametrize("leave", [False, True], ids=["enter", "leave"])
def test_d44_killed_on_the_way_back_the_next_process_goes_back(scene: Scene, leave: bool) -> None:
    """And says why it went back, not that it was killed."""
    sha256, report, starts = played(scene, Trap(None, "kill", leave, soak_fails=True))
    assert starts == 2
    assert (report.state, report.error) == (UpdateState.ROLLED_BACK, "E_SOAK")
    judge_end(scene, sha256, report)


@pytest.mark.parametrize("step", [Step.SHADOW, Step.SOAK])
def test_d54_a_crash_loop_ends_with_the_bundle_before(scene: Scene, step: Step) -> None:
    """Killed at every start: three are borne, the next is one too many."""
    sha256, report, starts = played(scene, Trap(step, "kill"), always=True)
    assert starts == 5
    expected = UpdateState.ROLLED_BACK if step in LIVE else UpdateState.FAILED
    assert (report.state, report.error) == (expected, "E_CRASH")
    judge_end(scene, sha256, report)


@pytest.mark.parametrize("kind", ["error", "hang"])
@pytest.mark.parametrize("step", STAGES)
def test_d44_an_error_or_a_hang_in_a_stage_ends_it(scene: Scene, step: Step, kind: str) -> None:
    """FAILED before it was live, ROLLED_BACK after; the node's process lives."""
    sha256, report, starts = played(scene, Trap(step, kind))
    assert starts == 1
    assert report.state is (UpdateState.ROLLED_BACK if step in LIVE else UpdateState.FAILED)
    assert report.error == "E_TIMEOUT" if kind == "hang" else report.error
    judge_end(scene, sha256, report)


def test_d44_d55_an_error_on_the_way_back_leaves_the_installation_listening(scene: Scene) -> None:
    """Said as what it is."""
    sha256, report, _ = played(scene, Trap(None, "error", soak_fails=True))
    assert (report.state, report.error) == (UpdateState.FAILED, "E_TAKE_BACK")
    judge_end(scene, sha256, report)
