"""The audit log: who did what, when and from where. It is only ever added to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from flask import g, has_request_context, request

from tocsin_hub.people.model import Person
from tocsin_hub.recorder import Recorder
from tocsin_hub.services import services
from tocsin_hub.store import Store
from tocsin_hub.times import now_us
from tocsin_hub.writer import CALL_SECONDS, Outcome, Work

KEPT_LINES = 200_000
COMMAND_LINE = "cli"
"""Where somebody was who did it at the command line."""
_MOST = 500
"""Characters of a detail."""


@dataclass(frozen=True)
class Line:
    """One thing that somebody did."""

    id: int
    at_us: int
    person: str | None
    """Her id; ``None``: nobody who is known, or the command line."""
    action: str
    """What was done, such as ``login.failed``."""
    subject: str
    """To what or whom: an id or a name."""
    detail: str
    address: str
    """Where the request came from; ``cli``: the command line."""


def note(
    recorder: Recorder,
    person: Person | str | None,
    action: str,
    subject: str,
    detail: str = "",
    *,
    address: str = "",
) -> None:
    """Add a line, inside a transaction; ``person`` is who did it, or her id."""
    who = person.id if isinstance(person, Person) else person
    recorder.database.execute(
        "INSERT INTO audit (at_us, person, action, subject, detail, address) VALUES (?, ?, ?, ?, ?, ?)",
        (now_us(), who or None, action, _kept(subject)[:100], _kept(detail)[:_MOST], address[:64]),
    )
    newest = recorder.database.execute("SELECT max(id) FROM audit").fetchone()[0]
    recorder.database.execute("DELETE FROM audit WHERE id <= ?", (newest - KEPT_LINES,))


def noting(action: str, subject: str, detail: str = "") -> Callable[[Recorder], None]:
    """What :func:`note` will do in the writer's thread, with the person and the address of this request."""
    person, address = g.get("person"), here()
    return lambda recorder: note(recorder, person, action, subject, detail, address=address)


def record(action: str, subject: str, detail: str = "") -> None:
    """Note what the person of this request has just done; does not wait for the disk.

    Raises:
        UnavailableError: the hub is stopping, or its database does not keep up.
    """
    write = noting(action, subject, detail)

    def work(recorder: Recorder) -> Outcome:
        write(recorder)
        return Outcome()

    services().writer.put(Work(work, lambda _: None), patience_seconds=CALL_SECONDS)


def here() -> str:
    """Where the current request comes from."""
    return request.remote_addr or "" if has_request_context() else ""


def lines(
    store: Store, before: int | None = None, limit: int = 100, action: str = "", person: str = ""
) -> list[Line]:
    """Lines older than ``before`` (``None``: all), newest first; ``action`` is the beginning of one."""
    conditions: list[str] = []
    parameters: list[Any] = []
    for sql, value in (("id < ?", before), ("person = ?", person or None)):
        if value is not None:
            conditions.append(sql)
            parameters.append(value)
    if action:
        conditions.append("substr(action, 1, ?) = ?")
        parameters += [len(action), action]
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    sql = f"SELECT id, at_us, person, action, subject, detail, address FROM audit{where}"  # noqa: S608
    return [_line(row) for row in store.rows(f"{sql} ORDER BY id DESC LIMIT ?", (*parameters, limit))]


def _line(row: Sequence[Any]) -> Line:
    return Line(*row)


def _kept(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8").replace("\x00", "")
