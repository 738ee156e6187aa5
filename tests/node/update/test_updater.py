"""A node's updater from a signed directive to a proven bundle, and every way to be refused."""

import time
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from securesystemslib.signer import CryptoSigner

from tests.node.fake_judge import tone
from tests.node.update.server import Mischief
from tests.node.update.world import SHIPPED, Node, Scene, ended, fake_bundle, light, real_bundle
from tests.shared.trust.site import NOW
from tocsin_node.pipeline import Vitals
from tocsin_node.update.slots import ACTIVE, PREVIOUS
from tocsin_shared.classifier import Classifier
from tocsin_shared.events import UpdateState
from tocsin_shared.manifest import shipped_bundle
from tocsin_shared.trust.repository import Replacement, renew, replace_key


@pytest.fixture(name="node")
def _node(scene: Scene):  # type: ignore[no-untyped-def]
    node = scene.made()
    node.start()
    yield node
    node.stop()


def published(scene: Scene, release: str = "1.0.0", **notes: Any) -> bytes:
    """A directive for a bundle that was published just now."""
    return scene.site.directive(scene.site.publish(fake_bundle(release), release, **notes), release)


@pytest.mark.slow
def test_the_shipped_float32_gives_way_to_float16_over_the_air(scene: Scene) -> None:
    """With a real trial, real networks, a real shadow; no window missed; then the same bundle is no work."""
    sha256 = scene.site.publish(real_bundle("float16"), SHIPPED)
    node = scene.made(fake=False, factory=lambda: Classifier.load(shipped_bundle(), "float32"))
    node.start()
    try:
        report = node.follow(scene.site.directive(sha256, SHIPPED))
        assert (report.state, report.error, report.detail) == (UpdateState.SUCCEEDED, "", "")
        assert report.active.bundle == f"sentry-{SHIPPED}+float16"
        assert report.active.sha256 == node.slots.holds(ACTIVE) == sha256
        assert report.windows_missed == 0
        assert report.shadow_windows >= 2
        assert report.shadow_disagreements == 0
        assert report.floors == {"sentry": SHIPPED}
        assert "network" in report.sandbox
        assert report.proven
        again = node.follow(scene.site.directive(sha256, SHIPPED))
        assert again.state is UpdateState.ALREADY_INSTALLED
    finally:
        node.stop()


def test_one_release_after_another_and_the_last_is_remembered(scene: Scene, node: Node) -> None:
    """The one before is kept to go back to; a new process starts with the newest."""
    first = node.follow(published(scene))
    second = node.follow(published(scene, "1.1.0"))
    assert (first.state, second.state) == (UpdateState.SUCCEEDED, UpdateState.SUCCEEDED)
    assert node.slots.holds(PREVIOUS) == first.active.sha256
    assert second.floors == {"sentry": "1.1.0"}
    assert scene.made().begun.sha256 == second.active.sha256


def test_b23_to_b26_and_b30_directives_that_are_none_of_ours_change_nothing(scene: Scene, node: Node) -> None:
    """Each is reported by its name; what was there stays."""
    sha256 = scene.site.publish(fake_bundle())
    assert node.follow(scene.site.directive(sha256)).state is UpdateState.SUCCEEDED
    cases = {
        "E_DIRECTIVE_NODE": scene.site.directive(sha256, node="press-2", seq=9),
        "E_DIRECTIVE_SEQ": scene.site.directive(sha256, seq=1),
        "E_DIRECTIVE_SIG": b'{"body": 3}',
    }
    node.follow(scene.site.directive(sha256, seq=7))
    for code, payload in cases.items():
        node.updater.directive(payload)
        report = node.wait(lambda one, code=code: one.error == code)  # type: ignore[misc]
        assert (report.seq, report.active.sha256) == (7, sha256)


def test_b25_a_directive_after_its_end_is_refused(scene: Scene, node: Node) -> None:
    """By its papers."""
    sha256 = scene.site.publish(fake_bundle())
    report = node.follow(scene.site.directive(sha256, expires=NOW - timedelta(hours=1)))
    assert (report.state, report.error) == (UpdateState.REJECTED, "E_DIRECTIVE_STALE")


