"""Reading from the database when sounds and alerts passed the hops to a person."""

from collections.abc import Iterator

from tocsin_hub.alerts.awareness import Hop, Passage
from tocsin_hub.store import Store

MOST = 100_000
"""More are not read at once."""
NEWEST = 5_000
"""Sounds, and alerts, of which figures tell: they must be there at once, and more would say the same."""
_EVENT_HOPS = (Hop.DETECTED, Hop.RECEIVED, Hop.COMMITTED)
_ALERT_HOPS = (Hop.ACCEPTED, Hop.SHOWN, Hop.ANSWERED)
# Where nobody kept the node's clock, or the report came late, its onset says nothing about how fast we were.
_SOUND = "i.kind = 'sound' AND i.late = 0 AND e.clock = 'ntp' AND e.late = 0"
_OF_EVENT = "FROM incidents AS i JOIN events AS e ON e.id = i.first_event"


def passages(store: Store, since_us: int, *, drills: bool = True) -> tuple[Passage, ...]:
    """Of incidents that opened after ``since_us``: one for the sound of each, one for each alert about it.

    The :data:`NEWEST` of each.

    Raises:
        UnavailableError: the database cannot be used at the moment.
    """
    where = f"WHERE {_SOUND} AND i.opened_us > ?{'' if drills else ' AND i.drill = 0'}"
    sounds = store.rows(
        f"SELECT e.onset_us, e.detected_us, e.first_received_us, "
        f"coalesce(e.first_committed_us, e.committed_us) {_OF_EVENT} {where} "
        "ORDER BY i.opened_us DESC LIMIT ?",
        (since_us, NEWEST),
    )
    alerts = store.rows(
        f"SELECT e.onset_us, min(d.accepted_us), min(d.shown_us), a.answered_us {_OF_EVENT} "
        "JOIN alerts AS a ON a.incident = i.id JOIN deliveries AS d ON d.alert = a.id "
        f"{where} AND a.person IS NOT NULL GROUP BY a.id, e.onset_us, i.opened_us "
        "ORDER BY i.opened_us DESC LIMIT ?",
        (since_us, NEWEST),
    )
    made = [_passage(row[0], zip(_EVENT_HOPS, row[1:], strict=True)) for row in sounds]
    made += [_passage(row[0], zip(_ALERT_HOPS, row[1:], strict=True)) for row in alerts]
    return tuple(made)


def _passage(onset_us: int, stamps: "zip[tuple[Hop, int | None]]") -> Passage:
    return Passage(onset_us, {hop: at_us for hop, at_us in stamps if at_us is not None})


def stamped(store: Store, after_us: int, until_us: int) -> Iterator[tuple[Hop, int, int]]:
    """Hop, onset and moment of each hop that was passed after ``after_us`` and not after ``until_us``.

    Raises:
        UnavailableError: the database cannot be used at the moment.
    """
    events = store.rows(
        f"SELECT e.onset_us, e.detected_us, e.first_received_us, e.first_committed_us {_OF_EVENT} "
        f"WHERE {_SOUND} AND i.opened_us > ? AND e.first_committed_us > ? AND e.first_committed_us <= ? "
        "LIMIT ?",
        (after_us - 86_400_000_000, after_us, until_us, MOST),
    )
    for onset_us, *stamps in events:
        yield from ((hop, onset_us, at) for hop, at in zip(_EVENT_HOPS, stamps, strict=True) if at)
    for hop, table, column in (
        (Hop.ACCEPTED, "d", "accepted_us"),
        (Hop.SHOWN, "d", "shown_us"),
        (Hop.ANSWERED, "a", "answered_us"),
    ):
        joined = " JOIN deliveries AS d ON d.alert = a.id" if table == "d" else ""
        rows = store.rows(
            f"SELECT e.onset_us, min({table}.{column}) FROM alerts AS a{joined} "  # noqa: S608
            "JOIN incidents AS i ON i.id = a.incident JOIN events AS e ON e.id = i.first_event "
            f"WHERE a.id IN (SELECT a.id FROM alerts AS a{joined} WHERE {table}.{column} > ? "
            f"AND {table}.{column} <= ?) AND {_SOUND} AND a.person IS NOT NULL "
            "GROUP BY a.id, e.onset_us "
            f"HAVING min({table}.{column}) > ? AND min({table}.{column}) <= ? LIMIT ?",
            (after_us, until_us, after_us, until_us, MOST),
        )
        yield from ((hop, onset_us, at) for onset_us, at in rows)
