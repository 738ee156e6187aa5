"""Where sound comes from: devices by name, cards that fall silent, recordings, and standard input."""

import importlib
import os
import sys
import threading
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.node.fake_judge import tone
from tocsin_node import capture
from tocsin_node.capture import Device, FileSource, MicrophoneSource, StdinSource, find_device, open_source
from tocsin_node.earwatch import MicrophoneError
from tocsin_node.pipeline import Sound
from tocsin_node.settings import SourceSettings
from tocsin_shared.errors import AudioError, UnavailableError
from tocsin_shared.events import TroubleKind
from tocsin_shared.features import Samples

RATE = 16_000
DEVICES = [
    Device(3, "default", 2, 44_100),
    Device(0, "HDA Intel PCH: ALC257 Analog (hw:0,0)", 2, 44_100),
    Device(1, "USB PnP Sound Device: Audio (hw:1,0)", 1, 48_000),
    Device(2, "pulse", 2, 44_100),
]


@pytest.mark.parametrize(
    ("pattern", "index"),
    [("", 3), ("pulse", 2), ("usb", 1), ("USB*Audio*", 1), ("HDA", 0), ("*", 3), ("default", 3)],
)
def test_a_microphone_is_found_by_name_part_or_pattern(pattern: str, index: int) -> None:
    assert find_device(DEVICES, pattern).index == index


def test_a_microphone_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(UnavailableError, match=r"named 'Yeti' now; inputs: 'default', .*'pulse'"):
        find_device(DEVICES, "Yeti")
    with pytest.raises(UnavailableError, match="there is no microphone now; inputs: none"):
        find_device([], "")


class FakePortAudio(types.ModuleType):
    """A sound system with one card that plays ``blocks`` into the callback, then falls silent."""

    class PortAudioError(Exception):
        pass

    def __init__(self, blocks: list[Samples], *, refuses: str = "", overflow: bool = False) -> None:
        super().__init__("sounddevice")
        self.blocks = blocks
        self.refuses = refuses
        self.overflow = overflow
        self.refused_hz: set[int] = set()
        self.code = -9997
        self.opened: list[dict[str, Any]] = []
        self.closed = 0

    def _terminate(self) -> None: ...

    def _initialize(self) -> None: ...

    def query_devices(self, kind: str | None = None) -> Any:
        card = {"name": "USB mic", "max_input_channels": 6, "default_samplerate": 48_000.0, "index": 1}
        speaker = {"name": "Speaker", "max_input_channels": 0, "default_samplerate": 48_000.0, "index": 0}
        return card if kind else [speaker, card]

    def InputStream(self, **options: Any) -> "FakeStream":  # noqa: N802  # the name in sounddevice
        self.opened.append(options)
        if self.refuses:
            raise self.PortAudioError(self.refuses)
        if options["samplerate"] in self.refused_hz:
            raise self.PortAudioError("Error opening InputStream", self.code)
        return FakeStream(self, options["callback"])


class FakeStream:
    def __init__(self, system: FakePortAudio, callback: Any) -> None:
        self._system = system
        self._callback = callback

    def start(self) -> None:
        status = types.SimpleNamespace(input_overflow=self._system.overflow)
        for block in self._system.blocks:
            self._callback(block, len(block), None, status)
            block[:] = 7.0  # PortAudio uses its buffer again: whoever has not copied it hears this

    def abort(self, ignore_errors: bool) -> None: ...

    def close(self, ignore_errors: bool) -> None:
        self._system.closed += 1


@pytest.fixture
def portaudio(monkeypatch: pytest.MonkeyPatch) -> FakePortAudio:
    made = FakePortAudio([np.full((4800, 2), 0.25, dtype=np.float32) for _ in range(10)])
    monkeypatch.setitem(sys.modules, "sounddevice", made)
    monkeypatch.setattr(capture, "GONE_SECONDS", 0.3)
    return made


def test_a_card_that_refuses_its_own_rate_is_opened_at_another(portaudio: FakePortAudio) -> None:
    portaudio.refused_hz = {48_000, 44_100}
    heard_until_gone(MicrophoneSource("usb", RATE, 100))
    assert [options["samplerate"] for options in portaudio.opened] == [48_000, 44_100, 32_000]


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (-9997, TroubleKind.MIC_WRONG_RATE),
        (-9985, TroubleKind.MIC_BUSY),
        (-9999, TroubleKind.MIC_ABSENT),
    ],
)
def test_a_card_that_cannot_be_opened_says_which_trouble_it_is(
    portaudio: FakePortAudio, code: int, kind: TroubleKind
) -> None:
    portaudio.refused_hz = {48_000, 44_100, 32_000, 16_000}
    portaudio.code = code
    with pytest.raises(MicrophoneError, match="USB mic") as raised:
        next(MicrophoneSource("usb", RATE, 100).sounds(threading.Event()))
    assert raised.value.kind is kind
    assert len(portaudio.opened) == (4 if code == -9997 else 1)


def heard_until_gone(source: MicrophoneSource) -> list[Sound]:
    """What came before the card was given up."""
    sounds: list[Sound] = []
    coming = source.sounds(threading.Event())
    try:
        for sound in coming:
            sounds.append(sound)  # noqa: PERF402  # the error would take the list along
    except UnavailableError as error:
        assert "'USB mic' has handed over nothing" in str(error)  # noqa: PT017  # the sounds count as well
    return sounds


