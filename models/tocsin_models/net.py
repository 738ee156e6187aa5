"""The network: a stack of depthwise-separable convolutions that quantizes without loss.

Every convolution is followed by batch normalisation and ReLU, both of which the converter folds away;
channels are multiples of eight; the output is logits, the sigmoid stays outside. The stack is that of
MobileNet (Howard et al., arXiv 1704.04861) as YAMNet uses it, so that it can start from YAMNet's weights
(Apache-2.0), which have heard two million recordings. Where ours is narrower than YAMNet, those channels are
left out that are the least active; many of YAMNet's last ones are never active at all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tocsin_models.teacher import CLASSES
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
        *((512, 1), (512, 1), (512, 1), (512, 1), (440, 1), (624, 2), (1024, 1)),
    )
    """(channels, stride) of each depthwise-separable block."""
    capped_from: int = 8
    """Layers from this one on are cut off at 6 once they have learnt; the stem is layer 1."""
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
    classes: Folded
    """YAMNet's last layer, from the means of its channels to logits: kernel (1024, 521), bias (521,)."""


CAP = 6.0
"""Where ReLU6 cuts off."""
WEIGHT_STEPS = 127
"""Steps of eight bits from zero to the largest weight."""
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

    With ``rounded`` the capped layers round as integers will, to learn with; the weights fit either way.
    """
    import keras  # noqa: PLC0415  # takes seconds, and only training needs it

    layers = keras.layers
    inputs = keras.Input(batch_shape=(batch, features.window_frames, features.mel_bands, 1))
    x = _body(inputs, net, CAP if capped else None, rounded)
    rows, columns = x.shape[1:3]
    mean = layers.GlobalAveragePooling2D(keepdims=True, name="mean")(x)
    peak = layers.MaxPooling2D((rows, 1), name="peak")(layers.AveragePooling2D((1, columns))(x))
    # Convolutions of one point are quantized label by label, dense layers all labels alike.
    parts = [
        _convolution(rounded)(labels, 1, use_bias=biased, name=f"logits_of_{name}")(
            layers.Dropout(net.dropout)(part)
        )
        for name, part, biased in (("mean", mean, True), ("peak", peak, False))
    ]
    return keras.Model(inputs, layers.Reshape((labels,), name="logits")(layers.Add()(parts)))


def _body(inputs: Any, net: NetSpec, cap: float | None, rounded: bool) -> Any:
    import keras  # noqa: PLC0415

    layers = keras.layers
    x = layers.Conv2D(net.stem, 3, strides=2, padding="same", use_bias=False, name="stem_conv")(inputs)
    x = _normalised(x, "stem", cap if net.capped_from <= 1 else None, rounded)
    for number, (channels, stride) in enumerate(net.blocks, start=2):
        x = layers.DepthwiseConv2D(
            3, strides=stride, padding="same", use_bias=False, name=f"layer{number}_depthwise_conv"
        )(x)
        own_cap = cap if number >= net.capped_from else None
        x = _normalised(x, f"layer{number}_depthwise", own_cap, rounded)
        pointwise = _convolution(rounded and own_cap is not None)
        x = pointwise(channels, 1, use_bias=False, name=f"layer{number}_pointwise_conv")(x)
        x = _normalised(x, f"layer{number}_pointwise", own_cap, rounded)
    return x


def _convolution(rounded: bool) -> Any:
    if rounded:
        from tocsin_models.rounding import RoundedConv2D  # noqa: PLC0415

        return RoundedConv2D
    import keras  # noqa: PLC0415

    return keras.layers.Conv2D


def _normalised(x: Any, name: str, cap: float | None, rounded: bool) -> Any:
    import keras  # noqa: PLC0415

    x = keras.layers.BatchNormalization(momentum=0.95, name=f"{name}_norm")(x)
    x = keras.layers.ReLU(cap, name=f"{name}_relu")(x)
    if cap is None or not rounded:
        return x
    from tocsin_models.rounding import RoundedActivation  # noqa: PLC0415

    return RoundedActivation(cap, name=f"{name}_rounded")(x)


def convolutions(net: NetSpec) -> list[str]:
    """Names of the convolutions, without their suffix, from input to output."""
    names = ["stem"]
    for number in range(2, len(net.blocks) + 2):
        names += [f"layer{number}_depthwise", f"layer{number}_pointwise"]
    return names


def start_from_yamnet(
    model: Any, net: NetSpec, features: FeatureSpec, start: Start, windows: Weights
) -> None:
    """Put the weights of ``start`` into ``model``, whose shape is ``net``.

    The file's convolutions have their normalisation folded in. It is unfolded again with the mean and
    variance that ``windows``, shape (n, frames, bands, 1), show at each of them, so that training goes on
    as if the normalisation had never been away; the function that is computed stays the same.

    Raises:
        BadInputError: ``net`` is wider than YAMNet.
    """
    folded = [_for_scaled_input(start.layers[0], features), *start.layers[1:]]
    folded = _narrowed(folded, net, features, windows)
    for name, layer in zip(convolutions(net), folded, strict=True):
        set_exactly(model, name, layer)
    _unfold(model, convolutions(net), windows)


def _narrowed(folded: list[Folded], net: NetSpec, features: FeatureSpec, windows: Weights) -> list[Folded]:
    """``folded`` without the channels that ``net`` has no room for: the least active of each block.

    A channel matters only as far as the depthwise convolution after it still lets something through, so
    that is where its activity is read off.
    """
    widths = [layer.kernel.shape[-1] for layer in folded[2::2]]
    wanted = [channels for channels, _ in net.blocks]
    if any(ours > theirs for ours, theirs in zip(wanted, widths, strict=True)):
        raise BadInputError(f"blocks of {wanted} channels are wider than those of YAMNet, {widths}")
    strides = [stride for _, stride in net.blocks]
    full = NetSpec(net.stem, tuple(zip(widths, strides, strict=True)))
    model = build(full, features, 1, capped=False)
    for name, layer in zip(convolutions(full), folded, strict=True):
        set_exactly(model, name, layer)
    for number, (ours, theirs) in enumerate(zip(wanted, widths, strict=True)):
        if ours == theirs:
            continue
        last = number + 1 == len(wanted)
        judge = f"layer{number + 2}_pointwise" if last else f"layer{number + 3}_depthwise"
        peaks = peaks_of(model, [judge], windows)[judge].max(axis=0)
        kept = np.sort(np.argsort(-peaks, kind="stable")[:ours])
        folded[2 * number + 2] = _of_outputs(folded[2 * number + 2], kept)
        if not last:
            after, beyond = folded[2 * number + 3], folded[2 * number + 4]
            folded[2 * number + 3] = Folded(after.kernel[:, :, kept], after.bias[kept])
            folded[2 * number + 4] = Folded(beyond.kernel[:, :, kept], beyond.bias)
    return folded


def peaks_of(model: Any, names: Sequence[str], windows: Weights) -> dict[str, Weights]:
    """Highest value of every channel after each convolution, in each window: (windows, channels)."""
    import keras  # noqa: PLC0415

    highest = {name: keras.ops.max(model.get_layer(f"{name}_relu").output, axis=(1, 2)) for name in names}
    found = keras.Model(model.inputs[0], highest).predict(windows, batch_size=32, verbose=0)
    return {name: np.asarray(found[name]) for name in names}


def _of_outputs(layer: Folded, kept: npt.NDArray[np.intp]) -> Folded:
    return Folded(layer.kernel[..., kept], layer.bias[kept])


def start_head(model: Any, classes: Folded, numbers: Sequence[Sequence[int]]) -> None:
    """Let the last layers of ``model`` begin with what YAMNet says of AudioSet's classes.

    ``numbers`` holds for each label the classes that mean the same. Only the means are weighed at first: a
    label begins with the mean of its classes' weights, one without classes with nothing.
    """
    layer = model.get_layer("logits_of_mean")
    kernel, bias = (np.zeros_like(values) for values in layer.get_weights())
    for label, chosen in enumerate(numbers):
        if chosen:
            kernel[0, 0, :, label] = classes.kernel[:, list(chosen)].mean(axis=1)
            bias[label] = classes.bias[list(chosen)].mean()
    layer.set_weights([kernel, bias])
    peak = model.get_layer("logits_of_peak")
    peak.set_weights([np.zeros_like(values) for values in peak.get_weights()])


def capped(model: Any, net: NetSpec, features: FeatureSpec, windows: Weights) -> Any:
    """``model``, which was built without caps, with them.

    YAMNet's last layers are still most of the time and leap a hundred times as high for what they are there
    for: eight bits cannot hold both. Every channel is therefore divided by what it reaches in ``windows``,
    shape (n, frames, bands, 1), and whatever follows is multiplied by the same, which changes nothing
    (cross-layer equalization, arXiv 1906.04721); then what leaps higher still is cut off.
    """
    tamed = build(net, features, model.output_shape[-1])
    tamed.set_weights(model.get_weights())
    for name in _wild(net):
        _divide(tamed, net, name, _reach(model, name, windows) / np.float32(CAP))
    return tamed


def ease(model: Any, net: NetSpec) -> None:
    """Make channels smaller whose weights would be too large for an integer kernel, in place.

    A channel that reaches almost nothing has been multiplied a thousandfold by :func:`capped`. It is taken
    back as far as needed, which changes nothing but where the channel would be cut off.
    """
    for name in _wild(net):
        kernel = model.get_layer(f"{name}_conv").get_weights()[0]
        norm = model.get_layer(f"{name}_norm")
        gamma, _, _, variance = norm.get_weights()
        folded = np.abs(kernel[..., 0] if name.endswith("depthwise") else kernel).max(axis=(0, 1))
        folded = folded if name.endswith("depthwise") else folded.max(axis=0)
        largest = folded * np.abs(gamma) / np.sqrt(variance + norm.epsilon)
        _divide(model, net, name, np.maximum(1.0, largest / LARGEST_WEIGHT).astype(np.float32))


def _wild(net: NetSpec) -> list[str]:
    """Convolutions whose output is capped, from input to output."""
    return [name for name in convolutions(net) if layer_number(name) >= max(2, net.capped_from)]


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


def layer_number(name: str) -> int:
    """Number of the layer that the convolution ``name`` is in; the stem is layer 1."""
    if name == "stem":
        return 1
    return int(name.removeprefix("layer").split("_", maxsplit=1)[0])


def _reach(model: Any, name: str, windows: Weights) -> Weights:
    """What each channel reaches in one window of a hundred, or a quarter of its highest if that is more."""
    peaks = peaks_of(model, [name], windows)[name]
    reach = np.maximum(np.quantile(peaks, 0.99, axis=0), 0.25 * peaks.max(axis=0))
    floored: Weights = np.maximum(reach, LEAST_REACH).astype(np.float32)
    return floored


def _for_scaled_input(first: Folded, features: FeatureSpec) -> Folded:
    """YAMNet hears ``ln(mel + 1e-3)``; ours is shifted and scaled, which the first layer takes back."""
    shift = features.mean * first.kernel.sum(axis=(0, 1, 2))
    return Folded(first.kernel * np.float32(features.scale), first.bias + shift.astype(np.float32))


def set_exactly(model: Any, name: str, layer: Folded) -> None:
    """Let the convolution ``name`` of ``model`` and its normalisation together compute ``layer``."""
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


def read_yamnet(path: Path, layers: int) -> Start:
    """The first ``layers`` layers of YAMNet in the float32 TFLite file ``path``, and its classes.

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
        found = [_folded(interpreter, constants, name) for name in names]
        return Start(tuple(found), _classes(interpreter, constants))
    except (ValueError, RuntimeError, KeyError, OSError, IndexError) as error:
        raise BadInputError(f"{path}: not a float32 TFLite file of YAMNet: {error}") from error


def _classes(interpreter: Any, constants: dict[str, Any]) -> Folded:
    found = {
        tuple(detail["shape"]): detail["index"]
        for name, detail in constants.items()
        if name.split(";", maxsplit=1)[0].startswith("yamnet_frames/dense/")
    }
    kernel, bias = (interpreter.get_tensor(found[shape]) for shape in ((CLASSES, 1024), (CLASSES,)))
    return Folded(np.ascontiguousarray(kernel.T, dtype=np.float32), np.asarray(bias, dtype=np.float32))


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
