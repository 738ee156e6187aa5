"""A bundle as one file to sign: a tar archive that is the same bytes for the same content, whoever makes it.

One archive holds one variant with all that belongs to it (manifest, model, golden clips, what the signer
heard in them, card), so that a node can neither mix two releases nor get half of one. Nothing but regular
files, in order of name, without times and owners; an archive that is packed in any other way is refused.
"""

import hashlib
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from tocsin_shared.errors import BundleError
from tocsin_shared.manifest import FileName, read_manifest, read_variant
from tocsin_shared.trust.directive import Name, Release

MAX_ARCHIVE_BYTES = 500_000_000
MAX_FILES = 600
MANIFEST, REFERENCE = "manifest.json", "golden.json"
RUNTIMES = ("ai-edge-litert", "tflite-runtime")
FORMAT = 1
Parts = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._ -]{1,80}(?!\n)$")]


class Notes(Struct, frozen=True, kw_only=True):
    """What is signed beside length and hash of an archive: the ``custom`` of its target."""

    format: Annotated[int, Meta(ge=1, le=2**31)] = FORMAT
    name: Name
    release: Release
    variant: Name
    floor: Release
    """Once this bundle is proven, the node takes nothing older than this; at most ``release``."""
    runtime: tuple[Parts, ...] = RUNTIMES
    """Interpreters that it was heard with; another one does not run it."""
    hardware: tuple[Parts, ...] = ()
    """Parts of the names of boards that it is for; empty is any."""
    min_node: Release = "0.1.0"


class Reference(Struct, frozen=True, kw_only=True):
    """What the signer's machine heard in one golden clip."""

    file: FileName
    scores: tuple[float, ...]
    """Of the clip's first window, one for each label."""


def target_path(name: str, release: str, variant: str) -> str:
    """Where the archive stands in the repository."""
    return f"models/{name}/{release}-{variant}.tar"


def release_of(text: str) -> tuple[int, ...]:
    """``1.2.3`` as numbers that can be compared; what is no number counts as 0."""
    return tuple(int(part) if part.isdecimal() else 0 for part in text.split("."))


def pack(files: Mapping[str, bytes]) -> bytes:
    """The one archive that holds ``files``."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(files):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(files[name]), 0o644
            archive.addfile(entry, io.BytesIO(files[name]))
    return buffer.getvalue()


def unpack(content: bytes) -> dict[str, bytes]:
    """The files in the archive ``content``, by name.

    Raises:
        BundleError: not an archive, or not one that :func:`pack` made.
    """
    if len(content) > MAX_ARCHIVE_BYTES:
        raise BundleError(f"an archive of {len(content)} bytes; at most {MAX_ARCHIVE_BYTES} are read")
    try:
        files = _members(content)
    except (
        tarfile.TarError,
        msgspec.ValidationError,
        ValueError,
        OverflowError,
        MemoryError,
        EOFError,
        OSError,
    ) as error:
        raise BundleError(f"not a bundle's archive: {error}") from error
    if pack(files) != content:
        raise BundleError("the archive is not packed as a bundle is: names, order, owners or times differ")
    return files


def _members(content: bytes) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
        for entry in archive:
            name = msgspec.convert(entry.name, FileName)
            inside = archive.extractfile(entry) if entry.isreg() else None
            if inside is None or name in files or len(files) >= MAX_FILES:
                raise ValueError(f"{name!r} stands twice, is no file, or is one too many")
            files[name] = inside.read()
    return files


def read_folder(folder: Path) -> dict[str, bytes]:
    """All files of an unpacked archive in ``folder``, by name.

    Raises:
        BundleError: it cannot be read, or holds what no archive does.
    """
    try:
        paths = sorted(path for path in folder.rglob("*") if not path.is_dir())
        if not paths or any(path.is_symlink() for path in paths) or len(paths) > MAX_FILES:
            raise BundleError(f"{folder}: empty, or holds links or too many files")
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
    except OSError as error:
        raise BundleError(f"{folder}: cannot be read: {error.strerror}") from error


def hash_of_folder(folder: Path) -> str:
    """SHA-256 of the archive of ``folder``: the same as when it was signed, if no bit of it has changed.

    Raises:
        BundleError: as :func:`read_folder`.
    """
    return hashlib.sha256(pack(read_folder(folder))).hexdigest()


def bundle_files(folder: Path, variant: str) -> dict[str, bytes]:
    """What the archive of ``variant`` of the bundle in ``folder`` holds, but for :data:`REFERENCE`.

    Raises:
        BundleError: the manifest is wrong, a file is missing or changed, or there is no such variant.
    """
    manifest = read_manifest(folder)
    chosen = manifest.variant(variant)
    alone = msgspec.structs.replace(manifest, variants=(chosen,))
    files = {chosen.file: read_variant(folder, chosen), MANIFEST: msgspec.json.encode(alone)}
    try:
        files |= {clip.file: (folder / clip.file).read_bytes() for clip in manifest.golden}
        card = folder / "card.md"
        return files | ({"card.md": card.read_bytes()} if card.exists() else {})
    except OSError as error:
        raise BundleError(f"{error.filename}: cannot be read: {error.strerror}") from error


def read_notes(custom: Any) -> Notes:
    """The notes in the ``custom`` of a target.

    Raises:
        BundleError: there are none, they are wrong, or of a newer format.
    """
    try:
        notes = msgspec.convert(custom, Notes)
    except msgspec.ValidationError as error:
        raise BundleError(f"the signed notes of the bundle are wrong: {error}") from error
    if notes.format > FORMAT:
        raise BundleError(f"the bundle is of format {notes.format}; this version reads up to {FORMAT}")
    return notes


def read_references(content: bytes) -> dict[str, Reference]:
    """What the signer heard, by clip.

    Raises:
        BundleError: it cannot be read.
    """
    try:
        return {one.file: one for one in msgspec.json.decode(content, type=tuple[Reference, ...])}
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise BundleError(f"{REFERENCE}: {error}") from error
