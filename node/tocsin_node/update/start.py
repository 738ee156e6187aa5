"""Before a node listens: what ended it again and again is taken back, and a bundle that is whole is found."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from msgspec.structs import replace

from tocsin_node.update.journal import JournalFile
from tocsin_node.update.machine import Happened, follow
from tocsin_node.update.slots import ACTIVE, CANDIDATE, PREVIOUS, Slots
from tocsin_shared.classifier import Classifier
from tocsin_shared.errors import TocsinError, UnavailableError

log = logging.getLogger("tocsin.node.update")


@dataclass(frozen=True)
class Begun:
    """What listens from the start."""

    classifier: Classifier
    sha256: str
    """Of its archive; empty for the one of the installation."""
    trouble: str = ""
    """Why it is not the one that should."""


def begin(
    slots: Slots, journal: JournalFile, load: Callable[[str], Classifier], factory: Callable[[], Classifier]
) -> Begun:
    """The bundle to start with: active, else previous, else the installation's.

    ``load`` loads the bundle of a hash after every byte was looked at. A run that was on its way is counted
    on the disk before anything is loaded, so that a bundle that ends the process is taken back in the end.

    Raises:
        TocsinError: not even the installation's bundle can be loaded.
    """
    trouble = ""
    try:
        slots.make()
        _go_on(slots, journal)
    except UnavailableError as error:
        trouble = str(error)
    for slot in (ACTIVE, PREVIOUS):
        sha256 = slots.holds(slot)
        if not sha256:
            if slot == ACTIVE:
                break  # the installation's is the active one
            continue
        try:
            begun = Begun(load(sha256), sha256, trouble)
        except TocsinError as error:
            log.error("the %s bundle cannot be used: %s", slot, error)  # noqa: TRY400  # no trace: a file is bad
            trouble = f"the {slot} bundle cannot be used: {error}"
            continue
        if slot == PREVIOUS:
            _make_active(slots, sha256)
        return begun
    if trouble:
        _make_active(slots, "")
    return Begun(factory(), "", trouble)


def _go_on(slots: Slots, journal: JournalFile) -> None:
    """Count this start for the run that was on its way, and take its bundle back if that is due."""
    known = journal.read()
    run = known.run
    if run is None or run.over:
        return
    sha256 = run.directive.sha256
    live = slots.holds(ACTIVE) == sha256
    run = follow(run, Happened.STARTED, live=live)
    journal.write(replace(known, run=run))
    if run.back:
        whole = slots.take_back(sha256)
        run = follow(run, Happened.PASSED if whole else Happened.REFUSED)
        journal.write(replace(known, run=run))
    elif run.over:
        slots.point(CANDIDATE, "")


def _make_active(slots: Slots, sha256: str) -> None:
    try:
        slots.point(ACTIVE, sha256)
    except UnavailableError as error:
        log.warning("%s", error)
