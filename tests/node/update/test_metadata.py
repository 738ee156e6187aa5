"""Section A of the faults: attacks on signed metadata, each met by its name, as python-tuf and we see it."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner

from tests.node.update.server import Mischief, Server, serving
from tests.shared.trust.site import NOW, Site
from tocsin_node.update.fetching import Web
from tocsin_node.update.metadata import Metadata, Place, Signed
from tocsin_node.update.steps import Fault, LaterError, RefusedError
from tocsin_shared.trust.bundles import target_path
from tocsin_shared.trust.repository import Replacement, renew, replace_key
from tocsin_shared.trust.roles import MODELS, ROOT, SNAPSHOT, TARGETS, TIMESTAMP

PATH = target_path("sentry", "1.0.0", "float16")


class World:
    """A site, its server, and a node that has seen it once."""

    def __init__(self, folder: Path, server: Server, site: Site) -> None:
        self.site, self.server = site, server
        self.web = folder / "repository"
        self.node = folder / "node"
        self.root = site.repository.root_bytes()

    def look(self, path: str = PATH, seconds: float = 30.0) -> Signed:
        place = Place(f"{self.server.url}/metadata", self.node, self.root)
        return Metadata(place, Web(socket_seconds=2.0), seconds).target(path)

    def fault(self, path: str = PATH, seconds: float = 30.0) -> Fault:
        with pytest.raises(RefusedError) as refused:
            self.look(path, seconds)
        return refused.value.fault

    def old(self) -> Path:
        """The repository as it is now, to be brought back later."""
        return Path(shutil.copytree(self.web, self.web.with_name("old"), dirs_exist_ok=True))

    def bring_back(self, old: Path, *names: str) -> None:
        for name in names:
            shutil.copy(old / "metadata" / name, self.web / "metadata" / name)

    def sign(self, role: str, signer: CryptoSigner, change: Callable[[object], None]) -> None:
        """A new version of ``role`` with ``change``, and nothing of it checked."""
        metadata = self.site.repository.role(role)
        metadata.signed.version += 1
        change(metadata.signed)
        metadata.sign(signer)
        self.site.repository.write(metadata)


@pytest.fixture(name="world")
def _world(tmp_path: Path) -> Iterator[World]:
    site = Site(tmp_path / "repository")
    site.publish({"manifest.json": b"{}"})
    with serving(tmp_path / "repository") as server:
        world = World(tmp_path, server, site)
        world.look()
        yield world


def later(world: World, hours: float = 7.0) -> None:
    renew(world.site.repository, world.site.online, NOW + timedelta(hours=hours))


def test_a01_an_old_timestamp_is_a_rollback(world: World) -> None:
    """Replayed to a node that has seen a newer one."""
    old = world.old()
    later(world)
    world.look()
    world.bring_back(old, "timestamp.json")
    assert world.fault() is Fault.TUF_ROLLBACK


def test_a02_an_old_timestamp_among_new_files_is_a_rollback(world: World) -> None:
    """Whatever else is there."""
    old = world.old()
    world.site.publish({"manifest.json": b"{ }"}, "1.1.0")
    later(world, 8.0)
    world.look()
    world.bring_back(old, "timestamp.json")
    world.site.publish({"manifest.json": b"{  }"}, "1.2.0")
    world.bring_back(old, "timestamp.json")
    assert world.fault() is Fault.TUF_ROLLBACK


def test_a03_a_timestamp_that_names_an_older_snapshot_is_a_rollback(world: World) -> None:
    """Signed with the stolen timestamp key."""
    later(world, 8 * 24.0)
    world.look()

    def lower(signed: object) -> None:
        signed.snapshot_meta = world.site.repository.described(SNAPSHOT)  # type: ignore[attr-defined]
        signed.snapshot_meta.version = 1  # type: ignore[attr-defined]

    world.sign(TIMESTAMP, world.site.online.timestamp, lower)
    assert world.fault() is Fault.TUF_ROLLBACK


@pytest.mark.parametrize("role", [SNAPSHOT, MODELS])
def test_a04_a05_old_bytes_under_a_new_name_do_not_fit_together(world: World, role: str) -> None:
    """The hash of what is to come was signed."""
    old = world.site.repository.role(role).signed.version
    world.site.publish({"manifest.json": b"{ }"}, "1.1.0")
    new = world.site.repository.role(role).signed.version
    shutil.copy(world.web / f"metadata/{old}.{role}.json", world.web / f"metadata/{new}.{role}.json")
    assert world.fault() is Fault.TUF_MIXMATCH


def test_a06_a_snapshot_that_drops_models_is_refused(world: World) -> None:
    """What was there once is not forgotten."""
    world.sign(SNAPSHOT, world.site.online.snapshot, lambda signed: signed.meta.pop("models.json"))  # type: ignore[attr-defined]
    described = world.site.repository.described(SNAPSHOT)
    world.sign(
        TIMESTAMP,
        world.site.online.timestamp,
        lambda signed: setattr(signed, "snapshot_meta", described),
    )
    assert world.fault() in {Fault.TUF_DAMAGED, Fault.TUF_ROLLBACK, Fault.TUF_MISSING}


@pytest.mark.parametrize("role", [TIMESTAMP, SNAPSHOT, TARGETS, MODELS, ROOT])
def test_a07_a08_expired_metadata_is_a_freeze(tmp_path: Path, role: str) -> None:
    """Each role; no update, and nothing else of the node depends on it."""
    past = NOW - timedelta(days=400)
    site = Site(tmp_path / "repository", now=NOW if role != ROOT else past)
    if role != ROOT:
        site.publish({"manifest.json": b"{}"})
    with serving(tmp_path / "repository") as server:
        world = World(tmp_path, server, site)

        def expire(signed: object) -> None:
            signed.expires = past  # type: ignore[attr-defined]

        if role != ROOT:
            keys = {
                TIMESTAMP: site.online.timestamp,
                SNAPSHOT: site.online.snapshot,
                TARGETS: site.targets,
                MODELS: site.models,
            }
            world.sign(role, keys[role], expire)
            if role != TIMESTAMP:
                if role in {TARGETS, MODELS}:
                    renew(site.repository, site.online, NOW)
                described = site.repository.described(SNAPSHOT)
                world.sign(
                    TIMESTAMP,
                    site.online.timestamp,
                    lambda signed: setattr(signed, "snapshot_meta", described),
                )
        assert world.fault() is Fault.TUF_FREEZE


def test_a11_a_timestamp_of_twenty_kilobytes_is_endless(world: World) -> None:
    """No more is read than metadata may have."""
    later(world)
    world.server.mischief = Mischief(about="timestamp.json", longer=20_000)
    assert world.fault() is Fault.TUF_ENDLESS


def test_a12_stolen_online_keys_cannot_make_a_bundle(world: World) -> None:
    """Forged models, with snapshot and timestamp that fit."""
    thief = CryptoSigner.generate_ed25519()
    world.sign(MODELS, thief, lambda _signed: None)
    meta = {f"{role}.json": world.site.repository.described(role) for role in (TARGETS, MODELS)}
    world.sign(SNAPSHOT, world.site.online.snapshot, lambda signed: setattr(signed, "meta", meta))
    described = world.site.repository.described(SNAPSHOT)
    world.sign(
        TIMESTAMP, world.site.online.timestamp, lambda signed: setattr(signed, "snapshot_meta", described)
    )
    assert world.fault() is Fault.TUF_KEY


def test_a13_one_root_signature_of_two_is_not_enough(world: World) -> None:
    """Nor is the same one twice."""
    metadata = world.site.repository.root()
    metadata.signed.version += 1
    for _ in range(2):
        metadata.sign(world.site.root[0], append=False)
    world.site.repository.write(metadata)
    assert world.fault() is Fault.TUF_KEY


def test_a14_a_rotated_root_is_followed(world: World) -> None:
    """One key replaced by the rules."""
    change = Replacement(ROOT, CryptoSigner.generate_ed25519(), world.site.root[2].public_key.keyid)
    replace_key(world.site.repository, change, world.site.root[:2], NOW)
    assert world.look().length > 0


def test_a15_a_fast_forward_is_recovered_from_by_new_keys(world: World) -> None:
    """An attacker pushed the versions up to where no lower one is taken; new keys begin anew."""

    def far(signed: object) -> None:
        signed.version = 2**31 - 1  # type: ignore[attr-defined]

    world.sign(TIMESTAMP, world.site.online.timestamp, far)
    world.look()
    new = CryptoSigner.generate_ed25519()
    replace_key(world.site.repository, Replacement(TIMESTAMP, new), world.site.root[:2], NOW)
    (world.web / "metadata/timestamp.json").unlink()
    renew(world.site.repository, replace(world.site.online, timestamp=new), NOW)
    assert world.look().length > 0


@pytest.mark.parametrize(
    "path",
    ["models/sentry/../../x", "../etc/passwd", "models/%2e%2e/x", "/etc/passwd", "models/a\0b/c", "x" * 300],
)
def test_a16_paths_that_lead_elsewhere_are_signed_by_nobody(world: World, path: str) -> None:
    """Not found, and no file outside the node's folder."""
    assert world.fault(path) is Fault.TUF_MISSING
    assert not [one for one in world.node.iterdir() if one.name not in _KNOWN]


