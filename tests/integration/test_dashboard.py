"""The dashboard in a real browser, before a real hub and a real broker; nodes are of paper."""

import json
import os
import signal
import time
from datetime import UTC, datetime

import pytest
import requests
from selenium.common.exceptions import ElementNotInteractableException
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.remote.webelement import WebElement

from tests.integration.browser import DESKTOP, PHONE, complaints, emulate, show_as
from tests.integration.place import (
    SMALL_TARGETS,
    Place,
    before_every_page,
    kill,
    open_all_details,
    violations,
)
from tocsin_hub.i18n import catalogue
from tocsin_hub.pages import PAGE_ROWS
from tocsin_shared.events import Clock, MicState

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.broker]

NASTY = "<script>document.title='owned'</script><img src=x onerror=alert(1)> & 창고"


LOSSY_SOCKET = r"""
window.eventsCutOut = 0;
window.WebSocket = class extends WebSocket {
  set onmessage(tell) {
    super.onmessage = (message) => {
      if (/^42\/live,\["(event|incident)"/.test(message.data)) window.eventsCutOut += 1;
      else tell(message);
    };
  }
};
"""


@pytest.mark.parametrize(
    ("language", "state", "sound", "severity"),
    [
        ("en", "Listening", "May be a fire alarm (smoke detector)", "Alarm"),
        ("ko", "듣는 중", "화재 경보(연기 감지기) 소리일 수 있습니다", "경보"),
    ],
)
def test_a_room_and_an_alarm_arrive_without_a_reload(
    place: Place, language: str, state: str, sound: str, severity: str
) -> None:
    place.open(f"/?lang={language}")
    place.driver.execute_script("window.untouched = true")
    assert catalogue(language).t("rooms.none") in place.text(".rooms")
    with place.node(room="프레스 작업장") as node:
        node.beat(-42.0)
        place.wait(lambda: "−42 dBFS" in place.text("#rooms"), "the level of the room")
        assert "프레스 작업장" in place.text("#rooms")
        assert state in place.text("#rooms .state")

        heard = node.hear("smoke_alarm", seconds_ago=3.0)
        place.wait(lambda: sound in place.text("#alarms"), "the alarm")
        card = place.text("#alarms")
        for words in (severity, "프레스 작업장", "94%", "21%", "3%", "−18 dBFS"):
            assert words in card
        assert catalogue(language).named("label", "smoke_alarm") in place.text("#recent")
        assert place.driver.title.startswith("(1) ")

        node.over(heard)
        over = catalogue(language).t("now.over")
        place.wait(lambda: over in place.text("#alarms"), "the end of the alarm")
        assert not place.driver.title.startswith("(")
    assert place.driver.execute_script("return window.untouched")
    assert complaints(place.driver) == []


def test_seconds_pass_and_are_those_of_the_hub_and_not_of_a_wrong_clock(place: Place) -> None:
    years_ahead = "const real = Date.now; Date.now = () => real.call(Date) + 400 * 86400e3"
    with place.node() as node, before_every_page(place.driver, years_ahead):
        place.open("/?lang=en")
        node.hear("siren", seconds_ago=20.0)
        place.wait(lambda: place.text(".card-ago"), "the alarm")
        first = int(place.text(".card-ago").split()[0])
        assert 20 <= first <= 30
        place.wait(lambda: int(place.text(".card-ago").split()[0]) >= first + 2, "two seconds later")


def test_an_alert_stays_until_it_is_dismissed_and_takes_no_focus(place: Place) -> None:
    with place.node() as node:
        place.open("/?lang=en")
        assert place.one("#alarms").get_attribute("role") == "alert"
        assert place.one("#others").get_attribute("role") == "status"
        link = place.one(".menu-item[href='/history']")
        place.driver.execute_script("arguments[0].focus()", link)

        alarm, horn = node.hear("siren"), node.hear("vehicle_horn")
        place.wait(lambda: len(place.all("#alarms .card")) == len(place.all("#others .card")) == 1, "both")
        assert place.driver.switch_to.active_element == link
        assert not place.one("#alarms .card .dismiss").is_displayed()

        node.over(alarm)
        node.over(horn)
        place.wait(lambda: len(place.all(".card.is-over")) == 2, "both are over")
        time.sleep(2.5)
        assert len(place.all(".card")) == 2

        button = place.one("#alarms .card .dismiss")
        assert button.get_attribute("aria-label") == "Dismiss: Siren, Press shop"
        button.send_keys(Keys.ENTER)
        place.wait(lambda: not place.all("#alarms .card"), "the alarm was dismissed")
        assert len(place.all("#others .card")) == 1
        assert "Siren" in place.text("#recent")

        place.wait(lambda: place.lasting() == 0, "both incidents are over")
        place.open("/?lang=en")
        place.wait(lambda: len(place.all("#recent li")) == 2, "the list after a reload")
        assert place.all("#alarms .card") == []


