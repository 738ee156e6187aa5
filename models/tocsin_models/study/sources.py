"""Data sets on disk, whatever their layout, as one list of recordings and one list of what is wrong.

====================  ==================================================================================
``folders``           ``LABEL/…/sound.wav``: the first folder below the root is the label
``csv``               ``manifest.csv`` with the columns path, label and group; source and note are optional
``esc50``             ``meta/esc50.csv`` and ``audio/`` (Piczak, ESC-50: 2,000 clips, 5 folds)
``urbansound8k``      ``metadata/UrbanSound8K.csv`` and ``audio/foldN/`` (Salamon et al., 8,732 clips)
``aihub``             AI-Hub 71376, sounds of extreme noise environments, in folders
                      ``01.교통수단/01.사람의비언어적소리/…``, unpacked or in ``TS_…`` and ``VS_…`` archives
====================  ==================================================================================

A label or a row that cannot be used is told, never guessed at.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path, PurePosixPath

from tocsin_models.rows import Problem, inside, read_rows
from tocsin_models.study.archives import SUFFIXES as ARCHIVES
from tocsin_models.study.archives import members
from tocsin_shared.audio import SUFFIXES
from tocsin_shared.errors import BadInputError


class Layout(StrEnum):
    """How a data set lies on disk."""

    AUTO = "auto"
    FOLDERS = "folders"
    CSV = "csv"
    ESC50 = "esc50"
    URBANSOUND8K = "urbansound8k"
    AIHUB = "aihub"


@dataclass(frozen=True)
class Recording:
    """One sound of a data set."""

    file: Path
    """The sound file, or the archive that it is in."""
    label: str
    group: str
    """The original that it was cut from."""
    source: str
    fold: str = ""
    member: str = ""
    """Its name inside the archive; empty for a file of its own."""

    @property
    def name(self) -> str:
        """Where it is, for people."""
        return f"{self.file}:{self.member}" if self.member else str(self.file)


@dataclass(frozen=True)
class Found:
    """A data set as it was found."""

    recordings: tuple[Recording, ...]
    problems: tuple[Problem, ...]


def read_data_set(root: Path, layout: Layout, sources: tuple[str, ...] = ()) -> Found:
    """What lies in ``root``; of a CSV manifest only the rows of ``sources``, where any are named.

    Raises:
        BadInputError: there is no such folder, or nothing in it that fits the layout.
    """
    if not root.is_dir():
        raise BadInputError(f"{root}: there is no such folder")
    chosen = guessed(root) if layout is Layout.AUTO else layout
    problems: list[Problem] = []
    found = list(_READERS[chosen](root, problems))
    if sources:
        found = [one for one in found if one.source in sources]
    if not found and not problems:
        raise BadInputError(f"{root}: holds no recording in the layout {chosen.value!r}")
    return Found(tuple(found), tuple(problems))


def guessed(root: Path) -> Layout:
    """The layout of ``root``, by the files that tell."""
    if (root / "manifest.csv").is_file():
        return Layout.CSV
    if (root / "meta" / "esc50.csv").is_file():
        return Layout.ESC50
    if (root / "metadata" / "UrbanSound8K.csv").is_file():
        return Layout.URBANSOUND8K
    names = [unicodedata.normalize("NFC", path.name) for path in root.rglob("*") if _is_aihub(path)]
    return Layout.AIHUB if names else Layout.FOLDERS


_AIHUB_TOP = re.compile(r"\d\d\.(교통수단|공사장|공장|시설류|기타소음|복합소음)")
_AIHUB_PART = re.compile(r"(TS|VS)_")


def _is_aihub(path: Path) -> bool:
    name = unicodedata.normalize("NFC", path.name)
    if path.is_dir():
        return bool(_AIHUB_TOP.match(_AIHUB_PART.sub("", name)))
    return bool(_AIHUB_PART.match(name)) and name.lower().endswith(ARCHIVES)


def _folders(root: Path, problems: list[Problem]) -> Iterator[Recording]:
    for path in _sounds(root):
        parts = path.relative_to(root).parts
        if len(parts) < 2:
            problems.append(Problem("label", str(path), "lies in no folder, so it has no label"))
            continue
        yield Recording(path, normal(parts[0]), f"{root.name}/{'/'.join(parts)}", root.name)


def _sounds(root: Path) -> Iterator[Path]:
    for path in sorted(root.rglob("*")):
        if path.suffix.lower() in SUFFIXES and path.is_file():
            yield path


def _csv(root: Path, problems: list[Problem]) -> Iterator[Recording]:
    for place, row in _filled(root / "manifest.csv", ("path", "label", "group"), problems):
        if path := inside(root, row["path"], place, problems):
            yield Recording(
                path, normal(row["label"]), row["group"], row.get("source", ""), row.get("note", "")
            )


def _esc50(root: Path, problems: list[Problem]) -> Iterator[Recording]:
    wanted = ("filename", "fold", "category", "src_file")
    for place, row in _filled(root / "meta" / "esc50.csv", wanted, problems):
        if path := inside(root / "audio", row["filename"], place, problems):
            yield Recording(
                path, normal(row["category"]), f"fs{row['src_file']}", "esc50", f"fold{row['fold']}"
            )


def _urbansound8k(root: Path, problems: list[Problem]) -> Iterator[Recording]:
    wanted = ("slice_file_name", "fsID", "fold", "class")
    for place, row in _filled(root / "metadata" / "UrbanSound8K.csv", wanted, problems):
        folder = root / "audio" / f"fold{row['fold']}"
        if path := inside(folder, row["slice_file_name"], place, problems):
            yield Recording(
                path, normal(row["class"]), f"fs{row['fsID']}", "urbansound8k", f"fold{row['fold']}"
            )


def _aihub(root: Path, problems: list[Problem]) -> Iterator[Recording]:
    for path in _sounds(root):
        if one := _aihub_recording(path, "", path.relative_to(root).parts, problems):
            yield one
    for path in sorted(root.rglob("*")):
        if not (path.is_file() and path.name.lower().endswith(ARCHIVES)):
            continue
        try:
            names = members(path)
        except BadInputError as error:
            problems.append(Problem("archive", str(path), str(error).removeprefix(f"{path}: ")))
            continue
        for name in names:
            parts = (*path.relative_to(root).parts, *PurePosixPath(name.replace("\\", "/")).parts)
            if PurePosixPath(name).suffix.lower() in SUFFIXES and (
                one := _aihub_recording(path, name, parts, problems)
            ):
                yield one


def _aihub_recording(
    file: Path, member: str, parts: tuple[str, ...], problems: list[Problem]
) -> Recording | None:
    """Its label is the category, the kind and whatever folders lie below, without their numbers."""
    names = [unicodedata.normalize("NFC", part) for part in parts]
    plain = [
        _AIHUB_PART.sub("", name).rsplit(".", 1)[0] if name.lower().endswith(ARCHIVES) else name
        for name in names[:-1]
    ]
    pieces = [piece for name in plain for piece in re.split(r"_(?=\d\d\.)", name)]
    starts = [number for number, piece in enumerate(pieces) if _AIHUB_TOP.match(piece)]
    if not starts:
        problems.append(
            Problem(
                "label",
                f"{file}:{member}" if member else str(file),
                "is in no folder 01.교통수단 … 06.복합소음",
            )
        )
        return None
    below = [_AIHUB_PART.sub("", piece) for piece in pieces[starts[-1] :]]
    label = "/".join(dict.fromkeys(re.sub(r"^\d\d\.", "", piece) for piece in below))
    validation = any(name.startswith("VS_") or "Validation" in name for name in names)
    return Recording(
        file, label, f"{label}/{names[-1].rsplit('.', 1)[0]}", "aihub", "VS" if validation else "TS", member
    )


_READERS: dict[Layout, Callable[[Path, list[Problem]], Iterator[Recording]]] = {
    Layout.FOLDERS: _folders,
    Layout.CSV: _csv,
    Layout.ESC50: _esc50,
    Layout.URBANSOUND8K: _urbansound8k,
    Layout.AIHUB: _aihub,
}


def _filled(
    path: Path, columns: tuple[str, ...], problems: list[Problem]
) -> Iterator[tuple[str, dict[str, str]]]:
    for row in read_rows(path, columns, columns, problems):
        yield row.place, row.values


def normal(label: str) -> str:
    """``label`` in the form in which labels are compared: NFC, without blanks around it."""
    return unicodedata.normalize("NFC", label).strip()


def without_twins(recordings: Iterable[Recording]) -> tuple[list[Recording], list[Problem]]:
    """Every recording once; one that is named with two labels is used with neither."""
    by_place: dict[str, list[Recording]] = defaultdict(list)
    for one in recordings:
        by_place[one.name].append(one)
    kept, problems = [], []
    for name, same in by_place.items():
        labels = sorted({one.label for one in same})
        if len(labels) > 1:
            text = f"stands {len(same)} times, with the labels {', '.join(labels)}; it is not used"
            problems.append(Problem("duplicate", name, text))
            continue
        if len(same) > 1:
            text = f"stands {len(same)} times with the label {labels[0]}; it is used once"
            problems.append(Problem("duplicate", name, text, misleads=False))
        kept.append(same[0])
    return kept, problems


def renamed(recordings: Iterable[Recording], names: dict[str, str]) -> list[Recording]:
    """The recordings with their labels after ``names``."""
    return [replace(one, label=names.get(one.label, one.label)) for one in recordings]
