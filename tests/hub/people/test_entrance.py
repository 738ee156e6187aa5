"""Getting in: by password, by the first link, by an invitation; and what is refused at the door."""

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.hub.parts import form_token, log_in, log_in_as, login_path, person, submit
from tocsin_hub.i18n import catalogue
from tocsin_hub.people import audit, keeping, passwords
from tocsin_hub.people.model import Person, Role
from tocsin_hub.root import Hub

PASSWORD = "four bells at night"  # noqa: S105  # pragma: allowlist secret
SHORT, ANOTHER = "two bells", "another good one"
WORDS = catalogue("en")


def with_password(hub: Hub, login: str = "mina", **fields: object) -> Person:
    """An officer who logs in by a password."""
    made = person(hub, "Mina", **fields)
    known = passwords.hash_password(PASSWORD, hub.services.settings.access)
    hub.writer.call(lambda recorder: keeping.set_entry(recorder, made.id, login, known))
    return made


def log_in_by(client: FlaskClient, login: str, password: str) -> TestResponse:
    return submit(client, "/login", "/login", login=login, password=password)


def actions(hub: Hub) -> list[str]:
    return [line.action for line in audit.lines(hub.services.store)]


def test_a_password_opens_a_session_and_leads_to_the_page_that_was_wanted(hub: Hub) -> None:
    with_password(hub)
    client = hub.app.test_client()
    assert client.get("/history?label=siren").location == "/signed-out"
    answer = log_in_by(client, " MINA ", PASSWORD)
    assert (answer.status_code, answer.location) == (302, "/history?label=siren")
    assert client.get("/history").status_code == 200
    assert actions(hub) == ["login.password"]


@pytest.mark.parametrize(
    ("login", "password"),
    [
        ("mina", "wrong-words"),
        ("nobody", PASSWORD),
        ("", ""),
        ("mina", "x" * 10_000),
        ("'--", "\x00bell\x00"),
    ],
)
def test_what_was_wrong_is_not_said(hub: Hub, login: str, password: str) -> None:
    with_password(hub)
    client = hub.app.test_client()
    answer = log_in_by(client, login, password)
    assert answer.status_code == 403
    assert WORDS.t("login.failed") in answer.text
    assert not password or password[:40] not in answer.text
    assert client.get("/api/v1/rooms").status_code == 401
    (line,) = audit.lines(hub.services.store)
    assert (line.action, line.address) == ("login.failed", "127.0.0.1")
    assert line.subject in {"mina", "?"}, "a name that nobody has may be a password in the wrong field"


def test_a_disabled_person_cannot_log_in(hub: Hub) -> None:
    person(hub, "Boss", role=Role.ADMIN)
    made = with_password(hub)
    hub.writer.call(lambda recorder: keeping.disable(recorder, made.id))
    assert log_in_by(hub.app.test_client(), "mina", PASSWORD).status_code == 403


