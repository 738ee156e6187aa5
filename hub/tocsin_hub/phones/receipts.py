"""Receipt tokens: how one looks, and what the database keeps of it."""

import hashlib
import re
import secrets

_TOKEN = re.compile(r"[A-Za-z0-9_-]{16,128}")


def new_receipt() -> str:
    """A token that nobody can guess."""
    return secrets.token_urlsafe(32)


def is_receipt(text: str) -> bool:
    """Whether ``text`` could be a token at all."""
    return _TOKEN.fullmatch(text) is not None


def receipt_sha256(receipt: str) -> str:
    """What the database keeps of a token, so that a stolen copy of it says nothing to the hub."""
    return hashlib.sha256(receipt.encode()).hexdigest()
