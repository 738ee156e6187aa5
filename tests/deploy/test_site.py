"""A site from nothing, on three machines with a systemd each: the story of an administrator.

The tests stand in the order in which they happen, and each begins where the one before it ended.
"""

import re
import shutil
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.containers import wait_until
from tests.deploy.site import ANSIBLE, TOOLS, SiteOfContainers, ansible_environment
from tocsin_hub.demo.broker import free_port

pytestmark = [pytest.mark.deploy, pytest.mark.slow, pytest.mark.timeout(1200)]
_EVENT = re.compile(r"event seq=\d+ id=(\w+) ")


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"pki_passphrase": "short"}, "pki_passphrase must have at least 12 characters"),
    ({"tocsin_wheel": "/nowhere/tocsin-1-py3-none-any.whl"}, "tocsin_wheel: /nowhere"),
    ({"broker_name": "no name"}, "broker_name must be"),
    ({"node_id": "Press 1"}, "node_id (Press 1) must be"),
    ({"node_id": "press-1"}, "node_id: two machines of the group nodes have one name"),
    ({"node_zone": "Halle 1"}, "node_zone (Halle 1)"),
    ({"preflight_free_megabytes": 100_000_000}, "preflight_free_megabytes"),
    ({"preflight_free_megabytes": "many"}, "preflight_free_megabytes"),
]


@pytest.mark.parametrize(
    ("wrong", "said"), WRONG, ids=[f"{next(iter(w))}-{n}" for n, (w, _) in enumerate(WRONG)]
)
def test_a_wrong_value_stops_everything_before_anything_changes(
    site: SiteOfContainers, wrong: dict[str, Any], said: str
) -> None:
    site.write_inventory(**wrong)
    try:
        hosts = ["-e", f"node_id={wrong['node_id']!r}"] if "node_id" in wrong else []
        zones = ["-e", f"node_zone={wrong['node_zone']!r}"] if "node_zone" in wrong else []
        played = site.play("site.yml", *hosts, *zones)
    finally:
        site.write_inventory()
    assert played.status != 0
    assert " ".join(said.split()) in " ".join(played.text.split())
    assert set(played.changed.values()) == {0}


def test_a_dry_run_on_a_bare_machine_changes_nothing(site: SiteOfContainers) -> None:
    played = site.play("site.yml", "--check", "--tags", "broker")
    assert played.status == 0, played.text
    assert not (site.hub.root / "etc/mosquitto").exists()
    assert not (site.inventory / "pki/ca.key").exists()


def test_a_run_that_was_cut_off_is_finished_by_the_next(site: SiteOfContainers) -> None:
    command = [str(TOOLS / "ansible-playbook"), "-i", str(site.inventory), "playbooks/site.yml"]
    with (site.folder / "cut.log").open("wb") as log:
        running = subprocess.Popen(command, cwd=ANSIBLE, env=ansible_environment(), stdout=log, stderr=log)
        wait_until((site.hub.root / "opt/tocsin-hub/wheels").exists, 400.0, "the hub's program to begin")
        running.kill()
        running.wait(30)
    played = site.play("site.yml", timeout=900)
    assert played.status == 0, played.text


def test_a_sound_in_a_room_is_in_the_hubs_api(site: SiteOfContainers) -> None:
    wait_until(lambda: any(node == "press-1" for _, node, _ in site.stored()), 120.0, "the alarm in the hub")
    heard = site.api("/api/v1/events")["events"]
    assert {event["label"] for event in heard if event["room"] == "Press shop"} >= {"smoke_alarm"}
    rooms = {room["node"]: room["state"] for room in site.api("/api/v1/rooms")["rooms"]}
    assert rooms == {"press-1": "listening", "paint-1": "listening"}
    assert site.health()["status"] == "ok"


def test_the_second_run_changes_nothing(site: SiteOfContainers) -> None:
    played = site.play("site.yml")
    assert played.status == 0, played.text
    assert set(played.changed) >= {"tocsin", "press-1", "paint-1"}
    assert set(played.changed.values()) == {0}, played.text


