"""Korean and English: complete, used, and the only place where the pages' words stand."""

import re
import string
from collections.abc import Set
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tocsin_hub
from tocsin_hub.alerts.awareness import Hop
from tocsin_hub.alerts.model import Audience, ChannelName
from tocsin_hub.alerts.rules import Reason
from tocsin_hub.i18n import FALLBACK, LANGUAGES, Catalogue, catalogue, choose
from tocsin_hub.incidents.model import Answer, HubTrouble, IncidentSeverity, Remark, Step
from tocsin_hub.people.model import Role
from tocsin_hub.people.pages import ACTIONS
from tocsin_hub.people.tokens import Scope
from tocsin_hub.phones.canary import Reach
from tocsin_hub.phones.model import PhoneTroubleKind
from tocsin_hub.rollouts import form
from tocsin_hub.rollouts.actions import Action
from tocsin_hub.rollouts.model import Course, Execution, Pause, RingState, Status
from tocsin_hub.rollouts.rehearse import Fault as Rehearsed
from tocsin_hub.rollouts.words import KINDS
from tocsin_hub.rooms import RoomState
from tocsin_hub.store import Occasion
from tocsin_hub.theme import THEMES
from tocsin_node.update.steps import Fault as UpdateFault
from tocsin_node.update.steps import Step as UpdateStep
from tocsin_shared.errors import TocsinError
from tocsin_shared.events import Certainty, Rhythm, TroubleKind
from tocsin_shared.labels import SEVERITIES, Severity

PART = Path(tocsin_hub.__file__).parent
TEMPLATES = sorted((PART / "templates").glob("*.html"))
SCRIPTS = sorted((PART / "static" / "js").glob("*.js"))
CATALOGUES = [catalogue(language) for language in LANGUAGES]


def policy_faults() -> set[str]:
    """Everything that can be wrong with a policy, by the names that the modules give it."""
    sources = [path.read_text(encoding="utf-8") for path in (PART / "alerts").glob("*.py")]
    found = re.findall(r'PolicyError\(\s*"(\w+)"', "".join(sources))
    return set(found) | {"place", "person"}


def rule_words() -> set[str]:
    """Why a room waits or was left out, by the names that the rules of rollouts give it."""
    sources = {
        name: (PART / "rollouts" / f"{name}.py").read_text(encoding="utf-8")
        for name in ("rules", "following")
    }
    obstacles = re.findall(r'return (?:"" if .* else )?"([a-z_]+)"', sources["rules"])
    moves = re.findall(r'_move\([^)]*, "([a-z_]+)"\)', sources["rules"])
    followed = re.findall(r'_moved\([^\n]*, "([a-z_]+)"\)', sources["following"])
    either = re.findall(r' or "([a-z_]+)"', sources["following"])
    return {*obstacles, *moves, *followed, *either}


def log_words() -> set[str]:
    """What the log of a rollout can say apart from states, pauses and how nodes fare."""
    folder = PART / "rollouts"
    source = "".join((folder / f"{name}.py").read_text(encoding="utf-8") for name in ("rules", "keeping"))
    told = re.findall(r'Reason\(\s*"([a-z_]+)"', source)
    return {*told, *Action}


def form_faults() -> set[str]:
    """Everything that can be wrong with the form of a rollout."""
    source = (PART / "rollouts" / "form.py").read_text(encoding="utf-8")
    return {*re.findall(r'FormError\("(\w+)"\)', source), "figures", "plan"}


