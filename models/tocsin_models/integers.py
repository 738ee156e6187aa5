"""The last step of making a network: weights that integers hold exactly, and channels that use a whole scale.

What integers change is either the weights or what flows between the layers. The first loss is avoided
altogether: the network itself gets the weights that an integer kernel would have, so that every variant of it
holds the same ones. The second is made small by channels that all reach as far as their common scale.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from tocsin_models.net import (
    CAP,
    WEIGHT_STEPS,
    Folded,
    NetSpec,
    Weights,
    build,
    convolutions,
    layer_number,
    peaks_of,
    set_exactly,
)
from tocsin_shared.manifest import FeatureSpec

REACHED_IN = 0.99
"""Share of the windows in which a channel stays below what it is said to reach; the rest is cut off."""
BALANCED_TO = 12
"""Layers after this one have pointwise weights that were learnt with rounding and lose by being balanced:
macro-F1 fell from 0.79 to 0.64."""
LEAST_SHARE = 0.02
"""A channel is not made larger than if it reached this share of what the highest one of its layer reaches."""
LEAST_TAKEN = 1e-3
"""A weight below this share of the largest one of its output does not count when channels are balanced."""


def settled_shape(net: NetSpec) -> NetSpec:
    """Shape of the network that :func:`settled` makes of one of the shape ``net``: all layers are cut off."""
    return replace(net, capped_from=1)


def settled(model: Any, net: NetSpec, features: FeatureSpec, windows: Weights) -> Any:
    """``model``, of the shape ``net``, with weights that are exact in eight bits and channels of one reach.

    ``windows``, shape (n, frames, bands, 1), show how far channels reach.
    """
    layers, heads = folded(model, net), [model.get_layer(f"logits_of_{name}") for name in ("mean", "peak")]
    names = convolutions(net)
    seen = peaks_of(model, names, windows)
    # What follows the last one was learnt with rounding and must keep its grid: one divisor for all.
    last = np.float32(max(1.0, float(seen.pop(names[-1]).max()) / CAP))
    layers[-1] = Folded(layers[-1].kernel / last, layers[-1].bias / last)
    for place, (name, peaks) in enumerate(seen.items()):
        depthwise = name.endswith("depthwise")
        if depthwise and layer_number(name) > BALANCED_TO:
            continue
        reach = _reach(peaks)
        divisor = _balance(reach, layers[place + 1].kernel) if depthwise else reach / np.float32(CAP)
        layers[place] = _divided(layers[place], divisor, depthwise)
        layers[place + 1] = replace(layers[place + 1], kernel=layers[place + 1].kernel * divisor[:, None])
    found = build(settled_shape(net), features, model.output_shape[-1])
    for name, layer in zip(names, layers, strict=True):
        kernel = exact(layer.kernel, depthwise=name.endswith("depthwise"))
        set_exactly(found, name, replace(layer, kernel=kernel))
    for head in heads:
        kernel, *bias = head.get_weights()
        found.get_layer(head.name).set_weights([exact(kernel * last), *bias])
    return found


def folded(model: Any, net: NetSpec) -> list[Folded]:
    """The convolutions of ``model`` with their normalisation folded in, from input to output."""
    found = []
    for name in convolutions(net):
        kernel = model.get_layer(f"{name}_conv").get_weights()[0]
        norm = model.get_layer(f"{name}_norm")
        gamma, beta, mean, variance = norm.get_weights()
        factor = gamma / np.sqrt(variance + norm.epsilon)
        factors = factor[:, None] if name.endswith("depthwise") else factor
        found.append(Folded(kernel * factors, beta - mean * factor))
    return found


def exact(kernel: Weights, *, depthwise: bool = False) -> Weights:
    """``kernel`` on the grid that an integer kernel has for each of its outputs.

    The converter's grid is the same: 127 steps from zero to the largest weight of the output
    (TensorFlow Lite 8-bit quantization specification).
    """
    axes = (0, 1) if depthwise else (0, 1, 2)
    step = np.maximum(np.abs(kernel).max(axis=axes, keepdims=True), 1e-12) / np.float32(WEIGHT_STEPS)
    rounded: Weights = (np.round(kernel / step) * step).astype(np.float32)
    return rounded


def _reach(peaks: Weights) -> Weights:
    """What each channel reaches, given its highest value in each window, shape (windows, channels)."""
    high = max(float(peaks.max()), 1e-3)
    reach: Weights = np.maximum(np.quantile(peaks, REACHED_IN, axis=0), LEAST_SHARE * high).astype(np.float32)
    return reach


def _balance(reach: Weights, taken_by: Weights) -> Weights:
    """Divisors of channels that the pointwise convolution with the kernel ``taken_by`` takes up.

    There a larger channel means smaller weights, which lose what the channel gains: half of it is done
    (SmoothQuant, arXiv 2211.10438, with a strength of one half).
    """
    weights = np.abs(taken_by[0, 0])
    taken = (weights / np.maximum(weights.max(axis=0), 1e-9)).max(axis=1)
    divisor = np.sqrt(reach / np.maximum(taken, LEAST_TAKEN))
    balanced: Weights = (divisor * ((reach / divisor).max() / CAP)).astype(np.float32)
    return balanced


def _divided(layer: Folded, divisor: Weights, depthwise: bool) -> Folded:
    factors = divisor[:, None] if depthwise else divisor
    return Folded(layer.kernel / factors, layer.bias / divisor)
