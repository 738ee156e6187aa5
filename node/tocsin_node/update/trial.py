"""The child in which a bundle is tried: ``python -m tocsin_node.update.trial ORDER``.

A model is code: a damaged one whose hash agrees has ended the interpreter's process by SIGSEGV. So this
process locks itself in as well as the system lets it (no new privileges, no network, bounds for memory,
time and files), tries, and writes one line of JSON for each step. Whatever becomes of it, its parent lives.
"""

import contextlib
import ctypes
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from tocsin_node.update.flatbuffer import operators
from tocsin_node.update.steps import Step
from tocsin_shared.errors import BundleError, TocsinError
from tocsin_shared.trust.bundles import REFERENCE, read_references

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
PR_SET_NO_NEW_PRIVS = 38
NICE = 5
WINDOWS = 100
TOLERANCES = {"float32": 0.02, "float16": 0.02, "dynamic": 0.05}
COARSEST = 0.1
"""Largest difference of a score from the signer's; integer files round otherwise on other machines."""


class Order(Struct, frozen=True, kw_only=True):
    """What is to be tried."""

    folder: str
    variant: str
    threads: Annotated[int, Meta(ge=1, le=16)] = 1
    budget_ms: float
    """The 95th percentile of the time for one window must not be above this."""
    memory_bytes: int
    """Address space of this process."""
    cpu_seconds: int
    sample_rate_hz: int
    """Of the sound that the node hears."""


def main(argv: list[str]) -> int:
    """Try what ``argv[1]`` orders; 0 if it passed."""
    order = msgspec.json.decode(argv[1], type=Order)
    _tell("sandbox", locked_in(order))
    return 0 if all(_passed(step, work, order) for step, work in TRIALS) else 1


def _passed(step: Step, work: Callable[[Order], str], order: Order) -> bool:
    try:
        _tell(step, work(order))
    except (TocsinError, OSError, ValueError, RuntimeError, MemoryError) as error:
        _tell(step, f"{error}"[:200], ok=False)
        return False
    return True


def _tell(step: str, words: str, *, ok: bool = True) -> None:
    print(json.dumps({"step": step, "ok": ok, "words": words}), flush=True)  # noqa: T201  # to the parent


def locked_in(order: Order) -> str:
    """Take away what a model needs not; what could be taken, in words."""
    bounds = {
        resource.RLIMIT_AS: order.memory_bytes,
        resource.RLIMIT_CPU: order.cpu_seconds,
        resource.RLIMIT_FSIZE: 1_000_000,
        resource.RLIMIT_CORE: 0,
    }
    for kind, bound in bounds.items():
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(kind, (bound, bound))
    with contextlib.suppress(OSError):
        os.nice(NICE)  # the ears come first
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    alone = libc.unshare(CLONE_NEWNET) == 0 or libc.unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0
    return "child process, bounds, " + (
        "no network" if alone else "network not taken (the system forbids it)"
    )


def static(order: Order) -> str:
    """The file is a TFLite model of known operators, and the manifest is for this node's sound."""
    from tocsin_shared.manifest import read_manifest, read_variant  # noqa: PLC0415

    folder = Path(order.folder)
    manifest = read_manifest(folder)
    if manifest.features.sample_rate_hz != order.sample_rate_hz:
        raise BundleError(
            f"made for {manifest.features.sample_rate_hz} Hz, the node hears {order.sample_rate_hz} Hz"
        )
    used = operators(read_variant(folder, manifest.variant(order.variant)))
    return f"{len(used)} kinds of operators"


def load(order: Order) -> str:
    """The interpreter takes it, and it answers to silence."""
    began = time.monotonic()
    _classifier(order)
    return f"{1000.0 * (time.monotonic() - began):.0f} ms"


def golden(order: Order) -> str:
    """It hears in each clip what its signer heard."""
    import numpy as np  # noqa: PLC0415

    classifier, windows = _classifier(order), _windows(order)
    references = read_references((Path(order.folder) / REFERENCE).read_bytes())
    tolerance = TOLERANCES.get(order.variant, COARSEST)
    names = classifier.manifest.label_names
    for clip in classifier.manifest.golden:
        scores = classifier.scores(windows[clip.file])
        best = names[int(np.argmax(scores))]
        if best != clip.label:
            raise BundleError(f"hears {best} in {clip.file}")
        signed = references.get(clip.file)
        if signed is None or len(signed.scores) != len(names):
            raise BundleError(f"{clip.file} was not heard by the signer")
        apart = float(np.max(np.abs(scores - np.asarray(signed.scores, dtype=np.float32))))
        if not apart <= tolerance:
            raise BundleError(
                f"a score in {clip.file} is {apart:.3f} from the signer's; {tolerance} is allowed"
            )
    if not classifier.manifest.golden:
        raise BundleError("has no golden clips")
    return f"{len(classifier.manifest.golden)} clips"


def budget(order: Order) -> str:
    """It is quick enough, and needs not more memory than it may."""
    classifier, windows = _classifier(order), list(_windows(order).values())
    began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times = []
    for number in range(WINDOWS):
        start = _spent(order.threads)
        classifier.scores(windows[number % len(windows)])
        times.append(1000.0 * (_spent(order.threads) - start))
        slow = sum(one > order.budget_ms for one in times)
        if slow > WINDOWS // 20:
            raise BundleError(f"a window takes {max(times):.1f} ms; {order.budget_ms:.1f} ms are allowed")
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - began) / 1024.0
    p95 = sorted(times)[WINDOWS * 95 // 100 - 1]
    return f"p95 {p95:.1f} of {order.budget_ms:.1f} ms, {grown:.0f} MB grown"


def _spent(threads: int) -> float:
    """Seconds; with one thread those of the processor, so that a busy machine does not condemn a model."""
    return time.thread_time() if threads == 1 else time.monotonic()


def _classifier(order: Order):  # type: ignore[no-untyped-def]  # numpy is imported only once all bounds are set
    from tocsin_shared.classifier import Classifier  # noqa: PLC0415

    return Classifier.load(Path(order.folder), order.variant, order.threads)


def _windows(order: Order):  # type: ignore[no-untyped-def]  # see _classifier
    from tocsin_shared.audio import read_clip  # noqa: PLC0415
    from tocsin_shared.features import log_mel  # noqa: PLC0415
    from tocsin_shared.manifest import read_manifest  # noqa: PLC0415

    manifest = read_manifest(Path(order.folder))
    spec = manifest.features
    return {
        clip.file: log_mel(read_clip(Path(order.folder) / clip.file, spec.sample_rate_hz), spec)[
            : spec.window_frames
        ]
        for clip in manifest.golden
    }


TRIALS = (
    (Step.STATIC, static),
    (Step.LOAD, load),
    (Step.GOLDEN, golden),
    (Step.BUDGET, budget),
)

if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    sys.exit(main(sys.argv))
