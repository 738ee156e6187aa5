"""The lock beside a database: one hub at a time writes it, and nobody replaces it meanwhile."""

import fcntl
import os
import time
from pathlib import Path

from tocsin_shared.errors import UnavailableError

_LOOK_SECONDS = 0.1


def own_as_folder(path: Path) -> None:
    """Give ``path`` to whom its folder belongs, where root made it: a hub of that user could not open it.

    Raises:
        UnavailableError: the system does not let it.
    """
    if os.geteuid() != 0:
        return
    try:
        folder = path.parent.stat()
        os.chown(path, folder.st_uid, folder.st_gid)
    except OSError as error:
        raise UnavailableError(f"{path} cannot be given to its folder's owner: {error.strerror}") from error


class DatabaseLock:
    """Held by a hub for as long as it runs; the system lets go of it when its process ends."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._path = database.with_name(database.name + ".lock")
        self._file: int | None = None

    def take(self, patience_seconds: float = 0.0) -> None:
        """Take the lock, waiting so long for another process to let go of it.

        Raises:
            UnavailableError: a hub that runs holds it, or it cannot be made.
        """
        deadline = time.monotonic() + patience_seconds
        while not self._try():
            if time.monotonic() >= deadline:
                raise UnavailableError(
                    f"the database {self._database} is used by a hub that runs; stop it first"
                )
            time.sleep(_LOOK_SECONDS)

    def release(self) -> None:
        """Let go of it."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _try(self) -> bool:
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise UnavailableError(f"the lock {self._path} cannot be made: {error.strerror}") from error
        try:
            own_as_folder(self._path)
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except UnavailableError:
            os.close(file)
            raise
        except OSError:
            os.close(file)
            return False
        self._file = file
        return True
