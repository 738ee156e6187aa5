"""Incidents, deaf rooms, floor plan, drills, history and themes in a real browser, before a real hub."""

import csv
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
import requests
from selenium.webdriver import ActionChains, Keys

from tests.integration.browser import DESKTOP, PHONE, complaints, emulate, show_as
from tests.integration.place import SMALL_TARGETS, Place, open_all_details, violations
from tocsin_shared.events import MicState

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.broker]


def png(width: int, height: int) -> bytes:
    """A PNG that says that it is so large; its pixels are missing, as in a bomb that was cut short."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + b"\xc0" * width for _ in range(min(height, 1000))))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def session_of(place: Place) -> requests.Session:
    """The browser's session for requests of our own, which come from a page of the hub."""
    session = requests.Session()
    for cookie in place.driver.get_cookies():
        session.cookies.set(cookie["name"], cookie["value"])
    session.headers.update({"Origin": place.site.address, "Sec-Fetch-Site": "same-origin"})
    return session


def incidents(place: Place) -> list[dict[str, Any]]:
    """All incidents, the newest first."""
    answer = session_of(place).get(f"{place.site.address}/api/v1/incidents", timeout=5)
    listed: list[dict[str, Any]] = answer.json()["incidents"]
    return listed


def type_rooms(place: Place, node: str, **numbers: int) -> None:
    """Fill the number fields of one room by keyboard."""
    for name, number in numbers.items():
        field = place.one(f"[name='{name}.{node}']")
        field.clear()
        field.send_keys(str(number))


def test_an_incident_is_one_card_for_all_rooms_and_is_acknowledged_by_keyboard(place: Place) -> None:
    with place.node() as node, place.node("paint-1", "hall-1", "도장실") as other:
        place.open("/?lang=en")
        node.hear("smoke_alarm", level_dbfs=-12.0)
        place.wait(lambda: place.all("#alarms .incident"), "the incident")
        link = place.one(".brand")
        place.driver.execute_script("arguments[0].focus()", link)
        other.hear("smoke_alarm", level_dbfs=-40.0)
        place.wait(lambda: "Heard in: Press shop, 도장실" in place.text("#alarms"), "the second room")
        assert len(place.all("#alarms .card")) == 1
        assert "likely here, where it is loudest" in place.text("#alarms")
        assert "Nobody is taking care of it yet." in place.text("#alarms")
        assert place.driver.switch_to.active_element == link

        button = place.one("#alarms .button.strong")
        assert (
            button.get_attribute("aria-label")
            == "I am taking care of it: Fire alarm (smoke detector), Press shop"
        )
        button.send_keys(Keys.ENTER)
        place.wait(lambda: "taking care of it since" in place.text("#alarms"), "the acknowledgement")
        assert not place.one("#alarms .button.strong").is_displayed()
        assert incidents(place)[0]["acknowledged"]


def test_the_page_of_an_incident_tells_and_takes_answers_without_scripts(place: Place) -> None:
    with place.node() as node:
        node.hear("smoke_alarm", rhythm="t3", certainty="confirmed")
        place.wait(lambda: incidents(place), "the incident")
        path = f"/incidents/{incidents(place)[0]['id']}?lang=en"
        place.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
        try:
            place.driver.get(place.site.address + path)
            text = place.text("main")
            for words in (
                "May be a fire alarm",
                "Press shop",
                "It lasts",
                "−18 dBFS",
                "Begun: Fire alarm",
                "94%",
            ):
                assert words in text
            place.one("button[value='need_help']").click()
            noted = "Your answer was noted. I need help"
            place.wait(lambda: noted in place.text("#answer-note"), "the answer")
            assert "Help needed" in place.text(".card-badges")
            assert ": I need help" in place.text("#timeline")
            place.one("#acknowledge button").click()
            place.wait(lambda: "takes care of it" in place.text("#timeline"), "who takes care of it")
        finally:
            place.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
        place.driver.get(f"{place.site.address}/incidents/{'0' * 26}")
        assert "There is no such page" in place.text("main") or "이 페이지는 없습니다" in place.text("main")