def test_an_alarm_that_came_and_went_while_nobody_looked_is_shown(place: Place) -> None:
    with place.node() as node:
        node.over(node.hear("siren", seconds_ago=120.0), lasted_seconds=30.0)
        node.over(node.hear("vehicle_horn", seconds_ago=100.0), lasted_seconds=2.0)
        place.wait(lambda: place.stored() == 2, "both are stored")
        place.wait(lambda: place.lasting() == 0, "both incidents are over")
        place.open("/?lang=en")
        place.wait(lambda: len(place.all("#recent li")) == 2, "both in the list")
        assert "Alarm · Over" in place.text("#alarms")
        assert "lasted 30 s" in place.text("#alarms")
        assert place.all("#others .card") == []


def test_names_from_outside_are_text_everywhere(place: Place) -> None:
    with place.node("store-1", "yard", NASTY) as node:
        node.beat(-50.0)
        node.hear("siren", bundle="x-1+y")
        place.open("/?lang=en")
        place.wait(lambda: NASTY in place.text("#rooms h3"), "the room")
        place.wait(lambda: NASTY in place.text("#alarms"), "the alarm")
        assert NASTY in place.text("#recent")
        place.open("/history?lang=ko")
        place.wait(lambda: NASTY in place.text("#alarms"), "the alarm beside the history")
        assert NASTY in place.text(".log")
        assert "owned" not in place.driver.title
        assert place.all("#rooms script, .log script, .log img, .card img") == []
    assert complaints(place.driver) == []


def test_a_room_that_is_not_listened_to_says_since_when_and_why(place: Place) -> None:
    with place.node() as node, place.node("gate", "yard", "Gate") as other:
        place.open("/?lang=en")
        node.beat(-50.0)
        other.beat(-50.0)
        place.wait(lambda: "2 of 2 listened to" in place.text("#rooms-summary"), "both are listened to")
        node.beat(None, MicState.SILENT)
        place.wait(lambda: "1 of 2 listened to" in place.text("#rooms-summary"), "one is silent")
        card = "[data-node='press-1']"
        assert "This room has not been listened to since" in place.text(card)
        assert "gives no sound at all" in place.text(card)
        assert "dBFS" not in place.text(card)
    place.wait(lambda: "0 of 2 listened to" in place.text("#rooms-summary"), "both are offline")
    assert place.text("#now-quiet") == catalogue("en").t("now.nobody_listens")


@pytest.mark.parametrize(
    ("language", "size", "unplugged"),
    [("en", (1440, 900), "Microphone unplugged, since"), ("ko", (390, 844), "마이크가 빠져 있음,")],
)
def test_a_room_names_its_troubles_since_when_and_until_they_are_over(
    place: Place, language: str, size: tuple[int, int], unplugged: str
) -> None:
    with place.node() as node:
        node.beat(None, MicState.ABSENT)
        node.suffer("mic_absent", "clock", "flood_in_the_cellar")
        place.open(f"/?lang={language}", size)
        place.wait(lambda: unplugged in place.text(".room-troubles"), "the trouble in words")
        lines = place.text(".room-troubles").splitlines()
        assert len(lines) == 3
        assert "flood in the cellar" in lines[2]
        assert place.driver.execute_script("return document.documentElement.scrollWidth") == size[0]
        open_all_details(place)
        assert "mic_absent in detail" in place.text(".room dl")
        assert violations(place.driver) == []
        node.suffer("clock")
        place.wait(lambda: len(place.text(".room-troubles").splitlines()) == 1, "the end of two of them")
        node.suffer()
        place.wait(lambda: not place.one(".room-troubles").is_displayed(), "no trouble, no list")