def test_b26_a_retired_director_is_refused_and_its_successor_followed(scene: Scene, node: Node) -> None:
    """The new key is learned from the trust repository, signed offline."""
    sha256 = scene.site.publish(fake_bundle())
    assert node.follow(scene.site.directive(sha256)).state is UpdateState.SUCCEEDED
    new = CryptoSigner.generate_ed25519()
    replace_key(scene.site.repository, Replacement("director", new), [scene.site.targets], NOW)
    renew(scene.site.repository, scene.site.online, NOW)
    payload = scene.site.directive(sha256, signer=new)
    assert node.follow(payload).state is UpdateState.ALREADY_INSTALLED
    node.updater.directive(scene.site.directive(sha256, seq=50))
    assert node.wait(lambda one: one.error != "").error == "E_DIRECTIVE_SIG"


def test_b27_other_bytes_than_the_engineers_signed_are_refused(scene: Scene, node: Node) -> None:
    """The director alone installs nothing."""
    scene.site.publish(fake_bundle())
    report = node.follow(scene.site.directive("ab" * 32))
    assert (report.state, report.error) == (UpdateState.REJECTED, "E_TUF_DIFFERS")


def test_b27_a_bundle_that_no_engineer_signed_is_refused(scene: Scene, node: Node) -> None:
    """The same."""
    report = node.follow(scene.site.directive("ab" * 32, "9.9.9"))
    assert (report.state, report.error) == (UpdateState.REJECTED, "E_TUF_MISSING")


def test_b28_a17_an_older_release_is_refused_even_with_a_wiped_folder(scene: Scene, tmp_path: Path) -> None:
    """The floor stands in two places."""
    old = scene.site.publish(fake_bundle("1.0.0"), "1.0.0")
    first = scene.made()
    first.start()
    assert first.follow(published(scene, "2.0.0")).state is UpdateState.SUCCEEDED
    first.stop()
    import shutil

    shutil.rmtree(scene.node / "update")
    second = scene.made()
    second.start()
    report = second.follow(scene.site.directive(old))
    second.stop()
    assert (report.state, report.error) == (UpdateState.REJECTED, "E_ROLLBACK")


@pytest.mark.parametrize("notes", [{"hardware": ("Zero 2",)}, {"min_node": "99.0.0"}])
def test_b29_a_bundle_for_another_machine_is_refused(scene: Scene, node: Node, notes: dict[str, Any]) -> None:
    """By what was signed beside it."""
    report = node.follow(published(scene, **notes))
    assert (report.state, report.error) == (UpdateState.REJECTED, "E_INCOMPATIBLE")


def test_b31_a_cleared_directive_is_no_action(scene: Scene, node: Node) -> None:
    """What was retained was taken back."""
    node.updater.directive(b"")
    time.sleep(0.2)
    assert (node.report().state, node.report().seq) == (UpdateState.IDLE, 0)


def test_a07_expired_metadata_stops_updates_and_not_the_ears(scene: Scene) -> None:
    """FREEZE is reported; sound is heard on."""
    payload = published(scene)
    node = scene.made(wall=lambda: time.time() + 0.0)
    metadata = scene.site.repository.role("timestamp")
    metadata.signed.version += 1
    metadata.signed.expires = NOW - timedelta(days=1)
    metadata.sign(scene.site.online.timestamp)
    scene.site.repository.write(metadata)
    node.start()
    node.updater.directive(payload)
    report = node.wait(lambda one: one.error != "")
    heard = node.duet.heard_blocks
    assert report.error == "E_TUF_FREEZE"
    node.wait(lambda _one: node.duet.heard_blocks > heard + 10)
    node.stop()


def test_a21_a_clock_before_a_time_that_has_passed_takes_nothing(scene: Scene) -> None:
    """Not before the network sets it; the ears hear on, and then it goes on by itself."""
    payload = published(scene)
    first = scene.made()
    first.start()
    assert first.follow(payload).state is UpdateState.SUCCEEDED
    first.stop()
    journal = first.journal.read()
    from msgspec.structs import replace as changed

    first.journal.write(changed(journal, clock=time.time()))
    offset = [-20 * 365 * 86_400.0]
    node = scene.made(wall=lambda: time.time() + offset[0])
    node.start()
    node.updater.directive(published(scene, "1.1.0"))
    report = node.wait(lambda one: one.error != "")
    assert (report.state, report.error) == (UpdateState.DEFERRED, "E_CLOCK")
    offset[0] = 0.0
    node.updater._not_before = 0.0
    assert node.wait(ended).state is UpdateState.SUCCEEDED
    node.stop()


