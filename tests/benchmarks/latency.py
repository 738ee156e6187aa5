"""Prints how soon after its onset an alarm is told: made alarms through the pipeline, in simulated time.

Run it as ``python -m tests.benchmarks.latency [each]``; it is a measurement and no test.
"""

import sys

import numpy as np

from tocsin_node.bundle import load_bundle
from tocsin_node.pipeline import Judge, Pipeline, Sound
from tocsin_shared.events import Certainty, Phase
from tocsin_shared.features import Samples
from tocsin_shared.labels import Severity, severity_of
from tocsin_shared.synthesis import ambience, mix, sound
from tocsin_shared.synthesis.alarms import continuous_alarm

RATE, BLOCK = 16_000, 1_600
KINDS = ("continuous", "smoke_alarm", "co_alarm", "emergency_siren", "evacuation_siren")


def told_after(judge: Judge, samples: Samples, onset: float) -> dict[Certainty, float]:
    """Seconds from ``onset`` to the end of the block with which an alarm was first told so surely."""
    pipeline = Pipeline(judge, 0.5)
    found: dict[Certainty, float] = {}
    for start in range(0, len(samples), BLOCK):
        end = (start + BLOCK) / RATE
        for one in pipeline.push(Sound(samples[start : start + BLOCK], end)):
            alarm = severity_of(one.change.label) is Severity.ALARM
            if alarm and end > onset and one.change.phase is not Phase.OFFSET:
                found.setdefault(one.change.certainty, end - onset)
    return found


def alarm_after(kind: str, rng: np.random.Generator) -> tuple[Samples, float]:
    """An alarm 5 to 20 dB above a room, and its onset in seconds."""
    onset = float(rng.uniform(4.0, 4.5))
    made = continuous_alarm(8.0, rng) if kind == "continuous" else sound(kind, 8.0, rng)
    return mix(made, ambience(12.0, rng), float(rng.uniform(5.0, 20.0)), start=round(onset * RATE)), onset


def main(each: int) -> None:
    """Print one line for each kind of alarm."""
    judge, rng = load_bundle("sentry"), np.random.default_rng(99)
    for kind in KINDS:
        told = [told_after(judge, *alarm_after(kind, rng)) for _ in range(each)]
        first = [min(one.values()) for one in told if one]
        sure = [one[Certainty.CERTAIN] for one in told if Certainty.CERTAIN in one]
        print(f"{kind}: told {len(first)} of {each}; first {_spread(first)}; certain {_spread(sure)}")


def _spread(seconds: list[float]) -> str:
    if not seconds:
        return "never"
    p50, p95 = np.quantile(seconds, [0.5, 0.95])
    return f"p50 {p50:.2f} s, p95 {p95:.2f} s"


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 70)
