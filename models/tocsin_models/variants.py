"""Six ways from a Keras network to a tflite file, and the training windows that calibrate them."""

import contextlib
import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

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


def _converted(converter: Any) -> bytes:
    # TensorFlow prints every tensor of the model that it saves on the way.
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Statistics for quantized inputs were expected")
        return bytes(converter.convert())


def _one_by_one(windows: Floats) -> Iterator[list[Floats]]:
    for window in windows:
        # The converter may look at an array after the next one was asked for: each needs memory of its own.
        yield [window[None].copy()]
