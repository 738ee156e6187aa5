"""Levels: a minute becomes one line, old lines go, and the plots get what they ask for."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.hub.parts import START_US, Line, birth, feed, heartbeat, log_in, many
from tests.shared.messages import sound
from tocsin_hub.levels.keeping import KEPT_DAYS, MOST_POINTS, levels_of, save
from tocsin_hub.levels.rules import MINUTE_US, LevelMinutes, MinuteLevel, step_minutes
from tocsin_hub.root import build
from tocsin_hub.settings import HubSettings

DAY_US = 86_400_000_000


def test_a_minute_is_told_once_and_by_its_power() -> None:
    minutes = LevelMinutes()
    told = [
        minutes.take("gate", level, at * MINUTE_US // 6) for at, level in enumerate([-40.0] * 5 + [-20.0])
    ]
    assert told == [None] * 6
    line = minutes.take("gate", -60.0, MINUTE_US)
    power = (5 * 1e-4 + 1e-2) / 6
    assert line == MinuteLevel("gate", 0, round(10 * math.log10(power), 1), -20.0)


def test_digital_silence_and_a_dead_microphone_leave_a_gap() -> None:
    minutes = LevelMinutes()
    assert minutes.take("gate", None, 0) is None
    assert minutes.take("gate", -50.0, MINUTE_US) is None
    assert minutes.take("gate", None, 2 * MINUTE_US) == MinuteLevel("gate", 1, -50.0, -50.0)
    assert minutes.take("gate", None, 3 * MINUTE_US) is None


@given(st.lists(st.tuples(st.integers(0, 20), st.one_of(st.none(), st.floats(-120, 20)))))
def test_nothing_is_told_twice_and_the_mean_lies_below_the_loudest(
    heard: list[tuple[int, float | None]],
) -> None:
    minutes = LevelMinutes()
    lines = [
        minutes.take("gate", level, minute * MINUTE_US) for minute, level in sorted(heard, key=lambda h: h[0])
    ]
    told = [line for line in lines if line is not None]
    assert len({line.minute for line in told}) == len(told)
    assert all(line.mean_dbfs <= line.loudest_dbfs + 0.1 for line in told)


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_plot_never_has_too_many_points(first: int, length: int) -> None:
    step = step_minutes(first, first + length, MOST_POINTS)
    assert length / step <= MOST_POINTS


def test_heartbeats_become_one_row_a_minute_and_old_rows_go(tmp_path: Path) -> None:
    with Line(tmp_path / "hub.sqlite") as line:
        line.send("birth", birth())
        for number in range(13):
            line.now_us = START_US + number * 10_000_000
            line.send("hb", heartbeat(level_dbfs=-40.0 - number))
        line.settle()
        assert len(levels_of(line.store, "press-1", START_US - MINUTE_US, START_US + DAY_US)) == 2
        late = START_US // MINUTE_US + KEPT_DAYS * 24 * 60 + 10
        line.writer.call(lambda recorder: save(recorder, MinuteLevel("press-1", late, -50.0, -40.0)))
        rows = line.store.rows("SELECT minute FROM levels")
        assert rows == [(late,)]


def test_the_api_tells_counts_and_levels_and_names_what_is_wrong(tmp_path: Path) -> None:
    hub = build(HubSettings(state_folder=tmp_path / "state"))
    hub.writer.start(hub.ingest.settle, lambda _: None)
    try:
        client = log_in(hub)
        feed(hub, *many(3), sound(id="0" * 26, test=True, seq=99))
        span = {"since": "2026-11-23T00:00:00Z", "until": "2026-11-24T00:00:00Z"}
        hours = client.get("/api/v1/counts", query_string={**span, "zone": "hall-1"}).get_json()["hours"]
        assert [(hour["at"], hour["alarm"]) for hour in hours] == [("2026-11-23T02:00:00.000Z", 3)]
        assert client.get("/api/v1/counts", query_string={**span, "node": "gate"}).get_json()["hours"] == []
        assert client.get("/api/v1/levels", query_string={"node": "nobody"}).status_code == 404
        for wrong in (
            {"since": "yesterday"},
            {"since": "2026-11-25T00:00:00"},
            {"since": "2020-01-01T00:00:00Z"},
        ):
            answer = client.get("/api/v1/counts", query_string=wrong)
            assert (answer.status_code, answer.get_json()["error"]["code"]) == (400, "bad_parameter")
    finally:
        hub.writer.stop()
        hub.services.store.close()


@pytest.mark.parametrize("level", [math.inf, math.nan])
def test_a_level_that_is_no_number_is_none(level: float) -> None:
    assert LevelMinutes().take("gate", level, 0) is None
