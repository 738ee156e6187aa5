"""The SQL of letting go: a window over the oldest rows of a matter, and which of them go.

A window walks an index from the oldest row on, so that each piece costs as much as its rows, however many
are kept. Functions that take a connection raise one of :data:`~tocsin_hub.connection.FAULTS`.
"""

from dataclasses import dataclass
from typing import Any

import msgspec

from tocsin_hub.connection import FREELY, Connection
from tocsin_hub.retention.rules import Matter, Pruned, Term
from tocsin_hub.store import Store

Place = tuple[int, str | int | None]
START: Place = (-1, None)
KEPT_REPORTS = 400
_LASTS = "SELECT 1 FROM incidents AS one WHERE one.cleared_us IS NULL AND one.id ="


@dataclass(frozen=True)
class _Way:
    """How one matter is walked and let go of."""

    window: str
    """Rows after a place, oldest first: key, place (two columns), whether it goes, whether it is old."""
    deletes: tuple[str, ...]
    """Each takes a key."""


@dataclass(frozen=True)
class Piece:
    """What one piece did."""

    removed: int
    place: Place | None
    """Where the next one begins; ``None`` when nothing old is left."""


def _by_age(table: str, column: str, goes: str = "TRUE") -> str:
    """A window over an index that begins with the age and the key."""
    return (
        f"SELECT id, {column}, id, {goes}, TRUE FROM {table} "  # noqa: S608 - names of our own tables
        f"WHERE ({column}, id) > (:first, :second) AND {column} < :before ORDER BY {column}, id LIMIT :rows"
    )


_WAYS = {
    Matter.ALERTS: _Way(
        _by_age("alerts", "created_us", f"NOT EXISTS ({_LASTS} alerts.incident)"),
        ("DELETE FROM deliveries WHERE alert = ?", "DELETE FROM alerts WHERE id = ?"),
    ),
    Matter.INCIDENTS: _Way(
        _by_age(
            "incidents",
            "opened_us",
            "cleared_us IS NOT NULL AND cleared_us < :before AND updated_us < :before "
            "AND NOT EXISTS (SELECT 1 FROM alerts WHERE alerts.incident = incidents.id)",
        ),
        (
            "DELETE FROM incident_log WHERE incident = ?",
            "DELETE FROM incident_events WHERE incident = ?",
            "DELETE FROM incidents WHERE id = ?",
        ),
    ),
    Matter.DRILLS: _Way(_by_age("drills", "ends_us"), ("DELETE FROM drills WHERE id = ?",)),
    # By the hub's own clock: a node whose clock is wrong may tell an onset of years ago. Changes are numbered
    # in the order of commits: behind a row that is young nothing old comes, but what was touched since.
    Matter.EVENTS: _Way(
        "SELECT id, change, '', first_received_us < :before AND committed_us < :before AND NOT EXISTS "
        "(SELECT 1 FROM incident_events JOIN incidents ON incidents.id = incident_events.incident "
        "WHERE incident_events.event = events.id AND incidents.cleared_us IS NULL), committed_us < :before "
        "FROM events WHERE change > :first ORDER BY change LIMIT :rows",
        ("DELETE FROM incident_events WHERE event = ?", "DELETE FROM events WHERE id = ?"),
    ),
    Matter.AUDIT: _Way(_by_age("audit", "at_us"), ("DELETE FROM audit WHERE id = ?",)),
    Matter.QUARANTINE: _Way(
        "SELECT id, id, '', at_us < :before, at_us < :before FROM quarantine "
        "WHERE id > :first ORDER BY id LIMIT :rows",
        ("DELETE FROM quarantine WHERE id = ?",),
    ),
    Matter.TROUBLES: _Way(_by_age("troubles", "until_us"), ("DELETE FROM troubles WHERE id = ?",)),
}


def prune_piece(database: Connection, term: Term, place: Place, rows: int) -> Piece:
    """Let go of what is old among the next ``rows`` rows after ``place``."""
    way = _WAYS[term.matter]
    found = database.execute(way.window, _parameters(term, place, rows)).fetchall()
    keys = [(key,) for key, _, _, goes, _ in found if goes]
    for delete in way.deletes:
        database.executemany(delete, keys)
    if len(found) < rows or not any(old for *_, old in found):
        return Piece(len(keys), None)
    return Piece(len(keys), (found[-1][1], found[-1][2]))


def count_old(store: Store, term: Term) -> int:
    """How many rows would go.

    Raises:
        UnavailableError: the database cannot be used at the moment.
    """
    names = "key, first, second, goes, old"
    counting = f"WITH found ({names}) AS ({_WAYS[term.matter].window}) SELECT count(*) FROM found WHERE goes"  # noqa: S608
    ((count,),) = store.rows(counting, _parameters(term, START, FREELY))
    return int(count)


def _parameters(term: Term, place: Place, rows: int) -> dict[str, Any]:
    return {"before": term.before_us, "first": place[0], "second": place[1], "rows": rows}


def free_pages(database: Connection) -> tuple[int, int]:
    """How many pages of SQLite are free and could be given back, and how many there are."""
    (kind,) = database.execute("PRAGMA auto_vacuum").fetchone()
    (free,) = database.execute("PRAGMA freelist_count").fetchone()
    (pages,) = database.execute("PRAGMA page_count").fetchone()
    return (int(free) if kind else 0), int(pages)


def give_back(database: Connection, pages: int) -> None:
    """Give so many free pages of SQLite back to the file system."""
    for _ in range(pages):
        # One by one: the pragma gives a row of no columns for each page, at the first of which Python stops.
        database.execute("PRAGMA incremental_vacuum(1)")


def note(database: Connection, pruned: Pruned) -> None:
    """Keep the report of a look."""
    database.execute(
        "INSERT INTO prunings (at_us, seconds, removed) VALUES (?, ?, ?)",
        (pruned.at_us, pruned.seconds, msgspec.json.encode(pruned.removed).decode()),
    )
    database.execute("DELETE FROM prunings WHERE id <= (SELECT max(id) FROM prunings) - ?", (KEPT_REPORTS,))


def last(database: Connection) -> Pruned | None:
    """The report of the last look, if there was one."""
    row = database.execute("SELECT at_us, seconds, removed FROM prunings ORDER BY id DESC LIMIT 1").fetchone()
    return None if row is None else Pruned(row[0], row[1], msgspec.json.decode(row[2], type=dict[str, int]))
