"""The made sounds keep to the patterns, tones and levels that they claim."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tocsin_shared import synthesis
from tocsin_shared.features import Samples, level_dbfs
from tocsin_shared.synthesis import (
    alarms,
    bells,
    decoys,
    evacuation,
    impacts,
    levels,
    machines,
    rooms,
    shots,
    sirens,
    throats,
    vehicles,
    voices,
)

RATE = 16_000
Maker = Callable[[float, np.random.Generator, int], Samples]
EVERY_MAKER: tuple[Maker, ...] = (
    alarms.t3_alarm,
    alarms.t4_alarm,
    alarms.continuous_alarm,
    alarms.machine_beeps,
    alarms.clock_beeps,
    alarms.medical_beeps,
    alarms.ringing_bell,
    alarms.slow_beeps,
    alarms.two_tone_beeps,
    alarms.gas_alarm,
    evacuation.slow_whoop,
    evacuation.falling_sweep,
    evacuation.alternating_tones,
    evacuation.fast_sweep,
    evacuation.two_unequal_tones,
    evacuation.steady_tone,
    evacuation.motor_siren,
    sirens.wail,
    sirens.yelp,
    sirens.hi_lo,
    sirens.phaser,
    machines.engine,
    machines.chainsaw_or_power_tool,
    bells.struck_bells,
    bells.warble,
    bells.ringtone,
    bells.ding_dong,
    bells.door_buzzer,
    shots.gunshot_or_explosion,
    throats.scream,
    throats.crying,
    throats.dog_bark,
    impacts.door_knock,
    vehicles.vehicle_horn,
    vehicles.reversing_beeper,
    impacts.glass_breaking,
    impacts.knocks,
    impacts.clinks,
    impacts.clicks,
    voices.speech,
    decoys.interface_beeps,
    decoys.music,
    decoys.tune,
    decoys.hum,
    decoys.water,
    decoys.whistling,
    rooms.ambience,
    rooms.room,
)


def pulses_of(samples: Samples, join_seconds: float = 0.03) -> list[tuple[float, float]]:
    """Start and end in seconds of what sounds, from the envelope in pieces of 5 ms."""
    size = RATE // 200
    pieces = np.abs(samples[: len(samples) // size * size]).reshape(-1, size).max(axis=1)
    found: list[tuple[float, float]] = []
    for number in np.flatnonzero(pieces > 0.25 * pieces.max()):
        start, end = number / 200, (number + 1) / 200
        if found and start - found[-1][1] <= join_seconds:
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
    return found


def loudest_hz(samples: Samples) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum) * RATE / len(samples))


@pytest.mark.parametrize("seed", range(8))
def test_t3_keeps_every_time_within_the_tolerance_of_iso_8201(seed: int) -> None:
    heard = pulses_of(alarms.t3_alarm(12.0, np.random.default_rng(seed)))
    assert len(heard) in {8, 9, 10}
    for number, (start, end) in enumerate(heard[:6]):
        assert end - start == pytest.approx(0.5, rel=0.1, abs=0.006)
        rest = heard[number + 1][0] - end
        assert rest == pytest.approx(1.5 if number % 3 == 2 else 0.5, rel=0.1, abs=0.011)


@pytest.mark.parametrize("seed", range(4))
def test_t4_is_four_short_pulses_and_five_seconds_of_silence(seed: int) -> None:
    heard = pulses_of(alarms.t4_alarm(12.0, np.random.default_rng(seed)))
    assert len(heard) >= 8
    for number, (start, end) in enumerate(heard[:7]):
        assert end - start == pytest.approx(0.1, rel=0.1, abs=0.006)
        rest = heard[number + 1][0] - end
        assert rest == pytest.approx(5.0 if number % 4 == 3 else 0.1, rel=0.1, abs=0.011)


def test_a_piezo_sounds_near_3100_hz_and_the_low_sounder_near_520_hz() -> None:
    for seed in range(6):
        rng = np.random.default_rng(seed)
        assert 2_850.0 < loudest_hz(alarms.piezo(1.0, rng, RATE).astype(np.float32)) < 3_450.0
        low = alarms.low_frequency(1.0, rng, RATE)
        assert loudest_hz(low.astype(np.float32)) == pytest.approx(520.0, rel=0.1)


def test_the_low_sounder_has_odd_harmonics_only() -> None:
    spectrum = np.abs(
        np.fft.rfft(alarms.low_frequency(1.0, np.random.default_rng(1), RATE) * np.hanning(RATE))
    )
    first = int(np.argmax(spectrum))
    second, third = (float(spectrum[number * first - 6 : number * first + 7].max()) for number in (2, 3))
    assert third == pytest.approx(spectrum[first] / 3.0, rel=0.15)
    assert second < 0.01 * spectrum[first]


def test_the_slow_whoop_rises_from_500_to_1200_hz_and_rests() -> None:
    whoop = evacuation.slow_whoop(4.5, np.random.default_rng(3))
    start, end = pulses_of(whoop)[0]
    assert end - start == pytest.approx(3.5, rel=0.11)
    low = loudest_hz(levels.small_speaker(whoop[: RATE // 5], 0.0, 900.0))
    assert 480.0 < low < 620.0
    last = whoop[int((end - 0.2) * RATE) : int(end * RATE)]
    assert 1_100.0 < loudest_hz(levels.small_speaker(last, 0.0, 1_500.0)) < 1_210.0


def test_a_two_tone_siren_has_two_tones_in_a_stated_ratio() -> None:
    for seed in range(5):
        siren = sirens.hi_lo(3.0, np.random.default_rng(seed))
        pieces = siren[: len(siren) // 1_600 * 1_600].reshape(-1, 1_600)
        tones = sorted(loudest_hz(levels.small_speaker(piece, 0.0, 1_200.0)) for piece in pieces)
        assert 1.05 < tones[-2] / tones[1] < 3.6
        assert len({round(tone / 20.0) for tone in tones}) >= 2


@pytest.mark.parametrize("seed", range(6))
def test_alternating_tones_are_800_and_970_hz_and_change_every_quarter_or_half_second(seed: int) -> None:
    samples = evacuation.alternating_tones(4.0, np.random.default_rng(seed))
    tones = [
        loudest_hz(levels.small_speaker(piece, 0.0, 1_050.0)) for piece in samples.reshape(-1, RATE // 20)
    ]
    low, high = np.quantile(tones, [0.2, 0.8])
    assert 720.0 < low < 880.0
    assert 880.0 < high < 1_060.0
    upper = np.array(tones) > (low + high) / 2.0
    changes = int(np.sum(upper[1:] != upper[:-1]))
    assert 4.0 / changes == pytest.approx(0.25, rel=0.2) or 4.0 / changes == pytest.approx(0.5, rel=0.25)


def test_the_signal_of_din_33404_falls_once_in_a_second() -> None:
    for seed in range(5):
        samples = evacuation.falling_sweep(5.0, np.random.default_rng(seed))
        tones = np.array(
            [loudest_hz(levels.small_speaker(p, 0.0, 1_300.0)) for p in samples.reshape(-1, RATE // 20)]
        )
        leaps = np.flatnonzero(np.diff(tones) > 250.0)
        assert np.mean(np.diff(tones) < 0.0) > 0.6, "it falls most of the time"
        assert len(leaps) in {4, 5}


def test_a_tonal_reversing_beeper_keeps_to_its_band_and_to_half_of_every_second() -> None:
    heard_hiss = heard_tone = 0
    for seed in range(12):
        samples = vehicles.reversing_beeper(8.0, np.random.default_rng(seed))
        pulses = pulses_of(samples)
        periods = np.diff([start for start, _ in pulses])
        assert 0.69 < float(np.median(periods)) < 1.31
        start, end = pulses[1]
        assert 0.35 < (end - start) / float(np.median(periods)) < 0.65
        spectrum = np.abs(np.fft.rfft(samples[int(start * RATE) : int(end * RATE)])) ** 2
        if spectrum.max() > 0.05 * spectrum.sum():
            heard_tone += 1
            assert 980.0 < loudest_hz(samples[int(start * RATE) : int(end * RATE)]) < 2_850.0
        else:
            heard_hiss += 1
    assert heard_hiss > 0
    assert heard_tone > heard_hiss


def test_a_shot_is_there_at_once_and_most_of_it_is_over_soon() -> None:
    for seed in range(6):
        shot = shots.gunshot(np.random.default_rng(seed), RATE)
        assert np.abs(shot[: RATE // 100]).max() > 0.5 * np.abs(shot).max()
        energy = np.cumsum(shot**2)
        assert energy[RATE // 4] > 0.6 * energy[-1]


def test_a_scream_is_high_and_rough() -> None:
    for seed in range(6):
        samples = throats.scream(4.0, np.random.default_rng(seed))
        start, end = max(pulses_of(samples, 0.1), key=lambda pulse: pulse[1] - pulse[0])
        loud = samples[int(start * RATE) : int(end * RATE)]
        spectrum = np.abs(np.fft.rfft(loud)) ** 2
        hertz = np.fft.rfftfreq(len(loud), 1.0 / RATE)
        assert spectrum[hertz > 450.0].sum() > 0.9 * spectrum.sum()
        envelope = np.abs(loud)[: len(loud) // 32 * 32].reshape(-1, 32).max(axis=1)
        swing = np.abs(np.fft.rfft(envelope - envelope.mean())) ** 2
        rate = np.fft.rfftfreq(len(envelope), 32.0 / RATE)
        assert swing[(rate >= 25.0) & (rate <= 170.0)].sum() > 0.15 * swing[rate >= 5.0].sum()


def test_somebody_knocks_two_to_six_times_and_waits() -> None:
    for seed in range(6):
        starts = [start for start, _ in pulses_of(impacts.door_knock(2.0, np.random.default_rng(seed)), 0.06)]
        gaps = np.diff(starts[:3])
        assert len(starts) >= 2
        assert 0.1 < gaps[0] < 0.45


def test_glass_breaks_at_once_brightly_and_is_over_soon() -> None:
    for seed in range(6):
        glass = impacts.glass_breaking(4.0, np.random.default_rng(seed))
        spectrum = np.abs(np.fft.rfft(glass)) ** 2
        assert spectrum[len(spectrum) // 4 :].sum() > 0.5 * spectrum.sum(), "most of it above 2 kHz"
        assert np.abs(glass[: RATE // 10]).max() > 0.3
        assert np.abs(glass[3 * RATE :]).max() < 0.05


def test_speech_has_pauses_and_the_rhythm_of_syllables() -> None:
    said = voices.speech(12.0, np.random.default_rng(2))
    envelope = np.sqrt(np.mean(said[: 12 * RATE].reshape(-1, 320) ** 2, axis=1))
    assert np.mean(envelope < 0.1 * envelope.max()) > 0.08
    rhythm = np.abs(np.fft.rfft(envelope - envelope.mean())) ** 2
    hertz = np.arange(len(rhythm)) / 12.0
    assert rhythm[(hertz >= 2.0) & (hertz <= 10.0)].sum() > 0.4 * rhythm.sum()


@pytest.mark.parametrize("maker", EVERY_MAKER, ids=lambda maker: maker.__name__)
def test_every_sound_is_finite_within_full_scale_and_of_the_asked_length(maker: Maker) -> None:
    for seed in range(6):
        for seconds in (0.3, 2.0):
            samples = maker(seconds, np.random.default_rng(seed), RATE)
            assert samples.dtype == np.float32
            assert samples.shape == (round(seconds * RATE),)
            assert np.isfinite(samples).all()
            assert np.abs(samples).max() <= 1.0


@pytest.mark.parametrize("label", synthesis.LABELS)
def test_the_same_generator_state_gives_the_same_samples(label: str) -> None:
    first, second, other = (synthesis.sound(label, 1.5, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("rate_hz", [8_000, 44_100])
@pytest.mark.parametrize("label", synthesis.LABELS)
def test_other_sample_rates_work(label: str, rate_hz: int) -> None:
    samples = synthesis.sound(label, 1.0, np.random.default_rng(1), rate_hz)
    assert samples.shape == (rate_hz,)
    assert 0.4 < np.abs(samples).max() <= 0.51


def test_an_unknown_label_names_those_that_are_known() -> None:
    with pytest.raises(ValueError, match="smoke_alarm, co_alarm"):
        synthesis.sound("tornado", 1.0, np.random.default_rng(1))


def test_ambience_is_a_quiet_room() -> None:
    for seed in range(10):
        level = level_dbfs(synthesis.ambience(3.0, np.random.default_rng(seed)))
        assert level is not None
        assert -58.0 < level < -45.0


@settings(max_examples=40, deadline=None)
@given(dbfs=st.floats(-60.0, -12.0), seed=st.integers(0, 50))
def test_at_level_gives_that_level_and_keeps_the_shape(dbfs: float, seed: int) -> None:
    tone = vehicles.reversing_beeper(1.0, np.random.default_rng(seed))
    half_silent = np.concatenate([tone[:4_800], np.zeros(8_000, dtype=np.float32)])
    placed = synthesis.at_level(half_silent, dbfs)
    assert placed.shape == half_silent.shape
    assert level_dbfs(placed[:4_800]) == pytest.approx(dbfs, abs=0.6)


def test_silence_has_no_level_to_change() -> None:
    assert not synthesis.at_level(np.zeros(1_600, dtype=np.float32), -20.0).any()


@settings(max_examples=30, deadline=None)
@given(snr_db=st.floats(0.0, 30.0), start=st.integers(0, 40_000))
def test_mix_puts_the_sound_that_far_above_the_bed(snr_db: float, start: int) -> None:
    bed = levels.at_level(np.random.default_rng(3).standard_normal(32_000).astype(np.float32), -50.0)
    tone = vehicles.car_horn(0.5, np.random.default_rng(4)).astype(np.float32)
    mixed = synthesis.mix(tone, bed, snr_db, start)
    assert mixed.shape == bed.shape
    added = (mixed - bed)[start : start + 8_000]
    if len(added) == 8_000:
        assert level_dbfs(added) == pytest.approx(-50.0 + snr_db, abs=0.7)
    assert np.array_equal(mixed[:start], bed[:start])


def test_clipping_is_at_full_scale() -> None:
    loud = levels.clipped(np.array([0.1, -0.5, 0.9], dtype=np.float32), drive_db=12.0)
    assert np.abs(loud).max() == pytest.approx(levels.FULL_SCALE)
    assert loud[0] == pytest.approx(0.398, abs=1e-3)


def test_a_room_rings_on_and_keeps_the_level() -> None:
    knock = np.pad(impacts.knock(np.random.default_rng(1)), (0, RATE))
    heard = levels.in_room(knock, 0.8, np.random.default_rng(2))
    assert level_dbfs(heard) == pytest.approx(level_dbfs(knock), abs=0.5)
    assert np.abs(heard[8_000:12_000]).max() > 10.0 * np.abs(knock[8_000:12_000]).max()


def test_a_room_decays_by_60_db_in_its_reverberation_time() -> None:
    response = levels.room_response(1.0, np.random.default_rng(5))
    early, late = level_dbfs(response[800:2_400]), level_dbfs(response[8_800:10_400])
    assert early is not None
    assert late is not None
    assert early - late == pytest.approx(30.0, abs=2.0)


def test_a_small_speaker_takes_away_what_lies_outside_its_band() -> None:
    low = np.sin(2.0 * np.pi * 100.0 * np.arange(RATE) / RATE).astype(np.float32)
    inside = np.sin(2.0 * np.pi * 1_000.0 * np.arange(RATE) / RATE).astype(np.float32)
    before, after = level_dbfs(low), level_dbfs(levels.small_speaker(low, 400.0, 4_000.0))
    assert before is not None
    assert after is not None
    assert before - after > 20.0
    assert level_dbfs(levels.small_speaker(inside, 400.0, 4_000.0)) == pytest.approx(before, abs=0.5)
