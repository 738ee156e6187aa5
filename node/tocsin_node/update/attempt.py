"""One attempt at a directive: the fourteen steps, in the order in which they stand here.

Each step returns, or says why not by :class:`RefusedError` or :class:`LaterError`. Nothing is remembered here
that a killed process would miss: an attempt that is begun anew finds the download in its place.
"""

import resource
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from tocsin_node.duet import Duet, Pair
from tocsin_node.settings import UpdateSettings
from tocsin_node.update.download import Download, Patience, Wanted
from tocsin_node.update.fetching import Web
from tocsin_node.update.floor import Floors
from tocsin_node.update.metadata import Metadata, Place, Signed
from tocsin_node.update.sandbox import Verdict, tried
from tocsin_node.update.shadow import ShadowLimits, Tally
from tocsin_node.update.slots import ACTIVE, CANDIDATE, Slots
from tocsin_node.update.steps import Fault, LaterError, RefusedError, Step
from tocsin_node.update.trial import Order
from tocsin_shared.classifier import Classifier
from tocsin_shared.errors import BundleError, UnavailableError
from tocsin_shared.trust.bundles import Notes, read_notes, release_of, target_path
from tocsin_shared.trust.directive import Directive, Objection, objection

ROOM_FACTOR = 2.2
"""So many times the length of a bundle must be free: it stands there packed and unpacked."""
TRIAL_SECONDS, TRIAL_CPU_SECONDS, TRIAL_MEMORY_BYTES = 180.0, 120, 3_000_000_000
QUIET_SECONDS = 600.0
"""A bundle is made active between two detections; so long it is waited for one to end."""
POLL_SECONDS = 0.2
WORD_SECONDS = 5.0
"""How far a download is, is told this often."""
GROWN_BYTES = 300_000_000
"""A process that needs so much more memory while a bundle is on trial has one that leaks."""
_OBJECTIONS = {
    Objection.NODE: Fault.DIRECTIVE_NODE,
    Objection.SEQ: Fault.DIRECTIVE_SEQ,
    Objection.STALE: Fault.DIRECTIVE_STALE,
}


@dataclass(frozen=True)
class Machine:
    """What the node is."""

    node: str
    version: str
    runtime: str
    hardware: str
    sample_rate_hz: int
    hop_seconds: float
    threads: int
    labels: tuple[str, ...] = ()
    """Labels that a bundle must have, or a part of this node could not work."""


@dataclass(frozen=True)
class Surroundings:
    """Whom an attempt works with."""

    settings: UpdateSettings
    machine: Machine
    duet: Duet
    slots: Slots
    floors: Floors
    root: bytes
    alarm_open: Callable[[], bool]
    wall: Callable[[], float] = time.time
    mono: Callable[[], float] = time.monotonic
    limits: ShadowLimits = field(default_factory=ShadowLimits)


class InstalledError(Exception):
    """The bundle is the active one, and proven."""


