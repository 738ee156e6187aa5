"""The pages that people see: what happens now, and what happened.

The page "Now" is an empty frame that its scripts fill from the API. "History" is written here, row by
row, so that it can be read without scripts; its scripts fetch further pages of it and take the rows.
"""

from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import urlencode

from flask import Blueprint, Response, g, render_template, request, url_for

from tocsin_hub import export, i18n, theme
from tocsin_hub.filters import Filters, read_filters
from tocsin_hub.i18n import Catalogue
from tocsin_hub.navigation import offered, signed_in
from tocsin_hub.people.access import login_required, viewer
from tocsin_hub.plan.pages import seen_plan
from tocsin_hub.rooms import NodeRecord
from tocsin_hub.services import services
from tocsin_hub.store import MAX_PAGE, HistoryPage, Occasion, Store, StoredEvent
from tocsin_hub.times import from_us, iso
from tocsin_shared.errors import BadInputError, UnavailableError
from tocsin_shared.events import Certainty, Clock
from tocsin_shared.labels import SEVERITIES, Severity, severity_of

pages = Blueprint("pages", __name__)

Offer = list[tuple[str, str]]
"""Choices of a filter: value in the address, and words."""

PAGE_ROWS = 50
_LATE_SECONDS = 10.0
"""A report that took longer than this from onset to hub says so, whether the node called it late or not."""


@dataclass(frozen=True)
class Row:
    """One detection as a line of the history, in words."""

    id: str
    severity: str
    severity_name: str
    sound: str
    room: str
    zone: str
    onset: str
    """ISO 8601, for the scripts, which show it in the viewer's time zone."""
    onset_utc: str
    score: str
    duration: str
    level: str
    lateness: str
    """How long after its onset the hub heard of it; empty when that was in time."""
    unsynced: bool
    test: bool


@pages.get("/")
@login_required
def dashboard() -> str:
    """What sounds now, what was heard of late, and every room."""
    return render_template("dashboard.html", plan=seen_plan())


@pages.get("/history")
@login_required
def history() -> str:
    """What was heard, newest first; ``before`` is the cursor of a page, and filters stand in the address."""
    hub = services()
    zones = viewer().zones
    records = {record.node: record for record in hub.rooms.all() if viewer().sees(record.zone)}
    filters = read_filters(request.args)
    page = _page(hub.store, filters, zones)
    older = _address("pages.history", {**filters.query, "before": page.next}) if page.next else ""
    return render_template(
        "history.html",
        events=[_row(event, records.get(event.node), _catalogue()) for event in page.events],
        older=older,
        filters=filters,
        export=_address("pages.history_csv", filters.query),
        **_choices(records.values(), filters, _catalogue()),
    )


@pages.get("/history.csv")
@login_required
def history_csv() -> Response:
    """The history with its filters as a file for a spreadsheet, newest first."""
    hub, texts, only = services(), _catalogue(), read_filters(request.args).for_store()
    zones = viewer().zones
    rooms = {record.node: record.room for record in hub.rooms.all()}
    parts = export.lines(
        lambda cursor: hub.store.events_before(cursor, MAX_PAGE, only, zones),
        lambda node: rooms.get(node, node),
        texts,
    )
    answer = Response(parts, mimetype="text/csv")
    day = f"{from_us(hub.clock()):%Y-%m-%d}"
    answer.headers["Content-Disposition"] = f'attachment; filename="tocsin-{day}.csv"'
    return answer


@pages.get("/signed-out")
def signed_out() -> str:
    """How to get in, for whoever is not; also shown in place of a login link that does not work."""
    return render_template("login.html", link_spent=request.endpoint != "pages.signed_out")


@pages.errorhandler(UnavailableError)
def _unavailable(_error: UnavailableError) -> tuple[str, int]:
    return render_template("problem.html"), 503


def _page(store: Store, filters: Filters, zones: frozenset[str]) -> HistoryPage:
    cursor = request.args.get("before") or None
    try:
        return store.events_before(cursor, PAGE_ROWS, filters.for_store(), zones)
    except BadInputError:
        # An address that was cut short still shows something: the newest.
        return store.events_before(None, PAGE_ROWS, filters.for_store(), zones)


