"""Where sound comes from: a sound card, recordings, or standard input, all behind one port.

A source hands over blocks of one channel at the sample rate of the model, each with the monotonic time
at which its last sample was there.
"""

import fnmatch
import importlib
import logging
import os
import queue
import select
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tocsin_node.cards import USB_PREFIX, Card, cards
from tocsin_node.earwatch import MicrophoneError
from tocsin_node.pipeline import Sound
from tocsin_node.settings import SourceSettings
from tocsin_shared.audio import Resampler, read_blocks, sound_files, to_mono
from tocsin_shared.errors import AudioError, UnavailableError
from tocsin_shared.events import TroubleKind
from tocsin_shared.features import Samples

QUEUE_BLOCKS = 50
"""Blocks that may wait for the network, 5 s at 100 ms; what comes on top is dropped and counted."""
GONE_SECONDS = 3.0
"""A sound card that hands over nothing for so long is gone, whatever it says."""
_WAIT_SECONDS = 0.25
_CHANNELS = 2
USUAL_HZ = (48_000, 44_100, 32_000, 16_000)
_PA_INVALID_SAMPLE_RATE, _PA_DEVICE_UNAVAILABLE = -9997, -9985

log = logging.getLogger("tocsin.node.capture")


class Source(Protocol):
    """Gives sound until it ends or ``stop`` is set."""

    @property
    def name(self) -> str:
        """What is heard with, for people."""

    @property
    def dropped_blocks(self) -> int:
        """Blocks lost since the start."""

    def sounds(self, stop: threading.Event) -> Iterator[Sound]:
        """Blocks of sound, without end for a sound card.

        Raises:
            UnavailableError: the device is not there now; another call tries again.
            AudioError: what there is cannot be heard at all.
        """


def open_source(settings: SourceSettings, sample_rate_hz: int) -> Source:
    """The source that ``settings`` name; nothing is opened yet.

    Raises:
        UnavailableError: PortAudio is not installed.
        AudioError: there is no such recording or folder.
    """
    if settings.kind == "microphone":
        load_portaudio()
        return MicrophoneSource(settings.device, sample_rate_hz, settings.block_ms)
    if settings.kind == "file":
        assert settings.path is not None  # noqa: S101  # the settings have seen to it
        sound_files(settings.path)
        return FileSource(settings.path, sample_rate_hz, settings.block_ms, repeat=settings.repeat)
    return StdinSource(settings.sample_rate_hz, sample_rate_hz, settings.block_ms)


def load_portaudio() -> Any:
    """The module ``sounddevice``.

    Raises:
        UnavailableError: it, or the PortAudio library below it, is not installed.
    """
    try:
        return importlib.import_module("sounddevice")
    except ImportError as error:
        raise UnavailableError("no microphone without sounddevice: pip install 'tocsin[node]'") from error
    except OSError as error:
        raise UnavailableError("no microphone without PortAudio: apt install libportaudio2") from error


@dataclass(frozen=True)
class Device:
    """An input of the sound system."""

    index: int
    name: str
    channels: int
    sample_rate_hz: int


