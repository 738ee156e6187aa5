"""A hub and web processes beside it, with a real broker, PostgreSQL and Redis between them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import socketio
import yaml

from tests.hub import postgres_server
from tests.hub.brokers import Node, broker
from tests.hub.databases import DATABASES
from tests.hub.parts import birth, heartbeat, many, wait_until
from tests.hub.processes import Dashboard, HubProcess, WebProcess
from tests.hub.redis_server import RedisServer, redis_server
from tests.shared.messages import sound
from tocsin_hub.place import PostgresPlace
from tocsin_hub.times import from_us, now_us
from tocsin_hub.web.process import HUB_PATHS
from tocsin_shared import codec
from tocsin_shared.topics import node_topic

WRONG = "wrong words"
pytestmark = [pytest.mark.slow, pytest.mark.broker]


@dataclass
class Site:
    """A hub, two web processes, and what they stand on."""

    hub: HubProcess
    webs: list[WebProcess]
    redis: RedisServer
    node: Node

    def hear(self, number: int = 1) -> str:
        """The press shop's node hears a smoke alarm now; the event's id."""
        message = sound(id=many(number)[-1].id, seq=number, onset=from_us(now_us()))
        self.node.tell(message)
        return str(message.id)

    def connected(self, web: HubProcess) -> bool:
        """Whether a dashboard is let in there."""
        try:
            self.dashboard(web).close()
        except socketio.exceptions.ConnectionError:
            return False
        return True

    def dashboard(self, at: HubProcess) -> Dashboard:
        """A dashboard of an admin who logged in there."""
        return Dashboard(at.address, self.person(at)).open()

    def person(self, at: HubProcess) -> requests.Session:
        browser = requests.Session()
        link = self.hub.new_link().replace(self.hub.address, at.address)
        assert browser.get(link, timeout=5, allow_redirects=False).status_code == 302
        return browser


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with running_site(tmp_path) as made:
        yield made


@contextmanager
def running_site(folder: Path, place: PostgresPlace | None = None) -> Iterator[Site]:
    DATABASES.engine = "postgresql"
    found = place or DATABASES.at(folder / "hub")
    assert isinstance(found, PostgresPlace)
    with ExitStack() as stack:
        port = stack.enter_context(broker("mosquitto", folder))
        redis = stack.enter_context(redis_server(folder / "redis"))
        hub = HubProcess(folder / "hub", port, database=found.url, redis=redis.url)
        stack.callback(hub.kill)
        hub.start()
        webs = [WebProcess(hub), WebProcess(hub)]
        for web in webs:
            stack.callback(web.kill)
            web.start()
        node = Node(port)
        # Seldom enough that nobody misses the next heartbeat while a test takes its time.
        node.send(node_topic("press-1", "birth"), codec.encode(birth(heartbeat_seconds=120.0)), retain=True)
        node.send(node_topic("press-1", "hb"), codec.encode(heartbeat()))
        yield Site(hub, webs, redis, node)


def test_dashboards_of_all_processes_see_the_same_at_once(site: Site) -> None:
    at_hub, *at_webs = [site.dashboard(one) for one in (site.hub, *site.webs)]
    dashboards = [at_hub, *at_webs]
    heard = site.hear()
    events = [dashboard.wait_for("event", 3) for dashboard in dashboards]
    incidents = [dashboard.wait_for("incident", 3) for dashboard in dashboards]
    assert [event["id"] for event in events] == [heard] * 3
    assert incidents[0] == incidents[1] == incidents[2]
    for dashboard in dashboards:
        assert len([name for name, _ in dashboard.got if name == "event"]) == 1, "once"

    # What somebody does at one is seen at all, and the hub's engine knows of it.
    person, incident = site.person(site.webs[0]), incidents[0]["id"]
    for dashboard in dashboards:
        dashboard.got.clear()
    answer = person.post(
        f"{site.webs[0].address}/api/v1/incidents/{incident}/acknowledge",
        json={},
        headers={"Origin": site.webs[0].address},
        timeout=5,
    )
    assert answer.status_code == 200, answer.text
    for dashboard in dashboards:
        shown = dashboard.wait_for("incident", 3)
        assert (shown["id"], shown["acknowledged"] is not None) == (incident, True)
        dashboard.close()
    for web in site.webs:
        rooms = person.get(f"{web.address}/api/v1/rooms", timeout=5).json()["rooms"]
        assert [(room["node"], room["state"]) for room in rooms] == [("press-1", "listening")]


def test_an_alert_reaches_a_page_that_is_open_at_a_web_process(site: Site) -> None:
    """Whether anybody is reached is decided in the hub, at which no page is open."""
    dashboard = site.dashboard(site.webs[1])
    time.sleep(1.5)
    site.hear()
    alert = dashboard.wait_for("alert", 5)
    assert (alert["kind"], alert["room"]) == ("sound", "Press shop")
    dashboard.close()


def test_the_hub_says_how_many_web_processes_it_hears(site: Site) -> None:
    def heard() -> int:
        figures = requests.get(f"{site.hub.address}/metrics", timeout=5).text
        (line,) = [line for line in figures.splitlines() if line.startswith("tocsin_web_processes ")]
        return int(float(line.split()[1]))

    wait_until(lambda: heard() == 2, "both")
    site.webs[0].kill()
    wait_until(lambda: heard() == 1, "one to be missed", 10)
    assert site.hub.health()["web_processes"] == 1
    assert "web_processes" not in site.webs[1].health()


def test_wrong_passwords_are_counted_by_all_processes_together(site: Site) -> None:
    def tried(at: HubProcess) -> int:
        browser = requests.Session()
        page = browser.get(f"{at.address}/login", timeout=5).text
        token = page.split('name="csrf_token" value="')[1].split('"')[0]
        return browser.post(
            f"{at.address}/login",
            data={
                "csrf_token": token,
                "login": "mina",
                "password": WRONG,
            },
            headers={"Origin": at.address},
            timeout=5,
        ).status_code

    places = [site.hub, *site.webs]
    assert [tried(places[number % 3]) for number in range(10)] == [403] * 10
    assert [tried(place) for place in places] == [429] * 3


def test_without_a_hub_no_dashboard_is_calm(site: Site) -> None:
    """It stands still, or has ended: dashboards at web processes say so, until a hub is back."""
    dashboards = [site.dashboard(web) for web in site.webs]
    os.kill(site.hub.worker, signal.SIGSTOP)
    wait_until(lambda: not any(one.connected for one in dashboards), "them to be cut off", 12)
    assert [web.health_status() for web in site.webs] == [503, 503]
    assert not any(site.connected(web) for web in site.webs)
    os.kill(site.hub.worker, signal.SIGCONT)
    for web in site.webs:
        web.wait_for(200)
    again = site.dashboard(site.webs[0])
    site.hub.stop()
    wait_until(lambda: not again.connected, "an end at once, for the hub has said farewell", 4)
    site.hub.start()
    for web in site.webs:
        web.wait_for(200)
    again = site.dashboard(site.webs[0])
    site.hear()
    again.wait_for("event", 3)


@pytest.mark.parametrize("how", ["killed", "still"])
def test_redis_away_while_alarms_sound(site: Site, how: str) -> None:
    """Dashboards go on, some seconds later, by the database; everybody is told why; nothing is lost."""
    at_hub, at_web = site.dashboard(site.hub), site.dashboard(site.webs[0])
    reader = site.person(site.webs[0])
    if how == "killed":
        site.redis.stop()
    else:
        site.redis.signal(signal.SIGSTOP)
    at_web.got.clear()
    with ThreadPoolExecutor(8) as many_at_once:
        asked_for = [f"{site.webs[0].address}/api/v1/{what}" for what in ("rooms", "drills") * 8]
        answers = list(
            many_at_once.map(lambda address: reader.get(address, timeout=10).status_code, asked_for)
        )
    assert answers == [200] * 16, "nobody is kept out because a count cannot be had"
    heard = [site.hear(number) for number in range(1, 6)]
    wait_until(lambda: len(site.node.refs) >= 5, "the hub to store what it hears", 5)
    at_hub.wait_for("event", 2)

    def asked() -> list[str]:
        events = reader.get(f"{site.webs[0].address}/api/v1/events?after=0", timeout=5).json()["events"]
        return sorted(event["id"] for event in events)

    assert asked() == sorted(heard)

    def told() -> list[dict[str, Any]]:
        shown = [data for name, data in at_hub.got if name == "incident"]
        return [one for one in shown if one["group"] == "queue_lost"]

    wait_until(lambda: bool(told()), "the trouble to be told", 15)
    at_web.got.clear()
    site.hear(6)
    at_web.wait_for("hello", 4)
    assert len(asked()) == 6
    site.webs[1].kill()
    site.webs[1].start()  # finds the hub by the database alone
    assert [web.health_status() for web in site.webs] == [200, 200]
    # Whoever tries passwords is counted by each process for itself meanwhile; nobody is kept out.
    assert requests.get(f"{site.webs[0].address}/login", timeout=5).status_code == 200
    if how == "killed":
        site.redis.start()
    else:
        site.redis.signal(signal.SIGCONT)
    wait_until(lambda: told()[-1]["cleared"] is not None, "the trouble to be over", 20)
    at_web.got.clear()
    seventh = site.hear(7)
    wait_until(
        lambda: seventh in [data.get("id") for name, data in at_web.got if name == "event"],
        "the live channel",
        10,
    )
    assert at_web.connected


def test_postgresql_away_while_alarms_sound(tmp_path: Path) -> None:
    """Dashboards of web processes stay, and say that nothing can be stored; afterwards all of it is."""
    server = postgres_server.made(safe=True)
    server.start()
    try:
        with running_site(tmp_path, server.new("hub")) as site:
            dashboards = [site.dashboard(web) for web in site.webs]
            server.stop("immediate")
            for number in range(1, 6):
                site.hear(number)

            def groups(dashboard: Dashboard) -> set[str]:
                return {data["group"] for name, data in dashboard.got if name == "incident"}

            def shown(dashboard: Dashboard) -> set[str]:
                return {data["id"] for name, data in dashboard.got if name == "event"}

            wait_until(
                lambda: all("database_refuses" in groups(one) for one in dashboards), "them to say so", 15
            )
            assert [web.health_status() for web in site.webs] == [503, 503]
            assert site.node.refs == []
            server.start()
            wait_until(lambda: len({ref.id for ref in site.node.refs}) == 5, "all to be stored", 30)
            wait_until(lambda: all(len(shown(one)) == 5 for one in dashboards), "all to be shown", 10)
            assert all(one.connected for one in dashboards)
    finally:
        server.remove()


def test_the_playbooks_send_the_hub_what_is_its_own() -> None:
    role = Path(__file__).parents[3] / "deploy/ansible/roles/hub/vars/main.yml"
    assert yaml.safe_load(role.read_text(encoding="utf-8"))["hub_own_paths"] == list(HUB_PATHS)


def test_what_only_the_hub_can_answer_is_refused(site: Site) -> None:
    person = site.person(site.webs[0])
    for path in HUB_PATHS:
        answer = person.get(f"{site.webs[0].address}{path}", timeout=5)
        assert answer.status_code == 503, path
        assert "answered by the hub alone" in answer.text, path
        assert person.get(f"{site.hub.address}{path}", timeout=5).status_code != 503, path
    assert person.get(f"{site.webs[0].address}/", timeout=5).status_code == 200


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[web]\nredis = "redis://127.0.0.1:1"\n', "store.url: a web process reads the hub's PostgreSQL"),
        ('[store]\nurl = "postgresql://a@127.0.0.1:1/b"\n', "web.redis: a web process hears of the hub"),
        (
            '[web]\nredis = "redis://127.0.0.1:1"\n[store]\nurl = "postgresql://a@127.0.0.1:1/b"\n',
            "secret.key is not there: start the hub first",
        ),
        ('[web]\nredis = "redis://:secret@127.0.0.1:1"\n', "there is a password in redis"),
        ('[web]\nredis = "http://127.0.0.1:1"\n', "redis must be redis://HOST:6379"),
    ],
)
def test_settings_without_which_there_is_no_web_process(tmp_path: Path, text: str, words: str) -> None:
    config = tmp_path / "hub.toml"
    config.write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "tocsin_shared", "hub", "web", "--config", str(config)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode != 0
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "secret@" not in ended.stderr
