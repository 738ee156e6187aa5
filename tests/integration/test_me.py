"""The worker's page in a real browser: alarms and answers, calm and deaf, notifications, no connection."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
import websocket
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver import ActionChains, Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from tests.hub.parts import feed, login_path, offset_of
from tests.hub.test_phones import alert_rows
from tests.integration.browser import chromium, complaints, emulate, show_as
from tests.integration.place import AXE, AXE_RULES, SMALL_TARGETS, text_of
from tests.integration.serving import listen, served
from tests.shared.messages import sound
from tocsin_hub.demo.broker import free_port
from tocsin_hub.i18n import LANGUAGES, catalogue
from tocsin_hub.incidents.model import Incident
from tocsin_hub.phones.receipts import new_receipt, receipt_sha256
from tocsin_hub.phones.settings import PushSettings
from tocsin_hub.root import Hub, build
from tocsin_hub.settings import HubSettings, WebSettings
from tocsin_shared.events import MicState, SoundDetected

pytestmark = [pytest.mark.slow, pytest.mark.browser]
PHONE = (390, 844)
NASTY = "<script>document.title='owned'</script><img src=x onerror=alert(1)> & 창고"


@dataclass
class Phone:
    """A browser of a phone's size before a hub."""

    hub: Hub
    driver: Chrome
    address: str
    down: threading.Event

    def open(self, path: str = "/me?lang=en", *, dark: bool = False) -> None:
        show_as(self.driver, PHONE, dark=dark)
        self.driver.get(self.address + path)
        self.wait(lambda: self.one("#link").get_attribute("data-mode") == "live", "the page is live")

    def one(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        return text_of(self.driver, selector)

    def wait(self, condition: Callable[[], Any], what: str, seconds: float = 20.0) -> None:
        deadline = time.monotonic() + seconds
        while not _holds(condition):
            assert time.monotonic() < deadline, f"still waiting: {what}\n{self.text('main')}"
            time.sleep(0.05)

    def axe(self) -> list[Any]:
        """What axe finds, and whatever is too small to be tapped."""
        self.driver.execute_script(AXE)
        found: list[Any] = self.driver.execute_async_script(
            "const done = arguments[1]; axe.run({ runOnly: arguments[0] }).then((result) => done("
            "result.violations.map((one) => [one.id, one.nodes.map((node) => node.html)])))",
            AXE_RULES,
        )
        small: list[Any] = self.driver.execute_script(SMALL_TARGETS)
        wide = self.driver.execute_script("return document.documentElement.scrollWidth > innerWidth")
        return found + small + (["wider than the screen"] if wide else [])

    def hear(self, **changes: Any) -> tuple[SoundDetected, Incident]:
        """A sound of now, and its incident."""
        fields = {"onset": datetime.now(UTC) - timedelta(seconds=2), **changes}
        message = sound(**fields)
        feed(self.hub, message)
        incident = self.hub.services.incidents.of_event(message.id)
        assert incident is not None
        return message, incident

    @property
    def person(self) -> str:
        """Id of whoever is logged in."""
        return self.hub.services.people.all()[0].id

    def card(self, incident: Incident) -> str:
        return f'.me-card[data-id="{incident.id}"]'


def _holds(condition: Callable[[], Any]) -> bool:
    try:
        return bool(condition())
    except (StaleElementReferenceException, NoSuchElementException):
        return False


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with chromium(tmp_path_factory.mktemp("profile")) as made:
        yield made


@pytest.fixture
def phone(driver: Chrome, tmp_path: Path) -> Iterator[Phone]:
    port = free_port()
    settings = HubSettings(state_folder=tmp_path, web=WebSettings(port=port), push=PushSettings(canary_at=""))
    hub = build(settings)
    with served(hub, port) as down:
        address = f"http://127.0.0.1:{port}"
        driver.delete_all_cookies()
        driver.get(address + login_path(hub))
        yield Phone(hub, driver, address, down)
        driver.get("about:blank")


@pytest.mark.parametrize("language", ["en", "ko"])
def test_an_alarm_is_seen_at_a_glance_and_answered_by_a_tap(phone: Phone, language: str) -> None:
    texts = catalogue(language)
    listen(phone.hub)
    phone.open(f"/me?lang={language}")
    assert phone.axe() == []
    phone.wait(lambda: texts.t("me.quiet") in phone.text("#calm"), "calm")
    _, incident = phone.hear()
    card = phone.card(incident)
    phone.wait(lambda: phone.one(card), "the card")
    assert texts.t("may_be.smoke_alarm") in phone.text(f"{card} h2")
    assert phone.text(f"{card} .me-room") == "Press shop"
    assert texts.t("phone_severity.alarm") in phone.text(f"{card} .me-kind")
    assert not phone.one("#calm").is_displayed()
    first = phone.text(f"{card} .me-ago")
    phone.wait(lambda: phone.text(f"{card} .me-ago") != first, "the seconds to count")
    phone.one(f"{card} .me-safe").click()
    words = texts.t("phone_answer.safe")
    phone.wait(lambda: words in phone.text(f"{card} .me-said"), "the answer is confirmed")
    assert phone.one(f"{card} .me-safe").get_attribute("aria-pressed") == "true"
    phone.one(f"{card} .me-need_help").click()
    phone.wait(lambda: phone.text(f"{card} .me-help") != "", "the page says that help was asked for")
    [given] = phone.hub.services.incidents.answers([incident.id])[incident.id]
    assert given.answer == "need_help"
    assert phone.axe() == []
    emulate(phone.driver, "prefers-color-scheme", "dark")
    assert phone.axe() == []
    assert "(1)" in phone.driver.title
    assert complaints(phone.driver) == []


def test_the_keyboard_alone_answers(phone: Phone) -> None:
    listen(phone.hub)
    phone.open()
    _, incident = phone.hear()
    phone.wait(lambda: phone.one(phone.card(incident)), "the card")
    for _ in range(20):
        ActionChains(phone.driver).send_keys(Keys.TAB).perform()
        if "me-false_alarm" in (phone.driver.switch_to.active_element.get_attribute("class") or ""):
            break
    ActionChains(phone.driver).send_keys(Keys.ENTER).perform()
    phone.wait(lambda: phone.hub.services.incidents.answers([incident.id]), "the answer")
    [given] = phone.hub.services.incidents.answers([incident.id])[incident.id]
    assert given.answer == "false_alarm"


def test_a_drill_says_so_and_what_is_over_is_put_away(phone: Phone) -> None:
    listen(phone.hub)
    client = requests.Session()
    client.get(phone.address + login_path(phone.hub), timeout=10)
    origin = {"Origin": phone.address}
    started = client.post(f"{phone.address}/api/v1/drills", json={"minutes": 5}, headers=origin, timeout=10)
    assert started.status_code == 201
    phone.open()
    message, incident = phone.hear(onset=datetime.now(UTC))
    card = phone.card(incident)
    phone.wait(lambda: phone.text(f"{card} .me-drill") == "Drill", "the drill is marked")
    feed(phone.hub, offset_of(message, seq=message.seq + 1, seconds=1.0))
    phone.hub.services.desk.acknowledge(incident.id, "x")
    phone.hub.writer.call(
        lambda recorder: recorder.database.execute(
            "UPDATE incidents SET cleared_us = updated_us WHERE id = ?", (incident.id,)
        )
    )
    phone.wait(lambda: phone.one(card).get_attribute("data-over") == "true", "it is over")
    assert phone.axe() == []
    phone.one(f"{card} > .button").click()
    phone.wait(lambda: not phone.driver.find_elements(By.CSS_SELECTOR, card), "it is put away")
    phone.open()
    assert not phone.driver.find_elements(By.CSS_SELECTOR, card)
    phone.open(f"/me?incident={incident.id}")
    phone.wait(lambda: phone.one(card), "a notification's address shows it all the same")


def test_calm_deaf_and_unknown_are_not_the_same(phone: Phone) -> None:
    phone.open()
    phone.wait(lambda: "No room has reported yet" in phone.text("#calm"), "nothing is known")
    listen(phone.hub)
    phone.wait(lambda: phone.one("#calm").get_attribute("data-calm") == "yes", "calm")
    listen(phone.hub, "store-1", NASTY, mic=MicState.SILENT)
    phone.wait(lambda: phone.one("#calm").get_attribute("data-calm") == "partly", "calm, but for one room")
    assert NASTY in phone.text("#deaf")
    assert "owned" not in phone.driver.title
    assert phone.axe() == []
    listen(phone.hub, mic=MicState.ABSENT)
    phone.wait(lambda: "No room is being listened to" in phone.text("#calm"), "nobody listens")
    assert phone.one("#calm").get_attribute("data-calm") == "no"


def test_without_the_hub_it_says_so_loudly_and_an_answer_is_not_lost_silently(phone: Phone) -> None:
    listen(phone.hub)
    phone.open()
    _, incident = phone.hear()
    card = phone.card(incident)
    phone.wait(lambda: phone.one(card), "the card")
    phone.down.set()
    phone.one(f"{card} .me-safe").click()
    phone.wait(lambda: "NOT sent" in phone.text(f"{card} .me-said"), "the answer is said to be lost")
    phone.wait(lambda: "would not be shown" in phone.text("#link-note"), "the page is not live", 40)
    assert phone.axe() == []
    phone.down.clear()
    phone.one(f"{card} .me-safe").click()
    phone.wait(lambda: phone.hub.services.incidents.answers([incident.id]), "the answer at the second try")
    phone.wait(lambda: phone.one("#link").get_attribute("data-mode") == "live", "it is live again", 40)


def test_a_phone_whose_clock_is_years_off_counts_right(phone: Phone) -> None:
    script = "const real = Date.now.bind(Date); Date.now = () => real() - 7 * 365 * 86400e3;"
    made = phone.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": script})
    try:
        listen(phone.hub)
        phone.open()
        _, incident = phone.hear()
        phone.wait(lambda: "second" in phone.text(f"{phone.card(incident)} .me-ago"), "seconds, not years")
    finally:
        phone.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", made)


def test_nothing_moves_and_forced_colours_lose_nothing(phone: Phone) -> None:
    listen(phone.hub)
    phone.open()
    _, incident = phone.hear()
    phone.wait(lambda: phone.one(phone.card(incident)), "the card")
    assert phone.driver.execute_script("return document.getAnimations().length") == 0
    emulate(phone.driver, "forced-colors", "active")
    phone.one(f"{phone.card(incident)} .me-safe").click()
    phone.wait(
        lambda: phone.one(f"{phone.card(incident)} .me-safe").get_attribute("aria-pressed") == "true",
        "answer",
    )
    wide = "return getComputedStyle(document.querySelector(arguments[0])).borderTopWidth"
    assert phone.driver.execute_script(wide, phone.card(incident)) == "6px"
    assert phone.driver.execute_script(wide, f"{phone.card(incident)} .me-safe") == "6px"


def test_an_open_page_is_a_way_and_says_that_it_shows_the_alert(phone: Phone) -> None:
    listen(phone.hub)
    phone.open()
    _, incident = phone.hear()
    receipt = new_receipt()
    phone.hub.writer.call(
        lambda recorder: alert_rows(
            recorder, phone.person, incident.id, receipt_sha256(receipt), 1, channel="page"
        )
    )
    words = {"incident": incident.id, "receipt": receipt, "repeat": 0}
    phone.hub.live.tell(None, "alert", words)
    stamped = "SELECT 1 FROM deliveries WHERE shown_us IS NOT NULL AND receipt_sha256 = ?"
    phone.wait(lambda: phone.hub.services.store.rows(stamped, (receipt_sha256(receipt),)), "the receipt")


def test_what_was_missed_is_shown_until_it_is_read(phone: Phone) -> None:
    listen(phone.hub)
    phone.open()
    phone.wait(
        lambda: phone.driver.execute_script("return localStorage.getItem('tocsin.me.seen')"), "a visit"
    )
    phone.driver.get("about:blank")
    message, incident = phone.hear()
    feed(phone.hub, offset_of(message, seq=message.seq + 1, seconds=1.0))
    now_us = phone.hub.services.clock()

    def write(recorder: Any) -> None:
        alert_rows(recorder, phone.person, incident.id, receipt_sha256(new_receipt()), now_us)
        recorder.database.execute("UPDATE incidents SET cleared_us = ? WHERE id = ?", (1, incident.id))

    phone.hub.writer.call(write)
    phone.open()
    phone.wait(lambda: "fire alarm" in phone.text("#missed-list"), "what was missed")
    assert "not shown on any of your devices" in phone.text("#missed-list")
    assert phone.axe() == []
    phone.one("#missed-seen").click()
    phone.open()
    assert not phone.one("#missed").is_displayed()


class Worker:
    """The service worker, by Chromium's own protocol."""

    def __init__(self, driver: Chrome, address: str) -> None:
        self._address = address
        self._host = driver.capabilities["goog:chromeOptions"]["debuggerAddress"]

    def _target(self, kind: str, part: str) -> str:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            for one in requests.get(f"http://{self._host}/json/list", timeout=10).json():
                if one["type"] == kind and one["url"].startswith(self._address + part):
                    return str(one["webSocketDebuggerUrl"])
            time.sleep(0.1)
        raise AssertionError(f"there is no {kind}")

    def push(self, data: str) -> None:
        """Deliver a message as if a push service had."""
        link = websocket.create_connection(self._target("page", "/me"), suppress_origin=True, timeout=20)
        try:
            link.send(json.dumps({"id": 1, "method": "ServiceWorker.enable"}))
            registration = None
            while registration is None:
                said = json.loads(link.recv())
                if said.get("method") == "ServiceWorker.workerRegistrationUpdated":
                    registrations = said["params"]["registrations"]
                    ours = [one for one in registrations if one["scopeURL"].startswith(self._address)]
                    registration = ours[0]["registrationId"] if ours else None
            params = {"origin": self._address, "registrationId": registration, "data": data}
            link.send(json.dumps({"id": 2, "method": "ServiceWorker.deliverPushMessage", "params": params}))
            while json.loads(link.recv()).get("id") != 2:
                pass
        finally:
            link.close()

    def evaluate(self, code: str) -> Any:
        link = websocket.create_connection(
            self._target("service_worker", "/sw.js"), suppress_origin=True, timeout=20
        )
        try:
            params = {"expression": code, "awaitPromise": True, "returnByValue": True}
            link.send(json.dumps({"id": 1, "method": "Runtime.evaluate", "params": params}))
            while (said := json.loads(link.recv())).get("id") != 1:
                pass
            return said["result"]["result"].get("value")
        finally:
            link.close()

    @contextmanager
    def offline(self) -> Iterator[None]:
        """While this lasts the worker has no network."""
        link = websocket.create_connection(
            self._target("service_worker", "/sw.js"), suppress_origin=True, timeout=20
        )
        try:
            params = {"offline": True, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
            for number, (method, values) in enumerate(
                (("Network.enable", {}), ("Network.emulateNetworkConditions", params)), start=1
            ):
                link.send(json.dumps({"id": number, "method": method, "params": values}))
                while json.loads(link.recv()).get("id") != number:
                    pass
            yield
        finally:
            link.close()


_SHOWN = (
    "navigator.serviceWorker.ready.then((worker) => worker.getNotifications())"
    ".then((all) => arguments[0](all.map(({ title, body, tag }) => ({ title, body, tag }))))"
)


def test_every_push_shows_a_notification_and_its_buttons_answer(phone: Phone) -> None:
    permission = {"origin": phone.address, "permissions": ["notifications"]}
    phone.driver.execute_cdp_cmd("Browser.grantPermissions", permission)
    listen(phone.hub)
    phone.open()
    _, incident = phone.hear()
    receipt = new_receipt()
    sent_us = phone.hub.services.clock() - 60_000_000
    phone.hub.writer.call(
        lambda recorder: alert_rows(recorder, "p1", incident.id, receipt_sha256(receipt), sent_us)
    )
    worker = Worker(phone.driver, phone.address)

    def shown() -> list[dict[str, str]]:
        found: list[dict[str, str]] = phone.driver.execute_async_script(_SHOWN)
        return found

    for nonsense in ("no JSON at all", "{}", "[]", "null", '{"notification": null}'):
        worker.push(nonsense)
    phone.wait(lambda: [one["tag"] for one in shown()] == ["news"], "a notification for whatever came")
    words = {
        "title": "T",
        "body": "B",
        "tag": "x",
        "navigate": "https://evil.example/",
        "data": {"receipt": receipt},
    }

    def notified() -> bool:
        return any(one["tag"] == "x" for one in shown())

    # Chromium's protocol for developers now and then loses a message and says nothing.
    for left in (2, 1, 0):
        worker.push(json.dumps({"web_push": 8030, "mutable": True, "notification": words}))
        with suppress(AssertionError) if left else nullcontext():
            phone.wait(notified, "the notification")
            break
    stamped = "SELECT 1 FROM deliveries WHERE shown_us IS NOT NULL"
    phone.wait(lambda: phone.hub.services.store.rows(stamped), "the receipt")
    click = (
        "(async () => { const [notification] = await registration.getNotifications({ tag: 'x' });"
        "const action = 'need_help';"
        "dispatchEvent(new NotificationEvent('notificationclick', { notification, action })); })()"
    )
    worker.evaluate(click)
    phone.wait(lambda: phone.hub.services.incidents.answers([incident.id]), "the answer of the lock screen")
    [given] = phone.hub.services.incidents.answers([incident.id])[incident.id]
    assert (given.person, given.answer) == ("p1", "need_help")


def test_without_the_hub_the_worker_shows_a_shell_in_both_languages(phone: Phone) -> None:
    phone.open()
    phone.wait(
        lambda: phone.driver.execute_script("return !!navigator.serviceWorker.controller"), "the worker"
    )
    with Worker(phone.driver, phone.address).offline():
        phone.driver.get(phone.address + "/me")
        for language in LANGUAGES:
            assert catalogue(language).t("me.offline_heading") in phone.text("body")
        assert phone.axe() == []
    phone.open()


def test_what_the_app_needs_is_there(phone: Phone) -> None:
    manifest = requests.get(f"{phone.address}/manifest.webmanifest", timeout=10)
    assert manifest.headers["Content-Type"] == "application/manifest+json"
    for icon in manifest.json()["icons"]:
        assert requests.get(phone.address + icon["src"], timeout=10).status_code == 200, icon
    script = requests.get(f"{phone.address}/sw.js", timeout=10)
    assert script.headers["Content-Type"].startswith("text/javascript")
    assert script.headers["Cache-Control"] == "no-store"
    assert "caches" not in script.text  # no answer of the hub is ever kept
    assert requests.get(f"{phone.address}/me", timeout=10, allow_redirects=False).status_code == 302
