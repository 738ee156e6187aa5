"""The edge to the interpreter: one window of frames in, one score for each label out.

``ai-edge-litert`` and its forerunner ``tflite-runtime`` offer the same class; whichever is installed
is used, the newer one first. Training, evaluation and node use this one way to a score, so a figure in
a model's card is about the very code that listens.

A damaged model file often still runs and lies, so nothing is run before its SHA-256 agrees with the
manifest; what the file then says about its input and output must agree as well.
"""

import importlib
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tocsin_shared.errors import BundleError, UnavailableError
from tocsin_shared.features import Frames
from tocsin_shared.manifest import Manifest, VariantSpec, read_manifest, read_variant

PREFERENCE = ("full-int8", "int8", "float16", "float32")
"""Which variant runs where none is named, best first: smallest and fastest before largest."""

_RUNTIMES = (
    ("ai-edge-litert", "ai_edge_litert.interpreter"),
    ("tflite-runtime", "tflite_runtime.interpreter"),
)
_IDENTIFIER = b"TFL3"
_INTERPRETER_ERRORS = (
    ValueError,
    RuntimeError,
    TypeError,
    SystemError,
    MemoryError,
    OSError,
    KeyError,
    IndexError,
)

Scores = npt.NDArray[np.float32]
"""One score in [0, 1] for each label, shape (labels,), in the order of the manifest."""


