"""The pages as a browser gets them, before any script has run."""

import hashlib
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from flask.testing import FlaskClient

import tocsin_hub
from tests.hub.parts import after, birth, feed, heartbeat, many, offset_of, ulid
from tests.shared.messages import sound
from tocsin_hub.connection import SqliteReader
from tocsin_hub.i18n import LANGUAGES, catalogue
from tocsin_hub.pages import PAGE_ROWS
from tocsin_hub.root import Hub, build
from tocsin_hub.settings import HubSettings
from tocsin_shared import codec
from tocsin_shared.events import Clock, Message
from tocsin_shared.topics import node_topic

STATIC = Path(tocsin_hub.__file__).parent / "static"
TEMPLATES = Path(tocsin_hub.__file__).parent / "templates"
VENDORED = [STATIC / "vendor", Path(__file__).parents[1] / "integration" / "vendor"]
OUR_SCRIPTS = sorted((STATIC / "js").glob("*.js"))
NASTY = "<script>alert('x')</script> & \"창고\""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """A hub that listens to no broker: what these tests feed it comes without one."""
    made = build(HubSettings(state_folder=tmp_path / "state"))
    deaths: list[str] = []
    made.writer.start(made.ingest.settle, deaths.append)
    yield made
    made.writer.stop()
    made.services.store.close()
    assert deaths == []


