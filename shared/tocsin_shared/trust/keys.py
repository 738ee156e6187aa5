"""The edge to key files: Ed25519 in PKCS #8, encrypted with a passphrase where a person holds them."""

import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from securesystemslib.signer import CryptoSigner

from tocsin_shared.errors import SettingsError

SUFFIX = ".key"
MAX_KEY_BYTES = 64 * 1024
SHORTEST_PASSPHRASE = 12
"""Letters; a key file that is copied can be tried for years."""


def make_key(path: Path, passphrase: bytes | None) -> CryptoSigner:
    """A new key in the new file ``path``, readable by its owner alone; unencrypted without ``passphrase``.

    Raises:
        SettingsError: the file is there already or cannot be written, or the passphrase is too short.
    """
    if passphrase is not None and len(passphrase) < SHORTEST_PASSPHRASE:
        raise SettingsError(f"the passphrase has fewer than {SHORTEST_PASSPHRASE} letters; take a longer one")
    private = Ed25519PrivateKey.generate()
    locked = NoEncryption() if passphrase is None else BestAvailableEncryption(passphrase)
    _write_new(path, private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked))
    return CryptoSigner(private)


def load_signer(path: Path, passphrase: bytes | None = None) -> CryptoSigner:
    """The key in the file ``path``.

    Raises:
        SettingsError: it cannot be read, others can read it, the passphrase is wrong or missing, or it is
            no Ed25519 key.
    """
    try:
        with path.open("rb") as file:
            mode, content = os.fstat(file.fileno()).st_mode, file.read(MAX_KEY_BYTES)
    except OSError as error:
        raise SettingsError(f"key {path}: cannot be read: {error.strerror}") from error
    if mode & 0o077:
        raise SettingsError(f"key {path}: others can read it; chmod 600 it, and think of who has")
    encrypted = is_encrypted(content)
    if encrypted and passphrase is None:
        raise SettingsError(f"key {path}: it has a passphrase, which is needed")
    try:
        private = load_pem_private_key(content, passphrase if encrypted else None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SettingsError(f"key {path}: the passphrase is wrong, or it is no key file") from error
    if not isinstance(private, Ed25519PrivateKey):
        raise SettingsError(f"key {path}: not an Ed25519 key; tocsin trust key FILE makes one")
    return CryptoSigner(private)


def is_encrypted(content: bytes) -> bool:
    """Whether the key file of this ``content`` has a passphrase."""
    return b"ENCRYPTED" in content[:80]


def _write_new(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError as error:
        raise SettingsError(f"{path} is there already, and no key is ever overwritten") from error
    except OSError as error:
        raise SettingsError(f"{path}: the key cannot be written: {error.strerror}") from error