FAMILIES: dict[str, Set[str]] = {
    "label": set(SEVERITIES),
    "may_be": set(SEVERITIES) | {"other"},
    "severity": set(Severity) | {str(severity) for severity in IncidentSeverity},
    "state": set(RoomState) | {"last_known"},
    "why": set(RoomState) - {RoomState.LISTENING, RoomState.STARTING},
    "trouble": set(TroubleKind) | set(HubTrouble) | set(PhoneTroubleKind),
    "rhythm": set(Rhythm) - {Rhythm.NONE},
    "certainty": set(Certainty) - {Certainty.CERTAIN},
    "role": set(Role),
    "scope": set(Scope),
    "audit_kind": set(ACTIONS),
    "policy_audience": set(Audience),
    "policy_channel": set(ChannelName),
    "policy_severity": set(IncidentSeverity),
    "policy_reason": set(Reason),
    "policy_error": policy_faults(),
    "policy_day": {str(day) for day in range(7)},
    "policy_done": {"saved", "deleted", "moved", "missing"},
    "phone_severity": set(IncidentSeverity),
    "phone_answer": set(Answer),
    "phone_answered": set(Answer),
    "reach": set(Reach),
    "roads": {"added", "deleted", "tested", "failed"},
    "hop": set(Hop),
    "hop_note": set(Hop),
    "answer": set(Answer),
    "step": set(Step),
    "remark": set(Remark),
    "channel": set(ChannelName),
    "theme": set(THEMES),
    "history": set(Occasion),
    "rollout_legend": set(KINDS),
    "rollout_state": set(Status),
    "rollout_course": {Course.ABORTING, Course.RETURNING},
    "rollout_pause": set(Pause),
    "rollout_figures": {
        "error_threshold",
        "success_gate",
        "shadow_disagreement",
        "alarm_drift",
        "time_limit",
        "not_returned",
    },
    "rollout_ring": set(RingState),
    "rollout_node": set(Execution),
    "rollout_step": set(UpdateStep),
    "rollout_why": {str(fault) for fault in UpdateFault} | rule_words(),
    "rollout_exact": {"golden", "far", "budget"},
    "rollout_action": set(Action) - {Action.SUPERSEDE},
    "rollout_does": (set(Action) - {Action.SUPERSEDE})
    | {"approve_starts", "resume_errors", "resume_gate", "abort_early"},
    "rollout_log": log_words() | {"room"},
    "rollout_fault": set(Rehearsed) | {form.NO_FAULT, form.ALARM},
    "rollout_kind": set(form.KINDS) | {"none"},
    "rollout_error": form_faults(),
    "plan": {f"field_{name}" for name in ("x", "y", "width", "height")},
    "plan_error": {
        "bytes",
        "kind",
        "svg",
        "damaged",
        "pixels",
        "tiny",
        "moving",
        "number",
        "corners",
        "outside",
        "small",
    },
    "drill_error": {"confirm", "minutes", "note", "zones"},
    "link": {"connecting", "live", "reconnecting", "stale"},
}
"""Keys that are put together at run time: what follows the dot."""
_KEY = re.compile(r"""["'`]([a-z_]+\.[a-z0-9_]+)["'`]""")
_ASSEMBLED = re.compile(
    r"""`(\w+)\.\$\{|\bt\(f"(\w+)\.\{|"(\w+)\.\w*" ~|named\(\s*["'](\w+)["']|t\(["'](\w+)\.["'] ~"""
)
_DETAIL = re.compile(r"^    (\w+): ", re.MULTILINE)


def keys_in_use() -> set[str]:
    """Every key that a template, a script or a module names, in one piece or in parts."""
    sources = [path.read_text(encoding="utf-8") for path in (*TEMPLATES, *SCRIPTS, *PART.rglob("*.py"))]
    known = set(CATALOGUES[0].texts)
    used = {key for source in sources for key in _KEY.findall(source)} & known
    families = {name for source in sources for found in _ASSEMBLED.findall(source) for name in found if name}
    for family in families - {"detail"}:
        used |= {f"{family}.{name}" for name in FAMILIES[family]}
    return used | {f"detail.{name}" for name in details_shown()}


def details_shown() -> set[str]:
    """Names of the details of a room: the keys of the object that ``detailsOf`` returns."""
    source = (PART / "static" / "js" / "rooms.js").read_text(encoding="utf-8")
    return set(_DETAIL.findall(source[source.index("function detailsOf") :]))


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("other", CATALOGUES[1:], ids=lambda made: made.language)
def test_all_languages_have_the_same_keys(other: Catalogue) -> None:
    assert set(other.texts) == set(CATALOGUES[0].texts)


@pytest.mark.parametrize("other", CATALOGUES[1:], ids=lambda made: made.language)
def test_a_text_has_the_same_placeholders_in_all_languages(other: Catalogue) -> None:
    first = {key: placeholders(text) for key, text in CATALOGUES[0].texts.items()}
    assert {key: placeholders(text) for key, text in other.texts.items()} == first


@pytest.mark.parametrize("made", CATALOGUES, ids=lambda made: made.language)
def test_no_text_is_empty_or_holds_markup(made: Catalogue) -> None:
    assert [key for key, text in made.texts.items() if not text.strip() or set(text) & set("<>&")] == []


def test_korean_is_korean() -> None:
    """Only figures, units and names may stand without a Korean letter."""
    latin = {key for key, text in catalogue("ko").texts.items() if not re.search("[가-힣]", text)}
    assert latin == {
        "title.alarms",
        "now.candidate",
        "now.jump",
        "rooms.heard",
        "incident.answered",
        "step.answered",
        "format.percent",
        "format.dbfs",
        "format.ms",
        "format.utc",
        "phone.title",
        "rollout.name",
        "rollout.release_option",
        "rollout_log.room",
    }


def test_every_key_is_used() -> None:
    assert set(CATALOGUES[0].texts) - keys_in_use() == set()


