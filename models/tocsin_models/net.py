"""The network: a stack of depthwise-separable convolutions that quantizes without loss.

Every convolution is followed by batch normalisation and ReLU6, both of which the converter folds away;
channels are multiples of eight; the output is logits, the sigmoid stays outside. The stack is that of
MobileNet (Howard et al., arXiv 1704.04861) as YAMNet uses it, so that its first layers can be YAMNet's
(Apache-2.0), which have heard two million recordings.
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
    blocks: tuple[tuple[int, int], ...] = (
        *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
        *((512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (768, 2), (768, 1)),
    )
    """(channels, stride) of each depthwise-separable block; the stem is layer 1, the first block layer 2."""
    of_yamnet: int = 12
    """Layers up to this one start from YAMNet's weights, the others from chance."""
    dropout: float = 0.3


@dataclass(frozen=True)
class Folded:
    """One convolution with its batch normalisation folded in, as a converted model holds it."""

    kernel: Weights
    """As Keras orders it: (rows, columns, in, out), for depthwise (rows, columns, channels, 1)."""
    bias: Weights


@dataclass(frozen=True)
class Start:
    """What the network starts from."""

    layers: tuple[Folded, ...]
    """Convolutions from input to output."""


LAYERS = 14
"""Of YAMNet."""
CAP = 6.0
"""Where ReLU6 cuts off."""
LEAST_REACH = 0.05
"""A channel that reaches less is not made larger than one that reaches this."""
LARGEST_WEIGHT = 20.0
"""A larger weight would make whole steps of the rounding of what comes in."""


def build(
    net: NetSpec,
    features: FeatureSpec,
    labels: int,
    *,
    batch: int | None = None,
    capped: bool = True,
    rounded: bool = False,
) -> Any:
    """A Keras model from windows (batch, window_frames, mel_bands, 1) to logits (batch, labels).

    Both the mean and the maximum over the map are weighed: the mean hears what lasts, the maximum what is
    over in a moment. Each has weights of its own, because in integers they must not share one scale: the
    maximum reaches ten times as far, and would leave the mean a few steps only.

    Without ``capped`` the layers of YAMNet have no upper end, as in YAMNet; see :func:`capped`. With
    ``rounded`` all layers round as integers will, to learn with. The weights fit either way.
    """
    import keras  # noqa: PLC0415  # takes seconds, and only training needs it

    layers = keras.layers
    inputs = keras.Input(batch_shape=(batch, features.window_frames, features.mel_bands, 1))
    x = _body(inputs, net, capped, rounded)
    rows, columns = x.shape[1:3]
    mean = layers.GlobalAveragePooling2D(keepdims=True, name="mean")(x)
    peak = layers.MaxPooling2D((rows, 1), name="peak")(layers.AveragePooling2D((1, columns))(x))
    # Convolutions of one point are quantized label by label, dense layers all labels alike.
    parts = []
    for name, part, biased in (("mean", mean, True), ("peak", peak, False)):
        kept = layers.Dropout(net.dropout)(_rounding(part, rounded, None))
        parts.append(_layers(rounded).Conv2D(labels, 1, use_bias=biased, name=f"logits_of_{name}")(kept))
    return keras.Model(inputs, layers.Reshape((labels,), name="logits")(layers.Add()(parts)))


def _body(inputs: Any, net: NetSpec, capped: bool, rounded: bool) -> Any:
    x = inputs
    for name in convolutions(net):
        number = 1 if name == "stem" else _layer_number(name)
        channels, stride = (net.stem, 2) if number == 1 else net.blocks[number - 2]
        if name.endswith("depthwise"):
            x = _layers(rounded).DepthwiseConv2D(
                3, strides=stride, padding="same", use_bias=False, name=f"{name}_conv"
            )(x)
        elif number == 1:
            x = _layers(rounded).Conv2D(
                channels, 3, strides=stride, padding="same", use_bias=False, name=f"{name}_conv"
            )(x)
        else:
            x = _layers(rounded).Conv2D(channels, 1, use_bias=False, name=f"{name}_conv")(x)
        cap = CAP if capped or number > net.of_yamnet else None
        x = _normalised(x, name, cap, rounded)
    return x


