"""Prints how the cost of a site grows with its nodes, and draws it; a measurement and no test.

``python -m tests.benchmarks.growth [--nodes 10 100 1000 …] [--seconds S] [--plot FILE]``: each node sends a
heartbeat every 10 s and tells of a sound each minute, without a storm; one dashboard watches.
"""

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tests.benchmarks import storm
from tests.hub.parts import heartbeat, ulid
from tests.shared.messages import sound
from tocsin_shared import codec
from tocsin_shared.events import EventRef, EventsCommitted
from tocsin_shared.topics import node_topic

_HEAD = (
    "nodes", "messages/s", "hub CPU, of a core", "µs a message", "hub MB", "broker MB", "disk bytes a sound",
    "ack p99 ms", "screen p99 ms", "lost", "load",
)  # fmt: skip
_TCP_BYTES = 66
"""Ethernet, IP and TCP with time stamps, for each segment."""
_PUBLISH_BYTES = 8
"""Of MQTT 5: fixed header, length of the topic, number, length of the properties."""


def main() -> int:
    """Measure for each number of nodes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, nargs="+", default=[10, 100, 1000, 3000, 10_000])
    parser.add_argument("--seconds", type=float, default=40.0)
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw it, too: an SVG or a PNG")
    arguments = parser.parse_args()
    for line in on_the_wire():
        print(line, flush=True)
    lines = [f"| {' | '.join(_HEAD)} |", "|" + "---|" * len(_HEAD)]
    sites = []
    for nodes in arguments.nodes:
        found = storm.measure(storm.Shape(nodes, arguments.seconds, 1, storm=False))
        lines.append(row(nodes, found))
        print(lines[-1], flush=True)
        sites.append(site(nodes, found))
    print("\n".join(lines))
    if arguments.plot is not None:
        draw(sites, arguments.plot)
    return 0


@dataclass(frozen=True)
class Site:
    """What is drawn of a site."""

    nodes: int
    cpu_share: float
    """Of one core, that the hub used."""
    cpu_us: float
    """Of the hub for each message, microseconds."""
    hub_mb: float
    broker_mb: float
    ack_ms: float
    """From the onset to the hub's word, 99th percentile."""
    screen_ms: float
    """From the onset to the dashboard, 99th percentile."""


def site(nodes: int, found: storm.Storm) -> Site:
    """What is drawn of what was measured."""
    ack = found.report["latency"]["acknowledged"]["p99"]
    screen = found.dashboard_ms["p99"]
    most = found.hub_mb[1]
    return Site(nodes, found.hub_cpu_share, found.hub_cpu_us, most, found.broker_mb, ack, screen)


def draw(sites: Sequence[Site], path: Path) -> None:
    """Four pictures side by side, over the number of nodes."""
    figure = Figure(figsize=(11.0, 3.0), layout="constrained")
    panels: list[tuple[str, Mapping[str, list[float]]]] = [
        ("hub's CPU, % of a core", {"hub": [100 * one.cpu_share for one in sites]}),
        ("hub's CPU, µs a message", {"hub": [one.cpu_us for one in sites]}),
        ("memory, MB", {"hub": [one.hub_mb for one in sites], "broker": [one.broker_mb for one in sites]}),
        (
            "onset to …, p99, ms",
            {"screen": [one.screen_ms for one in sites], "hub's word": [one.ack_ms for one in sites]},
        ),
    ]
    for axes, (title, lines) in zip(figure.subplots(1, len(panels)), panels, strict=True):
        _draw_one(axes, title, [one.nodes for one in sites], lines)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _draw_one(axes: Axes, title: str, nodes: list[int], lines: Mapping[str, list[float]]) -> None:
    for (name, values), style in zip(lines.items(), ("o-", "s--"), strict=False):
        axes.plot(nodes, values, style, label=name, color="#1b4f72" if style == "o-" else "#b9770e")
    axes.set(title=title, xlabel="nodes", xscale="log", ylim=(0, None))
    axes.grid(alpha=0.3)
    if len(lines) > 1:
        axes.legend(frameon=False)


def row(nodes: int, found: storm.Storm) -> str:
    """One line of the table."""
    ack = found.report["latency"]["acknowledged"]
    cells = (
        f"{nodes:,}",
        f"{nodes * (0.1 + 2 / 60):.0f}",
        f"{found.hub_cpu_share:.1%}",
        f"{found.hub_cpu_us:.0f}",
        f"{found.hub_mb[0]:.0f} → {found.hub_mb[1]:.0f}",
        f"{found.broker_mb:.0f}",
        f"{found.bytes_per_sound:.0f}",
        f"{ack['p99']}",
        f"{found.dashboard_ms['p99']}",
        f"{found.report['lost']}",
        f"{os.getloadavg()[0]:.1f}",
    )
    return f"| {' | '.join(cells)} |"


def on_the_wire() -> list[str]:
    """Bytes of each message, with what MQTT and TCP add when it goes alone."""
    event, beat = sound(id=ulid(1)), heartbeat()
    ack = EventsCommitted(refs=(EventRef(id=event.id, seq=event.seq),))
    sizes = {
        "heartbeat": (node_topic(beat.node, "hb"), codec.encode(beat)),
        "one phase of a sound": (node_topic(event.node, "ev", event.label), codec.encode(event)),
        "the hub's acknowledgement": (node_topic(event.node, "ack"), codec.encode(ack)),
    }
    more = _PUBLISH_BYTES + _TCP_BYTES
    return [
        f"{name}: {len(payload)} bytes, {len(payload) + len(topic) + more} with MQTT and TCP"
        for name, (topic, payload) in sizes.items()
    ]


if __name__ == "__main__":
    raise SystemExit(main())
