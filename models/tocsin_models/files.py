"""Files that are there whole or not at all, whatever happens while they are written."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tocsin_shared.errors import UnavailableError


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A file to write that takes the place of ``path`` at the end, or leaves nothing behind if that fails.

    Raises:
        UnavailableError: the disk is full or read-only.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise UnavailableError(
            f"{path}: cannot be written: {error.strerror}; make room and run the same command again"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes) -> None:
    """Put ``content`` at ``path``, so that a reader sees the old file or the new one, never a part.

    Raises:
        UnavailableError: the disk is full or read-only.
    """
    with whole_file(path) as file:
        file.write(content)