def test_a_room_whose_node_keeps_clips_says_so(place: Place) -> None:
    with place.node() as node:
        node.beat(-50.0)
        place.open("/?lang=en", PHONE)
        place.wait(lambda: "dBFS" in place.text(".room"), "the room")
        assert not place.one(".room-remarks").is_displayed()
        node.announce_clips(keeps=True)
        words = "This node keeps short, encrypted recordings of alarms."
        place.wait(lambda: words in place.text(".room-remarks"), "the announcement")
        place.open("/?lang=ko", PHONE)
        place.wait(lambda: "암호화해 보관합니다" in place.text(".room-remarks"), "the announcement in Korean")
        node.announce_clips(keeps=False)
        place.wait(lambda: not place.one(".room-remarks").is_displayed(), "its end")


def test_a_sound_whose_room_fell_silent_is_in_doubt_and_not_over(place: Place) -> None:
    place.open("/?lang=en")
    with place.node() as node:
        node.beat(-50.0)
        node.hear("smoke_alarm")
        place.wait(lambda: place.all("#alarms .card"), "the alarm")
    place.wait(lambda: "The sound may still be there" in place.text("#alarms"), "doubt")
    assert "Over" not in place.text("#alarms")
    assert place.one("#alarms .card .strong").is_displayed()
    place.open("/?lang=en")
    place.wait(lambda: "The sound may still be there" in place.text("#alarms"), "doubt after a reload")


def test_a_killed_hub_shows_and_what_was_missed_comes_by_the_cursor(place: Place) -> None:
    with place.node() as node:
        node.beat(-50.0)
        before = node.hear("siren", seconds_ago=5.0)
        place.open("/?lang=en")
        place.wait(lambda: place.all("#alarms .card"), "the first alarm")
        place.driver.execute_script("window.untouched = true")

        kill(place.site)
        place.wait(lambda: place.mode == "reconnecting", "the page notices", 3.0)
        place.wait(lambda: place.mode == "stale", "the page says that it is not live")
        assert place.text("#link").startswith("Not live since")
        assert "A new alarm would not be shown here" in place.text("#link-note")
        assert place.driver.title.startswith("Not live · ")
        assert "Last known: Listening" in place.text("#rooms .state")

        missed = node.hear("scream", seconds_ago=2.0)
        node.over(before)
        place.driver.execute_script("performance.clearResourceTimings()")
        place.site.start_hub()
        place.wait(lambda: place.mode == "live", "the page is live again", 20.0)
        place.wait(lambda: len(place.all("#alarms .card")) == 2, "what was missed", 20.0)
        # The hub looks once a second which incidents are over.
        place.wait(
            lambda: "Alarm · Over" in place.text(f"#alarms [data-event='{before.id}']"), "the end", 20.0
        )
        assert "scream" in place.text(f"#alarms [data-event='{missed.id}']")
        assert "Live again" in place.text("#link-note")
        assert place.driver.execute_script("return window.untouched")
        fetched = place.driver.execute_script(
            "return performance.getEntriesByType('resource').map(entry => entry.name)"
        )
        asked = [address for address in fetched if "/api/v1/events?" in address]
        assert asked
        assert all("after=" in address and "after=0" not in address for address in asked)

        place.open("/history?lang=en")
        assert [row.get_attribute("data-id") for row in place.all("#log tr")] == [missed.id, before.id]


def test_a_hub_that_hangs_without_hanging_up_is_noticed(place: Place) -> None:
    place.open("/?lang=en")
    hub = place.site.process("hub")
    os.killpg(hub.pid, signal.SIGSTOP)
    try:
        place.wait(lambda: place.mode == "stale", "the page says that it is not live", 25.0)
    finally:
        os.killpg(hub.pid, signal.SIGCONT)
    place.wait(lambda: place.mode == "live", "the page is live again", 15.0)


