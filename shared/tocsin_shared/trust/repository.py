"""The trust repository on disk: a folder that any web server may serve, and whoever holds keys may add to.

::

    metadata/   1.root.json, 2.root.json …, N.targets.json, N.models.json, N.snapshot.json, timestamp.json
    targets/    config/HASH.director.json, models/NAME/HASH.RELEASE-VARIANT.tar

Every version of every file stays. Whatever is written is checked first as a node would check it, so that a
wrong key is found here and not in a hundred rooms.
"""

import contextlib
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from securesystemslib.signer import CryptoSigner, Key, SSlibKey
from tuf.api.exceptions import RepositoryError, UnsignedMetadataError
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Signed,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization import DeserializationError

from tocsin_shared.errors import BadInputError, SettingsError
from tocsin_shared.trust.bundles import Notes, target_path
from tocsin_shared.trust.files import put
from tocsin_shared.trust.roles import (
    DIRECTOR,
    DIRECTOR_PATH,
    MODEL_PATHS,
    MODELS,
    OFFLINE,
    ROOT,
    ROOT_THRESHOLD,
    SNAPSHOT,
    TARGETS,
    TERMS,
    TIMESTAMP,
    RoleStatus,
)

T = TypeVar("T", bound=Signed)


@dataclass(frozen=True)
class FirstKeys:
    """All that is needed to found a repository."""

    root: Sequence[CryptoSigner]
    targets: CryptoSigner
    models: Sequence[CryptoSigner]
    """One for each engineer."""
    snapshot: CryptoSigner
    timestamp: CryptoSigner
    director: Key


@dataclass(frozen=True)
class OnlineKeys:
    """What the hub signs with."""

    snapshot: CryptoSigner
    timestamp: CryptoSigner


