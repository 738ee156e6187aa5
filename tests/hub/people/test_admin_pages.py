"""Pages on which people are kept: what is entered is stored, what is wrong is said beside its field."""

import csv
import io
import re

import pytest
from flask.testing import FlaskClient

from tests.hub.parts import log_in, log_in_as, person, submit
from tests.hub.test_pages import Page
from tocsin_hub.i18n import catalogue
from tocsin_hub.people import audit, keeping, passwords
from tocsin_hub.people.model import DailySpan, Person, Role
from tocsin_hub.people.pages import MUTABLE, harmless
from tocsin_hub.root import Hub
from tocsin_shared.labels import Severity, severity_of

NASTY = "<script>alert('x')</script> & \"창고\""
PASSWORD, ANOTHER = "four bells at night", "another good one"
PAGES = ("/account", "/admin/people", "/admin/tokens", "/admin/audit")


def fields_of(who: Person, **changes: object) -> dict[str, object]:
    """The form of a person as her page would send it, but for ``changes``."""
    return {
        "name": who.name,
        "role": who.role,
        "shift": "",
        "quiet": "",
        "buddy": "",
        "language": "",
        **changes,
    }


def test_what_the_form_says_is_stored(hub: Hub) -> None:
    boss = log_in(hub)
    (admin,) = hub.services.people.all()
    mina = person(hub, "Mina", role=Role.WORKER)
    path = f"/admin/people/{mina.id}"
    sent = fields_of(
        mina,
        role="officer",
        zones=["hall-1"],
        more_zones="yard, gate-2",
        language="ko",
        buddy=admin.id,
        shift="1-5 06:00-14:00",
        quiet="22:00-06:00",
        muted=["dog_bark", "mic_hum", "smoke_alarm"],
    )
    assert submit(boss, path, path, **sent).location == f"{path}?done=saved"
    assert hub.services.people.get(mina.id) == Person(
        id=mina.id,
        name="Mina",
        role=Role.OFFICER,
        language="ko",
        zones=frozenset({"hall-1", "yard", "gate-2"}),
        buddy=admin.id,
        shift=(DailySpan(frozenset(range(5)), 360, 840),),
        quiet=(DailySpan(frozenset(), 1320, 360),),
        muted=frozenset({"dog_bark", "mic_hum"}),
    ), "an alarm cannot be muted, whatever the form says"
    page = boss.get(path).text
    assert 'value="hall-1" checked' in page
    assert "1,2,3,4,5 06:00-14:00" in page
    (line,) = audit.lines(hub.services.store, action="person.changed")
    assert line.subject == mina.id
    assert "role: officer" in line.detail


def test_no_alarm_is_offered_for_muting() -> None:
    assert MUTABLE
    assert not [label for label in MUTABLE if severity_of(label) is Severity.ALARM]


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 81}, "name"),
        ({"role": "king"}, "role"),
        ({"more_zones": "Hall 1!"}, "zones"),
        ({"buddy": "nobody"}, "buddy"),
        ({"shift": "mornings"}, "shift"),
        ({"quiet": "25:00-26:00"}, "quiet"),
    ],
)
def test_what_is_wrong_is_said_beside_its_field(hub: Hub, changes: dict[str, str], wrong: str) -> None:
    boss, mina = log_in(hub), person(hub, "Mina", role=Role.WORKER)
    path = f"/admin/people/{mina.id}"
    answer = submit(boss, path, path, **fields_of(mina, **changes))
    assert answer.status_code == 422
    page = Page(answer.text)
    assert page.all("p", id=f"wrong-{wrong}")
    described = [has for _, has in page.tags if f"wrong-{wrong}" in has.get("aria-describedby", "").split()]
    assert described, "the field names what is wrong with it"
    assert hub.services.people.get(mina.id) == mina


def test_the_last_admin_is_told_why_she_must_stay(hub: Hub) -> None:
    boss = log_in(hub)
    (admin,) = hub.services.people.all()
    path = f"/admin/people/{admin.id}"
    for where, sent in ((path, fields_of(admin, role="worker")), (f"{path}/enabled", {"enabled": "no"})):
        answer = submit(boss, where, path, **sent)
        assert answer.status_code == 422
        assert catalogue("en").t("people.last_admin") in answer.text
    assert hub.services.people.get(admin.id) == admin


def test_shutting_out_and_letting_in_again(hub: Hub) -> None:
    boss, mina = log_in(hub), person(hub, "Mina")
    client, path = log_in_as(hub, mina), f"/admin/people/{mina.id}"
    assert submit(boss, f"{path}/enabled", path, enabled="no").status_code == 302
    assert client.get("/account").location == "/signed-out"
    assert submit(boss, f"{path}/link", path).status_code == 422, (
        "nobody makes a link for whoever is shut out"
    )
    assert submit(boss, f"{path}/enabled", path, enabled="yes").status_code == 302
    assert [line.action for line in audit.lines(hub.services.store, action="person")] == [
        "person.enabled",
        "person.disabled",
    ]


def test_a_lost_phone_is_logged_out(hub: Hub) -> None:
    boss, mina = log_in(hub), person(hub, "Mina", role=Role.WORKER)
    phone, path = log_in_as(hub, mina), f"/admin/people/{mina.id}"
    assert submit(boss, f"{path}/sessions", path).status_code == 302
    assert phone.get("/api/v1/rooms").status_code == 401


@pytest.mark.parametrize("role", [Role.OFFICER, Role.WORKER])
def test_others_than_admins_are_told_that_these_pages_are_not_for_them(hub: Hub, role: Role) -> None:
    client = log_in_as(hub, person(hub, role=role))
    for path in PAGES[1:]:
        assert client.get(path).status_code == 403
    assert submit(client, "/admin/people", name="x", role="admin").status_code == 403
    assert submit(client, "/admin/tokens", name="x", scopes="read").status_code == 403


