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
LEAST = 1e-9
"""Below this, largest values count as this, so that nothing is divided by zero."""


def rounded(values: Any, step: Any) -> Any:
    """``values`` on a grid of ``step``; the gradient is that of ``values``."""
    return values + keras.ops.stop_gradient(keras.ops.round(values / step) * step - values)


class RoundedActivation(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """What an integer tensor keeps of values from 0 to ``top``; while training, in ``share`` of the windows.

    The other windows pass as they are, so that the network answers alike with integers and without. Without
    ``top`` the largest value of each batch takes its place.
    """

    def __init__(self, top: float | None, share: float = 0.5, **settings: Any) -> None:
        super().__init__(**settings)
        self._top, self._share = top, share
        self._seeds = keras.random.SeedGenerator(1)

    def call(self, values: Any, training: bool | None = None) -> Any:
        """``values``, some of them rounded while training."""
        if not training:
            return values
        top = keras.ops.maximum(keras.ops.max(values), LEAST) if self._top is None else self._top
        drawn = keras.random.uniform((keras.ops.shape(values)[0], 1, 1, 1), seed=self._seeds)
        step = keras.ops.stop_gradient(top / STEPS)
        return keras.ops.where(drawn < self._share, rounded(values, step), values)


def _rounded_kernel(kernel: Any, axes: tuple[int, ...]) -> Any:
    """``kernel`` on a grid for each channel; ``axes`` are those over which a channel has one grid."""
    largest = keras.ops.max(keras.ops.abs(kernel), axis=axes, keepdims=True)
    return rounded(kernel, keras.ops.stop_gradient(keras.ops.maximum(largest, LEAST) / WEIGHT_STEPS))


class Conv2D(keras.layers.Conv2D):  # type: ignore[misc]
    """A convolution with the weights that an integer kernel would have: a grid for each output channel."""

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        """As in a plain convolution, with rounded weights."""
        return super().convolution_op(inputs, _rounded_kernel(kernel, (0, 1, 2)))


class DepthwiseConv2D(keras.layers.DepthwiseConv2D):  # type: ignore[misc]
    """The same, channel by channel; without a bias."""

    def call(self, inputs: Any) -> Any:
        """As in a plain depthwise convolution, with rounded weights."""
        return keras.ops.depthwise_conv(
            inputs, _rounded_kernel(self.kernel, (0, 1)), strides=self.strides, padding=self.padding
        )
