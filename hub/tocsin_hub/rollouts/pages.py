"""The pages of rollouts: all of them, the form of a new one with its rehearsal, and one with its rings.

All of it is written here and works without scripts; the script of a rollout's page only fetches it anew.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from flask import Blueprint, Response, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import NotFound

from tocsin_hub.i18n import Catalogue
from tocsin_hub.pages import reader_texts
from tocsin_hub.people import audit
from tocsin_hub.people.access import page_for, viewer
from tocsin_hub.people.model import Person, Role
from tocsin_hub.people.pages import for_admin
from tocsin_hub.rollouts import form
from tocsin_hub.rollouts.actions import Action, IllegalTransitionError
from tocsin_hub.rollouts.drafts import Draft, Offered
from tocsin_hub.rollouts.form import Circumstances, FormError, Typed
from tocsin_hub.rollouts.model import Pause, Rollout, Status
from tocsin_hub.rollouts.rehearse import Fault
from tocsin_hub.rollouts.views import limited
from tocsin_hub.rollouts.words import Outcome, Words, drawing
from tocsin_hub.services import services
from tocsin_hub.times import from_us
from tocsin_shared.errors import BadInputError, SettingsError

rollout_pages = Blueprint("rollout", __name__)
_SHOWN = 30
_ORDER = (
    Action.APPROVE,
    Action.SUBMIT,
    Action.START,
    Action.RESUME,
    Action.DENY,
    Action.PAUSE,
    Action.ROLLBACK,
    Action.ABORT,
)
"""What helps on before what takes back."""
_ONWARD = (Action.APPROVE, Action.SUBMIT, Action.START, Action.RESUME)
_GATES = (Pause.SUCCESS_GATE, Pause.SHADOW_DISAGREEMENT, Pause.ALARM_DRIFT)
_EARLY = (Status.DRAFT, Status.AWAITING_APPROVAL, Status.SCHEDULED)

Json = dict[str, Any]


@dataclass(frozen=True)
class Act:
    """Something that the person who asks may do, and what follows from it."""

    name: str
    label: str
    does: str
    onward: bool


@rollout_pages.get("/rollouts")
@page_for(Role.OFFICER)
def everything() -> str:
    """All rollouts, the newest first."""
    hub, person = services(), viewer()
    shown = [
        limited(hub.rollouts.shown(one, log_too=True), person.zones) for one in hub.rollouts.newest(_SHOWN)
    ]
    _, off = _shelf()
    return render_template(
        "rollouts.html",
        rollouts=[one for one in shown if not person.zones or any(ring["nodes"] for ring in one["rings"])],
        words=Words(reader_texts()),
        may=_decides(person),
        off=off,
        good=_good,
        all_of=_all_of,
    )


@rollout_pages.route("/rollouts/new", methods=["GET", "POST"])
@for_admin
def new() -> ResponseReturnValue:
    """The form of a new rollout. It is rehearsed before it can be saved, as it is saved."""
    shelf, off = _shelf()
    if request.method == "GET" or off:
        newest = f"{shelf[0].name} {shelf[0].release}" if shelf else ""
        return _form(Typed(bundle=request.args.get("bundle", newest)[:200]), shelf, off)
    typed = form.typed_in(request.form, request.form.getlist("lone"))
    try:
        draft = form.read(typed, _circumstances(shelf))
        outcome = _rehearsed(draft, typed.fault)
        saving = request.form.get("do") == "save"
        if saving and request.form.get("rehearsed") == form.mark(draft):
            return _created(draft)
    except FormError as error:
        return _form(typed, shelf, error=error.fault)
    except BadInputError as error:
        return _form(typed, shelf, error="plan", other=str(error))
    return _form(typed, shelf, outcome=outcome, mark=form.mark(draft), changed=saving)


def _rehearsed(draft: Draft, fault: str) -> Outcome:
    hub = services()
    rooms = {record.node: record.room for record in hub.rooms.all()}
    return Words(reader_texts()).outcome(hub.rollouts.rehearse(draft, form.script(fault)), rooms)


def _created(draft: Draft) -> ResponseReturnValue:
    hub = services()
    key = hub.rollouts.create(draft, viewer().id, hub.clock())
    audit.record("rollout.created", key, f"{draft.name} {draft.release}")
    return redirect(url_for("rollout.show", key=key), 303)


def _form(
    typed: Typed,
    shelf: tuple[Offered, ...],
    off: str = "",
    *,
    error: str = "",
    other: str = "",
    outcome: Outcome | None = None,
    mark: str = "",
    changed: bool = False,
) -> Response:
    hub = services()
    used = max((row.number for row in typed.rows if row.kind), default=0)
    spare = tuple(form.Row(number) for number in range(len(typed.rows) + 1, form.ROWS + 1))
    rows = (*typed.rows, *spare)[: used + 1]
    zones = [record.zone for record in hub.rooms.all() if record.zone]
    page = render_template(
        "rollout_new.html",
        typed=typed,
        rows=rows,
        kinds=form.KINDS,
        shelf=shelf,
        variants=sorted({one.variant for bundle in shelf for one in bundle.variants}),
        releases=list(dict.fromkeys(one.release for one in shelf)),
        lone=sorted(zone for zone in set(zones) if zones.count(zone) == 1),
        some_zone=min(zones, default="hall-1"),
        time_zone=f"{from_us(hub.clock()).astimezone(hub.engine.site().time_zone or UTC):%Z}",
        forced=hub.settings.updates.two_persons,
        faults=[form.NO_FAULT, *Fault, form.ALARM],
        off=off,
        error=error,
        other=other,
        outcome=outcome,
        mark=mark,
        changed=changed,
    )
    return make_response(page, 400 if error else 200)


def _circumstances(shelf: tuple[Offered, ...]) -> Circumstances:
    hub = services()
    return Circumstances(shelf, hub.engine.site().time_zone or UTC, hub.clock())


def _shelf() -> tuple[tuple[Offered, ...], str]:
    """What is signed, and why nothing can be rolled out; empty if it can."""
    rollouts = services().rollouts
    try:
        rollouts.trusted()
        return rollouts.bundles(), ""
    except (BadInputError, SettingsError) as error:
        return (), str(error)


@rollout_pages.get("/rollouts/<key>")
@page_for(Role.OFFICER)
def show(key: str) -> ResponseReturnValue:
    """One rollout: where each room stands and why, what can be done, and what was done."""
    return _page(_seen(key))


@rollout_pages.post("/rollouts/<key>/<action>")
@for_admin
def act(key: str, action: str) -> ResponseReturnValue:
    """Do what the person has chosen and confirmed."""
    hub, known = services(), _seen(key)
    if action not in set(_ORDER):
        raise NotFound
    try:
        hub.rollouts.act(key, Action(action), viewer().id, hub.clock())
    except IllegalTransitionError:
        return _page(_seen(key), refused=True), 409
    except BadInputError as error:
        return _page(known, other=str(error)), 409
    audit.record(f"rollout.{action}", key)
    return redirect(url_for("rollout.show", key=key, done="yes"), 303)


def _seen(key: str) -> Rollout:
    """The rollout of this id, if there is one."""
    try:
        if key.isalnum() and len(key) == 26:
            return services().rollouts.get(key)
    except BadInputError:
        pass
    raise NotFound


def _page(rollout: Rollout, *, refused: bool = False, other: str = "") -> str:
    hub, person, texts = services(), viewer(), reader_texts()
    shown, words = limited(hub.rollouts.shown(rollout), person.zones), Words(texts)
    return render_template(
        "rollout.html",
        told=shown,
        words=words,
        rings=[words.ring(one) for one in shown["rings"]],
        counts=words.counts(shown),
        picture=drawing(shown["rings"]),
        log=[words.line(line) for line in reversed(shown["log"])],
        acts=_acts(shown, person, texts),
        decides=_decides(person),
        own=_needs_another(shown, person),
        utc=lambda iso: texts.t("format.utc", time=iso[:19].replace("T", " ")),
        good=_good,
        all_of=_all_of,
        refused=refused,
        other=other,
        done=request.args.get("done") == "yes",
    )


def _decides(person: Person) -> bool:
    return person.may(Role.ADMIN) and not person.zones


def _needs_another(shown: Json, person: Person) -> bool:
    waits = shown["state"] == Status.AWAITING_APPROVAL and shown["two_persons"]
    return bool(waits and shown["created_by"]["id"] == person.id)


def _acts(shown: Json, person: Person, texts: Catalogue) -> list[Act]:
    if not _decides(person):
        return []
    possible = set(shown["actions"])
    if _needs_another(shown, person):
        possible.discard(Action.APPROVE)
    return [
        Act(
            name=str(one),
            label=texts.t(f"rollout_action.{one}"),
            does=_consequence(one, shown, texts),
            onward=one in _ONWARD and shown["reason"] in {None, Pause.MANUAL},
        )
        for one in _ORDER
        if one in possible
    ]


def _consequence(action: Action, shown: Json, texts: Catalogue) -> str:
    """What follows when the person says so, as the rollout stands."""
    if action is Action.APPROVE and shown["starts"]:
        return texts.t("rollout_does.approve_starts")
    if action is Action.RESUME and shown["reason"] == Pause.ERROR_THRESHOLD:
        return texts.t("rollout_does.resume_errors")
    if action is Action.RESUME and shown["reason"] in _GATES:
        return texts.t("rollout_does.resume_gate")
    if action is Action.ABORT and shown["state"] in _EARLY:
        return texts.t("rollout_does.abort_early")
    if action is Action.ROLLBACK:
        return texts.t("rollout_does.rollback", release=shown["back"][0]["release"])
    return texts.t(f"rollout_does.{action}")


def _good(shown: Mapping[str, Any]) -> int:
    return sum(ring["proven"] for ring in shown["rings"])


def _all_of(shown: Mapping[str, Any]) -> int:
    return sum(len(ring["nodes"]) for ring in shown["rings"])