def test_c41_an_open_alarm_puts_an_update_off(scene: Scene) -> None:
    """It begins by itself when the alarm is over."""
    alarm = [True]
    node = scene.made(alarm_open=lambda: alarm[0])
    node.start()
    node.updater.directive(published(scene))
    report = node.wait(lambda one: one.error != "")
    assert (report.state, report.error) == (UpdateState.DEFERRED, "E_BUSY")
    alarm[0] = False
    node.updater._not_before = 0.0
    assert node.wait(ended).state is UpdateState.SUCCEEDED
    node.stop()


def test_d58_a_microphone_that_is_away_defers_and_fails_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A room that cannot be heard proves nothing about a bundle."""
    monkeypatch.setattr("tocsin_node.duet.ASK_SECONDS", 0.3)
    node = scene.made()
    node.ears.deaf.set()
    node.start()
    node.updater.directive(published(scene))
    report = node.wait(lambda one: one.error != "")
    assert (report.state, report.error) == (UpdateState.DEFERRED, "E_BUSY")
    node.ears.deaf.clear()
    node.updater._not_before = 0.0
    assert node.wait(ended).state is UpdateState.SUCCEEDED
    node.stop()


def test_c09_a_tampered_bundle_is_refused_and_the_old_one_listens(scene: Scene, node: Node) -> None:
    """One byte on the web server."""
    scene.server.mischief = Mischief(change=lambda content: b"x" + content[1:])
    report = node.follow(published(scene))
    assert (report.state, report.error) == (UpdateState.FAILED, "E_DOWNLOAD_TAMPER")
    assert (report.active.bundle, node.slots.holds(ACTIVE)) == ("factory", "")
    assert list(node.slots.store.iterdir()) == []


def test_c32_a_download_that_fails_is_put_off_and_goes_on_later(scene: Scene, node: Node) -> None:
    """What came is kept for the next time."""
    scene.server.mischief = Mischief(status=503)
    node.updater.directive(published(scene))
    report = node.wait(lambda one: one.error != "")
    assert (report.state, report.error) == (UpdateState.DEFERRED, "E_DOWNLOAD_UNREACHABLE")
    scene.server.mischief = Mischief()
    node.updater._not_before = 0.0
    assert node.wait(ended).state is UpdateState.SUCCEEDED


def test_a20_a_second_updater_in_the_same_folder_does_nothing(scene: Scene, node: Node) -> None:
    """Two would take each other's files away."""
    assert node.follow(published(scene)).state is UpdateState.SUCCEEDED
    second = scene.made()
    second.start()
    report = second.wait(lambda one: not one.enabled)
    assert "another node" in report.detail
    second.stop()


def test_a_newer_directive_takes_the_place_of_one_in_its_shadow(scene: Scene) -> None:
    """At once, and not after hours."""
    node = scene.made(shadow_seconds=3600.0)
    node.start()
    node.updater.directive(published(scene))
    node.wait(lambda one: one.state is UpdateState.SHADOWING)
    sha256 = scene.site.publish(fake_bundle("1.1.0"), "1.1.0")
    node.updater.directive(scene.site.directive(sha256, "1.1.0"))
    report = node.wait(lambda one: one.seq == 2 and one.state is UpdateState.SHADOWING)
    assert report.candidate is not None
    assert report.candidate.sha256 == sha256
    node.stop()


def test_an_alarm_in_the_shadow_that_only_the_active_one_hears_is_the_end(scene: Scene) -> None:
    """E_SHADOW, and the active one told it all the while."""
    node = scene.made(shadow_seconds=20.0)
    made = node._fake

    def deafened(sha256: str):  # type: ignore[no-untyped-def]
        judge = made(sha256)
        judge.sureness = 0.1
        return judge

    node.updater._tasks = {task.step: task for task in light(deafened)}
    parts = iter([tone(0.1, 0.001)] * 60 + [tone(0.1)] * 60)
    node.ears.room = lambda: next(parts, np.zeros(1600, np.float32) + tone(0.1, 0.001))
    node.start()
    report = node.follow(published(scene))
    node.stop()
    assert (report.state, report.error) == (UpdateState.FAILED, "E_SHADOW")
    assert "missed siren" in report.detail or "differ" in report.detail
    assert report.active.bundle == "factory"


