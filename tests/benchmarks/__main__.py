"""``make bench``: every figure of one machine in one run, side by side, with the machine named.

``python -m tests.benchmarks [--report FILE] [--only PART …] [--yamnet FILE]``. The figures share the machine
with whatever else runs on it, so ratios of one run say more than figures; the load is written beside each. A
target that is not met makes the exit status 1.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.benchmarks import ingest, storm
from tests.hub.brokers import MOSQUITTO

STUDY = Path(__file__).resolve().parents[2] / "docs" / "study"
_MODULE = [sys.executable, "-m"]


@dataclass(frozen=True)
class Part:
    """One part of the report."""

    title: str
    lines: list[str]
    kept: bool = True
    """Whether its target is met; one without a target keeps it."""


def of_ingest(arguments: argparse.Namespace) -> Part:
    """Messages a second beside the bare loop and the bare broker."""
    found = ingest.measure(arguments.messages, arguments.rounds)
    lines, ratio = ingest.in_words(found)
    return Part(
        "Ingest: QoS 1, COMMIT, hub ack",
        [*lines, f"whole hub / bare loop: {ratio:.2f} (target {ingest.LIMIT})"],
        ratio >= ingest.LIMIT,
    )


def of_rate(_arguments: argparse.Namespace) -> Part:
    """How soon an onset is acknowledged at a rate that a large site never has."""
    found = storm.measure(storm.Shape(nodes=200, seconds=20.0, storm=False, rate=60.0))
    ack = found.report["latency"]["acknowledged"]
    rate = 2 * found.report["produced"] / 20.0
    figures = f"p50 {ack['p50']} ms, p95 {ack['p95']} ms, p99 {ack['p99']} ms"
    lines = [f"{rate:.0f} messages/s of 200 nodes: onset -> hub ack {figures}, lost {found.report['lost']}"]
    return Part("Latency of ingest at a steady rate", lines, bool(found.report["good"]))


def of_storm(arguments: argparse.Namespace) -> Part:
    """Two thousand nodes, all of which alarm within two seconds."""
    found = storm.measure(storm.Shape(nodes=arguments.nodes))
    return Part("A storm", storm.in_words(arguments.nodes, found), found.kept)


def of_dashboards(_arguments: argparse.Namespace) -> Part:
    """From COMMIT to 1, 100 and 500 dashboards."""
    command = ["tests.benchmarks.dashboards", "--broker", "mosquitto", "--clients", "1", "100", "500"]
    return _run("Dashboards: COMMIT to screen", command)


def of_push(_arguments: argparse.Namespace) -> Part:
    """From COMMIT to a thousand phones."""
    return _run("Push: COMMIT to the push service, 1000 workers", ["tests.benchmarks.push", "1000", "3"])


def of_node(arguments: argparse.Namespace) -> Part:
    """A node's pipeline beside librosa and YAMNet."""
    more = [] if arguments.yamnet is None else ["--yamnet", str(arguments.yamnet)]
    return _run("A node, beside librosa and YAMNet", ["tocsin_shared", "node", "bench", *more])


def of_study(_arguments: argparse.Namespace) -> Part:
    """What the study of models found; it is measured by ``tocsin models``, not here."""
    lines = []
    for name in ("sentry", "resnet50"):
        text = (STUDY / f"{name}.md").read_text(encoding="utf-8")
        rows = [
            line for line in text.splitlines() if re.match(r"\| (file|[-]+|full-int8|float32|peer)", line)
        ]
        lines += [text.splitlines()[0].lstrip("# "), *rows[:7]]
    return Part("Study figures, from docs/study", lines)


PARTS: dict[str, Callable[[argparse.Namespace], Part]] = {
    "ingest": of_ingest,
    "rate": of_rate,
    "storm": of_storm,
    "dashboards": of_dashboards,
    "push": of_push,
    "node": of_node,
    "study": of_study,
}


def _run(title: str, command: list[str]) -> Part:
    done = subprocess.run([*_MODULE, *command], capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    if done.returncode:
        lines += ["target BROKEN, or the measurement failed:", *done.stderr.splitlines()[-3:]]
    return Part(title, lines, done.returncode == 0)


def machine() -> str:
    """What all of it was measured on."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    kilobytes = re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text(encoding="utf-8"))
    said = subprocess.run([MOSQUITTO, "-h"], capture_output=True, text=True, check=False).stdout
    parts = (
        cpu[1] if cpu else platform.machine(),
        f"{os.cpu_count()} cores",
        f"{int(kilobytes[1]) / 1e6:.0f} GB" if kilobytes else "",
        platform.platform(),
        f"Python {platform.python_version()}",
        said.splitlines()[0] if said else "",
    )
    return ", ".join(part for part in parts if part)


def main() -> int:
    """Measure, print, and write the report."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--report", type=Path, default=Path("bench-report.md"))
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--nodes", type=int, default=2000)
    parser.add_argument("--messages", type=int, default=16_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--yamnet", type=Path, help="YAMNet as TFLite")
    arguments = parser.parse_args()
    begun = time.monotonic()
    text = [f"# Measured {datetime.now(UTC):%Y-%m-%d %H:%M} UTC", "", machine()]
    kept = True
    for name in arguments.only:
        part = PARTS[name](arguments)
        kept &= part.kept
        load = f"load {os.getloadavg()[0]:.1f}"
        text += ["", f"## {part.title}", "", "```", *part.lines, "```", "", load]
        print("\n".join(["", f"== {part.title} ({load})", *part.lines]), flush=True)
    text += ["", f"All of it took {time.monotonic() - begun:.0f} s."]
    arguments.report.write_text("\n".join(text) + "\n", encoding="utf-8")
    print(f"\n{json.dumps({'targets met': kept})}; report: {arguments.report}")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
