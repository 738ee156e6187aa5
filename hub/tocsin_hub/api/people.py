"""Who asks, who is known, and invitations, over HTTP."""

from typing import Annotated

import msgspec
from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue
from msgspec import Meta

from tocsin_hub.api.parts import described, needs, problem, who
from tocsin_hub.people import audit, invitations, rules
from tocsin_hub.people.limits import by_person, limit
from tocsin_hub.people.model import Person, Role
from tocsin_hub.people.sessions import DAY_US
from tocsin_hub.recorder import Recorder
from tocsin_hub.services import services
from tocsin_hub.times import iso
from tocsin_shared.events import Zone

people = Blueprint("people", __name__)


class PersonShown(msgspec.Struct):
    """A person as the API tells of her; no zones means all of them."""

    id: str
    name: str
    role: Role
    zones: list[str]
    language: str | None
    enabled: bool


class PeopleList(msgspec.Struct):
    """Everybody, by name."""

    people: list[PersonShown]


class NewInvitation(msgspec.Struct, forbid_unknown_fields=True):
    """Whom to invite; no zones means all of them."""

    name: Annotated[str, Meta(min_length=1, max_length=rules.NAME_MOST)]
    role: Role = Role.WORKER
    zones: Annotated[list[Zone], Meta(max_length=200)] = []


class InvitationShown(msgspec.Struct):
    """A link that lets one person in, once; it is told this once."""

    address: str
    expires: str


@people.get("/me")
@described("people", answer=PersonShown)
def show_me() -> ResponseReturnValue:
    """The person who asks."""
    return jsonify(_json(who()))


@people.get("/people")
@needs(Role.ADMIN)
@described("people", answer=PeopleList)
def list_people() -> ResponseReturnValue:
    """Everybody, those who are shut out, too; for admins of all zones."""
    if who().zones:
        return _not_for_some_zones()
    return jsonify(people=[_json(person) for person in services().people.all()])


@people.post("/people/invitations")
@needs(Role.ADMIN)
@described("people", body=NewInvitation, answer=InvitationShown, status=201)
@limit("120 per hour", by=by_person("invite"))
def invite_person() -> ResponseReturnValue:
    """A link for a new person; for admins of all zones."""
    if who().zones:
        return _not_for_some_zones()
    wanted: NewInvitation = request.context.json  # type: ignore[attr-defined]
    hub, zones = services(), frozenset(wanted.zones)
    person = Person(id="", name=rules.clean_name(wanted.name), role=wanted.role, zones=zones)
    now_us, maker = hub.clock(), who().id
    ends_us = now_us + hub.settings.access.invite_days * DAY_US
    noted = audit.noting(
        "person.invited", person.name, f"{person.role}; zones: {rules.as_words(zones) or 'all'}"
    )

    def write(recorder: Recorder) -> str:
        noted(recorder)
        return invitations.invite(recorder, person, maker, now_us, ends_us)

    address = invitations.address_of(hub.writer.call(write), hub.settings.web)
    return jsonify(address=address, expires=iso(ends_us)), 201


def _not_for_some_zones() -> ResponseReturnValue:
    return problem(403, "not_allowed", "This needs an admin of all zones.")


def _json(person: Person) -> dict[str, object]:
    return {
        "id": person.id,
        "name": person.name,
        "role": str(person.role),
        "zones": sorted(person.zones),
        "language": person.language,
        "enabled": person.enabled,
    }
