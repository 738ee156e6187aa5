"""Sessions: who is logged in, where, since when. Of a session's id only the SHA-256 is kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tocsin_hub.people.keeping import touched
from tocsin_hub.people.model import Person, Role
from tocsin_hub.recorder import Recorder
from tocsin_hub.settings import AccessSettings
from tocsin_hub.store import Store

DAY_US = 86_400 * 1_000_000
TOUCH_US = 300 * 1_000_000
"""That a session is in use is written at most this often."""
_COLUMNS = "id_sha256, person, created_us, seen_us, expires_us, idle_us, address, device"


@dataclass(frozen=True)
class Session:
    """Somebody is logged in on some device; times are microseconds of UTC."""

    id_sha256: str
    person: str
    created_us: int
    seen_us: int
    """When it was last used, give or take :data:`TOUCH_US`."""
    expires_us: int
    idle_us: int
    """It ends when it was not used for this long, microseconds."""
    address: str
    """Where it was opened."""
    device: str
    """What the browser said of itself."""

    def lasts(self, now_us: int) -> bool:
        """Whether it is still good at ``now_us``."""
        return now_us < self.expires_us and now_us - self.seen_us < self.idle_us


def made_for(
    person: Person, settings: AccessSettings, id_sha256: str, now_us: int, *, address: str, device: str
) -> Session:
    """A session for ``person`` from ``now_us`` on; a worker's lasts longer, for her phone is her key."""
    worker = person.role is Role.WORKER
    days = settings.phone_days if worker else settings.session_days
    idle = settings.phone_idle_days if worker else settings.idle_days
    return Session(
        id_sha256,
        person.id,
        now_us,
        now_us,
        now_us + days * DAY_US,
        idle * DAY_US,
        address[:64],
        device[:200],
    )


def open_session(recorder: Recorder, session: Session, role: str) -> None:
    """Note that somebody logged in; sessions that ended by themselves are forgotten."""
    execute = recorder.database.execute
    execute(
        "DELETE FROM sessions WHERE expires_us <= ? OR seen_us + idle_us <= ?",
        (session.created_us, session.created_us),
    )
    execute(
        f"INSERT INTO sessions ({_COLUMNS}, role) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
        (*_values(session), role),
    )


def _values(session: Session) -> tuple[Any, ...]:
    return (
        session.id_sha256,
        session.person,
        session.created_us,
        session.seen_us,
        session.expires_us,
        session.idle_us,
        session.address,
        session.device,
    )


def close_session(recorder: Recorder, id_sha256: str, person: str | None = None) -> bool:
    """End a session, of ``person`` only if she is given; whether there was one."""
    cursor = recorder.database.execute(
        "DELETE FROM sessions WHERE id_sha256 = ? AND (CAST(? AS TEXT) IS NULL OR person = ?)",
        (id_sha256, person, person),
    )
    if cursor.rowcount:
        touched(recorder)
    return bool(cursor.rowcount)


def close_others(recorder: Recorder, person: str, but_sha256: str) -> int:
    """End all sessions of ``person`` but one; how many."""
    cursor = recorder.database.execute(
        "DELETE FROM sessions WHERE person = ? AND id_sha256 <> ?", (person, but_sha256)
    )
    touched(recorder)
    return cursor.rowcount


def touch(recorder: Recorder, id_sha256: str, now_us: int) -> None:
    """Note that a session is in use."""
    recorder.database.execute(
        "UPDATE sessions SET seen_us = max(seen_us, ?) WHERE id_sha256 = ?", (now_us, id_sha256)
    )


def session_of(store: Store, id_sha256: str) -> Session | None:
    """The session whose id has this hash, whether it still lasts or not."""
    sql = f"SELECT {_COLUMNS} FROM sessions WHERE id_sha256 = ? AND person IS NOT NULL"  # noqa: S608
    rows = store.rows(sql, (id_sha256,))
    return _from_row(rows[0]) if rows else None


def sessions_of(store: Store, person: str, now_us: int) -> list[Session]:
    """The sessions of ``person`` that last, newest first."""
    sql = f"SELECT {_COLUMNS} FROM sessions WHERE person = ? ORDER BY created_us DESC"  # noqa: S608
    return [one for row in store.rows(sql, (person,)) if (one := _from_row(row)).lasts(now_us)]


def _from_row(row: Sequence[Any]) -> Session:
    return Session(*row)