def _row(event: StoredEvent, record: NodeRecord | None, texts: Catalogue) -> Row:
    severity = event.severity
    return Row(
        id=event.id,
        severity=severity,
        severity_name=texts.named("severity", severity),
        sound=texts.named("label", event.label),
        room=record.room if record else event.node,
        zone=event.zone,
        onset=iso(event.onset_us) or "",
        onset_utc=f"{from_us(event.onset_us):%Y-%m-%d %H:%M:%S}",
        score=_score(event, texts),
        duration=_duration(event, record, texts),
        level=texts.dbfs(event.level_dbfs),
        lateness=_lateness(event, texts),
        unsynced=event.clock is Clock.UNSYNCED,
        test=event.test,
    )


def _score(event: StoredEvent, texts: Catalogue) -> str:
    """The network's score, unless it is not what the detection rests on."""
    return texts.t("history.by_rhythm") if event.certainty is Certainty.RHYTHM else texts.percent(event.score)


def _duration(event: StoredEvent, record: NodeRecord | None, texts: Catalogue) -> str:
    if event.offset_us is not None:
        return texts.duration((event.offset_us - event.onset_us) / 1e6)
    sounding = record is not None and record.has_open(event.boot, event.offset_us)
    return texts.t("history.sounding" if sounding else "history.end_unknown")


def _lateness(event: StoredEvent, texts: Catalogue) -> str:
    seconds = (event.first_received_us - event.onset_us) / 1e6
    return texts.duration(seconds) if event.late or seconds > _LATE_SECONDS else ""


def _choices(records: Collection[NodeRecord], filters: Filters, texts: Catalogue) -> dict[str, Offer]:
    """What each filter offers, what is chosen now always included."""
    rooms = {record.node: record.room for record in records}
    rooms.setdefault(filters.node, filters.node)
    labels = {label for label, severity in SEVERITIES.items() if severity is not Severity.NONE}
    labels.update(label for record in records if record.birth for label in record.birth.labels)
    labels.add(filters.label)
    sounds = {label: texts.named("label", label) for label in labels if _is_reported(label)}
    severities = [s for s in Severity if s is not Severity.NONE or filters.severity == s]
    zones = {record.zone: record.zone for record in records} | {filters.zone: filters.zone}
    return {
        "zones": _offered(zones),
        "rooms": _offered(rooms),
        "sounds": _offered(sounds),
        "severities": [(str(severity), texts.named("severity", severity)) for severity in severities],
        "occasions": [(str(occasion), texts.named("history", occasion)) for occasion in Occasion],
    }


def _is_reported(label: str) -> bool:
    return severity_of(label) is not Severity.NONE


def _offered(names: dict[str, str]) -> Offer:
    offered = [(value, name) for value, name in names.items() if value]
    return sorted(offered, key=lambda item: item[1].casefold())


def _language() -> str:
    if "language" not in g:
        accepted = request.headers.get("Accept-Language")
        g.language = i18n.choose(request.args.get("lang"), request.cookies.get(i18n.COOKIE), accepted)
    return str(g.language)


def _catalogue() -> Catalogue:
    return i18n.catalogue(_language())


def reader_texts() -> Catalogue:
    """The texts in the language of whoever asks, for the pages of other modules."""
    return _catalogue()


def _with_query(name: str, value: str) -> str:
    """Address of this very page with ``name`` in its query, such as another language or theme."""
    if request.endpoint in {None, "auth.login"} or request.method != "GET":
        # What was sent, or may be used once only, is not asked for again.
        home = url_for("pages.dashboard" if signed_in() else "pages.signed_out")
        return f"{home}?{urlencode({name: value})}"
    return f"{request.script_root}{request.path}?{urlencode({**request.args.to_dict(), name: value})}"


def _address(endpoint: str, query: dict[str, str]) -> str:
    # Not as arguments of url_for: a query from outside may hold names that mean something to it.
    return f"{url_for(endpoint)}?{urlencode(query)}"


@pages.app_context_processor
def _template_values() -> dict[str, object]:
    texts = _catalogue()
    return {
        "t": texts.t,
        "lang": texts.language,
        "texts": dict(texts.texts),
        "languages": i18n.LANGUAGES,
        "theme": theme.chosen(),
        "themes": theme.THEMES,
        "with_query": _with_query,
        "navigation": offered,
        "signed_in": signed_in,
    }


@pages.after_app_request
def _remember_language(response: Response) -> Response:
    asked = request.args.get("lang")
    if asked in i18n.LANGUAGES:
        response.set_cookie(
            i18n.COOKIE,
            asked,
            max_age=i18n.COOKIE_SECONDS,
            secure=request.is_secure,
            httponly=True,
            samesite="Lax",
        )
    if response.mimetype == "text/html":
        response.headers.setdefault("Content-Language", _language())
        response.vary.update(("Accept-Language", "Cookie"))
    return theme.remember(response)
