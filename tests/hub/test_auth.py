"""Login links work once and for a while; sessions end where they should."""

import threading
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from tests.hub.parts import log_in, login_path, submit
from tocsin_hub.auth import make_login_link, secret_key
from tocsin_hub.people.secret import hashed
from tocsin_hub.root import Hub, build
from tocsin_hub.settings import HubSettings, WebSettings
from tocsin_hub.times import now_us
from tocsin_shared.broker import BrokerSettings
from tocsin_shared.errors import UnavailableError

DAY_US = 86_400 * 1_000_000


def api_status(client: FlaskClient) -> int:
    return client.get("/api/v1/rooms").status_code


def test_a_link_logs_in_once_and_leads_to_the_dashboard(hub: Hub) -> None:
    path = login_path(hub)
    first, second = hub.app.test_client(), hub.app.test_client()
    answer = first.get(path)
    assert (answer.status_code, answer.headers["Location"]) == (302, "/welcome")
    assert api_status(first) == 200
    assert second.get(path).status_code == 403
    assert api_status(second) == 401


def test_of_many_who_use_a_link_at_once_one_gets_in(hub: Hub) -> None:
    path = login_path(hub)
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda: statuses.append(hub.app.test_client().get(path).status_code))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [302] + [403] * 7


def test_a_link_expires(hub: Hub) -> None:
    web = hub.services.settings.web
    made_us = now_us() - 16 * 60 * 1_000_000
    link = hub.writer.call(lambda recorder: make_login_link(recorder, web, made_us, 15))
    assert hub.app.test_client().get(link.removeprefix(web.origin)).status_code == 403


@pytest.mark.parametrize("token", ["x", "%00", "a" * 5000, "%F0%9F%94%94", "'--"])
def test_an_unknown_link_is_refused_with_a_page(hub: Hub, token: str) -> None:
    answer = hub.app.test_client().get(f"/login/{token}")
    assert answer.status_code == 403
    assert answer.mimetype == "text/html"


def test_a_program_that_only_looks_does_not_use_the_link_up(hub: Hub) -> None:
    path = login_path(hub)
    assert hub.app.test_client().head(path).status_code == 204
    assert hub.app.test_client().get(path).status_code == 302


def test_the_cookie_is_for_this_site_and_not_for_scripts(hub: Hub) -> None:
    cookie = hub.app.test_client().get(login_path(hub)).headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "Secure" not in cookie, "it would never come back over http"


def test_the_cookie_is_secure_when_the_dashboard_is_reached_by_https(tmp_path: Path) -> None:
    web = WebSettings(public_url="https://tocsin.example.org/")
    hub = build(HubSettings(state_folder=tmp_path, web=web, broker=BrokerSettings(port=1)))
    hub.writer.start(hub.ingest.settle)
    link = hub.writer.call(lambda recorder: make_login_link(recorder, web, now_us()))
    assert link.startswith("https://tocsin.example.org/login/")
    cookie = hub.app.test_client().get(link.removeprefix(web.origin)).headers["Set-Cookie"]
    hub.writer.stop()
    hub.services.store.close()
    assert "Secure" in cookie


def test_logging_out_ends_the_session_even_for_a_copied_cookie(hub: Hub) -> None:
    client = log_in(hub)
    cookie = client.get_cookie("tocsin_session")
    assert cookie is not None
    assert client.get("/logout").status_code == 405, "a link on another page must not log anybody out"
    assert client.post("/logout").status_code == 400, "nor a form on another page"
    assert api_status(client) == 200
    assert submit(client, "/logout").status_code == 302
    assert api_status(client) == 401
    thief = hub.app.test_client()
    thief.set_cookie("tocsin_session", cookie.value)
    assert api_status(thief) == 401


def test_a_session_ends_after_a_month(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    client = log_in(hub)
    later = now_us() + (hub.services.settings.access.session_days + 1) * DAY_US
    assert api_status(client) == 200
    object.__setattr__(hub.services, "clock", lambda: later)
    assert api_status(client) == 401


def test_a_made_up_cookie_opens_nothing(hub: Hub) -> None:
    client = hub.app.test_client()
    client.set_cookie("tocsin_session", "eyJyb2xlIjoib2ZmaWNlciJ9.Zz.x")
    assert api_status(client) == 401
    with client.session_transaction() as session:  # signed by the real key, yet never opened
        session.update(id="made-up")
    assert api_status(client) == 401
    with client.session_transaction() as session:
        session.update(id=["not", "text"])
    assert api_status(client) == 401


def test_pages_send_strangers_away(hub: Hub) -> None:
    answer = hub.app.test_client().get("/")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/signed-out")


def test_the_database_holds_no_token(hub: Hub) -> None:
    path = login_path(hub)
    token = path.rsplit("/", 1)[1]
    client = hub.app.test_client()
    client.get(path)
    with client.session_transaction() as session:
        known = session["id"]
    rows = [
        *hub.services.store._rows("SELECT token_sha256 FROM login_links"),
        *hub.services.store._rows("SELECT id_sha256 FROM sessions"),
    ]
    assert rows == [(hashed(token),), (hashed(known),)]
    assert token not in str(rows)


def test_nobody_logged_in_until_somebody_did(hub: Hub) -> None:
    path = login_path(hub)
    assert not hub.services.store.anybody_logged_in()
    hub.app.test_client().get(path)
    assert hub.services.store.anybody_logged_in()


def test_the_secret_is_made_once_for_its_user_only(tmp_path: Path) -> None:
    first = secret_key(tmp_path / "state")
    assert len(first) >= 32
    assert secret_key(tmp_path / "state") == first
    file = tmp_path / "state" / "secret.key"
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["secret.key"]


def test_processes_that_start_together_agree_on_the_secret(tmp_path: Path) -> None:
    keys: list[bytes] = []
    threads = [threading.Thread(target=lambda: keys.append(secret_key(tmp_path))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(keys)) == 1


def test_a_damaged_secret_is_named(tmp_path: Path) -> None:
    (tmp_path / "secret.key").write_bytes(b"short")
    with pytest.raises(UnavailableError, match=r"secret\.key is damaged"):
        secret_key(tmp_path)
