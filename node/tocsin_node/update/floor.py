"""The release below which a node installs nothing, in two places: the higher one counts.

Whoever can put an old state of the node's folder back, or wipe it, does not lower the floor by that.
"""

import contextlib
from pathlib import Path

import msgspec

from tocsin_shared.errors import UnavailableError
from tocsin_shared.trust.bundles import release_of
from tocsin_shared.trust.directive import Name, Release
from tocsin_shared.trust.files import put

MAX_BYTES = 64 * 1024


class Floors:
    """Floors by name of a bundle, in the files ``places``."""

    def __init__(self, *places: Path) -> None:
        self._places = places

    def read(self) -> dict[str, str]:
        """The floors; a place that cannot be read says nothing. Never raises."""
        found: dict[str, str] = {}
        for place in self._places:
            with contextlib.suppress(OSError, msgspec.MsgspecError, UnicodeError, RecursionError):
                with place.open("rb") as file:
                    told = msgspec.json.decode(file.read(MAX_BYTES), type=dict[Name, Release])
                for name, release in told.items():
                    found[name] = max(found.get(name, ""), release, key=release_of)
        return found

    def allows(self, name: str, release: str) -> bool:
        """Whether ``release`` of the bundle ``name`` may be installed."""
        return release_of(release) >= release_of(self.read().get(name, "0"))

    def raise_to(self, name: str, release: str) -> None:
        """Nothing below ``release`` is installed from here.

        Raises:
            UnavailableError: not a single place takes it.
        """
        floors = self.read()
        floors[name] = max(floors.get(name, ""), release, key=release_of)
        failed: list[UnavailableError] = []
        for place in self._places:
            try:
                put(place, msgspec.json.encode(floors))
            except UnavailableError as error:
                failed.append(error)
        if len(failed) == len(self._places):
            raise failed[0]
