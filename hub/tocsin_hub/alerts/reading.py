"""Reading alerts: policies, who was told of what, and which incidents still wait for somebody."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from tocsin_hub.alerts import policies as documents
from tocsin_hub.alerts.model import Alert, Audience, ChannelName, Delivery, Policy, Told
from tocsin_hub.incidents.model import Incident, IncidentSeverity, LogLine, Step
from tocsin_hub.incidents.rows import INCIDENT_COLUMNS, incident_from_row
from tocsin_hub.store import Store
from tocsin_shared.errors import BadInputError

MOST_WAITING = 500
"""More incidents that wait for somebody are not looked at in one go; the worst and newest are."""
_ALERT = "id, incident, person, audience, created_us, answered_us, answer"
_DELIVERY = "id, alert, channel, queued_us, accepted_us, shown_us, failed_us, error"
_TOP = msgspec.json.Decoder(tuple[dict[str, Any], ...])
_LIT_US = 7 * 86_400_000_000
"""Lamps that were lit longer ago are not looked for at a start."""
_AT_ONCE = 400
"""Ids in one statement; SQLite takes 999 or more."""
_WORST_FIRST = {severity: number for number, severity in enumerate(IncidentSeverity)}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PolicySet:
    """The policies that hold."""

    policies: tuple[Policy, ...]
    own: bool
    """Whether the site has set them; else they are those that a site starts with."""
    unreadable: tuple[str, ...] = ()
    """Ids of those that cannot be read."""


@dataclass(frozen=True)
class MyAlert:
    """One alert of a person, with its incident."""

    told: Told
    incident: Incident


class AlertReading:
    """Answers questions about alerts. Safe to use from several threads."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def policies(self) -> PolicySet:
        """The policies that hold, in their order.

        Raises:
            UnavailableError: the database cannot be used at the moment.
        """
        rows = self._store.rows("SELECT id, rank, document FROM policies ORDER BY rank, id")
        if not rows:
            return PolicySet(documents.DEFAULTS, own=False)
        found, unreadable = [], []
        for key, rank, text in rows:
            try:
                found.append(documents.to_policy(key, rank, documents.decode(text)))
            except BadInputError as error:
                log.warning("policy %s: %s; alarms go to everybody until it is saved anew", key, error)
                unreadable.append(key)
        return PolicySet(tuple(found), own=True, unreadable=tuple(unreadable))

    def waiting(self, cleared_after_us: int) -> tuple[Incident, ...]:
        """Incidents that may still have to be told, worst and newest first.

        Those that nobody acknowledged and that last, or ended after ``cleared_after_us``; and those that
        are over for people while the lamps of their zone were not told so.
        """
        rows = self._store.rows(
            f"SELECT {INCIDENT_COLUMNS} FROM incidents WHERE acknowledged_us IS NULL "  # noqa: S608
            "AND (cleared_us IS NULL OR cleared_us > ?) ORDER BY opened_us DESC LIMIT ?",
            (cleared_after_us, 4 * MOST_WAITING),
        )
        lit = self._store.rows(
            f"SELECT {INCIDENT_COLUMNS} FROM incidents JOIN (SELECT a.incident AS lit, "  # noqa: S608
            "max(CASE WHEN d.failed_us IS NULL THEN d.queued_us ELSE 0 END) AS lit_us "
            "FROM alerts AS a JOIN deliveries AS d ON d.alert = a.id "
            "WHERE a.person IS NULL AND a.created_us > ? GROUP BY a.incident) AS told ON lit = incidents.id "
            "WHERE lit_us < coalesce(cleared_us, 0) OR lit_us < coalesce(acknowledged_us, 0) LIMIT ?",
            (cleared_after_us - _LIT_US, MOST_WAITING),
        )
        found = {row[0]: incident_from_row(row) for row in [*rows, *lit]}
        ordered = sorted(found.values(), key=lambda one: (_WORST_FIRST[one.severity], -one.opened_us))
        return tuple(ordered[:MOST_WAITING])

    def lit(self) -> tuple[Incident, ...]:
        """Incidents that last, or for which somebody asked for help, and for which lamps were turned on."""
        rows = self._store.rows(
            f"SELECT {INCIDENT_COLUMNS} FROM incidents WHERE acknowledged_us IS NULL "  # noqa: S608
            "AND (cleared_us IS NULL OR help_us IS NOT NULL) AND EXISTS (SELECT 1 FROM alerts AS a "
            "JOIN deliveries AS d ON d.alert = a.id WHERE a.incident = incidents.id "
            "AND d.channel = 'actuator') LIMIT ?",
            (MOST_WAITING,),
        )
        return tuple(incident_from_row(row) for row in rows)

    def incident(self, key: str) -> Incident | None:
        """The incident of this id."""
        rows = self._store.rows(f"SELECT {INCIDENT_COLUMNS} FROM incidents WHERE id = ?", (key,))  # noqa: S608
        return incident_from_row(rows[0]) if rows else None

    def log(self, incident: str) -> tuple[LogLine, ...]:
        """What decides about alerts of the timeline of an incident, in the order in which it was written."""
        rows = self._store.rows(
            "SELECT incident, at_us, step, person, node, event, detail FROM incident_log WHERE incident = ? "
            "AND step IN ('opened', 'reopened', 'escalated', 'answered', 'acknowledged') ORDER BY id",
            (incident,),
        )
        return tuple(LogLine(row[0], row[1], Step(row[2]), *row[3:]) for row in rows)

    def told(self, incident: str) -> tuple[Told, ...]:
        """Who was told of an incident, in the order in which they were, with every try."""
        rows = self._store.rows(
            f"SELECT {_ALERT} FROM alerts WHERE incident = ? ORDER BY created_us, id",  # noqa: S608
            (incident,),
        )
        return self._with_deliveries([alert_from_row(row) for row in rows])

    def of_person(self, person: str, before: str | None, limit: int) -> tuple[MyAlert, ...]:
        """The alerts of a person, newest first; ``before`` is the id of the last one of the page before."""
        earlier, of = ("", (person,)) if before is None else (" AND id < ?", (person, before))
        rows = self._store.rows(
            f"SELECT {_ALERT} FROM alerts WHERE person = ?{earlier} ORDER BY id DESC LIMIT ?",  # noqa: S608
            (*of, limit),
        )
        told = self._with_deliveries([alert_from_row(row) for row in rows])
        incidents = self._incidents([one.alert.incident for one in told])
        return tuple(
            MyAlert(one, incidents[one.alert.incident]) for one in told if one.alert.incident in incidents
        )

    def unsettled(self) -> tuple[tuple[Alert, Delivery], ...]:
        """Deliveries of which nobody knows whether their channel took them, oldest first."""
        names = ", ".join(f"a.{name}" for name in _ALERT.split(", "))
        others = ", ".join(f"d.{name}" for name in _DELIVERY.split(", "))
        rows = self._store.rows(
            f"SELECT {names}, {others} FROM deliveries AS d JOIN alerts AS a ON a.id = d.alert "  # noqa: S608
            "WHERE d.accepted_us IS NULL AND d.failed_us IS NULL ORDER BY d.queued_us"
        )
        return tuple((alert_from_row(row[:7]), delivery_from_row(row[7:])) for row in rows)

    def candidates(self, event: str | None) -> tuple[str, ...]:
        """Up to three labels that the sound of an event may be, the likeliest first."""
        rows = self._store.rows("SELECT top FROM events WHERE id = ?", (event,)) if event else []
        if not rows:
            return ()
        return tuple(str(one.get("label", "")) for one in _TOP.decode(rows[0][0]))

    def _incidents(self, keys: Sequence[str]) -> dict[str, Incident]:
        rows = self._many(f"SELECT {INCIDENT_COLUMNS} FROM incidents WHERE id IN", keys)  # noqa: S608
        return {row[0]: incident_from_row(row) for row in rows}

    def _with_deliveries(self, alerts: Sequence[Alert]) -> tuple[Told, ...]:
        rows = self._many(f"SELECT {_DELIVERY} FROM deliveries WHERE alert IN", [one.id for one in alerts])  # noqa: S608
        tried: dict[str, list[Delivery]] = {}
        for row in rows:
            made = delivery_from_row(row)
            tried.setdefault(made.alert, []).append(made)
        return tuple(
            Told(one, tuple(sorted(tried.get(one.id, ()), key=lambda each: (each.queued_us, each.id))))
            for one in alerts
        )

    def _many(self, sql: str, keys: Sequence[str]) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        for portion in _portions(keys):
            rows += self._store.rows(f"{sql} ({', '.join('?' * len(portion))})", portion)
        return rows


def _portions(keys: Iterable[str]) -> Iterable[tuple[str, ...]]:
    every = tuple(dict.fromkeys(keys))
    return (every[start : start + _AT_ONCE] for start in range(0, len(every), _AT_ONCE))


def alert_from_row(row: Sequence[Any]) -> Alert:
    """The alert in ``row``."""
    key, incident, person, audience, *rest = row
    return Alert(key, incident, person, Audience(audience), *rest)


def delivery_from_row(row: Sequence[Any]) -> Delivery:
    """The delivery in ``row``."""
    key, alert, channel, *rest = row
    return Delivery(key, alert, ChannelName(channel), *rest)
