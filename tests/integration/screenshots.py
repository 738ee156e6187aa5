"""Pictures of every page for the documents: a made site before a real hub, shown by a real browser.

Run it by ``make screenshots``; it writes ``docs/screens/``. What the pictures show is made up: nobody works
there, and nothing sounds.
"""

import itertools
import math
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from tests.integration.browser import chromium, show_as
from tests.integration.facility import wait_until
from tests.integration.updating import UpdatingNode, signed_repository
from tocsin_hub.demo.broker import BrokerAddress, broker, free_port
from tocsin_hub.demo.site import Site
from tocsin_hub.levels.keeping import save
from tocsin_hub.levels.rules import MINUTE_US, MinuteLevel
from tocsin_hub.recorder import Recorder, prepare
from tocsin_hub.times import now_us
from tocsin_shared.events import MicState, ScoredLabel, UpdateState

HIGHEST = 1500
"""Pixels; what lies further down says nothing new."""
SIZES = {"390": (390, 844), "1440": (1440, 900)}
ROOMS = (
    # node, zone, room, where it lies in the plan: left, top, width, height
    ("press-1", "plant-1", "프레스 작업장", (40, 40, 360, 260)),
    ("paint-1", "plant-1", "도장실", (400, 40, 240, 260)),
    ("store-1", "warehouse", "자재 창고", (640, 40, 320, 400)),
    ("office-1", "office", "2층 사무실", (40, 380, 260, 200)),
    ("canteen-1", "office", "구내식당", (300, 380, 240, 200)),
    ("gate-1", "gate", "정문 경비실", (700, 480, 260, 100)),
)


@dataclass(frozen=True)
class Made:
    """The site: its hub, the session of an admin, and its nodes by name."""

    site: Site
    session: requests.Session
    nodes: dict[str, UpdatingNode]

    def call(self, method: str, path: str, **given: object) -> requests.Response:
        """Ask the hub as a page of its own would."""
        headers = {"Origin": self.site.address, "Sec-Fetch-Site": "same-origin"}
        answer = self.session.request(
            method,
            f"{self.site.address}{path}",
            headers=headers,
            timeout=10,
            **given,  # type: ignore[arg-type]
        )
        answer.raise_for_status()
        return answer

    def incidents(self) -> list[dict[str, object]]:
        """All incidents, the newest first."""
        listed: list[dict[str, object]] = self.call("GET", "/api/v1/incidents").json()["incidents"]
        return listed


@contextmanager
def made_site(folder: Path, address: BrokerAddress) -> Iterator[Made]:
    """A site with six rooms in four zones, which has begun to report."""
    more = signed_repository(folder / "ota") + "two_persons = false\n"
    site = Site(folder, address, free_port(), more)
    remember_levels(folder / "hub" / "hub.sqlite")
    with ExitStack() as stack:
        stack.callback(site.stop)
        site.start_hub()
        session = requests.Session()
        session.get(site.login_link(), timeout=10)
        nodes = {
            node: stack.enter_context(UpdatingNode(address, node, zone, room))
            for node, zone, room, _ in ROOMS
        }
        for number, node in enumerate(nodes.values()):
            node.beat(-58.0 + 5 * number)
        made = Made(site, session, nodes)
        wait_until(lambda: len(made.call("GET", "/api/v1/rooms").json()["rooms"]) == len(ROOMS), 20, "rooms")
        yield made


def remember_levels(path: Path) -> None:
    """Write how loud the press shop was since yesterday: shifts, and an hour without a microphone."""
    prepare(path)
    recorder = Recorder(path)
    recorder.open()
    now = now_us() // MINUTE_US
    with recorder.transaction():
        for minute in range(now - 24 * 60, now):
            hour = minute / 60
            works = -16.0 if math.sin(hour * 2 * math.pi / 12) > 0 else 0.0
            mean = -38.0 + works + 3.0 * math.sin(minute * 0.7) * math.cos(minute * 0.13)
            if not 7 * 60 < now - minute < 8 * 60:
                save(recorder, MinuteLevel("press-1", minute, mean, mean + 9.0 + 4.0 * math.sin(minute)))
    recorder.close()


def draw_plan(made: Made) -> None:
    """Put the rooms on the plan."""
    form = {}
    for node, _, _, box in ROOMS:
        for name, value in zip(("x", "y", "width", "height"), box, strict=True):
            form[f"{name}.{node}"] = str(value)
    made.call("POST", "/plan/rooms", data={**form, **token_of(made, "/plan/edit")})


def token_of(made: Made, path: str) -> dict[str, str]:
    """The proof that a form was sent from the page ``path``, if it carries one."""
    text = made.call("GET", path).text
    mark = 'name="csrf_token" value="'
    return {"csrf_token": text.split(mark, 1)[1].split('"', 1)[0]} if mark in text else {}


def roll_out(made: Made) -> str:
    """A rollout that stopped in its second ring, and one that waits for approval; path of the first."""
    chosen = {"name": "sentry", "two_persons": False, "back": "0.1.0", "gate": {"soak_seconds": 0.0}}
    rings = ["node:press-1", "node:office-1+paint-1", "rest"]
    first = made.call("POST", "/api/v1/rollouts", json={**chosen, "release": "0.2.0", "rings": rings})
    path = f"/rollouts/{first.json()['id']}"
    for action in ("approve", "start"):
        made.call("POST", f"/api/v1{path}/{action}", json={})
    canary, second = made.nodes["press-1"], made.nodes["office-1"]
    canary.told()
    canary.install()
    canary.report(UpdateState.SUCCEEDED, step="commit")
    second.told()
    second.report(
        UpdateState.FAILED, step="golden", error="E_GOLDEN", detail="hears engine in smoke_alarm.wav"
    )
    wait_until(lambda: made.call("GET", f"/api/v1{path}").json()["state"] == "paused", 30, "it stops")
    made.call("POST", "/api/v1/rollouts", json={**chosen, "release": "0.3.0", "rings": ["1", "rest"]})
    return path


