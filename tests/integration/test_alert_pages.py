"""Policies, their tester and time to awareness in a real browser: keyboard, phone, both languages."""

from collections.abc import Iterator
from typing import Any

import pytest
import requests
from selenium.webdriver import Chrome, Keys

from tests.integration.browser import DESKTOP, PHONE, chromium, complaints, emulate, show_as
from tests.integration.place import SMALL_TARGETS, Place, close_pipe, violations
from tocsin_hub.demo.broker import broker, free_port
from tocsin_hub.demo.site import Site
from tocsin_hub.i18n import catalogue

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.broker]

PAGES = (
    "/admin/policies",
    "/admin/policies/edit?policy=default-alarm",
    "/admin/policies/edit?policy=new",
    "/awareness",
)
TOO_WIDE = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One hub for all of these tests, with a room in which an alarm sounds."""
    folder = tmp_path_factory.mktemp("place")
    with chromium(folder / "profile") as driver, broker("embedded", folder) as address:
        site = Site(folder, address, free_port())
        site.start_hub()
        try:
            driver.get(site.login_link())
            made = Place(address, site, driver)
            with made.node() as node:
                node.hear("smoke_alarm")
                made.wait(lambda: made.stored() == 1, "the alarm is stored")
                yield made
        finally:
            driver.get("about:blank")
            site.stop()
            close_pipe(site.process("hub"))


def show(place: Place, path: str, language: str, size: tuple[int, int], *, dark: bool = False) -> Chrome:
    """Open a page that stands still."""
    show_as(place.driver, size, dark=dark)
    place.driver.get(f"{place.site.address}{path}{'&' if '?' in path else '?'}lang={language}")
    return place.driver


@pytest.mark.parametrize("path", PAGES)
def test_axe_finds_nothing_and_nothing_is_too_small_or_too_wide(place: Place, path: str) -> None:
    for language, size, dark in (("ko", PHONE, False), ("en", DESKTOP, True)):
        driver = show(place, path, language, size, dark=dark)
        driver.execute_script("document.querySelectorAll('details').forEach(d => { d.open = true })")
        assert violations(driver) == [], (size, dark)
        assert driver.execute_script(SMALL_TARGETS) == [], size
        assert driver.execute_script(TOO_WIDE) <= 0, size
    assert complaints(place.driver) == []


@pytest.mark.parametrize("language", ["en", "ko"])
def test_a_policy_is_tried_and_saved_with_the_keyboard_alone(place: Place, language: str) -> None:
    texts = catalogue(language)
    driver = show(place, "/admin/policies/edit?policy=new", language, PHONE)
    name = place.one("#name")
    name.send_keys(f"Night {language}")
    place.one("#repeat-2").clear()
    place.one("#repeat-2").send_keys("5")
    place.one("button[value=try]").send_keys(Keys.ENTER)
    place.wait(
        lambda: texts.t("policy_error.repeat", step=2, seconds=10) in place.text("[role=alert]"), "why"
    )
    assert place.one("#name").get_attribute("value") == f"Night {language}", "nothing typed is lost"
    place.one("#repeat-2").clear()
    place.one("#repeat-2").send_keys("45")
    place.one("button[value=try]").send_keys(Keys.ENTER)
    place.wait(lambda: place.all("#tested table"), "what would happen")
    assert texts.t("policy_channel.actuator") in place.text("#tested")
    assert violations(driver) == []
    place.one("button[value=save]").send_keys(Keys.ENTER)
    place.wait(lambda: texts.t("policy_done.saved") in place.text("[role=status]"), "it is saved")
    assert f"Night {language}" in place.text(".policies h2")


def test_time_to_awareness_without_colours(place: Place) -> None:
    """The alarm was measured: the line of the budget stands in each drawing, and figures stand in words."""
    driver = show(place, "/awareness", "en", PHONE)
    emulate(driver, "forced-colors", "active")
    texts = catalogue("en")
    assert place.text(".budget-name").count(texts.t("awareness.budget", seconds="10")) >= 2
    assert texts.t("awareness.within", share="100.0", seconds="10") in place.text(".verdict")
    assert len(place.all(".figures tbody tr")) == 6
    assert place.one(".bar").value_of_css_property("fill") != "none"


def test_an_open_page_says_that_it_shows_an_alert_once_it_does(place: Place) -> None:
    """The whole way of a receipt: alert on the socket, card in the page, stamp in the database."""
    place.open("/?lang=en")
    with place.node("gate", "yard", "Gate") as gate:
        gate.hear("co_alarm")
        place.wait(lambda: len(incidents(place)) == 2, "the incident", 30)
        alarm = incidents(place)[0]
        place.wait(lambda: shown_by_page(place, alarm), "the page's word that it shows the alert", 30)
        assert place.all(f'article.incident[data-id="{alarm}"]')


def ask(place: Place, path: str) -> Any:
    """What the API says to whoever is signed in."""
    cookies = {cookie["name"]: cookie["value"] for cookie in place.driver.get_cookies()}
    return requests.get(f"{place.site.address}/api/v1/{path}", cookies=cookies, timeout=10).json()


def incidents(place: Place) -> list[str]:
    """Ids of all incidents of sounds, the newest first."""
    return [one["id"] for one in ask(place, "incidents?limit=50")["incidents"] if one["kind"] == "sound"]


def shown_by_page(place: Place, incident: str) -> bool:
    """Whether a page said that it shows the alert."""
    alerts = ask(place, f"incidents/{incident}/alerts")["alerts"]
    return any(one["channel"] == "page" and one["shown"] for each in alerts for one in each["deliveries"])
