"""Writing rollouts: compare and set, and a log that only grows. Call it inside the writer's transaction."""

from collections.abc import Iterable
from dataclasses import replace

import msgspec

from tocsin_hub.recorder import Recorder
from tocsin_hub.rollouts.model import Decision, Order, Reason, Rollout, Target
from tocsin_shared.errors import BadInputError


class ChangedMeanwhileError(BadInputError):
    """Somebody else changed the rollout, or used the number of a directive; nothing was written."""


def create(recorder: Recorder, rollout: Rollout, person: str) -> None:
    """Write a new rollout down.

    Raises:
        ChangedMeanwhileError: there is one of that id.
    """
    execute = recorder.database.execute
    cursor = execute(
        "INSERT INTO rollouts (id, version, status, document) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (rollout.id, rollout.version, str(rollout.status), _document(rollout)),
    )
    if cursor.rowcount != 1:
        raise ChangedMeanwhileError(f"there is a rollout {rollout.id} already")
    _write_targets(recorder, rollout.id, enumerate(rollout.targets))
    _write_log(recorder, rollout, rollout.created_us, person, [Reason("created")])


def change(
    recorder: Recorder, before: Rollout, after: Rollout, *, action: str, person: str, at_us: int
) -> Rollout:
    """Write down what ``person`` did; the rollout with its new version.

    Raises:
        ChangedMeanwhileError: ``before`` is not what stands in the database.
    """
    told = [Reason(action, detail=str(after.status))]
    return _set(recorder, before, after, at_us=at_us, person=person, told=told, orders=())


def decide(recorder: Recorder, before: Rollout, decision: Decision, at_us: int) -> Rollout:
    """Write down what the rules decided; the rollout with its new version, or as it was if nothing changed.

    Publish the directives and withdrawals after the commit only. What was committed and not published stands
    in :func:`tocsin_hub.rollouts.rules.standing_orders`, which is published at every start.

    Raises:
        ChangedMeanwhileError: ``before`` is not what stands in the database.
    """
    told = [one for one in decision.reasons if not one.lasting]
    if decision.rollout == before and not told:
        return before
    orders = decision.directives
    return _set(recorder, before, decision.rollout, at_us=at_us, person=None, told=told, orders=orders)


def refused(recorder: Recorder, rollout: Rollout, action: str, person: str, at_us: int) -> None:
    """Write down that ``person`` wanted what cannot be done in this status."""
    _write_log(
        recorder, rollout, at_us, person, [Reason("refused", detail=f"{action} while {rollout.status}")]
    )


def _set(
    recorder: Recorder,
    before: Rollout,
    after: Rollout,
    *,
    at_us: int,
    person: str | None,
    told: Iterable[Reason],
    orders: Iterable[Order],
) -> Rollout:
    after = replace(after, version=before.version + 1)
    cursor = recorder.database.execute(
        "UPDATE rollouts SET version = ?, status = ?, document = ? WHERE id = ? AND version = ?",
        (after.version, str(after.status), _document(after), before.id, before.version),
    )
    if cursor.rowcount != 1:
        raise ChangedMeanwhileError(f"rollout {before.id} was changed meanwhile; look at it again")
    _use_numbers(recorder, orders)
    changed = [
        (place, new)
        for place, (old, new) in enumerate(zip(before.targets, after.targets, strict=True))
        if new != old
    ]
    _write_targets(recorder, before.id, changed)
    _write_log(recorder, after, at_us, person, told)
    return after


def _use_numbers(recorder: Recorder, orders: Iterable[Order]) -> None:
    for order in orders:
        cursor = recorder.database.execute(
            "INSERT INTO directive_seqs (node, seq) VALUES (?, ?) "
            "ON CONFLICT (node) DO UPDATE SET seq = excluded.seq WHERE excluded.seq > directive_seqs.seq",
            (order.node, order.seq),
        )
        if cursor.rowcount != 1:
            raise ChangedMeanwhileError(f"directive {order.seq} for {order.node} was given out already")


def _document(rollout: Rollout) -> str:
    return msgspec.json.encode(replace(rollout, targets=())).decode()


def _write_targets(recorder: Recorder, rollout: str, targets: Iterable[tuple[int, Target]]) -> None:
    recorder.database.executemany(
        "INSERT INTO rollout_targets (rollout, place, node, state, document) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT (rollout, node) DO UPDATE SET place = excluded.place, state = excluded.state, "
        "document = excluded.document",
        [
            (rollout, place, one.node, str(one.state), msgspec.json.encode(one).decode())
            for place, one in targets
        ],
    )


def _write_log(
    recorder: Recorder, rollout: Rollout, at_us: int, person: str | None, told: Iterable[Reason]
) -> None:
    recorder.database.executemany(
        "INSERT INTO rollout_log (rollout, version, at_us, code, person, node, ring, detail) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (rollout.id, rollout.version, at_us, one.code, person, one.node, one.ring, one.detail)
            for one in told
        ],
    )
