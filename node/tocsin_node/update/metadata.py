"""The edge to python-tuf: what is signed, verified from the root that the node was given."""

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tuf.api import exceptions as tuf
from tuf.ngclient import Updater

from tocsin_node.update.fetching import MetadataFetcher, Web
from tocsin_node.update.steps import Fault, LaterError, RefusedError
from tocsin_shared.trust.roles import DIRECTOR_PATH

FETCH_SECONDS = 120.0
log = logging.getLogger("tocsin.node.update")


@dataclass(frozen=True)
class Signed:
    """What the engineers have signed of one file."""

    path: str
    length: int
    sha256: str
    custom: Any
    """Notes; see :class:`tocsin_shared.trust.bundles.Notes`."""

    def url(self, base: str) -> str:
        """Where it is fetched, below ``base``."""
        folder, _, name = self.path.rpartition("/")
        return f"{base.rstrip('/')}/targets/{quote(folder)}/{self.sha256}.{quote(name)}"


@dataclass(frozen=True)
class Place:
    """Where the trust of this node comes from."""

    url: str
    """Of the folder ``metadata/`` of the repository."""
    folder: Path
    """For the newest metadata that was seen: no older one is taken."""
    root: bytes
    """The root that the node was given by hand."""


class Metadata:
    """The repository at one moment. A new one for each look.

    Raises, also by every method:
        LaterError: the repository is not reached.
        RefusedError: what it says is not to be trusted; the fault names the attack.
    """

    def __init__(self, place: Place, web: Web, seconds: float = FETCH_SECONDS) -> None:
        with _mapped():
            place.folder.mkdir(parents=True, exist_ok=True)
            self._updater = Updater(
                str(place.folder),
                place.url,
                fetcher=MetadataFetcher(web, seconds),
                bootstrap=place.root,
            )
            self._updater.refresh()

    def target(self, path: str) -> Signed:
        """What is signed of the file ``path``."""
        with _mapped():
            found = self._updater.get_targetinfo(path)
        sha256 = None if found is None else found.hashes.get("sha256")
        if found is None or sha256 is None:
            raise RefusedError(Fault.TUF_MISSING, path)
        return Signed(found.path, found.length, sha256, found.custom)

    def director(self) -> Any:
        """The director's keys as they were signed."""
        return self.target(DIRECTOR_PATH).custom


@contextlib.contextmanager
def _mapped() -> Iterator[None]:
    """python-tuf and what is below it may raise anything; here it gets the name of the attack."""
    try:
        yield
    except RefusedError:
        raise
    except Exception as error:
        fault = fault_of(error)
        log.warning("trust repository: %s: %s", type(error).__name__, error)
        detail = f"{type(error).__name__}: {error}"[:120]
        if fault is Fault.TUF_UNREACHABLE:
            raise LaterError(fault, detail) from error
        raise RefusedError(fault, detail) from error


def fault_of(error: BaseException) -> Fault:
    """The name of what ``error``, which came out of python-tuf, means."""
    kinds: tuple[tuple[type[BaseException], Fault], ...] = (
        (tuf.ExpiredMetadataError, Fault.TUF_FREEZE),
        (tuf.BadVersionNumberError, Fault.TUF_ROLLBACK),
        (tuf.LengthOrHashMismatchError, Fault.TUF_MIXMATCH),
        (tuf.UnsignedMetadataError, Fault.TUF_KEY),
        (tuf.DownloadLengthMismatchError, Fault.TUF_ENDLESS),
        (tuf.DownloadError, Fault.TUF_UNREACHABLE),
        (tuf.RepositoryError, Fault.TUF_DAMAGED),
        (ValueError, Fault.TUF_DAMAGED),
    )
    return next((fault for kind, fault in kinds if isinstance(error, kind)), Fault.TUF_UNREACHABLE)
