"""The ways to one person, for an admin: her phones, and addresses of other services, which are tried here."""

from dataclasses import dataclass

from flask import abort, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.wrappers import Response

from tocsin_hub import i18n
from tocsin_hub.pages import pages
from tocsin_hub.people import access, audit
from tocsin_hub.people.model import Person, Role
from tocsin_hub.services import services
from tocsin_shared.errors import BadInputError, UnavailableError

_DONE = ("added", "deleted", "tested", "failed")


@dataclass(frozen=True)
class Wrong:
    """What of the form cannot be used, for its field."""

    field: str
    key: str
    values: dict[str, str]


@pages.get("/admin/people/<person_id>/roads")
@access.page_for(Role.ADMIN)
def roads(person_id: str) -> ResponseReturnValue:
    """Her phones, her addresses, and a form for one more."""
    return _page(_known(person_id))


@pages.post("/admin/people/<person_id>/roads")
@access.page_for(Role.ADMIN)
def change_roads(person_id: str) -> ResponseReturnValue:
    """Add an address, take one away, or try one."""
    person, phones = _known(person_id), services().phones
    if "add" in request.form:
        return _add(person, request.form.get("url", "").strip())
    if (address := phones.apprise.get(request.form.get("delete", ""))) and address.person == person.id:
        phones.forget_address(address.id)
        services().writer.call(audit.noting("person.address_deleted", person.id, address.kind))
        return _done(person, "deleted")
    if (address := phones.apprise.get(request.form.get("test", ""))) and address.person == person.id:
        language = person.language if person.language in i18n.LANGUAGES else i18n.FALLBACK
        return _done(
            person, "failed" if phones.apprise.test(address, language or i18n.FALLBACK) else "tested"
        )
    return _done(person, "")


def _add(person: Person, url: str) -> ResponseReturnValue:
    try:
        added = services().phones.add_address(person.id, url)
    except BadInputError:
        kinds = ", ".join(services().settings.channels.schemas)
        return _page(person, Wrong("url", "roads.refused", {"kinds": kinds})), 400
    except UnavailableError:
        return _page(person, Wrong("url", "roads.unavailable", {})), 503
    # The address itself stands nowhere: secrets are in it.
    services().writer.call(audit.noting("person.address_added", person.id, added.kind))
    return _done(person, "added")


def _page(person: Person, failed: Wrong | None = None) -> str:
    phones = services().phones
    done = request.args.get("done", "")
    return render_template(
        "roads.html",
        person=person,
        viewer=g.get("person"),
        phones=phones.registry.of(person.id),
        reach=str(phones.reach(person.id)),
        addresses=phones.apprise.of(person.id),
        failed=failed,
        done=done if done in _DONE else "",
    )


def _done(person: Person, what: str) -> Response:
    return redirect(url_for("pages.roads", person_id=person.id, done=what))


def _known(person_id: str) -> Person:
    person = services().people.get(person_id)
    if person is None or not _commands(person):
        abort(404)
    return person


def _commands(person: Person) -> bool:
    """Whether the admin who asks sees all zones of this person."""
    mine: Person | None = access.current()
    return mine is not None and (not mine.zones or (bool(person.zones) and person.zones <= mine.zones))
