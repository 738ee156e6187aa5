"""The whole way to a phone: a real Firefox, a real subscription, real encryption, a shown notification."""

import dataclasses
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.browser.firefox import Firefox, firefox
from tests.hub.parts import feed, login_path, ulid, wait_until
from tests.integration.serving import served
from tests.shared.messages import sound
from tocsin_hub.alerts import editing
from tocsin_hub.alerts.model import Audience, ChannelName
from tocsin_hub.alerts.policies import PolicyDocument, StepDocument
from tocsin_hub.demo.broker import free_port
from tocsin_hub.incidents.model import Incident, IncidentSeverity
from tocsin_hub.people.model import Person, Role
from tocsin_hub.phones.settings import PushSettings
from tocsin_hub.root import Hub, build
from tocsin_hub.settings import HubSettings, WebSettings

pytestmark = [pytest.mark.slow, pytest.mark.browser]
FIREFOX = "/usr/bin/firefox-esr"


def test_from_an_event_to_the_phone_and_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
            _people(hub, monkeypatch)
            incident = _hear(hub)
            _is_shown(fox, hub, incident)
            assert incident.id in hub.engine._due
            _answer(fox, hub, incident)
            _nobody_is_told_again(hub, incident)
            _forget_what_is_gone(fox, hub)


def _owner(hub: Hub) -> str:
    """Id of the person who is logged in."""
    return hub.services.phones.registry.all()[0].person


def _people(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """The site has one person, whoever the phone belongs to, and tells her again and again."""
    step = StepDocument(
        after_seconds=0.0, audience=Audience.IN_ZONE, channels=(ChannelName.PUSH,), repeat_seconds=10.0
    )
    policy = PolicyDocument(name="Again", severities=(IncidentSeverity.ALARM,), steps=(step,))
    now_us = hub.services.clock()
    assert hub.writer.call(lambda recorder: editing.change(recorder, "default-alarm", policy, now_us))
    hub.engine.look_again()
    person = Person(id=_owner(hub), name="Kim", role=Role.WORKER, language="ko")
    facts = dataclasses.replace(hub.engine._facts, people=lambda: (person,))
    monkeypatch.setattr(hub.engine, "_facts", facts)


def _turn_on(fox: Firefox, hub: Hub, port: int) -> None:
    fox("goto", url=f"http://127.0.0.1:{port}/me?lang=ko")
    wait_until(lambda: bool(fox.evaluate(_SETTLED)), "the page to know whether it may push", 30)
    if fox.evaluate("!document.getElementById('phone-on').hidden"):
        fox("click", selector="#phone-on")
    wait_until(lambda: bool(hub.services.phones.registry.all()), "the phone to be registered", 30)
    [phone] = hub.services.phones.registry.all()
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
    feed(hub, sound(onset=datetime.now(UTC)))
    [incident] = hub.services.incidents.open()
    return incident


def _is_shown(fox: Firefox, hub: Hub, incident: Incident) -> None:
    """Nobody but the engine sent it."""

    def shown() -> list[dict[str, Any]]:
        return [one for one in fox.notifications() if one["tag"] == incident.id]

    wait_until(lambda: len(shown()) == 1, "the notification", 30)
    [notification] = shown()
    assert "화재 경보(연기 감지기) 소리일 수 있습니다" in notification["title"]
    assert "press-1" in notification["body"]
    wait_until(lambda: bool(hub.services.store.rows(f"{_STAMPS} AND shown_us > 0")), "the receipt", 30)
    [(queued_us, accepted_us, shown_us)] = hub.services.store.rows(_STAMPS)
    assert queued_us <= shown_us
    print(f"queued → accepted {(accepted_us - queued_us) / 1e3:.0f} ms")  # noqa: T201
    print(f"queued → shown, by the hub's clock {(shown_us - queued_us) / 1e3:.0f} ms")  # noqa: T201


_STAMPS = "SELECT queued_us, accepted_us, shown_us FROM deliveries WHERE channel = 'push'"


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


def _nobody_is_told_again(hub: Hub, incident: Incident) -> None:
    """Before the answer the engine would have told her again in 10 s; now it plans nothing more."""
    answered = "SELECT answer FROM alerts WHERE answered_us IS NOT NULL"
    wait_until(lambda: hub.services.store.rows(answered) == [("safe",)], "the answer on the alert", 30)
    wait_until(lambda: hub.engine.idle and incident.id not in hub.engine._due, "the plan to be empty", 30)


def _forget_what_is_gone(fox: Firefox, hub: Hub) -> None:
    owner = _owner(hub)
    fox("status", status=410)
    feed(hub, sound(id=ulid(2), node="store-1", zone="hall-2", label="scream", onset=datetime.now(UTC)))
    wait_until(lambda: not hub.services.phones.registry.of(owner), "the phone to be forgotten", 30)
    fox("status", status=201)
    fox("goto", url=fox.evaluate("location.href"))
    wait_until(lambda: bool(hub.services.phones.registry.of(owner)), "the page to register anew", 30)
