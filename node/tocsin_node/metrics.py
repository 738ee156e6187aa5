"""How a node fares, as Prometheus reads it: a text file for node_exporter's textfile collector.

The format is the text exposition format 0.0.4. A figure that is not known now has no line: a gap in a
graph is honest, and a zero would not be.
"""

import contextlib
import logging
import os
from pathlib import Path

from tocsin_shared.events import Clock, Heartbeat, MicState, NodeReported, UpdateState

log = logging.getLogger("tocsin.node.metrics")

_FIGURES: tuple[tuple[str, str, str], ...] = (
    ("level_dbfs", "gauge", "Level of the last second, dBFS of the root mean square."),
    ("clipped_ratio", "gauge", "Share of full-scale samples since the heartbeat before."),
    ("dropped_blocks_total", "counter", "Blocks of sound lost since the start."),
    ("inference_p95_seconds", "gauge", "95th percentile of the time for one window."),
    ("outbox_waiting", "gauge", "Events that the hub has not stored yet."),
    ("outbox_given_up_total", "counter", "Events given up because the outbox was full."),
    ("outbox_set_aside", "gauge", "Events that can never be delivered."),
    ("connected", "gauge", "1 while the broker has taken the node in."),
    ("temperature_celsius", "gauge", "Temperature of the processor."),
    ("throttled", "gauge", "1 while the board runs slower than it could."),
    ("clock_synchronized", "gauge", "1 while the network keeps the wall clock."),
    ("own_certificate_days", "gauge", "Days until the node's own certificate ends."),
    ("broker_certificate_days", "gauge", "Days until the broker's certificate ends."),
    ("heartbeat_timestamp_seconds", "gauge", "Unix time of this report."),
)


def exposition(
    beat: Heartbeat, *, connected: bool, troubles: int, reported: NodeReported | None = None
) -> str:
    """``beat`` in the text exposition format; ``troubles`` is how many are open.

    ``reported`` says which bundle listens and how an update fares.
    """
    lines: list[str] = []
    values = _values(beat, connected=connected)
    for name, kind, text in _FIGURES:
        if (value := values[name]) is not None:
            lines += [*_head(name, kind, text), f'tocsin_node_{name}{{node="{beat.node}"}} {value!r}']
    lines += _head("troubles", "gauge", "Troubles that are open now.")
    lines.append(f'tocsin_node_troubles{{node="{beat.node}"}} {troubles}')
    lines += _head("microphone", "gauge", "1 for the state that the microphone is in.")
    lines += [
        f'tocsin_node_microphone{{node="{beat.node}",state="{state}"}} {int(state is beat.mic)}'
        for state in MicState
    ]
    if reported is not None:
        lines += _updates(reported)
    return "\n".join(lines) + "\n"


def _updates(reported: NodeReported) -> list[str]:
    node = f'node="{reported.node}"'
    bundle = f'{node},bundle="{reported.active.bundle}",sha256="{reported.active.sha256}"'
    return [
        *_head("windows_missed_total", "counter", "Windows of sound that nobody judged, since the start."),
        f"tocsin_node_windows_missed_total{{{node}}} {reported.windows_missed}",
        *_head("bundle_info", "gauge", "1 for the bundle that listens."),
        f"tocsin_node_bundle_info{{{bundle}}} 1",
        *_head("update", "gauge", "1 for the state that the newest directive is in."),
        *(
            f'tocsin_node_update{{{node},state="{state}"}} {int(state is reported.state)}'
            for state in UpdateState
        ),
    ]


def write_metrics(path: Path, text: str) -> bool:
    """Put ``text`` in place of the file ``path`` as a whole; whether that went well. Never raises."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")  # no .prom: a half-written one is not collected
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        log.warning("metrics.textfile: %s cannot be written: %s", path, error.strerror)
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        return False
    return True


def _head(name: str, kind: str, text: str) -> list[str]:
    return [f"# HELP tocsin_node_{name} {text}", f"# TYPE tocsin_node_{name} {kind}"]


def _values(beat: Heartbeat, *, connected: bool) -> dict[str, float | None]:
    p95 = beat.inference_p95_ms
    return {
        "level_dbfs": beat.level_dbfs,
        "clipped_ratio": beat.clipped_ratio,
        "dropped_blocks_total": beat.dropped_blocks,
        "inference_p95_seconds": None if p95 is None else p95 / 1000.0,
        "outbox_waiting": beat.outbox_depth,
        "outbox_given_up_total": beat.outbox_dropped,
        "outbox_set_aside": beat.outbox_dead,
        "connected": int(connected),
        "temperature_celsius": beat.temperature_celsius,
        "throttled": None if beat.throttled is None else int(beat.throttled),
        "clock_synchronized": int(beat.clock is Clock.NTP),
        "own_certificate_days": beat.own_certificate_days,
        "broker_certificate_days": beat.broker_certificate_days,
        "heartbeat_timestamp_seconds": beat.at.timestamp(),
    }
