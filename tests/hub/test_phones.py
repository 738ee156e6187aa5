"""A person's phones over HTTP: registering, receipts, answers, the daily check, other addresses."""

import dataclasses
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from ulid import ULID

from tests.hub.parts import feed, log_in, log_in_as, person, submit, ulid, wait_until
from tests.hub.push_service import Browser, PushService, push_service
from tests.hub.test_push import KIM, message
from tests.shared.messages import sound
from tocsin_hub.people.model import Role
from tocsin_hub.phones import canary
from tocsin_hub.phones.canary import Reach
from tocsin_hub.phones.limits import Bucket, Buckets
from tocsin_hub.phones.model import Phone, PhoneTrouble, PhoneTroubleKind
from tocsin_hub.phones.receipts import new_receipt, receipt_sha256
from tocsin_hub.phones.settings import ChannelSettings, PushSettings
from tocsin_hub.recorder import Recorder
from tocsin_hub.root import Hub, build
from tocsin_hub.settings import HubSettings
from tocsin_hub.times import to_us
from tocsin_shared.errors import UnavailableError

MINUTE_US = 60_000_000


@pytest.fixture
def service() -> Iterator[PushService]:
    with push_service() as made:
        yield made


class Clock:
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.now_us = to_us(datetime.now(UTC))

    def __call__(self) -> int:
        return self.now_us

    def pass_minutes(self, minutes: float) -> None:
        self.now_us += round(minutes * MINUTE_US)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def hub(tmp_path: Path, service: PushService, clock: Clock) -> Iterator[Hub]:
    """A hub whose rounds are made by the tests."""
    deaths: list[str] = []
    settings = HubSettings(
        state_folder=tmp_path / "state",
        push=PushSettings(test_port=service.port, timeout_seconds=2.0, phones_per_person=3),
        channels=ChannelSettings(schemas=("ntfy", "json"), allow_loopback=True, timeout_seconds=2.0),
    )
    made = build(settings, clock)
    made.live.start(deaths.append)
    made.writer.start(made.ingest.settle, deaths.append)
    yield made
    made.stop()
    assert deaths == []


@pytest.fixture
def client(hub: Hub) -> FlaskClient:
    return log_in(hub)


def register(client: FlaskClient, service: PushService, path: str = "201/a") -> tuple[Browser, str]:
    browser = Browser()
    answer = client.post("/api/v1/me/phones", json=browser.subscription(service.url(path), "ko"))
    assert answer.status_code == 200, answer.text
    return browser, answer.get_json()["id"]


def owner(hub: Hub) -> str:
    return hub.services.phones.registry.all()[0].person


def alert_rows(
    recorder: Recorder, person: str, incident: str, sha256: str, queued_us: int, *, channel: str = "push"
) -> None:
    """An alert and its delivery, as the engine writes them."""
    made = str(ULID())
    recorder.database.execute(
        "INSERT INTO alerts (id, incident, person, audience, created_us) VALUES (?, ?, ?, 'in_zone', ?)",
        (made, incident, person, queued_us),
    )
    recorder.database.execute(
        "INSERT INTO deliveries (id, alert, channel, receipt_sha256, queued_us, error) "
        "VALUES (?, ?, ?, ?, ?, '')",
        (str(ULID()), made, channel, sha256, queued_us),
    )


def alert(hub: Hub, incident: str, minutes_ago: float = 0.0) -> str:
    """The rows of an alert to whoever owns the phone; its receipt."""
    receipt = new_receipt()
    queued_us = hub.services.clock() - round(minutes_ago * MINUTE_US)
    values = (owner(hub), incident, receipt_sha256(receipt), queued_us)
    hub.writer.call(lambda recorder: alert_rows(recorder, *values))
    return receipt


def test_a_phone_is_registered_listed_and_taken_away(
    hub: Hub, client: FlaskClient, service: PushService
) -> None:
    key = client.get("/api/v1/me/phones/key").get_json()["key"]
    assert key == hub.services.phones.signer.public_key
    browser, phone = register(client, service)
    listed = client.get("/api/v1/me/phones")
    assert [one["id"] for one in listed.get_json()["phones"]] == [phone]
    assert listed.get_json()["reach"] == "unknown"
    secrets = (browser.p256dh, browser.subscription("x")["keys"]["auth"], service.url("201/a"))
    assert not any(secret in listed.text for secret in secrets)
    assert client.delete("/api/v1/me/phones/unknown").status_code == 404
    assert client.delete(f"/api/v1/me/phones/{phone}").status_code == 200
    assert client.get("/api/v1/me/phones").get_json()["phones"] == []


