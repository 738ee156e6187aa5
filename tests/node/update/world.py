"""A node's updater among a site, a web server and ears that hear a quiet room; it may be killed."""

import hashlib
import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from tests.node.fake_judge import FakeJudge, tone
from tests.node.update.server import Server
from tests.shared.trust.site import Site
from tocsin_models.publish import _heard
from tocsin_node.duet import Duet
from tocsin_node.pipeline import Pipeline, Sound
from tocsin_node.settings import UpdateSettings
from tocsin_node.update.attempt import Attempt, Machine, Surroundings
from tocsin_node.update.floor import Floors
from tocsin_node.update.journal import JournalFile
from tocsin_node.update.sandbox import Verdict
from tocsin_node.update.slots import Slots
from tocsin_node.update.start import begin
from tocsin_node.update.steps import Fault, RefusedError, Step
from tocsin_node.update.updater import TASKS, Hooks, Task, Updater
from tocsin_shared.classifier import Classifier
from tocsin_shared.events import NodeReported
from tocsin_shared.manifest import read_manifest, shipped_bundle
from tocsin_shared.trust.bundles import MANIFEST, REFERENCE, bundle_files, pack, unpack

BOOT = "test"
SHIPPED = read_manifest(shipped_bundle()).release
"""The release that real bundles are of."""


@lru_cache
def _archive(variant: str) -> bytes:
    folder = shipped_bundle()
    references = _heard(Classifier.load(folder, variant), folder)
    return pack(bundle_files(folder, variant) | {REFERENCE: msgspec.json.encode(references)})


def real_bundle(variant: str = "float16") -> dict[str, bytes]:
    """The files of the shipped bundle, as they would be published."""
    return unpack(_archive(variant))