def _layers(rounded: bool) -> Any:
    """Where convolutions are taken from."""
    if rounded:
        from tocsin_models import rounding  # noqa: PLC0415  # imports Keras

        return rounding
    import keras  # noqa: PLC0415

    return keras.layers


def _normalised(x: Any, name: str, cap: float | None, rounded: bool) -> Any:
    import keras  # noqa: PLC0415

    x = keras.layers.BatchNormalization(momentum=0.95, name=f"{name}_norm")(x)
    return _rounding(keras.layers.ReLU(cap, name=f"{name}_relu")(x), rounded, cap)


def _rounding(x: Any, rounded: bool, top: float | None) -> Any:
    if not rounded:
        return x
    from tocsin_models.rounding import RoundedActivation  # noqa: PLC0415

    return RoundedActivation(top)(x)


def convolutions(net: NetSpec) -> list[str]:
    """Names of the convolutions, without their suffix, from input to output."""
    names = ["stem"]
    for number in range(2, len(net.blocks) + 2):
        names += [f"layer{number}_depthwise", f"layer{number}_pointwise"]
    return names


def start_from_yamnet(
    model: Any, net: NetSpec, features: FeatureSpec, start: Start, windows: Weights
) -> None:
    """Put YAMNet's weights into the layers of ``model`` that ``net`` has of it.

    The file's convolutions have their normalisation folded in. It is unfolded again with the mean and
    variance that ``windows``, shape (n, frames, bands, 1), show at each of them, so that training goes on
    as if the normalisation had never been away; the function that is computed stays the same.

    Raises:
        BadInputError: ``net`` has other widths than YAMNet.
    """
    names = of_yamnet(net)
    folded = [_for_scaled_input(start.layers[0], features), *start.layers[1 : len(names)]]
    for name, layer in zip(names, folded, strict=True):
        shape = model.get_layer(f"{name}_conv").get_weights()[0].shape
        if shape != layer.kernel.shape:
            raise BadInputError(f"{name}: weights of shape {shape} here, {layer.kernel.shape} in YAMNet")
        _set_exactly(model, name, layer)
    _unfold(model, names, windows)


def yamnet(start: Start, features: FeatureSpec, tapped: str) -> Any:
    """YAMNet as far as ``start`` has it, as a Keras model from windows.

    Its answers are the map after the convolution ``tapped``, and the means of the last map.
    """
    import keras  # noqa: PLC0415

    widths = [layer.kernel.shape[-1] for layer in start.layers[2::2]]
    strides = [stride for _, stride in NetSpec().blocks]
    blocks = tuple(zip(widths, strides, strict=True))
    net = NetSpec(start.layers[0].kernel.shape[-1], blocks, of_yamnet=len(blocks) + 1)
    model = build(net, features, 1, capped=False)
    folded = [_for_scaled_input(start.layers[0], features), *start.layers[1:]]
    for name, layer in zip(convolutions(net), folded, strict=True):
        _set_exactly(model, name, layer)
    mean = keras.layers.Flatten()(model.get_layer("mean").output)
    return keras.Model(model.inputs[0], [model.get_layer(f"{tapped}_relu").output, mean])


def of_yamnet(net: NetSpec) -> list[str]:
    """Convolutions whose weights start from YAMNet, from input to output."""
    return [name for name in convolutions(net) if name == "stem" or _layer_number(name) <= net.of_yamnet]


def capped(model: Any, net: NetSpec, features: FeatureSpec, windows: Weights) -> Any:
    """``model``, which was built without caps, with them.

    YAMNet's channels differ a thousandfold in how far they reach, and eight bits for all of a layer leave
    most of them a few steps. Every channel is therefore divided by what it reaches in ``windows``, shape
    (n, frames, bands, 1), and whatever follows is multiplied by the same, which changes nothing
    (cross-layer equalization, arXiv 1906.04721); then what leaps higher still is cut off.
    """
    tamed = build(net, features, model.output_shape[-1])
    tamed.set_weights(model.get_weights())
    for name, reach in zip(of_yamnet(net), _reaches(model, of_yamnet(net), windows), strict=True):
        _divide(tamed, net, name, reach / np.float32(CAP))
    _ease(tamed, net)
    return tamed


