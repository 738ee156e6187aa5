"""What is measured of sound."""

import math

import numpy as np
import pytest

from tocsin_node.ears import Ears, Second
from tocsin_node.meter import Meter
from tocsin_node.pipeline import Sound
from tocsin_shared import synthesis
from tocsin_shared.events import TroubleKind
from tocsin_shared.features import Samples

RATE = 16_000
TIME = np.arange(RATE) / RATE
RANDOM = np.random.default_rng(8)


def tone(hz: float, amplitude: float = 0.1) -> Samples:
    made: Samples = (amplitude * np.sin(2.0 * np.pi * hz * TIME + 0.4)).astype(np.float32)
    return made


def noise(amplitude: float = 0.01) -> Samples:
    made: Samples = RANDOM.normal(0.0, amplitude, RATE).astype(np.float32)
    return made


def measured(samples: Samples, rate: int = RATE) -> Second:
    (second,) = Meter(rate).push(Sound(samples, 1.0), 0)
    return second


def test_silence_has_no_level_and_a_constant_none_either() -> None:
    silence = measured(np.zeros(RATE, dtype=np.float32))
    assert (silence.level_dbfs, silence.mean) == (-math.inf, 0.0)
    constant = measured(np.full(RATE, 0.25, dtype=np.float32))
    assert constant.level_dbfs == -math.inf
    assert constant.mean == pytest.approx(0.25)


def test_the_quietest_step_of_a_sound_card_is_a_sound() -> None:
    one_bit = np.where(np.arange(RATE) % 2, np.float32(1 / 32768), np.float32(0))
    assert measured(one_bit.astype(np.float32)).level_dbfs == pytest.approx(-96.3, abs=0.1)


def test_level_and_mean_are_told_apart() -> None:
    second = measured(tone(440.0) + np.float32(0.3))
    assert second.mean == pytest.approx(0.3, abs=1e-4)
    assert second.level_dbfs == pytest.approx(-23.0, abs=0.05)


def test_clipped_samples_are_counted_on_both_sides() -> None:
    assert measured(np.clip(tone(100.0, 10.0), -1.0, 1.0).astype(np.float32)).clipped_share > 0.9
    one_sided = np.clip(tone(100.0, 10.0), -1.0, 0.5).astype(np.float32)
    assert 0.45 < measured(one_sided).clipped_share < 0.5
    assert measured(tone(100.0, 0.99)).clipped_share == 0.0


@pytest.mark.parametrize("mains", [50.0, 60.0, 49.6, 60.3])
@pytest.mark.parametrize("rate", [16_000, 22_050, 32_000])
def test_mains_hum_is_hum_at_any_rate(mains: float, rate: int) -> None:
    at = np.arange(rate) / rate
    parts = [np.sin(2.0 * np.pi * mains * k * at + k) / k**2 for k in (1, 2, 3, 5)]
    assert measured((0.05 * np.sum(parts, axis=0)).astype(np.float32), rate).hum_share > 0.98


@pytest.mark.parametrize("hz", [110.0, 440.0, 500.0, 520.0, 950.0, 1050.0, 1950.0, 3100.0])
def test_no_other_tone_is_hum(hz: float) -> None:
    assert measured(tone(hz)).hum_share < 0.05


def test_hum_with_a_room_around_it_is_not_hum_alone() -> None:
    assert measured(tone(50.0, 0.02) + noise(0.005)).hum_share < 0.9


@pytest.mark.parametrize("label", ["smoke_alarm", "vehicle_horn", "evacuation_siren"])
def test_no_alarm_makes_trouble_however_quiet_or_loud(label: str) -> None:
    """An alarm that lasts, far and near, is a sound and no fault of the microphone."""
    made = synthesis.sound(label, 25.0, np.random.default_rng(3))
    for level in (-85.0, -45.0, -12.0):
        clip = synthesis.at_level(made, level)
        meter, ears = Meter(RATE), Ears(live=True)
        changes = []
        for number in range(250):
            block = clip[number * 1600 : (number + 1) * 1600] + noise(1e-5)[:1600]
            for second in meter.push(Sound(block.astype(np.float32), (number + 1) / 10), 0):
                changes += ears.push(second)
        assert [change.kind for change in changes] == []


def test_blocks_of_any_length_make_whole_seconds_with_their_times_and_drops() -> None:
    meter = Meter(RATE)
    seconds: list[Second] = []
    total = 0
    for dropped, length in enumerate((100, 15_000, 40_000, 1, 7_000, 50_000), start=1):
        total += length
        block = RANDOM.normal(0.0, 0.1, length).astype(np.float32)
        seconds += meter.push(Sound(block, total / RATE), dropped)
    assert [round(one.at, 6) for one in seconds] == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    assert sum(one.dropped_blocks for one in seconds) == 6
    assert sum(one.blocks for one in seconds) == 6


def test_a_constant_value_is_found_though_it_was_resampled() -> None:
    from tocsin_shared.audio import Resampler

    resampler = Resampler(48_000, RATE)
    meter, ears = Meter(RATE), Ears(live=True)
    kinds: list[TroubleKind] = []
    for number in range(100):
        samples = resampler.push(np.full(4800, 0.25, dtype=np.float32))
        for second in meter.push(Sound(samples, number / 10), 0):
            kinds += [change.kind for change in ears.push(second)]
    assert kinds == [TroubleKind.MIC_CONSTANT]
