"""Machines for the playbooks: Debian trees made by debootstrap, booted with a systemd of their own.

They share this machine's network, so each service has a port that is free. Needs root, debootstrap and
systemd-nspawn; ``make test-deploy`` installs both.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

CACHE = Path(os.environ.get("TOCSIN_DEPLOY_CACHE", str(Path.home() / ".cache" / "tocsin-deploy")))
"""Where the tree is kept as a tar from one run to the next."""
_PACKAGES = "systemd,systemd-sysv,dbus,python3,python3-venv,python3-apt,ca-certificates,iproute2,openssl"
SUITE = os.environ.get("TOCSIN_DEPLOY_DEBIAN") or "bookworm"
"""The release of Debian that the machines run."""
BOOT_SECONDS = 120.0


def tree(suite: str = SUITE) -> Path:
    """A tar of a fresh Debian; made when there is none, which takes a minute or two."""
    kept = CACHE / f"{suite}.tar"
    if kept.exists():
        return kept
    CACHE.mkdir(parents=True, exist_ok=True)
    made = CACHE / f"{suite}.{os.getpid()}"
    subprocess.run(
        ["debootstrap", "--variant=minbase", f"--include={_PACKAGES}", suite, str(made)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    part = kept.with_suffix(f".{os.getpid()}.part")
    subprocess.run(["tar", "-C", str(made), "-cf", str(part), "."], check=True)
    part.replace(kept)
    shutil.rmtree(made)
    return kept


class Machine:
    """One booted container in ``folder``; its files can be reached below :attr:`root`."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.root = folder / name
        self._log = folder / f"{name}.log"
        self._nspawn: subprocess.Popen[bytes] | None = None

    def make(self) -> None:
        """Unpack the tree."""
        self.root.mkdir()
        subprocess.run(["tar", "-C", str(self.root), "-xf", str(tree())], check=True)
        (self.root / "etc/hostname").write_text(f"{self.name}\n", encoding="ascii")
        (self.root / "etc/machine-id").write_text("", encoding="ascii")
        # As Debian's installer writes it.
        (self.root / "etc/hosts").write_text(
            f"127.0.0.1 localhost\n127.0.1.1 {self.name}\n", encoding="ascii"
        )
        shutil.copy("/etc/resolv.conf", self.root / "etc/resolv.conf")

    def boot(self) -> None:
        """Start systemd and wait until it answers."""
        command = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--boot", "--resolv-conf=off"]
        with self._log.open("ab") as log:
            self._nspawn = subprocess.Popen(
                [*command, f"--machine={self.name}", "-D", str(self.root)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_until(lambda: self._leader() is not None, BOOT_SECONDS, f"{self.name} to start")
        wait_until(self._is_up, BOOT_SECONDS, f"{self.name} to boot")

    def stop(self) -> None:
        """Power off, or pull the plug."""
        if self._nspawn is None:
            return
        if self._leader() is not None:
            self.run("systemctl", "poweroff", check=False)
        try:
            self._nspawn.wait(30)
        except subprocess.TimeoutExpired:
            self._nspawn.kill()
            self._nspawn.wait(10)
        self._nspawn = None

    @property
    def leader(self) -> int:
        """Process id of its systemd, as this machine sees it."""
        found = self._leader()
        assert found is not None, f"{self.name} does not run"
        return found

    def _leader(self) -> int | None:
        assert self._nspawn is not None
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children")
        try:
            first = children.read_text(encoding="ascii").split()
        except OSError:
            return None
        return int(first[0]) if first else None

    def _is_up(self) -> bool:
        answer = self.run("systemctl", "is-system-running", check=False).stdout.strip()
        return answer in {"running", "degraded"}

    def run(self, *command: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """Run something inside, as root."""
        inside = ["nsenter", "-t", str(self.leader), "-m", "-u", "-i", "-p", "-n", "--", *command]
        return subprocess.run(inside, check=check, text=True, capture_output=True, timeout=120)

    def journal(self, unit: str) -> str:
        """All that a service has said."""
        return self.run("journalctl", "-u", unit, "--no-pager", "-o", "cat").stdout


def wait_until(true: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait for something that must come to be.

    Raises:
        AssertionError: it did not.
    """
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.5)
