"""The network: a stack of depthwise-separable convolutions that quantizes without loss.

Every convolution is followed by batch normalisation and ReLU, both of which the converter folds away;
channels are multiples of eight; the output is logits, the sigmoid stays outside. The stack is that of
MobileNet (Howard et al., arXiv 1704.04861) as YAMNet uses it, cut after its seventh layer, so that it
can start from YAMNet's weights (Apache-2.0): those layers have heard two million recordings.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tocsin_shared.errors import BadInputError
from tocsin_shared.manifest import FeatureSpec

Weights = npt.NDArray[np.float32]


@dataclass(frozen=True)
class NetSpec:
    """Shape of the network."""

    stem: int = 32
    """Channels of the first convolution, 3 × 3 with a stride of 2."""
    blocks: tuple[tuple[int, int], ...] = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2))
    """(channels, stride) of each depthwise-separable block."""
    dropout: float = 0.3


@dataclass(frozen=True)
class Folded:
    """One convolution with its batch normalisation folded in, as a converted model holds it."""

    kernel: Weights
    """As Keras orders it: (rows, columns, in, out), for depthwise (rows, columns, channels, 1)."""
    bias: Weights


def build(net: NetSpec, features: FeatureSpec, labels: int, batch: int | None = None) -> Any:
    """A Keras model from windows (batch, window_frames, mel_bands, 1) to logits (batch, labels).

    Mean and maximum over the map stand side by side before the last layer: the mean hears what lasts,
    the maximum what is over in a moment.
    """
    import keras  # noqa: PLC0415  # takes seconds, and only training needs it

    layers = keras.layers
    inputs = keras.Input(batch_shape=(batch, features.window_frames, features.mel_bands, 1))
    x = layers.Conv2D(net.stem, 3, strides=2, padding="same", use_bias=False, name="stem_conv")(inputs)
    x = _normalised(x, "stem")
    for number, (channels, stride) in enumerate(net.blocks, start=2):
        x = layers.DepthwiseConv2D(
            3, strides=stride, padding="same", use_bias=False, name=f"layer{number}_depthwise_conv"
        )(x)
        x = _normalised(x, f"layer{number}_depthwise")
        x = layers.Conv2D(channels, 1, use_bias=False, name=f"layer{number}_pointwise_conv")(x)
        x = _normalised(x, f"layer{number}_pointwise")
    rows, columns = x.shape[1:3]
    mean = layers.Flatten()(layers.AveragePooling2D((rows, columns))(x))
    peak = layers.Flatten()(layers.MaxPooling2D((rows, 1))(layers.AveragePooling2D((1, columns))(x)))
    pooled = layers.Dropout(net.dropout)(layers.Concatenate()([mean, peak]))
    return keras.Model(inputs, layers.Dense(labels, name="logits")(pooled))


def _normalised(x: Any, name: str) -> Any:
    import keras  # noqa: PLC0415

    x = keras.layers.BatchNormalization(momentum=0.95, name=f"{name}_norm")(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x)


def convolutions(net: NetSpec) -> list[str]:
    """Names of the convolutions, without their suffix, from input to output."""
    names = ["stem"]
    for number in range(2, len(net.blocks) + 2):
        names += [f"layer{number}_depthwise", f"layer{number}_pointwise"]
    return names


def start_from_yamnet(model: Any, net: NetSpec, features: FeatureSpec, path: Path, windows: Weights) -> None:
    """Put YAMNet's weights from the float32 TFLite file ``path`` into ``model``.

    The file's convolutions have their normalisation folded in. It is unfolded again with the mean and
    variance that ``windows``, shape (n, frames, bands, 1), show at each of them, so that training goes on
    as if the normalisation had never been away; the function that is computed stays the same.

    Raises:
        BadInputError: the file is not YAMNet in float32, or ``net`` does not fit it.
    """
    folded = read_yamnet(path, len(net.blocks) + 1)
    folded[0] = _for_scaled_input(folded[0], features)
    for name, layer in zip(convolutions(net), folded, strict=True):
        _set_exactly(model, name, layer, path)
    _unfold(model, convolutions(net), windows)


def _for_scaled_input(first: Folded, features: FeatureSpec) -> Folded:
    """YAMNet hears ``ln(mel + 1e-3)``; ours is shifted and scaled, which the first layer takes back."""
    shift = features.mean * first.kernel.sum(axis=(0, 1, 2))
    return Folded(first.kernel * np.float32(features.scale), first.bias + shift.astype(np.float32))


def _set_exactly(model: Any, name: str, layer: Folded, path: Path) -> None:
    convolution, norm = model.get_layer(f"{name}_conv"), model.get_layer(f"{name}_norm")
    wanted = tuple(convolution.get_weights()[0].shape)
    if layer.kernel.shape != wanted:
        raise BadInputError(f"{path}: {name} has shape {layer.kernel.shape}, but {wanted} is needed")
    convolution.set_weights([layer.kernel])
    zeros = np.zeros_like(layer.bias)
    norm.set_weights([zeros + 1.0, layer.bias, zeros, zeros + 1.0 - norm.epsilon])


def _unfold(model: Any, names: list[str], windows: Weights) -> None:
    import keras  # noqa: PLC0415

    taps = keras.Model(model.inputs[0], [model.get_layer(f"{name}_conv").output for name in names])
    for name, seen in zip(names, taps(windows), strict=True):
        values = np.asarray(seen, dtype=np.float64).reshape(-1, seen.shape[-1])
        norm = model.get_layer(f"{name}_norm")
        bias, mean, variance = norm.get_weights()[1], values.mean(axis=0), values.var(axis=0) + 1e-6
        norm.set_weights([np.sqrt(variance + norm.epsilon), bias + mean, mean, variance])


def read_yamnet(path: Path, layers: int) -> list[Folded]:
    """The first ``layers`` layers of YAMNet in the float32 TFLite file ``path``, input first.

    Raises:
        BadInputError: not a TFLite file, or one without those tensors in float32.
    """
    from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415  # only this needs it

    try:
        interpreter = Interpreter(model_path=str(path))
        interpreter.allocate_tensors()
        constants = {detail["name"]: detail for detail in interpreter.get_tensor_details()}
        names = ["layer1/conv"]
        for number in range(2, layers + 1):
            names += [f"layer{number}/depthwise_conv", f"layer{number}/pointwise_conv"]
        return [_folded(interpreter, constants, name) for name in names]
    except (ValueError, RuntimeError, KeyError, OSError, IndexError) as error:
        raise BadInputError(f"{path}: not a float32 TFLite file of YAMNet: {error}") from error


def _folded(interpreter: Any, constants: dict[str, Any], name: str) -> Folded:
    depthwise = name.endswith("depthwise_conv")
    wanted = f"{name}/bn/" if depthwise else f"{name}/Conv2D"
    kernels = [
        c for key, c in constants.items() if wanted in key.split(";", maxsplit=1)[0] and len(c["shape"]) == 4
    ]
    relu = "layer1/relu" if name == "layer1/conv" else f"{name}/relu"
    biases = [
        c for key, c in constants.items() if relu in key.split(";", maxsplit=1)[0] and len(c["shape"]) == 1
    ]
    if not kernels or not biases:
        raise KeyError(f"no tensors of {name}")
    kernel = np.asarray(interpreter.get_tensor(kernels[0]["index"]), dtype=np.float32)
    order = (1, 2, 3, 0)
    bias = np.asarray(interpreter.get_tensor(biases[0]["index"]), dtype=np.float32)
    return Folded(np.ascontiguousarray(kernel.transpose(order)), bias)