class Repository:
    """The repository in ``folder``. One process may write at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.metadata, self.targets = folder / "metadata", folder / "targets"

    def exists(self) -> bool:
        """Whether it has been founded."""
        return (self.metadata / "1.root.json").exists()

    def root_bytes(self, version: int = 1) -> bytes:
        """The root metadata that a node is given as its anchor.

        Raises:
            SettingsError: there is none.
        """
        return self._read(self.metadata / f"{version}.root.json")

    def root(self) -> Metadata[Root]:
        """The newest root."""
        return self.role(ROOT)

    def role(self, name: str) -> Metadata[Any]:
        """The newest metadata of the role ``name``.

        Raises:
            SettingsError: the repository or this role does not exist, or its file is damaged.
        """
        path = self._path(name)
        try:
            return Metadata.from_bytes(self._read(path))
        except DeserializationError as error:
            raise SettingsError(f"{path}: damaged: {error}; bring it back from a backup") from error

    def described(self, name: str) -> MetaFile:
        """Version, length and hash of the newest metadata of the role ``name``."""
        content = self._read(self._path(name))
        hashes = {"sha256": hashlib.sha256(content).hexdigest()}
        return MetaFile(self.role(name).signed.version, len(content), hashes)

    def _path(self, name: str) -> Path:
        if name == TIMESTAMP:
            return self.metadata / "timestamp.json"
        files = {
            int(found[1]): path
            for path in self.metadata.glob(f"*.{name}.json")
            if (found := re.fullmatch(rf"(\d{{1,9}})\.{name}\.json", path.name))
        }
        if not files:
            raise SettingsError(f"{self.folder}: holds no {name} metadata; tocsin trust init founds one")
        return files[max(files)]

    def _read(self, path: Path) -> bytes:
        try:
            return path.read_bytes()
        except OSError as error:
            raise SettingsError(f"{path}: cannot be read: {error.strerror}; is it a repository?") from error

    def write(self, metadata: Metadata[Any]) -> None:
        """Put ``metadata`` where clients look for it."""
        signed = metadata.signed
        name = signed.type if signed.type != TARGETS or signed.delegations is not None else MODELS
        file = "timestamp.json" if name == TIMESTAMP else f"{signed.version}.{name}.json"
        put(self.metadata / file, metadata.to_bytes())

    def director_keys(self) -> dict[str, Key]:
        """The keys that may sign directives, by key id."""
        target = self.role(TARGETS).signed.targets.get(DIRECTOR_PATH)
        return {} if target is None else director_keys(target.custom)

    def add_target(self, targets: Targets, path: str, content: bytes, custom: Mapping[str, Any]) -> None:
        """Put the file ``content`` at ``path``, and its length, hash and ``custom`` into ``targets``."""
        target = TargetFile.from_data(path, content, ["sha256"])
        target.unrecognized_fields["custom"] = dict(custom)
        folder, _, name = path.rpartition("/")
        put(self.targets / folder / f"{target.hashes['sha256']}.{name}", content)
        targets.targets[path] = target


def found(folder: Path, keys: FirstKeys, now: datetime) -> Repository:
    """A new repository in ``folder``, every role signed.

    Raises:
        SettingsError: there is one already.
        UnavailableError: the disk does not take it.
    """
    made = Repository(folder)
    if made.exists():
        raise SettingsError(f"{folder}: holds a repository already; tocsin trust rotate changes its keys")
    root = Root(expires=_end(ROOT, now), consistent_snapshot=True)
    for signer in keys.root:
        root.add_key(signer.public_key, ROOT)
    root.roles[ROOT].threshold = min(ROOT_THRESHOLD, len(keys.root))
    online = {TARGETS: keys.targets, SNAPSHOT: keys.snapshot, TIMESTAMP: keys.timestamp}
    for role, signer in online.items():
        root.add_key(signer.public_key, role)
    _publish(made, root, keys.root)
    rights = DelegatedRole(MODELS, [], 1, terminating=True, paths=[MODEL_PATHS])
    targets = Targets(expires=_end(TARGETS, now), delegations=Delegations({}, {MODELS: rights}))
    for signer in keys.models:
        targets.add_key(signer.public_key, MODELS)
    _name_director(made, targets, keys.director)
    _publish(made, targets, [keys.targets])
    _publish(made, Targets(expires=_end(MODELS, now)), [keys.models[0]])
    renew(made, OnlineKeys(keys.snapshot, keys.timestamp), now)
    return made


def _name_director(repository: Repository, targets: Targets, key: Key) -> None:
    custom = {"keys": {key.keyid: key.to_dict()}}
    repository.add_target(targets, DIRECTOR_PATH, msgspec.json.encode(custom), custom)


def director_keys(custom: Any) -> dict[str, Key]:
    """The director's keys in the ``custom`` of its target, by key id; what is no key is left out."""
    found_keys: dict[str, Key] = {}
    for keyid, entry in dict((custom or {}).get("keys", {})).items():
        with contextlib.suppress(KeyError, ValueError, TypeError, AttributeError):
            found_keys[keyid] = SSlibKey.from_dict(keyid, dict(entry))
    return found_keys


def _end(role: str, now: datetime) -> datetime:
    return (now + TERMS[role].expires_after()).astimezone(UTC).replace(microsecond=0)


def _publish(repository: Repository, signed: Any, signers: Sequence[CryptoSigner]) -> None:
    metadata = Metadata(signed)
    for signer in signers:
        metadata.sign(signer, append=True)
    _check_keys(repository, metadata)
    repository.write(metadata)


def _check_keys(repository: Repository, metadata: Metadata[Any]) -> None:
    """As a node would: a root by itself and by the one before it, others by whoever delegates to them."""
    signed = metadata.signed
    try:
        if isinstance(signed, Root):
            signed.verify_delegate(ROOT, metadata.signed_bytes, metadata.signatures)
            if signed.version > 1:
                before = repository.root().signed
                before.verify_delegate(ROOT, metadata.signed_bytes, metadata.signatures)
        elif isinstance(signed, Targets) and signed.delegations is None:
            above = repository.role(TARGETS).signed
            above.verify_delegate(MODELS, metadata.signed_bytes, metadata.signatures)
        else:
            above = repository.root().signed
            above.verify_delegate(signed.type, metadata.signed_bytes, metadata.signatures)
    except UnsignedMetadataError as error:
        raise BadInputError(
            f"{repository.folder}: these keys may not sign this: {error}; tocsin trust status shows who may"
        ) from error


