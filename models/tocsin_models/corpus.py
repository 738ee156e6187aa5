"""Recordings on disk: a folder with a ``manifest.csv`` that names every clip, its origin and its licence.

Columns: ``path`` (below the folder), ``label``, ``source``, ``group`` (the recording that the clip was
cut from: no group is ever in two splits), ``tier`` (``A`` may train a model that ships), ``licence``,
``note``. Other columns are ignored.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from tocsin_models.rows import Problem, leads_out, read_rows
from tocsin_shared.audio import read_clip
from tocsin_shared.errors import AudioError, BadInputError
from tocsin_shared.features import Samples

COLUMNS = ("path", "label", "source", "group", "tier", "licence", "note")
MISLEADING_SHARE = 0.02
"""When more than this share of the clips cannot be read, figures made from the rest would mislead."""


class Split(StrEnum):
    """What a clip is used for."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


@dataclass(frozen=True)
class Clip:
    """One recording of a corpus."""

    path: Path
    label: str
    """As the corpus calls it."""
    source: str
    group: str
    tier: str
    licence: str
    note: str = ""

    @property
    def digits(self) -> str:
        """Last part of the file's name, which names the very sound."""
        return self.path.stem.rsplit("-", 1)[-1]

    @property
    def group_number(self) -> int:
        """A number that depends on the group's name alone."""
        return int.from_bytes(hashlib.sha256(self.group.encode()).digest()[:4], "big")


@dataclass
class ReadReport:
    """Which clips could not be read, and how many could."""

    read: int = 0
    broken: list[str] = field(default_factory=list)
    """One sentence for each clip."""

    @property
    def misleading(self) -> bool:
        """Whether so much is missing that figures made from the rest would mislead."""
        return len(self.broken) > MISLEADING_SHARE * (self.read + len(self.broken))

    def check(self) -> None:
        """Raise when what was read does not stand for the corpus.

        Raises:
            BadInputError: too many clips are broken; the first few are named.
        """
        if self.misleading:
            first = "\n  ".join(self.broken[:5])
            raise BadInputError(
                f"{len(self.broken)} of {self.read + len(self.broken)} clips cannot be read, so the "
                f"result would mislead; the first:\n  {first}"
            )


def read_manifest_csv(folder: Path) -> tuple[Clip, ...]:
    """All clips that the corpus in ``folder`` names, in its order.

    Raises:
        BadInputError: no manifest, one without the needed columns, or a path that leaves the folder.
    """
    if not (folder / "manifest.csv").is_file():
        raise BadInputError(f"{folder} is not a corpus: it holds no manifest.csv")
    problems: list[Problem] = []
    clips = []
    for row in read_rows(folder / "manifest.csv", COLUMNS, ("path", "label", "group"), problems):
        values = {name: row.values[name] for name in COLUMNS}
        if leads_out(values["path"]):
            raise BadInputError(f"{row.place}: the path {values['path']!r} leads out of the corpus")
        clips.append(Clip(path=folder / values.pop("path"), **values))
    if problems:
        raise BadInputError(str(problems[0]))
    return tuple(clips)


def read_sounds(
    clips: Iterable[Clip], report: ReadReport, tell: Callable[[str], None]
) -> Iterator[tuple[Clip, Samples]]:
    """The clips that can be read, with their samples; the others are told and stand in ``report``."""
    for clip in clips:
        try:
            samples = read_clip(clip.path)
        except AudioError as error:
            report.broken.append(str(error))
            tell(f"skipped: {error}")
            continue
        report.read += 1
        yield clip, samples
