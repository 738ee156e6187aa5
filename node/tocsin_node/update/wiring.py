"""Builds what an agent needs for updates over the air, from its settings."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root
from tuf.api.serialization import DeserializationError

from tocsin_node import health
from tocsin_node.bundle import load_bundle
from tocsin_node.duet import Duet
from tocsin_node.settings import NodeSettings, UpdateSettings
from tocsin_node.update.attempt import Machine, Surroundings
from tocsin_node.update.floor import Floors
from tocsin_node.update.journal import JournalFile
from tocsin_node.update.slots import Slots
from tocsin_node.update.start import Begun, begin
from tocsin_node.update.updater import Hooks, Updater
from tocsin_shared.classifier import Classifier
from tocsin_shared.errors import SettingsError
from tocsin_shared.events import Clock
from tocsin_shared.trust.files import put

ROOT_FILE = "trusted-root.json"
MAX_ROOT_BYTES = 512_000

log = logging.getLogger("tocsin.node.update")


@dataclass(frozen=True)
class Prepared:
    """What is known before anything listens."""

    slots: Slots
    journal: JournalFile
    begun: Begun
    root: bytes | None
    """The anchor of trust; without it nothing is taken over the air."""


def prepare(settings: NodeSettings) -> Prepared:
    """Find the bundle to start with; a run that was on its way is counted.

    Raises:
        TocsinError: not even the installation's bundle can be loaded.
    """
    slots = Slots(settings.update.folder)
    journal = JournalFile(settings.update.folder / "journal.json")
    model = settings.model

    def load(sha256: str) -> Classifier:
        return Classifier.load(slots.check(sha256), threads=model.threads)

    begun = begin(slots, journal, load, lambda: load_bundle(model.bundle, model.variant, model.threads))
    if begun.trouble:
        log.error("%s", begun.trouble)
    return Prepared(slots, journal, begun, _root(settings.update))


def _root(settings: UpdateSettings) -> bytes | None:
    try:
        return trusted_root(settings)
    except SettingsError as error:
        log.error("no updates over the air: %s", error)  # noqa: TRY400  # no trace: a file is missing
        return None


def trusted_root(settings: UpdateSettings) -> bytes:
    """The root that was given to this node.

    Raises:
        SettingsError: none was, or it is damaged.
    """
    path = settings.folder / ROOT_FILE
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SettingsError(
            f"{path}: no root of trust ({error.strerror}); tocsin node trust-root FILE installs one"
        ) from error
    check_root(content, path)
    return content


def check_root(content: bytes, path: Path) -> None:
    """Refuse what is no root, or not signed by itself.

    Raises:
        SettingsError: it is not.
    """
    try:
        root = Metadata[Root].from_bytes(content)
        if not isinstance(root.signed, Root):
            raise SettingsError(f"{path}: {root.signed.type} metadata; a root is needed, such as 1.root.json")
        root.signed.verify_delegate("root", root.signed_bytes, root.signatures)
    except (DeserializationError, RepositoryError, ValueError) as error:
        raise SettingsError(f"{path}: not a root of trust: {error}") from error


def install_root(settings: UpdateSettings, source: Path) -> Path:
    """Make the root in the file ``source`` the anchor of this node; where it stands now.

    Raises:
        SettingsError: it cannot be read, or is none.
        UnavailableError: the disk does not take it.
    """
    try:
        with source.open("rb") as file:
            content = file.read(MAX_ROOT_BYTES)
    except OSError as error:
        raise SettingsError(f"{source}: cannot be read: {error.strerror}") from error
    check_root(content, source)
    place = settings.folder / ROOT_FILE
    put(place, content)
    return place


def updater(
    settings: NodeSettings,
    prepared: Prepared,
    duet: Duet,
    alarm_open: Callable[[], bool],
    labels: tuple[str, ...],
    **hooks: Any,
) -> Updater:
    """The updater of a node; ``hooks`` are those of :class:`Hooks` that the agent has.

    Without a root it takes nothing, and says so.
    """
    classifier, model = prepared.begun.classifier, settings.model
    machine = Machine(
        node=settings.node,
        version=version("tocsin"),
        runtime=classifier.runtime,
        hardware=health.hardware(),
        sample_rate_hz=classifier.manifest.features.sample_rate_hz,
        hop_seconds=model.hop_seconds,
        threads=model.threads,
        labels=labels,
    )
    floors = Floors(settings.update.folder / "floor.json", settings.update.floor_file)
    around = Surroundings(
        settings.update, machine, duet, prepared.slots, floors, prepared.root or b"", alarm_open
    )
    made = Updater(
        around,
        prepared.journal,
        prepared.begun.sha256,
        hooks=Hooks(
            load=lambda sha256: Classifier.load(prepared.slots.check(sha256), threads=model.threads),
            factory=lambda: load_bundle(model.bundle, model.variant, model.threads),
            synchronized=lambda: health.clock() is Clock.NTP,
            **hooks,
        ),
    )
    if prepared.root is None:
        made.off = "no root of trust is installed: tocsin node trust-root FILE"
    return made