def test_blocks_are_copied_mixed_and_resampled_and_a_silent_card_counts_as_gone(
    portaudio: FakePortAudio,
) -> None:
    source = MicrophoneSource("usb", RATE, 100)
    heard = heard_until_gone(source)
    samples = np.concatenate([sound.samples for sound in heard])
    assert 0.9 * RATE <= len(samples) <= RATE
    assert np.median(samples) == pytest.approx(0.25, abs=0.01)
    assert samples.max() < 0.5
    assert all(abs(sound.arrived - time.monotonic()) < 5.0 for sound in heard)
    assert source.name == "USB mic"
    (options,) = portaudio.opened
    assert (options["samplerate"], options["channels"], options["blocksize"]) == (48_000, 2, 4800)
    assert portaudio.closed == 1


def test_what_the_queue_cannot_take_is_dropped_and_counted(portaudio: FakePortAudio) -> None:
    block = np.zeros((4800, 2), dtype=np.float32)
    portaudio.blocks = [block.copy() for _ in range(capture.QUEUE_BLOCKS + 7)]
    source = MicrophoneSource("", RATE, 100)
    heard_until_gone(source)
    assert source.dropped_blocks == 7


def test_an_overflow_that_the_sound_system_tells_of_is_counted(portaudio: FakePortAudio) -> None:
    portaudio.overflow = True
    source = MicrophoneSource("", RATE, 100)
    heard_until_gone(source)
    assert source.dropped_blocks == len(portaudio.blocks)


def test_a_busy_device_is_unavailable_and_can_be_tried_again(portaudio: FakePortAudio) -> None:
    portaudio.refuses = "Device unavailable [PaErrorCode -9985]"
    source = MicrophoneSource("", RATE, 100)
    with pytest.raises(UnavailableError, match="USB mic cannot be opened: Device unavailable"):
        next(source.sounds(threading.Event()))
    portaudio.refuses = ""
    assert len(next(source.sounds(threading.Event())).samples)


def test_a_missing_library_is_named_with_the_package_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise OSError("PortAudio library not found")

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(UnavailableError, match="apt install libportaudio2"):
        open_source(SourceSettings(), RATE)


def test_a_recording_is_played_at_its_own_speed_in_blocks(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(0.5), RATE)
    soundfile.write(tmp_path / "b.flac", np.stack([tone(0.5)] * 2, axis=1), RATE)
    (tmp_path / "c.wav").write_text("no sound")
    source = FileSource(tmp_path, RATE, 100, repeat=False)
    began = time.monotonic()
    heard = list(source.sounds(threading.Event()))
    assert 0.95 <= time.monotonic() - began < 2.0
    assert [len(sound.samples) for sound in heard] == [1600] * 10
    assert np.diff([sound.arrived for sound in heard]) == pytest.approx([0.1] * 9)


def test_a_recording_repeats_until_it_is_stopped(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(0.1), RATE)
    source = FileSource(tmp_path / "a.wav", RATE, 50, repeat=True)
    stop = threading.Event()
    heard = 0
    for _ in source.sounds(stop):
        heard += 1
        if heard == 6:
            stop.set()
    assert heard == 6


def test_a_folder_of_nothing_but_broken_files_ends_with_an_error_and_does_not_spin(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_text("no sound")
    with pytest.raises(AudioError, match="nothing that can be played"):
        list(FileSource(tmp_path, RATE, 100, repeat=True).sounds(threading.Event()))


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read, write = os.pipe()
    yield read, write
    os.close(read)


def test_standard_input_is_heard_to_its_last_whole_sample(pipe: tuple[int, int]) -> None:
    samples = np.arange(-2000, 2001, dtype="<i2")
    os.write(pipe[1], samples.tobytes() + b"\x01")
    os.close(pipe[1])
    source = StdinSource(RATE, RATE, 100, pipe[0])
    heard = list(source.sounds(threading.Event()))
    assert [len(sound.samples) for sound in heard] == [1600, 1600, 801]
    np.testing.assert_allclose(np.concatenate([s.samples for s in heard]), samples / 32768.0, atol=1e-7)


def test_standard_input_of_another_rate_is_resampled(pipe: tuple[int, int]) -> None:
    os.write(pipe[1], (tone(0.5) * 32767).astype("<i2").tobytes())
    os.close(pipe[1])
    heard = list(StdinSource(8_000, RATE, 100, pipe[0]).sounds(threading.Event()))
    assert sum(len(sound.samples) for sound in heard) == pytest.approx(RATE, abs=2)


def test_a_writer_that_pauses_does_not_keep_the_node_from_stopping(pipe: tuple[int, int]) -> None:
    stop = threading.Event()
    timer = threading.Timer(0.3, stop.set)
    timer.start()
    assert list(StdinSource(RATE, RATE, 100, pipe[0]).sounds(stop)) == []
    timer.join()
    os.close(pipe[1])


def test_a_standard_input_that_is_closed_is_told(pipe: tuple[int, int]) -> None:
    os.close(pipe[1])
    with pytest.raises(AudioError, match="standard input cannot be read"):
        list(StdinSource(RATE, RATE, 100, 987_654).sounds(threading.Event()))
