"""What people and other parts of the hub do about incidents; each waits until it is on the disk.

What changed is shown on every dashboard and told to whoever alerts people, as if an event had changed it.
"""

from collections.abc import Callable, Collection
from typing import Protocol, TypeVar

from tocsin_hub.incidents import keeping
from tocsin_hub.incidents.model import Answer, Drill, Incident
from tocsin_hub.incidents.rules import Limits
from tocsin_hub.recorder import Recorder

T = TypeVar("T")


class Calls(Protocol):
    """The writer, as far as it is needed here."""

    def call(
        self,
        write: Callable[[Recorder], T],
        timeout_seconds: float = ...,
        incidents: Callable[[T], tuple[Incident, ...]] = ...,
    ) -> T:
        """Write, wait for COMMIT, show the incidents."""


class Desk:
    """Answers, acknowledgements, troubles and drills. Safe to use from several threads.

    Every method raises :class:`UnavailableError` where the database takes too long, or refuses.
    """

    def __init__(self, writer: Calls, clock: Callable[[], int], limits: Limits) -> None:
        self._writer = writer
        self._clock = clock
        self._limits = limits

    def acknowledge(self, incident: str, person: str) -> None:
        """Note that ``person`` knows of it."""
        self._do(lambda recorder: keeping.acknowledge(recorder, incident, person, self._clock()))

    def answer(self, incident: str, person: str, said: Answer) -> None:
        """Note what ``person`` says of it."""
        self._do(lambda recorder: keeping.answer(recorder, incident, person, said, self._clock()))

    def open_trouble(self, kind: str, zone: str, detail: str) -> None:
        """Note a trouble of the hub itself, or of a zone; see :func:`keeping.open_trouble`."""
        self._do(
            lambda recorder: keeping.open_trouble(
                recorder, kind, zone, detail, self._clock(), limits=self._limits
            )
        )

    def close_trouble(self, kind: str, zone: str) -> None:
        """Note that such a trouble is over."""
        self._do(lambda recorder: keeping.close_trouble(recorder, kind, zone, self._clock()))

    def start_drill(self, drill: Drill, zones: Collection[str]) -> None:
        """Start a drill; if it sounds, in each of ``zones``."""
        self._do(lambda recorder: keeping.start_drill(recorder, drill, zones, self._clock()))

    def end_drill(self, drill: str) -> Drill | None:
        """End a drill now; ``None`` if there is no such drill."""
        ended, _ = self._writer.call(
            lambda recorder: keeping.end_drill(recorder, drill, self._clock()),
            incidents=lambda result: result[1],
        )
        return ended

    def _do(self, write: Callable[[Recorder], tuple[Incident, ...]]) -> None:
        self._writer.call(write, incidents=lambda changed: changed)