class Attempt:
    """One way through the steps for ``directive``.

    ``clock_floor`` is a time that has passed, seconds since 1970; ``loaded`` is told of each classifier and
    the hash of its bundle; ``told`` of progress. ``gone`` ends whatever waits, and forbids every change.
    """

    def __init__(
        self,
        around: Surroundings,
        directive: Directive,
        *,
        clock_floor: float = 0.0,
        floor: str = "",
        loaded: Callable[[Any, str], None] = lambda _judge, _sha256: None,
        told: Callable[[], None] = lambda: None,
    ) -> None:
        self._around, self._directive = around, directive
        self._clock_floor, self._loaded, self._told = clock_floor, loaded, told
        self.floor = floor
        """Release that nothing goes below once this bundle is proven; known from its notes."""
        self.gone = threading.Event()
        self.director: Any = None
        """The director's keys as the metadata has them now, once it was read."""
        self.signed: Signed | None = None
        self.notes: Notes | None = None
        self.verdict: Verdict | None = None
        self.tally = Tally()
        self.bytes_done = 0
        self._next_word = 0.0

    def clock(self) -> None:
        """1. The time is one that can be: expired papers are not known by a clock that was never set."""
        if self._around.wall() < self._clock_floor:
            raise LaterError(Fault.CLOCK, "until the network sets it", counted=False)

    def directive(self) -> None:
        """2. The directive, whose signature was read when it came, is for this node and still good."""
        now = datetime.fromtimestamp(self._around.wall(), UTC)
        wrong = objection(self._directive, self._around.machine.node, now, self._directive.seq)
        if wrong is not None:
            raise RefusedError(_OBJECTIONS[wrong])

    def lock(self) -> None:
        """3. Now is a time for it: no alarm is open. Who of a zone goes first is the hub's business."""
        if self._around.alarm_open():
            raise LaterError(Fault.BUSY, counted=False)

    def metadata(self) -> None:
        """4. What the engineers signed is what the director names."""
        settings = self._around.settings
        place = Place(f"{settings.url}/metadata", settings.folder / "metadata", self._around.root)
        seen = Metadata(place, Web(settings.ca_file))
        self.director = seen.director()
        wanted = self._directive
        self.signed = seen.target(target_path(wanted.name, wanted.release, wanted.variant))
        if self.signed.sha256 != wanted.sha256:
            raise RefusedError(Fault.TUF_DIFFERS)

    def compatible(self) -> None:
        """5. It is not older than what was proven, is for this machine, and there is room."""
        signed, machine, slots = self._known(), self._around.machine, self._around.slots
        if slots.holds(ACTIVE) == signed.sha256:
            raise InstalledError
        try:
            self.notes = read_notes(signed.custom)
        except BundleError as error:
            raise RefusedError(Fault.INCOMPATIBLE, str(error)) from error
        wanted, notes = self._directive, self.notes
        if (notes.name, notes.release, notes.variant) != (wanted.name, wanted.release, wanted.variant):
            raise RefusedError(Fault.TUF_DIFFERS, "name, release or variant")
        if not self._around.floors.allows(notes.name, notes.release):
            raise RefusedError(Fault.ROLLBACK, f"{notes.release} is below the floor")
        if wrong := misfit(notes, machine):
            raise RefusedError(Fault.INCOMPATIBLE, wrong)
        self.floor = notes.floor
        free = slots.free_bytes()
        if free < ROOM_FACTOR * signed.length and not slots.path(signed.sha256).exists():
            raise LaterError(
                Fault.SPACE, f"{free} bytes are free, {ROOM_FACTOR} × {signed.length} are needed"
            )

    def download(self) -> None:
        """6. Every byte of it is here, on the disk, and as it was signed."""
        signed, settings, slots = self._known(), self._around.settings, self._around.slots
        slots.sweep(signed.sha256)
        try:
            slots.check(signed.sha256)
        except BundleError:
            part = slots.parts / f"{signed.sha256}.part"
            wanted = Wanted(signed.url(settings.url), signed.length, signed.sha256, part)
            patience = Patience(settings.bytes_per_second, total_seconds=60.0 * settings.download_minutes)
            web = Web(settings.ca_file)
            archive = Download(web, wanted, patience, self._around.alarm_open, self.gone, self._came).run()
            self._still_here()
            try:
                slots.put(archive, signed.sha256)
            except BundleError as error:
                raise RefusedError(Fault.STATIC, str(error)) from error
        self.bytes_done = signed.length
        self._still_here()
        slots.point(CANDIDATE, signed.sha256)
        slots.sweep()

    def static(self) -> None:
        """7. It is a model of known operators, for the sound that the node hears."""
        self._tried().require(Step.STATIC)

    def load(self) -> None:
        """8. The interpreter takes it, in a child process that is locked in."""
        self._tried().require(Step.LOAD)

    def golden(self) -> None:
        """9. It hears in the golden clips what its signer heard."""
        self._tried().require(Step.GOLDEN)

    def budget(self) -> None:
        """10. It is quick enough for this machine."""
        self._tried().require(Step.BUDGET)

    def shadow(self) -> None:
        """11. It hears this room as the active one does, beside it, without a word."""
        duet, wished = self._around.duet, self._directive.shadow_seconds
        seconds = self._around.settings.shadow_seconds if wished is None else wished
        judge = self._classifier(self._directive.sha256)
        lost = set(self._around.machine.labels) - set(judge.manifest.label_names)
        if lost:
            raise RefusedError(Fault.INCOMPATIBLE, f"it has no label {', '.join(sorted(lost))}")
        self.tally = Tally()
        try:
            duet.compared = comparing(self.tally, duet, judge)
            self._wait_for_sound(lambda: duet.attach(judge))
            windows = max(1, round(seconds / duet.hop_seconds))
            self._compare(windows, 3.0 * seconds + 60.0)
        except BaseException:
            self._around.duet.detach()
            raise
        finally:
            duet.compared = lambda _pair: None

    def activate(self) -> None:
        """12. Between two detections it becomes the one that speaks, and the link on the disk follows.

        Where something is always detected, as an engine may be, it does so all the same after a while, if no
        alarm is open: what the one before tells is ended, and the new one tells it on.
        """
        duet, began = self._around.duet, self._around.mono()
        if not duet.has_other:
            raise LaterError(Fault.BUSY, "nothing is heard now", counted=False)
        self._around.slots.check(self._directive.sha256)
        while True:
            self._still_here()
            waited = self._around.mono() - began
            force = waited > QUIET_SECONDS / 2.0 and not self._around.alarm_open()
            if self._wait_for_sound(partial(duet.swap, force=force)):
                break
            if duet.failure or waited > QUIET_SECONDS:
                duet.detach()
                raise LaterError(
                    Fault.BUSY, duet.failure or "something is detected all the time", counted=False
                )
            self.gone.wait(POLL_SECONDS)
        if self.gone.is_set():  # it speaks already: not put off any more, but taken back
            raise RefusedError(Fault.ACTIVATE, "stopped")
        self._around.slots.activate(self._directive.sha256)

    def soak(self) -> None:
        """13. It is on trial: it hears, is quick enough, and leaks nothing."""
        wished, duet = self._directive.soak_seconds, self._around.duet
        seconds = self._around.settings.soak_seconds if wished is None else wished
        budget_ms = 1000.0 * self._around.machine.hop_seconds
        ends, memory = self._around.mono() + seconds, resident_bytes()
        while True:
            self._still_here()
            if duet.failure:
                raise RefusedError(Fault.SOAK, duet.failure)
            if self._around.slots.holds(ACTIVE) != self._directive.sha256:
                raise RefusedError(Fault.SOAK, "the disk names another bundle")
            p95 = duet.vitals().inference_p95_ms
            if p95 is not None and p95 > budget_ms:
                raise RefusedError(Fault.SOAK, f"a window takes {p95:.0f} ms")
            if resident_bytes() - memory > GROWN_BYTES:
                raise RefusedError(Fault.SOAK, "it needs more and more memory")
            if self._around.mono() >= ends:
                break
            self.gone.wait(POLL_SECONDS)

    def commit(self) -> None:
        """14. It is proven: it is kept, and nothing below its floor is installed from here."""
        self._still_here()
        if self.floor:
            self._around.floors.raise_to(self._directive.name, self.floor)
        self._around.slots.point(CANDIDATE, "")
        self._around.duet.detach()
        self._around.slots.sweep()

    def _known(self) -> Signed:
        if self.signed is None:
            raise RefusedError(Fault.INTERNAL, "the metadata was not read")
        return self.signed

    def _came(self, count: int) -> None:
        self.bytes_done = count
        if self._around.mono() >= self._next_word:
            self._next_word = self._around.mono() + WORD_SECONDS
            self._told()

    def _tried(self) -> Verdict:
        if self.verdict is None:
            machine, settings = self._around.machine, self._around.settings
            order = Order(
                folder=str(self._around.slots.check(self._directive.sha256)),
                variant=self._directive.variant,
                threads=machine.threads,
                budget_ms=1000.0 * settings.budget_share * machine.hop_seconds,
                memory_bytes=TRIAL_MEMORY_BYTES,
                cpu_seconds=TRIAL_CPU_SECONDS,
                sample_rate_hz=machine.sample_rate_hz,
            )
            self.verdict = tried(order, TRIAL_SECONDS)
        return self.verdict

    def _classifier(self, sha256: str) -> Classifier:
        try:
            folder = self._around.slots.check(sha256)
            judge = Classifier.load(folder, self._directive.variant, self._around.machine.threads)
        except BundleError as error:
            raise RefusedError(Fault.LOAD, str(error)) from error
        self._loaded(judge, sha256)
        return judge

    def _compare(self, windows: int, seconds: float) -> None:
        duet, deadline = self._around.duet, self._around.mono() + seconds
        while self.tally.windows < windows:
            self._still_here()
            if duet.failure:
                raise RefusedError(Fault.SHADOW, duet.failure)
            if self._around.mono() > deadline:
                raise LaterError(Fault.BUSY, "nothing is heard now", counted=False)
            self.gone.wait(POLL_SECONDS)
        if wrong := self.tally.objection(self._around.limits):
            raise RefusedError(Fault.SHADOW, wrong)

    def _wait_for_sound(self, ask: Callable[[], bool]) -> bool:
        try:
            return ask()
        except UnavailableError as error:
            raise LaterError(Fault.BUSY, str(error), counted=False) from error

    def _still_here(self) -> None:
        if self.gone.is_set():
            raise LaterError(Fault.INTERNAL, "stopped", counted=False)


