"""The page of drills: start one, see which run, end them. No script is needed; a start is confirmed."""

from dataclasses import dataclass, replace

from flask import Blueprint, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from ulid import ULID

from tocsin_hub.i18n import Catalogue
from tocsin_hub.incidents.model import Drill
from tocsin_hub.pages import reader_texts
from tocsin_hub.people import access, audit
from tocsin_hub.people.access import page_for, viewer
from tocsin_hub.people.model import Person, Role
from tocsin_hub.services import services
from tocsin_hub.times import from_us, iso
from tocsin_shared.errors import UnavailableError

drill = Blueprint("drill", __name__)
MOST_MINUTES = 240
_MOST_NOTE = 200
_SHOWN = 10


@dataclass(frozen=True)
class Wanted:
    """What the form says."""

    zones: frozenset[str] = frozenset()
    minutes: str = "10"
    note: str = ""
    sound: bool = False
    confirmed: bool = False


@dataclass(frozen=True)
class DrillRow:
    """One drill as the page shows it."""

    id: str
    zones: str
    note: str
    started: str
    """ISO 8601."""
    ends: str
    span_utc: str
    active: bool
    mine: bool
    """Whether the person who asks may end it."""


@drill.get("/drill")
@page_for(Role.OFFICER)
def show() -> ResponseReturnValue:
    """The form, and the drills that run or ran."""
    return _page(Wanted(), "")


@drill.post("/drill")
@page_for(Role.OFFICER)
def start() -> ResponseReturnValue:
    """Start a drill, or tell what is wrong with the form."""
    wanted = Wanted(
        frozenset(request.form.getlist("zone")),
        request.form.get("minutes", "")[:10],
        request.form.get("note", "").strip()[: _MOST_NOTE + 1],
        "sound" in request.form,
        "confirmed" in request.form,
    )
    if error := _error(wanted):
        return _page(wanted, error), 400
    hub, person = services(), viewer()
    zones = wanted.zones or person.zones
    now_us = hub.clock()
    note = wanted.note.encode("utf-8", "backslashreplace").decode()
    ends_us = now_us + int(wanted.minutes) * 60_000_000
    key = str(ULID())
    hub.desk.start_drill(
        Drill(key, zones, person.id, note, now_us, ends_us, wanted.sound), sorted(zones or _zones())
    )
    audit.record("drill.started", key, f"{wanted.minutes} min; {', '.join(sorted(zones)) or 'all zones'}")
    return redirect(url_for("drill.show"))


@drill.post("/drill/<key>/end")
@page_for(Role.OFFICER)
def end(key: str) -> ResponseReturnValue:
    """End a drill now."""
    known = services().incidents.drill(key) if key.isalnum() and len(key) == 26 else None
    if known is not None and _commands(known):
        services().desk.end_drill(key)
        audit.record("drill.ended", key)
    return redirect(url_for("drill.show"))


def drills_running() -> str:
    """What every page says while a drill runs in a zone that the person who asks sees; else empty."""
    try:
        person = access.current()
        if person is None:
            return ""
        hub = services()
        now_us = hub.clock()
        running = [one for one in hub.incidents.drills() if one.started_us <= now_us < one.ends_us]
        return " ".join(_words(_seen(person, one), reader_texts()) for one in running if _sees(person, one))
    except UnavailableError:  # the page that says so must not fail for it
        return ""


def _words(one: Drill, texts: Catalogue) -> str:
    time = texts.t("format.utc", time=f"{from_us(one.ends_us):%H:%M}")
    if one.zones:
        return texts.t("drill.runs_in", zones=", ".join(sorted(one.zones)), time=time)
    return texts.t("drill.runs", time=time)


def _error(wanted: Wanted) -> str:
    if not wanted.zones <= _zones() or not _zones():
        return "zones"
    text = wanted.minutes
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MOST_MINUTES):
        return "minutes"
    if len(wanted.note) > _MOST_NOTE:
        return "note"
    return "" if wanted.confirmed else "confirm"


def _page(wanted: Wanted, error: str) -> str:
    hub, texts = services(), reader_texts()
    now_us = hub.clock()
    known = [one for one in hub.incidents.drills() if _sees(viewer(), one)]
    rows = [_row(_seen(viewer(), one), texts, now_us, mine=_commands(one)) for one in known]
    return render_template(
        "drill.html",
        wanted=wanted,
        error=error,
        zones=sorted(_zones()),
        running=[row for row in rows if row.active],
        earlier=[row for row in rows if not row.active][:_SHOWN],
        most_minutes=MOST_MINUTES,
        most_note=_MOST_NOTE,
    )


def _row(one: Drill, texts: Catalogue, now_us: int, *, mine: bool) -> DrillRow:
    span = (f"{from_us(one.started_us):%Y-%m-%d %H:%M}", f"{from_us(one.ends_us):%H:%M}")
    return DrillRow(
        id=one.id,
        zones=", ".join(sorted(one.zones)) or texts.t("drill.everywhere"),
        note=one.note,
        started=iso(one.started_us) or "",
        ends=iso(one.ends_us) or "",
        span_utc=texts.t("format.utc", time="–".join(span)),
        active=one.started_us <= now_us < one.ends_us,
        mine=mine,
    )


def _zones() -> frozenset[str]:
    """Zones of the site that the person who asks sees."""
    person = viewer()
    return frozenset(one.zone for one in services().rooms.all() if one.zone and person.sees(one.zone))


def _sees(person: Person, one: Drill) -> bool:
    return not one.zones or any(person.sees(zone) for zone in one.zones)


def _seen(person: Person, one: Drill) -> Drill:
    """The drill without zones that are not for this person's eyes."""
    return replace(one, zones=one.zones & person.zones) if person.zones and one.zones else one


def _commands(one: Drill) -> bool:
    mine = viewer().zones
    return not mine or (bool(one.zones) and one.zones <= mine)