def test_a_page_that_is_opened_again_registers_the_same_phone(
    hub: Hub, client: FlaskClient, service: PushService
) -> None:
    browser, phone = register(client, service)
    again = client.post("/api/v1/me/phones", json=browser.subscription(service.url("201/a"), "en"))
    assert again.get_json()["id"] == phone
    assert [one.language for one in hub.services.phones.registry.all()] == ["en"]


def test_the_least_used_phone_makes_room(hub: Hub, client: FlaskClient, service: PushService) -> None:
    phones = []
    for number in range(4):
        hub.services.clock.pass_minutes(1)  # type: ignore[attr-defined]
        phones.append(register(client, service, f"201/{number}")[1])
    assert [one.id for one in hub.services.phones.registry.all()] == phones[1:]


NO_PHONES: list[tuple[dict[str, Any], str]] = [
    ({"endpoint": "https://169.254.169.254/latest"}, "endpoint"),
    ({"endpoint": "http://127.0.0.1:8080/api/v1/me"}, "endpoint"),
    ({"endpoint": "https://evil.example/x"}, "endpoint"),
    ({"endpoint": "x"}, "endpoint"),
    ({"endpoint": 7}, "endpoint"),
    ({"endpoint": "https://fcm.googleapis.com/" + "x" * 4000}, "endpoint"),
    ({"keys": {"p256dh": "short", "auth": "A" * 22}}, "p256dh"),
    ({"keys": {"p256dh": "A" * 87, "auth": "!" * 22}}, "auth"),
    ({"keys": {}}, ""),
    ({"keys": None}, "keys"),
    ({"language": "x" * 100}, "language"),
]


def test_what_is_no_phone_is_refused(hub: Hub, client: FlaskClient, service: PushService) -> None:
    for changes, word in NO_PHONES:
        body = {**Browser().subscription(service.url("201/a")), **changes}
        answer = client.post("/api/v1/me/phones", json=body)
        assert answer.status_code == 400, changes
        assert word in answer.get_json()["error"]["message"]
    assert hub.services.phones.registry.all() == ()


def test_nobody_without_a_session_has_phones(hub: Hub) -> None:
    stranger = hub.app.test_client()
    for method, path in (
        ("GET", "me/phones"),
        ("POST", "me/phones"),
        ("GET", "me/phones/key"),
        ("POST", "me/phones/test"),
        ("DELETE", f"me/phones/{ulid(1)}"),
        ("GET", "me/now"),
        ("GET", "me/addresses"),
        ("POST", "people/x/addresses"),
    ):
        assert stranger.open(f"/api/v1/{path}", method=method, json={}).status_code == 401


def test_a_test_shows_that_the_phone_is_reached(hub: Hub, client: FlaskClient, service: PushService) -> None:
    browser, phone = register(client, service)
    tried = client.post("/api/v1/me/phones/test", json={}).get_json()
    assert tried == {"phones": {phone: {"accepted": True, "error": ""}}}
    words = browser.read(service.taken[0].body)["notification"]
    assert words["title"].startswith("시험")
    stranger = hub.app.test_client()
    said = stranger.post("/api/v1/receipts", json={"receipt": words["data"]["receipt"], "phone": phone})
    assert (said.status_code, said.get_json()) == (200, {"late_note": ""})
    [one] = client.get("/api/v1/me/phones").get_json()["phones"]
    assert one["shown"] is not None
    assert client.get("/api/v1/me/now").get_json()["reach"] == "reached"


def test_a_test_that_is_refused_says_why(client: FlaskClient, service: PushService) -> None:
    _, phone = register(client, service, "400/a")
    tried = client.post("/api/v1/me/phones/test", json={}).get_json()["phones"][phone]
    assert not tried["accepted"]
    assert "refused the message (400)" in tried["error"]


def test_tests_are_not_for_fun(client: FlaskClient, service: PushService) -> None:
    register(client, service)
    codes = [client.post("/api/v1/me/phones/test", json={}).status_code for _ in range(12)]
    assert codes[-1] == 429
    assert len(service.taken) < 12