def _ease(model: Any, net: NetSpec) -> None:
    """Make channels smaller whose weights would be too large for an integer kernel, in place.

    A channel that reaches almost nothing has been multiplied a thousandfold. It is taken back as far as
    needed, which changes nothing but where the channel would be cut off.
    """
    for name in of_yamnet(net):
        kernel = model.get_layer(f"{name}_conv").get_weights()[0]
        norm = model.get_layer(f"{name}_norm")
        gamma, _, _, variance = norm.get_weights()
        folded = np.abs(kernel[..., 0] if name.endswith("depthwise") else kernel).max(axis=(0, 1))
        folded = folded if name.endswith("depthwise") else folded.max(axis=0)
        largest = folded * np.abs(gamma) / np.sqrt(variance + norm.epsilon)
        _divide(model, net, name, np.maximum(1.0, largest / LARGEST_WEIGHT).astype(np.float32))


def _divide(model: Any, net: NetSpec, name: str, divisor: Weights) -> None:
    """Divide the channels that leave ``name``, and multiply the weights that take them up."""
    norm, names = model.get_layer(f"{name}_norm"), convolutions(net)
    gamma, beta, mean, variance = norm.get_weights()
    norm.set_weights([gamma / divisor, beta / divisor, mean, variance])
    place = names.index(name) + 1
    after = [f"{names[place]}_conv"] if place < len(names) else ["logits_of_mean", "logits_of_peak"]
    for follower in map(model.get_layer, after):
        kernel, *bias = follower.get_weights()
        follower.set_weights([kernel * divisor[:, None], *bias])


def _layer_number(name: str) -> int:
    return int(name.removeprefix("layer").split("_", maxsplit=1)[0])


def _reaches(model: Any, names: list[str], windows: Weights) -> list[Weights]:
    """What the channels after ``names`` reach in one window of a thousand, or half of their highest."""
    import keras  # noqa: PLC0415

    taps = [keras.ops.max(model.get_layer(f"{name}_relu").output, axis=(1, 2)) for name in names]
    tap = keras.Model(model.inputs[0], taps)
    pieces = [tap(windows[at : at + 64], training=False) for at in range(0, len(windows), 64)]
    reaches = []
    for peaks in zip(*pieces, strict=True):
        highest = np.concatenate([np.asarray(piece) for piece in peaks])
        reach = np.maximum(np.quantile(highest, 0.999, axis=0), 0.5 * highest.max(axis=0))
        reaches.append(np.maximum(reach, LEAST_REACH).astype(np.float32))
    return reaches


def _for_scaled_input(first: Folded, features: FeatureSpec) -> Folded:
    """YAMNet hears ``ln(mel + 1e-3)``; ours is shifted and scaled, which the first layer takes back."""
    shift = features.mean * first.kernel.sum(axis=(0, 1, 2))
    return Folded(first.kernel * np.float32(features.scale), first.bias + shift.astype(np.float32))


def _set_exactly(model: Any, name: str, layer: Folded) -> None:
    convolution, norm = model.get_layer(f"{name}_conv"), model.get_layer(f"{name}_norm")
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


def read_yamnet(path: Path) -> Start:
    """The layers of YAMNet in the float32 TFLite file ``path``.

    Raises:
        BadInputError: not a TFLite file, or one without those tensors in float32.
    """
    from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415  # only this needs it

    try:
        interpreter = Interpreter(model_path=str(path))
        interpreter.allocate_tensors()
        constants = {detail["name"]: detail for detail in interpreter.get_tensor_details()}
        names = ["layer1/conv"]
        for number in range(2, LAYERS + 1):
            names += [f"layer{number}/depthwise_conv", f"layer{number}/pointwise_conv"]
        found = [_folded(interpreter, constants, name) for name in names]
        return Start(tuple(found))
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