class Page(HTMLParser):
    """A page taken apart as far as these tests look at it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.rows: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.tags.append((tag, attributes))
        if tag == "tr" and "data-id" in attributes:
            self.rows.append(attributes["data-id"])

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str, **wanted: str) -> list[dict[str, str]]:
        """Attributes of every ``tag`` that has the wanted ones."""
        return [has for name, has in self.tags if name == tag and wanted.items() <= has.items()]

    @property
    def older(self) -> str | None:
        """Address of the next page of the history."""
        found = self.all("a", id="load-older")
        return found[0]["href"] if found else None


def get(client: FlaskClient, path: str, **headers: str) -> Page:
    answer = client.get(path, headers=headers)
    assert answer.status_code == 200, answer.text
    return Page(answer.text)


def tell(hub: Hub, kind: str, message: Message, node: str = "press-1") -> None:
    """Let ``hub`` receive what a node says about itself."""
    hub.ingest.receive(node_topic(node, kind), codec.encode(message), False, None)


def test_who_is_not_signed_in_is_told_how(hub: Hub) -> None:
    stranger = hub.app.test_client()
    for path in ("/", "/history", "/history?node=press-1"):
        answer = stranger.get(path)
        assert (answer.status_code, answer.location) == (302, "/signed-out")
    assert "tocsin hub login-link" in get(stranger, "/signed-out").text
    assert "로그인되어 있지 않습니다" in get(stranger, "/signed-out?lang=ko").text


def test_a_spent_link_says_so(hub: Hub) -> None:
    answer = hub.app.test_client().get("/login/AAAA")
    assert answer.status_code == 403
    assert catalogue("en").t("signed_out.link_spent") in Page(answer.text).text


@pytest.mark.parametrize("path", ["/", "/history", "/signed-out"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_page_says_that_it_replaces_no_certified_alarm(
    client: FlaskClient, path: str, language: str
) -> None:
    page = get(client, f"{path}?lang={language}")
    assert page.all("html")[0]["lang"] == language
    assert catalogue(language).t("note.aid") in page.text


def test_the_regions_that_speak_are_there_from_the_start(client: FlaskClient) -> None:
    page = get(client, "/")
    assert page.all("div", role="alert", id="alarms")
    assert page.all("div", role="status", id="others")
    assert page.all("div", role="status", id="link-note")


@pytest.mark.parametrize("path", ["/", "/history"])
def test_the_page_does_not_claim_to_be_live_before_it_is(client: FlaskClient, path: str) -> None:
    page = get(client, path)
    assert page.all("p", id="link", **{"data-mode": "connecting"})
    assert catalogue("en").t("link.connecting") in page.text


@pytest.mark.parametrize("path", ["/", "/history", "/signed-out"])
def test_nothing_in_a_page_needs_a_looser_policy(client: FlaskClient, path: str) -> None:
    """Neither handlers nor styles inside of tags, and scripts only from files of our own."""
    for tag, attributes in get(client, path).tags:
        assert not [name for name in attributes if name == "style" or name.startswith("on")], tag
        if tag == "script" and attributes["type"] != "application/json":
            assert attributes["src"].startswith("/static/js/")


def test_the_scripts_get_the_catalogue_of_the_page(client: FlaskClient) -> None:
    html = client.get("/?lang=ko").text
    match = re.search(r'<script type="application/json" id="catalogue">(.*?)</script>', html, re.DOTALL)
    assert match
    assert json.loads(match[1]) == dict(catalogue("ko").texts)


def test_a_language_that_was_chosen_is_remembered(client: FlaskClient) -> None:
    assert get(client, "/").all("html", lang="en")
    assert get(client, "/history?lang=ko").all("html", lang="ko")
    assert get(client, "/", **{"Accept-Language": "en"}).all("html", lang="ko")
    assert get(client, "/?lang=xx").all("html", lang="ko")
    cookie = client.get_cookie("tocsin_language")
    assert cookie is not None
    assert cookie.http_only
    assert cookie.same_site == "Lax"


def test_the_browser_s_language_counts_where_none_was_chosen(client: FlaskClient) -> None:
    answer = client.get("/", headers={"Accept-Language": "ko-KR,ko;q=0.9,en;q=0.5"})
    assert Page(answer.text).all("html", lang="ko")
    assert answer.headers["Content-Language"] == "ko"
    assert {"accept-language", "cookie"} <= {name.lower() for name in answer.vary}


def test_the_other_language_leads_to_the_same_page_with_the_same_filters(client: FlaskClient) -> None:
    links = get(client, "/history?severity=alarm&_external=1&_scheme=javascript").all("a", hreflang="ko")
    assert links[0]["href"] == "/history?severity=alarm&_external=1&_scheme=javascript&lang=ko"


def test_history_is_newest_first_and_complete_over_all_its_pages(hub: Hub, client: FlaskClient) -> None:
    events = many(PAGE_ROWS * 2 + 7)
    feed(hub, *events)
    seen: list[str] = []
    path: str | None = "/history"
    while path:
        page = get(client, path)
        assert len(page.rows) <= PAGE_ROWS
        seen += page.rows
        path = page.older
    assert seen == [event.id for event in reversed(events)]


def test_history_shows_words_of_its_language(hub: Hub, client: FlaskClient) -> None:
    tell(hub, "birth", birth(room="프레스 작업장"))
    heard = sound()
    feed(hub, heard, offset_of(heard, 8, seconds=65.0))
    text = get(client, "/history?lang=ko").text
    for words in ("화재 경보(연기 감지기)", "프레스 작업장", "경보", "93%", "1분 5초", "−24\xa0dBFS"):
        assert words in text
    assert get(client, "/history?lang=en").all("time", datetime="2026-11-23T02:38:11.250Z")


def test_names_from_outside_are_text_and_never_markup(hub: Hub, client: FlaskClient) -> None:
    tell(hub, "birth", birth(room=NASTY))
    feed(hub, sound())
    html = client.get("/history?node=press-1").text
    assert "<script>alert" not in html
    # Once in the table, once among the choices.
    assert Page(html).text.count(NASTY) == 2


def test_a_sound_that_lasts_one_that_ended_and_one_whose_end_is_not_known(
    hub: Hub, client: FlaskClient
) -> None:
    tell(hub, "birth", birth())
    tell(hub, "hb", heartbeat())
    feed(hub, sound())
    assert "Sounding" in get(client, "/history").text
    tell(hub, "birth", birth(boot="b2"))
    assert "End not known" in get(client, "/history").text


def test_a_late_report_and_a_node_without_a_clock_are_marked(hub: Hub, client: FlaskClient) -> None:
    feed(hub, sound(late=True, clock=Clock.UNSYNCED))
    text = get(client, "/history").text
    assert "Reached the hub" in text
    assert catalogue("en").t("history.clock_unsynced") in text


def test_a_self_test_is_marked_and_is_no_alarm(hub: Hub, client: FlaskClient) -> None:
    feed(hub, sound(id=ulid(1), seq=1), sound(id=ulid(2), seq=2, test=True))
    html = client.get("/history?lang=en").text
    assert len(Page(html).rows) == 2
    assert html.count('<span class="tag">Self-test</span>') == 1
    assert get(client, "/history?severity=alarm").rows == [ulid(1)]
    events = client.get("/api/v1/events").json["events"]  # type: ignore[index]
    assert {(one["test"], one["severity"]) for one in events} == {(False, "alarm"), (True, "none")}


def test_an_unknown_label_is_shown_by_its_own_name_and_as_a_warning(hub: Hub, client: FlaskClient) -> None:
    feed(hub, sound(label="steam_whistle"))
    page = get(client, "/history?severity=warning")
    assert "steam whistle" in page.text
    assert page.rows == [sound().id]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("node=press-1", [3, 1]),
        ("label=siren", [2]),
        ("severity=alarm", [2, 1]),
        ("severity=warning&node=press-1", [3]),
        ("node=nobody", []),
        ("node=&label=&severity=", [3, 2, 1]),
        ("severity=nonsense", [3, 2, 1]),
        ("before=nonsense", [3, 2, 1]),
        ("before=%00%ff", [3, 2, 1]),
    ],
)
def test_filters(hub: Hub, client: FlaskClient, query: str, expected: list[int]) -> None:
    feed(
        hub,
        sound(id=ulid(1), seq=1, onset=after(1)),
        sound(id=ulid(2), seq=2, onset=after(2), node="gate", label="siren"),
        sound(id=ulid(3), seq=3, onset=after(3), label="glass_breaking"),
    )
    assert get(client, f"/history?{query}").rows == [ulid(number) for number in expected]


def test_what_is_filtered_by_stays_chosen_on_the_next_page(hub: Hub, client: FlaskClient) -> None:
    feed(hub, *many(PAGE_ROWS + 1, node="gate"))
    page = get(client, "/history?node=gate&severity=alarm")
    assert page.all("option", value="gate", selected="")
    assert page.all("option", value="alarm", selected="")
    assert page.older is not None
    assert page.older.startswith("/history?node=gate&severity=alarm&before=")


def test_a_long_query_is_no_trouble(client: FlaskClient) -> None:
    page = get(client, f"/history?node={'x' * 5000}&label={'y' * 5000}")
    assert page.rows == []
    assert catalogue("en").t("history.none_match") in page.text


@pytest.mark.sqlite
def test_a_database_that_does_not_answer_is_a_page_too(hub: Hub, client: FlaskClient) -> None:
    path = hub.services.store.path
    assert isinstance(path, Path)
    path.write_bytes(b"not a database at all" * 400)
    hub.services.store.close()
    hub.services.store._reader = SqliteReader(path)
    answer = client.get("/history")
    assert answer.status_code == 503
    assert catalogue("en").t("problem.unavailable") in Page(answer.text).text


@pytest.mark.parametrize("folder", VENDORED, ids=["page", "tests"])
def test_files_of_others_are_unchanged_and_licensed(folder: Path) -> None:
    lines = [line.split() for line in (folder / "HASHES").read_text(encoding="utf-8").splitlines()]
    hashes = {name: digest for digest, name in lines}
    present = {path.name for path in folder.iterdir()} - {"HASHES", "README.md"}
    assert present == set(hashes)
    assert any(name.startswith("LICENSE") for name in present)
    for name, digest in hashes.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest, name


@pytest.mark.parametrize("path", OUR_SCRIPTS, ids=lambda path: path.name)
def test_no_script_reads_data_as_markup(path: Path) -> None:
    dangerous = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|javascript:"
    assert re.findall(dangerous, path.read_text(encoding="utf-8")) == []


def test_every_script_that_is_asked_for_is_there() -> None:
    for path in OUR_SCRIPTS:
        for name in re.findall(r'from "(.+?)"', path.read_text(encoding="utf-8")):
            assert (path.parent / name).resolve().is_file(), f"{path.name}: {name}"


def test_every_drawing_that_is_named_is_drawn() -> None:
    drawn = set(re.findall(r'id="mark-(\w+)"', (TEMPLATES / "_marks.html").read_text(encoding="utf-8")))
    sources = [path.read_text(encoding="utf-8") for path in (*OUR_SCRIPTS, *TEMPLATES.glob("*.html"))]
    named = {name for text in sources for name in re.findall(r'mark\("(\w+)"\)|#mark-(\w+)"', text)}
    assert {a or b for a, b in named} <= drawn
    assert {"alarm", "warning", "notice", "none", "listening", "silent", "absent", "starting"} <= drawn


def test_nothing_flashes() -> None:
    """No animation at all: what moves is one short transition, and not where less motion is asked for."""
    css = (STATIC / "css" / "tocsin.css").read_text(encoding="utf-8")
    assert "@keyframes" not in css
    assert "prefers-reduced-motion: reduce" in css
    assert "forced-colors: active" in css
    assert len(re.findall(r"transition:(?! none)", css)) == 1


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_page_that_does_not_exist_says_so_in_the_reader_s_language(
    client: FlaskClient, language: str
) -> None:
    """A mistyped address leads to words and a way back, not to the server's own English."""
    answer = client.get("/nothing", headers={"Accept-Language": language})
    assert answer.status_code == 404
    assert {"en": "There is no such page", "ko": "이 페이지는 없습니다"}[language] in answer.text
