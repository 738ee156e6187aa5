"""What :mod:`tocsin_models.recordings` found out, as Markdown for people."""

from tocsin_models.figures import table
from tocsin_models.recordings import Events, FalseAlarms, Report

HEAD = (
    "recordings of",
    "right",
    "detected",
    "95 % interval",
    "YAMNet, best five",
    "latency, s",
    "told instead",
)
SHOWN = 20
"""Problems that are named one by one."""


def as_text(report: Report) -> str:
    """The figures as Markdown, for people."""
    events = [_event_row(label, one) for label, one in report.events.items()]
    windows = [[label, f"{f1:.3f}"] for label, f1 in report.windows.f1.items()]
    parts = [
        f"{report.bundle} over {report.recordings} recordings, each in ambience of its own.",
        table(HEAD, events),
        _quiet(report.false_alarms),
        f"Macro-F1 over {report.windows.windows} windows at a score of one half: {report.macro_f1:.3f}.",
        table(["label", "F1 of windows"], windows),
    ]
    if report.problems:
        shown = [f"- {one}" for one in report.problems[:SHOWN]]
        more = [f"- and {len(report.problems) - SHOWN} more"] if len(report.problems) > SHOWN else []
        parts.append("\n".join(["Left out:", *shown, *more]))
    return "\n\n".join(parts)


def _quiet(false: FalseAlarms) -> str:
    if false.alarms_per_hour is None or false.alarms_per_hour_at_most is None:
        return "No recording was one in which nothing is to be told, so false alarms were not counted."
    told = ", ".join(f"{label} {count}" for label, count in false.told.items()) or "nothing"
    return (
        f"Where nothing is to be told, in {false.hours:.2f} h of streams ({false.recorded_hours:.2f} h of "
        f"recordings, the rest ambience), these were told: {told}. Of severity alarm: {false.alarms}, "
        f"{false.alarms_per_hour:.2f} per hour, at most {false.alarms_per_hour_at_most:.2f} (95 %)."
    )


def _event_row(label: str, one: Events) -> list[str]:
    low, high = one.interval
    latency = "–"
    if one.latency_seconds:
        latency = f"{one.latency_seconds[0]:.1f}; 95 %: {one.latency_seconds[1]:.1f}"
    return [
        label,
        ", ".join(one.right),
        f"{one.hits} / {one.of}",
        f"{low:.2f} to {high:.2f}",
        f"{one.peer[0]} / {one.of}" if one.peer else "–",
        latency,
        ", ".join(f"{name} {count}" for name, count in one.told_instead.items()) or "–",
    ]
