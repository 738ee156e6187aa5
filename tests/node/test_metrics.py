"""What Prometheus reads: its own parser understands it, and a file is there whole or not at all."""

import math
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tocsin_node.metrics import exposition, write_metrics
from tocsin_shared.events import Clock, Heartbeat, MicState, NodeReported, SlotState, UpdateState

BEAT = Heartbeat(
    node="press-1",
    boot="b",
    at=datetime(2026, 1, 2, tzinfo=UTC),
    mic=MicState.LISTENING,
    level_dbfs=-41.5,
    clipped_ratio=0.25,
    dropped_blocks=3,
    inference_p95_ms=12.0,
    outbox_depth=7,
    outbox_dropped=1,
    outbox_dead=2,
    throttled=False,
    clock=Clock.NTP,
)


def read(text: str) -> dict[str, float]:
    """Values by name, and by state where a sample has one."""
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    assert all(sample.labels["node"] == "press-1" for sample in samples)
    return {
        sample.name.removeprefix("tocsin_node_") + sample.labels.get("state", ""): sample.value
        for sample in samples
    }


def test_every_figure_arrives_in_its_unit() -> None:
    values = read(exposition(BEAT, connected=True, troubles=2))
    assert values["level_dbfs"] == -41.5
    assert values["inference_p95_seconds"] == pytest.approx(0.012)
    assert (values["outbox_waiting"], values["outbox_given_up_total"], values["outbox_set_aside"]) == (
        7,
        1,
        2,
    )
    assert (values["connected"], values["troubles"], values["clock_synchronized"]) == (1, 2, 1)
    assert values["heartbeat_timestamp_seconds"] == BEAT.at.timestamp()
    assert {state: values[f"microphone{state}"] for state in MicState} == {
        MicState.STARTING: 0,
        MicState.LISTENING: 1,
        MicState.SILENT: 0,
        MicState.ABSENT: 0,
    }


def test_every_family_has_a_type_and_words() -> None:
    for family in text_string_to_metric_families(exposition(BEAT, connected=False, troubles=0)):
        assert family.type in {"gauge", "counter"}
        assert family.documentation


def test_what_is_not_known_has_no_line_and_is_never_zero() -> None:
    unknown = msgspec.structs.replace(BEAT, level_dbfs=None, inference_p95_ms=None, throttled=None)
    values = read(exposition(unknown, connected=False, troubles=0))
    assert not {"level_dbfs", "inference_p95_seconds", "throttled", "temperature_celsius"} & set(values)
    assert not any(math.isnan(value) for value in values.values())


def test_the_file_is_replaced_as_a_whole_and_leaves_nothing_beside(tmp_path: Path) -> None:
    path = tmp_path / "tocsin.prom"
    assert write_metrics(path, "a 1\n")
    before = path.stat().st_ino
    assert write_metrics(path, "a 2\n")
    assert path.read_text(encoding="utf-8") == "a 2\n"
    assert path.stat().st_ino != before
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_away_is_no_end_of_the_node(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert not write_metrics(tmp_path / "away" / "tocsin.prom", "a 1\n")
    assert "metrics.textfile" in caplog.text


def test_which_bundle_listens_and_how_an_update_fares_is_read() -> None:
    """One state is 1, and all others 0."""
    reported = NodeReported(
        node="press-1",
        boot="b",
        at=BEAT.at,
        enabled=True,
        active=SlotState(bundle="sentry-1.0.0+float16", sha256="ab" * 32),
        state=UpdateState.SOAKING,
        windows_missed=2,
    )
    values = read(exposition(BEAT, connected=True, troubles=0, reported=reported))
    assert values["windows_missed_total"] == 2
    assert values["bundle_info"] == 1
    states = {name: value for name, value in values.items() if name.startswith("update")}
    assert len(states) == len(UpdateState)
    assert [name for name, value in states.items() if value] == ["updatesoaking"]