def test_tags_do_a_part(site: SiteOfContainers) -> None:
    played = site.play("site.yml", "--tags", "node", "--check")
    assert played.status == 0, played.text
    assert "TASK [node : The node is configured]" in played.text
    assert "TASK [broker : The broker is configured]" not in played.text


@pytest.mark.parametrize(
    ("machine", "unit", "most"),
    [("hub", "tocsin-hub", 2.0), ("hub", "mosquitto", 2.0), ("press", "tocsin-node", 3.0)],
)
def test_services_are_exposed_little(site: SiteOfContainers, machine: str, unit: str, most: float) -> None:
    told = getattr(site, machine).run("systemd-analyze", "security", "--no-pager", unit, check=False).stdout
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", told)
    assert found, told
    assert float(found[1]) <= most


def test_a_backup_gives_a_lost_hub_its_events_back(site: SiteOfContainers) -> None:
    # What comes between a backup and the loss of a hub is lost with it: here, nothing comes.
    for room in (site.press, site.paint):
        room.run("systemctl", "stop", "tocsin-node")
    saved = site.play("backup.yml")
    assert saved.status == 0, saved.text
    before = set(site.stored())
    state = site.hub.root / "var/lib/tocsin-hub"
    site.hub.run("systemctl", "stop", "tocsin-hub")
    for kept in state.iterdir():
        shutil.rmtree(kept) if kept.is_dir() else kept.unlink()
    site.hub.run("systemctl", "start", "tocsin-hub")
    restored = site.play("restore.yml")
    assert restored.status == 0, restored.text
    wait_until(lambda: before <= set(site.stored()), 60.0, "the events of the backup")
    wait_until(site.takes_events, 60.0, "a hub that takes events")
    for room in (site.press, site.paint):
        room.run("systemctl", "start", "--no-block", "tocsin-node")
    wait_until(lambda: _listening(site) == {"press-1", "paint-1"}, 60.0, "both rooms again")


def test_an_upgrade_loses_no_event(site: SiteOfContainers) -> None:
    wheel = next(site.wheels.glob("tocsin-*.whl"))
    newer = site.folder / "newer" / wheel.name
    newer.parent.mkdir()
    shutil.copy(wheel, newer)
    unpacked = site.folder / "unpacked"
    shutil.unpack_archive(newer, unpacked, "zip")
    (unpacked / "tocsin_shared" / "newer.txt").write_text("newer\n", encoding="ascii")
    shutil.make_archive(str(newer), "zip", unpacked)
    Path(f"{newer}.zip").replace(newer)
    site.write_inventory(tocsin_wheel=str(newer))
    started = site.hub.run("systemctl", "show", "-p", "ExecMainStartTimestampMonotonic", "tocsin-hub").stdout
    played = site.play("upgrade.yml")
    assert played.status == 0, played.text
    assert (
        started
        != site.hub.run("systemctl", "show", "-p", "ExecMainStartTimestampMonotonic", "tocsin-hub").stdout
    )
    assert_nothing_is_lost(site)


def assert_nothing_is_lost(site: SiteOfContainers) -> None:
    """Every event that a node has noted in its outbox comes to the hub, once."""
    produced = set(_EVENT.findall(site.press.journal("tocsin-node")))
    assert produced
    wait_until(lambda: produced <= {key for key, _, _ in site.stored()}, 60.0, "all events in the hub")
    assert Counter(key for key, _, _ in site.stored()).most_common(1)[0][1] == 1


def test_another_variant_is_rolled_out(site: SiteOfContainers) -> None:
    played = site.play("model_rollout.yml", "-e", "bundle=sentry", "-e", "variant=float32")
    assert played.status == 0, played.text
    wait_until(
        lambda: (
            {room["bundle"].rpartition("+")[2] for room in site.api("/api/v1/rooms")["rooms"]} == {"float32"}
        ),
        60.0,
        "nodes that say so",
    )


