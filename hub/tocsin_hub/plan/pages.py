"""The pages of the floor plan: officers look at it, admins draw it. Nothing of this needs a script."""

from collections.abc import Mapping

from flask import Blueprint, Response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import NotFound

from tocsin_hub.forgetting import NoRoomError, StillHeardError
from tocsin_hub.people import access, audit
from tocsin_hub.people.access import page_for, viewer
from tocsin_hub.people.guard import takes_body
from tocsin_hub.people.model import Role
from tocsin_hub.plan import keeping
from tocsin_hub.plan.image import MOST_BYTES, read_image
from tocsin_hub.plan.model import MOST_CORNERS, WIDTH, FloorPlan, Picture, RoomShape, read_shape
from tocsin_hub.rooms import NodeRecord, still_heard
from tocsin_hub.services import services
from tocsin_shared.errors import BadInputError

plan = Blueprint("plan", __name__)
_FORM_BYTES = 512 * 1024
"""Enough for the numbers of a thousand rooms."""
_FIELDS = ("x", "y", "width", "height", "corners")
Fields = dict[str, str]


@plan.get("/plan")
@page_for(Role.OFFICER)
def show() -> ResponseReturnValue:
    """The plan with the state of each room."""
    return render_template("plan.html", plan=seen_plan())


@plan.get("/plan/edit")
@page_for(Role.ADMIN)
def edit() -> ResponseReturnValue:
    """Forms for the picture and for where each room lies."""
    return _editor()


@plan.post("/plan/picture")
@takes_body(MOST_BYTES + _FORM_BYTES)
@page_for(Role.ADMIN)
def upload() -> ResponseReturnValue:
    """Take a picture, or tell what is wrong with it."""
    if request.form.get("remove"):
        return _use(None)
    sent = request.files.get("picture")
    try:
        image = read_image(sent.read(MOST_BYTES + 1) if sent else b"")
    except BadInputError as error:
        return _editor(picture_error=str(error)), 400
    return _use(_folder().keep(image))


@plan.post("/plan/rooms")
@takes_body(_FORM_BYTES)
@page_for(Role.ADMIN)
def draw() -> ResponseReturnValue:
    """Put the rooms where the form says, or tell what is wrong with it and change nothing."""
    hub = services()
    stands = keeping.read_plan(hub.store)
    fields = {record.node: _fields_of(record.node) for record in _seen_records()}
    # What lies in other zones than this person's stays where it is.
    shapes = [room for room in stands.rooms if room.node not in fields]
    errors: Fields = {}
    for node, form in fields.items():
        try:
            shape = read_shape(node, form, stands.height)
        except BadInputError as error:
            errors[node] = str(error)
        else:
            shapes += [shape] if shape else []
    if errors:
        return _editor(fields=fields, errors=errors), 400
    hub.writer.call(lambda recorder: keeping.save_rooms(recorder, tuple(shapes)))
    audit.record("plan.drawn", "rooms", str(len(shapes)))
    return redirect(url_for("plan.edit", saved=1))


@plan.get("/plan/rooms/<node>/forget")
@page_for(Role.ADMIN)
def ask_to_forget(node: str) -> ResponseReturnValue:
    """Ask whether a room is to be forgotten."""
    return _question(_seen(node))


@plan.post("/plan/rooms/<node>/forget")
@page_for(Role.ADMIN)
def forget(node: str) -> ResponseReturnValue:
    """Forget a room whose node is gone."""
    record, hub = _seen(node), services()
    try:
        hub.forgetting.give_up(node, audit.noting("room.forgotten", node))
    except NoRoomError as error:  # somebody else was faster
        raise NotFound from error
    except StillHeardError:
        return _question(record, refused=True), 409
    return redirect(url_for("plan.edit", forgotten=record.room))


def _seen(node: str) -> NodeRecord:
    """The room of ``node``.

    Raises:
        NotFound: there is none that the person who asks may see.
    """
    record = services().rooms.get(node)
    if record is None or not viewer().sees(record.zone):
        raise NotFound
    return record


def _question(record: NodeRecord, *, refused: bool = False) -> str:
    return render_template("forget.html", record=record, still_heard=refused)


@plan.get("/plan/picture/<sha256>")
@page_for(Role.OFFICER)
def picture(sha256: str) -> ResponseReturnValue:
    """The picture beneath the rooms; the kind is what the hub found it to be, and no browser may guess."""
    kept = keeping.read_plan(services().store).picture
    data = _folder().read(kept) if kept is not None and kept.sha256 == sha256 else None
    if kept is None or data is None:
        raise NotFound
    answer = Response(data, mimetype=f"image/{kept.kind}")
    answer.headers["Content-Disposition"] = f'inline; filename="plan.{kept.kind}"'
    answer.headers["Cross-Origin-Resource-Policy"] = "same-origin"
    return answer


def seen_plan() -> FloorPlan:
    """The plan with the rooms that the person who asks may see."""
    whole = keeping.read_plan(services().store)
    seen = {record.node for record in _seen_records()}
    return FloorPlan(whole.picture, tuple(room for room in whole.rooms if room.node in seen))


def _seen_records() -> list[NodeRecord]:
    """The rooms that the person who asks may see."""
    return [one for one in services().rooms.all() if viewer().sees(one.zone)]


def may_edit() -> bool:
    """Whether the person who asks may draw the plan."""
    person = access.current()
    return person is not None and person.may(Role.ADMIN)


def _folder() -> keeping.PictureFolder:
    return keeping.PictureFolder(services().settings.state_folder)


def _use(kept: Picture | None) -> ResponseReturnValue:
    services().writer.call(lambda recorder: keeping.save_picture(recorder, kept))
    _folder().forget_others(kept)
    audit.record("plan.picture", kept.sha256 if kept else "")
    return redirect(url_for("plan.edit", saved=1))


def _fields_of(node: str) -> Fields:
    return {name: request.form.get(f"{name}.{node}", "")[:1000] for name in _FIELDS}


def _editor(
    picture_error: str = "",
    fields: Mapping[str, Fields] | None = None,
    errors: Fields | None = None,
) -> str:
    stands = keeping.read_plan(services().store)
    drawn = {room.node: _fields(room) for room in stands.rooms}
    records = _seen_records()
    empty = dict.fromkeys(_FIELDS, "")
    shown = {record.node: (fields or drawn).get(record.node) or empty for record in records}
    return render_template(
        "plan_edit.html",
        plan=stands,
        width=WIDTH,
        most_corners=MOST_CORNERS,
        most_megabytes=MOST_BYTES // 2**20,
        records=records,
        fields=shown,
        errors={_room(records, node): error for node, error in (errors or {}).items()},
        wrong=set(errors or ()),
        picture_error=picture_error,
        saved="saved" in request.args,
        forgotten=request.args.get("forgotten", "")[:100],
        gone=[record for record in records if not still_heard(record, services().clock())],
    )


def _room(records: list[NodeRecord], node: str) -> str:
    return next((record.room for record in records if record.node == node), node)


def _fields(room: RoomShape) -> Fields:
    left, top, width, height = room.box
    corners = "" if room.is_rectangle else " ".join(f"{x},{y}" for x, y in room.corners)
    return {"x": str(left), "y": str(top), "width": str(width), "height": str(height), "corners": corners}
