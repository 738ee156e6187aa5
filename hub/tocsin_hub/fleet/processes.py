"""The fleet's processes: each runs the loop of a share of the nodes and answers to one parent by a pipe."""

import contextlib
import multiprocessing
import resource
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import cast

from tocsin_hub.fleet.loop import Fleet
from tocsin_hub.fleet.model import Plan, Played, Tally
from tocsin_shared.errors import SettingsError, UnavailableError

TOLD_SECONDS = 0.5
"""Each process says so often how it fares."""
_BEGIN_SECONDS = 1.0
"""From the order to the first sound, so that all processes begin as one."""
_SPARE_FILES = 64
_STOPPED_DRAIN_SECONDS = 10.0
_GONE_SECONDS = 30.0


@dataclass(frozen=True)
class Play:
    """An order: begin the script at this time of the monotonic clock, which all processes share."""

    begin: float


@dataclass(frozen=True)
class Stop:
    """An order: make no sound any more, wait for what waits, and leave."""


def share_of_files(nodes: int, processes: int) -> None:
    """Check that every process may open a socket for each of its nodes.

    Raises:
        SettingsError: it may not; the text says how many processes would do.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = hard - _SPARE_FILES
    if hard != resource.RLIM_INFINITY and -(-nodes // processes) > most:
        raise SettingsError(
            f"a process may open {hard} files here, and has {-(-nodes // processes)} nodes: "
            f"give --processes {-(-nodes // most)} or raise the limit (ulimit -n)"
        )


def work(plan: Plan, numbers: range, parent: Connection) -> None:
    """Run the nodes ``numbers`` until the parent says stop, the script is over, or the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with contextlib.suppress(BrokenPipeError, EOFError, ConnectionResetError):
        _Worker(plan, Fleet(plan, numbers), parent).run()


class _Worker:
    """One process."""

    def __init__(self, plan: Plan, fleet: Fleet, parent: Connection) -> None:
        self._plan = plan
        self._fleet = fleet
        self._parent = parent
        self._told = 0.0
        self._until = float("inf")
        self._stopped = False

    def run(self) -> None:
        while not self._stopped and time.monotonic() < self._until:
            self._turn()
        self._fleet.hush()
        patience = min(self._plan.drain_seconds, _STOPPED_DRAIN_SECONDS if self._stopped else 1e9)
        until = time.monotonic() + patience
        while self._fleet.waiting and time.monotonic() < until:
            self._turn()
        ended = time.monotonic()
        self._fleet.leave()
        self._parent.send((self._fleet.tally(), self._fleet.records(), ended))

    def _turn(self) -> None:
        self._fleet.turn()
        now = time.monotonic()
        if now - self._told >= TOLD_SECONDS:
            self._told = now
            self._parent.send(self._fleet.tally())
        while self._parent.poll():
            match self._parent.recv():
                case Play(begin):
                    self._fleet.play(begin)
                    self._until = begin + self._plan.seconds
                case Stop():
                    self._stopped = True


class Simulation:
    """The parent's side: starts the processes, gives orders, and gathers what they did."""

    def __init__(self, plan: Plan, processes: int, say: Callable[[str], None]) -> None:
        self._plan = plan
        self._count = processes
        self._say = say
        self._tallies: dict[Connection, Tally] = {}
        self._played = Played()
        self._begin = 0.0
        self._ended = 0.0

    def run(self) -> Played:
        """Play the plan to its end, or until Ctrl-C.

        Raises:
            UnavailableError: no node was let in, or a process died.
        """
        children = self._start()
        try:
            self._orders()
        finally:
            for child in children:
                child.join(_GONE_SECONDS)
                child.kill()
        self._played.tally = self._sum()
        self._played.took_seconds = max(0.0, self._ended - self._begin) if self._begin else 0.0
        return self._played

    def _start(self) -> list[SpawnProcess]:
        context = multiprocessing.get_context("spawn")
        children = []
        for part in range(self._count):
            first = part * self._plan.nodes // self._count
            last = (part + 1) * self._plan.nodes // self._count
            ours, theirs = context.Pipe()
            child = context.Process(target=work, args=(self._plan, range(first, last), theirs), daemon=True)
            child.start()
            theirs.close()
            self._tallies[ours] = Tally()
            children.append(child)
        return children

    def _orders(self) -> None:
        pending = set(self._tallies)
        try:
            self._connect(pending)
            self._begin = time.monotonic() + _BEGIN_SECONDS
            self._tell(pending, Play(self._begin))
            self._gather(pending)
        except KeyboardInterrupt:
            self._played.interrupted = True
            self._say("stopping; what waits is still sent (Ctrl-C again ends it at once)")
            self._tell(pending, Stop())
            self._gather(pending)

    def _connect(self, pending: set[Connection]) -> None:
        deadline = time.monotonic() + 30.0 + self._plan.nodes / 50.0
        while self._sum().connected < self._plan.nodes and time.monotonic() < deadline:
            self._hear(pending)
        self._played.connected = self._sum().connected
        if not self._played.connected:
            raise UnavailableError(f"no node was let in by the broker: {self._sum().refusal}")
        if self._played.connected < self._plan.nodes:
            self._say(
                f"only {self._played.connected} of {self._plan.nodes} nodes are connected "
                f"({self._sum().refusal}); the others go on trying"
            )

    def _gather(self, pending: set[Connection]) -> None:
        while pending:
            self._hear(pending)

    def _hear(self, pending: set[Connection]) -> None:
        """Take what the processes say, for :data:`TOLD_SECONDS` at most."""
        for pipe in cast("list[Connection]", wait(list(pending), TOLD_SECONDS)):
            try:
                said = pipe.recv()
            except (EOFError, ConnectionResetError) as error:
                raise UnavailableError("a process of the fleet died; had the machine memory left?") from error
            if isinstance(said, Tally):
                self._tallies[pipe] = said
                continue
            self._tallies[pipe], records, ended = said
            self._played.records += records
            self._ended = max(self._ended, ended)
            pending.discard(pipe)
        self._say(self._progress())

    def _progress(self) -> str:
        sum_ = self._sum()
        passed = max(0.0, time.monotonic() - self._begin) if self._begin else 0.0
        return (
            f"{min(passed, self._plan.seconds):4.0f}/{self._plan.seconds:.0f} s  "
            f"connected {sum_.connected}/{self._plan.nodes}  sounds {sum_.produced}  "
            f"acknowledged {sum_.acknowledged}  waiting {sum_.waiting}"
        )

    def _sum(self) -> Tally:
        return sum(self._tallies.values(), Tally())

    @staticmethod
    def _tell(pending: set[Connection], order: Play | Stop) -> None:
        for pipe in pending:
            with contextlib.suppress(OSError):
                pipe.send(order)