def test_the_page_of_an_incident_goes_on_by_itself_and_keeps_the_focus(place: Place) -> None:
    with place.node() as node:
        heard = node.hear("smoke_alarm")
        place.wait(lambda: incidents(place), "the incident")
        place.open(f"/incidents/{incidents(place)[0]['id']}?lang=en")
        assert place.all("#alarms .card") == []
        button = place.one("button[value='safe']")
        place.driver.execute_script("arguments[0].focus()", button)
        node.over(heard)
        place.wait(lambda: "Over" in place.text("#timeline"), "its end", 20.0)
        assert place.driver.switch_to.active_element == button


def test_a_deaf_room_stands_above_everything_calm(place: Place) -> None:
    with place.node() as node, place.node("gate", "yard", "정문") as gate:
        node.beat(-50.0)
        gate.beat(-50.0)
        place.open("/?lang=en")
        place.wait(lambda: "2 of 2" in place.text("#rooms-summary"), "both are heard")
        assert not place.one("#troubled").is_displayed()
        gate.beat(None, MicState.ABSENT)
        place.wait(lambda: place.one("#troubled").is_displayed(), "the deaf room")
        assert "정문" in place.text("#deaf")
        assert "This room has not been listened to since" in place.text("#deaf")
        top, calm = place.one("#troubled").location["y"], place.one("#now-quiet").location["y"]
        assert top < calm
        assert place.one("#now-quiet").get_attribute("data-calm") == "false"
        place.open("/?lang=ko", PHONE)
        place.wait(
            lambda: "부터 이 방의 소리를 듣지 못하고 있습니다" in place.text("#deaf"), "the same in Korean"
        )
        gate.beat(-50.0)
        place.wait(lambda: not place.one("#troubled").is_displayed(), "it is heard again")


def test_the_plan_is_drawn_and_read_by_keyboard_alone(place: Place) -> None:
    with place.node() as node, place.node("gate", "yard", "정문") as gate:
        node.beat(-42.0)
        gate.beat(None, MicState.SILENT)
        place.driver.get(f"{place.site.address}/plan/edit?lang=en")
        type_rooms(place, "press-1", x=40, y=40, width=300, height=300)
        type_rooms(place, "gate", x=600, y=60, width=900, height=300)
        place.one("#plan-form [type='submit']").send_keys(Keys.ENTER)
        place.wait(lambda: "정문: The room leaves the plan." in place.text("main"), "what is wrong")
        assert place.one("[name='width.gate']").get_attribute("value") == "900"
        place.one("[name='corners.gate']").send_keys("600,60 900,60 900,300 700,400")
        place.one("#plan-form [type='submit']").send_keys(Keys.ENTER)
        place.wait(lambda: "Saved." in place.text("main"), "it is saved")
        refused = "Failed to load resource"  # what was asked for and not given, here and in earlier tests
        assert [words for words in complaints(place.driver) if refused not in words] == []

        place.open("/?lang=en")
        place.wait(lambda: "−42 dBFS" in place.text("#plan"), "the level in the plan")
        shop, yard = "#plan .plan-room:nth-of-type(1)", "#plan .plan-room:nth-of-type(2)"
        names = [place.one(one).accessible_name.replace("\xa0", " ") for one in (yard, shop)]
        assert names == ["Press shop Listening −42 dBFS", "정문 Microphone mute"]
        place.driver.execute_script("arguments[0].focus()", place.one(yard))
        ActionChains(place.driver).send_keys(Keys.ARROW_LEFT).perform()
        ActionChains(place.driver).send_keys(Keys.ARROW_RIGHT).perform()
        assert place.driver.switch_to.active_element.accessible_name == "정문 Microphone mute"
        ActionChains(place.driver).send_keys(Keys.ENTER).perform()
        assert place.one("[data-node='gate'] details").get_attribute("open") is not None
        node.hear("smoke_alarm")
        place.wait(lambda: "Fire alarm" in place.text("#plan"), "the alarm in the plan")
        assert place.one(".plan-shape[data-node='press-1']").get_attribute("data-sounding") == "alarm"


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("bomb.png", png(60_000, 60_000), "too many pixels"),
        ("plan.png", b"\x89PNG\r\n\x1a\n" + b"no picture at all" * 9, "damaged"),
        ("plan.png", b"GIF89a" + b"\0" * 100, "no picture that can be used"),
        (
            "plan.svg",
            b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
            "can hold programs",
        ),
        ("empty.png", b"", "no picture that can be used"),
    ],
    ids=["bomb", "damaged", "gif", "svg", "empty"],
)
def test_a_picture_that_is_none_is_refused(
    place: Place, tmp_path: Path, name: str, data: bytes, words: str
) -> None:
    (tmp_path / name).write_bytes(data)
    place.driver.get(f"{place.site.address}/plan/edit?lang=en")
    place.one("#picture").send_keys(str(tmp_path / name))
    place.one("[action$='/plan/picture'] .primary").click()
    place.wait(lambda: words in place.text("#picture-error"), "the refusal")
    assert not list((tmp_path / "hub").glob("plan/*"))