def test_an_alert_that_is_shown_is_stamped_by_the_hubs_clock(
    hub: Hub, client: FlaskClient, service: PushService, clock: Clock
) -> None:
    _, phone = register(client, service)
    receipt = alert(hub, ulid(7))
    clock.pass_minutes(0.05)
    stranger = hub.app.test_client()
    for _ in range(2):  # a phone that was in doubt says it twice
        # What time the phone thinks it is stands nowhere, and would not be read.
        body = {"receipt": receipt, "phone": phone, "at": "1970-01-01T00:00:00Z"}
        assert stranger.post("/api/v1/receipts", json=body).status_code == 200
        clock.pass_minutes(1)
    [(queued_us, shown_us)] = hub.services.store.rows("SELECT queued_us, shown_us FROM deliveries")
    assert shown_us - queued_us == 3_000_000
    assert hub.services.phones.registry.of(owner(hub))[0].shown_us is not None


def test_a_message_that_comes_late_says_so(hub: Hub, client: FlaskClient, service: PushService) -> None:
    _, phone = register(client, service)
    receipt = alert(hub, ulid(7), minutes_ago=9)
    said = hub.app.test_client().post("/api/v1/receipts", json={"receipt": receipt, "phone": phone})
    assert "9분 0초" in said.get_json()["late_note"]


def test_a_receipt_of_another_persons_alert_says_nothing_of_this_phone(
    hub: Hub, client: FlaskClient, service: PushService
) -> None:
    _, phone = register(client, service)
    receipt = alert(hub, ulid(7))
    hub.writer.call(lambda recorder: recorder.database.execute("UPDATE alerts SET person = 'other'"))
    assert (
        hub.app.test_client().post("/api/v1/receipts", json={"receipt": receipt, "phone": phone}).status_code
        == 200
    )
    assert hub.services.phones.registry.all()[0].shown_us is None


def test_a_receipt_that_was_never_given_out(hub: Hub) -> None:
    stranger = hub.app.test_client()
    for receipt in ["", "x", "r" * 43, "' OR 1=1 --padding", "\x00" * 20, "ü" * 30, "r" * 128]:
        for path, more in (("receipts", {}), ("receipts/answer", {"answer": "safe"})):
            answer = stranger.post(f"/api/v1/{path}", json={"receipt": receipt, **more})
            assert (answer.status_code, answer.get_json()["error"]["code"]) == (403, "unknown_receipt")


