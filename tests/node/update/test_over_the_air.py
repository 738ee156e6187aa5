"""Whole nodes as processes: a bundle comes over the air while alarms sound, and a bad one does not stay."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from tests.node.conftest import BrokerProcess
from tests.node.fake_hub import NODE, FakeHub, until
from tests.node.test_agent import NodeProcess, alarm, running
from tests.node.update.world import SHIPPED, Scene, real_bundle
from tocsin_node.cli import main
from tocsin_node.doctor import examine
from tocsin_node.settings import load
from tocsin_shared.codec import decode
from tocsin_shared.events import NodeBorn, NodeReported, UpdateState
from tocsin_shared.trust.bundles import MANIFEST

pytestmark = [pytest.mark.slow, pytest.mark.broker]
DESIRED = f"tocsin/v1/n/{NODE}/cmd/desired"
UPDATE = """
[model]
variant = "float32"
[metrics]
textfile = "node.prom"
[update]
url = "{url}"
bytes_per_second = 1e8
shadow_seconds = {shadow}
soak_seconds = {soak}
"""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[BrokerProcess]:
    made = BrokerProcess("iotcore", "5", tmp_path)
    made.start()
    yield made
    made.kill()


@pytest.fixture
def hub(broker: BrokerProcess) -> Iterator[FakeHub]:
    made = FakeHub(broker)
    yield made
    made.stop()


def states(hub: FakeHub) -> list[NodeReported]:
    return [decode(payload, NodeReported) for payload in hub.payloads("state")]


def newest(hub: FakeHub, true: Callable[[NodeReported], bool], seconds: float = 120.0) -> NodeReported:
    until(lambda: states(hub) and true(states(hub)[-1]), seconds)
    return states(hub)[-1]


def bundles(hub: FakeHub) -> list[str]:
    """Which bundles decided, in order."""
    return [event.bundle for event in hub.live()]


def node(scene: Scene, broker: BrokerProcess, soak: float = 2.0):  # type: ignore[no-untyped-def]
    return running(scene.folder, broker, more=UPDATE.format(url=scene.server.url, shadow=3.0, soak=soak))


def trusted(scene: Scene, broker: BrokerProcess) -> None:
    """The root is installed by hand, once."""
    from tests.node.test_agent import CONFIG

    more = UPDATE.format(url=scene.server.url, shadow=1.0, soak=1.0)
    config = scene.folder / "node.toml"
    config.write_text(
        CONFIG.format(node=NODE, kind="stdin", source="", port=broker.port, broker="", more=more)
    )
    root = scene.site.repository.metadata / "1.root.json"
    assert main(["trust-root", str(root), "--config", str(config)]) == 0


def heard(process: NodeProcess, hub: FakeHub, bundle: str) -> None:
    """An alarm is played, and told by ``bundle``."""
    before = len(hub.live())
    process.play(alarm(4.0))
    until(lambda: bundle in bundles(hub)[before:], 60.0)
    until(lambda: hub.live()[-1].phase == "offset", 60.0)


def test_a_bundle_comes_over_the_air_between_two_alarms_and_a_bad_one_does_not_stay(
    scene: Scene, broker: BrokerProcess, hub: FakeHub
) -> None:
    """No window of sound is missed, the report is what is, and the old one is never lost."""
    trusted(scene, broker)
    with node(scene, broker) as process:
        first = newest(hub, lambda one: one.enabled)
        assert (first.active.bundle, first.state) == (f"sentry-{SHIPPED}+float32", UpdateState.IDLE)
        heard(process, hub, f"sentry-{SHIPPED}+float32")
        sha256 = scene.site.publish(real_bundle("float16"), SHIPPED)
        hub.say(DESIRED, scene.site.directive(sha256, SHIPPED), retain=True)
        done = newest(hub, lambda one: one.seq == 1 and one.state is UpdateState.SUCCEEDED)
        assert (done.active.bundle, done.active.sha256) == (f"sentry-{SHIPPED}+float16", sha256)
        assert (done.windows_missed, done.proven) == (0, True)
        seen = [one.state for one in states(hub)]
        assert seen.index(UpdateState.SHADOWING) < seen.index(UpdateState.SOAKING)
        until(lambda: decode(hub.payloads("birth")[-1], NodeBorn).bundle == f"sentry-{SHIPPED}+float16")
        heard(process, hub, f"sentry-{SHIPPED}+float16")
        manifest = msgspec.json.decode(real_bundle("float16")[MANIFEST])
        manifest["labels"] = [*manifest["labels"][1:], manifest["labels"][0]]
        permuted = real_bundle("float16") | {MANIFEST: msgspec.json.encode(manifest | {"release": "9.0.0"})}
        bad = scene.site.publish(permuted, "9.0.0")
        hub.say(DESIRED, scene.site.directive(bad, "9.0.0"), retain=True)
        refused = newest(hub, lambda one: one.seq == 2 and one.state is UpdateState.FAILED)
        assert refused.error == "E_GOLDEN"
        assert (refused.active.sha256, refused.windows_missed) == (sha256, 0)
        failed = f'tocsin_node_update{{node="{NODE}",state="failed"}} 1'
        until(lambda: failed in (scene.folder / "node.prom").read_text())  # written with each heartbeat
        assert process.signal(signal.SIGTERM) == 0


def test_killed_on_trial_it_goes_on_after_the_restart_and_the_doctor_finds_it_well(
    scene: Scene, broker: BrokerProcess, hub: FakeHub
) -> None:
    """From the disk alone: the retained directive is no new one."""
    trusted(scene, broker)
    sha256 = scene.site.publish(real_bundle("float16"), SHIPPED)
    with node(scene, broker, soak=600.0) as process:
        newest(hub, lambda one: one.enabled)
        hub.say(DESIRED, scene.site.directive(sha256, SHIPPED), retain=True)
        soaking = newest(hub, lambda one: one.state is UpdateState.SOAKING)
        assert not soaking.proven
        process.signal(signal.SIGKILL)
    with node(scene, broker, soak=1.0) as process:
        done = newest(hub, lambda one: one.state is UpdateState.SUCCEEDED)
        assert (done.active.sha256, done.seq) == (sha256, 1)
        found = {one.part: one for one in examine(load(scene.folder / "node.toml"))}["update"]
        assert found.well, found.words
        assert f"bundle {sha256[:8]} is active" in found.words
        assert process.signal(signal.SIGTERM) == 0


def test_without_a_root_a_node_listens_and_says_that_it_takes_nothing(
    scene: Scene, broker: BrokerProcess, hub: FakeHub
) -> None:
    """Off until somebody has brought the root."""
    with node(scene, broker) as process:
        report = newest(hub, lambda one: not one.enabled)
        assert "trust-root" in report.detail
        assert report.active.bundle == f"sentry-{SHIPPED}+float32"
        found = {one.part: one for one in examine(load(scene.folder / "node.toml"))}["update"]
        assert not found.well

        assert process.process.poll() is None
