"""Rooms that are given up: fault 87, retained junk and ghost nodes."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from tests.hub.databases import named_in_toml
from tests.hub.parts import (
    START_US,
    Line,
    birth,
    conn,
    form_token,
    heartbeat,
    log_in_as,
    person,
    submit,
    troubles,
)
from tests.shared.messages import sound
from tocsin_hub import cli
from tocsin_hub.forgetting import Forgetting, NoRoomError, StillHeardError, check, retired
from tocsin_hub.incidents.model import HubTrouble
from tocsin_hub.people.model import Role
from tocsin_hub.rooms import Hearing, NodeRecord, Rooms, RoomState
from tocsin_hub.root import Hub
from tocsin_shared import codec
from tocsin_shared.errors import BadInputError
from tocsin_shared.events import NodeBorn, Presence
from tocsin_shared.topics import node_topic

RETAINED = ["conn", "troubles", "state", "cmd/desired"]


@dataclass
class KeepingBroker:
    """Notes what it is to let go of, while it is there."""

    there: bool = True
    cleared: list[str] = field(default_factory=list)

    def clear(self, topics: Iterable[str]) -> bool:
        self.cleared += topics if self.there else ()
        return self.there


@dataclass
class Site:
    """A line, and what forgets its rooms."""

    line: Line
    broker: KeepingBroker
    forgetting: Forgetting

    @property
    def rooms(self) -> list[str]:
        return [record.node for record in self.line.rooms.all()]

    def tick(self) -> None:
        self.line.settle()
        self.forgetting.tick()
        self.line.settle()

    def give_up(self, node: str = "press-1") -> None:
        self.line.settle()
        self.forgetting.give_up(node, lambda _: None)
        self.line.settle()

    def gone(self) -> None:
        """The node was heard, has a trouble, and then its power is cut."""
        self.line.send("birth", birth())
        self.line.send("hb", heartbeat())
        self.line.send("troubles", troubles("mic_absent"))
        self.line.hear(sound())
        self.line.send("conn", conn(Presence.OFFLINE))
        self.line.settle()


@pytest.fixture
def site(line: Line) -> Site:
    broker = KeepingBroker()
    made = Forgetting(
        store=line.store, rooms=line.rooms, writer=line.writer, broker=broker, clock=lambda: line.now_us
    )
    return Site(line, broker, made)


def saved(site: Site) -> list[str]:
    return [record.node for record in site.line.store.nodes()]


def troubled(site: Site) -> list[str]:
    """Troubles of the node that last."""
    site.line.settle()
    rows = site.line.store.rows(
        "SELECT grouping FROM incidents WHERE origin_node = 'press-1' AND kind = 'trouble' "
        "AND cleared_us IS NULL ORDER BY grouping"
    )
    return [grouping for (grouping,) in rows]


def test_87_a_room_is_forgotten_with_its_troubles_and_its_sounds_stay(site: Site) -> None:
    """On the disk and in memory; what the broker kept of the node is cleared."""
    site.gone()
    site.line.pass_time(400)
    assert troubled(site) == ["mic_absent", HubTrouble.NODE_SILENT]
    site.give_up()
    assert site.rooms == saved(site) == []
    assert troubled(site) == []
    assert site.line.store.open_troubles("press-1") == ()
    assert site.line.store.event_count() == 1
    assert site.broker.cleared == [f"tocsin/v1/n/press-1/{kind}" for kind in RETAINED]


def test_87_what_the_broker_still_keeps_makes_no_room_of_a_retired_node(site: Site) -> None:
    """Nor does a last will, nor an empty message with which something was cleared, nor garbage."""
    site.gone()
    site.give_up()
    for kind, message in (
        ("conn", conn(Presence.ONLINE)),
        ("troubles", troubles("mic_absent")),
        ("birth", birth()),
    ):
        site.line.send_raw(node_topic("press-1", kind), codec.encode(message), retained=True)
    site.line.send("conn", conn(Presence.OFFLINE))
    for kind in ("conn", "troubles", "state", "birth"):
        site.line.send_raw(node_topic("press-1", kind), b"")
    site.line.send("hb", b"garbage")
    site.tick()
    assert site.rooms == saved(site) == []
    site.line.pass_time(400)
    assert troubled(site) == []


@pytest.mark.parametrize(
    ("kind", "message"), [("birth", birth()), ("hb", heartbeat()), ("troubles", troubles("mic_absent"))]
)
def test_a_retired_node_that_speaks_is_a_room_again(site: Site, kind: str, message: NodeBorn) -> None:
    """And stays one in the next process."""
    site.gone()
    site.give_up()
    site.line.send(kind, message)
    site.tick()
    assert site.rooms == saved(site) == ["press-1"]
    assert retired(site.line.store) == frozenset()


def test_a_sound_of_a_retired_node_is_stored_and_its_room_is_back(site: Site) -> None:
    """No sound is lost for the sake of a tidy list."""
    site.line.send("birth", birth())
    site.line.send("conn", conn(Presence.OFFLINE))
    site.give_up()
    site.line.hear(sound())
    site.tick()
    assert site.line.store.event_count() == 1
    assert [ref.id for ref in site.line.broker.refs()] == [sound().id]
    assert site.rooms == ["press-1"]


def test_a_node_that_is_heard_is_not_forgotten(site: Site) -> None:
    """It would be back at once, and somebody might have meant another room."""
    site.line.send("birth", birth())
    site.line.send("hb", heartbeat())
    with pytest.raises(StillHeardError, match="press-1 is still heard; stop it or retire"):
        site.give_up()
    with pytest.raises(NoRoomError, match="no room of a node 'press-7'; there are: press-1"):
        site.give_up("press-7")
    assert site.rooms == ["press-1"]


def test_a_node_that_is_silent_for_long_enough_may_be_forgotten_without_a_last_will(site: Site) -> None:
    """A broker that was restarted has lost it."""
    record = NodeRecord("press-1", since_us=0, state=RoomState.LISTENING, last_seen_us=START_US)
    with pytest.raises(StillHeardError):
        check([record], "press-1", START_US + 30_000_000)
    check([record], "press-1", START_US + 40_000_000)


def test_what_the_broker_keeps_is_cleared_once_it_is_there_again(site: Site) -> None:
    """The room is gone meanwhile."""
    site.gone()
    site.broker.there = False
    site.give_up()
    assert site.rooms == []
    site.tick()
    assert site.broker.cleared == []
    site.broker.there = True
    site.tick()
    site.tick()
    assert len(site.broker.cleared) == len(RETAINED)


def test_a_note_of_another_process_is_found_and_one_from_before_the_start_is_carried_out(
    site: Site, tmp_path: Path
) -> None:
    """The command line writes beside a running hub, or before one starts."""
    site.gone()
    config = tmp_path / "hub.toml"
    config.write_text(named_in_toml(site.line.store.path), encoding="utf-8")
    assert cli.main(["forget", "press-1", "--config", str(config)]) == 0
    started = Rooms(site.line.store.nodes(), Hearing(True, 0), retired(site.line.store))
    assert started.all() == []
    assert site.rooms == ["press-1"]
    site.tick()
    assert site.rooms == saved(site) == []


def test_the_command_says_what_it_did_and_what_is_wrong(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A name with a slip, a room that is heard, and a second time."""
    config = tmp_path / "hub.toml"
    config.write_text(named_in_toml(site.line.store.path), encoding="utf-8")
    site.gone()
    with pytest.raises(BadInputError, match="no room of a node 'pres-1'; there are: press-1"):
        cli.main(["forget", "pres-1", "--config", str(config)])
    assert cli.main(["forget", "press-1", "--config", str(config)]) == 0
    assert "The room of press-1 is forgotten" in capsys.readouterr().out
    assert cli.main(["forget", "press-1", "--config", str(config)]) == 0
    assert capsys.readouterr().out == "The room of press-1 is forgotten already.\n"
    ((action, address),) = site.line.store.rows("SELECT action, address FROM audit")
    assert (action, address) == ("room.forgotten", "cli")


