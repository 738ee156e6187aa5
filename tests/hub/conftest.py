"""A line with a fake broker, and a hub that is not linked to one: everything but MQTT is real."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from tests.hub.databases import DATABASES, POSTGRESQL, SQLITE, store_settings
from tests.hub.described import refuse_undescribed
from tests.hub.parts import Line, log_in
from tocsin_hub.root import Hub, build
from tocsin_hub.settings import HubSettings


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests of what both databases must do are run on both."""
    marked = metafunc.definition.get_closest_marker
    if marked("both_databases") and not marked("sqlite"):
        metafunc.parametrize("_database", [SQLITE, POSTGRESQL], indirect=True)


@pytest.fixture(autouse=True)
def _database(request: pytest.FixtureRequest) -> Iterator[None]:
    DATABASES.engine = getattr(request, "param", request.config.getoption("--database"))
    yield
    DATABASES.forget()
    DATABASES.engine = SQLITE


@pytest.fixture(autouse=True, scope="session")
def _databases() -> Iterator[None]:
    yield
    DATABASES.end()


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    with Line(tmp_path / "hub.sqlite") as made:
        yield made


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    deaths: list[str] = []
    made = build(HubSettings(state_folder=tmp_path / "state", store=store_settings(tmp_path)))
    made.app.after_request(refuse_undescribed)
    made.live.start(deaths.append)
    made.writer.start(made.ingest.settle, deaths.append)
    yield made
    made.stop()
    assert deaths == []


@pytest.fixture
def client(hub: Hub) -> FlaskClient:
    """A client that is logged in."""
    return log_in(hub)