def test_a_push_that_is_lost_is_fetched_soon(place: Place) -> None:
    """The socket is only a hint: with its events cut out, the page still shows the alarm."""
    with place.node() as node, before_every_page(place.driver, LOSSY_SOCKET):
        place.open("/?lang=en")
        node.beat(-50.0)
        place.wait(lambda: place.all(".room"), "the room, which is still pushed", 3.0)
        node.hear("siren")
        place.wait(lambda: place.all("#alarms .card"), "the alarm", 20.0)
        assert place.driver.execute_script("return window.eventsCutOut") == 2


def test_signing_out_elsewhere_ends_the_page_too(place: Place) -> None:
    place.open("/?lang=ko")
    cookies = {cookie["name"]: cookie["value"] for cookie in place.driver.get_cookies()}
    form = {"csrf_token": place.one('[name="csrf_token"]').get_attribute("value")}
    answer = requests.post(place.site.address + "/logout", data=form, cookies=cookies, timeout=5)
    assert answer.status_code == 200
    place.wait(lambda: place.driver.current_url.endswith("/signed-out"), "the page is left", 20.0)
    assert "로그인되어 있지 않습니다" in place.text("h1")


def test_the_button_signs_out(place: Place) -> None:
    place.open("/?lang=en", PHONE)
    place.one(".menu-more summary").click()
    place.one(".menu-sheet button").click()
    place.wait(lambda: place.driver.current_url.endswith("/signed-out"), "signed out")
    place.driver.get(place.site.address + "/history")
    assert place.driver.current_url.endswith("/signed-out")


def test_history_adds_older_rows_in_place(place: Place) -> None:
    with place.node() as node:
        heard = [node.hear("siren", seconds_ago=5000.0 - n) for n in range(PAGE_ROWS + 5)]
        node.over(heard[-1], lasted_seconds=3.0)
        place.wait(lambda: place.stored() == PAGE_ROWS + 5, "all are stored")
        place.open("/history?lang=en")
        assert len(place.all("#log tr")) == PAGE_ROWS
        # 02:38 in the hub's UTC is another hour where the reader is.
        shown = place.all("#log time")[0]
        local = place.evaluate("i18n.js", f"m.formatFull(Date.parse('{shown.get_attribute('datetime')}'))")
        assert shown.text == local
        assert "UTC" not in shown.text

        button = place.one("#load-older")
        place.driver.execute_script("arguments[0].focus()", button)
        button.send_keys(Keys.ENTER)
        place.wait(lambda: len(place.all("#log tr")) == PAGE_ROWS + 5, "the older rows")
        ids = [row.get_attribute("data-id") for row in place.all("#log tr")]
        assert ids == [message.id for message in reversed(heard)]
        assert "UTC" not in place.text("#log")
        place.wait(lambda: "Older entries loaded: 5" in place.text("#older-note"), "the note")
        assert catalogue("en").t("history.oldest") in place.text("#older")


def test_history_filters(place: Place) -> None:
    with place.node() as node, place.node("gate", "yard", "정문") as gate:
        node.hear("siren")
        horn = gate.hear("vehicle_horn")
        place.wait(lambda: place.stored() == 2, "both are stored")
        place.open("/history?lang=ko", PHONE)
        place.one("#filter-node").send_keys("정문")
        place.one(".filters button").click()
        place.wait(lambda: len(place.all("#log tr")) == 1, "one row is left")
        assert place.one("#log tr").get_attribute("data-id") == horn.id
        assert "차량 경적" in place.text("#log")


def test_history_can_be_read_without_scripts(place: Place) -> None:
    with place.node() as node:
        node.over(node.hear("siren", late=True, clock=Clock.UNSYNCED))
        place.wait(lambda: place.stored() == 1, "it is stored")
    place.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        place.driver.get(place.site.address + "/history?lang=en")
        row = place.text("#log tr")
        for words in ("Siren", "Press shop", "UTC", "Late", "Clock of the node not set"):
            assert words in row
        assert "Without scripts this page cannot be live" in place.text("noscript")
    finally:
        place.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_the_keyboard_is_enough(place: Place) -> None:
    with place.node() as node:
        node.beat(-50.0)
        node.over(node.hear("siren"))
        place.open("/?lang=en")
        place.wait(lambda: place.all(".card.is-over") and place.all(".room"), "card and room")
        reached = []
        for _ in range(20):
            ActionChains(place.driver).send_keys(Keys.TAB).perform()
            focused = place.driver.switch_to.active_element
            if focused.tag_name == "body":
                break  # once around
            reached.append((focused.get_attribute("class") or focused.tag_name).split()[0])
            outline = focused.value_of_css_property("outline-style")
            assert outline == "solid", f"{reached[-1]} shows no focus"
            if reached[-1] == "skip":
                assert focused.location["x"] >= 0
        assert reached[:6] == ["skip", "brand", "menu-item", "menu-item", "menu-item", "menu-item"]
        assert {"button", "summary"} <= set(reached)

        place.one(".room summary").send_keys(Keys.ENTER)
        assert "Raspberry Pi 4" in place.text(".room dl")
        node.beat(-47.0)
        place.wait(lambda: "−47 dBFS" in place.text(".room"), "the next level")
        assert place.one(".room details").get_attribute("open") is not None


