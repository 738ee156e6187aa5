"""The keys that the hub holds: snapshot, timestamp and director."""

from pathlib import Path

from securesystemslib.signer import CryptoSigner

from tocsin_shared.trust.keys import SUFFIX, load_signer
from tocsin_shared.trust.repository import OnlineKeys
from tocsin_shared.trust.roles import DIRECTOR, SNAPSHOT, TIMESTAMP


def online_keys(folder: Path) -> OnlineKeys:
    """The keys in ``folder`` that sign snapshot and timestamp.

    Raises:
        SettingsError: one is missing or cannot be used.
    """
    return OnlineKeys(*(load_signer(folder / f"{role}{SUFFIX}") for role in (SNAPSHOT, TIMESTAMP)))


def director_key(folder: Path) -> CryptoSigner:
    """The key in ``folder`` that signs directives.

    Raises:
        SettingsError: it is missing or cannot be used.
    """
    return load_signer(folder / f"{DIRECTOR}{SUFFIX}")
