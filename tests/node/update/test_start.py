"""What a node starts with: the active bundle, or the one before, or the installation's; and its slots."""

import contextlib
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.node.update.test_machine import DIRECTIVE
from tests.node.update.world import NamedJudge, fake_bundle, sha_of
from tocsin_node.update.floor import Floors
from tocsin_node.update.journal import Journal, JournalFile, Run
from tocsin_node.update.slots import ACTIVE, CANDIDATE, PREVIOUS, Slots
from tocsin_node.update.start import Begun, begin
from tocsin_node.update.steps import Step
from tocsin_shared.errors import BundleError, UnavailableError
from tocsin_shared.events import UpdateState
from tocsin_shared.trust.bundles import pack

OLD, NEW = fake_bundle("1.0.0"), fake_bundle("1.1.0")


class Disk:
    """Slots with the old bundle active, the new one in the store."""

    def __init__(self, folder: Path) -> None:
        self.slots = Slots(folder)
        self.slots.make()
        self.journal = JournalFile(folder / "journal.json")
        self.old, self.new = (self.put(files) for files in (OLD, NEW))
        self.slots.activate(self.old)

    def put(self, files: dict[str, bytes]) -> str:
        self.slots.put(pack(files), sha_of(files))
        return sha_of(files)

    def load(self, sha256: str) -> Any:
        self.slots.check(sha256)
        return NamedJudge(sha256)

    def begin(self) -> Begun:
        return begin(self.slots, self.journal, self.load, lambda: NamedJudge("factory"))  # type: ignore[arg-type, return-value]

    def rot(self, sha256: str) -> None:
        """One bit of one file."""
        path = self.slots.path(sha256) / "none.tflite"
        path.write_bytes(b"y" + path.read_bytes()[1:])

    def on_trial(self, step: Step = Step.SOAK, starts: int = 0) -> None:
        """The new one was made active, and is not proven."""
        from msgspec.structs import replace

        self.slots.activate(self.new)
        self.slots.point(CANDIDATE, self.new)
        run = Run(directive=replace(DIRECTIVE, sha256=self.new), step=step, starts=starts)
        self.journal.write(Journal(seq=1, run=run))


@pytest.fixture(name="disk")
def _disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path / "update")


def test_without_any_bundle_over_the_air_the_installations_listens(tmp_path: Path) -> None:
    """And the folders are made."""
    slots = Slots(tmp_path / "update")
    journal = JournalFile(tmp_path / "update/journal.json")
    begun = begin(slots, journal, lambda _sha: pytest.fail("nothing to load"), lambda: NamedJudge("factory"))  # type: ignore[arg-type, return-value]
    assert (begun.sha256, begun.trouble) == ("", "")
    assert slots.store.is_dir()


def test_the_active_one_listens(disk: Disk) -> None:
    """Every byte was looked at."""
    assert (disk.begin().sha256, disk.begin().trouble) == (disk.old, "")


def test_d52_an_active_one_that_rots_gives_way_to_the_one_before(disk: Disk) -> None:
    """With a trouble that says so; the disk names the right one from then on."""
    disk.slots.activate(disk.new)
    disk.rot(disk.new)
    begun = disk.begin()
    assert begun.sha256 == disk.old
    assert "changed on the disk" in begun.trouble
    assert disk.slots.holds(ACTIVE) == disk.old
    assert disk.begin().trouble == ""


def test_d53_if_both_rot_the_installations_listens(disk: Disk) -> None:
    """It is read-only, and part of the package."""
    disk.slots.activate(disk.new)
    disk.rot(disk.new)
    disk.rot(disk.old)
    begun = disk.begin()
    assert (begun.sha256, begun.classifier.name) == ("", "factory")
    assert begun.trouble
    assert disk.slots.holds(ACTIVE) == ""


def test_d53_a_link_that_leads_nowhere_is_as_bad(disk: Disk) -> None:
    """The store was lost."""
    shutil.rmtree(disk.slots.store)
    assert disk.begin().sha256 == ""


def test_d54_three_starts_on_trial_are_borne_and_the_fourth_takes_it_back(disk: Disk) -> None:
    """Before it is loaded: it may be what ends the process."""
    disk.on_trial()
    assert [disk.begin().sha256 for _ in range(3)] == [disk.new] * 3
    assert disk.begin().sha256 == disk.old
    run = disk.journal.read().run
    assert run is not None
    assert (run.outcome, run.fault) == (UpdateState.ROLLED_BACK, "E_CRASH")
    assert disk.slots.holds(CANDIDATE) == ""


