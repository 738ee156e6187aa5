"""What an update has come to, on the disk: a node that was killed at any moment goes on or back from it."""

import contextlib
import logging
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from tocsin_node.update.steps import Step
from tocsin_shared.errors import UnavailableError
from tocsin_shared.events import UpdateState
from tocsin_shared.trust.directive import Directive
from tocsin_shared.trust.files import put

MAX_BYTES = 256 * 1024

log = logging.getLogger("tocsin.node.update")


class Run(Struct, frozen=True, kw_only=True):
    """One directive on its way."""

    directive: Directive
    step: Step = Step.CLOCK
    back: bool = False
    """It was live and is being taken back."""
    outcome: UpdateState | None = None
    """Where it ended; ``None`` while it is on its way."""
    tries: int = 0
    """How often it was put off for a reason that is counted."""
    starts: int = 0
    """How often the process has started since the beginning, or since it is live."""
    moves: int = 0
    """Steps taken since it was put off: ends whatever goes in a circle."""
    fault: str = ""
    detail: Annotated[str, Meta(max_length=120)] = ""
    bytes_total: int = 0
    floor: str = ""
    """Release that the node goes not below once this one is proven; known once its notes are."""

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.outcome is not None


class Journal(Struct, frozen=True, kw_only=True):
    """All that an updater must not forget."""

    seq: int = 0
    """Highest number of a directive that was accepted."""
    clock: float = 0.0
    """A time that has passed for certain, seconds since 1970."""
    director: dict[str, dict[str, object]] = {}
    """Keys of the director as last signed, by key id."""
    run: Run | None = None


class JournalFile:
    """The journal in the file ``path``."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Journal:
        """The journal; an empty one if there is none, or if it cannot be read, which is kept aside.

        Raises:
            UnavailableError: the disk does not answer.
        """
        try:
            with self._path.open("rb") as file:
                return msgspec.json.decode(file.read(MAX_BYTES), type=Journal)
        except FileNotFoundError:
            return Journal()
        except OSError as error:
            raise UnavailableError(f"{self._path}: cannot be read: {error.strerror}") from error
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            log.warning("%s cannot be read and is kept aside: %s", self._path, error)
            with contextlib.suppress(OSError):
                self._path.replace(self._path.with_suffix(".damaged"))
            return Journal()

    def write(self, journal: Journal) -> None:
        """Put ``journal`` on the disk, for certain.

        Raises:
            UnavailableError: the disk does not take it.
        """
        put(self._path, msgspec.json.encode(journal))