_KNOWN = {"root.json", "root_history", "timestamp.json", "snapshot.json", "targets.json", "models.json"}


@pytest.mark.parametrize("name", ["timestamp", "snapshot", "targets", "models", "root"])
def test_a19_a_file_without_bytes_is_fetched_again(world: World, name: str) -> None:
    """A power cut in the middle of a write."""
    (world.node / f"{name}.json").unlink()
    (world.node / f"{name}.json").touch()
    assert world.look().length > 0


def test_a19_the_whole_folder_may_be_lost(world: World) -> None:
    """The root that was given by hand begins it anew."""
    shutil.rmtree(world.node)
    assert world.look().length > 0


def test_a_server_that_drips_metadata_is_left_in_time(world: World) -> None:
    """python-tuf itself would wait for ever."""
    later(world)
    world.server.mischief = Mischief(about="timestamp.json", drip_seconds=0.02)
    with pytest.raises(LaterError) as refused:
        world.look(seconds=0.3)
    assert refused.value.fault is Fault.TUF_UNREACHABLE


@pytest.mark.parametrize(
    "mischief", [{"status": 500}, {"cut_at": [10]}, {"redirect": "http://127.0.0.1:1/x"}]
)
def test_a_server_in_trouble_is_no_attack(world: World, mischief: dict[str, object]) -> None:
    """Another time."""
    world.server.mischief = Mischief(about="timestamp.json", **mischief)  # type: ignore[arg-type]
    with pytest.raises(LaterError) as refused:
        world.look()
    assert refused.value.fault is Fault.TUF_UNREACHABLE


def test_a_disk_that_takes_no_metadata_is_no_attack(world: World) -> None:
    """A file where the folder should be."""
    shutil.rmtree(world.node)
    world.node.touch()
    with pytest.raises(LaterError):
        world.look()
