"""Rollouts over HTTP: who may, what is refused, and bundles that are uploaded."""

import base64
import hashlib
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from flask.testing import FlaskClient

from tests.hub.parts import log_in_as, person, ulid
from tests.hub.rollouts.conftest import Air
from tests.node.update.world import SHIPPED, real_bundle
from tocsin_hub.people.model import Role
from tocsin_shared.trust.bundles import MANIFEST, REFERENCE, Notes, pack
from tocsin_shared.trust.repository import Repository, add_bundle

WANTED = {"name": "sentry", "release": "0.3.0", "rings": ["1", "rest"]}


def admin(air: Air, name: str = "Ada", **fields: Any) -> FlaskClient:
    return log_in_as(air.hub, person(air.hub, name, **{"role": Role.ADMIN, **fields}))


def site(air: Air) -> None:
    air.bundle()
    for name, zone in (("press-1", "hall-1"), ("press-2", "hall-1"), ("dock-1", "hall-2")):
        air.node(name, zone)


def test_from_the_plan_to_the_end_by_two_admins(air: Air) -> None:
    site(air)
    ada, bo = admin(air), admin(air, "Bo")
    made = ada.post("/api/v1/rollouts", json=WANTED)
    assert made.status_code == 201, made.text
    rollout = made.get_json()["id"]
    path = f"/api/v1/rollouts/{rollout}"
    assert ada.post(f"{path}/approve", json={}).status_code == 409
    assert bo.post(f"{path}/approve", json={}).get_json()["state"] == "scheduled"
    assert bo.post(f"{path}/approve", json={}).status_code == 409
    assert ada.post(f"{path}/start", json={}).get_json()["state"] == "running"
    air.look()
    shown = ada.get(path).get_json()
    assert [len(ring["nodes"]) for ring in shown["rings"]] == [1, 2]
    assert shown["rings"][0]["nodes"][0]["state"] == "offered"
    assert ada.post(f"{path}/pause", json={}).get_json()["reason"] == "manual"
    assert ada.post(f"{path}/resume", json={}).get_json()["state"] == "running"
    assert ada.post(f"{path}/rollback", json={}).status_code == 409, "it names nothing to go back to"
    assert ada.post(f"{path}/abort", json={}).get_json()["course"] == "aborting"
    told = [line["code"] for line in ada.get(f"{path}/log").get_json()["log"]]
    assert told[:4] == ["created", "submit", "refused", "approve"]
    assert ada.get("/api/v1/rollouts").get_json()["rollouts"][0]["id"] == rollout
    assert ada.get("/api/v1/bundles").get_json()["bundles"][0]["release"] == "0.3.0"
    assert ada.get(f"/api/v1/rollouts/{ulid(99)}").status_code == 404


def test_officers_see_and_do_nothing_and_workers_do_not_even_see(air: Air) -> None:
    site(air)
    made = admin(air).post("/api/v1/rollouts", json=WANTED).get_json()["id"]
    officer = admin(air, "Olga", role=Role.OFFICER)
    worker = admin(air, "Will", role=Role.WORKER)
    assert officer.get(f"/api/v1/rollouts/{made}").status_code == 200
    assert worker.get("/api/v1/rollouts").status_code == 403
    for path, body in (
        (f"rollouts/{made}/approve", {}),
        ("rollouts", WANTED),
        ("rollouts/rehearse", {"rollout": WANTED}),
        ("bundles", {"metadata": "{}", "archives": ["eA=="]}),
    ):
        assert officer.post(f"/api/v1/{path}", json=body).status_code == 403, path
        some = admin(air, f"Some of {path}", zones=frozenset({"hall-1"}))
        assert some.post(f"/api/v1/{path}", json=body).status_code == 403, path


def test_an_officer_of_one_zone_sees_the_nodes_of_that_zone(air: Air) -> None:
    site(air)
    made = (
        admin(air).post("/api/v1/rollouts", json=WANTED | {"rings": ["zone:hall-2", "rest"]}).get_json()["id"]
    )
    officer = admin(air, "Olga", role=Role.OFFICER, zones=frozenset({"hall-1"}))
    shown = officer.get(f"/api/v1/rollouts/{made}")
    assert {one["node"] for ring in shown.get_json()["rings"] for one in ring["nodes"]} == {
        "press-1",
        "press-2",
    }
    assert "hall-2" not in shown.text
    assert "dock-1" not in shown.text


def test_what_cannot_be_planned_is_refused_in_words(air: Air) -> None:
    site(air)
    ada = admin(air)
    for change, words in (
        ({"release": "7.7.7"}, "no bundle sentry 7.7.7"),
        ({"starts": "tomorrow"}, "starts: must be"),
        ({"lone_zones": ["hall-7"]}, "'hall-7' is not there"),
        ({"gate": {"errors": "0"}}, "errors are 3"),
    ):
        answer = ada.post("/api/v1/rollouts", json=WANTED | change)
        assert answer.status_code == 400, change
        assert words in answer.get_json()["error"]["message"]


def test_a_rehearsal_tells_how_it_would_end(air: Air) -> None:
    site(air)
    ada = admin(air)
    # press-1 and press-2 share a hall; dock-1 is alone in its own, so somebody has to allow it.
    wanted = WANTED | {"lone_zones": ["hall-2"]}
    assert ada.post("/api/v1/rollouts/rehearse", json={"rollout": wanted}).get_json()["status"] == "succeeded"
    bad = {"rollout": wanted, "faults": [{"fault": "nan", "nodes": ["zone:hall-1"]}]}
    answer = ada.post("/api/v1/rollouts/rehearse", json=bad).get_json()
    assert (answer["status"], answer["pause"]) == ("paused", "error_threshold")
    assert ada.get("/api/v1/rollouts").get_json()["rollouts"] == []


