"""Changing policies and trying them: what the API and the page about them share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from ulid import ULID

from tocsin_hub.alerts import policies as documents
from tocsin_hub.alerts import rules
from tocsin_hub.alerts.model import TEST_INCIDENT, Policy
from tocsin_hub.alerts.policies import PolicyDocument, checked, encode, to_document
from tocsin_hub.alerts.rules import Rehearsal, Site
from tocsin_hub.incidents.model import Incident, IncidentKind, IncidentSeverity
from tocsin_hub.incidents.rules import group_of
from tocsin_hub.people.model import Person
from tocsin_hub.recorder import Recorder
from tocsin_shared.labels import Severity, severity_of

Kept = list[tuple[str, str]]
"""Id and document of each policy, in their order."""


@dataclass(frozen=True)
class Trial:
    """What is tried: a sound or a trouble, somewhere, at some time."""

    label: str
    """A label, or a kind of trouble."""
    kind: IncidentKind
    zone: str
    at_us: int
    drill: bool = False
    help: bool = False
    """Somebody asks for help at once."""


def add(recorder: Recorder, key: str, document: PolicyDocument, now_us: int) -> bool:
    """Keep one more policy, before the others; ``False`` if there are too many."""
    return _change(recorder, now_us, lambda kept: [(key, encode(document)), *kept])


def change(recorder: Recorder, key: str, document: PolicyDocument, now_us: int) -> bool:
    """Keep ``document`` in place of the policy ``key``; ``False`` if there is none."""

    def put(kept: Kept) -> Kept | None:
        if _place(kept, key) is None:
            return None
        return [(one, encode(document) if one == key else text) for one, text in kept]

    return _change(recorder, now_us, put)


def delete(recorder: Recorder, key: str, now_us: int) -> bool:
    """Forget a policy; ``False`` if there is none. Without any, those hold that a site starts with."""

    def take(kept: Kept) -> Kept | None:
        return None if _place(kept, key) is None else [one for one in kept if one[0] != key]

    return _change(recorder, now_us, take)


def move(recorder: Recorder, key: str, by: int, now_us: int) -> bool:
    """Let a policy come earlier (``by`` below 0) or later; ``False`` if there is none."""

    def shift(kept: Kept) -> Kept | None:
        at = _place(kept, key)
        if at is None:
            return None
        one = kept.pop(at)
        kept.insert(max(0, at + by), one)
        return kept

    return _change(recorder, now_us, shift)


def new_key() -> str:
    """The id of a policy to be added."""
    return str(ULID())


def _place(kept: Kept, key: str) -> int | None:
    return next((number for number, (one, _) in enumerate(kept) if one == key), None)


def _change(recorder: Recorder, now_us: int, edit: Callable[[Kept], Kept | None]) -> bool:
    rows = recorder.database.execute("SELECT id, document FROM policies ORDER BY rank, id").fetchall()
    # The first change makes the policies that a site starts with its own.
    kept: Kept = [(key, text) for key, text in rows]
    edited = edit(kept or [(one.id, encode(to_document(one))) for one in documents.DEFAULTS])
    if edited is None or len(edited) > documents.MOST_POLICIES:
        return False
    recorder.database.execute("DELETE FROM policies")
    recorder.database.executemany(
        "INSERT INTO policies (id, rank, document, changed_us) VALUES (?, ?, ?, ?)",
        [(key, rank, text, now_us) for rank, (key, text) in enumerate(edited, start=1)],
    )
    return True


def incident_of(trial: Trial) -> Incident:
    """The incident that is tried."""
    severity = IncidentSeverity.TROUBLE
    if trial.kind is IncidentKind.SOUND:
        known = severity_of(trial.label)
        # What is never reported opens no incident; the rules would call it good to know at most.
        severity = IncidentSeverity(known.value if known is not Severity.NONE else Severity.NOTICE.value)
    return Incident(
        id=TEST_INCIDENT,
        kind=trial.kind,
        group=group_of(trial.label) if trial.kind is IncidentKind.SOUND else trial.label,
        label=trial.label,
        severity=IncidentSeverity.ALARM if trial.help else severity,
        zone=trial.zone,
        drill=trial.drill,
        opened_us=trial.at_us,
        updated_us=trial.at_us,
        help_us=trial.at_us if trial.help else None,
    )


def with_draft(policies: Sequence[Policy], key: str | None, draft: PolicyDocument) -> tuple[Policy, ...]:
    """``policies`` as they would be with ``draft`` saved as ``key``; ``None``: as a new one.

    Raises:
        BadInputError: the draft could not be saved.
    """
    made = checked(key or "draft", 0, draft)
    if key is None or key not in {one.id for one in policies}:
        return (made, *policies)
    return tuple(replace(made, order=one.order) if one.id == key else one for one in policies)


def tried(trial: Trial, policies: Sequence[Policy], people: Sequence[Person], site: Site) -> Rehearsal:
    """Who would be told what, and when."""
    return rules.rehearse(incident_of(trial), policies, people, site)


def moment_us(site: Site, weekday: int, minute: int, now: datetime) -> int:
    """A moment of the week from ``now`` on with this weekday (Monday is 0) and minute, in the site's zone."""
    local = now.astimezone(site.time_zone) if site.time_zone is not None else now
    days = (weekday - local.weekday()) % 7
    wanted = local.replace(hour=minute // 60, minute=minute % 60, second=0, microsecond=0)
    return round((wanted.timestamp() + days * 86_400) * 1e6)
