"""Reading persons: all of them stand in memory, and are read anew when somebody changed one."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tocsin_hub.people.model import DailySpan, Person, Role
from tocsin_hub.store import Store

COUNTER = "people"
"""Grows with every change of a person; in the database, because the command line changes persons, too."""
_SPANS = msgspec.json.Decoder(tuple[DailySpan, ...])
_NAMES = msgspec.json.Decoder(frozenset[str])


@dataclass(frozen=True)
class Account:
    """A person and how she gets in."""

    person: Person
    created_us: int
    login: str | None = None
    """Login name; ``None``: she comes by a link or a QR code only."""
    password_hash: str | None = field(default=None, repr=False)
    subject: str | None = None
    """What the identity provider calls her: its address and her id there."""


COLUMNS = (
    "id, name, role, language, zones, buddy, shift, quiet, muted, enabled, created_us, login, "
    "password_hash, subject"
)


def account_from_row(row: Sequence[Any]) -> Account:
    """The account in ``row``, whose values stand in the order of :data:`COLUMNS`."""
    key, name, role, language, zones, buddy, shift, quiet, muted, enabled, *how = row
    person = Person(
        id=key,
        name=name,
        role=Role(role),
        language=language,
        zones=_NAMES.decode(zones),
        buddy=buddy,
        shift=_SPANS.decode(shift),
        quiet=_SPANS.decode(quiet),
        muted=_NAMES.decode(muted),
        enabled=bool(enabled),
    )
    return Account(person, *how)


class People:
    """All persons, those who are disabled, too. Safe to use from several threads.

    Every method raises :class:`UnavailableError` if the database cannot be used at the moment.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._read_at = -1
        self._accounts: dict[str, Account] = {}
        self._by_login: dict[str, Account] = {}

    @property
    def change(self) -> int:
        """Number of the last change of a person or of what lets her in."""
        return self._store.counter(COUNTER)

    def all(self) -> tuple[Person, ...]:
        """Every person, by name."""
        return tuple(account.person for account in self.accounts())

    def get(self, person_id: str) -> Person | None:
        """The person of this id."""
        account = self.account(person_id)
        return account.person if account else None

    def by_login(self, login: str) -> Person | None:
        """The person of this login name."""
        account = self.account_by_login(login)
        return account.person if account else None

    def accounts(self) -> tuple[Account, ...]:
        """Every person and how she gets in, by name."""
        return tuple(self._now()[0].values())

    def account(self, person_id: str) -> Account | None:
        """The person of this id, and how she gets in."""
        return self._now()[0].get(person_id)

    def account_by_login(self, login: str) -> Account | None:
        """The person of this login name, and how she gets in."""
        return self._now()[1].get(login)

    def _now(self) -> tuple[dict[str, Account], dict[str, Account]]:
        # The counter is read first: at worst the rows are newer than it, and are read once more.
        change = self.change
        with self._lock:
            if change != self._read_at:
                rows = self._store.rows(f"SELECT {COLUMNS} FROM people ORDER BY name, id")  # noqa: S608
                accounts = [account_from_row(row) for row in rows]
                self._accounts = {account.person.id: account for account in accounts}
                self._by_login = {account.login: account for account in accounts if account.login}
                self._read_at = change
            return self._accounts, self._by_login
