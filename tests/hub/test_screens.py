"""Menu, themes, drills, the plan's forms and the export, as a browser gets them before any script runs."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from tests.hub.parts import birth, feed, form_token, log_in, log_in_as, person, submit, ulid
from tests.hub.test_plan import png
from tests.shared.messages import sound
from tocsin_hub.i18n import catalogue
from tocsin_hub.people.model import Role
from tocsin_hub.plan.image import MOST_BYTES
from tocsin_hub.plan.keeping import read_plan
from tocsin_hub.root import Hub, build
from tocsin_hub.settings import HubSettings
from tocsin_shared import codec
from tocsin_shared.topics import node_topic


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """A hub that knows two rooms in two zones."""
    made = build(HubSettings(state_folder=tmp_path / "state"))
    deaths: list[str] = []
    made.writer.start(made.ingest.settle, deaths.append)
    for node, zone, room in (("press-1", "hall-1", "Press shop"), ("gate", "yard", "=SUM(A1)")):
        message = codec.encode(birth(node=node, zone=zone, room=room))
        made.ingest.receive(node_topic(node, "birth"), message, False, None)
    made.writer.call(lambda _: None)
    yield made
    made.writer.stop()
    made.services.store.close()
    assert deaths == []


def menu(client: FlaskClient, path: str = "/account") -> set[str]:
    """Where the menu of a page leads."""
    text = client.get(path).text
    bar = text[text.index("<nav") : text.index("</nav>")]
    return set(re.findall(r'href="(/[^"?]*)"', bar))


def test_the_menu_offers_what_a_role_may_open(hub: Hub) -> None:
    worker = menu(log_in_as(hub, person(hub, "W", role=Role.WORKER)))
    officer = menu(log_in_as(hub, person(hub, "O")))
    admin = menu(log_in(hub))
    assert not {"/", "/history", "/plan", "/drill", "/admin/people"} & worker
    assert {"/", "/history", "/plan", "/drill"} <= officer
    assert "/admin/people" not in officer
    assert {"/", "/history", "/plan", "/drill", "/admin/people"} <= admin
    assert not {"/", "/history", "/plan"} & menu(hub.app.test_client(), "/signed-out")


def test_whatever_the_menu_offers_can_be_opened(hub: Hub) -> None:
    for role in Role:
        for zones in (frozenset[str](), frozenset({"hall-1"})):
            client = log_in_as(hub, person(hub, f"{role} {len(zones)}", role=role, zones=zones))
            answers = {path: client.get(path).status_code for path in menu(client)}
            assert set(answers.values()) == {200}, (role, zones, answers)


def test_a_theme_is_remembered_and_a_made_up_one_is_not(hub: Hub) -> None:
    client = log_in(hub)

    def media() -> str:
        found = re.search(r'dark\.css" media="([^"]+)"', client.get("/history").text)
        assert found
        return found[1]

    assert media() == "(prefers-color-scheme: dark)"
    for theme, expected in (("dark", "all"), ("pink", "all"), ("light", "not all")):
        client.get("/history", query_string={"theme": theme})
        assert media() == expected


def multipart(token: str, picture: bytes) -> tuple[bytes, str]:
    """A form with a file, and what it is called on the wire."""
    part = b'--x\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
    parts = part % (b"csrf_token", b"", token.encode()) + part % (b"picture", b'; filename="a.png"', picture)
    return parts + b"--x--\r\n", "multipart/form-data; boundary=x"


def banner(client: FlaskClient) -> str:
    """What a page says of drills."""
    found = re.search(r"<span data-words>([^<]*)</span>", client.get("/history").text)
    assert found
    return found[1]


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"minutes": "10"}, "confirm"),
        ({"minutes": "0", "confirmed": "1"}, "minutes"),
        ({"minutes": "241", "confirmed": "1"}, "minutes"),
        ({"minutes": "ten", "confirmed": "1"}, "minutes"),
        ({"minutes": "10", "confirmed": "1", "note": "x" * 201}, "note"),
        ({"minutes": "10", "confirmed": "1", "zone": "moon"}, "zones"),
    ],
)
def test_a_drill_with_a_wrong_field_is_not_started(hub: Hub, fields: dict[str, str], error: str) -> None:
    answer = submit(log_in(hub), "/drill", **fields)
    assert answer.status_code == 400
    assert catalogue("en").t(f"drill_error.{error}") in answer.text
    assert hub.services.incidents.drills() == ()


def test_a_drill_is_seen_as_far_as_its_zones_are(hub: Hub) -> None:
    admin = log_in(hub)
    assert submit(admin, "/drill", minutes="10", confirmed="1").status_code == 302
    mine = log_in_as(hub, person(hub, "H", zones=frozenset({"hall-1"})))
    submit(admin, "/drill", minutes="10", confirmed="1", zone=["yard"])
    assert "This is a drill in yard." in banner(admin)
    assert "yard" not in mine.get("/drill").text
    drills = hub.services.incidents.drills()
    assert [drill.zones for drill in drills] == [{"yard"}, set()]
    for drill in drills:
        submit(mine, f"/drill/{drill.id}/end")
    assert all(drill.ends_us > hub.services.clock() for drill in hub.services.incidents.drills())
    for drill in drills:
        submit(admin, f"/drill/{drill.id}/end")
    assert banner(admin) == ""


def test_the_export_holds_what_the_reader_may_see_and_nothing_is_computed(hub: Hub) -> None:
    feed(hub, sound(), sound(id=ulid(7), node="gate", zone="yard", seq=7))
    everything = log_in(hub).get("/history.csv").data.decode("utf-8-sig")
    mine = log_in_as(hub, person(hub, "H", zones=frozenset({"hall-1"}))).get("/history.csv").text
    assert "'=SUM(A1)" in everything
    assert len(everything.splitlines()) == 3
    assert len(mine.splitlines()) == 2
    assert "yard" not in mine


def test_only_admins_draw_and_what_is_too_large_is_refused(hub: Hub) -> None:
    admin, officer = log_in(hub), log_in_as(hub, person(hub, "O"))
    assert officer.get("/plan").status_code == 200
    assert officer.get("/plan/edit").status_code == 403
    for client, data, status in (
        (officer, png(640, 400), 403),
        (admin, png(60_000, 60_000), 400),
        (admin, b"\x89PNG\r\n\x1a\n" + b"\0" * MOST_BYTES, 400),
        (admin, b"\0" * (MOST_BYTES + 2**20), 413),
        (admin, png(640, 400), 302),
    ):
        body, kind = multipart(form_token(client), data)
        assert client.post("/plan/picture", data=body, content_type=kind).status_code == status
    address = re.search(r"/plan/picture/\w{64}", admin.get("/plan/edit").text)
    assert address
    assert officer.get(address[0]).data == png(640, 400)
    assert hub.app.test_client().get(address[0]).status_code == 302
    assert officer.get(f"/plan/picture/{'0' * 64}").status_code == 404


def test_an_admin_of_some_zones_leaves_the_rooms_of_others_where_they_are(hub: Hub) -> None:
    box = {"x": "10", "y": "10", "width": "50", "height": "50"}
    everything = {f"{name}.{node}": value for node in ("press-1", "gate") for name, value in box.items()}
    admin = log_in(hub)
    assert submit(admin, "/plan/rooms", **everything).status_code == 302
    zoned = log_in_as(hub, person(hub, "Z", role=Role.ADMIN, zones=frozenset({"hall-1"})))
    assert "gate" not in zoned.get("/plan/edit").text
    assert submit(zoned, "/plan/rooms", **{"x.gate": "99"}).status_code == 302
    assert [room.node for room in read_plan(hub.services.store).rooms] == ["gate"]