@dataclass(frozen=True)
class _Tensor:
    """Input or output of a model, as far as it matters here."""

    index: int
    shape: tuple[int, ...]
    dtype: type[np.generic]
    scale: float
    zero_point: int

    @property
    def quantized(self) -> bool:
        return self.dtype is not np.float32

    def quantize(self, values: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
        """``clip(round(x / scale + zero_point))`` in the tensor's own type (TFLite quantization spec)."""
        if not self.quantized:
            return values
        limits = np.iinfo(self.dtype)  # type: ignore[type-var]
        steps = np.round(values / np.float32(self.scale) + np.float32(self.zero_point))
        return np.clip(steps, limits.min, limits.max).astype(self.dtype)

    def dequantize(self, values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """``(q − zero_point) · scale`` as float32."""
        if not self.quantized:
            return values.astype(np.float32, copy=False)
        return (values.astype(np.float32) - np.float32(self.zero_point)) * np.float32(self.scale)


class Classifier:
    """A loaded variant of a bundle. Not thread-safe: one classifier belongs to one thread."""

    def __init__(
        self,
        manifest: Manifest,
        variant: VariantSpec,
        runtime: str,
        interpreter: Any,
        ends: tuple[_Tensor, _Tensor],
    ) -> None:
        self.manifest = manifest
        self.variant = variant
        self.runtime = runtime
        """Interpreter and its version, such as ``ai-edge-litert 2.3.0``."""
        self._interpreter = interpreter
        self._input, self._output = ends

    @classmethod
    def load(cls, folder: Path, variant: str | None = None, threads: int = 1) -> "Classifier":
        """The bundle in ``folder``, ready to run; the best variant of :data:`PREFERENCE` unless one is named.

        Raises:
            BundleError: no bundle, not the file that the manifest describes, not a model, a model of
                another shape, or one that cannot run.
            UnavailableError: no interpreter is installed, or it does not work here.
        """
        manifest = read_manifest(folder)
        chosen = manifest.variant(variant) if variant else preferred_variant(manifest)
        content = read_variant(folder, chosen)
        path = folder / chosen.file
        if content[4:8] != _IDENTIFIER:
            raise BundleError(f"{path}: not a TFLite model (its bytes 4 to 8 are not {_IDENTIFIER.decode()})")
        interpreter, runtime = _interpreter(content, path, threads)
        classifier = cls(manifest, chosen, runtime, interpreter, _checked_ends(interpreter, manifest, path))
        classifier.scores(classifier.silence())
        return classifier

    @property
    def name(self) -> str:
        """Bundle, release and variant, such as ``sentry-0.1.0+full-int8``."""
        return f"{self.manifest.name}-{self.manifest.release}+{self.variant.name}"

    def silence(self) -> Frames:
        """A window of digital silence, shape (window_frames, mel_bands)."""
        spec = self.manifest.features
        return np.full((spec.window_frames, spec.mel_bands), spec.clip_low, dtype=np.float32)

    def scores(self, window: Frames) -> Scores:
        """Score of each label in ``window``, shape (window_frames, mel_bands); see :data:`Scores`.

        Raises:
            BundleError: the model failed, or answered with something that is no number.
        """
        logits = self.logits(window)
        scores: Scores = (1.0 / (1.0 + np.exp(-np.clip(logits, -80.0, 80.0)))).astype(np.float32)
        return scores

    def logits(self, window: Frames) -> npt.NDArray[np.float32]:
        """As :meth:`scores`, before the sigmoid; shape (labels,)."""
        try:
            self._interpreter.set_tensor(
                self._input.index, self._input.quantize(window).reshape(self._input.shape)
            )
            self._interpreter.invoke()
            answer = self._interpreter.get_tensor(self._output.index)
        except _INTERPRETER_ERRORS as error:
            raise BundleError(f"{self.name}: the model failed: {_first_line(error)}") from error
        logits = self._output.dequantize(answer).reshape(-1)
        if not np.isfinite(logits).all():
            raise BundleError(f"{self.name}: the model answered with values that are no numbers")
        return logits


def preferred_variant(manifest: Manifest) -> VariantSpec:
    """The first variant of :data:`PREFERENCE` that the bundle has, or else the first it lists."""
    by_name = {variant.name: variant for variant in manifest.variants}
    return next((by_name[name] for name in PREFERENCE if name in by_name), manifest.variants[0])


def _interpreter(content: bytes, path: Path, threads: int) -> tuple[Any, str]:
    kind, runtime = interpreter_class()
    try:
        interpreter = kind(model_content=content, num_threads=threads)
        interpreter.allocate_tensors()
    except SystemError as error:  # tflite-runtime 2.14 is built for numpy 1 and fails like this under numpy 2
        raise UnavailableError(
            f"{runtime} does not work with numpy {np.__version__}: {_first_line(error)}"
        ) from error
    except _INTERPRETER_ERRORS as error:
        raise BundleError(f"{path}: {runtime} cannot load the model: {_first_line(error)}") from error
    return interpreter, runtime


def interpreter_class() -> tuple[Any, str]:
    """The class of the interpreter that is installed, and its name with its version.

    Raises:
        UnavailableError: none is.
    """
    for package, module in _RUNTIMES:
        try:
            return importlib.import_module(module).Interpreter, f"{package} {version(package)}"
        except (ImportError, PackageNotFoundError):
            continue
    raise UnavailableError("no TFLite interpreter is installed; install one with: pip install ai-edge-litert")


def _checked_ends(interpreter: Any, manifest: Manifest, path: Path) -> tuple[_Tensor, _Tensor]:
    try:
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    except _INTERPRETER_ERRORS as error:
        raise BundleError(f"{path}: the model's ends cannot be read: {_first_line(error)}") from error
    if len(inputs) != 1 or len(outputs) != 1:
        raise BundleError(f"{path}: {len(inputs)} inputs and {len(outputs)} outputs; one of each is needed")
    spec = manifest.features
    window = (1, spec.window_frames, spec.mel_bands)
    return (
        _checked(inputs[0], "input", {window, (*window, 1)}, path),
        _checked(outputs[0], "output", {(1, len(manifest.labels))}, path),
    )


def _checked(details: dict[str, Any], end: str, shapes: set[tuple[int, ...]], path: Path) -> _Tensor:
    shape = tuple(int(size) for size in details["shape"])
    if shape not in shapes:
        wanted = " or ".join(str(list(s)) for s in sorted(shapes))
        raise BundleError(f"{path}: the model's {end} has shape {list(shape)}; the manifest needs {wanted}")
    dtype = np.dtype(details["dtype"]).type
    if dtype not in {np.float32, np.int8, np.int16}:
        raise BundleError(f"{path}: the model's {end} is {dtype.__name__}; float32, int8 or int16 is needed")
    scale, zero_point = details["quantization"]
    if dtype is not np.float32 and not (np.isfinite(scale) and scale > 0):
        raise BundleError(f"{path}: the model's {end} is {dtype.__name__}, but has no quantization scale")
    return _Tensor(int(details["index"]), shape, dtype, float(scale), int(zero_point))


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
