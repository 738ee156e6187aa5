"""Rollouts in a real browser before a real hub: made and decided by keyboard, live, readable by everybody."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import requests
from selenium.webdriver import Keys

from tests.integration.browser import DESKTOP, PHONE, chromium, complaints, emulate, show_as
from tests.integration.place import SMALL_TARGETS, Place, close_pipe, open_all_details, violations
from tests.integration.updating import UpdatingNode, signed_repository
from tocsin_hub.demo.broker import broker, free_port
from tocsin_hub.demo.site import Site
from tocsin_hub.i18n import catalogue
from tocsin_shared.events import UpdateState

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.broker]

EN = catalogue("en")
ROOMS = (
    ("press-1", "hall", "Press shop"),
    ("press-2", "hall", "도장실"),
    ("gate-1", "yard", "Gate"),
    ("gate-2", "yard", "Weighbridge"),
)
TOO_WIDE = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
SCRIPTS = "Emulation.setScriptExecutionDisabled"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One hub for all of these tests, over which models go through the air."""
    folder = tmp_path_factory.mktemp("place")
    more = signed_repository(folder / "ota") + "two_persons = false\n"
    with chromium(folder / "profile") as driver, broker("embedded", folder) as address:
        site = Site(folder, address, free_port(), more)
        site.start_hub()
        try:
            driver.get(site.login_link())
            yield Place(address, site, driver)
        finally:
            driver.get("about:blank")
            site.stop()
            close_pipe(site.process("hub"))


@pytest.fixture(scope="module")
def nodes(place: Place) -> Iterator[dict[str, UpdatingNode]]:
    """Four nodes in two zones, which listen and take updates."""
    with ExitStack() as stack:
        made = {
            node: stack.enter_context(UpdatingNode(place.broker, node, zone, room))
            for node, zone, room in ROOMS
        }
        for node in made.values():
            node.beat(-50.0)
        place.wait(lambda: len(ask(place, "GET", "/rooms")["rooms"]) == len(ROOMS), "all rooms")
        yield made


def ask(place: Place, method: str, path: str, **body: Any) -> Any:
    """What the API answers to whoever is signed in."""
    session = requests.Session()
    for cookie in place.driver.get_cookies():
        session.cookies.set(cookie["name"], cookie["value"])
    headers = {"Origin": place.site.address, "Sec-Fetch-Site": "same-origin"}
    address = f"{place.site.address}/api/v1{path}"
    answer = session.request(method, address, json=body or None, headers=headers, timeout=10)
    assert answer.ok, answer.text
    return answer.json()


def choose(place: Place, act: str) -> None:
    """Unfold what a button does, and confirm it; by keyboard."""
    place.one(f"#act-{act}").send_keys(Keys.ENTER)
    place.wait(lambda: place.one(f"#yes-{act}").is_displayed(), f"what {act} does")
    assert EN.t(f"rollout_does.{act}") in place.text(".act-sure")
    place.one(f"#yes-{act}").send_keys(Keys.ENTER)
    place.wait(lambda: EN.t("rollout.done") in place.text("#rollout-note"), f"{act} is done")


def test_a_rollout_from_the_form_to_its_stop_with_the_keyboard_alone(
    place: Place, nodes: dict[str, UpdatingNode]
) -> None:
    """Rehearse, make, approve, start; then the page follows the canary by itself until it fails."""
    show_as(place.driver, PHONE)
    place.driver.get(f"{place.site.address}/rollouts/new?lang=en")
    for name, keys in (("bundle", "sentry 0.2.0"), ("back", "0.1.0"), ("kind-1", "nodes")):
        place.one(f"#{name}").send_keys(keys)
    for name, value in (("value-1", "press-1"), ("soak", "0")):
        place.one(f"#{name}").clear()
        place.one(f"#{name}").send_keys(value)
    tick = place.one("[name=two_persons]")
    if tick.is_selected():
        tick.send_keys(Keys.SPACE)
    place.one("#fault").send_keys("the model mixes up its sounds")
    place.one("button[value=rehearse]").send_keys(Keys.ENTER)
    place.wait(lambda: place.all("#outcome"), "the outcome")
    assert EN.t("rollout_why.E_GOLDEN") in place.text("#outcome")
    assert violations(place.driver) == []
    place.one("button[value=save]").send_keys(Keys.ENTER)
    place.wait(lambda: place.all("#act-approve"), "the rollout")
    key = place.one("#rollout").get_attribute("data-id")
    choose(place, "approve")
    choose(place, "start")
    # Whatever else changes, this button keeps the focus, and stays unfolded.
    place.wait(lambda: place.mode == "live", "the page is live")
    place.one("#act-pause").send_keys(Keys.ENTER)
    nodes["press-1"].told()
    nodes["press-1"].report(
        UpdateState.DOWNLOADING, step="download", bytes_done=1_200_000, bytes_total=4_000_000
    )
    place.wait(lambda: "Downloads · 1.2 of 4.0 MB" in place.text("#ring-1"), "it downloads, live")
    assert place.driver.switch_to.active_element.get_attribute("id") == "act-pause"
    assert place.one("#yes-pause").is_displayed()
    nodes["press-1"].report(
        UpdateState.FAILED, step="golden", error="E_GOLDEN", detail="hears engine in smoke_alarm.wav"
    )
    place.wait(lambda: "did not hear its sample" in place.text("#ring-1"), "the reason, live")
    place.wait(lambda: "too many rooms" in place.text("#head"), "why it stands still, live")
    assert "It goes on only when an admin says so." in place.text("#head")
    assert EN.t("rollout.errors_first") in place.text("#ring-1")
    assert "Press shop: Failed" in place.text("#log")
    choose(place, "abort")
    place.wait(lambda: EN.t("rollout_state.aborted") in place.text("#head"), "it is broken off, live")
    assert ask(place, "GET", f"/rollouts/{key}")["state"] == "aborted"
    assert complaints(place.driver) == []