def test_every_key_that_is_asked_for_exists() -> None:
    asked = re.compile(r"""\bt\(\s*["'`]([^"'`$]+)["'`](?! ~)""")
    sources = [path.read_text(encoding="utf-8") for path in (*TEMPLATES, *SCRIPTS, *PART.rglob("*.py"))]
    missing = {key for source in sources for key in asked.findall(source)} - set(CATALOGUES[0].texts)
    assert missing == set()


@pytest.mark.parametrize("family", FAMILIES)
def test_everything_that_has_a_name_has_it_in_all_languages(family: str) -> None:
    wanted = {f"{family}.{name}" for name in FAMILIES[family]}
    assert all(wanted <= set(made.texts) for made in CATALOGUES)


@pytest.mark.parametrize("made", CATALOGUES, ids=lambda made: made.language)
def test_no_sound_is_called_certain(made: Catalogue) -> None:
    may_be = {"en": "May be", "ko": "수 있습니다"}[made.language]
    assert all(may_be in text for key, text in made.texts.items() if key.startswith("may_be."))


class Words(HTMLParser):
    """Collects what a reader would see or hear of a template whose Jinja parts were taken out."""

    SHOWN = ("aria-label", "title", "alt", "placeholder", "content", "label", "value")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._silent += tag in {"script", "style", "code"}
        if tag != "meta":
            self.found += [value for name, value in attrs if name in self.SHOWN and value]

    def handle_endtag(self, tag: str) -> None:
        self._silent -= tag in {"script", "style", "code"}

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.found.append(data)


def words_of(source: str) -> list[str]:
    parser = Words()
    parser.feed(re.sub(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", "", source, flags=re.DOTALL))
    return [text.strip() for text in parser.found if re.search(r"[^\W\d_]", text)]


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_no_template_holds_words_of_its_own(path: Path) -> None:
    words = words_of(path.read_text(encoding="utf-8"))
    assert [text for text in words if text.strip(" ·") != "Tocsin"] == []


def test_the_search_for_words_finds_them() -> None:
    assert words_of('<p>{{ t("a.b") }} Hello</p><a title="Go">{# no #}</a>') == ["Hello", "Go"]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_no_script_holds_words_of_its_own(path: Path) -> None:
    shown = re.compile(r"""(?:textContent\s*=|setText\([^,]+,|showText\([^,]+,|\.append\()\s*["'`]\w""")
    assert shown.findall(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("asked", "remembered", "accepted", "chosen"),
    [
        (None, None, None, "en"),
        (None, None, "ko-KR,ko;q=0.9,en;q=0.8", "ko"),
        (None, None, "en;q=0.5, ko;q=0.7", "ko"),
        (None, None, "de, fr;q=0.9", "en"),
        (None, None, "KO", "ko"),
        (None, None, "ko;q=0", "en"),
        (None, None, "*", "en"),
        (None, "ko", "en", "ko"),
        ("en", "ko", "ko", "en"),
        ("xx", "ko", "en", "ko"),
        ("xx", "yy", "ko;q=nonsense", "en"),
        ("", "", "", "en"),
    ],
)
def test_language_of_a_page(
    asked: str | None, remembered: str | None, accepted: str | None, chosen: str
) -> None:
    assert choose(asked, remembered, accepted) == chosen


@given(st.text(max_size=2000), st.text(max_size=20), st.text(max_size=20))
def test_any_header_gives_a_known_language(accepted: str, asked: str, remembered: str) -> None:
    assert choose(asked, remembered, accepted) in LANGUAGES


def test_a_name_that_is_not_listed_is_shown_by_itself() -> None:
    assert catalogue("ko").named("label", "crane_horn") == "crane horn"
    assert catalogue("ko").named("label", "siren") == "사이렌"


@pytest.mark.parametrize(
    ("seconds", "english", "korean"),
    [
        (-3.0, "0 s", "0초"),
        (12.4, "12 s", "12초"),
        (59.6, "1 min 0 s", "1분 0초"),
        (125.0, "2 min 5 s", "2분 5초"),
        (7380.0, "2 h 3 min", "2시간 3분"),
        (190_000.0, "2 d 4 h", "2일 4시간"),
    ],
)
def test_lengths_of_time(seconds: float, english: str, korean: str) -> None:
    assert catalogue("en").duration(seconds).replace("\xa0", " ") == english
    assert catalogue("ko").duration(seconds) == korean


def test_levels_have_a_true_minus_and_silence_has_none() -> None:
    assert catalogue("en").dbfs(-18.4) == "−18\xa0dBFS"
    assert catalogue("en").dbfs(None) == "–"
    assert catalogue("ko").percent(0.937) == "94%"


def test_a_damaged_installation_is_named() -> None:
    with pytest.raises(TocsinError, match=r"xx\.json: the texts cannot be read"):
        catalogue("xx")
    assert FALLBACK in LANGUAGES
