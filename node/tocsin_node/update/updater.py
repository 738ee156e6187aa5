"""The thread that follows directives: one after another, step by step, each on the disk before it is done.

A step runs in a thread of its own, so that one that hangs is left behind and the node is told so; it can
change nothing any more. What becomes of a step is decided by :mod:`tocsin_node.update.machine` alone.
"""

import contextlib
import fcntl
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec.structs import replace

from tocsin_node.retiming import PLAUSIBLE_SECONDS
from tocsin_node.update.attempt import Attempt, InstalledError, Surroundings
from tocsin_node.update.journal import Journal, JournalFile, Run
from tocsin_node.update.machine import Happened, Limits, Why, follow, reported
from tocsin_node.update.slots import ACTIVE, CANDIDATE, PREVIOUS
from tocsin_node.update.steps import LIVE, OWN, WORDS, WORDS_OF, Fault, LaterError, RefusedError, Step
from tocsin_shared.classifier import Classifier
from tocsin_shared.errors import BundleError, DecodeError, TocsinError, UnavailableError
from tocsin_shared.events import NodeReported, SlotState, UpdateState
from tocsin_shared.manifest import read_manifest
from tocsin_shared.trust.directive import Directive, Objection, UnknownKeyError, objection, opened
from tocsin_shared.trust.repository import director_keys

IDLE_SECONDS = 1.0
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 30.0, 1800.0
CLOCK_SECONDS = 3600.0
"""So often a time that has passed is noted, while the network keeps the clock."""
WARM_SECONDS = 60.0

log = logging.getLogger("tocsin.node.update")

PATIENT = Limits()
Work = Callable[[Attempt], None]


@dataclass(frozen=True)
class Task:
    """One of the fourteen steps."""

    step: Step
    work: Work
    seconds: float
    """It is given up after this; steps that wait for the room or the hub add what they were told to."""


TASKS: tuple[Task, ...] = (
    Task(Step.CLOCK, Attempt.clock, 10.0),
    Task(Step.DIRECTIVE, Attempt.directive, 10.0),
    Task(Step.LOCK, Attempt.lock, 10.0),
    Task(Step.METADATA, Attempt.metadata, 180.0),
    Task(Step.COMPATIBLE, Attempt.compatible, 60.0),
    Task(Step.DOWNLOAD, Attempt.download, 86_400.0),
    Task(Step.STATIC, Attempt.static, 300.0),
    Task(Step.LOAD, Attempt.load, 300.0),
    Task(Step.GOLDEN, Attempt.golden, 300.0),
    Task(Step.BUDGET, Attempt.budget, 300.0),
    Task(Step.SHADOW, Attempt.shadow, 4 * 604_800.0),
    Task(Step.ACTIVATE, Attempt.activate, 900.0),
    Task(Step.SOAK, Attempt.soak, 604_800.0 + 600.0),
    Task(Step.COMMIT, Attempt.commit, 120.0),
)


@dataclass(frozen=True)
class Hooks:
    """What the updater needs of the node beside; called in its thread, so none may wait."""

    changed: Callable[[], None] = lambda: None
    """What it would report has changed."""
    beat: Callable[[float], None] = lambda _pause: None
    load: Callable[[str], Classifier] | None = None
    """Loads the bundle of a hash, every byte looked at."""
    factory: Callable[[], Classifier] | None = None
    restart: Callable[[str], None] = lambda _reason: None
    """End this process, so that the next one listens with what the disk names."""
    well: Callable[[], bool] = lambda: True
    """Whether the process ends because it was asked to: such an end is no crash of a bundle."""
    synchronized: Callable[[], bool] = lambda: False
    """Whether the network keeps the clock."""


