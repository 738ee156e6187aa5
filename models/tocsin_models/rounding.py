"""Layers that round as integers will, so that training sees what quantization does (arXiv 1712.05877).

Rounding has no slope; the gradient passes as if it were not there. This module imports Keras, so only
training imports it.
"""

from typing import Any

import keras

STEPS = 255
"""Steps of eight bits between the ends of a range."""
WEIGHT_STEPS = 127
"""Steps of eight bits from zero to the largest weight."""


def rounded(values: Any, step: Any) -> Any:
    """``values`` on a grid of ``step``; the gradient is that of ``values``."""
    return values + keras.ops.stop_gradient(keras.ops.round(values / step) * step - values)


class RoundedActivation(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """What an integer tensor keeps of values between 0 and ``top``; while training only."""

    def __init__(self, top: float, **settings: Any) -> None:
        super().__init__(**settings)
        self._step = top / STEPS

    def call(self, values: Any, training: bool | None = None) -> Any:
        """``values``, rounded while training."""
        return rounded(values, self._step) if training else values


class RoundedConv2D(keras.layers.Conv2D):  # type: ignore[misc]
    """A convolution with the weights that an integer kernel would have: a grid for each output channel."""

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        """As in a plain convolution, with rounded weights."""
        largest = keras.ops.max(keras.ops.abs(kernel), axis=(0, 1, 2), keepdims=True)
        step = keras.ops.stop_gradient(keras.ops.maximum(largest, 1e-9) / WEIGHT_STEPS)
        return super().convolution_op(inputs, rounded(kernel, step))