def test_a_narrow_phone_shows_everything_and_fingers_can_hit_it(place: Place) -> None:
    with place.node("n" * 32, "z" * 32, "아주긴방이름" * 20) as node:
        node.beat(-3.0, clipped_ratio=0.5, dropped_blocks=3, outbox_depth=999)
        node.over(node.hear("smoke_alarm"))
        node.hear("siren")
        node.hear("l" + "abel" * 15)
        place.wait(lambda: place.stored() == 3, "all are stored")
        for address in ("/?lang=en", "/?lang=ko", "/history?lang=en", "/history?lang=ko"):
            place.open(address, PHONE)
            place.wait(lambda: place.all("#alarms .card"), "the alarm")
            assert place.driver.execute_script("return document.documentElement.scrollWidth") == PHONE[0]
            assert place.driver.execute_script(SMALL_TARGETS) == [], address


def pressed(element: WebElement) -> bool:
    """Press it; ``False`` while the page is being laid out anew."""
    try:
        element.click()
    except ElementNotInteractableException:
        return False
    return True


def test_an_alarm_above_the_screen_is_announced_at_its_foot(place: Place) -> None:
    with place.node() as node, place.node("gate", "yard", "Gate") as gate:
        for number in range(3):
            node.over(node.hear("siren", seconds_ago=300.0 + number))
        node.beat(-50.0)
        gate.beat(-50.0)
        place.open("/?lang=en", (360, 400))
        place.driver.execute_script("scrollTo(0, document.body.scrollHeight)")
        assert not place.one("#jump").is_displayed()
        gate.hear("siren")
        # The text of what is not displayed is empty.
        place.wait(lambda: place.one("#jump").text == "Siren, Gate", "the strip")
        place.wait(lambda: pressed(place.one("#jump")), "the strip to be pressed")
        place.wait(lambda: not place.one("#jump").is_displayed(), "the strip goes, the alarm is in view")


def test_a_card_says_what_speaks_for_an_alarm(place: Place) -> None:
    with place.node() as node:
        node.hear("smoke_alarm", score=0.1, rhythm="t3", certainty="rhythm")
        place.open("/?lang=en")
        place.wait(
            lambda: "Recognised by the rhythm of its beeps" in place.text("#alarms"), "the rhythm alone"
        )
        node.hear("scream", certainty="certain")
        place.wait(lambda: len(place.all("#alarms .card")) == 2, "the second alarm")
        assert place.text("#alarms").count("rhythm") == 2