# -- what engineers have signed elsewhere --------------------------------------------------------------


class Copy:
    """An engineer's copy of the repository."""

    def __init__(self, air: Air) -> None:
        self.air = air
        shutil.copytree(air.folder / "updates", air.folder / "copy")
        self.repository = Repository(air.folder / "copy")

    def signed(
        self, files: dict[str, bytes], *, release: str = SHIPPED, variant: str = "float16"
    ) -> dict[str, Any]:
        """The body of an upload of ``files``."""
        archive = pack(files)
        notes = Notes(name="sentry", release=release, variant=variant, floor="0.1.0")
        add_bundle(self.repository, archive, notes, [self.air.models], datetime.now(UTC))
        return {"metadata": self.metadata(), "archives": [base64.b64encode(archive).decode()]}

    def metadata(self) -> str:
        version = self.repository.role("models").signed.version
        return (self.repository.metadata / f"{version}.models.json").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return real_bundle("float16")


def refused(air: Air, body: dict[str, Any], status: int = 400) -> str:
    """The words with which an upload is refused; nothing of it is kept."""
    before = sorted(path.name for path in (air.folder / "updates").rglob("*"))
    answer = admin(air).post("/api/v1/bundles", json=body)
    assert answer.status_code == status, answer.text
    assert sorted(path.name for path in (air.folder / "updates").rglob("*")) == before
    return str(answer.get_json()["error"]["message"])


@pytest.mark.slow
def test_a_bundle_that_is_well_is_taken_heard_and_offered(air: Air, files: dict[str, bytes]) -> None:
    body = Copy(air).signed(files)
    answer = admin(air).post("/api/v1/bundles", json=body)
    assert answer.status_code == 201, answer.text
    assert answer.get_json()["taken"] == [f"models/sentry/{SHIPPED}-float16.tar"]
    air.look()
    (offered,) = air.hub.services.rollouts.bundles()
    assert offered.variants[0].sha256 == hashlib.sha256(base64.b64decode(body["archives"][0])).hexdigest()
    snapshot = air.repository.role("snapshot").signed
    assert snapshot.meta["models.json"].version == air.repository.role("models").signed.version
    path = f"/updates/targets/models/sentry/{offered.variants[0].sha256}.{SHIPPED}-float16.tar"
    with air.hub.app.test_client().get(path) as sent:
        assert sent.data == base64.b64decode(body["archives"][0])


@pytest.mark.slow
def test_one_whose_clips_are_misheard_is_refused(air: Air, files: dict[str, bytes]) -> None:
    """A child process listens; what it says is the answer."""
    manifest = msgspec.json.decode(files[MANIFEST])
    manifest["labels"] = [*manifest["labels"][1:], manifest["labels"][0]]
    words = refused(air, Copy(air).signed(files | {MANIFEST: msgspec.json.encode(manifest)}))
    assert "float16 hears" in words


@pytest.mark.slow
def test_one_that_is_not_heard_as_its_signer_heard_it_is_refused(air: Air, files: dict[str, bytes]) -> None:
    references = msgspec.json.decode(files[REFERENCE])
    references[3]["scores"] = [min(1.0, 0.7 * one) for one in references[3]["scores"]]
    words = refused(air, Copy(air).signed(files | {REFERENCE: msgspec.json.encode(references)}))
    assert "otherwise than when it was signed" in words


def test_papers_that_do_not_agree_are_refused(air: Air, files: dict[str, bytes]) -> None:
    copy = Copy(air)
    assert f"it holds sentry {SHIPPED} float16" in refused(air, copy.signed(files, release="0.9.0"))


@pytest.mark.parametrize("missing", [MANIFEST, REFERENCE])
def test_a_part_that_is_missing_is_named(air: Air, files: dict[str, bytes], missing: str) -> None:
    left = {name: content for name, content in files.items() if name != missing}
    assert missing in refused(air, Copy(air).signed(left))


def test_another_signer_is_refused(air: Air, files: dict[str, bytes], tmp_path: Path) -> None:
    stranger = Air(tmp_path / "elsewhere")
    body = Copy(stranger).signed(files)
    stranger.hub.stop()
    assert "may not sign this" in refused(air, body)


def test_an_archive_that_was_not_sent_or_that_nobody_signed_is_refused(
    air: Air, files: dict[str, bytes]
) -> None:
    body = Copy(air).signed(files)
    other = base64.b64encode(b"something else").decode()
    assert "was not sent" in refused(air, body | {"archives": [other]})
    assert "signed by nothing" in refused(air, body | {"archives": [*body["archives"], other]})
    assert "not Base64" in refused(air, body | {"archives": ["%%%"]})
    assert "not signed metadata" in refused(air, body | {"metadata": "{}"})


def test_metadata_that_is_not_newer_is_refused(air: Air, files: dict[str, bytes]) -> None:
    old = Copy(air)
    air.bundle("0.4.0")
    air.bundle("0.5.0", content=b"z")
    assert "there is 3 already" in refused(air, old.signed(files))


def test_without_updates_nothing_is_taken(hub: Any) -> None:
    client = log_in_as(hub, person(hub, "Ada", role=Role.ADMIN))
    assert client.post("/api/v1/bundles", json={"metadata": "{}", "archives": ["eA=="]}).status_code == 409
    assert client.post("/api/v1/rollouts", json=WANTED).status_code == 409
    assert client.get("/updates/metadata/1.root.json").status_code == 404
