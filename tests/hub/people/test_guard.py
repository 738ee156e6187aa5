"""What other sites have a browser send, what is too large, and what comes too often, is refused."""

import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from time import sleep

import pytest
import requests

from tests.hub.parts import log_in, log_in_as, person, submit
from tests.hub.processes import hub_process
from tocsin_hub.auth import make_login_link
from tocsin_hub.people import audit
from tocsin_hub.people.guard import takes_body
from tocsin_hub.people.limits import limit
from tocsin_hub.root import Hub, build
from tocsin_hub.settings import AccessSettings, HubSettings, WebSettings
from tocsin_hub.times import now_us

HERE = "http://localhost"


@pytest.fixture
def echo(hub: Hub) -> Hub:
    """A hub with an endpoint of the API that changes something, as far as the door is concerned."""

    def view() -> dict[str, str]:
        return {"done": "yes"}

    def large() -> dict[str, str]:
        return {"done": "yes"}

    hub.app.add_url_rule("/api/v1/echo", "api.echo", view, methods=["POST", "DELETE"])
    hub.app.add_url_rule("/api/v1/incidents/x/answer", "api.answer", view, methods=["POST"])
    hub.app.add_url_rule("/api/v1/large", "api.large", takes_body(300_000)(large), methods=["POST"])
    return hub


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": HERE}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost.evil.example"}, 403),
        ({"Origin": "http://[broken"}, 403),
        ({"Sec-Fetch-Site": "same-origin", "Origin": HERE}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Origin": HERE}, 403),
    ],
)
def test_the_api_changes_nothing_for_another_site(echo: Hub, headers: dict[str, str], status: int) -> None:
    client = log_in(echo)
    for method, body in (("POST", {"x": 1}), ("DELETE", None)):
        answer = client.open("/api/v1/echo", method=method, headers=headers, json=body)
        assert answer.status_code == status
        if status == 403:
            assert "another site" in answer.json["error"]["message"]  # type: ignore[index]
    assert client.get("/api/v1/rooms", headers=headers).status_code == 200, "reading changes nothing"


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None]
)
def test_the_api_takes_json_only(echo: Hub, kind: str | None) -> None:
    answer = log_in(echo).post("/api/v1/echo", data=b"{}", content_type=kind)
    assert answer.status_code == 415


def test_a_form_of_another_site_changes_nothing(hub: Hub) -> None:
    client = log_in(hub)
    for path in ("/logout", "/account/language", "/admin/people", "/admin/tokens"):
        assert client.post(path, data={"name": "x", "role": "admin"}).status_code == 400, path
        assert client.post(path, data={"csrf_token": "x"}).status_code == 400, path
        foreign = client.post(path, data={}, headers={"Origin": "https://evil.example"})
        assert foreign.status_code == 403
    other = log_in_as(hub, person(hub))
    stolen = submit(other, "/account/language", language="en").status_code
    assert stolen == 302
    assert len(hub.services.people.all()) == 2


def test_a_token_of_another_session_is_worth_nothing(hub: Hub) -> None:
    from tests.hub.parts import form_token

    theirs = form_token(log_in(hub))
    assert log_in(hub).post("/account/language", data={"csrf_token": theirs}).status_code == 400


def test_large_bodies_are_taken_only_where_they_are_meant(echo: Hub) -> None:
    client = log_in(echo)
    body = b'{"x": "' + b"y" * 200_000 + b'"}'
    assert client.post("/api/v1/large", data=body, content_type="application/json").status_code == 200
    answer = client.post("/api/v1/echo", data=body, content_type="application/json")
    assert (answer.status_code, answer.headers["Connection"]) == (413, "close")
    assert client.post("/api/v1/large", data=body * 2, content_type="application/json").status_code == 413


def test_an_error_of_our_own_tells_nothing_about_the_hub(hub: Hub) -> None:
    def broken() -> str:
        raise RuntimeError("the secret of /var/lib/tocsin")

    hub.app.add_url_rule("/api/v1/broken", "api.broken", broken)
    hub.app.add_url_rule("/broken", "broken", broken)
    for path in ("/api/v1/broken", "/broken"):
        answer = log_in(hub).get(path)
        assert answer.status_code == 500
        for word in ("secret", "tocsin_hub", "Traceback", "RuntimeError", ".py"):
            assert word not in answer.text


