"""The whole way to a phone: a real Firefox, a real subscription, real encryption, a shown notification."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ulid import ULID
from werkzeug.serving import make_server

from tests.browser.firefox import Firefox, firefox
from tests.hub.parts import feed, login_path, wait_until
from tests.shared.messages import sound
from tocsin_hub.alerts.model import Message
from tocsin_hub.demo.broker import free_port
from tocsin_hub.incidents.model import Incident
from tocsin_hub.people.model import Person, Role
from tocsin_hub.phones.receipts import new_receipt, receipt_sha256
from tocsin_hub.phones.settings import PushSettings
from tocsin_hub.recorder import Recorder
from tocsin_hub.root import Hub, build
from tocsin_hub.settings import HubSettings, WebSettings

pytestmark = [pytest.mark.slow, pytest.mark.browser]
FIREFOX = "/usr/bin/firefox-esr"
NOBODY = Person(id="", name="", role=Role.ADMIN)


@contextmanager
def served(hub: Hub, port: int) -> Iterator[None]:
    deaths: list[str] = []
    server = make_server("127.0.0.1", port, hub.app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    hub.live.start(deaths.append)
    hub.writer.start(hub.ingest.settle, deaths.append)
    hub.services.phones.start(deaths.append)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()
        hub.stop()
    assert deaths == []


def alert(hub: Hub, incident: Incident) -> Message:
    """Tell the person who is logged in, as the engine does: the rows first, then the channel."""
    receipt, delivery, made = new_receipt(), str(ULID()), str(ULID())
    now_us = hub.services.clock()

    def write(recorder: Recorder) -> None:
        recorder.database.execute(
            "INSERT INTO alerts (id, incident, person, audience, created_us) VALUES (?, ?, ?, 'in_zone', ?)",
            (made, incident.id, NOBODY.id, now_us),
        )
        recorder.database.execute(
            "INSERT INTO deliveries (id, alert, channel, receipt_sha256, queued_us, error) "
            "VALUES (?, ?, 'push', ?, ?, '')",
            (delivery, made, receipt_sha256(receipt), now_us),
        )

    hub.writer.call(write)
    message = Message(
        delivery=delivery,
        alert=made,
        receipt=receipt,
        incident=incident,
        room="Press shop",
        candidates=(incident.label,),
        person=NOBODY,
        repeat=0,
        seconds_ago=2.0,
        address=f"/me?incident={incident.id}",
    )
    hub.services.phones.push.send(message)
    return message


def test_from_an_event_to_the_phone_and_back(tmp_path: Path) -> None:
    """Registered, tested, alerted, shown, receipted, answered; and a phone that is gone is forgotten."""
    with firefox(tmp_path) as fox:
        port = free_port()
        settings = HubSettings(
            state_folder=tmp_path / "state",
            web=WebSettings(port=port),
            push=PushSettings(test_port=fox.port, canary_at=""),
        )
        hub = build(settings)
        with served(hub, port):
            fox("open", firefox=FIREFOX, profile=str(tmp_path / "profile"))
            fox("goto", url=f"http://127.0.0.1:{port}{login_path(hub)}")
            _turn_on(fox, hub, port)
            _test_it(fox)
            incident = _hear(hub)
            message = alert(hub, incident)
            _is_shown(fox, hub, message)
            _answer(fox, hub, incident)
            _forget_what_is_gone(fox, hub, incident)


def _turn_on(fox: Firefox, hub: Hub, port: int) -> None:
    fox("goto", url=f"http://127.0.0.1:{port}/me?lang=ko")
    if not hub.services.phones.registry.of(NOBODY.id):
        wait_until(lambda: bool(fox.evaluate(_SETTLED)), "the page to know whether it may push", 30)
    if fox.evaluate("!document.getElementById('phone-on').hidden"):
        fox("click", selector="#phone-on")
    wait_until(lambda: bool(hub.services.phones.registry.of(NOBODY.id)), "the phone to be registered", 30)
    [phone] = hub.services.phones.registry.of(NOBODY.id)
    assert "Firefox" in phone.user_agent
    assert phone.language == "ko"


_SETTLED = "!document.getElementById('phone-on').hidden || !document.getElementById('phone-test').hidden"


def _test_it(fox: Firefox) -> None:
    wait_until(lambda: bool(fox.evaluate("!document.getElementById('phone-test').hidden")), "the button", 30)
    fox("click", selector="#phone-test")
    wait_until(lambda: "나타났습니다" in _text(fox, "phone-tried"), "the test to be shown", 40)
    assert [one["tag"] for one in fox.notifications()] == ["test"]
    wait_until(lambda: "도착합니다" in _text(fox, "phone-state"), "the page to say that it is reached", 20)


def _text(fox: Firefox, element: str) -> str:
    return str(fox.evaluate(f"document.getElementById('{element}').textContent"))


def _hear(hub: Hub) -> Incident:
    feed(hub, sound())
    [incident] = hub.services.incidents.open()
    return incident


def _is_shown(fox: Firefox, hub: Hub, message: Message) -> None:
    def shown() -> list[dict[str, Any]]:
        return [one for one in fox.notifications() if one["tag"] == message.incident.id]

    wait_until(lambda: len(shown()) == 1, "the notification", 30)
    [notification] = shown()
    assert "화재 경보(연기 감지기) 소리일 수 있습니다" in notification["title"]
    assert "Press shop" in notification["body"]
    rows = "SELECT queued_us, shown_us FROM deliveries WHERE shown_us IS NOT NULL"
    wait_until(lambda: bool(hub.services.store.rows(rows)), "the receipt", 30)
    [(queued_us, shown_us)] = hub.services.store.rows(rows)
    assert shown_us >= queued_us
    print(f"queued → shown, by the hub's clock: {(shown_us - queued_us) / 1e3:.0f} ms")  # noqa: T201


def _answer(fox: Firefox, hub: Hub, incident: Incident) -> None:
    """The page, which was open all the time, has the alarm; its big button answers."""
    card = f'.me-card[data-id="{incident.id}"]'
    wait_until(lambda: bool(fox.evaluate(f"!!document.querySelector('{card}')")), "the card", 30)
    fox("click", selector=f"{card} .me-safe")
    wait_until(lambda: bool(hub.services.incidents.answers([incident.id])), "the answer", 30)
    [given] = hub.services.incidents.answers([incident.id])[incident.id]
    assert given.answer == "safe"
    wait_until(
        lambda: fox.evaluate(f"document.querySelector('{card} .me-safe').ariaPressed") == "true",
        "the page to show the answer",
        20,
    )


def _forget_what_is_gone(fox: Firefox, hub: Hub, incident: Incident) -> None:
    fox("status", status=410)
    with pytest.raises(Exception, match="does not know the phone any more"):
        alert(hub, incident)
    assert hub.services.phones.registry.of(NOBODY.id) == ()
    fox("status", status=201)
    begun = time.monotonic()
    fox("goto", url=fox.evaluate("location.href"))
    wait_until(lambda: bool(hub.services.phones.registry.of(NOBODY.id)), "the page to register anew", 30)
    assert time.monotonic() - begun < 60
