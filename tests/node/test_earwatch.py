"""The register of troubles follows the microphone, and no trouble keeps an alarm from being heard."""

import numpy as np
import pytest

from tocsin_node.bundle import load_bundle
from tocsin_node.earwatch import EarWatch, MicrophoneError
from tocsin_node.pipeline import Pipeline, Sound
from tocsin_node.troubles import Troubles
from tocsin_shared import synthesis
from tocsin_shared.errors import UnavailableError
from tocsin_shared.events import TroubleKind
from tocsin_shared.features import Samples

RATE = 16_000
BLOCK = RATE // 10


class Ears:
    """An ear watch over a clock that sound drives."""

    def __init__(self) -> None:
        self.now = 100.0
        self.troubles = Troubles(lambda: self.now, lambda: self.now)
        self.watch = EarWatch(RATE, self.troubles, live=True)

    def hear(self, samples: Samples, dropped: int = 0) -> list[Sound]:
        sounds = []
        for start in range(0, len(samples), BLOCK):
            self.now += 0.1
            sounds.append(Sound(samples[start : start + BLOCK], self.now))
            self.watch.heard(sounds[-1], dropped)
        return sounds

    @property
    def open(self) -> list[str]:
        return [one.kind for one in self.troubles.open()]


def room(seconds: float, dc: float = 0.0, level: float = 0.001) -> Samples:
    made = np.random.default_rng(1).normal(dc, level, round(seconds * RATE))
    return (np.round(made * 32768) / 32768).astype(np.float32)


def test_why_there_is_no_sound_is_one_trouble_at_a_time_and_ends_with_the_first_block() -> None:
    ears = Ears()
    ears.watch.lost(MicrophoneError("none"))
    assert ears.open == ["mic_absent"]
    ears.watch.lost(MicrophoneError("taken", TroubleKind.MIC_BUSY))
    assert ears.open == ["mic_busy"]
    ears.watch.lost(MicrophoneError("taken", TroubleKind.MIC_BUSY))
    assert len(ears.troubles.message("press-1", "b1").troubles) == 2
    ears.hear(room(0.1))
    assert ears.open == []


def test_an_error_without_a_kind_is_an_absence() -> None:
    ears = Ears()
    ears.watch.lost(UnavailableError("whatever"))
    assert [(one.kind, one.detail) for one in ears.troubles.open()] == [("mic_absent", "whatever")]


def test_what_a_lost_microphone_was_like_ends_with_it() -> None:
    ears = Ears()
    ears.hear(room(10.0, dc=0.3))
    assert ears.open == ["mic_dc"]
    ears.watch.lost(MicrophoneError("unplugged"))
    assert ears.open == ["mic_absent"]
    ears.hear(room(10.0))
    assert ears.open == []


def test_lost_blocks_are_a_trouble_of_their_own() -> None:
    ears = Ears()
    ears.hear(room(5.0))
    ears.hear(room(1.0), dropped=3)
    assert ears.open == ["mic_drops"]
    ears.hear(room(30.0), dropped=3)
    assert ears.open == []


@pytest.mark.slow
def test_no_gate_mutes_a_quiet_far_alarm_whatever_is_wrong_with_the_microphone() -> None:
    """The shipped model, an alarm at −60 dBFS, and a microphone whose signal is shifted by a fifth."""
    classifier = load_bundle("sentry")
    alarm = synthesis.at_level(synthesis.sound("smoke_alarm", 10.0, np.random.default_rng(2)), -60.0)
    samples = room(20.0, dc=0.2, level=10 ** (-75 / 20))
    samples[10 * RATE :] += alarm
    ears, pipeline = Ears(), Pipeline(classifier, 0.5)
    found = [one for sound in ears.hear(samples) for one in pipeline.push(sound)]
    assert ears.open == ["mic_dc"]
    assert {one.change.label for one in found} == {"smoke_alarm"}
    assert len({one.change.detection for one in found}) == 1
    assert found[0].change.level_dbfs is not None