def test_without_scripts_everything_is_there_and_can_be_decided(
    place: Place, nodes: dict[str, UpdatingNode]
) -> None:
    assert nodes
    key = ask(place, "POST", "/rollouts", name="sentry", release="0.3.0", rings=["rest"], two_persons=False)[
        "id"
    ]
    place.driver.execute_cdp_cmd(SCRIPTS, {"value": True})
    try:
        place.driver.get(f"{place.site.address}/rollouts?lang=en")
        place.one(f"a[href$='{key}']").click()
        assert EN.t("rollout_state.awaiting_approval") in place.text("#head")
        assert len(place.all(".ring-room")) == len(ROOMS)
        place.one("#act-abort").click()
        assert EN.t("rollout_does.abort_early") in place.text(".act-sure")
        place.one("#yes-abort").click()
        place.wait(lambda: EN.t("rollout_state.aborted") in place.text("#head"), "the page that says so")
        assert EN.t("rollout.nothing_to_do") in place.text("#acts")
    finally:
        place.driver.execute_cdp_cmd(SCRIPTS, {"value": False})


@pytest.mark.parametrize(("language", "theme"), [("en", "light"), ("ko", "dark")])
def test_axe_finds_nothing_and_nothing_is_too_small_or_too_wide(
    place: Place, nodes: dict[str, UpdatingNode], language: str, theme: str
) -> None:
    assert nodes
    failed = next(one for one in ask(place, "GET", "/rollouts")["rollouts"] if one["release"] == "0.2.0")
    waits = ask(place, "POST", "/rollouts", name="sentry", release="0.3.0", rings=["1", "rest"], back="0.2.0")
    paths = ("/rollouts", "/rollouts/new", f"/rollouts/{failed['id']}", f"/rollouts/{waits['id']}")
    for path in paths:
        place.driver.get(f"{place.site.address}{path}?lang={language}&theme={theme}")
        for size in (DESKTOP, PHONE):
            show_as(place.driver, size)
            if place.all("#link"):
                place.wait(lambda: place.mode == "live", "the page is live")
            open_all_details(place)
            assert violations(place.driver) == [], (path, size)
        assert place.driver.execute_script(TOO_WIDE) <= 0, path
        assert place.driver.execute_script(SMALL_TARGETS) == [], path
    assert complaints(place.driver) == []


def test_without_colours_and_without_motion_rooms_still_differ(
    place: Place, nodes: dict[str, UpdatingNode]
) -> None:
    assert nodes
    failed = next(one for one in ask(place, "GET", "/rollouts")["rollouts"] if one["release"] == "0.2.0")
    place.open(f"/rollouts/{failed['id']}?lang=en&theme=system")
    emulate(place.driver, "forced-colors", "active")
    bad = place.one(".ring-room[data-kind=bad]")
    assert bad.value_of_css_property("border-top-width") == "4px"
    assert place.all(".ring-view .dot-bad")
    emulate(place.driver, "prefers-reduced-motion", "reduce")
    moving = "return document.getAnimations().filter((one) => one.playState === 'running').length"
    assert place.driver.execute_script(moving) == 0


def test_the_menu_leads_to_the_updates_on_a_phone(place: Place) -> None:
    place.open("/?lang=ko", PHONE)
    place.one(".menu-more > summary").click()
    place.one(".menu-sheet a[href$='/rollouts']").click()
    place.wait(lambda: catalogue("ko").t("rollout.heading") in place.text("h1"), "the list")
