"""API tokens: a program acts for a person, as far as the token's scopes go, and never further than she may.

A token is ``tocsin_`` and 32 random bytes in base64url; the database keeps its SHA-256 only.
"""

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ulid import ULID

from tocsin_hub.people.model import Person
from tocsin_hub.people.secret import fresh, hashed
from tocsin_hub.recorder import Recorder
from tocsin_hub.services import Services
from tocsin_hub.store import Store
from tocsin_hub.writer import Outcome, Work
from tocsin_shared.errors import UnavailableError

PREFIX = "tocsin_"
_HEADER = re.compile(rf"bearer +({PREFIX}[A-Za-z0-9_-]{{43}})", re.IGNORECASE)
_USED_US = 60 * 1_000_000
"""That a token was used is written at most this often."""
_COLUMNS = "id, name, person, scopes, created_us, expires_us, used_us, revoked_us"


class Scope(StrEnum):
    """What a token is good for."""

    READ = "read"
    """Whatever is asked by GET."""
    ANSWER = "answer"
    """Answering and acknowledging incidents."""
    MANAGE = "manage"
    """Whatever else changes something."""
    METRICS = "metrics"
    """Figures for Prometheus."""


@dataclass(frozen=True)
class Token:
    """A token, without what makes it one; times are microseconds of UTC."""

    id: str
    name: str
    person: str
    scopes: frozenset[Scope]
    created_us: int
    expires_us: int | None
    """``None``: it does not end by itself."""
    used_us: int | None
    """When it was last used, give or take a minute."""
    revoked_us: int | None

    def lasts(self, now_us: int) -> bool:
        """Whether it is still good at ``now_us``."""
        return self.revoked_us is None and (self.expires_us is None or now_us < self.expires_us)


@dataclass(frozen=True)
class Acting:
    """Who asks by a token, and what it is good for."""

    person: Person
    scopes: frozenset[Scope]


def add(
    recorder: Recorder,
    name: str,
    person: str,
    scopes: Iterable[Scope],
    *,
    now_us: int,
    expires_us: int | None,
) -> str:
    """Make a token and return it: this is the only time that it can be seen."""
    token = PREFIX + fresh()
    recorder.database.execute(
        "INSERT INTO api_tokens (id, name, token_sha256, person, scopes, created_us, expires_us) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        (str(ULID()), name, hashed(token), person, " ".join(sorted(scopes)), now_us, expires_us),
    )
    return token


def revoke(recorder: Recorder, token_id: str, now_us: int) -> bool:
    """End a token for good; whether there was one to end."""
    cursor = recorder.database.execute(
        "UPDATE api_tokens SET revoked_us = ? WHERE id = ? AND revoked_us IS NULL", (now_us, token_id)
    )
    return bool(cursor.rowcount)


def tokens(store: Store) -> list[Token]:
    """Every token, newest first."""
    sql = f"SELECT {_COLUMNS} FROM api_tokens ORDER BY created_us DESC, id DESC"  # noqa: S608
    return [_from_row(row) for row in store.rows(sql)]


def read_header(header: str) -> str | None:
    """The token in an ``Authorization`` header, if there is one of ours (RFC 6750, section 2.1)."""
    match = _HEADER.fullmatch(header.strip())
    return match[1] if match else None


def by_header(hub: Services, header: str | None, scope: Scope) -> Person | None:
    """For whom the token in an ``Authorization`` header acts, if it has ``scope``.

    Raises:
        UnavailableError: the database cannot be used at the moment.
    """
    token = read_header(header or "")
    found = None if token is None else acting(hub, token)
    return found.person if found is not None and scope in found.scopes else None


def acting(hub: Services, token: str) -> Acting | None:
    """For whom ``token`` acts now; ``None`` if it is not good, or she is not.

    Raises:
        UnavailableError: the database cannot be used at the moment.
    """
    sql = f"SELECT {_COLUMNS} FROM api_tokens WHERE token_sha256 = ?"  # noqa: S608
    rows = hub.store.rows(sql, (hashed(token),))
    known = _from_row(rows[0]) if rows else None
    if known is None or not known.lasts(hub.clock()):
        return None
    person = hub.people.get(known.person)
    if person is None or not person.enabled:
        return None
    _note_use(hub, known)
    return Acting(person, known.scopes)


def _note_use(hub: Services, token: Token) -> None:
    now_us = hub.clock()
    if token.used_us is not None and now_us - token.used_us < _USED_US:
        return

    def write(recorder: Recorder) -> Outcome:
        recorder.database.execute("UPDATE api_tokens SET used_us = ? WHERE id = ?", (now_us, token.id))
        return Outcome()

    with suppress(UnavailableError):  # a disk that is full shuts no program out
        hub.writer.put(Work(write, lambda _: None), patience_seconds=0)


def _from_row(row: Sequence[Any]) -> Token:
    key, name, person, scopes, *times = row
    known = {str(scope): scope for scope in Scope}
    return Token(key, name, person, frozenset(known[one] for one in scopes.split() if one in known), *times)