def renew(repository: Repository, keys: OnlineKeys, now: datetime) -> tuple[str, ...]:
    """Sign snapshot and timestamp again where that is due; the names of what was signed.

    Due is what is new in the offline metadata, and what was signed longer ago than its term allows. The
    hub calls this every few minutes; it costs nothing where nothing is due.

    Raises:
        SettingsError, BadInputError: the repository is damaged, or the keys are not the right ones.
        UnavailableError: the disk does not take it.
    """
    meta = {f"{role}.json": repository.described(role) for role in (TARGETS, MODELS)}
    _check_keys(repository, repository.role(MODELS))
    before = _maybe(repository, SNAPSHOT)
    done = []
    if before is None or before.signed.meta != meta or _due(repository, before.signed, SNAPSHOT, now):
        version = 1 if before is None else before.signed.version + 1
        _publish(
            repository, Snapshot(version=version, expires=_end(SNAPSHOT, now), meta=meta), [keys.snapshot]
        )
        done.append(SNAPSHOT)
    snapshot = repository.described(SNAPSHOT)
    last = _maybe(repository, TIMESTAMP)
    if last is None or last.signed.snapshot_meta != snapshot or _due(repository, last.signed, TIMESTAMP, now):
        version = 1 if last is None else last.signed.version + 1
        timestamp = Timestamp(version=version, expires=_end(TIMESTAMP, now), snapshot_meta=snapshot)
        _publish(repository, timestamp, [keys.timestamp])
        done.append(TIMESTAMP)
    return tuple(done)


def _maybe(repository: Repository, role: str) -> Metadata[Any] | None:
    missing = role == TIMESTAMP and not (repository.metadata / "timestamp.json").exists()
    if missing or (role == SNAPSHOT and not any(repository.metadata.glob("*.snapshot.json"))):
        return None
    return repository.role(role)


def _due(repository: Repository, signed: Signed, role: str, now: datetime) -> bool:
    """Signed longer ago than it should be, or by a key that is not the role's any more."""
    hours = (signed.expires - now).total_seconds() / 3600.0
    term = TERMS[role]
    due = term.renew_hours is not None and hours < 24.0 * term.days - term.renew_hours
    try:
        metadata = repository.role(role)
        repository.root().signed.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
    except (RepositoryError, ValueError):
        return True
    return due


def add_bundle(
    repository: Repository, archive: bytes, notes: Notes, signers: Sequence[CryptoSigner], now: datetime
) -> str:
    """Sign ``archive`` into the role ``models``; its path in the repository.

    Raises:
        BadInputError: this release and variant stand there with other bytes, or a key may not sign.
        SettingsError, UnavailableError: as :func:`renew`.
    """
    path = target_path(notes.name, notes.release, notes.variant)
    models = repository.role(MODELS)
    before = models.signed.targets.get(path)
    if before is not None and before.hashes.get("sha256") != hashlib.sha256(archive).hexdigest():
        raise BadInputError(f"{path} is published already, with other bytes; give it a new release")
    repository.add_target(models.signed, path, archive, msgspec.to_builtins(notes))
    _again(repository, models.signed, MODELS, signers, now)
    return path


def read_models(repository: Repository, content: bytes) -> Metadata[Targets]:
    """Metadata of the role ``models`` that was signed elsewhere, as it could take the place of the newest.

    Raises:
        BadInputError: it is no such metadata, is not newer, is not signed by whoever may, or gives another
            content to a path that is published.
        SettingsError: as :func:`renew`.
    """
    try:
        made = Metadata[Targets].from_bytes(content)
    except (DeserializationError, ValueError) as error:
        raise BadInputError(f"not signed metadata: {error}") from error
    if not isinstance(made.signed, Targets) or made.signed.delegations is not None:
        raise BadInputError("not metadata of the role models; it is in metadata/N.models.json")
    _check_keys(repository, made)
    before = repository.role(MODELS).signed
    if made.signed.version <= before.version:
        raise BadInputError(
            f"models metadata of version {made.signed.version}: there is {before.version} already; publish "
            "into a copy of the newest repository"
        )
    for path, target in made.signed.targets.items():
        known = before.targets.get(path)
        if known is not None and known.hashes != target.hashes:
            raise BadInputError(f"{path} is published already, with other bytes; give it a new release")
    return made


