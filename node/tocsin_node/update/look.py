"""Looks at what updates rest on, for the doctor, and changes nothing."""

import tempfile
from pathlib import Path

from tocsin_node.settings import UpdateSettings
from tocsin_node.update.fetching import Web
from tocsin_node.update.journal import JournalFile
from tocsin_node.update.metadata import Metadata, Place
from tocsin_node.update.slots import ACTIVE, Slots
from tocsin_node.update.wiring import trusted_root

_SECONDS = 20.0


def looked(settings: UpdateSettings) -> str:
    """What is active, in words, after root, repository and bundle were found good.

    Raises:
        TocsinError: one of them is not.
    """
    root = trusted_root(settings)
    with tempfile.TemporaryDirectory() as folder:
        Metadata(
            Place(f"{settings.url}/metadata", Path(folder), root), Web(settings.ca_file, 5.0), _SECONDS
        ).director()
    slots = Slots(settings.folder)
    sha256 = slots.holds(ACTIVE)
    if sha256:
        slots.check(sha256)
    run = JournalFile(settings.folder / "journal.json").read().run
    last = "" if run is None else f"; newest directive: {run.outcome or run.step} {run.fault}".rstrip()
    return (f"bundle {sha256[:8]} is active" if sha256 else "the installation's bundle is active") + last
