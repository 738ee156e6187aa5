"""One site of containers for all tests of the playbooks."""

import shutil
from collections.abc import Iterator

import pytest

from tests.deploy.site import SiteOfContainers, build_wheels


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SiteOfContainers]:
    """Three booted machines with nothing on them yet; each test goes on where the one before it ended."""
    folder = tmp_path_factory.mktemp("deploy")
    wheels = folder / "wheels"
    build_wheels(wheels)
    made = SiteOfContainers(folder, wheels)
    try:
        made.start()
        yield made
    finally:
        made.stop()
        for machine in made.machines:
            shutil.rmtree(machine.root, ignore_errors=True)