def test_nobody_s_name_is_markup(hub: Hub) -> None:
    boss, mina = log_in(hub), person(hub, NASTY, role=Role.WORKER)
    submit(boss, f"/admin/people/{mina.id}/link")
    for path in (*PAGES[1:], f"/admin/people/{mina.id}"):
        html = boss.get(path).text
        assert "<script>alert" not in html, path
    client = log_in_as(hub, mina)
    assert "<script>alert" not in client.get("/account").text


@pytest.mark.parametrize("path", [*PAGES, "/welcome", "/login"])
def test_nothing_in_these_pages_needs_a_looser_policy(hub: Hub, path: str) -> None:
    client: FlaskClient = hub.app.test_client() if path == "/login" else log_in(hub)
    answer = client.get(path)
    assert answer.status_code == 200
    assert re.search(r"script-src 'self' 'nonce-[\w-]+'", answer.headers["Content-Security-Policy"])
    for tag, attributes in Page(answer.text).tags:
        assert tag != "style"
        assert tag != "script" or attributes.get("src", "").startswith("/static/js/")
        assert not [name for name in attributes if name == "style" or name.startswith("on")], tag


@pytest.mark.parametrize("path", ["/admin/people/none", "/admin/people/%00", "/admin/people/" + "a" * 3000])
def test_nobody_is_not_found(hub: Hub, path: str) -> None:
    assert log_in(hub).get(path).status_code == 404


def test_one_s_own_language_is_remembered(hub: Hub) -> None:
    mina = person(hub)
    client = log_in_as(hub, mina)
    submit(client, "/account/language", language="ko")
    assert Page(client.get("/account").text).all("html", lang="ko")
    assert hub.services.people.get(mina.id) == Person(mina.id, "Mina", Role.OFFICER, language="ko")
    submit(client, "/account/language", language="tlh")
    assert hub.services.people.get(mina.id) == mina


def test_a_new_password_needs_the_old_one_and_ends_other_sessions(hub: Hub) -> None:
    mina, access = person(hub), hub.services.settings.access
    known = passwords.hash_password(PASSWORD, access)
    hub.writer.call(lambda recorder: keeping.set_entry(recorder, mina.id, "mina", known))
    here, elsewhere = log_in_as(hub, mina), log_in_as(hub, mina)
    for sent, wrong in (
        ({"current": "no", "password": ANOTHER}, "current"),
        ({"current": PASSWORD, "password": "short"}, "password"),  # pragma: allowlist secret
    ):
        answer = submit(here, "/account/password", **sent)
        assert answer.status_code == 422
        assert f'id="wrong-{wrong}"' in answer.text
    assert elsewhere.get("/api/v1/rooms").status_code == 200
    assert submit(here, "/account/password", current=PASSWORD, password=ANOTHER).status_code == 302
    assert here.get("/api/v1/rooms").status_code == 200
    assert elsewhere.get("/api/v1/rooms").status_code == 401
    account = hub.services.people.account(mina.id)
    assert account is not None
    assert passwords.check(ANOTHER, account.password_hash, access).right


def test_own_sessions_can_be_ended_and_only_own_ones(hub: Hub) -> None:
    mina, jun = person(hub), person(hub, "Jun")
    here, there, his = (log_in_as(hub, who) for who in (mina, mina, jun))
    others = re.findall(r'name="session" value="([0-9a-f]{64})"', here.get("/account").text)
    (theirs,) = re.findall(r'name="session" value="([0-9a-f]{64})"', there.get("/account").text)
    assert len(others) == 1
    submit(his, "/account/sessions", session=others[0])
    assert there.get("/api/v1/rooms").status_code == 200, "whoever knows the name of a session cannot end it"
    submit(here, "/account/sessions", session=others[0])
    assert there.get("/api/v1/rooms").status_code == 401
    third = log_in_as(hub, mina)
    submit(third, "/account/sessions", session="others")
    assert [one.get("/api/v1/rooms").status_code for one in (here, third, his)] == [401, 200, 200]
    assert theirs != others[0]


def test_the_audit_log_is_filtered_and_paged(hub: Hub) -> None:
    boss = log_in(hub)
    (admin,) = hub.services.people.all()

    def fill(recorder: object) -> None:
        for number in range(150):
            audit.note(recorder, admin if number % 2 else None, "policy.saved", f"p{number}", NASTY)  # type: ignore[arg-type]

    hub.writer.call(fill)
    first = boss.get("/admin/audit").text
    assert "p149" in first
    assert "p40 " not in first
    older = re.search(r'href="(/admin/audit\?[^"]*before=\d+[^"]*)"', first)
    assert older
    assert "p40" in boss.get(older[1].replace("&amp;", "&")).text
    logins = boss.get("/admin/audit?action=login").text
    assert "login.link" in logins
    assert "policy.saved" not in logins
    mine = boss.get(f"/admin/audit?person={admin.id}&action=policy").text
    assert "p149" in mine
    assert "p148" not in mine
    for query in ("before=x", "before=-1", "before=" + "9" * 40, "action='--", "person=%00"):
        assert boss.get(f"/admin/audit?{query}").status_code == 200


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_no_cell_of_the_audit_log_is_a_formula(hub: Hub, cell: str) -> None:
    boss = log_in(hub)
    hub.writer.call(lambda recorder: audit.note(recorder, None, "drill.started", cell, cell))
    rows = list(csv.reader(io.StringIO(boss.get("/admin/audit.csv?action=drill").text)))
    assert rows[0][:3] == ["at", "person", "action"]
    assert rows[1][3:5] == [f"'{cell}", f"'{cell}"]
    assert harmless("plain") == "plain"
