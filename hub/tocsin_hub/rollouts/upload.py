"""Takes bundles that were signed elsewhere: their papers are read here, a child process listens to them.

The hub itself knows no interpreter. Where ``tocsin[models]`` is installed beside it, a child hears the
golden clips and asks the gate; elsewhere the signer's machine has done so, and each node does so again.
"""

import base64
import binascii
import hashlib
import importlib.util
import logging
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tuf.api.metadata import Metadata, Targets

from tocsin_hub.rollouts.engine import Rollouts
from tocsin_shared.errors import BadInputError, BundleError
from tocsin_shared.manifest import read_manifest, read_variant
from tocsin_shared.trust.bundles import (
    REFERENCE,
    Notes,
    read_notes,
    read_references,
    release_of,
    target_path,
    unpack,
)
from tocsin_shared.trust.repository import Repository, put_models, read_models
from tocsin_shared.trust.roles import MODELS

UPLOAD_BYTES = 140_000_000
"""Longest body that is taken: about 100 MB of archives, in Base64."""
_EARS = ("tocsin_models", "ai_edge_litert", "numpy")
_SHOWN = 400

log = logging.getLogger(__name__)


def accept(
    rollouts: Rollouts, metadata: str, archives: Sequence[str], check_seconds: float
) -> tuple[str, ...]:
    """Check what was uploaded, and put it into the repository; the paths of what is new.

    Raises:
        UpdatesOffError: nothing goes over the air here.
        BadInputError: signature, papers, clips or gate fail; nothing was kept.
        SettingsError, UnavailableError: the repository cannot be read or written.
    """
    trust = rollouts.trusted()
    content, sent = metadata.encode(), [_decoded(one) for one in archives]
    new = _new(trust.repository, read_models(trust.repository, content), sent)
    try:
        _examine(new, check_seconds)
    except BundleError as error:
        raise BadInputError(f"the bundle is refused: {error}") from error
    with trust.writing:
        models = read_models(trust.repository, content)  # somebody else may have been quicker
        put_models(trust.repository, content, models, {path: archive for path, (_, archive) in new.items()})
    rollouts.renew_soon()
    return tuple(sorted(new))


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadInputError(f"archives: not Base64: {error}") from error


def _new(
    repository: Repository, models: Metadata[Targets], sent: Sequence[bytes]
) -> Mapping[str, tuple[Notes, bytes]]:
    """By path, the notes and the archive of each target that the repository has not yet."""
    known = repository.role(MODELS).signed.targets
    by_hash = {hashlib.sha256(one).hexdigest(): one for one in sent}
    found = {}
    for path, target in models.signed.targets.items():
        if path in known:
            continue
        archive = by_hash.pop(target.hashes.get("sha256", ""), None)
        if archive is None or len(archive) != target.length:
            raise BadInputError(f"the archive of {path} was not sent")
        found[path] = (_notes(path, target.custom), archive)
    if by_hash:
        raise BadInputError(f"{len(by_hash)} of the archives are signed by nothing in the metadata")
    return found


def _notes(path: str, custom: object) -> Notes:
    try:
        notes = read_notes(custom)
    except BundleError as error:
        raise BadInputError(f"{path}: {error}") from error
    if target_path(notes.name, notes.release, notes.variant) != path:
        raise BadInputError(f"{path}: its notes are those of {notes.name} {notes.release} {notes.variant}")
    return notes


def _examine(new: Mapping[str, tuple[Notes, bytes]], seconds: float) -> None:
    with tempfile.TemporaryDirectory(prefix="tocsin-upload-") as folder:
        places = []
        for number, (notes, archive) in enumerate(new.values()):
            place = Path(folder) / str(number)
            for name, content in unpack(archive).items():
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                (place / name).write_bytes(content)
            _read_papers(place, notes)
            places.append(place)
        if places and all(importlib.util.find_spec(one) for one in _EARS):
            _listen(places, seconds)
        elif places:
            log.warning("uploaded bundles were not heard: tocsin[models] is not installed here")


def _read_papers(place: Path, notes: Notes) -> None:
    """Manifest, model, clips and what the signer heard, against the signed ``notes``.

    Raises:
        BundleError: one is missing, or says something else.
    """
    manifest = read_manifest(place)
    names = [one.name for one in manifest.variants]
    if (manifest.name, manifest.release, names) != (notes.name, notes.release, [notes.variant]):
        raise BundleError(
            f"it holds {manifest.name} {manifest.release} {', '.join(names)}, as its manifest says"
        )
    if release_of(notes.floor) > release_of(notes.release):
        raise BundleError(f"the floor {notes.floor} is above the release {notes.release} itself")
    read_variant(place, manifest.variants[0])
    try:
        heard = read_references((place / REFERENCE).read_bytes())
    except OSError as error:
        raise BundleError(f"{REFERENCE} is missing: nobody has heard its golden clips") from error
    clips = {one.file for one in manifest.golden}
    if not clips or clips - heard.keys() or not all((place / one).is_file() for one in clips):
        raise BundleError("golden clips, or what was heard in them, are missing")


def _listen(places: Sequence[Path], seconds: float) -> None:
    """Let a child hear the bundles in ``places``.

    Raises:
        BundleError: it refuses one, or does not come to an end.
    """
    command = [sys.executable, "-m", "tocsin_shared", "models", "verify", *map(str, places)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired as error:
        raise BundleError(f"it was not heard within {seconds:g} s") from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["the check died"]
        raise BundleError(lines[-1].removeprefix("tocsin models: ")[:_SHOWN])
