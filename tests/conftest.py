"""What all tests share: the optional corpus of recordings, and hypothesis without a stopwatch."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# A busy machine is no bug: how long one example takes is measured by benchmarks, not by tests.
settings.register_profile("tocsin", deadline=None)
settings.load_profile("tocsin")

CORPUS = Path(os.environ.get("TOCSIN_CORPUS", Path(__file__).resolve().parents[2] / "shared" / "audio"))
"""Labelled recordings with a ``manifest.csv``; never part of the repository."""


def has_corpus() -> bool:
    """True if the recordings are at hand."""
    return (CORPUS / "manifest.csv").is_file()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The database of all tests of the hub that do not say otherwise."""
    parser.addoption("--database", choices=["sqlite", "postgresql"], default="sqlite")


def pytest_report_header() -> str:
    """Say at the top of every run whether the recordings are heard or left out."""
    if has_corpus():
        return "corpus: recordings are at hand"
    return "corpus: no recordings (set TOCSIN_CORPUS); the tests marked 'corpus' are not part of this run"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests that cannot be part of this run: a skip would look like a broken machine."""
    if not has_corpus():
        _leave_out("corpus", config, items)
    if config.getoption("--database") != "sqlite":
        _leave_out("sqlite", config, items)


def _leave_out(marker: str, config: pytest.Config, items: list[pytest.Item]) -> None:
    out = [item for item in items if item.get_closest_marker(marker)]
    items[:] = [item for item in items if not item.get_closest_marker(marker)]
    if out:
        config.hook.pytest_deselected(items=out)


@pytest.fixture(name="corpus", scope="session")
def _corpus() -> Path:
    """The folder of the recordings; for tests marked ``corpus``."""
    return CORPUS
