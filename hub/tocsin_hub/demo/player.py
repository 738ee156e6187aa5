"""Plays a script into the rooms: one thread a room, writing sound at the speed of time."""

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import soundfile

from tocsin_hub.demo.report import Played
from tocsin_hub.demo.script import BED_DBFS, Cue, Room
from tocsin_shared import synthesis
from tocsin_shared.audio import read_clip, sound_files
from tocsin_shared.features import Samples

RATE_HZ = 16_000
BLOCK = RATE_HZ // 10
BED_SECONDS = 20.0


@dataclass(frozen=True)
class Prepared:
    """A cue with its samples, ready to be mixed."""

    cue: Cue
    samples: Samples


def prepare(cue: Cue, rng: np.random.Generator) -> Prepared:
    """Make or read the sound of ``cue`` at its level.

    Raises:
        AudioError: the recording that the cue names cannot be read.
    """
    made = read_clip(cue.file, RATE_HZ) if cue.file else synthesis.sound(cue.label, cue.seconds, rng)
    return Prepared(cue, synthesis.at_level(made, cue.level_dbfs))


class RoomPlayer:
    """Feeds one node: the bed of the room all the time, and each sound at its moment."""

    def __init__(self, room: Room, pipe: IO[bytes], rng: np.random.Generator) -> None:
        self.room = room
        self._pipe = pipe
        self._bed = synthesis.at_level(synthesis.ambience(BED_SECONDS, rng), BED_DBFS)
        self._waiting: list[Prepared] = []
        self._playing: list[tuple[Samples, int]] = []
        self._begin = float("inf")
        self._on_played: Callable[[Played], None] = lambda _played: None
        self._thread = threading.Thread(target=self._run, name=f"player {room.node}", daemon=True)
        self._stop = threading.Event()

    def start(self) -> None:
        """Begin with the bed alone."""
        self._thread.start()

    def play(self, prepared: list[Prepared], begin: float, on_played: Callable[[Played], None]) -> None:
        """Play ``prepared`` with their times counted from ``begin`` (of ``time.monotonic``)."""
        self._on_played = on_played
        self._waiting = sorted(prepared, key=lambda one: one.cue.at_seconds)
        self._begin = begin

    def stop(self) -> None:
        """End the room's sound: the node reads the end of its input and stops in good order."""
        self._stop.set()
        self._thread.join(2.0)

    def _run(self) -> None:
        due = time.monotonic()
        position = 0
        try:
            while not self._stop.is_set():
                self._pipe.write(to_pcm(self._block(position)))
                self._pipe.flush()
                position += BLOCK
                due += BLOCK / RATE_HZ
                self._stop.wait(max(0.0, due - time.monotonic()))
        except (BrokenPipeError, OSError):
            pass  # the node has gone; whoever watches the processes says so
        finally:
            self._close()

    def _close(self) -> None:
        with contextlib.suppress(OSError):
            self._pipe.close()

    def _block(self, position: int) -> Samples:
        index = (position + np.arange(BLOCK)) % len(self._bed)
        block: Samples = self._bed[index].copy()
        self._begin_due_sounds()
        going_on = []
        for samples, done in self._playing:
            part = samples[done : done + BLOCK]
            block[: len(part)] += part
            if done + BLOCK < len(samples):
                going_on.append((samples, done + BLOCK))
        self._playing = going_on
        return block

    def _begin_due_sounds(self) -> None:
        while self._waiting and time.monotonic() >= self._begin + self._waiting[0].cue.at_seconds:
            one = self._waiting.pop(0)
            self._playing.append((one.samples, 0))
            seconds = len(one.samples) / RATE_HZ
            self._on_played(Played(one.cue.node, one.cue.label, time.time(), seconds, one.cue.level_dbfs))


def to_pcm(samples: Samples) -> bytes:
    """``samples`` as signed 16 bit little-endian bytes, clipped."""
    return (np.clip(samples, -1.0, 1.0) * 32767.0).astype("<i2").tobytes()


def recordings(folder: Path, on_broken: Callable[[str], None]) -> list[tuple[Path, float]]:
    """Sound files of ``folder`` with their lengths in seconds; ``on_broken`` is told of unreadable ones.

    Raises:
        AudioError: no such folder, or no sound file in it.
    """
    found = []
    for path in sound_files(folder):
        try:
            found.append((path, soundfile.info(path).duration))
        except soundfile.LibsndfileError as error:
            on_broken(f"{path}: {error.error_string}")
    return found