def put_models(
    repository: Repository, content: bytes, models: Metadata[Targets], archives: Mapping[str, bytes]
) -> None:
    """Put ``archives``, by path, and then the metadata that :func:`read_models` has read into place.

    Raises:
        UnavailableError: the disk does not take it.
    """
    for path, archive in archives.items():
        folder, _, name = path.rpartition("/")
        sha256 = models.signed.targets[path].hashes["sha256"]
        put(repository.targets / folder / f"{sha256}.{name}", archive)
    put(repository.metadata / f"{models.signed.version}.{MODELS}.json", content)


def _again(
    repository: Repository, signed: Any, role: str, signers: Sequence[CryptoSigner], now: datetime
) -> None:
    signed.version += 1
    signed.expires = _end(role, now)
    _publish(repository, signed, signers)


def sign_again(repository: Repository, role: str, signers: Sequence[CryptoSigner], now: datetime) -> None:
    """The offline ``role`` with a new term and the keys it has.

    Raises:
        SettingsError, BadInputError, UnavailableError: as :func:`renew`.
    """
    if role not in OFFLINE:
        raise SettingsError(f"{role} is signed by the hub; only {', '.join(OFFLINE)} are signed by people")
    _again(repository, repository.role(role).signed, role, signers, now)


@dataclass(frozen=True)
class Replacement:
    """A key that takes the place of another."""

    role: str
    new: CryptoSigner
    old: str | None = None
    """Begin of the id of the key that goes; ``None`` is the role's only one."""


def replace_key(
    repository: Repository, change: Replacement, signers: Sequence[CryptoSigner], now: datetime
) -> None:
    """Give a role a new key.

    ``signers`` hold the root keys for root, targets, snapshot and timestamp, and the targets key for models
    and director. Metadata that the old key has signed is signed again with the new one, but for snapshot
    and timestamp, which :func:`renew` sees to.

    Raises:
        BadInputError: ``change.old`` names not one key of the role, or ``signers`` do not suffice.
        SettingsError, UnavailableError: as :func:`renew`.
    """
    if change.role in {MODELS, DIRECTOR}:
        _replace_below_targets(repository, change, signers, now)
        return
    role, root = change.role, repository.root().signed
    root.revoke_key(_the_key(root.roles[role].keyids, change), role)
    root.add_key(change.new.public_key, role)
    _again(repository, root, ROOT, [*signers, change.new] if role == ROOT else signers, now)
    if role == TARGETS:
        _again(repository, repository.role(TARGETS).signed, TARGETS, [change.new], now)


def _replace_below_targets(
    repository: Repository, change: Replacement, signers: Sequence[CryptoSigner], now: datetime
) -> None:
    targets = repository.role(TARGETS).signed
    if change.role == MODELS:
        targets.revoke_key(_the_key(targets.delegations.roles[MODELS].keyids, change), MODELS)
        targets.add_key(change.new.public_key, MODELS)
    else:
        _name_director(repository, targets, change.new.public_key)
    _again(repository, targets, TARGETS, signers, now)
    if change.role == MODELS:
        _again(repository, repository.role(MODELS).signed, MODELS, [change.new], now)


def _the_key(keyids: Sequence[str], change: Replacement) -> str:
    named = [keyid for keyid in keyids if keyid.startswith(change.old or "")]
    if len(named) != 1:
        known = ", ".join(keyid[:8] for keyid in keyids)
        raise BadInputError(f"{change.role}: say which key is to go, by the begin of its id; it has: {known}")
    return named[0]


def status(repository: Repository, now: datetime) -> list[RoleStatus]:
    """How each role stands at ``now``.

    Raises:
        SettingsError: as :meth:`Repository.role`.
    """
    root, targets = repository.root().signed, repository.role(TARGETS).signed
    rows = []
    for name in TERMS:
        signed = repository.role(name).signed
        keys = targets.delegations.roles[MODELS] if name == MODELS else root.roles[name]
        days = (signed.expires - now).total_seconds() / 86_400.0
        rows.append(RoleStatus(name, signed.version, len(keys.keyids), keys.threshold, days))
    return rows