def test_a_room_whose_node_is_gone_is_forgotten_by_keyboard_and_leaves_open_pages(place: Place) -> None:
    """First a question, with what it means; the page that stood open drops the room by itself."""
    with place.node(), place.node("paint-1", "hall-1", "도장실") as gone:
        place.open("/?lang=en")
        place.wait(lambda: len(place.all("#rooms .room")) == 2, "both rooms")
        open_page = place.driver.current_window_handle
        gone.__exit__()
        place.wait(
            lambda: "offline" in [one.get_attribute("data-state") for one in place.all(".room")], "gone"
        )
        place.driver.switch_to.new_window("tab")
        for language, size in (("ko", PHONE), ("en", DESKTOP)):
            show_as(place.driver, size)
            for path in ("/plan/edit", "/plan/rooms/paint-1/forget"):
                place.driver.get(f"{place.site.address}{path}?lang={language}")
                assert not violations(place.driver)
                assert not place.driver.execute_script(SMALL_TARGETS)
        place.driver.get(f"{place.site.address}/plan/edit?lang=en")
        place.one("a[href$='/paint-1/forget']").send_keys(Keys.ENTER)
        place.wait(lambda: "Forget 도장실?" in place.text("h1"), "the question")
        place.one("form [type='submit'].primary").send_keys(Keys.ENTER)
        place.wait(lambda: "도장실 is forgotten." in place.text("main"), "that it is done")
        place.driver.close()
        place.driver.switch_to.window(open_page)
        place.wait(lambda: len(place.all("#rooms .room")) == 1, "the page to drop the room", 20)


def test_a_picture_is_kept_and_served_as_what_it_is(place: Place, tmp_path: Path) -> None:
    (tmp_path / "floor.png").write_bytes(png(800, 400))
    place.driver.get(f"{place.site.address}/plan/edit?lang=en")
    place.one("#picture").send_keys(str(tmp_path / "floor.png"))
    place.one("[action$='/plan/picture'] .primary").click()
    place.wait(lambda: "Saved." in place.text("main"), "it is saved")
    address = place.one("#draw image").get_attribute("href") if place.all("#draw image") else None
    with place.node() as node:
        node.beat(-50.0)
        place.wait(lambda: place.stored() == 0, "the hub answers")
        place.driver.refresh()
        place.wait(lambda: place.all("#draw image"), "the picture")
        address = place.one("#draw image").get_attribute("href") or address
    session = session_of(place)
    answer = session.get(place.site.address + str(address), timeout=5)
    assert (answer.headers["Content-Type"], answer.headers["X-Content-Type-Options"]) == (
        "image/png",
        "nosniff",
    )
    assert answer.content == png(800, 400)
    assert (
        requests.get(place.site.address + str(address), timeout=5, allow_redirects=False).status_code == 302
    )


