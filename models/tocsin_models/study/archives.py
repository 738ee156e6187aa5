"""Sounds inside zip and tar archives, read one at a time without unpacking the archive.

AI-Hub packs its data sets in zip archives made on Korean Windows, whose names are in CP949 unless a flag
says that they are UTF-8; both come out right.
"""

import errno
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tocsin_shared.errors import BadInputError

SUFFIXES = (".zip", ".tar")
_ERRORS = (
    OSError,
    zipfile.BadZipFile,
    tarfile.TarError,
    EOFError,
    UnicodeDecodeError,
    RuntimeError,
    NotImplementedError,
    KeyError,
)


def members(path: Path) -> list[str]:
    """Names of the files in the archive ``path``.

    Raises:
        BadInputError: not an archive, damaged, or locked with a password.
    """
    try:
        if path.suffix.lower() == ".tar":
            with tarfile.open(path, "r:") as archive:
                return [one.name for one in archive if one.isfile()]
        with zipfile.ZipFile(path, metadata_encoding="cp949") as zipped:
            return [one.filename for one in zipped.infolist() if not one.is_dir()]
    except _ERRORS as error:
        raise BadInputError(f"{path}: not a readable archive: {error}") from error


@contextmanager
def as_file(path: Path, member: str) -> Iterator[Path]:
    """A file that holds ``member`` of the archive ``path``, there while the context lasts; ``path`` itself if
    ``member`` is empty.

    Raises:
        BadInputError: the archive or the member cannot be read.
    """
    if not member:
        yield path
        return
    with tempfile.NamedTemporaryFile(prefix="tocsin-", suffix=Path(member).suffix) as copy:
        try:
            _copy(path, member, copy)
            copy.flush()
        except _ERRORS as error:
            if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise  # the disk for temporary files is full: no fault of the archive
            raise BadInputError(f"{path}:{member}: cannot be read: {error}") from error
        yield Path(copy.name)


def _copy(path: Path, member: str, target: "IO[bytes]") -> None:
    if path.suffix.lower() == ".tar":
        with tarfile.open(path, "r:") as archive:
            found = archive.extractfile(member)
            if found is None:
                raise KeyError(f"{member} is no file")
            with found as source:
                shutil.copyfileobj(source, target)
        return
    with zipfile.ZipFile(path, metadata_encoding="cp949") as zipped, zipped.open(member) as packed:
        shutil.copyfileobj(packed, target)