def test_a_full_list_of_nodes_has_room_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids that somebody made up can be cleared away."""
    monkeypatch.setattr("tocsin_hub.ingest.MAX_NODES", 1)
    site.gone()
    site.line.send("birth", birth(node="press-2"), node="press-2")
    site.give_up()
    site.line.send("birth", birth(node="press-2"), node="press-2")
    assert site.rooms == ["press-2"]


@pytest.fixture
def gone(hub: Hub) -> Hub:
    """A hub with a room that is gone."""
    for kind, message in (("birth", birth()), ("conn", conn(Presence.OFFLINE))):
        hub.ingest.receive(node_topic("press-1", kind), codec.encode(message), False, None)
    return hub


def rooms(client: FlaskClient) -> list[str]:
    answer = client.get("/api/v1/rooms")
    return [room["node"] for room in answer.get_json()["rooms"]]


def test_an_admin_forgets_a_room_over_the_api(gone: Hub, client: FlaskClient) -> None:
    """Once, and it is in the audit log; to people of other zones there is no such room."""
    mine = log_in_as(gone, person(gone, "Other", role=Role.ADMIN, zones=frozenset({"hall-2"})))
    token = {"X-CSRF-Token": form_token(mine)}
    assert mine.delete("/api/v1/rooms/press-1", headers=token).status_code == 404
    officer = log_in_as(gone, person(gone, "Officer", role=Role.OFFICER))
    refused = officer.delete("/api/v1/rooms/press-1", headers={"X-CSRF-Token": form_token(officer)})
    assert (refused.status_code, rooms(client)) == (403, ["press-1"])
    token = {"X-CSRF-Token": form_token(client)}
    done = client.delete("/api/v1/rooms/press-1", headers=token)
    assert (done.status_code, done.get_json(), rooms(client)) == (200, {"node": "press-1"}, [])
    assert client.delete("/api/v1/rooms/press-1", headers=token).status_code == 404
    assert gone.services.store.rows("SELECT action, subject FROM audit WHERE action LIKE 'room%'") == [
        ("room.forgotten", "press-1")
    ]


def test_a_room_that_is_heard_is_refused_with_what_to_do(hub: Hub, client: FlaskClient) -> None:
    """By the API and by the page."""
    hub.ingest.receive(node_topic("press-1", "birth"), codec.encode(birth()), False, None)
    answer = client.delete("/api/v1/rooms/press-1", headers={"X-CSRF-Token": form_token(client)})
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (409, "still_heard")
    assert "retire its certificate first" in answer.get_json()["error"]["message"]
    shown = submit(client, "/plan/rooms/press-1/forget", "/plan/rooms/press-1/forget")
    assert shown.status_code == 409
    assert "The room is heard right now" in shown.text
    assert rooms(client) == ["press-1"]


def test_a_page_asks_before_a_room_is_forgotten(gone: Hub, client: FlaskClient) -> None:
    """Without any script; the list of rooms that are not heard leads to it."""
    assert 'href="/plan/rooms/press-1/forget"' in client.get("/plan/edit").text
    asked = client.get("/plan/rooms/press-1/forget")
    assert "Forget Press shop?" in asked.text
    assert rooms(client) == ["press-1"], "a question changes nothing"
    done = submit(client, "/plan/rooms/press-1/forget", "/plan/rooms/press-1/forget")
    assert done.status_code == 302
    assert "Press shop is forgotten." in client.get(done.headers["Location"]).text
    assert rooms(client) == []
    assert client.get("/plan/rooms/press-1/forget").status_code == 404
