"""The demo's script leaves every sound its time."""

from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin_hub.demo.cli import USUAL
from tocsin_hub.demo.script import (
    GAP_SECONDS,
    ROOMS,
    SETTLE_SECONDS,
    label_of,
    script_of_recordings,
    write_script,
)

LABELS = USUAL


@given(seed=st.integers(0, 10**6), seconds=st.floats(20.0, 600.0))
def test_sounds_of_a_room_never_touch(seed: int, seconds: float) -> None:
    """Between two sounds of one room there is quiet, and the last one ends in time."""
    cues = write_script(Random(seed), LABELS, seconds)
    for room in ROOMS:
        mine = [cue for cue in cues if cue.node == room.node]
        for before, after in pairwise(mine):
            assert after.at_seconds - (before.at_seconds + before.seconds) >= GAP_SECONDS[0] - 0.02
        for cue in mine:
            assert cue.at_seconds + cue.seconds + SETTLE_SECONDS <= seconds + 0.02


@given(seed=st.integers(0, 10**6))
def test_a_minute_brings_every_sound(seed: int) -> None:
    """The first sound is a smoke alarm at once, and a minute has several sounds."""
    cues = write_script(Random(seed), LABELS, 60.0)
    assert cues[0].label == "smoke_alarm"
    assert cues[0].at_seconds <= 2.0
    assert len([cue for cue in cues if cue.expected]) >= 5
    assert {cue.node for cue in cues} == {room.node for room in ROOMS}


def test_the_seed_decides() -> None:
    """The same seed gives the same script, another seed another."""
    assert write_script(Random(5), LABELS, 60.0) == write_script(Random(5), LABELS, 60.0)
    assert write_script(Random(5), LABELS, 60.0) != write_script(Random(6), LABELS, 60.0)


def test_recordings_are_labelled_by_folder_or_name() -> None:
    """A recording whose name says nothing is played, but not judged."""
    files = [
        (Path("emergency_siren/a.wav"), 5.0),
        (Path("x/glass_breaking-1.ogg"), 2.0),
        (Path("x/hello.ogg"), 3.0),
    ]
    cues = {cue.file: cue for cue in script_of_recordings(Random(1), files, 60.0)}
    assert [cues[path].label for path, _ in files] == ["emergency_siren", "glass_breaking", ""]
    assert [cues[path].expected for path, _ in files] == [True, True, False]


@pytest.mark.parametrize("name", ["speech-1.wav", "Speech.ogg"])
def test_speech_is_played_but_nobody_is_told(name: str) -> None:
    """Speech is there to be mistaken for something, and must not be."""
    assert label_of(Path(name)) == "speech"
    assert not next(
        cue for cue in write_script(Random(2), ("speech",), 60.0) if cue.label == "speech"
    ).expected
