"""Files that are on the disk whole, or not at all, whenever the power fails."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from tocsin_shared.errors import UnavailableError


def put(path: Path, content: bytes) -> None:
    """Put ``content`` at ``path``, whole and on the disk, or leave what was there.

    Raises:
        UnavailableError: the disk does not take it.
    """
    with mapped(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.{os.getpid()}.part")
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """What was renamed in ``folder`` survives a power cut from here."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def mapped(path: Path) -> Iterator[None]:
    """Tell what the disk refuses as :class:`UnavailableError`, naming ``path``."""
    try:
        yield
    except OSError as error:
        raise UnavailableError(f"{path}: cannot be written: {error.strerror}") from error
