"""The places for bundles on the disk, and the one swap of a link that makes a bundle the active one.

::

    store/HASH/          unpacked archives, named by the hash that was signed
    slots/active         link to one of them: what listens; none is the bundle of the installation ("factory")
    slots/candidate      what is on trial
    slots/previous       what listened before, proven
    parts/HASH.part      what has come so far of a download

Everything is read from the disk anew; nothing is remembered. A link is swapped by a new one under another
name, fsync and rename, so that whoever looks finds the old or the new.
"""

import contextlib
import os
import shutil
from pathlib import Path

from tocsin_shared.errors import BundleError, UnavailableError
from tocsin_shared.trust.bundles import hash_of_folder, unpack
from tocsin_shared.trust.files import mapped, put, sync_folder

ACTIVE, CANDIDATE, PREVIOUS = "active", "candidate", "previous"
_HASH_LETTERS = 64


class Slots:
    """The places below ``folder``. One process may write at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store, self.links, self.parts = folder / "store", folder / "slots", folder / "parts"

    def make(self) -> None:
        """Make what is missing.

        Raises:
            UnavailableError: the disk does not take it.
        """
        with mapped(self.folder):
            for folder in (self.store, self.links, self.parts):
                folder.mkdir(parents=True, exist_ok=True)

    def holds(self, slot: str) -> str:
        """Hash of what stands in ``slot``, or nothing. Never raises."""
        try:
            name = Path(os.readlink(self.links / slot)).name  # noqa: PTH115  # a dangling link is told as well
        except OSError:
            return ""
        return name if len(name) == _HASH_LETTERS else ""

    def path(self, sha256: str) -> Path:
        """Where the bundle of this hash stands."""
        return self.store / sha256

    def check(self, sha256: str) -> Path:
        """The folder of the bundle of this hash, every byte of it looked at.

        Raises:
            BundleError: it is not there, or not what was signed any more.
        """
        folder = self.path(sha256)
        if not folder.is_dir():
            raise BundleError(f"{folder}: the bundle is not there")
        if hash_of_folder(folder) != sha256:
            raise BundleError(f"{folder}: the bundle has changed on the disk")
        return folder

    def put(self, archive: bytes, sha256: str) -> Path:
        """Unpack ``archive``, whose hash is ``sha256``, into the store; its folder.

        Raises:
            BundleError: it is not packed as a bundle is.
            UnavailableError: the disk does not take it.
        """
        with contextlib.suppress(BundleError):
            return self.check(sha256)
        files, folder = unpack(archive), self.path(sha256)
        beside = self.store / f".{sha256}"
        with mapped(folder):
            shutil.rmtree(beside, ignore_errors=True)
            shutil.rmtree(folder, ignore_errors=True)
            for name, content in files.items():
                put(beside / name, content)
            beside.rename(folder)
            sync_folder(self.store)
        return folder

    def point(self, slot: str, sha256: str) -> None:
        """Let ``slot`` be the bundle of this hash, or nothing if it is empty: the swap.

        Raises:
            UnavailableError: the disk does not take it.
        """
        link, beside = self.links / slot, self.links / f".{slot}"
        with mapped(link):
            beside.unlink(missing_ok=True)
            if sha256:
                beside.symlink_to(Path("..") / "store" / sha256)
                beside.replace(link)
            else:
                link.unlink(missing_ok=True)
            sync_folder(self.links)

    def activate(self, sha256: str) -> None:
        """Make the bundle of this hash the active one; the active one becomes the previous.

        The previous one is written first: whenever the power fails, either the old bundle is active, or the
        new one is and the old one is known.

        Raises:
            BundleError: the bundle is not whole.
            UnavailableError: the disk does not take it.
        """
        self.check(sha256)
        before = self.holds(ACTIVE)
        if before != sha256:
            self.point(PREVIOUS, before)
            self.point(ACTIVE, sha256)

    def take_back(self, sha256: str) -> bool:
        """If the bundle of this hash is active, let the previous one be; whether that one is whole.

        Without a whole one before, the installation's is active.

        Raises:
            UnavailableError: the disk does not take it.
        """
        whole = True
        if self.holds(ACTIVE) == sha256:
            before = self.holds(PREVIOUS)
            if before:
                try:
                    self.check(before)
                except BundleError:
                    before, whole = "", False
            self.point(ACTIVE, before)
        self.point(CANDIDATE, "")
        return whole

    def sweep(self, keep: str = "") -> None:
        """Delete what no slot holds, but for the hash ``keep``. Never raises."""
        kept = {self.holds(slot) for slot in (ACTIVE, CANDIDATE, PREVIOUS)} | {keep}
        with contextlib.suppress(OSError):
            for folder in self.store.iterdir():
                if folder.name not in kept:
                    shutil.rmtree(folder, ignore_errors=True)
            for part in self.parts.iterdir():
                if part.stem not in {keep}:
                    part.unlink(missing_ok=True)

    def free_bytes(self) -> int:
        """Room on the disk.

        Raises:
            UnavailableError: the disk does not answer.
        """
        try:
            return shutil.disk_usage(self.folder).free
        except OSError as error:
            raise UnavailableError(f"{self.folder}: {error.strerror}") from error