def test_d55_a_way_back_without_a_whole_bundle_ends_with_the_installations(disk: Disk) -> None:
    """The previous one rotted meanwhile."""
    disk.on_trial(starts=3)
    disk.rot(disk.old)
    assert disk.begin().sha256 == ""
    run = disk.journal.read().run
    assert run is not None
    assert (run.outcome, run.fault) == (UpdateState.FAILED, "E_TAKE_BACK")


def test_d56_a_journal_that_cannot_be_read_stops_no_ears(disk: Disk) -> None:
    """It is kept aside, and begun anew."""
    path = disk.slots.folder / "journal.json"
    path.write_bytes(b"{ no json")
    assert disk.begin().sha256 == disk.old
    assert path.with_suffix(".damaged").exists()
    path.unlink(missing_ok=True)
    path.mkdir()
    assert disk.begin().sha256 == disk.old


def test_d56_a_folder_that_takes_nothing_stops_no_ears(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read-only, or full."""

    def refuse(*_: object) -> None:
        raise UnavailableError("read-only")

    monkeypatch.setattr(disk.slots, "make", refuse)
    begun = disk.begin()
    assert (begun.sha256, begun.trouble) == (disk.old, "read-only")


@pytest.mark.parametrize("name", ["replace", "fsync", "rename", "symlink", "unlink"])
def test_c39_c40_a_disk_that_refuses_leaves_what_was_there(
    disk: Disk, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever call it refuses: the active one is the old or the new, and whole."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, name, refuse)
    with contextlib.suppress(UnavailableError):
        disk.slots.put(pack(fake_bundle("1.2.0")), sha_of(fake_bundle("1.2.0")))
    with contextlib.suppress(UnavailableError):
        disk.slots.activate(disk.new)
    monkeypatch.undo()
    assert disk.begin().sha256 in {disk.old, disk.new}
    assert disk.begin().trouble == ""


def test_c40_half_a_bundle_is_never_under_its_name(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed at any write: what stands there is whole or absent."""
    files = fake_bundle("1.2.0")
    for steps in range(1, 12):
        left = [steps]
        real = os.fsync

        def counted(handle: int, left: list[int] = left, real: Any = real) -> None:
            left[0] -= 1
            if left[0] == 0:
                raise KeyboardInterrupt
            real(handle)

        monkeypatch.setattr(os, "fsync", counted)
        with contextlib.suppress(KeyboardInterrupt):
            disk.slots.put(pack(files), sha_of(files))
        monkeypatch.undo()
        if disk.slots.path(sha_of(files)).exists():
            disk.slots.check(sha_of(files))
    disk.slots.check(disk.put(files))


def test_the_previous_is_known_before_the_new_one_is_active(disk: Disk) -> None:
    """Whenever the power fails there is a way back."""
    disk.slots.activate(disk.new)
    assert (disk.slots.holds(ACTIVE), disk.slots.holds(PREVIOUS)) == (disk.new, disk.old)
    disk.slots.activate(disk.new)
    assert disk.slots.holds(PREVIOUS) == disk.old
    assert disk.slots.take_back(disk.new)
    assert disk.slots.holds(ACTIVE) == disk.old


def test_a_bundle_that_is_not_whole_is_never_made_active(disk: Disk) -> None:
    """The hash is looked at once more."""
    disk.rot(disk.new)
    with pytest.raises(BundleError):
        disk.slots.activate(disk.new)
    assert disk.slots.holds(ACTIVE) == disk.old


def test_sweeping_keeps_what_a_slot_holds(disk: Disk) -> None:
    """And nothing else."""
    disk.slots.sweep()
    assert {path.name for path in disk.slots.store.iterdir()} == {disk.old}


def test_a17_a18_the_higher_of_two_floors_counts(tmp_path: Path) -> None:
    """Whichever place is lost, damaged or put back."""
    places = tmp_path / "floor.json", tmp_path / "elsewhere" / "floor.json"
    floors = Floors(*places)
    assert floors.allows("sentry", "0.0.1")
    floors.raise_to("sentry", "1.10.0")
    floors.raise_to("sentry", "1.9.0")
    for place in places:
        content = place.read_bytes()
        for spoiled in (None, b"{", b'{"sentry": "0.1.0"}'):
            place.unlink() if spoiled is None else place.write_bytes(spoiled)
            assert not floors.allows("sentry", "1.9.9")
            assert floors.allows("sentry", "1.10.0")
            place.write_bytes(content)
