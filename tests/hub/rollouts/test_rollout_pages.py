"""The pages of rollouts, as a browser gets them before any script runs, before the real engine."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.hub.parts import birth, heartbeat, log_in, log_in_as, person, submit
from tests.integration.updating import signed_repository
from tests.shared.messages import WHEN
from tocsin_hub.i18n import catalogue
from tocsin_hub.people import audit
from tocsin_hub.people.model import Person, Role
from tocsin_hub.rollouts.settings import UpdateSettings
from tocsin_hub.root import Hub, build
from tocsin_hub.settings import HubSettings
from tocsin_hub.times import now_us
from tocsin_shared import codec
from tocsin_shared.events import NodeReported, SlotState, UpdateState
from tocsin_shared.topics import node_topic

EN = catalogue("en")
NODES = (("press-1", "hall"), ("press-2", "hall"), ("gate-1", "yard"), ("gate-2", "yard"))
FORM = {
    "bundle": "sentry 0.2.0",
    "kind-1": "node",
    "value-1": "press-1",
    "kind-2": "rest",
    "success": "100",
    "soak": "0",
    "errors": "1",
    "disagreement": "5",
    "drift": "50",
    "longest": "24",
    "back": "0.1.0",
    "two_persons": "yes",
    "do": "rehearse",
}


class Broker:
    """Keeps what is retained."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def publish_retained(self, topic: str, payload: bytes) -> None:
        self.kept[topic] = payload


def started(folder: Path, updates: UpdateSettings) -> Iterator[Hub]:
    made = build(HubSettings(state_folder=folder / "state", updates=updates))
    deaths: list[str] = []
    made.writer.start(made.ingest.settle, deaths.append)
    made.services.rooms.set_hearing(True, now_us() - 60_000_000)
    for node, zone in NODES:
        for kind, words in (
            ("birth", birth(node=node, zone=zone, room=f"Room {node}", at=WHEN)),
            ("hb", heartbeat(node=node, at=WHEN)),
        ):
            made.ingest.receive(node_topic(node, kind), codec.encode(words), False, None)
    made.writer.call(lambda _: None)
    yield made
    made.writer.stop()
    made.services.store.close()
    assert deaths == []


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> UpdateSettings:
    """A trust repository with three releases."""
    folder = tmp_path_factory.mktemp("ota")
    signed_repository(folder)
    return UpdateSettings(repository=folder / "updates", keys=folder / "hub-keys")


@pytest.fixture
def hub(tmp_path: Path, signed: UpdateSettings) -> Iterator[Hub]:
    """A hub with four rooms in two zones; its engine looks when a test says so."""
    for made in started(tmp_path, signed):
        made.services.rollouts._around.__dict__["broker"] = Broker()
        for node, _ in NODES:
            say(made, node)
        yield made


def say(hub: Hub, node: str, state: UpdateState = UpdateState.IDLE, **changes: Any) -> None:
    """A node reports on updates."""
    values: dict[str, Any] = {
        "node": node,
        "boot": "b1",
        "at": datetime.now(UTC),
        "enabled": True,
        "active": SlotState(bundle="sentry-0.1.0+full-int8"),
        "state": state,
    }
    hub.services.rollouts.on_report(NodeReported(**(values | changes)))


def words_of(client: FlaskClient, path: str, status: int = 200) -> str:
    """What a page says, without its markup."""
    answer = client.get(path)
    assert answer.status_code == status, answer.text
    main = answer.text[answer.text.index("<main") : answer.text.index("</main>")]
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", main)))


def made(client: FlaskClient, **changes: str) -> str:
    """Path of a rollout that was made by the form: rehearsed first, then saved."""
    rehearsed = submit(client, "/rollouts/new", **(FORM | changes))
    assert rehearsed.status_code == 200, rehearsed.text
    found = re.search(r'name="rehearsed" value="(\w+)"', rehearsed.text)
    assert found
    saved = submit(client, "/rollouts/new", **(FORM | changes | {"rehearsed": found[1], "do": "save"}))
    assert saved.status_code == 303, saved.text
    return str(saved.location)


def admin(hub: Hub, name: str = "Bo", **fields: Any) -> Person:
    return person(hub, name, role=Role.ADMIN, **fields)