def test_a_drill_is_confirmed_shown_everywhere_and_ended(place: Place) -> None:
    with place.node() as node:
        node.beat(-50.0)
        place.open("/?lang=en")
        place.wait(lambda: place.all(".room"), "the room")
        assert not place.one("#drill").is_displayed()
        place.open("/drill?lang=en")
        place.one("[name='zone'][value='hall-1']").send_keys(Keys.SPACE)
        place.one("[action$='/drill'] .primary").send_keys(Keys.ENTER)
        place.wait(lambda: "Confirm before you start." in place.text("main"), "the question")
        assert place.one("[name='zone']").is_selected()
        place.one("[name='confirmed']").send_keys(Keys.SPACE)
        place.one("[action$='/drill'] .primary").send_keys(Keys.ENTER)
        place.wait(lambda: "This is a drill in hall-1." in place.text("#drill"), "the banner")
        for path in ("/", "/history", "/plan/edit"):
            place.driver.get(f"{place.site.address}{path}?lang=ko")
            place.wait(lambda: "훈련 중입니다" in place.text("#drill"), "the banner elsewhere")
        node.hear("siren")
        place.open("/?lang=en")
        place.wait(lambda: "Drill" in place.text("#alarms .badge-drill"), "the badge")
        place.open("/history?lang=en&what=drills")
        assert len(place.all("#log tr")) == 1
        place.open("/drill?lang=en")
        place.one("[action$='/end'] button").click()
        place.wait(lambda: not place.one("#drill").is_displayed(), "no banner any more")


def test_a_drill_is_said_on_pages_that_stand_open_whether_live_or_not(place: Place) -> None:
    """A page of forms does not follow the hub, and yet says that a drill runs, and that it ended."""
    with place.node() as node:
        node.beat(-50.0)
        place.wait(lambda: place.stored() == 0, "the hub answers")
        place.driver.get(f"{place.site.address}/account?lang=en")
        assert not place.one("#drill").is_displayed()
        session, address = session_of(place), f"{place.site.address}/api/v1/drills"
        wanted: dict[str, Any] = {"zones": [], "minutes": 9}
        begun = session.post(address, json=wanted, timeout=5).json()
        place.wait(lambda: "This is a drill. It runs until" in place.text("#drill"), "the banner", 20.0)
        session.delete(f"{address}/{begun['id']}", timeout=5).raise_for_status()
        place.wait(lambda: not place.one("#drill").is_displayed(), "no banner any more", 20.0)
    refused = "Failed to load resource"  # what was asked for and not given in earlier tests
    assert [words for words in complaints(place.driver) if refused not in words] == []


def test_history_filters_by_zone_occasion_and_day_and_exports_what_it_shows(place: Place) -> None:
    with place.node() as node, place.node("gate", "yard", "=HYPERLINK(1)") as gate:
        node.hear("siren", seconds_ago=3 * 86_400.0, late=True)
        node.hear("siren", test=True)
        horn = gate.hear("vehicle_horn", level_dbfs=-18.4)
        place.wait(lambda: place.stored() == 3, "all are stored")
        place.open("/history?lang=ko", PHONE)
        assert len(place.all("#log tr")) == 3
        place.one("#filter-zone").send_keys("yard")
        place.one(".filters button").click()
        place.wait(lambda: len(place.all("#log tr")) == 1, "one row is left")
        assert "clock=Asia%2FSeoul" in place.driver.current_url
        address = place.one(".history-tools a").get_attribute("href")
        answer = session_of(place).get(str(address), timeout=5)
        assert answer.headers["Content-Type"].startswith("text/csv")
        assert answer.content.startswith("\ufeff".encode())
        heading, row = csv.reader(io.StringIO(answer.content.decode("utf-8-sig")))
        shown = dict(zip(heading, row, strict=True))
        assert (shown["방"], shown["소리"], shown["소리 크기(dBFS)"]) == (
            "'=HYPERLINK(1)",
            "차량 경적",
            "-18.4",
        )
        assert shown["번호"] == horn.id
        for query, count in (("what=tests", 1), ("what=real", 2), ("since=2001-01-01&until=2001-01-02", 0)):
            place.driver.get(f"{place.site.address}/history?{query}")
            assert len(place.all("#log tr")) == count, query


def test_plots_draw_what_their_tables_say(place: Place) -> None:
    complaints(place.driver)  # those of earlier tests, which asked for what is not there
    with place.node() as node:
        node.beat(-50.0)
        node.hear("siren")
        place.wait(lambda: place.stored() == 1, "it is stored")
        place.open("/history?lang=en&node=press-1")
        place.one("#plots > summary").send_keys(Keys.ENTER)
        place.wait(lambda: place.all("#plot-hours canvas"), "the plot")
        open_all_details(place)
        assert place.text("#plot-hours tbody").endswith("1 0 0")
        place.wait(lambda: "Nothing in this time." in place.text("#plot-levels"), "no minute is over yet")
    assert complaints(place.driver) == []


