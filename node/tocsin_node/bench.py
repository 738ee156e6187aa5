"""``tocsin node bench``: what listening costs on this machine, and which variant and hop to take.

Times of one call come from the wall clock; CPU times come from the process's own clock, which another
program that works at the same moment lengthens little, and ratios are made of these. The whole node is
a real process that hears a made sound from a file; its CPU time and memory are read from ``/proc``.
"""

import contextlib
import importlib
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from tocsin_node.bench_advice import Advice, Cost, advice
from tocsin_node.bundle import bundle_folder, load_bundle
from tocsin_shared import synthesis
from tocsin_shared.classifier import interpreter_class, preferred_variant
from tocsin_shared.errors import BundleError, UnavailableError
from tocsin_shared.features import FeatureStream, Frames, Samples, log_mel
from tocsin_shared.manifest import FeatureSpec, read_manifest

THREADS = (1, 2)
DEFAULT_HOP_SECONDS = 0.5
_HOPS_SECONDS = (0.5, 0.25, 0.1)
_WARM_UPS, _CALLS = 10, 100
_START_SECONDS = 30.0
_WARM_SECONDS = 3.0
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Timing:
    """How long one call takes, milliseconds."""

    median_ms: float
    p95_ms: float
    cpu_ms: float
    """CPU time of all threads of the process for one call, on average."""


@dataclass(frozen=True)
class Whole:
    """A real node over some seconds."""

    seconds: float
    cpu_share: float
    """User and system time as a share of one core."""
    rss_mb: float
    """Resident memory at the end, 10⁶ bytes."""
    threads: int


@dataclass(frozen=True)
class Request:
    """What the user asked for."""

    bundle: str
    seconds: float
    yamnet: Path | None
    json: bool


def bench(request: Request) -> int:
    """Measure and print; returns the exit status 0.

    Raises:
        BundleError, UnavailableError: the model or the node cannot be run.
    """
    found = _measured(request)
    print(json.dumps(found) if request.json else "\n".join(_lines(found)), flush=True)  # noqa: T201
    return 0


def timed(call: Callable[[], Any], calls: int = _CALLS) -> Timing:
    """Time ``call`` after some calls to warm up."""
    for _ in range(_WARM_UPS):
        call()
    walls = []
    cpu = time.process_time()
    for _ in range(calls):
        began = time.perf_counter()
        call()
        walls.append((time.perf_counter() - began) * 1e3)
    cpu = (time.process_time() - cpu) * 1e3 / calls
    walls.sort()
    return Timing(statistics.median(walls), walls[math.ceil(0.95 * calls) - 1], cpu)


def _measured(request: Request) -> dict[str, Any]:
    folder = bundle_folder(request.bundle)
    manifest = read_manifest(folder)
    spec = manifest.features
    window = _window(spec)
    features = {f"{hop:g}": _features(spec, hop) for hop in _HOPS_SECONDS}
    variants = [
        _invoke(request.bundle, variant.name, threads, window)
        for variant in manifest.variants
        for threads in THREADS
    ]
    costs = [Cost(one["variant"], one["threads"], one["invoke"]["cpu_ms"]) for one in variants]
    best = advice(costs, features[f"{DEFAULT_HOP_SECONDS:g}"].cpu_ms, preferred_variant(manifest).name)
    librosa = _librosa(spec)
    yamnet = None if request.yamnet is None else _yamnet(request.yamnet)
    hop_ms = features[f"{DEFAULT_HOP_SECONDS:g}"].cpu_ms
    taken = next(one for one in variants if (one["variant"], one["threads"]) == (best.variant, best.threads))
    return {
        "bundle": f"{manifest.name}-{manifest.release}",
        "runtime": interpreter_class()[1],
        "features": {hop: asdict(timing) for hop, timing in features.items()},
        "variants": [{**one, "real_time_factor": _load(hop_ms, one)} for one in variants],
        "librosa_window": None if librosa is None else asdict(librosa),
        "yamnet_window": None if yamnet is None else asdict(yamnet),
        "librosa_ratio": None if librosa is None else librosa.cpu_ms / hop_ms,
        "yamnet_ratio": None if yamnet is None else yamnet.cpu_ms / taken["invoke"]["cpu_ms"],
        "node": asdict(whole_node(request.bundle, best.variant, request.seconds)),
        "advice": asdict(best),
    }


def _load(hop_ms: float, one: dict[str, Any]) -> float:
    """CPU time for a hop over the length of the hop: below 1 the machine keeps up."""
    return float(hop_ms + one["invoke"]["cpu_ms"]) / (DEFAULT_HOP_SECONDS * 1e3)


def _sound(spec: FeatureSpec, seconds: float) -> Samples:
    return synthesis.at_level(synthesis.ambience(seconds, np.random.default_rng(1)), -40.0)[
        : round(seconds * spec.sample_rate_hz)
    ]


def _window(spec: FeatureSpec) -> Frames:
    return log_mel(_sound(spec, 5.0), spec)[: spec.window_frames]


def _features(spec: FeatureSpec, hop_seconds: float) -> Timing:
    stream = FeatureStream(spec)
    hop = _sound(spec, 1.0)[: round(hop_seconds * spec.sample_rate_hz)]
    return timed(lambda: stream.push(hop))