def test_a_variant_that_is_not_there_stops_at_the_first_room(site: SiteOfContainers) -> None:
    played = site.play("model_rollout.yml", "-e", "bundle=nothing-like-this")
    assert played.status != 0
    assert "paint-1" not in played.changed or played.changed["paint-1"] == 0


def test_all_certificates_are_renewed_and_nobody_is_locked_out(site: SiteOfContainers) -> None:
    before = certificates(site)
    played = site.play("rotate_certs.yml")
    assert played.status == 0, played.text
    after = certificates(site)
    assert before.keys() == after.keys()
    assert not set(before.values()) & set(after.values())
    wait_until(lambda: _listening(site) == {"press-1", "paint-1"}, 60.0, "both rooms again")
    assert_nothing_is_lost(site)


def certificates(site: SiteOfContainers) -> dict[str, str]:
    """Every certificate of the site, as it lies on its machine."""
    return {
        f"{machine.name}/{path.name}": path.read_text(encoding="ascii")
        for machine in site.machines
        for path in (machine.root / "etc/tocsin/pki").glob("*.crt")
        if path.name != "ca.crt"
    }


def _listening(site: SiteOfContainers) -> set[str]:
    return {room["node"] for room in site.api("/api/v1/rooms")["rooms"] if room["state"] == "listening"}