def test_a_rollout_is_rehearsed_made_approved_by_another_and_carried_out(hub: Hub) -> None:
    ann, bo = log_in(hub), log_in_as(hub, admin(hub))
    path = made(ann)
    text = words_of(ann, path)
    assert EN.t("rollout_state.awaiting_approval") in text
    assert EN.t("rollout.not_own") in text
    assert "Room press-1" in text
    assert submit(ann, f"{path}/approve").status_code == 409
    assert EN.t("rollout_does.approve") in words_of(bo, path)
    for action in ("approve", "start"):
        assert submit(bo, f"{path}/{action}").location.startswith(path)
    hub.services.rollouts.look()
    assert EN.t("rollout_node.offered") in words_of(ann, path)

    say(hub, "press-1", UpdateState.DOWNLOADING, seq=1, bytes_done=1_000_000, bytes_total=4_000_000)
    hub.services.rollouts.look()
    assert "Downloads · 1.0 of 4.0 MB" in words_of(ann, path)

    detail = "hears engine in smoke_alarm.wav"
    say(hub, "press-1", UpdateState.FAILED, seq=1, step="golden", error="E_GOLDEN", detail=detail)
    hub.services.rollouts.look()
    text = words_of(ann, path)
    assert "It did not hear its sample “Fire alarm (smoke detector)”: it took it for “Engine”." in text
    assert "too many rooms (1 of 1 rooms that came to an end)." in text
    assert EN.t("rollout_does.resume_errors") in text
    assert EN.t("rollout_action.pause") + " …" not in text
    assert "E_GOLDEN" not in text
    assert "화재 경보기" in ann.get(f"{path}?lang=ko").text or "화재 경보" in ann.get(f"{path}?lang=ko").text
    listed = words_of(ann, "/rollouts?lang=en")
    assert "sentry 0.2.0" in listed
    assert "too many rooms" in listed
    actions = {line.action for line in audit.lines(hub.services.store, None, 50, "rollout")}
    assert actions == {"rollout.created", "rollout.approve", "rollout.start"}


def test_nothing_is_saved_that_was_not_rehearsed_as_it_is(hub: Hub) -> None:
    ann = log_in(hub)
    for sent in ({"rehearsed": "0" * 16}, {}):
        answer = submit(ann, "/rollouts/new", **{**FORM, **sent, "do": "save"})
        assert answer.status_code == 200
        assert EN.t("rollout.outcome_changed") in answer.text
    assert hub.services.rollouts.newest() == []


def test_a_rehearsal_tells_what_goes_wrong(hub: Hub) -> None:
    ann = log_in(hub)
    good = submit(ann, "/rollouts/new", **FORM).text
    assert "Every room would take it." in good
    bad = unescape(submit(ann, "/rollouts/new", **{**FORM, "fault": "permuted_labels"}).text)
    assert "It would stop by itself" in bad
    assert EN.t("rollout_why.E_GOLDEN") in bad
    held = unescape(submit(ann, "/rollouts/new", **{**FORM, "fault": "alarm"}).text)
    assert EN.t("rollout_pause.safety_hold") in held
    assert hub.services.rollouts.newest() == []


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"bundle": "sentry 9"}, "release"),
        ({"kind-1": "", "kind-2": ""}, "rings"),
        ({"value-1": "nobody"}, "plan"),
        ({"kind-2": ""}, "plan"),
        ({"errors": "0"}, "errors"),
        ({"soak": "soon"}, "figures"),
        ({"begin": "1999-01-01T00:00"}, "begin"),
        ({"back": "0.2.0"}, "back"),
    ],
)
def test_a_wrong_field_is_named_and_nothing_typed_is_lost(
    hub: Hub, changes: dict[str, str], fault: str
) -> None:
    answer = submit(log_in(hub), "/rollouts/new", **(FORM | {"longest": "77"} | changes))
    assert answer.status_code == 400
    assert EN.t(f"rollout_error.{fault}") in unescape(answer.text)
    assert 'value="77"' in answer.text


def test_officers_look_admins_of_the_whole_site_decide_workers_do_neither(hub: Hub) -> None:
    path = made(log_in(hub))
    officer = log_in_as(hub, person(hub, "O"))
    zoned = log_in_as(hub, admin(hub, "Z", zones=frozenset({"hall"})))
    worker = log_in_as(hub, person(hub, "W", role=Role.WORKER))
    assert EN.t("rollout.only_admins") in words_of(officer, path)
    for client in (officer, zoned, worker):
        assert client.get("/rollouts/new").status_code == 403
        assert submit(client, "/rollouts/new", **FORM).status_code == 403
        assert submit(client, f"{path}/approve").status_code == 403
    assert worker.get(path).status_code == worker.get("/rollouts").status_code == 403
    seen = words_of(zoned, path)
    assert "Room press-1" in seen
    assert "Room gate-1" not in seen
    elsewhere = log_in_as(hub, person(hub, "E", zones=frozenset({"moon"})))
    assert "sentry" not in words_of(elsewhere, "/rollouts")
    assert "sentry" in words_of(officer, "/rollouts")


def test_what_is_not_there_is_not_found(hub: Hub) -> None:
    ann = log_in(hub)
    for path in ("/rollouts/01ARZ3NDEKTSV4RRFFQ69G5FAV", "/rollouts/moon"):
        assert ann.get(path).status_code == 404
    path = made(ann)
    assert submit(ann, f"{path}/supersede").status_code == 404
    assert submit(ann, f"{path}/resume").status_code == 409
    assert EN.t("rollout.refused") in submit(ann, f"{path}/resume").text


def test_a_hub_without_updates_says_so(tmp_path: Path) -> None:
    for made_hub in started(tmp_path, UpdateSettings()):
        ann = log_in(made_hub)
        assert EN.t("rollout.off") in words_of(ann, "/rollouts")
        assert EN.t("rollout.off") in words_of(ann, "/rollouts/new")
        assert submit(ann, "/rollouts/new", **FORM).status_code == 200
