"""Times one model file in a process of its own, and writes what it says of every window.

Runs with any Python that has numpy and a runtime (``ai-edge-litert`` or ``tflite-runtime``; Keras for the
original), whether or not Tocsin is installed there, and so imports nothing of it::

    PYTHON invoke.py MODEL WINDOWS.npy THREADS REPEATS [--logits OUT.npy] [--forget-scale]

WINDOWS.npy holds float32 of shape (windows, frames, bands, 1). One line of JSON comes out: runtime, its
version, milliseconds of loading and of every timed call, and peak resident memory of the process in MiB
before the windows were gone through. ``--forget-scale`` makes a mistake on purpose: it casts the input to
the integers of the model without scale and zero point.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np

WARM_UPS = 20
Call = Callable[[Any], Any]


def main() -> int:
    """Measure, and print the line."""
    arguments = _arguments()
    windows = np.load(arguments.windows, mmap_mode="r")
    keras = not arguments.model.endswith(".tflite")
    start = time.perf_counter()
    if keras:
        runtime, call = _keras(arguments.model, arguments.threads)
    else:
        runtime, call = _tflite(arguments.model, arguments.threads, arguments.forget_scale)
    call(windows[:1])
    load_ms = (time.perf_counter() - start) * 1e3
    times = _timed(call, windows, arguments.repeats) if arguments.repeats else []
    peak = _peak_mib()
    if arguments.logits:
        rows = [call(windows[at : at + 1]).reshape(-1) for at in range(len(windows))]
        np.save(arguments.logits, np.array(rows, dtype=np.float32))
    found = {
        "runtime": runtime,
        "numpy": np.__version__,
        "load_ms": load_ms,
        "times_ms": times,
        "peak_mib": peak,
    }
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time one model file.")
    parser.add_argument("model")
    parser.add_argument("windows")
    parser.add_argument("threads", type=int)
    parser.add_argument("repeats", type=int)
    parser.add_argument("--logits")
    parser.add_argument("--forget-scale", action="store_true")
    return parser.parse_args()


def _peak_mib() -> float:
    """Peak resident memory of this process; ``getrusage`` would also count that of the one that began it."""
    with open("/proc/self/status", encoding="utf-8") as file:  # noqa: PTH123  # as short as it gets
        peaks = [int(line.split()[1]) for line in file if line.startswith("VmHWM")]
    return peaks[0] / 1024


def _timed(call: Call, windows: Any, repeats: int) -> "list[float]":
    few = np.array(windows[: min(16, len(windows))], dtype=np.float32)
    times = []
    for number in range(WARM_UPS + repeats):
        window = few[number % len(few)][None]
        start = time.perf_counter()
        call(window)
        if number >= WARM_UPS:
            times.append((time.perf_counter() - start) * 1e3)
    return times


def _tflite(path: str, threads: int, forget_scale: bool) -> "tuple[str, Call]":
    kind, runtime = _interpreter()
    interpreter = kind(model_path=path, num_threads=threads)
    interpreter.allocate_tensors()
    given, taken = interpreter.get_input_details()[0], interpreter.get_output_details()[0]

    def call(window: Any) -> Any:
        values = _quantized(np.asarray(window), given, forget_scale)
        interpreter.set_tensor(given["index"], values.reshape(given["shape"]))
        interpreter.invoke()
        answer = interpreter.get_tensor(taken["index"])
        if answer.dtype == np.float32:
            return answer
        scale, zero = taken["quantization"]
        return (answer.astype(np.float32) - zero) * np.float32(scale)

    return runtime, call


def _quantized(window: Any, details: Any, forget_scale: bool) -> Any:
    kind = details["dtype"]
    if kind == np.float32:
        return window
    if forget_scale:
        return window.astype(kind)
    scale, zero = details["quantization"]
    limits = np.iinfo(kind)
    return np.clip(np.round(window / np.float32(scale) + zero), limits.min, limits.max).astype(kind)


def _interpreter() -> "tuple[Any, str]":
    try:
        from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415

        return Interpreter, f"ai-edge-litert {version('ai-edge-litert')}"
    except ImportError:
        from tflite_runtime.interpreter import Interpreter as Old  # noqa: PLC0415

        return Old, f"tflite-runtime {version('tflite-runtime')}"


def _keras(path: str, threads: int) -> "tuple[str, Call]":
    import keras  # noqa: PLC0415

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf  # noqa: PLC0415

        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    model = keras.saving.load_model(path, compile=False)
    return f"keras {keras.__version__} ({keras.backend.backend()})", lambda window: np.asarray(
        model.predict_on_batch(np.asarray(window))
    )


if __name__ == "__main__":
    sys.exit(main())
