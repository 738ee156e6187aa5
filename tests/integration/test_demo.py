"""The demo is the product's own proof: every sound that it plays arrives on a screen, once and soon."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.broker
@pytest.mark.parametrize("which", ["embedded", "mosquitto"])
def test_a_minute_of_demo_loses_nothing(tmp_path: Path, which: str) -> None:
    """Every played alarm is detected, stored and shown; onset to screen takes less than 4 s for 95 of 100."""
    report = tmp_path / "report.json"
    command = [
        sys.executable,
        "-m",
        "tocsin_shared",
        "demo",
        "--headless",
        "--seconds",
        "60",
        "--seed",
        "20261123",
    ]
    command += ["--broker", which, "--report", str(report), "--port", "0", "--folder", str(tmp_path / "site")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    facts = json.loads(report.read_text(encoding="utf-8"))
    assert facts["played"] == facts["detected"] == facts["stored"] == facts["shown"] >= 6
    assert facts["lost"] == facts["duplicates"] == 0
    assert facts["latency_ms"]["shown"]["p95"] < 4000.0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--broker", "mosquito"], "there is no such program"),
        (["--audio", "/nowhere"], "no such file or folder"),
        (["--seconds", "5"], "20 to 86400"),
        (["--sounds", "scream,screem"], "no sound 'screem' can be made; known are"),
        (["--folder", "/dev/null/x"], "/dev/null/x"),
    ],
)
def test_wrong_arguments_are_named(arguments: list[str], said: str) -> None:
    """One clear line, no traceback."""
    command = [sys.executable, "-m", "tocsin_shared", "demo", "--headless", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in {1, 2}
    assert said in done.stderr
    assert "Traceback" not in done.stderr
