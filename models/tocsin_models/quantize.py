"""From Keras to TFLite: float32, and full int8 calibrated with the product's own features."""

import contextlib
import hashlib
import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tocsin_models.dataset import Windows, balanced
from tocsin_models.net import NetSpec, build
from tocsin_shared.manifest import FeatureSpec

CALIBRATION_WINDOWS = 600


@dataclass(frozen=True)
class Calibration:
    """The training windows that showed the converter how far values reach."""

    indices: npt.NDArray[np.intp]
    sha256: str
    """Hash of the indices, which together with the seed of the windows names them."""


def choose_calibration(windows: Windows, count: int, seed: int) -> Calibration:
    """``count`` training windows, stratified over the labels; at most all there are."""
    indices = balanced(windows, count, np.random.default_rng(seed))
    digest = hashlib.sha256(indices.astype("<i8").tobytes()).hexdigest()
    return Calibration(indices, digest)


def converted(weights: Path, net: NetSpec, features: FeatureSpec, labels: int) -> Any:
    """The trained network with a batch of one, as a converter of TensorFlow."""
    import tensorflow as tf  # noqa: PLC0415

    model = build(net, features, labels, batch=1)
    model.load_weights(weights)
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    # Otherwise dense layers become FULLY_CONNECTED version 12, which tflite-runtime 2.14 cannot load.
    converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    return converter


def float32(weights: Path, net: NetSpec, features: FeatureSpec, labels: int) -> bytes:
    """The plain TFLite file."""
    return _convert(converted(weights, net, features, labels))


def full_int8(
    weights: Path, net: NetSpec, features: FeatureSpec, windows: Windows, calibration: Calibration
) -> bytes:
    """The TFLite file with int8 weights, activations, input and output."""
    import tensorflow as tf  # noqa: PLC0415

    converter = converted(weights, net, features, windows.targets.shape[1])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: _representative(windows, calibration)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.int8
    converter.inference_output_type = tf.int8
    return _convert(converter)


def _convert(converter: Any) -> bytes:
    # TensorFlow prints every tensor of the model that it saves on the way.
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Statistics for quantized inputs were expected")
        return bytes(converter.convert())


def _representative(windows: Windows, calibration: Calibration) -> Iterator[list[npt.NDArray[np.float32]]]:
    for index in calibration.indices:
        # The converter may look at an array after the next one was asked for: each needs memory of its own.
        yield [windows.inputs(np.array([index])).copy()]
