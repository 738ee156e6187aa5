"""A site with a trust repository on a web server, for the tests of updates."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.node.update.server import serving
from tests.node.update.world import Scene
from tests.shared.trust.site import Site


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """Nothing is published yet."""
    site = Site(tmp_path / "repository")
    with serving(tmp_path / "repository") as server:
        yield Scene(tmp_path, site, server)
