"""Clips on the disk: one encrypted file each, written whole or not at all, that only the key's owner hears.

A file is ``TOCSIN-CLIP-1`` and a line feed, a nonce of 12 bytes, the length of the header in 4 bytes
(big-endian), the header (JSON, readable, authenticated), and the samples (16 bit little-endian), encrypted
with AES-256-GCM (NIST SP 800-38D) under a fresh random nonce. Everything before the samples is authenticated.
"""

import contextlib
import os
import secrets
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta, Struct

from tocsin_node.keeping import KeptClip, from_the_future, must_go
from tocsin_shared.errors import BadInputError, SettingsError, UnavailableError
from tocsin_shared.events import Count, Label, NodeId, Ulid, Utc

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES, NONCE_BYTES, LENGTH_BYTES, TAG_BYTES = 32, 12, 4, 16
MAGIC = b"TOCSIN-CLIP-1\n"
SUFFIX, PART_SUFFIX = ".clip", ".part"
OTHERS = 0o077
"""Permissions of everybody but the owner."""
_HEADER_AT = len(MAGIC) + NONCE_BYTES + LENGTH_BYTES


class ClipHeader(Struct, frozen=True, kw_only=True):
    """What a clip says of itself; readable by whoever can read the file, and authenticated."""

    id: Ulid
    """The event's."""
    node: NodeId
    label: Label
    onset: Utc
    """Of the detection; the clip begins ``before_samples`` earlier."""
    before_samples: Count
    sample_rate_hz: Annotated[int, Meta(ge=1, le=1_000_000)]
    samples: Count
    """Length."""


