"""The bench: its advice, and that it measures a real node."""

import json

import pytest

from tocsin_node.bench_advice import Cost, advice
from tocsin_node.cli import main
from tocsin_shared.manifest import read_manifest, shipped_bundle


def test_the_preferred_variant_is_taken_unless_another_is_clearly_faster() -> None:
    costs = [Cost("int8", 1, 4.0), Cost("int8", 2, 4.5), Cost("float32", 1, 3.8)]
    taken = advice(costs, 0.3, "int8")
    assert (taken.variant, taken.threads, taken.hop_seconds) == ("int8", 1, 0.5)
    assert taken.load == pytest.approx((0.3 + 4.0) / 500.0)
    assert advice([*costs, Cost("float16", 1, 2.0)], 0.3, "int8").variant == "float16"


@pytest.mark.parametrize(
    ("invoke_ms", "hop", "words"),
    [
        (100.0, 0.5, "take variant"),
        (200.0, 1.0, "take variant"),
        (900.0, 2.0, "keeps up"),
        (3e3, 2.0, "too slow"),
    ],
)
def test_a_slow_machine_is_given_a_longer_hop_or_told_that_it_is_too_slow(
    invoke_ms: float, hop: float, words: str
) -> None:
    taken = advice([Cost("int8", 1, invoke_ms)], 1.0, "int8")
    assert taken.hop_seconds == hop
    assert words in taken.words


@pytest.mark.slow
def test_the_command_measures_every_variant_and_a_whole_node(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--json", "--seconds", "4"]) == 0
    found = json.loads(capsys.readouterr().out)
    variants = [variant.name for variant in read_manifest(shipped_bundle()).variants]
    assert [(one["variant"], one["threads"]) for one in found["variants"]] == [
        (name, threads) for name in variants for threads in (1, 2)
    ]
    # CPU time, which a busy machine does not lengthen by much.
    assert found["features"]["0.1"]["cpu_ms"] < found["librosa_window"]["cpu_ms"]
    assert found["librosa_ratio"] > 1.0
    assert 0.0 < found["node"]["cpu_share"] < 0.5
    assert 20.0 < found["node"]["rss_mb"] <= 120.0
    assert found["advice"]["variant"] in variants