def misfit(notes: Notes, machine: Machine) -> str:
    """Why a bundle is not for ``machine``, in words; nothing if it is. Pure."""
    if release_of(notes.min_node) > release_of(machine.version):
        return f"it needs node {notes.min_node}, this is {machine.version}"
    if not any(machine.runtime.startswith(one) for one in notes.runtime):
        return f"it was not heard with {machine.runtime}"
    if notes.hardware and not any(one.lower() in machine.hardware.lower() for one in notes.hardware):
        return f"it is for {', '.join(notes.hardware)}, not {machine.hardware}"
    return ""


def comparing(tally: Tally, duet: Duet, judge: Classifier) -> Callable[[Pair], None]:
    """What counts in ``tally`` how ``judge`` hears beside the speaking one."""
    new = judge.manifest.label_names
    old = duet.judge.manifest.label_names
    shared = [(old.index(label), new.index(label)) for label in old if label in new]

    def compare(pair: Pair) -> None:
        for active, other in pair.windows:
            tally.window([active[at] for at, _ in shared], [other[at] for _, at in shared])
        for detected in pair.spoken:
            tally.heard(detected.change, active=True)
        for detected in pair.beside:
            tally.heard(detected.change, active=False)

    return compare


def resident_bytes(path: Path = Path("/proc/self/statm")) -> int:
    """Memory of this process; 0 where the system does not say."""
    try:
        return int(path.read_text(encoding="ascii").split()[1]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return 0
