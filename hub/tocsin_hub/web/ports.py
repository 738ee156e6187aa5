"""What is asked of the way to the other processes of a site."""

from collections.abc import Callable, Mapping
from typing import Protocol

from tocsin_hub.threads import end_process


class Bus(Protocol):
    """Carries beats and what dashboards are shown. Nothing of it waits, and nothing raises.

    It is a queue of Socket.IO, too: a ``PubSubManager``, of which nothing is asked here.
    """

    def start(
        self,
        on_changed: Callable[[], None] = ...,
        on_again: Callable[[], None] = ...,
        on_death: Callable[[str], None] = end_process,
    ) -> None:
        """Start to listen and to send.

        ``on_changed`` is told when another process has written something, ``on_again`` when something may
        have been missed.
        """

    def stop(self) -> None:
        """Send what waits, such as a farewell, and end."""

    @property
    def own_seconds(self) -> float | None:
        """How long ago this process heard itself; ``None`` if it never did."""

    @property
    def trouble(self) -> str:
        """Why others cannot be heard; empty when all is well, or began a moment ago."""

    def beat(self, *, leads: bool, pages: Mapping[str, int], hears: bool = False, since_us: int = 0) -> None:
        """Tell the others what this process says of itself: a :class:`~tocsin_hub.web.beats.Beat`."""

    def changed(self) -> None:
        """Tell the hub that this process has written something."""
