"""Six ways from a Keras network to a tflite file, and the training windows that calibrate them."""

import contextlib
import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tocsin_models.stored import small
from tocsin_shared.errors import BadInputError

Floats = npt.NDArray[np.float32]

VARIANTS = ("float32", "float16", "dynamic", "int8", "full-int8", "16x8")
"""As the study has them, and ``16x8`` (16-bit activations), which is slow and only tells whether a loss
comes from the range of the activations or from the calibration."""
CALIBRATED = frozenset({"int8", "full-int8", "16x8"})


@dataclass(frozen=True)
class Calibration:
    """Windows that show the converter how far values reach."""

    windows: Floats
    """Shape (n, frames, bands, 1); the product's own features, clipped to their fixed range."""
    sha256: str
    """Hash of the list of windows, which with the data names them."""


def convert(model: Any, variant: str, windows: Floats) -> bytes:
    """The tflite file ``variant`` of ``model``, whose batch must be one; ``windows`` calibrate it.

    Raises:
        BadInputError: there is no such variant.
    """
    if variant not in VARIANTS:
        raise BadInputError(f"there is no variant {variant!r}; there are {', '.join(VARIANTS)}")
    import tensorflow as tf  # noqa: PLC0415  # takes seconds, and only converting needs it

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    # Otherwise dense layers become FULLY_CONNECTED version 12, which tflite-runtime 2.14 cannot load.
    converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    if variant != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if variant == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if variant in CALIBRATED:
        converter.representative_dataset = lambda: _one_by_one(windows)
        operators = {
            "16x8": tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
        }.get(variant, tf.lite.OpsSet.TFLITE_BUILTINS_INT8)
        converter.target_spec.supported_ops = [operators]
    if variant == "full-int8":
        converter.inference_input_type = converter.inference_output_type = tf.int8
    return _converted(converter)


def convert_between(model: Any, first: str, last: str, windows: Floats) -> bytes:
    """The tflite file of ``model`` that computes in integers from layer ``first`` to layer ``last`` only.

    Both are names of convolutions. What comes before and after stays in float, with weights that are stored
    in eight bits where they are exact in them; ends are float.

    Raises:
        BadInputError: there are no such layers.
    """
    import tensorflow as tf  # noqa: PLC0415
    from tensorflow.lite.python.convert import mlir_quantize  # noqa: PLC0415

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: _one_by_one(windows)
    converter._experimental_calibrate_only = True
    calibrated = _converted(converter)
    floats = _outside(calibrated, first, last)
    with contextlib.redirect_stdout(io.StringIO()):
        mixed = mlir_quantize(calibrated, denylisted_nodes=floats, disable_per_channel_for_dense_layers=True)
    return small(bytes(mixed))


def _outside(content: bytes, first: str, last: str) -> list[str]:
    """Names of what the operators before ``first`` and after ``last`` compute."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType  # noqa: PLC0415

    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(model_content=content, experimental_op_resolver_type=plain)
    interpreter.allocate_tensors()
    named = {detail["index"]: str(detail["name"]) for detail in interpreter.get_tensor_details()}
    names = [named[step["outputs"][0]] for step in interpreter._get_ops_details()]
    begins = [place for place, name in enumerate(names) if f"/{first}_" in name]
    ends = [place for place, name in enumerate(names) if f"/{last}_" in name]
    if not begins or not ends:
        raise BadInputError(f"the network has no layers {first} to {last}")
    return names[: begins[0]] + names[ends[-1] + 1 :]


def _converted(converter: Any) -> bytes:
    # TensorFlow prints every tensor of the model that it saves on the way.
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Statistics for quantized inputs were expected")
        return bytes(converter.convert())


def _one_by_one(windows: Floats) -> Iterator[list[Floats]]:
    for window in windows:
        # The converter may look at an array after the next one was asked for: each needs memory of its own.
        yield [window[None].copy()]
