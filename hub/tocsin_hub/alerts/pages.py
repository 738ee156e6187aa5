"""Pages about alerts: time to awareness for officers, policies and their tester for admins. No scripts."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

import msgspec
from flask import Blueprint, Response, abort, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import MultiDict

from tocsin_hub.alerts import editing
from tocsin_hub.alerts.awareness import BOUNDS_SECONDS, BUDGET_SECONDS, Figures, figures
from tocsin_hub.alerts.editing import Trial
from tocsin_hub.alerts.model import Audience, ChannelName, Policy
from tocsin_hub.alerts.passages import NEWEST, passages
from tocsin_hub.alerts.policies import (
    LONGEST_SECONDS,
    MOST_STEPS,
    SHORTEST_REPEAT_SECONDS,
    PolicyDocument,
    PolicyError,
    StepDocument,
    checked,
    fallback,
    to_document,
)
from tocsin_hub.alerts.rules import Rehearsal, Telling
from tocsin_hub.incidents.model import HubTrouble, IncidentKind, IncidentSeverity
from tocsin_hub.pages import pages
from tocsin_hub.people import access, audit
from tocsin_hub.people.access import P, View
from tocsin_hub.people.model import Role
from tocsin_hub.recorder import Recorder
from tocsin_hub.services import services
from tocsin_hub.times import from_us
from tocsin_shared.events import ZONE_PATTERN, TroubleKind
from tocsin_shared.labels import LABEL_PATTERN, SEVERITIES, Severity

__all__ = ["alert_pages", "pages"]

alert_pages = Blueprint("alerts", __name__)

DAYS = (1, 7, 30, 365)
NEW = "new"
_SPARE_STEPS = 2
_BAR, _PLOT, _TOP, _FOOT = 28, 90, 30, 20
"""Width of a bar with its gap, height of the plot, of what stands above and below; units of the drawing."""
_NUMBER = re.compile(r"[0-9]{1,5}([.,][0-9]{1,3})?")

Form = MultiDict[str, str]


@dataclass(frozen=True)
class Bar:
    """One bar of a histogram, in units of the drawing."""

    x: float
    y: float
    height: float
    count: int
    label: str
    """Upper end in seconds; empty for the last bar, which has none."""
    over: bool
    """Whether what it counts is beyond the budget."""


@dataclass(frozen=True)
class Plot:
    """The histogram of one hop."""

    figures: Figures
    bars: tuple[Bar, ...]
    width: int
    height: int
    budget_x: float
    """Where the line of the budget stands."""


@dataclass(frozen=True)
class Row:
    """One step of the form, as it was typed."""

    number: int
    after: str = ""
    audience: str = ""
    channels: frozenset[str] = frozenset()
    repeat: str = ""


@dataclass(frozen=True)
class Draft:
    """The form of a policy, as it was typed."""

    name: str = ""
    severities: frozenset[str] = frozenset()
    zones: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    rows: tuple[Row, ...] = ()
    most: str = ""
    help_tells_zone: bool = True
    enabled: bool = True


@dataclass(frozen=True)
class Asked:
    """What the tester was asked."""

    label: str = "smoke_alarm"
    zone: str = ""
    weekday: int = 0
    time: str = "10:00"
    drill: bool = False
    help: bool = False


@dataclass(frozen=True)
class Outcome:
    """What the tester found."""

    rehearsal: Rehearsal
    severity: IncidentSeverity
    people: tuple[tuple[str, str, tuple[Telling, ...]], ...]
    """Name, reason and what she would be told, for everybody."""
    places: tuple[Telling, ...] = field(default=())


def for_admins(view: View[P]) -> View[P]:
    """Shows a page to admins of the whole site: a policy is for all zones."""

    @wraps(view)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> ResponseReturnValue:
        return view(*args, **kwargs) if not access.viewer().zones else access.refused()

    return access.page_for(Role.ADMIN)(guarded)


@alert_pages.get("/awareness")
@access.page_for(Role.OFFICER)
def awareness() -> str:
    """How long it takes until people know, hop by hop."""
    hub = services()
    asked = request.args.get("days", "")
    days = int(asked) if asked in {str(each) for each in DAYS} else 30
    drills = request.args.get("drills", "") != "no"
    found = figures(passages(hub.store, hub.clock() - days * 86_400_000_000, drills=drills))
    return render_template(
        "awareness.html",
        plots=[plot_of(one) for one in found],
        days=days,
        choices=DAYS,
        drills=drills,
        budget=BUDGET_SECONDS,
        newest=NEWEST,
    )


def plot_of(found: Figures) -> Plot:
    """The drawing of one hop; the highest bar is as high as the plot."""
    highest = max(*found.bars, 1)
    bars = []
    for number, count in enumerate(found.bars):
        height = round(_PLOT * count / highest, 1)
        last = number == len(BOUNDS_SECONDS)
        end = 0.0 if last else BOUNDS_SECONDS[number]
        label = "" if last else f"{end:g}"
        over = last or end > BUDGET_SECONDS
        bars.append(Bar(number * _BAR, _TOP + _PLOT - height, height, count, label, over))
    within = sum(end <= BUDGET_SECONDS for end in BOUNDS_SECONDS)
    size = (len(bars) * _BAR, _TOP + _PLOT + _FOOT)
    return Plot(found, tuple(bars), *size, budget_x=within * _BAR - 3)


@alert_pages.get("/admin/policies")
@for_admins
def policies() -> str:
    """All policies in their order, and a tester for what holds now."""
    found = services().alerts.policies()
    return render_template("policies.html", found=found, done=request.args.get("done", ""), new=NEW)


@alert_pages.route("/admin/policies/edit", methods=["GET", "POST"])
@for_admins
def policy() -> ResponseReturnValue:
    """The form of one policy, with the tester; ``policy`` in the address is its id, or ``new``."""
    key = request.args.get("policy", NEW)[:64]
    known = next((one for one in services().alerts.policies().policies if one.id == key), None)
    if known is None and key != NEW:
        if request.method == "POST" and request.form.get("do") == "delete":
            return _edited(key, lambda recorder, now_us: editing.delete(recorder, key, now_us), "deleted")
        abort(404)
    if request.method == "POST":
        return _posted(key, request.form)
    shown = known or fallback(IncidentSeverity.ALARM)
    draft = _draft_of(shown if known else None)
    zone = next(iter(sorted(shown.zones) or _zones(())), "")
    return _form(key, draft, Asked(label=_some_label(shown), zone=zone))


def _posted(key: str, form: Form) -> ResponseReturnValue:
    match form.get("do", ""):
        case "delete":
            return _edited(key, lambda recorder, now_us: editing.delete(recorder, key, now_us), "deleted")
        case "earlier" | "later" as way:
            by = -1 if way == "earlier" else 1
            return _edited(key, lambda recorder, now_us: editing.move(recorder, key, by, now_us), "moved")
    draft, asked = _typed(form), _asked(form)
    try:
        document = read_draft(draft)
        checked(key, 1, document)
    except PolicyError as error:
        return _form(key, draft, asked, error=error)
    if form.get("do") == "try":
        return _form(key, draft, asked, outcome=_tried(key, document, asked))
    if key == NEW:
        made = editing.new_key()
        return _edited(made, lambda recorder, now_us: editing.add(recorder, made, document, now_us), "saved")
    return _edited(key, lambda recorder, now_us: editing.change(recorder, key, document, now_us), "saved")


def _edited(key: str, edit: Any, done: str) -> ResponseReturnValue:
    hub, noted = services(), audit.noting(f"policy.{done}", key)

    def write(recorder: Recorder) -> bool:
        if not edit(recorder, hub.clock()):
            return False
        noted(recorder)
        return True

    if not hub.writer.call(write):
        done = "missing"
    hub.engine.look_again()
    return redirect(url_for("pages.alerts.policies", done=done) + f"#{key}", 303)


def _form(
    key: str, draft: Draft, asked: Asked, *, error: PolicyError | None = None, outcome: Outcome | None = None
) -> Response:
    rows = [*draft.rows, *(Row(len(draft.rows) + one) for one in range(1, _SPARE_STEPS + 1))][:MOST_STEPS]
    page = render_template(
        "policy.html",
        key=key,
        new=NEW,
        draft=draft,
        rows=rows,
        asked=asked,
        error=error,
        outcome=outcome,
        sounds=_sounds(),
        troubles=[*TroubleKind, *HubTrouble],
        zones=_zones(draft.zones),
        severities=list(IncidentSeverity),
        audiences=list(Audience),
        channels=list(ChannelName),
        zone_known=services().engine.site().time_zone is not None,
    )
    return make_response(page, 400 if error else 200)


def _sounds() -> list[str]:
    return [label for label, severity in SEVERITIES.items() if severity is not Severity.NONE]


def _zones(more: Iterable[str]) -> list[str]:
    return sorted({record.zone for record in services().rooms.all() if record.zone} | set(more))


def _some_label(shown: Policy) -> str:
    """A sound or a trouble for which ``shown`` is likely meant, for the tester to begin with."""
    if shown.groups:
        return min(shown.groups)
    severity = next((one for one in IncidentSeverity if one in shown.severities), IncidentSeverity.ALARM)
    fitting = (label for label, one in SEVERITIES.items() if str(one) == str(severity))
    return next(fitting, str(TroubleKind.MIC_ABSENT))


def _draft_of(known: Policy | None) -> Draft:
    """The form of ``known``; of a new policy: what an alarm begins with."""
    document = to_document(known or fallback(IncidentSeverity.ALARM))
    rows = tuple(
        Row(
            number,
            f"{step.after_seconds:g}",
            str(step.audience),
            frozenset(map(str, step.channels)),
            "" if step.repeat_seconds is None else f"{step.repeat_seconds:g}",
        )
        for number, step in enumerate(document.steps, start=1)
    )
    return Draft(
        name=document.name if known else "",
        severities=frozenset(map(str, document.severities)),
        zones=frozenset(document.zones),
        groups=frozenset(document.groups),
        rows=rows,
        most="" if document.most_repeats is None else str(document.most_repeats),
        help_tells_zone=document.help_tells_zone,
        enabled=document.enabled,
    )


def _typed(form: Form) -> Draft:
    """The form as it came; steps without an audience are left out."""
    rows = [
        Row(
            number,
            form.get(f"after-{number}", "").strip(),
            form.get(f"audience-{number}", ""),
            frozenset(form.getlist(f"channel-{number}")),
            form.get(f"repeat-{number}", "").strip(),
        )
        for number in range(1, MOST_STEPS + 1)
    ]
    kept = [row for row in rows if row.audience]
    return Draft(
        name=form.get("name", "").strip()[:80],
        severities=frozenset(form.getlist("severity")),
        zones=frozenset(form.getlist("zone")),
        groups=frozenset(form.getlist("group")),
        rows=tuple(
            Row(number, row.after, row.audience, row.channels, row.repeat)
            for number, row in enumerate(kept, start=1)
        ),
        most=form.get("most", "").strip(),
        help_tells_zone="help_tells_zone" in form,
        enabled="enabled" in form,
    )


def read_draft(draft: Draft) -> PolicyDocument:
    """The document that the form describes; the rules of policies are not checked yet.

    Raises:
        PolicyError: a field cannot be read.
    """
    if not draft.name:
        raise PolicyError("name", "name: give the policy a name")
    if not draft.severities:
        raise PolicyError("severities", "severities: choose at least one")
    most = None
    if draft.most:
        if not (draft.most.isascii() and draft.most.isdigit() and int(draft.most[:6]) <= 1000):
            raise PolicyError("most", "most_repeats: must be a whole number from 0 to 1000")
        most = int(draft.most)
    values = {
        "name": draft.name,
        "severities": sorted(draft.severities),
        "zones": sorted(draft.zones),
        "groups": sorted(draft.groups),
        "steps": [msgspec.to_builtins(_step(row)) for row in draft.rows],
        "most_repeats": most,
        "help_tells_zone": draft.help_tells_zone,
        "enabled": draft.enabled,
    }
    try:
        return msgspec.convert(values, PolicyDocument)
    except msgspec.ValidationError as error:
        raise PolicyError("form", str(error)) from error


def _step(row: Row) -> StepDocument:
    # An empty field of time means at once, which is what a first step does.
    after = _seconds(row.after or "0", 0.0)
    if after is None:
        raise PolicyError("after", f"step {row.number}: after must be a number of seconds", step=row.number)
    repeat = _seconds(row.repeat, SHORTEST_REPEAT_SECONDS) if row.repeat else None
    if row.repeat and repeat is None:
        raise PolicyError(
            "repeat",
            f"step {row.number}: repeat must be at least {SHORTEST_REPEAT_SECONDS:.0f} s",
            step=row.number,
            seconds=round(SHORTEST_REPEAT_SECONDS),
        )
    chosen = [one for one in ChannelName if one in row.channels]
    if not chosen or row.audience not in set(Audience):
        raise PolicyError("channels", f"step {row.number}: choose a channel", step=row.number)
    return StepDocument(
        after_seconds=after, audience=Audience(row.audience), channels=tuple(chosen), repeat_seconds=repeat
    )


def _seconds(text: str, least: float) -> float | None:
    if not _NUMBER.fullmatch(text):
        return None
    seconds = float(text.replace(",", "."))
    return seconds if least <= seconds <= LONGEST_SECONDS else None


def _asked(form: Form) -> Asked:
    """What the tester is asked; what makes no sense becomes what is offered first."""
    label, zone = form.get("trial_label", ""), form.get("trial_zone", "")
    day, time = form.get("trial_day", ""), form.get("trial_time", "")
    return Asked(
        label=label if re.fullmatch(LABEL_PATTERN, label) else Asked.label,
        zone=zone if re.fullmatch(ZONE_PATTERN, zone) else "",
        weekday=int(day) if day in set("0123456") else 0,
        time=time if re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", time) else Asked.time,
        drill="trial_drill" in form,
        help="trial_help" in form,
    )


def _tried(key: str, document: PolicyDocument, asked: Asked) -> Outcome:
    """Who would be told with the draft in place; nothing is sent and nothing kept."""
    hub = services()
    site, people = hub.engine.site(), hub.engine.people()
    hour, minute = asked.time.split(":")
    at_us = editing.moment_us(site, asked.weekday, int(hour) * 60 + int(minute), from_us(hub.clock()))
    trouble = asked.label in {*TroubleKind, *HubTrouble}
    kind = IncidentKind.TROUBLE if trouble else IncidentKind.SOUND
    trial = Trial(asked.label, kind, asked.zone, at_us, asked.drill, asked.help)
    found = editing.with_draft(hub.alerts.policies().policies, None if key == NEW else key, document)
    shown = editing.tried(trial, found, people, site)
    by_person = _by_person(shown.tellings)
    names = {person.id: person.name for person in people}
    return Outcome(
        rehearsal=shown,
        severity=editing.incident_of(trial).severity,
        people=tuple(
            (names[one], str(shown.reasons[one]), by_person.get(one, ()))
            for one in sorted(names, key=lambda one: (not by_person.get(one), names[one]))
        ),
        places=by_person.get(None, ()),
    )


def _by_person(tellings: Sequence[Telling]) -> Mapping[str | None, tuple[Telling, ...]]:
    found: dict[str | None, tuple[Telling, ...]] = {}
    for one in tellings:
        found[one.person] = (*found.get(one.person, ()), one)
    return found


pages.register_blueprint(alert_pages)