def test_too_many_requests_are_told_when_to_come_again_but_answers_always_get_through(tmp_path: Path) -> None:
    made = build(HubSettings(state_folder=tmp_path, access=AccessSettings(api_per_minute=60)))
    made.writer.start(made.ingest.settle)
    client, other = log_in(made), log_in(made)
    statuses = [client.get("/api/v1/rooms").status_code for _ in range(130)]
    assert statuses[0] == 200
    refused = client.get("/api/v1/events?after=0")
    assert refused.status_code == 429, "all of the API counts as one"
    assert 1 <= int(refused.headers["Retry-After"]) <= 61
    assert "try again in" in refused.get_json()["error"]["message"]
    assert client.post("/api/v1/incidents/x/answer", json={}).status_code != 429
    assert client.post("/api/v1/receipts", json={}).status_code != 429
    assert other.get("/api/v1/rooms").status_code == 200, "one who asks too much shuts nobody else out"
    made.writer.stop()
    made.services.store.close()


@pytest.fixture
def restless() -> Iterator[None]:
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("restless")
def test_a_page_that_asks_for_several_things_at_once_gets_them_all(hub: Hub) -> None:
    """A dashboard does so when it is opened: once, one of its requests was answered 500 by a race."""
    threads, rounds = 8, 100
    together = Barrier(threads)

    @limit("500 per hour")
    def view() -> dict[str, str]:
        return {}

    hub.app.add_url_rule("/limited", "limited", view)

    def ask(_thread: int) -> Counter[int]:
        client, seen = hub.app.test_client(), Counter[int]()
        for _ in range(rounds):
            sleep(0.015)  # what tidies the counts away is over by then, and has to be started anew
            together.wait(10.0)
            seen[client.get("/limited").status_code] += 1
        return seen

    with ThreadPoolExecutor(threads) as pool:
        answers = sum(pool.map(ask, range(threads)), Counter[int]())
    assert answers == {200: 500, 429: 300}, "and each is counted once"


def test_a_view_can_be_limited_by_others(hub: Hub) -> None:
    @limit("3 per hour")
    def view() -> dict[str, str]:
        return {}

    hub.app.add_url_rule("/limited", "limited", view)
    client = hub.app.test_client()
    assert [client.get("/limited").status_code for _ in range(4)] == [200, 200, 200, 429]


def test_behind_a_proxy_with_https(tmp_path: Path) -> None:
    web = WebSettings(public_url="https://tocsin.example.org", proxies=1)
    made = build(HubSettings(state_folder=tmp_path, web=web))
    made.writer.start(made.ingest.settle)
    client = made.app.test_client()
    link = made.writer.call(lambda recorder: make_login_link(recorder, web, now_us()))
    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "6.6.6.6, 192.0.2.7"}
    answer = client.get("/login", headers=headers)
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("__Host-tocsin_session=")
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"} <= {part.strip() for part in cookie.split(";")}
    assert "Domain" not in cookie
    client.get(link.removeprefix(web.origin), headers=headers)
    (line,) = audit.lines(made.services.store)
    assert line.address == "192.0.2.7", "what a stranger put before it is not believed"
    made.writer.stop()
    made.services.store.close()


@pytest.mark.slow
def test_a_hundred_megabytes_are_refused_by_their_announcement(tmp_path: Path) -> None:
    """Nothing of the body is sent: whoever waited for it would wait for ever."""
    with hub_process(tmp_path, 1, status=503) as hub:
        headers = {"Content-Length": str(100_000_000), "Content-Type": "application/json"}
        for path in ("/api/v1/events", "/login", "/"):
            request = requests.Request("POST", hub.address + path, headers=headers).prepare()
            request.headers["Content-Length"] = str(100_000_000)
            answer = requests.Session().send(request, timeout=10)
            assert answer.status_code in {405, 413}, path
        assert hub.health_status() == 503, "it lives; it only has no broker"