def make_key(path: Path) -> None:
    """A new random key in the file ``path``, which only its owner can read.

    Raises:
        SettingsError: it is there already, or cannot be written.
    """
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(KEY_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError as error:
        raise SettingsError(f"{path} is there already; a new key cannot open the clips of the old") from error
    except OSError as error:
        raise SettingsError(f"{path}: the key cannot be written: {error.strerror}") from error


def load_key(path: Path) -> bytes:
    """The key in the file ``path``, 32 bytes.

    Raises:
        SettingsError: it cannot be read, others can read it, or it is no key.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(2 * KEY_BYTES + 2)
    except OSError as error:
        raise SettingsError(
            f"key {path.name}: {error.strerror}; tocsin node clips key FILE makes one"
        ) from error
    if mode & OTHERS:
        raise SettingsError(f"key {path.name}: others can read it; chmod 600 it, or make a new one")
    try:
        key = bytes.fromhex(text.decode("ascii"))
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise SettingsError(
            f"key {path.name}: not 64 hexadecimal digits; tocsin node clips key FILE makes one"
        )
    return key


def seal(key: bytes, header: ClipHeader, samples: bytes) -> bytes:
    """The file of a clip; ``samples`` are 16 bit, little-endian.

    Raises:
        UnavailableError: the package cryptography is missing.
    """
    nonce, told = os.urandom(NONCE_BYTES), msgspec.json.encode(header)
    opening = MAGIC + nonce + struct.pack(">I", len(told)) + told
    return opening + cipher(key).encrypt(nonce, samples, opening)


def unseal(key: bytes, sealed: bytes) -> tuple[ClipHeader, bytes]:
    """Header and samples of a clip's file ``sealed``.

    Raises:
        BadInputError: not a clip, another key, or changed since it was written.
        UnavailableError: the package cryptography is missing.
    """
    opener = cipher(key)
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415  # see cipher

    if not sealed.startswith(MAGIC) or len(sealed) < _HEADER_AT + TAG_BYTES:
        raise BadInputError("not a clip")
    header_end = _HEADER_AT + struct.unpack(">I", sealed[_HEADER_AT - LENGTH_BYTES : _HEADER_AT])[0]
    nonce = sealed[len(MAGIC) : len(MAGIC) + NONCE_BYTES]
    try:
        samples = opener.decrypt(nonce, sealed[header_end:], sealed[:header_end])
        header = msgspec.json.decode(sealed[_HEADER_AT:header_end], type=ClipHeader)
    except (InvalidTag, ValueError) as error:  # msgspec's error is a ValueError
        raise BadInputError("made with another key, or changed since") from error
    if len(samples) != 2 * header.samples:
        raise BadInputError("its length is not what it says")
    return header, samples


def cipher(key: bytes) -> "AESGCM":
    """What encrypts with ``key``, 32 bytes.

    Raises:
        UnavailableError: the package cryptography is missing.
    """
    try:  # here and not above: a node that keeps no clips does not need it
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415
    except ImportError as error:
        raise UnavailableError("clips need the package cryptography: pip install 'tocsin[clips]'") from error
    return AESGCM(key)


class ClipFolder:
    """The clips in ``folder``, at most ``max_bytes`` of them, none older than ``max_age_seconds``.

    ``wall`` gives seconds since 1970. One process writes; others may read and delete.
    """

    def __init__(
        self, folder: Path, max_bytes: int, max_age_seconds: float, wall: Callable[[], float] = time.time
    ) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._max_age_seconds = max_age_seconds
        self._wall = wall

    def kept(self) -> list[KeptClip]:
        """All clips, oldest first.

        Raises:
            UnavailableError: the folder cannot be read.
        """
        found = []
        with _mapped(self._folder):
            for path in self._folder.glob(f"*{SUFFIX}"):
                with contextlib.suppress(FileNotFoundError):  # deleted in this moment
                    stat = path.stat()
                    found.append(KeptClip(path.stem, stat.st_mtime, stat.st_size))
        return sorted(found, key=lambda clip: (clip.written, clip.id))

    def read(self, clip: str, key: bytes) -> tuple[ClipHeader, bytes]:
        """Header and samples of the clip of the event ``clip``.

        Raises:
            BadInputError: no such clip, another key, or changed since it was written.
            UnavailableError: it cannot be read.
        """
        path = self._path(clip)
        try:
            with _mapped(path):
                header, samples = unseal(key, path.read_bytes())
        except BadInputError as error:
            raise BadInputError(f"clip {clip}: {error}") from error
        if header.id != clip:
            raise BadInputError(f"clip {clip}: the file is that of {header.id}, under another name")
        return header, samples

    def delete(self, clip: str) -> None:
        """Delete the clip of the event ``clip``.

        Raises:
            BadInputError: no such clip.
            UnavailableError: it cannot be deleted.
        """
        path = self._path(clip)
        with _mapped(path):
            path.unlink(missing_ok=True)

    def write(self, clip: str, sealed: bytes) -> None:
        """Keep ``sealed`` as the clip of the event ``clip``; as many old ones go as must.

        Raises:
            UnavailableError: the disk does not take it, or it is more than all clips together may be.
        """
        if len(sealed) > self._max_bytes:
            raise UnavailableError(f"a clip of {len(sealed)} bytes is more than clips.max_bytes")
        self.tidy(len(sealed))
        part = self._folder / f"{clip}{PART_SUFFIX}"
        with _mapped(self._folder):
            try:
                _write_through(part, sealed)
                part.replace(self._folder / f"{clip}{SUFFIX}")
                _sync(self._folder)
            finally:
                part.unlink(missing_ok=True)

    def tidy(self, coming_bytes: int = 0) -> None:
        """Delete what is too old or too much, and what a killed process left half written.

        Raises:
            UnavailableError: the folder cannot be made or changed.
        """
        with _mapped(self._folder):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for part in self._folder.glob(f"*{PART_SUFFIX}"):
                part.unlink(missing_ok=True)
            kept, now = self.kept(), self._wall()
            for clip in must_go(
                kept,
                now,
                max_age_seconds=self._max_age_seconds,
                max_bytes=self._max_bytes,
                coming_bytes=coming_bytes,
            ):
                (self._folder / f"{clip.id}{SUFFIX}").unlink(missing_ok=True)
            for clip in from_the_future(kept, now):
                with contextlib.suppress(FileNotFoundError):
                    os.utime(self._folder / f"{clip.id}{SUFFIX}", (now, now))

    def _path(self, clip: str) -> Path:
        path = self._folder / f"{clip}{SUFFIX}"
        if "/" in clip or not path.is_file():
            raise BadInputError(f"there is no clip {clip}; tocsin node clips list shows those that are kept")
        return path


def _write_through(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


@contextlib.contextmanager
def _mapped(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UnavailableError(f"clips: {path.name}: {error.strerror}") from error
