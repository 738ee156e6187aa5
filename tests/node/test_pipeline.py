"""From blocks to detections, with a judge of the test's own in place of the network."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.node.fake_judge import FakeJudge, tone
from tocsin_node.pipeline import Detected, Levels, Pipeline, Sound
from tocsin_shared.errors import SettingsError
from tocsin_shared.events import Phase
from tocsin_shared.features import Samples

RATE = 16_000


def feed(pipeline: Pipeline, samples: Samples, block: int = 1600, begin: float = 1000.0) -> list[Detected]:
    """Push ``samples`` as they would come, the first at monotonic time ``begin``."""
    found: list[Detected] = []
    for start in range(0, len(samples), block):
        piece = samples[start : start + block]
        found += pipeline.push(Sound(piece, begin + (start + len(piece)) / RATE))
    return found


def quiet(seconds: float) -> Samples:
    return tone(seconds, amplitude=0.001)


def test_a_tone_is_told_when_and_as_loud_as_it_was() -> None:
    pipeline = Pipeline(FakeJudge(), 0.5)
    found = feed(pipeline, np.concatenate([quiet(10.0), tone(5.0), quiet(6.0)]))
    onset, offset = (one for one in found if one.change.phase is not Phase.UPDATE)
    assert (onset.change.phase, offset.change.phase) == (Phase.ONSET, Phase.OFFSET)
    assert 1010.0 <= onset.onset <= 1011.0
    assert offset.offset is not None
    assert 1015.0 <= offset.offset <= 1017.1
    assert onset.ambient_dbfs == pytest.approx(-63.0, abs=0.5)
    assert offset.ambient_dbfs == onset.ambient_dbfs
    assert offset.change.level_dbfs == pytest.approx(-9.0, abs=0.2)


@settings(max_examples=15, deadline=None)
@given(st.integers(100, 20_000))
def test_the_length_of_blocks_changes_nothing_but_when_the_news_comes(block: int) -> None:
    samples = np.concatenate([quiet(3.0), tone(3.0), quiet(4.0)])
    whole, pieces = Pipeline(FakeJudge(), 0.5), Pipeline(FakeJudge(), 0.5)
    expected = [one.change.onset_seconds for one in feed(whole, samples, 1600) + whole.flush()]
    got = [one.change.onset_seconds for one in feed(pieces, samples, block) + pieces.flush()]
    assert got == expected


@pytest.mark.parametrize("hop", [0.1, 0.5, 1.0, 1.6, 2.0])
def test_every_hop_works_and_is_a_whole_number_of_frames(hop: float) -> None:
    pipeline = Pipeline(FakeJudge(), hop)
    assert pipeline.hop_seconds == pytest.approx(hop)
    phases = [one.change.phase for one in feed(pipeline, np.concatenate([quiet(3.0), tone(6.0), quiet(7.0)]))]
    assert phases[0] is Phase.ONSET
    assert phases[-1] is Phase.OFFSET


def test_a_hop_longer_than_the_window_would_leave_sound_unheard() -> None:
    with pytest.raises(SettingsError, match="sound would go unheard"):
        Pipeline(FakeJudge(), 2.5)


def test_at_the_end_what_is_open_is_ended() -> None:
    pipeline = Pipeline(FakeJudge(), 0.5)
    feed(pipeline, tone(5.0))
    assert [one.change.phase for one in pipeline.flush()] == [Phase.OFFSET]
    assert pipeline.flush() == []


def test_after_a_restart_old_sound_is_forgotten_and_detections_are_new_ones() -> None:
    pipeline = Pipeline(FakeJudge(), 0.5)
    feed(pipeline, tone(4.0))
    pipeline.flush()
    pipeline.restart()
    assert feed(pipeline, tone(1.9), begin=2000.0) == []
    found = feed(pipeline, tone(3.0), begin=2001.9)
    assert found[0].change.detection == 2
    assert found[0].onset >= 2001.0


def test_a_room_that_was_never_heard_before_has_no_ambient_level() -> None:
    pipeline = Pipeline(FakeJudge(), 0.1)
    found = feed(pipeline, np.concatenate([np.zeros(RATE * 3, dtype=np.float32), tone(4.0)]))
    assert found[0].ambient_dbfs is None


def test_the_alarm_itself_does_not_become_the_level_of_the_room() -> None:
    """An alarm that is told anew after max_seconds must not raise the room's level to its own."""
    pipeline = Pipeline(FakeJudge(max_seconds=5.0), 0.5)
    found = feed(pipeline, np.concatenate([quiet(30.0), tone(40.0)]))
    ambient = [one.ambient_dbfs for one in found if one.change.phase is Phase.ONSET]
    assert len(ambient) >= 6
    assert all(level == pytest.approx(-63.0, abs=1.0) for level in ambient)


def test_the_figures_of_the_heartbeat() -> None:
    times = iter(range(1000))
    pipeline = Pipeline(FakeJudge(), 0.5, timer=lambda: next(times) / 1000.0)
    before = pipeline.vitals()
    assert (before.level_dbfs, before.inference_p95_ms, before.clipped_ratio) == (None, None, 0.0)
    feed(pipeline, np.concatenate([tone(3.0), np.ones(RATE, dtype=np.float32)]))
    after = pipeline.vitals()
    assert after.level_dbfs == pytest.approx(0.0, abs=0.01)
    assert after.clipped_ratio == pytest.approx(0.25, abs=0.01)
    assert after.inference_p95_ms == pytest.approx(1.0)
    assert pipeline.vitals().clipped_ratio == 0.0


@pytest.mark.parametrize(
    ("make", "silent"),
    [(lambda: np.zeros(RATE * 3, dtype=np.float32), True), (lambda: tone(3.0, amplitude=1e-5), False)],
)
def test_only_digital_silence_is_silence(make: Callable[[], Samples], silent: bool) -> None:
    pipeline = Pipeline(FakeJudge(), 0.5)
    feed(pipeline, make())
    assert pipeline.silent is silent
    feed(pipeline, tone(0.1))
    assert pipeline.silent is False


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=30), st.integers(0, 2**32 - 1))
def test_the_last_second_is_the_last_second_however_it_came(pieces: list[int], seed: int) -> None:
    samples = np.random.default_rng(seed).uniform(-1, 1, sum(pieces)).astype(np.float32)
    levels = Levels(RATE)
    for piece in np.split(samples, np.cumsum(pieces)[:-1]):
        levels.push(piece)
    expected = 10 * np.log10(np.mean(np.square(samples[-RATE:], dtype=np.float64)))
    assert levels.last_second() == pytest.approx(expected, abs=1e-6)
