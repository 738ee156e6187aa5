"""Getting in and keeping people in a real browser, before a real hub: axe, keyboard sizes, both languages."""

import contextlib
from collections.abc import Iterator

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from tests.hub.parts import wait_until
from tests.hub.processes import HubProcess, hub_process
from tests.integration.browser import DESKTOP, PHONE, chromium, complaints, show_as
from tests.integration.place import AXE, AXE_RULES, SMALL_TARGETS
from tocsin_hub.i18n import catalogue

pytestmark = [pytest.mark.slow, pytest.mark.browser]

NOBODY = 1
"""A port on which no broker listens."""
PASSWORD = "four bells at night"  # noqa: S105  # pragma: allowlist secret


class Visitor:
    """Somebody with a browser before a hub."""

    def __init__(self, driver: Chrome, hub: HubProcess) -> None:
        self.driver = driver
        self.hub = hub

    def open(self, path: str) -> None:
        self.driver.get(self.hub.address + path)

    def fill(self, **fields: str) -> None:
        for name, value in fields.items():
            box = self.driver.find_element(By.CSS_SELECTOR, f'[name="{name}"]:not([type="hidden"])')
            box.clear()
            box.send_keys(value)

    def press(self, selector: str = ".panel button.primary") -> None:
        self.driver.find_element(By.CSS_SELECTOR, selector).click()

    def wait_for(self, path: str) -> None:
        wait_until(lambda: self.driver.current_url.startswith(self.hub.address + path), path, 20)

    def value(self, selector: str) -> str:
        return self.driver.find_element(By.CSS_SELECTOR, selector).get_attribute("value") or ""


@pytest.fixture(scope="module")
def visitor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visitor]:
    """An admin who has come by the first link."""
    with contextlib.ExitStack() as stack:
        hub = stack.enter_context(hub_process(tmp_path_factory.mktemp("hub"), NOBODY, status=503))
        driver = stack.enter_context(chromium(tmp_path_factory.mktemp("profile")))
        driver.get(hub.first_link())
        yield Visitor(driver, hub)
        driver.get("about:blank")


def test_from_the_first_link_to_a_worker_s_phone(visitor: Visitor) -> None:
    """First link, name and password, logged out, in by the password, invitation, worker in, shut out."""
    show_as(visitor.driver, PHONE)
    visitor.wait_for("/welcome")
    visitor.fill(name="Boss", login="boss", password=PASSWORD)
    visitor.press()
    visitor.wait_for("/")
    visitor.open("/account")
    visitor.press(".menu-more summary")
    visitor.press('form[action$="/logout"] button')
    visitor.wait_for("/signed-out")
    visitor.fill(login="boss", password=PASSWORD)
    visitor.press()
    wait_until(lambda: "/signed-out" not in visitor.driver.current_url, "the page behind the login", 20)
    visitor.open("/admin/people")
    visitor.fill(name="김민아")
    visitor.press()
    wait_until(lambda: bool(visitor.driver.find_elements(By.ID, "invited-address")), "the invitation", 20)
    address = visitor.value("#invited-address")
    box = visitor.driver.find_element(By.CSS_SELECTOR, ".qr-frame svg").size
    assert box["width"] >= 200
    assert box["height"] == pytest.approx(box["width"], abs=1)
    boss = visitor.driver.get_cookies()
    visitor.driver.delete_all_cookies()
    visitor.driver.get(address)
    assert visitor.value("#field-name") == "김민아"
    visitor.press()
    wait_until(lambda: "/join/" not in visitor.driver.current_url, "the worker is in", 20)
    visitor.open("/account")
    assert "김민아" in visitor.driver.find_element(By.TAG_NAME, "h1").text
    visitor.open("/admin/people")
    assert visitor.driver.find_element(By.TAG_NAME, "h1").text == catalogue("en").t("refused.heading")
    visitor.driver.delete_all_cookies()
    for cookie in boss:
        visitor.driver.add_cookie({name: cookie[name] for name in ("name", "value", "path")})


@pytest.mark.parametrize(("language", "size", "dark"), [("en", PHONE, False), ("ko", DESKTOP, True)])
def test_axe_finds_nothing_on_any_of_these_pages(
    visitor: Visitor, language: str, size: tuple[int, int], *, dark: bool
) -> None:
    driver = visitor.driver
    show_as(driver, size, dark=dark)
    visitor.open("/admin/people")
    person = driver.find_element(By.CSS_SELECTOR, ".line-name a").get_attribute("href") or ""
    paths = (
        "/account",
        "/admin/people",
        person.removeprefix(visitor.hub.address),
        "/admin/tokens",
        "/admin/audit",
    )
    for path in (*paths, "/signed-out", "/join/spent", "/account/nothing"):
        visitor.open(f"{path}?lang={language}")
        look_closely(driver, path)


def test_axe_finds_nothing_where_something_is_wrong_or_just_made(visitor: Visitor) -> None:
    driver = visitor.driver
    show_as(driver, PHONE)
    visitor.open("/admin/tokens?lang=en")
    visitor.fill(name="prometheus", days="90")
    visitor.press()
    wait_until(lambda: bool(driver.find_elements(By.ID, "wrong-scopes")), "what is wrong", 20)
    look_closely(driver, "a form that was refused")
    driver.find_element(By.CSS_SELECTOR, '[name="scopes"][value="metrics"]').click()
    visitor.press()
    wait_until(lambda: visitor.value("#made-token").startswith("tocsin_"), "the token", 20)
    look_closely(driver, "a token")
    visitor.open("/admin/people")
    visitor.fill(name="Jun")
    visitor.press()
    wait_until(lambda: bool(driver.find_elements(By.CLASS_NAME, "qr")), "the QR code", 20)
    look_closely(driver, "an invitation")
    address = visitor.value("#invited-address")
    driver.get(address)
    look_closely(driver, "a page that uses an invitation up")


def look_closely(driver: Chrome, what: str) -> None:
    """Fails where axe complains, a target is small, or something sticks out of the window."""
    driver.execute_script(AXE)
    script = "const done = arguments[1]; axe.run(document, { runOnly: arguments[0] }).then(done)"
    found = driver.execute_async_script(script, AXE_RULES)["violations"]
    assert [(one["id"], one["nodes"][0]["html"]) for one in found] == [], what
    assert driver.execute_script(SMALL_TARGETS) == [], what
    assert driver.execute_script("return document.documentElement.scrollWidth <= innerWidth"), what
    assert [one for one in complaints(driver) if "Content Security Policy" in one] == [], what
