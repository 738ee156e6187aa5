"""Writing persons. Everything here runs inside a transaction of the writer, and checks before it writes."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import msgspec
from ulid import ULID

from tocsin_hub.people.model import DailySpan, Person, Role
from tocsin_hub.people.reading import COLUMNS, COUNTER, Account, account_from_row
from tocsin_hub.people.rules import FieldError
from tocsin_hub.recorder import Recorder
from tocsin_hub.writer import Writer
from tocsin_shared.errors import BadInputError

T = TypeVar("T")
_UNFINISHED = "Admin"
"""Name of whoever used a link of the command line, until she says her own."""


@dataclass(frozen=True)
class Entry:
    """What lets a person in, beside links."""

    login: str | None = None
    password_hash: str | None = None
    subject: str | None = None


def ask(writer: Writer, write: Callable[[Recorder], T]) -> T:
    """Like :meth:`Writer.call`, for work that may refuse before it has written anything.

    Raises:
        BadInputError: the work refused.
        UnavailableError: the database took too long, or refused.
    """

    def attempt(recorder: Recorder) -> T | BadInputError:
        try:
            return write(recorder)
        except BadInputError as refusal:  # nothing is written yet, and the writer's thread must live on
            return refusal

    result = writer.call(attempt)
    if isinstance(result, BadInputError):
        raise result
    return result


def touched(recorder: Recorder) -> None:
    """Let every reader of persons read anew."""
    recorder.database.execute("UPDATE counters SET value = value + 1 WHERE name = ?", (COUNTER,))


def account(recorder: Recorder, person_id: str) -> Account | None:
    """The person of this id, and how she gets in, inside the transaction."""
    sql = f"SELECT {COLUMNS} FROM people WHERE id = ?"  # noqa: S608
    row = recorder.database.execute(sql, (person_id,)).fetchone()
    return account_from_row(row) if row else None


def add(recorder: Recorder, person: Person, entry: Entry, now_us: int) -> Person:
    """Add ``person``, who gets an id.

    Raises:
        FieldError: the login name is taken.
    """
    made = replace(person, id=str(ULID.from_timestamp(now_us / 1e6)))
    _check_login(recorder, made.id, entry.login)
    recorder.database.execute(
        f"INSERT INTO people ({COLUMNS}) VALUES ({', '.join('?' * 14)})",  # noqa: S608
        (made.id, *_values(made), now_us, entry.login, entry.password_hash, entry.subject),
    )
    touched(recorder)
    return made


def change(recorder: Recorder, person_id: str, **fields: Any) -> Person:
    """Give fields of :class:`Person` new values.

    Raises:
        BadInputError: there is no such person, or she is the last admin and would no longer be one.
    """
    known = account(recorder, person_id)
    if known is None:
        raise FieldError("person", "people.unknown", "there is no such person")
    return put(recorder, replace(known.person, **fields))


def put(recorder: Recorder, made: Person) -> Person:
    """Store ``made`` in place of what is known of her.

    Raises:
        BadInputError: there is no such person, or she is the last admin and would no longer be one.
    """
    known = account(recorder, made.id)
    if known is None:
        raise FieldError("person", "people.unknown", "there is no such person")
    _keep_an_admin(recorder, known.person, made)
    columns = "name, role, language, zones, buddy, shift, quiet, muted, enabled"
    recorder.database.execute(
        f"UPDATE people SET ({columns}) = ({', '.join('?' * 9)}) WHERE id = ?",  # noqa: S608
        (*_values(made), made.id),
    )
    if not made.enabled:
        end_access(recorder, made.id)
    touched(recorder)
    return made


def disable(recorder: Recorder, person_id: str) -> Person:
    """Shut a person out, at once; she stays on record.

    Raises:
        BadInputError: there is no such person, or she is the last admin.
    """
    return change(recorder, person_id, enabled=False)


def set_entry(recorder: Recorder, person_id: str, login: str | None, password_hash: str | None) -> None:
    """Give a person a login name and a password.

    Raises:
        FieldError: the login name is taken.
    """
    _check_login(recorder, person_id, login)
    recorder.database.execute(
        "UPDATE people SET login = ?, password_hash = ? WHERE id = ?", (login, password_hash, person_id)
    )
    touched(recorder)


def rehash(recorder: Recorder, person_id: str, old: str, new: str) -> None:
    """Replace the hash of an unchanged password."""
    recorder.database.execute(
        "UPDATE people SET password_hash = ? WHERE id = ? AND password_hash = ?", (new, person_id, old)
    )
    touched(recorder)


def end_access(recorder: Recorder, person_id: str, but_sha256: str = "") -> None:
    """End all sessions of a person, and take back the links that were made for her, but this one."""
    execute = recorder.database.execute
    execute("DELETE FROM sessions WHERE person = ?", (person_id,))
    execute(
        "DELETE FROM login_links WHERE person = ? AND used_us IS NULL AND token_sha256 <> ?",
        (person_id, but_sha256),
    )
    touched(recorder)


def unfinished_admin(recorder: Recorder, now_us: int) -> Person:
    """The admin who has not yet said her name, made when there is none."""
    sql = (
        f"SELECT {COLUMNS} FROM people "  # noqa: S608
        "WHERE role = 'admin' AND enabled = 1 AND login IS NULL AND subject IS NULL ORDER BY id LIMIT 1"
    )
    row = recorder.database.execute(sql).fetchone()
    if row:
        return account_from_row(row).person
    return add(recorder, Person(id="", name=_UNFINISHED, role=Role.ADMIN), Entry(), now_us)


def _check_login(recorder: Recorder, person_id: str, login: str | None) -> None:
    sql = "SELECT 1 FROM people WHERE login = ? AND id <> ?"
    if login is not None and recorder.database.execute(sql, (login, person_id)).fetchone():
        raise FieldError("login", "people.login_taken", "somebody else has this login name")


def _keep_an_admin(recorder: Recorder, before: Person, after: Person) -> None:
    """Refuse what would leave nobody who may let others in. An admin of some zones only does not count."""

    def keeps(person: Person) -> bool:
        return person.enabled and person.role is Role.ADMIN and not person.zones

    sql = "SELECT 1 FROM people WHERE enabled = 1 AND role = 'admin' AND zones = '[]' AND id <> ? LIMIT 1"
    if keeps(before) and not keeps(after) and not recorder.database.execute(sql, (before.id,)).fetchone():
        raise FieldError("role", "people.last_admin", "this is the last admin; make another one first")


def _values(person: Person) -> tuple[Any, ...]:
    return (
        person.name,
        str(person.role),
        person.language,
        _json(sorted(person.zones)),
        person.buddy,
        _json(_spans(person.shift)),
        _json(_spans(person.quiet)),
        _json(sorted(person.muted)),
        int(person.enabled),
    )


def _spans(spans: Iterable[DailySpan]) -> list[dict[str, Any]]:
    return [
        {"days": sorted(span.days), "start_minute": span.start_minute, "end_minute": span.end_minute}
        for span in spans
    ]


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
