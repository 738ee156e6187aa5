"""Random tokens, and what the database keeps of them: a stolen copy of it opens nothing."""

import hashlib
import secrets

TOKEN_BYTES = 32


def fresh() -> str:
    """A token that nobody can guess, fit for an address: 43 characters."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def hashed(token: str) -> str:
    """What the database keeps of a token. Plain SHA-256 will do: nobody guesses 256 random bits."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