def test_a_retired_node_is_cut_off_and_refused(site: SiteOfContainers) -> None:
    stolen = site.folder / "stolen"
    stolen.mkdir()
    for name in ("node.crt", "node.key", "ca.crt"):
        shutil.copy(site.paint.root / "etc/tocsin/pki" / name, stolen / name)
    command = [
        "mosquitto_sub", "-h", "127.0.0.1", "-p", str(site.broker_port), "-t", "tocsin/v1/hub/state",
        "-i", "thief", "--cafile", str(stolen / "ca.crt"),
        "--cert", str(stolen / "node.crt"), "--key", str(stolen / "node.key"),
    ]  # fmt: skip
    site.paint.run("systemctl", "stop", "tocsin-node")
    with subprocess.Popen(
        [*command, "-d"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as thief:
        told = thief.stdout
        assert told is not None
        try:
            wait_until(lambda: "hub/state" in told.readline(), 30.0, "the thief to hear something")
            played = site.play("node_retire.yml", "-e", "node=paint-1")
            assert played.status == 0, played.text
        finally:
            thief.kill()
        rest = told.read()
    # However it tells of the end of its connection: it had to ask for another one, and was not let in.
    assert "sending CONNECT" in rest
    assert "CONNACK (0)" not in rest
    again = subprocess.run([*command, "-C", "1", "-W", "5"], capture_output=True, text=True, check=False)
    assert again.returncode != 0
    assert again.stdout == ""
    assert not (site.paint.root / "opt/tocsin-node").exists()
    assert_nothing_is_lost(site)


def _rooms(site: SiteOfContainers) -> set[str]:
    return {room["node"] for room in site.api("/api/v1/rooms")["rooms"]}


def test_87_a_retired_room_is_forgotten_and_no_ghost_brings_it_back(site: SiteOfContainers) -> None:
    """Neither a start of broker and hub, nor what somebody had the broker keep under the node's name."""
    wait_until(lambda: _rooms(site) == {"press-1"}, 10.0, "the retired room to be forgotten")
    # A client with the hub's certificate has its client id, too: there can be only one.
    site.hub.run("systemctl", "stop", "tocsin-hub")
    kept = _as_hub(site, "mosquitto_sub", *_KEPT)
    assert "/n/press-1/conn" in kept
    assert "/n/paint-1/" not in kept
    ghost = '{"schema": 1, "state": "online", "boot": "ghost", "session": 1}'
    _as_hub(site, "mosquitto_pub", "-t", "tocsin/v1/n/paint-1/conn", "-m", ghost, "-r", "-q", "1")
    site.hub.run("systemctl", "restart", "mosquitto")
    assert "/n/paint-1/conn" in _as_hub(site, "mosquitto_sub", *_KEPT)
    site.hub.run("systemctl", "start", "tocsin-hub")
    wait_until(lambda: _listening(site) == {"press-1"}, 60.0, "the other room to be heard")
    assert _rooms(site) == {"press-1"}
    again = site.play("node_retire.yml", "-e", "node=paint-1")
    assert again.status == 0, again.text


_KEPT = ("-t", "tocsin/v1/n/#", "--retained-only", "-v", "-W", "3")


def _as_hub(site: SiteOfContainers, program: str, *arguments: str) -> str:
    """What ``program`` prints as a client with the hub's certificate; a look that ends by time is well."""
    pki = site.hub.root / "etc/tocsin/pki"
    done = subprocess.run(
        [
            program, "-h", "127.0.0.1", "-p", str(site.broker_port), "-i", "hub",
            "--cafile", str(pki / "ca.crt"), "--cert", str(pki / "hub.crt"), "--key", str(pki / "hub.key"),
            *arguments,
        ],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode in {0, 27}, done.stderr
    return done.stdout


def test_a_room_is_added(site: SiteOfContainers) -> None:
    played = site.play("node_add.yml", "-e", "node=paint-1", timeout=600)
    assert played.status == 0, played.text
    wait_until(lambda: _listening(site) == {"press-1", "paint-1"}, 60.0, "both rooms")


def test_a_site_that_outgrows_its_file_goes_on_in_a_postgresql(site: SiteOfContainers) -> None:
    """Everything that was stored is there, nothing is lost on the way, and its copy can be put back."""
    before = site.stored()
    assert before
    site.database_port = free_port()
    site.write_inventory()
    played = site.play("site.yml")
    assert played.status == 0, played.text
    assert set(before) <= set(site.stored())
    assert {"press-1", "paint-1"} <= _rooms(site)
    wait_until(lambda: len(site.stored()) > len(before) + 1, 120.0, "sounds in the new database")
    assert_nothing_is_lost(site)
    again = site.play("site.yml", "--tags", "db,hub")
    assert again.status == 0, again.text
    assert again.changed["tocsin"] == 0, again.text
    saved = site.play("backup.yml")
    assert saved.status == 0, saved.text
    psql = ["runuser", "-u", "postgres", "--", "psql", "-p", str(site.database_port)]
    site.hub.run(*psql, "-c", "DELETE FROM events", "tocsin")
    restored = site.play("restore.yml")
    assert restored.status == 0, restored.text
    assert set(before) <= set(site.stored())
    wait_until(site.takes_events, 60.0, "the hub")


def test_a_site_with_many_dashboards_gets_web_processes(site: SiteOfContainers) -> None:
    """The proxy divides browsers among them; when one is down the other answers."""
    site.redis_port = free_port()
    site.write_inventory()
    played = site.play("site.yml")
    assert played.status == 0, played.text
    units = [f"tocsin-web@{site.web_port + number}" for number in range(2)]
    for unit in units:
        journal = site.hub.run("journalctl", "-u", unit, "-o", "cat", "--no-pager").stdout
        assert "the hub is heard" in journal, journal
    known = set(site.stored())
    wait_until(lambda: len(set(site.stored()) - known) > 1, 120.0, "sounds by way of a web process")
    assert_nothing_is_lost(site)
    for unit in units:
        site.hub.run("systemctl", "stop", unit)
        assert known <= set(site.stored()), "the other answers"
        wait_until(site.takes_events, 15.0, "the other, which has just begun to hear of the hub")
        site.hub.run("systemctl", "start", unit)
        time.sleep(5.0)
    site.hub.run("systemctl", "restart", "tocsin-hub")
    wait_until(site.takes_events, 60.0, "the hub, and a web process that was started with it")
    again = site.play("site.yml", "--tags", "redis,hub")
    assert again.status == 0, again.text
    assert again.changed["tocsin"] == 0, again.text
    site.redis_port = 0
    site.write_inventory()
    alone = site.play("site.yml", "--tags", "hub")
    assert alone.status == 0, alone.text
    assert site.hub.run("systemctl", "is-active", *units, check=False).stdout.split() == ["inactive"] * 2
    assert known <= set(site.stored()), "the hub answers alone"
