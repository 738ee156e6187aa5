"""ResNet-50 for one-channel windows, with logits out.

The layers are those of He et al. (arXiv 1512.03385) with the stride on the 3 × 3 convolution. Every
convolution is followed by batch normalisation, which a converter folds into it, and the only activation is
ReLU: both keep what a quantizer must cover small.
"""

from typing import Any

from tocsin_models.study.settings import NetworkSettings
from tocsin_shared.manifest import FeatureSpec

MOMENTUM = 0.9
"""Of the running statistics: a small data set has few steps in which they could settle."""


def resnet(settings: NetworkSettings, features: FeatureSpec, classes: int, batch: int | None = None) -> Any:
    """A Keras model from windows (batch, window_frames, mel_bands, 1) to logits (batch, classes)."""
    import keras  # noqa: PLC0415  # takes seconds, and only training and converting need it

    inputs = keras.Input(batch_shape=(batch, features.window_frames, features.mel_bands, 1), name="window")
    x = _convolved(inputs, settings.stem, 7, 2, "stem")
    x = keras.layers.MaxPooling2D(3, strides=2, padding="same", name="stem_pool")(x)
    for stage, (blocks, width) in enumerate(zip(settings.stages, settings.widths, strict=True), start=2):
        for block in range(blocks):
            x = _block(x, width, 2 if stage > 2 and block == 0 else 1, f"stage{stage}_block{block + 1}")
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    x = keras.layers.Dropout(settings.dropout, name="dropout")(x)
    return keras.Model(inputs, keras.layers.Dense(classes, dtype="float32", name="logits")(x), name="resnet")


def _block(x: Any, width: int, stride: int, name: str) -> Any:
    """Begins as if it were not there (arXiv 1706.02677): the network is shallow while it knows nothing."""
    import keras  # noqa: PLC0415

    short = x
    if stride != 1 or x.shape[-1] != 4 * width:
        short = _convolved(x, 4 * width, 1, stride, f"{name}_short", relu=False)
    y = _convolved(x, width, 1, 1, f"{name}_narrow")
    y = _convolved(y, width, 3, stride, f"{name}_middle")
    y = _convolved(y, 4 * width, 1, 1, f"{name}_wide", relu=False, scale="zeros")
    return keras.layers.ReLU(name=f"{name}_relu")(keras.layers.Add(name=f"{name}_add")([short, y]))


def _convolved(
    x: Any, channels: int, size: int, stride: int, name: str, *, relu: bool = True, scale: str = "ones"
) -> Any:
    import keras  # noqa: PLC0415

    x = keras.layers.Conv2D(
        channels,
        size,
        strides=stride,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    x = keras.layers.BatchNormalization(
        momentum=MOMENTUM, epsilon=1e-5, gamma_initializer=scale, name=f"{name}_norm"
    )(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x) if relu else x
