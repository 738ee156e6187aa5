"""A hub whose passwords cost little, so that tests need not wait for what only thieves should wait for."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tocsin_hub.root import Hub, build
from tocsin_hub.settings import AccessSettings, HubSettings

CHEAP = AccessSettings(argon2_rounds=1, argon2_memory_kib=8192, argon2_lanes=1)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    deaths: list[str] = []
    made = build(HubSettings(state_folder=tmp_path / "state", access=CHEAP))
    made.live.start(deaths.append)
    made.writer.start(made.ingest.settle, deaths.append)
    yield made
    made.stop()
    assert deaths == []