def test_guessing_receipts_ends_and_true_ones_go_on(
    hub: Hub, client: FlaskClient, service: PushService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tocsin_hub.api.phones._wrong", Buckets(20, 0.001))
    register(client, service)
    stranger = hub.app.test_client()
    codes = [
        stranger.post("/api/v1/receipts", json={"receipt": new_receipt()}).status_code for _ in range(25)
    ]
    assert codes == [403] * 20 + [429] * 5
    assert stranger.post("/api/v1/receipts", json={"receipt": alert(hub, ulid(7))}).status_code == 200


def test_an_answer_on_the_lock_screen_is_the_persons_answer(
    hub: Hub, client: FlaskClient, service: PushService
) -> None:
    register(client, service)
    feed(hub, sound())
    [incident] = hub.services.incidents.open()
    stranger = hub.app.test_client()
    receipt = alert(hub, incident.id)
    for answer in ("safe", "need_help"):  # who first felt safe may need help after all
        said = stranger.post("/api/v1/receipts/answer", json={"receipt": receipt, "answer": answer})
        assert (said.status_code, said.get_json()) == (200, {"ok": True})
    [given_answer] = hub.services.incidents.answers([incident.id])[incident.id]
    assert (given_answer.person, given_answer.answer) == (owner(hub), "need_help")
    assert hub.services.incidents.get(incident.id).help_us is not None  # type: ignore[union-attr]
    assert (
        stranger.post("/api/v1/receipts/answer", json={"receipt": receipt, "answer": "perhaps"}).status_code
        == 400
    )


def test_a_lock_screen_of_yesterday_answers_nothing(
    hub: Hub, client: FlaskClient, service: PushService
) -> None:
    register(client, service)
    old = alert(hub, ulid(7), minutes_ago=25 * 60)
    stranger = hub.app.test_client()
    answer = stranger.post("/api/v1/receipts/answer", json={"receipt": old, "answer": "safe"})
    assert answer.get_json()["error"]["code"] == "not_answerable"


def test_a_body_that_is_no_json_is_refused_without_a_session(hub: Hub) -> None:
    stranger = hub.app.test_client()
    for body in (b"", b"{", b"[]", b"null", b"\xff" * 100, b'{"receipt": 7}'):
        answer = stranger.post("/api/v1/receipts", data=body, content_type="application/json")
        assert answer.status_code == 400, body
    large = stranger.post("/api/v1/receipts", data=b"x" * 200_000, content_type="application/json")
    assert large.status_code == 413


NINE = datetime(2024, 5, 1, 9, 0, tzinfo=timezone(timedelta(hours=9)))


def phone(**changes: Any) -> Phone:
    fields: dict[str, Any] = {
        "id": "a",
        "person": "p",
        "endpoint": "e",
        "p256dh": "",
        "auth": "",
        "language": "en",
        "user_agent": "",
        "created_us": 0,
    }
    return Phone(**{**fields, **changes})


@pytest.mark.parametrize(
    ("now", "at", "expected"),
    [
        (NINE, "09:00", NINE),
        (NINE - timedelta(minutes=1), "09:00", NINE - timedelta(days=1)),
        (NINE + timedelta(hours=14), "09:00", NINE),
        (NINE, "", None),
    ],
)
def test_the_moment_of_the_daily_check(now: datetime, at: str, expected: datetime | None) -> None:
    assert canary.last_moment_us(now, at) == (None if expected is None else to_us(expected))


def test_each_phone_is_checked_once_a_day_and_not_in_the_night() -> None:
    moment = to_us(NINE)
    fresh, done = phone(), phone(canary_us=moment)
    young = phone(created_us=moment + 1)
    assert canary.due([fresh, done, young], moment + 1, moment) == [fresh]
    assert canary.due([fresh], moment + 5 * 3600 * 1_000_000, moment) == []
    assert canary.due([fresh], moment, None) == []


@pytest.mark.parametrize(
    ("phones", "expected"),
    [
        ([], Reach.NO_PHONE),
        ([phone()], Reach.UNKNOWN),
        ([phone(shown_us=5)], Reach.REACHED),
        ([phone(canary_us=100 * MINUTE_US)], Reach.NOT_REACHED),
        ([phone(canary_us=100 * MINUTE_US, shown_us=99 * MINUTE_US)], Reach.NOT_REACHED),
        ([phone(canary_us=119 * MINUTE_US)], Reach.WAITING),
        (
            [phone(canary_us=100 * MINUTE_US), phone(canary_us=100 * MINUTE_US, shown_us=101 * MINUTE_US)],
            "reached",
        ),
    ],
)
def test_who_is_reached(phones: list[Phone], expected: str) -> None:
    assert canary.reach(phones, 120 * MINUTE_US, 15.0) == expected


@given(
    st.lists(st.tuples(st.integers(0, 10**10), st.integers(0, 10**10) | st.none()), max_size=5),
    st.integers(0, 10**11),
    st.floats(0.1, 1000),
)
def test_one_phone_that_shows_is_enough(
    stamps: list[tuple[int, int | None]], now_us: int, patience: float
) -> None:
    phones = [phone(canary_us=sent, shown_us=shown) for sent, shown in stamps]
    works = any(shown is not None and shown >= sent for sent, shown in stamps)
    assert (canary.reach(phones, now_us, patience) is Reach.REACHED) == works


def test_a_day_of_checks(hub: Hub, client: FlaskClient, service: PushService, clock: Clock) -> None:
    """Sent at its time, shown or not; who is not reached is a trouble until a phone shows something."""
    phones = hub.services.phones
    clock.now_us = to_us(NINE - timedelta(hours=1))
    phones._zone = NINE.tzinfo
    browser, _ = register(client, service)
    phones.round()
    assert service.taken == []
    clock.now_us = to_us(NINE)
    phones.round()
    wait_until(lambda: len(service.taken) == 1, "the check")
    words = browser.read(service.taken[0].body)["notification"]
    assert words["silent"] is True
    assert client.get("/api/v1/me/now").get_json()["reach"] == "waiting"
    clock.pass_minutes(16)
    phones.round()
    [trouble] = hub.services.incidents.open()
    assert trouble.label == "phone_not_reached"
    assert "daily check" in trouble.detail
    assert client.get("/api/v1/me/now").get_json()["reach"] == "not_reached"
    hub.app.test_client().post("/api/v1/receipts", json={"receipt": words["data"]["receipt"]})
    phones.round()
    assert hub.services.incidents.open() == ()
    assert client.get("/api/v1/me/phones").get_json()["phones"][0]["check_shown"] is not None
    assert len(service.taken) == 1


def test_what_is_known_of_a_phone_outlives_the_hub(
    tmp_path: Path, service: PushService, hub: Hub, client: FlaskClient
) -> None:
    register(client, service)
    client.post("/api/v1/me/phones/test", json={})
    hub.services.phones.round()
    hub.writer.call(lambda _: None)
    again = build(HubSettings(state_folder=tmp_path / "state"))
    [known] = again.services.phones.registry.all()
    assert known.accepted_us is not None
    again.services.phones.stop()
    again.services.store.close()


def test_a_push_that_nobody_takes_is_a_trouble_until_one_does(
    hub: Hub, client: FlaskClient, service: PushService
) -> None:
    browser, _ = register(client, service, "400/a")
    told = dataclasses.replace(KIM, id=owner(hub))
    with pytest.raises(UnavailableError):
        hub.services.phones.push.send(message(told))
    hub.services.phones.round()
    [trouble] = hub.services.incidents.open()
    assert trouble.label == "push_refused"
    assert "(400)" in trouble.detail
    client.post("/api/v1/me/phones", json=browser.subscription(service.url("201/a")))
    hub.services.phones.push.send(message(told))
    hub.services.phones.round()
    assert hub.services.incidents.open() == ()


def test_troubles_of_many_persons_are_one(hub: Hub) -> None:
    phones = hub.services.phones
    for number in range(50):
        phones._tell(PhoneTrouble(PhoneTroubleKind.PUSH_REFUSED, f"p{number}", lasts=True, detail="no"))
    phones.round()
    assert len(hub.services.incidents.open()) == 1


class Ntfy:
    """A service on the LAN that takes messages as ntfy does."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.priorities: list[str | None] = []
        self.status = 200
        ntfy = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                ntfy.priorities.append(self.headers["X-Priority"])
                ntfy.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(ntfy.status)
                self.send_header("Location", "http://127.0.0.1:9/")
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_: Any) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        user = "kim:hunter2"
        self.url = f"ntfy://{user}@127.0.0.1:{self._server.server_port}/secret-topic"
        self._thread = Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def ntfy() -> Iterator[Ntfy]:
    made = Ntfy()
    yield made
    made.stop()


def test_another_address_of_a_person(
    hub: Hub, client: FlaskClient, ntfy: Ntfy, caplog: pytest.LogCaptureFixture
) -> None:
    """Entered, tested, told, refused in words, taken away; its secrets stand nowhere."""
    caplog.set_level(logging.DEBUG)
    made = client.post("/api/v1/people/p1/addresses", json={"url": ntfy.url})
    assert made.status_code == 200, made.text
    address = made.get_json()["id"]
    listed = client.get("/api/v1/people/p1/addresses")
    assert [one["kind"] for one in listed.get_json()["addresses"]] == ["ntfy"]
    tested = client.post(f"/api/v1/people/p1/addresses/{address}/test", json={})
    assert tested.get_json() == {"accepted": True, "error": ""}
    channel = hub.services.phones.apprise
    assert channel.reaches(KIM)
    assert not channel.reaches(None)
    channel.send(message())
    told = json.loads(ntfy.bodies[-1])
    assert told["topic"] == "secret-topic"
    assert ntfy.priorities[-1] == "max"  # long bursts of vibration
    assert "화재 경보" in told["title"]
    assert "/me?incident=" in told["message"]
    for ntfy.status in (500, 302):
        with pytest.raises(UnavailableError, match="did not take it") as refused:
            channel.send(message())
        assert "hunter2" not in str(refused.value)
    words = listed.text + made.text + caplog.text
    assert not any(secret in words for secret in ("hunter2", "secret-topic"))
    assert client.delete(f"/api/v1/people/p2/addresses/{address}").status_code == 404
    assert client.delete(f"/api/v1/people/p1/addresses/{address}").status_code == 200
    assert not channel.reaches(KIM)


def test_an_address_that_is_not_allowed(client: FlaskClient) -> None:
    for url, word in [
        ("ntfy://169.254.169.254/latest", "not allowed"),
        ("json://169.254.169.254/latest", "not allowed"),
        ("json://[fe80::1]/x", "not allowed"),
        ("slack://token", "must begin with one of"),
        ("file:///etc/passwd", "must begin with one of"),
        ("ntfy", "must be an address"),
        ("ntfy://a\x00b", "must be an address"),
        ("x" * 2000, "url"),
    ]:
        answer = client.post("/api/v1/people/p1/addresses", json={"url": url})
        assert answer.status_code == 400, url
        assert word in answer.get_json()["error"]["message"]


def test_no_address_on_this_machine_unless_it_is_allowed(hub: Hub, ntfy: Ntfy) -> None:
    channel = hub.services.phones.apprise
    channel._settings = dataclasses.replace(channel._settings, allow_loopback=False)
    for url in (ntfy.url, "ntfy://localhost/x", "ntfy://[::1]/x"):
        with pytest.raises(Exception, match="not allowed"):
            channel.check(url)


def test_a_name_that_turns_inside_later_is_not_followed(hub: Hub, client: FlaskClient) -> None:
    channel = hub.services.phones.apprise
    where = ["192.168.1.7"]
    channel._resolve = lambda _host, _port: where
    assert client.post("/api/v1/people/p1/addresses", json={"url": "ntfy://ntfy.lan/x"}).status_code == 200
    where[0] = "169.254.169.254"
    with pytest.raises(UnavailableError, match="not allowed"):
        channel.send(message())


def test_buckets() -> None:
    bucket = Bucket(2, 1.0, 0.0)
    assert [bucket.take(0.0), bucket.take(0.0), bucket.take(0.5), bucket.take(1.0)] == [
        True,
        True,
        False,
        True,
    ]
    assert not bucket.take(-100.0)  # a clock that jumps back gives nothing
    many = Buckets(1, 0.001)
    assert all(many.take(str(number), 0.0) for number in range(Buckets.MOST))
    assert many.take("one more", 0.0)
    assert not many.take("and another", 0.0)
    assert many.take("later", 1e6)


def test_a_worker_starts_on_her_own_page(hub: Hub) -> None:
    worker = log_in_as(hub, person(hub, role=Role.WORKER))
    answer = worker.get("/")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/me")
    assert worker.get("/me").status_code == 200
    assert log_in_as(hub, person(hub, "Kim", role=Role.OFFICER)).get("/").status_code == 200


def test_a_worker_has_her_own_phones_and_gives_nobody_an_address(hub: Hub, service: PushService) -> None:
    worker = log_in_as(hub, person(hub, role=Role.WORKER))
    other = log_in_as(hub, person(hub, "Kim", role=Role.WORKER))
    _, phone = register(worker, service)
    assert other.get("/api/v1/me/phones").get_json()["phones"] == []
    assert other.delete(f"/api/v1/me/phones/{phone}").status_code == 404
    for path, body in (("addresses", {"url": "ntfy://ntfy.lan/x"}), ("addresses/x/test", {})):
        assert worker.post(f"/api/v1/people/p1/{path}", json=body).status_code == 403
    assert worker.get("/api/v1/people/p1/addresses").status_code == 403


def test_a_worker_sees_only_what_happens_in_her_zones(hub: Hub) -> None:
    worker = log_in_as(hub, person(hub, role=Role.WORKER, zones=frozenset({"hall-2"})))
    feed(hub, sound(onset=datetime.now(UTC)))
    assert worker.get("/api/v1/me/now").get_json()["incidents"] == []
    mine = log_in_as(hub, person(hub, "Kim", role=Role.WORKER, zones=frozenset({"hall-1"})))
    assert len(mine.get("/api/v1/me/now").get_json()["incidents"]) == 1


def test_an_admin_enters_an_address_and_sends_a_test(hub: Hub, client: FlaskClient, ntfy: Ntfy) -> None:
    kim = person(hub, "Kim", role=Role.WORKER)
    page = f"/admin/people/{kim.id}/roads"
    assert submit(client, page, page, add="yes", url="ntfy://169.254.169.254/x").status_code == 400
    assert submit(client, page, page, add="yes", url=ntfy.url).status_code == 302
    shown = client.get(page).text
    assert "secret-topic" not in shown
    assert "hunter2" not in shown
    [address] = hub.services.phones.apprise.of(kim.id)
    assert submit(client, page, page, test=address.id).headers["Location"].endswith("done=tested")
    assert len(ntfy.bodies) == 1
    ntfy.status = 500
    assert submit(client, page, page, test=address.id).headers["Location"].endswith("done=failed")
    assert submit(client, page, page, delete=address.id).status_code == 302
    assert hub.services.phones.apprise.of(kim.id) == ()
    noted = hub.services.store.rows("SELECT action, detail FROM audit WHERE action LIKE 'person.address%'")
    assert noted == [("person.address_added", "ntfy"), ("person.address_deleted", "ntfy")]
    assert client.get("/admin/people/nobody/roads").status_code == 404
    officer = log_in_as(hub, person(hub, "Lee", role=Role.OFFICER))
    assert officer.get(page).status_code == 403
