"""The node on a Raspberry Pi's processor: Debian for arm64, under qemu, with the wheels that a Pi would get.

qemu computes what the processor would compute, slowly; it says nothing about speed. Make your own figures on
your own Pi: ``tocsin node bench``. The interpreter is tflite-runtime: the wheel of ai-edge-litert 2.3
for aarch64 ends with a segmentation fault under Debian's qemu 7.2, before any code of ours.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.deploy.containers import CACHE
from tests.deploy.site import ROOT
from tocsin_shared import synthesis
from tocsin_shared.manifest import read_manifest, shipped_bundle

pytestmark = [pytest.mark.arm, pytest.mark.slow, pytest.mark.timeout(1200)]
STEP = 1 / 256
"""Half a per cent: one step of an 8 bit score."""
_PLATFORMS = (
    "manylinux2014",
    "manylinux_2_17",
    "manylinux_2_26",
    "manylinux_2_27",
    "manylinux_2_28",
    "manylinux_2_34",
)


@pytest.fixture(scope="session")
def system() -> Path:
    """A Debian for arm64, unpacked and not configured: one program is run in it at a time."""
    kept = CACHE / "bookworm-arm64"
    if (kept / "complete").exists():
        return kept
    shutil.rmtree(kept, ignore_errors=True)
    kept.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [
            "debootstrap",
            "--arch=arm64",
            "--foreign",
            "--variant=minbase",
            "--include=python3",
            "bookworm",
            str(kept),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    for package in sorted((kept / "var/cache/apt/archives").glob("*.deb")):
        # Not dpkg-deb -x: it puts a folder in place of the link from /lib to /usr/lib.
        with subprocess.Popen(
            ["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE
        ) as unpacked:
            extract = ["tar", "-C", str(kept), "-x", "--keep-directory-symlink"]
            subprocess.run(extract, stdin=unpacked.stdout, check=True)
        assert unpacked.returncode == 0
    (kept / "complete").touch()
    return kept


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's wheel with the wheels for aarch64 that it needs, in one folder."""
    folder = tmp_path_factory.mktemp("arm")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    subprocess.run([*pip, "wheel", "--no-deps", "-w", str(folder), str(ROOT)], check=True)
    wheel = next(folder.glob("tocsin-*.whl"))
    platforms = [word for name in _PLATFORMS for word in ("--platform", f"{name}_aarch64")]
    exact = ["--only-binary=:all:", "--python-version", "3.11"]
    site = folder / "site"
    subprocess.run(
        [*pip, "install", "--target", str(site), *platforms, *exact, f"{wheel}[node-tflite]"], check=True
    )
    return site


@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A smoke alarm in a quiet room."""
    rng = np.random.default_rng(3)
    sound = synthesis.at_level(synthesis.ambience(10.0, rng), -55.0).copy()
    alarm = synthesis.at_level(synthesis.sound("smoke_alarm", 6.0, rng), -20.0)
    sound[32_000 : 32_000 + len(alarm)] += alarm
    path = tmp_path_factory.mktemp("sound") / "room.wav"
    soundfile.write(path, sound, 16_000)
    return path


def listen(
    command: list[str], recording: Path, variant: str, environment: dict[str, str]
) -> list[dict[str, object]]:
    """Each detection that ``tocsin node listen`` prints."""
    done = subprocess.run(
        [*command, "-m", "tocsin_shared", "node", "listen", str(recording), "--json", "--variant", variant,
         "--bundle", str(shipped_bundle("sentry"))],
        env=environment, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("variant", [one.name for one in read_manifest(shipped_bundle("sentry")).variants])
def test_a_pi_hears_what_this_machine_hears(
    system: Path, packages: Path, recording: Path, variant: str
) -> None:
    here = listen([sys.executable], recording, variant, dict(os.environ))
    pi = ["qemu-aarch64-static", "-cpu", "cortex-a72", "-L", str(system), str(system / "usr/bin/python3.11")]
    there = listen(pi, recording, variant, {"PYTHONPATH": str(packages), "PATH": os.environ["PATH"]})
    assert [one["label"] for one in there] == [one["label"] for one in here]
    assert "smoke_alarm" in {one["label"] for one in here}
    for mine, its in zip(here, there, strict=True):
        assert its["score"] == pytest.approx(mine["score"], abs=STEP)
        assert its["onset_s"] == pytest.approx(mine["onset_s"], abs=0.01)
