"""Who was told of an incident by a message, and what became of it: rows for the incident's page."""

from dataclasses import dataclass

from tocsin_hub.store import Store


@dataclass(frozen=True)
class ToldLine:
    """One try to reach one person, or the place, by one channel; times are microseconds of UTC."""

    person: str | None
    """``None``: lamps and shakers of the zone."""
    channel: str
    queued_us: int
    shown_us: int | None
    answered_us: int | None
    answer: str | None
    error: str
    """Why it did not get there; a sentence for the officer."""


def told_of(store: Store, incident: str, limit: int = 500) -> tuple[ToldLine, ...]:
    """Every delivery of every alert about ``incident``, oldest first.

    Raises:
        UnavailableError: the database cannot be used at the moment.
    """
    rows = store.rows(
        "SELECT a.person, d.channel, d.queued_us, d.shown_us, a.answered_us, a.answer, d.error "
        "FROM alerts AS a JOIN deliveries AS d ON d.alert = a.id WHERE a.incident = ? "
        "ORDER BY d.queued_us, d.id LIMIT ?",
        (incident, limit),
    )
    return tuple(ToldLine(*row) for row in rows)
