"""What the tests with a browser share: one Chromium for each module, and a hub for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome

from tests.integration.browser import chromium
from tests.integration.place import Place, close_pipe
from tocsin_hub.demo.broker import broker, free_port
from tocsin_hub.demo.site import Site


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with chromium(tmp_path_factory.mktemp("profile")) as made:
        yield made


@pytest.fixture
def place(driver: Chrome, tmp_path: Path) -> Iterator[Place]:
    with broker("embedded", tmp_path) as address:
        site = Site(tmp_path, address, free_port(), "[incidents]\nhold_seconds = 0.0\n")
        try:
            site.start_hub()
            driver.delete_all_cookies()
            driver.get(site.login_link())
            driver.execute_script("localStorage.clear()")
            yield Place(address, site, driver)
        finally:
            driver.get("about:blank")
            site.stop()
            close_pipe(site.process("hub"))