def test_a_node_that_is_asked_to_end_again_and_again_on_trial_keeps_its_bundle(scene: Scene) -> None:
    """An orderly end is no crash: only those are counted."""
    payload = published(scene)
    for _ in range(6):
        node = scene.made(soak_seconds=3600.0)
        node.start()
        node.updater.directive(payload)
        node.wait(lambda one: one.state is UpdateState.SOAKING)
        node.stop()
    node = scene.made(soak_seconds=0.1)
    node.start()
    assert node.wait(lambda one: one.seq == 1 and ended(one)).state is UpdateState.SUCCEEDED
    node.stop()


def leaking(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on the process needs a gigabyte more whenever it is asked."""
    needed = count(10**9, 10**9)
    monkeypatch.setattr("tocsin_node.update.attempt.resident_bytes", lambda: next(needed))


@pytest.mark.parametrize("trouble", ["memory", "time"])
def test_d49_a_bundle_that_leaks_or_is_late_on_trial_is_taken_back(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    """And the one before listens, with no window missed."""
    node = scene.made(soak_seconds=3600.0)
    node.start()
    node.updater.directive(published(scene))
    node.wait(lambda one: one.state is UpdateState.SOAKING)
    if trouble == "memory":
        leaking(monkeypatch)
    else:
        slow = Vitals(level_dbfs=None, clipped_ratio=0.0, inference_p95_ms=900.0)
        monkeypatch.setattr(node.duet, "vitals", lambda: slow)
    report = node.wait(ended)
    node.stop()
    assert (report.state, report.error) == (UpdateState.ROLLED_BACK, "E_SOAK")
    assert (report.active.bundle, node.slots.holds(ACTIVE), report.windows_missed) == ("factory", "", 0)


def test_a_bundle_that_fails_on_trial_after_a_restart_is_taken_back_too(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody listens beside it then: the one before is loaded, and heard out before it speaks."""
    node = scene.made(soak_seconds=3600.0)
    node.start()
    node.updater.directive(published(scene))
    node.wait(lambda one: one.state is UpdateState.SOAKING)
    node.stop()
    node = scene.made(soak_seconds=3600.0)
    assert not node.duet.has_other
    node.start()
    node.wait(lambda one: one.state is UpdateState.SOAKING)
    leaking(monkeypatch)
    report = node.wait(ended)
    node.stop()
    assert (report.state, report.active.bundle) == (UpdateState.ROLLED_BACK, "factory")
    assert node.restarts == []


@pytest.mark.parametrize("alarm", [False, True])
def test_in_a_room_that_is_never_quiet_it_is_made_active_unless_an_alarm_is_open(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, alarm: bool
) -> None:
    """An engine that runs all day holds no bundle up; an alarm does."""
    monkeypatch.setattr("tocsin_node.update.attempt.QUIET_SECONDS", 1.0)
    open_alarm = [False]
    node = scene.made(alarm_open=lambda: open_alarm[0])
    node.ears.room = lambda: tone(0.1)
    node.start()
    node.wait(lambda _one: node.duet.open_count >= 1)
    node.updater.directive(published(scene))
    node.wait(lambda one: one.state is UpdateState.SHADOWING)
    open_alarm[0] = alarm
    report = node.wait(lambda one: (ended(one) and one.seq == 1) or one.error != "")
    node.stop()
    expected = (UpdateState.DEFERRED, "E_BUSY") if alarm else (UpdateState.SUCCEEDED, "")
    assert (report.state, report.error, report.windows_missed) == (*expected, 0)


def test_a_report_stays_within_what_may_be_said(scene: Scene, node: Node) -> None:
    """It is encoded as it will be sent."""
    from tocsin_shared.codec import encode

    node.follow(published(scene))
    assert encode(node.report())