def without_numbers(content: bytes) -> bytes:
    """A float16 model whose largest weights are NaN."""
    # The older runtime, under which most of these tests run as well, comes without the schema.
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    largest = max((bytes(one.data) for one in model.buffers if one.data is not None), key=len)
    return content.replace(largest, b"\x00\x7e" * (len(largest) // 2))


def fake_bundle(release: str = "1.0.0") -> dict[str, bytes]:
    """Files that are a bundle as far as the disk goes: what listens is made by the test."""
    manifest = msgspec.to_builtins(FakeJudge().manifest) | {"name": "sentry", "release": release}
    return {MANIFEST: json.dumps(manifest).encode(), "none.tflite": b"x" * 50_000}


class NamedJudge(FakeJudge):
    """A judge that knows which bundle it is."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name


class Ears:
    """Pushes a quiet room into a duet, some times as fast as it would come, until it is stopped."""

    def __init__(self, duet: Duet, room: Callable[[], np.ndarray] = lambda: tone(0.1, 0.001)) -> None:
        self.duet, self.room = duet, room
        self.deaf = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._hear, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(10)

    def _hear(self) -> None:
        heard = 0.0
        while not self._stop.is_set():
            if not self.deaf.is_set():
                samples = self.room()
                heard += len(samples) / 16_000
                self.duet.push(Sound(samples, 1000.0 + heard))
            self._stop.wait(0.005)


@dataclass(frozen=True)
class Trap:
    """What goes wrong, where."""

    step: Step | None
    """``None`` is the way back."""
    kind: str
    """error, kill or hang."""
    leave: bool = False
    """After the work of the step and not before."""
    soak_fails: bool = False


class Node:
    """One process of a node: its updater, its ears, and what it reports."""

    def __init__(
        self,
        folder: Path,
        url: str,
        root: bytes,
        *,
        fake: bool = True,
        factory: Callable[[], Any] | None = None,
        trap: Trap | None = None,
        alarm_open: Callable[[], bool] = lambda: False,
        wall: Callable[[], float] = time.time,
        hardware: str = "Raspberry Pi 4",
        **settings: Any,
    ) -> None:
        self.slots = Slots(folder / "update")
        self.journal = JournalFile(folder / "update" / "journal.json")
        self.floors = Floors(folder / "update" / "floor.json", folder / "floor.json")
        self.restarts: list[str] = []
        make: Callable[[], Any] = factory or (lambda: NamedJudge("factory"))
        load = self._fake if fake else lambda sha256: Classifier.load(self.slots.check(sha256))
        self.begun = begin(self.slots, self.journal, load, make)
        judge = self.begun.classifier
        self.duet = Duet(Pipeline(judge, 0.5), 0.5)
        self.ears = Ears(self.duet)
        quick: dict[str, Any] = {"bytes_per_second": 1e9, "shadow_seconds": 1.0, "soak_seconds": 0.2}
        around = Surroundings(
            UpdateSettings(url=url, folder=folder / "update", **quick | settings),
            Machine("press-1", "0.1.0", "ai-edge-litert 2.3.0", hardware, 16_000, 0.5, 1),
            self.duet,
            self.slots,
            self.floors,
            root,
            alarm_open,
            wall,
        )
        hooks = Hooks(load=load, factory=make, restart=self.restarts.append)
        tasks = _trapped(light(self._fake) if fake else TASKS, trap, self.slots)
        self.updater = Updater(around, self.journal, self.begun.sha256, hooks=hooks, tasks=tasks)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self.updater.run, args=(self._stop,), daemon=True)

    def _fake(self, sha256: str) -> Any:
        self.slots.check(sha256)
        return NamedJudge(sha256)

    def start(self) -> None:
        self.ears.start()
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self.updater._news.set()
        self._thread.join(20)
        self.ears.stop()

    def report(self) -> NodeReported:
        return self.updater.report(BOOT)

    def wait(self, done: Callable[[NodeReported], bool], seconds: float = 90.0) -> NodeReported:
        """The first report for which ``done``."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if done(report := self.report()):
                return report
            time.sleep(0.02)
        raise AssertionError(f"still {self.report()}")

    def follow(self, payload: bytes) -> NodeReported:
        """The report when the directive ``payload`` has ended, or was refused."""
        before = self.journal.read().seq
        self.updater.directive(payload)
        return self.wait(lambda one: ended(one) and (one.seq > before or one.error.startswith("E_DIRECTIVE")))


def ended(report: NodeReported) -> bool:
    """Whether nothing is under way."""
    return report.state in {
        "idle",
        "succeeded",
        "already_installed",
        "rejected",
        "failed",
        "rolled_back",
        "canceled",
    }


def light(judge: Callable[[str], Any]) -> tuple[Task, ...]:
    """The fourteen steps, with a child that is not started and a judge without a network."""

    def static(attempt: Attempt) -> None:
        attempt.verdict = Verdict(dict.fromkeys(Step, ""))
        attempt.static()

    def shadow(attempt: Attempt) -> None:
        def made(sha256: str) -> Any:
            one = judge(sha256)
            attempt._loaded(one, sha256)
            return one

        attempt._classifier = made  # type: ignore[method-assign]
        attempt.shadow()

    light = {Step.STATIC: static, Step.SHADOW: shadow}
    return tuple(replace(task, work=light.get(task.step, task.work)) for task in TASKS)


def _trapped(tasks: tuple[Task, ...], trap: Trap | None, slots: Slots) -> tuple[Task, ...]:
    if trap is None:
        return tasks
    if trap.step is None:
        real = slots.take_back

        def take_back(sha256: str) -> bool:
            if not trap.leave:
                _spring(trap)
            whole = real(sha256)
            if trap.leave:
                _spring(trap)
            return whole

        slots.take_back = take_back  # type: ignore[method-assign]
    return tuple(_with(task, trap) for task in tasks)


def _with(task: Task, trap: Trap) -> Task:
    def work(attempt: Attempt) -> None:
        if trap.step is task.step and not trap.leave:
            _spring(trap)
        task.work(attempt)
        if trap.step is task.step and trap.leave:
            _spring(trap)
        if trap.soak_fails and task.step is Step.SOAK:
            raise RefusedError(Fault.SOAK, "as the test wants it")

    return replace(
        task, work=work, seconds=1.0 if trap.kind == "hang" and trap.step is task.step else task.seconds
    )


def _spring(trap: Trap) -> None:
    if trap.kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if trap.kind == "hang":
        time.sleep(60)
    raise OSError(5, "as the test wants it")


def in_a_process(folder: Path, url: str, root: bytes, payload: bytes, trap: Trap | None) -> int | None:
    """Run a node in a process of its own until the directive has ended; its exit status, < 0 for a signal."""

    def run() -> None:
        node = Node(folder, url, root, trap=trap)
        node.start()
        node.updater.directive(payload)
        report = node.wait(lambda one: one.seq > 0 and ended(one))
        (folder / "report.json").write_bytes(msgspec.json.encode(report))
        os._exit(0)

    child = multiprocessing.get_context("fork").Process(target=run)
    child.start()
    child.join(120)
    if child.is_alive():
        child.kill()
        child.join()
        raise AssertionError("the process of the node hung")
    return child.exitcode


def sha_of(files: dict[str, bytes]) -> str:
    """Hash of the archive of ``files``."""
    return hashlib.sha256(pack(files)).hexdigest()


class Scene:
    """A site, its server, and the folder of a node."""

    def __init__(self, folder: Path, site: Site, server: Server) -> None:
        self.folder, self.site, self.server = folder, site, server
        self.node = folder / "node"
        self.root = site.repository.root_bytes()

    def made(self, **options: Any) -> Node:
        return Node(self.node, self.server.url, self.root, **options)
