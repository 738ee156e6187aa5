"""Prints how the cost of a site grows with its nodes; a measurement and no test.

``python -m tests.benchmarks.growth [--nodes 10 100 1000 …] [--seconds S]``: each node sends a heartbeat every
10 s and tells of a sound each minute, without a storm; one dashboard watches.
"""

import argparse
import os

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
    arguments = parser.parse_args()
    for line in on_the_wire():
        print(line, flush=True)
    lines = [f"| {' | '.join(_HEAD)} |", "|" + "---|" * len(_HEAD)]
    for nodes in arguments.nodes:
        found = storm.measure(storm.Shape(nodes, arguments.seconds, 1, storm=False))
        lines.append(row(nodes, found))
        print(lines[-1], flush=True)
    print("\n".join(lines))
    return 0


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
