"""The hub's key for push services (VAPID, RFC 8292): made once, kept in the state folder."""

import base64
import os
import secrets
import threading
import time
from pathlib import Path
from typing import cast

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from py_vapid import Vapid02

from tocsin_shared.errors import UnavailableError

_HOURS = 12
_FRESH_SECONDS = 6 * 3600
"""Longer than any message waits, and shorter than the 24 hours that a push service allows at most."""


class Signer:
    """Signs requests to push services. Safe to use from several threads."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, subject: str) -> None:
        self._vapid = Vapid02(key)
        self._subject = subject
        self._signed: dict[str, tuple[float, str]] = {}
        self._lock = threading.Lock()
        public = key.public_key().public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        )
        self.public_key = base64.urlsafe_b64encode(public).decode().rstrip("=")
        """What a browser needs to register, base64url."""

    def authorization(self, origin: str) -> str:
        """Value of the header ``Authorization`` for the push service at ``origin``."""
        now = time.time()
        with self._lock:
            made, value = self._signed.get(origin, (0.0, ""))
            if not 0 <= now - made < _FRESH_SECONDS:
                value = self._sign(origin, now)
                self._signed[origin] = (now, value)
        return value

    def _sign(self, origin: str, now: float) -> str:
        claims = {"sub": self._subject, "aud": origin, "exp": int(now) + _HOURS * 3600}
        return cast("str", self._vapid.sign(claims)["Authorization"])


def signer(folder: Path, subject: str) -> Signer:
    """The signer with the key in ``folder``, which is made if there is none; only the hub's user may read it.

    Raises:
        UnavailableError: the key can neither be read nor made, or is damaged.
    """
    path = folder / "vapid.pem"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.exists():
            _make(path)
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except OSError as error:
        raise UnavailableError(
            f"the key for push services {path} cannot be used: {error.strerror}"
        ) from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise UnavailableError(
            f"the key for push services {path} is damaged; put it back from a backup, or delete it: "
            "then every phone registers anew when its page is opened"
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise UnavailableError(f"the key for push services {path} is no key on the curve P-256")
    return Signer(key, subject)


def _make(path: Path) -> None:
    text = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    made = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    try:
        # link() rather than replace(): of two processes that start together, the first one's key stays.
        path.hardlink_to(made)
    except FileExistsError:
        pass
    finally:
        made.unlink()
