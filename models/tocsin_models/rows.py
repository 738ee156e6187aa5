"""Rows of a CSV file that names recordings: where each stands, and what is wrong with it."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tocsin_shared.errors import BadInputError


@dataclass(frozen=True)
class Problem:
    """Something that is wrong with the data."""

    kind: str
    """One of a few words to count by, such as ``unreadable``."""
    where: str
    text: str
    misleads: bool = True
    """Whether figures made from the rest would mislead."""

    def __str__(self) -> str:
        return f"{self.where}: {self.text}"


@dataclass(frozen=True)
class Row:
    """One line of the file."""

    place: str
    """File and line, for people."""
    values: dict[str, str]
    """By column, without blanks around them."""


def read_rows(
    path: Path, columns: Sequence[str], filled: Sequence[str], problems: list[Problem]
) -> Iterator[Row]:
    """Rows of ``path``, which must have ``columns``; where one of ``filled`` is empty there is a problem.

    Raises:
        BadInputError: there is no such file, it is no CSV in UTF-8, or a column is missing.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [name for name in columns if name not in (reader.fieldnames or ())]
            if missing:
                raise BadInputError(f"{path}: the columns {', '.join(missing)} are missing")
            for number, row in enumerate(reader, start=2):
                values = {name: (value or "").strip() for name, value in row.items() if isinstance(name, str)}
                place = f"{path}:{number}"
                if lacking := [name for name in filled if not values[name]]:
                    problems.append(Problem("row", place, f"{' and '.join(lacking)} must not be empty"))
                    continue
                yield Row(place, values)
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadInputError(f"{path}: not a CSV file in UTF-8: {error}") from error


def leads_out(name: str) -> bool:
    """Whether ``name`` is no path below the folder that it is relative to."""
    return Path(name).is_absolute() or ".." in Path(name).parts


def inside(root: Path, name: str, place: str, problems: list[Problem]) -> Path | None:
    """The file ``name`` below ``root``; ``None``, and a problem, where it leads out or is not there."""
    if leads_out(name):
        problems.append(Problem("row", place, f"the path {name!r} leads out of the data set"))
        return None
    path = root / name
    if not path.is_file():
        problems.append(Problem("missing", place, f"there is no file {name!r}", misleads=False))
        return None
    return path
