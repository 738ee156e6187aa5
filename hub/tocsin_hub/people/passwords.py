"""Passwords: Argon2id (RFC 9106), whose cost the settings say."""

import threading
from dataclasses import dataclass
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from tocsin_hub.people.rules import PASSWORD_MOST
from tocsin_hub.people.secret import fresh
from tocsin_hub.settings import AccessSettings

_AT_ONCE = threading.Semaphore(2)
"""Each password takes much memory and all of a core: many who log in must not hold up what nodes say."""


@dataclass(frozen=True)
class Verdict:
    """Whether a password is right."""

    right: bool
    better_hash: str | None = None
    """The same password at the cost that the settings say now, if that has changed."""


def hash_password(password: str, settings: AccessSettings) -> str:
    """What the database keeps of ``password``: algorithm, cost, salt and hash in one text."""
    with _AT_ONCE:
        return _hasher(settings).hash(_bytes(password))


def check(password: str, known_hash: str | None, settings: AccessSettings) -> Verdict:
    """Whether ``known_hash`` was made of ``password``; takes as long where there is no hash at all."""
    hasher = _hasher(settings)
    judged = known_hash or _hash_of_nobody(settings)
    with _AT_ONCE:
        try:
            hasher.verify(judged, _bytes(password[: PASSWORD_MOST + 1]))
        except (VerificationError, InvalidHashError):
            return Verdict(right=False)
    if known_hash is None:
        return Verdict(right=False)
    stale = hasher.check_needs_rehash(known_hash)
    return Verdict(right=True, better_hash=hash_password(password, settings) if stale else None)


@cache
def _hasher(settings: AccessSettings) -> PasswordHasher:
    return PasswordHasher(
        time_cost=settings.argon2_rounds,
        memory_cost=settings.argon2_memory_kib,
        parallelism=settings.argon2_lanes,
    )


@cache
def _hash_of_nobody(settings: AccessSettings) -> str:
    return hash_password(fresh(), settings)


def _bytes(password: str) -> bytes:
    return password.encode("utf-8", "surrogatepass")
