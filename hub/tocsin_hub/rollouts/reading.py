"""Reading rollouts: as they stand, what happened to them, and the numbers of directives."""

from dataclasses import dataclass, replace

import msgspec

from tocsin_hub.rollouts.model import Rollout, Status, Target
from tocsin_hub.store import Store
from tocsin_shared.errors import UnavailableError

OPEN = (
    Status.SCHEDULED,
    Status.RUNNING,
    Status.PAUSED,
    Status.SUCCEEDED,
    Status.SUCCEEDED_WITH_FAILURES,
)
"""What a step may still change by more than what nodes say."""


@dataclass(frozen=True)
class LogEntry:
    """One line of the log of a rollout."""

    at_us: int
    version: int
    """Of the rollout, after it."""
    code: str
    """What happened, or what a person did."""
    person: str | None
    """Id of who did it; ``None`` is the hub."""
    node: str
    ring: int | None
    detail: str


def rollout(store: Store, rollout_id: str) -> Rollout | None:
    """The rollout of that id as it stands; ``None`` if there is none.

    Raises:
        UnavailableError: the database cannot be used, or the rollout is one of a newer version.
    """
    # In one statement, so that both halves are of the same moment.
    rows = store.rows(
        "SELECT r.version, r.document, t.document FROM rollouts AS r "
        "LEFT JOIN rollout_targets AS t ON t.rollout = r.id WHERE r.id = ? ORDER BY t.place",
        (rollout_id,),
    )
    if not rows:
        return None
    try:
        found = msgspec.json.decode(rows[0][1], type=Rollout)
        targets = tuple(msgspec.json.decode(row[2], type=Target) for row in rows if row[2] is not None)
    except msgspec.MsgspecError as error:
        raise UnavailableError(f"rollout {rollout_id} is not one that this version reads: {error}") from error
    return replace(found, version=rows[0][0], targets=targets)


def rollouts(store: Store, statuses: tuple[Status, ...] = OPEN) -> list[str]:
    """Ids of the rollouts in one of ``statuses``, oldest first.

    Raises:
        UnavailableError: the database cannot be used at the moment.
    """
    marks = ", ".join("?" * len(statuses))
    sql = f"SELECT id FROM rollouts WHERE status IN ({marks}) ORDER BY id"  # noqa: S608 - question marks
    return [row[0] for row in store.rows(sql, [str(one) for one in statuses])]


def log_of(store: Store, rollout_id: str) -> list[LogEntry]:
    """What happened to a rollout, oldest first.

    Raises:
        UnavailableError: the database cannot be used at the moment.
    """
    rows = store.rows(
        "SELECT at_us, version, code, person, node, ring, detail FROM rollout_log "
        "WHERE rollout = ? ORDER BY id",
        (rollout_id,),
    )
    return [LogEntry(*row) for row in rows]


def seqs(store: Store) -> dict[str, int]:
    """By node, the number of the last directive that was given out for it.

    Raises:
        UnavailableError: the database cannot be used at the moment.
    """
    return dict(store.rows("SELECT node, seq FROM directive_seqs"))