def test_unknown_names_cost_as_much_work_as_known_ones(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    with_password(hub)
    verified: list[str] = []
    verify = PasswordHasher.verify

    def counting(self: PasswordHasher, known: str, password: bytes) -> bool:
        verified.append(known)
        return bool(verify(self, known, password))

    monkeypatch.setattr(PasswordHasher, "verify", counting)
    for login in ("mina", "nobody"):
        log_in_by(hub.app.test_client(), login, "wrong")
    assert len(verified) == 2
    costs = {re.sub(r"\$[^$]*\$[^$]*$", "", known) for known in verified}
    assert len(costs) == 1, "the same algorithm at the same cost"


def test_a_hash_of_another_cost_is_renewed_at_the_next_login(hub: Hub) -> None:
    made = with_password(hub)
    weak = PasswordHasher(time_cost=2, memory_cost=8192, parallelism=1).hash(PASSWORD)
    hub.writer.call(lambda recorder: keeping.set_entry(recorder, made.id, "mina", weak))
    assert log_in_by(hub.app.test_client(), "mina", PASSWORD).status_code == 302
    account = hub.services.people.account(made.id)
    assert account is not None
    assert account.password_hash != weak
    assert log_in_by(hub.app.test_client(), "mina", PASSWORD).status_code == 302


def test_too_many_wrong_passwords_are_answered_with_a_time_to_wait(hub: Hub) -> None:
    with_password(hub)
    client = hub.app.test_client()
    statuses = [log_in_by(client, "mina", "wrong").status_code for _ in range(10)]
    assert statuses == [403] * 10
    answer = log_in_by(client, "mina", PASSWORD)
    assert answer.status_code == 429
    assert 0 < int(answer.headers["Retry-After"]) <= 901
    assert WORDS.t("refused.many_heading") in answer.text
    assert log_in_by(client, "other", "wrong").status_code == 403, "another name is another count"
    assert log_in(hub).get("/api/v1/rooms").status_code == 200, "who is in is not counted"


def test_whoever_comes_by_the_first_link_is_asked_for_name_and_password(hub: Hub) -> None:
    client = hub.app.test_client()
    assert client.get(login_path(hub)).location == "/welcome"
    assert client.get("/").status_code == 200, "she may do so later"
    answer = submit(client, "/welcome", "/welcome", name="Boss", login="boss", password=SHORT)
    assert answer.status_code == 422
    assert 'id="wrong-password"' in answer.text
    assert 'value="Boss"' in answer.text
    assert SHORT not in answer.text
    assert (
        submit(client, "/welcome", "/welcome", name="Boss", login="boss", password=PASSWORD).location == "/"
    )
    (boss,) = hub.services.people.all()
    assert (boss.name, boss.role) == ("Boss", Role.ADMIN)
    assert client.get("/welcome").location == "/account"
    assert log_in_by(hub.app.test_client(), "boss", PASSWORD).status_code == 302


def test_links_make_one_unfinished_admin_at_a_time(hub: Hub) -> None:
    first, second = log_in(hub), log_in(hub)
    assert len(hub.services.people.all()) == 1
    submit(first, "/welcome", "/welcome", name="Boss", login="boss", password=PASSWORD)
    assert second.get("/api/v1/rooms").status_code == 200
    log_in(hub)
    assert [(one.name, one.role) for one in hub.services.people.all()] == [
        ("Admin", Role.ADMIN),
        ("Boss", Role.ADMIN),
    ]


def invitation(hub: Hub, page: str = "/admin/people", **fields: object) -> tuple[str, str]:
    """Path of a fresh invitation, and the page that showed it."""
    html = submit(log_in(hub), page, "/admin/people", **fields).text
    found = re.search(r'value="http://127\.0\.0\.1:8080(/join/[^"]+)"', html)
    assert found, html
    return found[1], html


def test_a_worker_s_phone_becomes_her_key(hub: Hub) -> None:
    path, html = invitation(hub, name="Mina", role="worker", zones="hall-1", more_zones="yard")
    assert '<svg viewBox="0 0' in html, "the QR code is in the page"
    phone = hub.app.test_client()
    assert phone.get(path).status_code == 200
    assert phone.get(path).status_code == 200, "to look uses nothing up"
    assert phone.post(path).status_code == 400, "another site cannot use it up"
    assert submit(phone, path, path, name="Mina Kim").status_code == 302
    mina = next(one for one in hub.services.people.all() if one.name == "Mina Kim")
    assert (mina.role, mina.zones) == (Role.WORKER, frozenset({"hall-1", "yard"}))
    assert phone.get("/api/v1/rooms").status_code == 200
    other = hub.app.test_client()
    assert other.get(path).status_code == 403
    assert WORDS.t("join.spent") in other.get(path).text


def site_ca(folder: Path) -> Path:
    """A certificate authority of a site."""
    path = folder / "ca.crt"
    subject = ["-subj", "/CN=Tocsin site CA", "-keyout", str(folder / "ca.key"), "-out", str(path)]
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
    ]
    subprocess.run([*command, "-days", "2", *subject], check=True, capture_output=True)
    return path