def _invoke(bundle: str, variant: str, threads: int, window: Frames) -> dict[str, Any]:
    classifier = load_bundle(bundle, variant, threads)
    timing = timed(lambda: classifier.scores(window))
    return {"variant": variant, "threads": threads, "invoke": asdict(timing)}


def _librosa(spec: FeatureSpec) -> Timing | None:
    """librosa's own mel spectrogram of one window, as a program without a stream would make it each hop."""
    try:
        librosa = importlib.import_module("librosa")
    except ImportError:
        return None
    sound = _sound(spec, 5.0)[: spec.window_samples]

    def mel() -> Any:
        return np.log(
            librosa.feature.melspectrogram(
                y=sound,
                sr=spec.sample_rate_hz,
                n_fft=spec.fft_length,
                win_length=spec.frame_length,
                hop_length=spec.frame_hop,
                n_mels=spec.mel_bands,
                fmin=spec.mel_low_hz,
                fmax=spec.mel_high_hz,
                power=1.0,
            )
            + spec.log_offset
        )

    return timed(mel)


def _yamnet(path: Path) -> Timing:
    """Any TFLite file with one input that takes zeros: YAMNet makes its own features."""
    kind, _runtime = interpreter_class()
    try:
        interpreter = kind(model_path=str(path), num_threads=1)
        interpreter.allocate_tensors()
        given = interpreter.get_input_details()[0]
        interpreter.set_tensor(given["index"], np.zeros(given["shape"], dtype=given["dtype"]))
        return timed(interpreter.invoke, 50)
    except (ValueError, RuntimeError, OSError, IndexError) as error:
        raise BundleError(f"{path}: cannot be run as a TFLite model: {error}") from error


def whole_node(bundle: str, variant: str, seconds: float) -> Whole:
    """CPU share and memory of ``tocsin node run`` on a made sound, without a broker, over ``seconds``.

    Raises:
        UnavailableError: the node ended, or did not begin to listen.
    """
    with tempfile.TemporaryDirectory(prefix="tocsin-bench-") as name:
        folder = Path(name)
        config = _node_settings(folder, str(bundle_folder(bundle).resolve()), variant)
        with (folder / "log").open("wb") as log:
            command = [sys.executable, "-m", "tocsin_shared", "node", "run", "--config", str(config)]
            node = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            _wait_for_ears(node, folder / "log")
            return _watched(node.pid, seconds)
        except OSError as error:
            raise UnavailableError("/proc does not tell what the node costs") from error
        finally:
            node.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                node.wait(15)
            if node.poll() is None:
                node.kill()
                node.wait(5)


def _node_settings(folder: Path, bundle: str, variant: str) -> Path:
    soundfile.write(folder / "room.wav", _sound(FeatureSpec(), 10.0), FeatureSpec().sample_rate_hz)
    config = folder / "node.toml"
    # Port 1 answers nobody: what is measured is hearing, beside a link that tries again and again.
    config.write_text(
        f'node = "bench"\n[source]\nkind = "file"\npath = "room.wav"\nrepeat = true\n'
        f"[model]\nbundle = {json.dumps(bundle)}\nvariant = {json.dumps(variant)}\n[broker]\nport = 1\n",
        encoding="utf-8",
    )
    return config


def _wait_for_ears(node: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while b"microphone: " not in log.read_bytes():
        if node.poll() is not None or time.monotonic() > deadline:
            last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
            raise UnavailableError(f"the node does not listen: {' '.join(last) or 'it says nothing'}")
        time.sleep(0.1)


def _watched(pid: int, seconds: float) -> Whole:
    time.sleep(_WARM_SECONDS)
    began, used = time.monotonic(), _cpu_seconds(pid)
    time.sleep(seconds)
    passed = time.monotonic() - began
    status = _status(pid)
    return Whole(
        passed,
        (_cpu_seconds(pid) - used) / passed,
        int(status["VmRSS"].split()[0]) * 1024 / 1e6,
        int(status["Threads"]),
    )


def _cpu_seconds(pid: int) -> float:
    """User and system time of all threads: fields 14 and 15 of proc_pid_stat(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _status(pid: int) -> dict[str, str]:
    text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


def _lines(found: dict[str, Any]) -> Sequence[str]:
    node, best = found["node"], Advice(**found["advice"])
    lines = [f"{found['bundle']} on {found['runtime']}"]
    lines += [f"features of a {hop} s hop: {_text(timing)}" for hop, timing in found["features"].items()]
    lines += [
        f"invoke {one['variant']}, {one['threads']} threads: {_text(one['invoke'])}, "
        f"real-time factor {one['real_time_factor']:.4f}"
        for one in found["variants"]
    ]
    for key, name in (("librosa", "librosa's mel of a window"), ("yamnet", "YAMNet's window")):
        if found[f"{key}_window"] is not None:
            lines.append(f"{name}: {_text(found[f'{key}_window'])}, {found[f'{key}_ratio']:.1f} times ours")
    lines.append(
        f"whole node over {node['seconds']:.0f} s: {node['cpu_share']:.1%} of one core, "
        f"{node['rss_mb']:.0f} MB, {node['threads']} threads"
    )
    return [*lines, best.words]


def _text(timing: dict[str, float]) -> str:
    return (
        f"median {timing['median_ms']:.2f} ms, p95 {timing['p95_ms']:.2f} ms, CPU {timing['cpu_ms']:.2f} ms"
    )