@pytest.mark.parametrize("language", ["en", "ko"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing(place: Place, language: str, dark: bool) -> None:
    with place.node() as node, place.node("gate", "yard", "정문") as gate:
        node.beat(-50.0)
        gate.beat(None, MicState.SILENT, outbox_depth=3)
        node.hear("smoke_alarm", rhythm="t3", certainty="confirmed")
        node.hear("vehicle_horn")
        node.over(node.hear("siren", late=True))
        gate.over(gate.hear("glass_breaking", clock=Clock.UNSYNCED))
        place.wait(lambda: place.stored() == 4, "all are stored")
        for path, size in (("/", DESKTOP), ("/", PHONE), ("/history", DESKTOP), ("/history", PHONE)):
            place.open(f"{path}?lang={language}", size, dark=dark)
            place.wait(lambda: place.all("#alarms .card"), "the alarm")
            open_all_details(place)
            assert violations(place.driver) == [], (path, size)
    kill(place.site)
    place.wait(lambda: place.mode == "stale", "the page says that it is not live")
    assert violations(place.driver) == []


def test_axe_finds_nothing_for_who_is_not_signed_in(place: Place) -> None:
    for path, dark in (("/signed-out", False), ("/signed-out", True), ("/login/spent", False)):
        show_as(place.driver, PHONE, dark=dark)
        place.driver.get(f"{place.site.address}{path}?lang=ko")
        assert violations(place.driver) == []


def test_without_colours_and_motion_nothing_is_lost(place: Place) -> None:
    with place.node() as node:
        node.beat(-45.0)
        node.hear("smoke_alarm")
        place.open("/?lang=en")
        place.wait(lambda: place.all("#alarms .card") and place.all(".room"), "alarm and room")
        emulate(place.driver, "forced-colors", "active")
        card = place.one("#alarms .card")
        assert card.value_of_css_property("border-top-width") == "4px"
        assert "Listening" in place.text(".state")
        emulate(place.driver, "prefers-reduced-motion", "reduce")
        duration = place.driver.execute_script(
            "return getComputedStyle(document.querySelector('.level-bar'), '::before').transitionDuration"
        )
        assert duration == "0s"


HOUR = 3600
RULES = [
    # severity, active, ended or begun so long ago, reported late, how, shown already → belongs
    ("alarm", True, 9 * HOUR, False, "loaded", False, True),
    ("none", True, 1, False, "live", False, False),
    ("alarm", False, HOUR, False, "live", True, True),
    ("alarm", False, 60, False, "loaded", False, True),
    ("alarm", False, HOUR, False, "loaded", False, False),
    ("alarm", False, HOUR, True, "missed", False, True),
    ("alarm", False, 25 * HOUR, True, "live", True, False),
    ("warning", False, 60, False, "missed", False, True),
    ("warning", False, 60, False, "loaded", False, False),
    ("warning", False, 9 * HOUR, False, "live", True, True),
    ("warning", False, HOUR, True, "live", True, False),
]


def test_rules_for_what_stands_under_sounding_now(place: Place) -> None:
    place.open("/?lang=en")
    now_ms = 1_800_000_000_000
    for severity, active, seconds, late, how, shown, belongs in RULES:
        event = {"severity": severity, "active": active, "late": late, "offset": None}
        event["onset"] = datetime.fromtimestamp(now_ms / 1000 - seconds - 5, UTC).isoformat()
        if not active:
            event["offset"] = datetime.fromtimestamp(now_ms / 1000 - seconds, UTC).isoformat()
        known = {"how": how, "shown": shown, "now": now_ms}
        call = f"m.belongsNow({json.dumps(event)}, {json.dumps(known)})"
        assert place.evaluate("detections.js", call) is belongs, (severity, active, seconds, late, how, shown)


def test_a_later_change_wins_in_whatever_order_it_comes(place: Place) -> None:
    place.open("/?lang=en")
    script = (
        "(() => { const d = new m.Detections();"
        " const e = (id, change, onset) => ({id, change, onset, active: change < 3});"
        " const [onset, update, offset] = [1, 2, 3].map((change) => e('A', change, '1'));"
        " const news = [[update], [onset, e('B', 1, '2')], [update], [offset]]"
        "   .map((events) => d.merge(events).length);"
        " return [news, d.newestFirst().map((x) => x.id + x.change), d.active().map((x) => x.id)]; })()"
    )
    assert place.evaluate("detections.js", script) == [[1, 1, 0, 1], ["B1", "A3"], ["B"]]


def test_scripts_and_server_write_figures_alike(place: Place) -> None:
    for language in ("en", "ko"):
        place.open(f"/?lang={language}")
        texts = catalogue(language)
        for seconds in (-1, 0.4, 59.6, 61, 3599.7, 7380, 190_000):
            assert place.evaluate("i18n.js", f"m.formatDuration({seconds})") == texts.duration(seconds)
        for level in (-18.4, -0.2, None, 3):
            shown = "null" if level is None else level
            assert place.evaluate("i18n.js", f"m.formatDbfs({shown})") == texts.dbfs(level)
        assert place.evaluate("i18n.js", "m.formatPercent(0.937)") == texts.percent(0.937)