def test_an_invitation_shows_how_a_phone_comes_to_trust_the_site(hub: Hub, tmp_path: Path) -> None:
    _, html = invitation(hub, name="Mina", role="worker")
    assert "/site-ca.crt" not in html
    path = site_ca(tmp_path)
    shown = ["openssl", "x509", "-in", str(path), "-noout", "-fingerprint", "-sha256"]
    told = subprocess.run(shown, check=True, capture_output=True, text=True).stdout.strip()
    web = replace(hub.services.settings.web, site_ca=str(path))
    object.__setattr__(hub.services, "settings", replace(hub.services.settings, web=web))
    _, html = invitation(hub, name="Jun", role="worker")
    assert 'href="http://127.0.0.1:8080/site-ca.crt"' in html
    assert html.count("<svg viewBox") == 2
    found = re.search(r'<pre class="fingerprint">([0-9A-F:\s]+)</pre>', html)
    assert found
    assert ":".join(found[1].split()) == told.partition("=")[2]


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_a_certificate_that_cannot_be_read_keeps_nobody_out(
    hub: Hub, tmp_path: Path, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "ca.crt"
    if content is not None:
        path.write_bytes(content)
    web = replace(hub.services.settings.web, site_ca=str(path))
    object.__setattr__(hub.services, "settings", replace(hub.services.settings, web=web))
    _, html = invitation(hub, name="Jun", role="worker")
    assert "/site-ca.crt" not in html
    assert "web.site_ca" in caplog.text


def test_a_role_in_the_form_does_not_change_what_the_invitation_says(hub: Hub) -> None:
    path, _ = invitation(hub, name="Mina", role="worker")
    phone = hub.app.test_client()
    submit(phone, path, path, name="Mina", role="admin", zones="")
    assert phone.get("/admin/people").status_code == 403


def test_an_officer_sets_a_password(hub: Hub) -> None:
    path, _ = invitation(hub, name="Jun", role="officer")
    client = hub.app.test_client()
    answer = submit(client, path, path, name="Jun", login="jun", password=SHORT)
    assert answer.status_code == 422
    assert client.get(path).status_code == 200, "a wrong word spends nothing"
    assert submit(client, path, path, name="Jun", login="jun", password=PASSWORD).status_code == 302
    assert log_in_by(hub.app.test_client(), "jun", PASSWORD).status_code == 302


def test_a_new_qr_code_is_for_the_same_person(hub: Hub) -> None:
    mina = person(hub, "Mina", role=Role.WORKER)
    path, _ = invitation(hub, f"/admin/people/{mina.id}/link")
    phone = hub.app.test_client()
    assert submit(phone, path, path).status_code == 302
    assert WORDS.t("role.worker") in phone.get("/account").text
    assert [one.name for one in hub.services.people.all()] == ["Admin", "Mina"]


def test_a_new_link_for_a_forgotten_password_ends_the_old_sessions(hub: Hub) -> None:
    made = with_password(hub)
    thief = log_in_as(hub, made)
    path, _ = invitation(hub, f"/admin/people/{made.id}/link")
    client = hub.app.test_client()
    assert submit(client, path, path, password=ANOTHER).status_code == 302
    assert thief.get("/api/v1/rooms").status_code == 401
    assert log_in_by(hub.app.test_client(), "mina", PASSWORD).status_code == 403
    assert log_in_by(hub.app.test_client(), "mina", ANOTHER).status_code == 302


def test_an_invitation_ends(hub: Hub) -> None:
    path, _ = invitation(hub, name="Mina", role="worker")
    later = hub.services.clock() + 8 * 86_400 * 1_000_000
    object.__setattr__(hub.services, "clock", lambda: later)
    assert hub.app.test_client().get(path).status_code == 403


def test_an_invitation_can_be_taken_back(hub: Hub) -> None:
    path, _ = invitation(hub, name="Mina", role="worker")
    boss = log_in(hub)
    (end,) = re.findall(r'action="(/admin/invitations/[0-9a-f]{64}/end)"', boss.get("/admin/people").text)
    assert submit(boss, end).status_code == 302
    assert hub.app.test_client().get(path).status_code == 403
    assert "/admin/invitations/" not in boss.get("/admin/people").text
    assert submit(boss, end).status_code == 404


def test_a_link_for_somebody_who_was_shut_out_since_opens_nothing(hub: Hub) -> None:
    mina = person(hub, "Mina", role=Role.WORKER)
    path, _ = invitation(hub, f"/admin/people/{mina.id}/link")
    hub.writer.call(lambda recorder: keeping.disable(recorder, mina.id))
    assert hub.app.test_client().get(path).status_code == 403


@pytest.mark.parametrize("token", ["x", "%00", "a" * 2000, "%F0%9F%94%94", "'--"])
def test_unknown_invitations_are_refused_with_a_page(hub: Hub, token: str) -> None:
    client = hub.app.test_client()
    assert client.get(f"/join/{token}").status_code == 403
    token_of_form = form_token(client, "/login")
    assert client.post(f"/join/{token}", data={"csrf_token": token_of_form}).status_code == 403


def test_where_one_goes_after_the_login_is_a_page_of_this_hub(hub: Hub) -> None:
    with_password(hub)
    for path in ("https://evil.example/", "//evil.example/", "/\\evil.example"):
        client = hub.app.test_client()
        with client.session_transaction() as cookie:
            cookie["next"] = path
        assert log_in_by(client, "mina", PASSWORD).location == "/"


def test_logging_in_gives_the_cookie_a_new_meaning(hub: Hub) -> None:
    """A session id that somebody planted before the login is worth nothing after it."""
    with_password(hub)
    client = hub.app.test_client()
    with client.session_transaction() as cookie:
        cookie["id"] = "planted"
    log_in_by(client, "mina", PASSWORD)
    with client.session_transaction() as cookie:
        assert cookie["id"] != "planted"