class Updater:
    """Follows the directives for one node. :meth:`run` belongs in a thread of its own.

    ``speaking`` is the hash of the bundle that listens at the start, empty for the installation's.
    """

    def __init__(
        self,
        around: Surroundings,
        journal: JournalFile,
        speaking: str = "",
        *,
        hooks: Hooks = Hooks(),  # frozen, so one may serve all
        tasks: tuple[Task, ...] = TASKS,
        limits: Limits = PATIENT,
    ) -> None:
        self._around, self._file, self._hooks, self._limits = around, journal, hooks, limits
        self._tasks = {task.step: task for task in tasks}
        self._journal = Journal()
        self._attempt: Attempt | None = None
        self._shown: Attempt | None = None
        """The last one, whose figures are reported."""
        self._mail: bytes | None = None
        self._mail_after = 0.0
        self._news = threading.Event()
        self._not_before = 0.0
        self._waiting = False
        self._refusal = Why()
        self._judges: dict[int, str] = {id(around.duet.judge): speaking}
        self._names: dict[str, SlotState] = {}
        self._next_note = 0.0
        self.off = ""
        """Why nothing is taken over the air; empty while all is well."""

    def directive(self, payload: bytes) -> None:
        """A directive has come; an older one that waits is forgotten. From any thread."""
        self._mail, self._mail_after = payload, 0.0
        self._news.set()

    def run(self, stop: threading.Event) -> None:
        """Follow directives until ``stop``. Whatever goes wrong, the node listens on, and this reports it."""
        with contextlib.ExitStack() as stack:
            if self.off or not self._locked(stack):
                return
            try:
                self._journal = self._file.read()
            except TocsinError as error:
                self._switch_off(str(error))
            while not stop.is_set() and not self.off:
                self._turn(stop)
            self._leave_attempt()
            self._end_well()

    def _end_well(self) -> None:
        """The next start follows an end that was asked for: it does not count."""
        run = self._journal.run
        if run is not None and not run.over and self._hooks.well():
            with contextlib.suppress(UnavailableError):
                self._remember(replace(self._journal, run=replace(run, starts=run.starts - 1)))

    def _locked(self, stack: contextlib.ExitStack) -> bool:
        """Two updaters in one folder would take each other's files away; the second does nothing."""
        try:
            handle = os.open(self._around.slots.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
            stack.callback(os.close, handle)
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._switch_off(f"{self._around.slots.folder} cannot be locked, is another node there? {error}")
            return False
        return True

    def _switch_off(self, reason: str) -> None:
        log.error("no updates over the air: %s", reason)
        self.off = reason
        self._hooks.changed()

    def _turn(self, stop: threading.Event) -> None:
        self._hooks.beat(0.0)
        try:
            if (payload := self._mail) is not None and self._around.mono() >= self._mail_after:
                self._mail = None
                self._consider(payload)
            run = self._journal.run
            if run is not None and not run.over and self._around.mono() >= self._not_before:
                self._step(run, stop)
                return
            self._note_clock()
        except UnavailableError as error:  # the disk: nothing is followed that could not be remembered
            log.warning("%s", error)
            self._not_before = self._around.mono() + FIRST_WAIT_SECONDS
        except Exception:  # no update is worth a node
            log.exception("an update could not go on")
            self._not_before = self._around.mono() + FIRST_WAIT_SECONDS
        self._news.wait(IDLE_SECONDS)
        self._news.clear()

    def _note_clock(self) -> None:
        now = self._around.mono()
        if now >= self._next_note and self._hooks.synchronized():
            self._next_note = now + CLOCK_SECONDS
            self._remember(replace(self._journal, clock=max(self._journal.clock, self._around.wall())))

    def _remember(self, journal: Journal) -> None:
        self._file.write(journal)
        self._journal = journal

    def _consider(self, payload: bytes) -> None:
        """Begin with the directive in ``payload``, if it is one, and new."""
        if not payload:
            return  # the hub has taken its word back; what runs goes on
        try:
            directive = self._opened(payload)
        except LaterError as error:
            self._refuse(error.fault, error.detail)
            if self._mail is None:
                self._mail, self._mail_after = payload, self._around.mono() + FIRST_WAIT_SECONDS
            return
        except RefusedError as error:
            self._refuse(error.fault, error.detail)
            return
        except DecodeError as error:
            self._refuse(Fault.DIRECTIVE_SIG, str(error))
            return
        now = datetime.fromtimestamp(self._around.wall(), UTC)
        wrong = objection(directive, self._around.machine.node, now, self._journal.seq)
        if wrong in {Objection.NODE, Objection.SEQ}:
            fault = Fault.DIRECTIVE_NODE if wrong is Objection.NODE else Fault.DIRECTIVE_SEQ
            self._refuse(fault, f"number {directive.seq}")
            return
        if directive.seq == self._journal.seq:
            return
        self._accept(directive, payload)

    def _refuse(self, fault: Fault, detail: str) -> None:
        log.warning("directive: %s: %s: %s", fault, WORDS[fault], detail)
        self._refusal = Why(fault, detail[:120])
        self._hooks.changed()

    def _accept(self, directive: Directive, payload: bytes) -> None:
        before = self._journal.run
        if before is not None and not before.over:
            after = follow(before, Happened.SUPERSEDED, limits=self._limits)
            if not after.over:
                self._mail = payload if self._mail is None else self._mail
                return  # what is live comes to its end first
            self._leave_attempt()
            self._around.duet.detach()
        log.info(
            "directive %d: %s %s %s", directive.seq, directive.name, directive.release, directive.variant
        )
        self._refusal, self._not_before, self._waiting = Why(), 0.0, False
        self._remember(replace(self._journal, seq=directive.seq, run=Run(directive=directive)))
        self._hooks.changed()

    def _opened(self, payload: bytes) -> Directive:
        """The directive in ``payload``; the newest keys of the director are fetched if its own is unknown."""
        try:
            return opened(payload, director_keys({"keys": self._journal.director}))
        except UnknownKeyError:
            log.info("a directive by a key that is not known here; asking the trust repository")
        attempt = Attempt(self._around, _NOBODY, clock_floor=max(self._journal.clock, PLAUSIBLE_SECONDS))
        attempt.clock()
        self._run_limited(lambda: self._learn(attempt), self._tasks[Step.METADATA].seconds)
        return opened(payload, director_keys({"keys": self._journal.director}))

    def _newer_waits(self) -> bool:
        """Whether a directive has come that takes the place of the one under way."""
        payload = self._mail
        if not payload:
            return False
        try:
            newer = opened(payload, director_keys({"keys": self._journal.director}))
        except DecodeError:
            return False
        return newer.node == self._around.machine.node and newer.seq > self._journal.seq

    def _learn(self, attempt: Attempt) -> None:
        try:
            attempt.metadata()
        except LaterError:
            raise
        except RefusedError as error:
            if error.fault is not Fault.TUF_MISSING:
                raise
        if attempt.director is not None:
            self._learned(attempt)

    def _learned(self, attempt: Attempt) -> None:
        """Remember the director's keys; a key that was taken back signs nothing any more."""
        keys = dict((attempt.director or {}).get("keys", {}))
        passed = max(self._journal.clock, self._around.wall() if self._hooks.synchronized() else 0.0)
        if keys != self._journal.director or passed != self._journal.clock:
            self._remember(replace(self._journal, director=keys, clock=passed))

    def _step(self, run: Run, stop: threading.Event) -> None:
        """Do what ``run`` is at, and put what became of it on the disk."""
        if run.back:
            after = self._taken_back(run)
        else:
            happened, why = self._done(run, stop)
            if stop.is_set():
                return  # a node that stops is no fault of a bundle; the next start goes on
            current = self._journal.run or run
            after = follow(current, happened, why, live=self._live(run), limits=self._limits)
            self._wait_after(run, after, happened)
        if after.back and not run.back:
            log.warning("%s; the bundle before is brought back", after.fault)
        if after.over:
            log.info("directive %d: %s %s %s", run.directive.seq, after.outcome, after.fault, after.detail)
            self._tidy(after)
        self._remember(replace(self._journal, run=after))
        self._hooks.changed()

    def _live(self, run: Run) -> bool:
        return run.step in LIVE and self._around.slots.holds(ACTIVE) == run.directive.sha256

    def _done(self, run: Run, stop: threading.Event) -> tuple[Happened, Why]:
        """What became of the step that ``run`` is at."""
        task = self._tasks[run.step]
        attempt = self._current(run)
        try:
            self._run_limited(
                lambda: task.work(attempt),
                task.seconds,
                lambda: stop.is_set() or (run.step not in LIVE and self._newer_waits()),
            )
        except InstalledError:
            return Happened.INSTALLED, Why()
        except LaterError as error:
            return Happened.LATER if error.counted else Happened.WAIT, Why(error.fault, error.detail)
        except RefusedError as error:
            return Happened.REFUSED, Why(error.fault, error.detail)
        except UnavailableError as error:
            return Happened.REFUSED, Why(Fault.DISK, str(error))
        except Exception as error:
            log.exception("step %s failed", run.step)
            return Happened.REFUSED, Why(
                OWN.get(run.step, Fault.INTERNAL), f"{type(error).__name__}: {error}"
            )
        finally:
            self._note_attempt(attempt)
        return Happened.PASSED, Why()

    def _current(self, run: Run) -> Attempt:
        if self._attempt is None or run.step is Step.CLOCK:
            self._leave_attempt()
            self._attempt = Attempt(
                self._around,
                run.directive,
                clock_floor=max(self._journal.clock, PLAUSIBLE_SECONDS),
                floor=run.floor,
                loaded=self._loaded,
                told=self._hooks.changed,
            )
            self._shown = self._attempt
        return self._attempt

    def _note_attempt(self, attempt: Attempt) -> None:
        """What the next process must know of it."""
        run = self._journal.run
        if attempt.director is not None:
            with contextlib.suppress(UnavailableError):
                self._learned(attempt)
        if run is not None and attempt.notes is not None and attempt.signed is not None:
            known = replace(run, floor=attempt.floor, bytes_total=attempt.signed.length)
            self._journal = replace(self._journal, run=known)

    def _run_limited(
        self, work: Callable[[], None], seconds: float, enough: Callable[[], bool] = lambda: False
    ) -> None:
        """``work``, in a thread that is left behind if it is not done in ``seconds``, or when ``enough``."""
        failed: list[BaseException] = []

        def guarded() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001  # is raised again below, in the right thread
                failed.append(error)

        thread = threading.Thread(target=guarded, name="update-step", daemon=True)
        thread.start()
        until = self._around.mono() + seconds
        while thread.is_alive() and self._around.mono() < until and not enough():
            self._hooks.beat(0.0)
            thread.join(IDLE_SECONDS / 2.0)
        if thread.is_alive():
            late = self._around.mono() >= until
            self._leave_attempt()
            thread.join(2.0 * IDLE_SECONDS)
            if late or thread.is_alive():
                raise RefusedError(Fault.TIMEOUT, f"not done within {seconds:g} s")
        if failed:
            raise failed[0]

    def _leave_attempt(self) -> None:
        if self._attempt is not None:
            self._attempt.gone.set()
            self._attempt = None

    def _wait_after(self, before: Run, after: Run, happened: Happened) -> None:
        self._waiting = happened in {Happened.LATER, Happened.WAIT} and not after.over
        if self._waiting:
            wait = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2.0**before.tries)
            self._not_before = self._around.mono() + wait
            self._leave_attempt()

    def _loaded(self, judge: Any, sha256: str) -> None:
        self._judges[id(judge)] = sha256

    def _taken_back(self, run: Run) -> Run:
        """The bundle before speaks again: in the ears first, then on the disk.

        Raises:
            UnavailableError: the disk does not take it; the run stays on its way back.
        """
        self._leave_attempt()
        sha256 = run.directive.sha256
        if self._judges.get(id(self._around.duet.judge)) == sha256:
            self._bring_back(sha256)
        self._around.duet.detach()
        try:
            whole = self._around.slots.take_back(sha256)
        except (TocsinError, OSError) as error:
            log.error("the bundle before cannot be brought back: %s", error)  # noqa: TRY400
            whole = False
            for slot in (ACTIVE, CANDIDATE):
                self._around.slots.point(slot, "")
        return follow(run, Happened.PASSED if whole else Happened.REFUSED, limits=self._limits)

    def _bring_back(self, sha256: str) -> None:
        duet = self._around.duet
        try:
            if not duet.on_trial:
                duet.attach(self._one_before(sha256))
                until = self._around.mono() + WARM_SECONDS
                while not duet.has_other and self._around.mono() < until and not duet.failure:
                    self._hooks.beat(0.0)
                    threading.Event().wait(IDLE_SECONDS / 10.0)
            if duet.swap(force=True):
                return
        except TocsinError as error:
            log.warning("%s", error)
        self._hooks.restart("the bundle before listens after a new start")

    def _one_before(self, failed: str) -> Classifier:
        active, before = (self._around.slots.holds(slot) for slot in (ACTIVE, PREVIOUS))
        sha256 = active if active != failed else before
        load, factory = self._hooks.load, self._hooks.factory
        if load is None or factory is None:
            raise UnavailableError("nothing can be loaded")
        judge = load(sha256) if sha256 else factory()
        self._judges[id(judge)] = sha256
        return judge

    def _tidy(self, run: Run) -> None:
        """Nothing of a run that has ended stays behind, but for what was proven."""
        self._leave_attempt()
        if run.outcome is UpdateState.SUCCEEDED:
            return
        self._around.duet.detach()
        with contextlib.suppress(UnavailableError):
            self._around.slots.point(CANDIDATE, "")
        self._around.slots.sweep(run.directive.sha256 if run.fault.startswith("E_DOWNLOAD") else "")

    def report(self, boot: str) -> NodeReported:
        """How the node stands, from what is on the disk and what listens. From any thread."""
        journal, duet, attempt = self._journal, self._around.duet, self._shown
        run = journal.run
        speaking = self._judges.get(id(duet.judge), "")
        name = getattr(duet.judge, "name", "unknown")
        fault = str(self._refusal.fault or "") or ("" if run is None else run.fault)
        tally = None if attempt is None else attempt.tally
        verdict = None if attempt is None else attempt.verdict
        return NodeReported(
            node=self._around.machine.node,
            boot=boot,
            at=datetime.fromtimestamp(max(0.0, self._around.wall()), UTC),
            enabled=not self.off,
            active=SlotState(bundle=name, sha256=speaking),
            proven=run is None or run.over or run.step not in LIVE,
            previous=self._slot(PREVIOUS),
            candidate=self._slot(CANDIDATE),
            seq=journal.seq,
            rollout=None if run is None else run.directive.rollout,
            state=reported(run, waiting=self._waiting),
            step="" if run is None else run.step,
            error=fault,
            detail=self._words(fault, run),
            bytes_done=0 if attempt is None else attempt.bytes_done,
            bytes_total=0 if run is None else run.bytes_total,
            floors=self._around.floors.read(),
            windows_missed=duet.missed_windows,
            shadow_windows=0 if tally is None else tally.windows,
            shadow_disagreements=0 if tally is None else tally.disagreements,
            shadow_alarms=0 if tally is None else tally.other.total(),
            active_alarms=0 if tally is None else tally.active.total(),
            sandbox="" if verdict is None else verdict.sandbox[:120],
        )

    def _words(self, fault: str, run: Run | None) -> str:
        if self.off:
            return self.off[:120]
        if not fault:
            return ""
        detail = self._refusal.detail if self._refusal.fault else ("" if run is None else run.detail)
        return f"{WORDS_OF.get(fault, fault)}{detail and ': '}{detail}"[:120]

    def _slot(self, slot: str) -> SlotState | None:
        sha256 = self._around.slots.holds(slot)
        if sha256 and sha256 not in self._names:
            try:
                manifest = read_manifest(self._around.slots.path(sha256))
                name = f"{manifest.name}-{manifest.release}+{manifest.variants[0].name}"
            except BundleError:
                name = "damaged"
            self._names[sha256] = SlotState(bundle=name, sha256=sha256)
        return self._names.get(sha256)


_NOBODY = msgspec.convert(
    {
        "node": "nobody",
        "seq": 1,
        "issued": "1970-01-01T00:00:00Z",
        "expires": "1970-01-01T00:00:00Z",
        "rollout": "none",
        "name": "none",
        "release": "0.0.0",
        "variant": "none",
        "sha256": "0" * 64,
    },
    Directive,
)
"""Asks the repository for the director's keys alone."""
