"""The main menu: which pages there are, and who is offered them."""

from dataclasses import dataclass

from flask import current_app, request, url_for

from tocsin_hub.people import access
from tocsin_hub.people.model import Person, Role
from tocsin_hub.services import services
from tocsin_shared.errors import UnavailableError


@dataclass(frozen=True)
class Entry:
    """A page that the menu leads to."""

    endpoint: str
    key: str
    """Its name in the catalogue."""
    role: Role
    """Who is offered it; whoever may do more is, too."""
    first: bool = False
    """Stands in the bar itself rather than behind "More"."""
    whole_site: bool = False
    """Only for those who see all zones."""
    updates: bool = False
    """Only where models go over the air."""


@dataclass(frozen=True)
class Offered:
    """An entry for the page that is being written."""

    address: str
    key: str
    first: bool
    current: bool


ENTRIES = (
    Entry("pages.dashboard", "nav.now", Role.OFFICER, first=True),
    Entry("pages.history", "nav.history", Role.OFFICER, first=True),
    Entry("plan.show", "nav.plan", Role.OFFICER, first=True),
    Entry("pages.alerts.awareness", "nav.awareness", Role.OFFICER),
    Entry("drill.show", "nav.drill", Role.OFFICER),
    Entry("rollout.everything", "nav.rollouts", Role.OFFICER, updates=True),
    Entry("pages.alerts.policies", "nav.policies", Role.ADMIN, whole_site=True),
    Entry("people.everybody", "people.heading", Role.ADMIN, whole_site=True),
    Entry("pages.me", "me.title", Role.WORKER),
    Entry("people.account", "nav.account", Role.WORKER),
)


def signed_in() -> bool:
    """Whether somebody asks who can sign out."""
    return _person() is not None


def offered() -> list[Offered]:
    """What the person who asks may open, of the pages that this hub has."""
    person = _person()
    if person is None:
        return []
    entries = [entry for entry in ENTRIES if _is_for(entry, person)]
    return [
        Offered(url_for(entry.endpoint), entry.key, entry.first, request.endpoint == entry.endpoint)
        for entry in entries
    ]


def _is_for(entry: Entry, person: Person) -> bool:
    if entry.endpoint not in current_app.view_functions or not person.may(entry.role):
        return False
    return not (entry.whole_site and person.zones) and (
        not entry.updates or services().settings.updates.enabled
    )


def _person() -> Person | None:
    try:
        return access.current()
    except UnavailableError:  # the page that says so must not fail for it
        return None
