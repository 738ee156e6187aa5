"""A hub with its broker, a signed-in browser that looks at it, and what tests ask of a page."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from tests.integration.browser import DESKTOP, PaperNode, show_as
from tocsin_hub.demo.broker import BrokerAddress
from tocsin_hub.demo.site import Site

AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text(encoding="utf-8")
AXE_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


SMALL_TARGETS = """
return [...document.querySelectorAll('a, button, select, summary')]
  .filter((element) => element.checkVisibility() && element.className !== 'skip')
  .map((element) => [element.className || element.tagName, element.getBoundingClientRect()])
  .filter(([, box]) => box.height < 44 || box.width < 44)
  .map(([name]) => name);
"""


@dataclass
class Place:
    """A hub with its broker, and somebody who is signed in and looks at it."""

    broker: BrokerAddress
    site: Site
    driver: Chrome

    def open(self, path: str = "/", size: tuple[int, int] = DESKTOP, *, dark: bool = False) -> None:
        """Open a page and wait until it is live."""
        show_as(self.driver, size, dark=dark)
        self.driver.get(self.site.address + path)
        self.wait(lambda: self.mode == "live", "the page is live")

    @property
    def mode(self) -> str:
        """How far the page says that it can be trusted."""
        return self.one("#link").get_attribute("data-mode") or ""

    def one(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        return text_of(self.driver, selector)

    def wait(self, condition: Callable[[], Any], what: str, seconds: float = 10.0) -> None:
        """Wait for ``condition``; fails with ``what`` and what the page shows instead."""
        deadline = time.monotonic() + seconds
        while not _holds(condition):
            assert time.monotonic() < deadline, (
                f"after {seconds} s still waiting: {what}\n{self.text('body')}"
            )
            time.sleep(0.05)

    def evaluate(self, module: str, expression: str) -> Any:
        """Value of a JavaScript expression in which ``m`` is one of the page's modules."""
        script = f"const done = arguments[0]; import('/static/js/{module}').then(m => done({expression}))"
        return self.driver.execute_async_script(script)

    def lasting(self) -> int:
        """Number of incidents that the hub takes to last; it looks once a second which are over."""
        return len(self._ask("/api/v1/incidents?active=true&kind=sound")["incidents"])

    def stored(self) -> int:
        """Number of detections that the hub has, as its API says."""
        return len(self._ask("/api/v1/events?limit=500")["events"])

    def _ask(self, path: str) -> dict[str, list[Any]]:
        cookies = {cookie["name"]: cookie["value"] for cookie in self.driver.get_cookies()}
        answer: dict[str, list[Any]] = requests.get(
            self.site.address + path, cookies=cookies, timeout=5
        ).json()
        return answer

    def node(self, name: str = "press-1", zone: str = "hall-1", room: str = "Press shop") -> PaperNode:
        return PaperNode(self.broker, name, zone, room)


def _holds(condition: Callable[[], Any]) -> bool:
    try:
        return bool(condition())
    except StaleElementReferenceException:
        return False  # the page has just replaced what was looked at


def text_of(driver: Chrome, selector: str) -> str:
    """Text of all that ``selector`` finds, a line each; read again where the page was replacing it."""
    while True:
        try:
            return "\n".join(one.text for one in driver.find_elements(By.CSS_SELECTOR, selector))
        except StaleElementReferenceException:
            continue


@contextmanager
def before_every_page(driver: Chrome, script: str) -> Iterator[None]:
    """Run ``script`` in every page before its own scripts."""
    added = driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": script})
    try:
        yield
    finally:
        driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)


def kill(site: Site) -> None:
    """End the hub at once, as a power cut would."""
    hub = site.process("hub")
    os.killpg(hub.pid, signal.SIGKILL)
    hub.wait(10)
    close_pipe(hub)


def close_pipe(process: "subprocess.Popen[bytes]") -> None:
    """Close what a child process heard from."""
    if process.stdin is not None:
        process.stdin.close()


def open_all_details(place: Place) -> None:
    """Open everything that can be unfolded."""
    place.driver.execute_script("document.querySelectorAll('details').forEach(d => { d.open = true })")


def violations(driver: Chrome) -> list[str]:
    """What axe-core objects to in the page as it stands: rule and element."""
    driver.execute_script(AXE)
    result = driver.execute_async_script(
        "const done = arguments[1];"
        "axe.run({runOnly: arguments[0]})"
        ".then(result => done(result.violations), error => done([{id: String(error), nodes: []}]))",
        AXE_RULES,
    )
    return [f"{v['id']}: {[n['html'][:120] for n in v['nodes']]}" for v in result]