def test_a_theme_is_chosen_without_scripts_and_remembered(place: Place) -> None:
    show_as(place.driver, PHONE, dark=False)
    place.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        place.driver.get(f"{place.site.address}/history?lang=en")
        light = place.one("body").value_of_css_property("background-color")
        place.one(".menu-more summary").click()
        place.one("[href*='theme=dark']").click()
        place.driver.get(f"{place.site.address}/history")
        dark = place.one("body").value_of_css_property("background-color")
        assert dark != light
    finally:
        place.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    show_as(place.driver, PHONE, dark=True)
    place.driver.get(f"{place.site.address}/history?theme=light")
    assert place.one("body").value_of_css_property("background-color") == light
    place.driver.get(f"{place.site.address}/history?theme=system")
    assert place.one("body").value_of_css_property("background-color") == dark


@pytest.mark.parametrize(("language", "theme"), [("en", "light"), ("ko", "dark")])
def test_axe_finds_nothing_on_any_screen(place: Place, language: str, theme: str) -> None:
    with place.node() as node, place.node("gate", "yard", "정문") as gate:
        node.beat(-50.0)
        gate.beat(None, MicState.ABSENT)
        gate.suffer("mic_absent", "clock")
        session = session_of(place)
        place.driver.get(f"{place.site.address}/plan/edit?lang=en")
        type_rooms(place, "press-1", x=40, y=40, width=300, height=300)
        type_rooms(place, "gate", x=500, y=60, width=300, height=300)
        place.one("#plan-form [type='submit']").send_keys(Keys.ENTER)
        drill: dict[str, Any] = {"zones": ["hall-1"], "minutes": 9}
        session.post(f"{place.site.address}/api/v1/drills", json=drill, timeout=5).raise_for_status()
        node.hear("smoke_alarm", rhythm="t3", certainty="rhythm", score=0.1)
        node.over(node.hear("vehicle_horn"))
        place.wait(lambda: len(incidents(place)) >= 2, "the incidents")
        alarm = next(one["id"] for one in incidents(place) if one["label"] == "smoke_alarm")
        answer = f"{place.site.address}/api/v1/incidents/{alarm}/answer"
        session.post(answer, json={"answer": "need_help"}, timeout=5).raise_for_status()
        paths = ("/", f"/incidents/{alarm}", "/plan", "/plan/edit", "/drill", "/history")
        for path in paths:
            place.driver.get(f"{place.site.address}{path}?lang={language}&theme={theme}")
            for size in (DESKTOP, PHONE):
                show_as(place.driver, size)
                if place.all("#link"):
                    place.wait(lambda: place.mode == "live", "the page is live")
                open_all_details(place)
                assert violations(place.driver) == [], (path, size)
            width = place.driver.execute_script("return document.documentElement.scrollWidth")
            assert width == PHONE[0], path
            assert place.driver.execute_script(SMALL_TARGETS) == [], path


def test_without_colours_the_plan_and_the_incident_still_differ(place: Place) -> None:
    with place.node() as node:
        node.beat(-45.0)
        place.driver.get(f"{place.site.address}/plan/edit?lang=en")
        type_rooms(place, "press-1", x=40, y=40, width=300, height=300)
        place.one("#plan-form [type='submit']").send_keys(Keys.ENTER)
        place.open("/?lang=en")
        place.wait(lambda: "−45 dBFS" in place.text("#plan"), "the room in the plan")
        shape = place.one(".plan-shape")
        calm = shape.value_of_css_property("stroke-width")
        node.hear("smoke_alarm")
        place.wait(lambda: place.all("#alarms .incident"), "the incident")
        emulate(place.driver, "forced-colors", "active")
        assert shape.value_of_css_property("stroke-width") != calm
        assert place.one(".plan-room .plan-chip").value_of_css_property("border-top-width") == "4px"
        emulate(place.driver, "prefers-reduced-motion", "reduce")
        moving = (
            "return getComputedStyle(document.querySelector('.plan-room .level-bar'), '::before')"
            ".transitionDuration"
        )
        assert place.driver.execute_script(moving) == "0s"