class MicrophoneSource:
    """A sound card, by PortAudio. The callback copies a block or counts it as dropped, nothing else."""

    def __init__(self, pattern: str, sample_rate_hz: int, block_ms: int) -> None:
        self._pattern = pattern
        self._rate = sample_rate_hz
        self._block_ms = block_ms
        self._dropped = 0
        self._name = f"microphone {pattern}".strip()

    @property
    def name(self) -> str:
        """Name of the device, once it was opened."""
        return self._name

    @property
    def dropped_blocks(self) -> int:
        """Blocks for which the queue had no place, and overflows that PortAudio told of."""
        return self._dropped

    def sounds(self, stop: threading.Event) -> Iterator[Sound]:
        """See :class:`Source`."""
        blocks: queue.Queue[tuple[Samples, float]] = queue.Queue(QUEUE_BLOCKS)
        with self._open(blocks) as device:
            resampler = Resampler(device.sample_rate_hz, self._rate)
            while not stop.is_set():
                block = self._next(blocks, device, stop)
                if block is not None and len(samples := resampler.push(to_mono(block[0]))):
                    yield Sound(samples, block[1])

    def _next(
        self, blocks: "queue.Queue[tuple[Samples, float]]", device: Device, stop: threading.Event
    ) -> tuple[Samples, float] | None:
        deadline = time.monotonic() + GONE_SECONDS
        while not stop.is_set():
            try:
                return blocks.get(timeout=_WAIT_SECONDS)
            except queue.Empty:
                if time.monotonic() > deadline:
                    raise MicrophoneError(
                        f"microphone {device.name!r} has handed over nothing for {GONE_SECONDS:g} s"
                    ) from None
        return None

    @contextmanager
    def _open(self, blocks: "queue.Queue[tuple[Samples, float]]") -> Iterator[Device]:
        sounddevice = load_portaudio()
        try:
            device = choose_device(_devices(sounddevice), self._pattern, cards())
            self._name = device.name
            device, stream = self._stream(sounddevice, device, blocks)
        except (sounddevice.PortAudioError, ValueError, OSError) as error:
            raise MicrophoneError(f"{self._name} cannot be opened: {error}", why_not(error)) from error
        try:
            stream.start()
        except sounddevice.PortAudioError as error:
            stream.close(ignore_errors=True)
            raise MicrophoneError(f"{self._name} cannot be started: {error}", why_not(error)) from error
        try:
            yield device
        finally:
            stream.abort(ignore_errors=True)
            stream.close(ignore_errors=True)

    def _stream(
        self, sounddevice: Any, device: Device, blocks: "queue.Queue[tuple[Samples, float]]"
    ) -> tuple[Device, Any]:
        """A stream at the device's own rate, or at the first of the usual ones that it takes."""
        rates = [device.sample_rate_hz, *(hz for hz in USUAL_HZ if hz != device.sample_rate_hz)]
        for rate in rates:
            try:
                stream = sounddevice.InputStream(
                    device=device.index,
                    channels=device.channels,
                    samplerate=rate,
                    blocksize=max(1, rate * self._block_ms // 1000),
                    dtype="float32",
                    callback=self._callback(blocks),
                )
            except sounddevice.PortAudioError as error:
                if why_not(error) is not TroubleKind.MIC_WRONG_RATE:
                    raise
                log.warning("%s does not take %d Hz", device.name, rate)
            else:
                return replace(device, sample_rate_hz=rate), stream
        raise MicrophoneError(
            f"{device.name} takes none of the sample rates {', '.join(map(str, rates))} Hz",
            TroubleKind.MIC_WRONG_RATE,
        )

    def _callback(self, blocks: "queue.Queue[tuple[Samples, float]]") -> Any:
        def take(block: Samples, _count: int, _time: Any, status: Any) -> None:
            if status.input_overflow:
                self._dropped += 1
            try:
                blocks.put_nowait((block.copy(), time.monotonic()))
            except queue.Full:
                self._dropped += 1

        return take


def _devices(sounddevice: Any) -> list[Device]:
    # PortAudio lists the devices once, when it is initialised: without this a replugged microphone
    # stays unknown for ever.
    sounddevice._terminate()
    sounddevice._initialize()
    default = _default_input(sounddevice)
    found = [
        Device(
            index,
            str(entry["name"]),
            min(_CHANNELS, int(entry["max_input_channels"])),
            int(entry["default_samplerate"]),
        )
        for index, entry in enumerate(sounddevice.query_devices())
        if entry["max_input_channels"] > 0
    ]
    return sorted(found, key=lambda device: (device.index != default, device.index))


def _default_input(sounddevice: Any) -> int | None:
    try:
        return int(sounddevice.query_devices(kind="input")["index"])
    except (sounddevice.PortAudioError, ValueError):
        return None


def why_not(error: Exception) -> TroubleKind:
    """What an error of PortAudio means; its second argument is PaErrorCode of portaudio.h."""
    code = error.args[1] if len(error.args) > 1 else None
    if code == _PA_DEVICE_UNAVAILABLE:
        return TroubleKind.MIC_BUSY
    return TroubleKind.MIC_WRONG_RATE if code == _PA_INVALID_SAMPLE_RATE else TroubleKind.MIC_ABSENT


def choose_device(devices: list[Device], wanted: str, present: list[Card]) -> Device:
    """The device that ``wanted`` names: a USB device of ``present``, or else by :func:`find_device`.

    PortAudio leaves a card that somebody uses out of its list, so only the system knows that it is there.

    Raises:
        MicrophoneError: there is none, or somebody else uses it.
    """
    if not wanted.startswith(USB_PREFIX):
        try:
            return find_device(devices, wanted)
        except MicrophoneError as error:
            taken = [card for card in present if card.in_use and _is_named(card, wanted)]
            if not taken:
                raise
            raise _busy(taken[0]) from error
    card = next((card for card in present if card.is_called(wanted)), None)
    if card is None:
        known = ", ".join(f"{one.usb_id} at {one.port}" for one in present if one.usb_id) or "none"
        raise MicrophoneError(f"there is no microphone {wanted} now; USB sound cards: {known}")
    for device in devices:
        if f"(hw:{card.number}," in device.name:
            return device
    if card.in_use:
        raise _busy(card)
    raise MicrophoneError(f"the USB sound card {wanted} ({card.name}) has no microphone")


def _is_named(card: Card, pattern: str) -> bool:
    wanted, name = pattern.casefold(), card.name.casefold()
    return bool(name) and (wanted in name or name in wanted or fnmatch.fnmatchcase(name, wanted))


def _busy(card: Card) -> MicrophoneError:
    return MicrophoneError(
        f"another program uses the sound card {card.name}; fuser -v /dev/snd/pcmC{card.number}D*c names it",
        TroubleKind.MIC_BUSY,
    )


def find_device(devices: list[Device], pattern: str) -> Device:
    """The first of ``devices`` that ``pattern`` names: all of its name, a pattern with ``*``, or a part.

    An empty pattern takes the first, which is the default device where there is one.

    Raises:
        MicrophoneError: there is none; the text lists those there are.
    """
    wanted = pattern.casefold()
    for matches in (
        lambda name: name == wanted,
        lambda name: fnmatch.fnmatchcase(name, wanted),
        lambda name: wanted in name,
    ):
        for device in devices:
            if matches(device.name.casefold()):
                return device
    known = ", ".join(repr(device.name) for device in devices) or "none"
    named = f"named {pattern!r} " if pattern else ""
    raise MicrophoneError(f"there is no microphone {named}now; inputs: {known}")


class FileSource:
    """Recordings, played at their own speed as if somebody sounded them in the room."""

    def __init__(self, path: Path, sample_rate_hz: int, block_ms: int, *, repeat: bool) -> None:
        self._path = path
        self._rate = sample_rate_hz
        self._block = max(1, sample_rate_hz * block_ms // 1000)
        self._repeat = repeat

    @property
    def name(self) -> str:
        """The path's last part."""
        return f"file {self._path.name}"

    @property
    def dropped_blocks(self) -> int:
        """Always 0: a file waits."""
        return 0

    def sounds(self, stop: threading.Event) -> Iterator[Sound]:
        """See :class:`Source`; a file that cannot be read is named in the log and left out."""
        due = time.monotonic()
        for block in self._blocks():
            due += len(block) / self._rate
            if stop.wait(max(0.0, due - time.monotonic())):
                return
            yield Sound(block, due)

    def _blocks(self) -> Iterator[Samples]:
        while True:
            played = 0
            for path in sound_files(self._path):
                for samples in _readable(path, self._rate):
                    for start in range(0, len(samples), self._block):
                        played += 1
                        yield samples[start : start + self._block]
            if not played:
                raise AudioError(f"{self._path}: holds nothing that can be played")
            if not self._repeat:
                return


def _readable(path: Path, sample_rate_hz: int) -> Iterator[Samples]:
    try:
        yield from read_blocks(path, sample_rate_hz)
    except AudioError as error:
        log.warning("left out: %s", error)


class StdinSource:
    """One channel of signed 16 bit little-endian samples from standard input, until it ends."""

    def __init__(self, from_hz: int, sample_rate_hz: int, block_ms: int, descriptor: int = 0) -> None:
        self._from_hz = from_hz
        self._rate = sample_rate_hz
        self._bytes = max(1, from_hz * block_ms // 1000) * 2
        self._descriptor = descriptor

    @property
    def name(self) -> str:
        """Says what it is."""
        return "standard input"

    @property
    def dropped_blocks(self) -> int:
        """Always 0: the writer waits."""
        return 0

    def sounds(self, stop: threading.Event) -> Iterator[Sound]:
        """See :class:`Source`."""
        resampler = Resampler(self._from_hz, self._rate)
        while block := self._read(stop):
            samples = np.frombuffer(block, dtype="<i2").astype(np.float32) / np.float32(32768.0)
            if len(resampled := resampler.push(samples)):
                yield Sound(resampled, time.monotonic())
        if len(rest := resampler.finish()):
            yield Sound(rest, time.monotonic())

    def _read(self, stop: threading.Event) -> bytes:
        """A block, or whole samples of what is left at the end, or nothing."""
        read = bytearray()
        while len(read) < self._bytes and not stop.is_set():
            try:
                if not select.select([self._descriptor], [], [], _WAIT_SECONDS)[0]:
                    continue
                piece = os.read(self._descriptor, self._bytes - len(read))
            except (OSError, ValueError) as error:
                raise AudioError(f"standard input cannot be read: {error}") from error
            if not piece:
                break
            read += piece
        return bytes(read[: len(read) // 2 * 2])
