"""Layers that round as integers will, so that training sees what quantization does (arXiv 1712.05877).

Rounding has no slope; the gradient passes as if it were not there. This module imports Keras, so only
training imports it.
"""

from typing import Any

import keras

from tocsin_models.net import WEIGHT_STEPS

STEPS = 255
"""Steps of eight bits between the ends of a range."""


def rounded(values: Any, step: Any) -> Any:
    """``values`` on a grid of ``step``; the gradient is that of ``values``."""
    return values + keras.ops.stop_gradient(keras.ops.round(values / step) * step - values)


class RoundedActivation(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """What an integer tensor keeps of values from 0 to ``top``; while training, in ``share`` of the windows.

    The other windows pass as they are, so that the network answers alike with integers and without.
    """

    def __init__(self, top: float, share: float = 0.5, **settings: Any) -> None:
        super().__init__(**settings)
        self._step, self._share = top / STEPS, share
        self._seeds = keras.random.SeedGenerator(1)

    def call(self, values: Any, training: bool | None = None) -> Any:
        """``values``, some of them rounded while training."""
        if not training:
            return values
        drawn = keras.random.uniform((keras.ops.shape(values)[0], 1, 1, 1), seed=self._seeds)
        return keras.ops.where(drawn < self._share, rounded(values, self._step), values)


class RoundedConv2D(keras.layers.Conv2D):  # type: ignore[misc]
    """A convolution with the weights that an integer kernel would have: a grid for each output channel."""

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        """As in a plain convolution, with rounded weights."""
        largest = keras.ops.max(keras.ops.abs(kernel), axis=(0, 1, 2), keepdims=True)
        step = keras.ops.stop_gradient(keras.ops.maximum(largest, 1e-9) / WEIGHT_STEPS)
        return super().convolution_op(inputs, rounded(kernel, step))
