"""Feature shards: the windows of a few dozen recordings in one file, written whole or not at all.

``NAME.f16`` holds the windows as float16, one after the other, and ``NAME.json`` says what they are; the
latter is written last, so a shard without it does not exist. NAME ends in a hash of all that went in: a
shard whose recordings or settings change gets another name, and one that is there need not be made again.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import msgspec
import numpy as np
import numpy.typing as npt

from tocsin_models.files import whole_file
from tocsin_models.rows import Problem
from tocsin_models.study.archives import as_file
from tocsin_models.study.settings import FeatureSettings
from tocsin_models.study.sources import Recording
from tocsin_models.study.windows import is_silent, windows
from tocsin_shared.audio import read_blocks
from tocsin_shared.errors import BadInputError, UnavailableError

FORMAT = 1
"""Changes when the same recordings and settings would give other windows."""


@dataclass(frozen=True)
class Order:
    """One shard that is to be made."""

    folder: Path
    stem: str
    """Split and number, such as ``train-00007``."""
    recordings: tuple[Recording, ...]
    features: FeatureSettings

    @property
    def name(self) -> str:
        """Stem and hash."""
        return f"{self.stem}-{_key(self)[:16]}"


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A recording in a shard."""

    name: str
    label: str
    group: str
    source: str
    windows: int
    silent: int
    """Windows that were left out because nothing is in them."""
    digest: str
    """Hash of its windows: equal for equal sound."""


class Shard(msgspec.Struct, frozen=True, kw_only=True):
    """What ``NAME.json`` holds. The windows stand in the order of the recordings."""

    name: str
    shape: tuple[int, int, int]
    """(windows, frames, mel bands)."""
    recordings: tuple[Held, ...]
    problems: tuple[Problem, ...]

    def frames(self, folder: Path) -> npt.NDArray[np.float16]:
        """The windows, shape ``shape``, read from disk only where they are looked at.

        Raises:
            BadInputError: the file is missing, or not of this shape.
        """
        path = folder / f"{self.name}.f16"
        try:
            if path.stat().st_size != 2 * int(np.prod(self.shape)):
                raise BadInputError(
                    f"{path}: not as long as its index says; run `tocsin models prepare` again"
                )
            if self.shape[0] == 0:
                return np.empty(self.shape, dtype=np.float16)
            return np.memmap(path, dtype=np.float16, mode="r", shape=self.shape)
        except OSError as error:
            raise BadInputError(f"{path}: cannot be read: {error.strerror}") from error


def _key(order: Order) -> str:
    inputs = []
    for one in order.recordings:
        status = one.file.stat()
        inputs.append([one.name, one.label, one.group, status.st_size, status.st_mtime_ns])
    text = json.dumps([FORMAT, asdict(order.features), inputs], ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def read_shard(folder: Path, name: str) -> Shard | None:
    """The shard ``name`` if it is whole; ``None`` if it is not there or of no use."""
    try:
        shard = msgspec.json.decode((folder / f"{name}.json").read_bytes(), type=Shard)
        shard.frames(folder)
    except (OSError, msgspec.MsgspecError, BadInputError):
        return None
    return shard


def make_shard(order: Order) -> Shard:
    """Make the shard of ``order``, or read it where it is there; runs on any worker that sees the disks.

    Raises:
        UnavailableError: the disk is full, or cannot be written to.
    """
    name = order.name
    if (finished := read_shard(order.folder, name)) is not None:
        return finished
    try:
        order.folder.mkdir(parents=True, exist_ok=True)
        with whole_file(order.folder / f"{name}.f16") as file:
            held, problems = _fill(file, order)
        spec = order.features.spec
        shape = (sum(one.windows for one in held), spec.window_frames, spec.mel_bands)
        shard = Shard(name=name, shape=shape, recordings=tuple(held), problems=tuple(problems))
        with whole_file(order.folder / f"{name}.json") as file:
            file.write(msgspec.json.encode(shard))
    except OSError as error:
        raise UnavailableError(
            f"{order.folder}: a shard cannot be written: {error.strerror or error}; make room and run the "
            "same command again: it goes on where it stopped"
        ) from error
    return shard


def _fill(file: "IO[bytes]", order: Order) -> tuple[list[Held], list[Problem]]:
    held, problems = [], []
    for one in order.recordings:
        start = file.tell()
        try:
            found = _append(file, one, order.features)
        except BadInputError as error:
            # Sound before a damaged place may be noise: nothing of the recording is kept.
            file.seek(start)
            file.truncate()
            problems.append(Problem("unreadable", one.name, _reason(error, one), misleads=False))
            continue
        if found.windows == 0:
            problems.append(Problem("silent", one.name, "holds nothing but digital silence", misleads=False))
        held.append(found)
    return held, problems


def _reason(error: BadInputError, one: Recording) -> str:
    text = str(error)
    return text.split(": ", 1)[1] if ": " in text and text.startswith(("/", str(one.file))) else text


def _append(file: "IO[bytes]", one: Recording, features: FeatureSettings) -> Held:
    spec, digest, made, silent = features.spec, hashlib.sha256(), 0, 0
    with as_file(one.file, one.member) as path:
        for window in windows(read_blocks(path, spec.sample_rate_hz), spec, features.stride_frames):
            if is_silent(window, spec):
                silent += 1
                continue
            content = window.astype("<f2").tobytes()
            digest.update(content)
            file.write(content)
            made += 1
    return Held(
        name=one.name,
        label=one.label,
        group=one.group,
        source=one.source,
        windows=made,
        silent=silent,
        digest=digest.hexdigest()[:16],
    )