def let_sound(made: Made) -> None:
    """Some history, a deaf room, and a fire alarm that two rooms hear."""
    nodes = made.nodes
    for hours in range(1, 30):
        for name, label in (
            ("gate-1", "vehicle_horn"),
            ("store-1", "reversing_beeper"),
            ("press-1", "machine_alarm_beep"),
        ):
            if (hours * 7 + len(label)) % 3:
                heard = nodes[name].hear(label, seconds_ago=hours * 3000.0, late=True, score=0.7)
                nodes[name].over(heard, lasted_seconds=4.0 + hours % 5)
    nodes["canteen-1"].beat(None, MicState.ABSENT)
    nodes["canteen-1"].suffer("mic_absent", minutes_ago=12.0)
    top = (
        ScoredLabel("smoke_alarm", 0.94),
        ScoredLabel("machine_alarm_beep", 0.21),
        ScoredLabel("siren", 0.08),
    )
    nodes["press-1"].hear(
        "smoke_alarm", seconds_ago=9.0, top=top, rhythm="t3", certainty="confirmed", level_dbfs=-17.6
    )
    nodes["paint-1"].hear("smoke_alarm", seconds_ago=7.0, score=0.81, top=top, level_dbfs=-31.2)
    horn = (ScoredLabel("vehicle_horn", 0.77), ScoredLabel("reversing_beeper", 0.3))
    nodes["gate-1"].hear("vehicle_horn", seconds_ago=5.0, score=0.77, top=horn)
    wait_until(lambda: len(made.incidents()) >= 3, 20, "the incidents")


def alarm_of(made: Made) -> str:
    """Id of the fire alarm."""
    return str(next(one["id"] for one in made.incidents() if one["label"] == "smoke_alarm"))


def start_drill(made: Made) -> None:
    """A drill at the gate, which every page then says."""
    made.call("POST", "/api/v1/drills", json={"zones": ["gate"], "minutes": 15})


def answer(made: Made, incident: str) -> None:
    """Two workers answer."""
    for name, said in (("김민아", "safe"), ("박준호", "need_help")):
        worker = Made(made.site, invited(made, name), made.nodes)
        worker.call("POST", f"/api/v1/incidents/{incident}/answer", json={"answer": said})


def invited(made: Made, name: str) -> requests.Session:
    """The session of a worker who was invited and has come."""
    form = {"name": name, "role": "worker", "more_zones": "", **token_of(made, "/admin/people")}
    text = made.call("POST", "/admin/people", data=form).text
    found = re.search(r"/join/[\w-]+", text)
    assert found, "the page shows no invitation"
    come = Made(made.site, requests.Session(), made.nodes)
    come.call("POST", found[0], data={"name": name, **token_of(come, found[0])})
    return come.session


def photograph(driver: Chrome, address: str, target: Path, size: tuple[int, int]) -> None:
    """Write what the page at ``address`` shows, as high as it is, up to :data:`HIGHEST`."""
    show_as(driver, size)
    driver.get(address)
    if driver.find_elements(By.ID, "link"):
        wait_until(
            lambda: driver.find_element(By.ID, "link").get_attribute("data-mode") == "live", 20, address
        )
    for details in driver.find_elements(By.ID, "plots"):
        driver.execute_script("arguments[0].open = true", details)
    time.sleep(1.5)  # transitions and plots; nothing tells when a picture is at rest
    height = int(driver.execute_script("return document.documentElement.scrollHeight"))
    show_as(driver, (size[0], min(HIGHEST, max(size[1], height))))
    time.sleep(0.5)
    driver.save_screenshot(str(target))


def pages(incident: str) -> dict[str, str]:
    """Name of each picture, and the page that it shows."""
    return {
        "dashboard": "/?",
        "incident": f"/incidents/{incident}?",
        "history": "/history?node=press-1&",
        "plan": "/plan?",
        "plan-edit": "/plan/edit?",
        "drill": "/drill?",
        "me": "/me?",
        "people": "/admin/people?",
        "policies": "/admin/policies?",
        "policy": "/admin/policies/edit?policy=default-alarm&",
        "awareness": "/awareness?",
        "account": "/account?",
    }


def calm_pages(rollout: str) -> dict[str, str]:
    """The same of pages that are shown while nothing sounds."""
    return {"rollouts": "/rollouts?", "rollout": f"{rollout}?", "rollout-new": "/rollouts/new?"}


def photograph_all(made: Made, driver: Chrome, shown: dict[str, str], target: Path) -> None:
    """Pictures of all of ``shown`` in both languages and sizes."""
    for language, width in itertools.product(("ko", "en"), SIZES):
        for page, path in shown.items():
            picture = target / f"{page}-{language}-{width}.png"
            photograph(driver, f"{made.site.address}{path}lang={language}", picture, SIZES[width])


def main(target: Path) -> None:
    """Write all pictures into the folder ``target``."""
    target.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as name,
        broker("embedded", Path(name)) as address,
        made_site(Path(name), address) as made,
        chromium(Path(name) / "profile") as driver,
    ):
        driver.get(made.site.login_link())
        draw_plan(made)
        photograph_all(made, driver, calm_pages(roll_out(made)), target)
        let_sound(made)
        start_drill(made)
        incident = alarm_of(made)
        answer(made, incident)
        photograph_all(made, driver, pages(incident), target)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
