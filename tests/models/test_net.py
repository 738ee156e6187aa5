"""The network has the shape that it promises, and starts from nothing but YAMNet."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tocsin_models.net import (
    Folded,
    NetSpec,
    Start,
    capped,
    convolutions,
    of_yamnet,
    read_yamnet,
    start_from_yamnet,
    yamnet,
)
from tocsin_models.teacher import CLASSES
from tocsin_models.train import Lesson, TrainSpec, batches, beyond, blot, masked_loss, with_answers
from tocsin_shared.errors import BadInputError
from tocsin_shared.manifest import FeatureSpec


def test_channels_are_multiples_of_eight() -> None:
    net = NetSpec()
    assert net.stem % 8 == 0
    assert all(channels % 8 == 0 for channels, _ in net.blocks)
    assert len(convolutions(net)) == 1 + 2 * len(net.blocks)


@pytest.mark.parametrize("content", [b"", b"TFL3", bytes(range(256)) * 8])
def test_what_is_not_yamnet_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "yamnet.tflite"
    path.write_bytes(content)
    with pytest.raises(BadInputError, match="not a float32 TFLite file of YAMNet"):
        read_yamnet(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="not a float32 TFLite file of YAMNet"):
        read_yamnet(tmp_path / "none.tflite")


def lesson(count: int) -> Lesson:
    frames = np.arange(count, dtype=np.float16)[:, None, None] * np.ones((1, 20, 16), dtype=np.float16)
    return Lesson(frames, np.zeros((count, 4), dtype=np.float32))


def test_an_epoch_shows_every_window_once() -> None:
    source = batches(lesson(32), TrainSpec(batch=8), np.random.default_rng(1))
    seen = sorted(float(window.max()) for _ in range(4) for window in next(source)[0])
    assert seen == [float(number) for number in range(32)]


def test_validation_shows_windows_as_they_are_even_when_they_are_few() -> None:
    shown, _ = next(batches(lesson(5), TrainSpec(batch=8), None))
    assert np.array_equal(shown, lesson(5).inputs())


def test_blotting_hides_one_stripe_with_the_quietest_value() -> None:
    rng = np.random.default_rng(2)
    for _ in range(30):
        window = rng.uniform(1.0, 2.0, (50, 16, 1)).astype(np.float32)
        window[0, 0] = -1.0
        before = window.copy()
        blot(window, rng)
        changed = (window != before)[..., 0]
        assert (window[changed] == -1.0).all()
        assert changed.all(axis=0).any() or changed.all(axis=1).any() or changed.mean() < 0.5


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # what Keras and TensorFlow say about themselves is not ours to mend
def test_the_network_maps_windows_to_logits() -> None:
    from tocsin_models.net import build

    model = build(NetSpec(stem=8, blocks=((16, 2), (32, 2))), FeatureSpec(), 7)
    assert model.output_shape == (None, 7)
    assert np.asarray(model(np.zeros((2, 200, 64, 1), dtype=np.float32))).shape == (2, 7)


def folded(rng: np.random.Generator, *shape: int) -> Folded:
    depthwise = shape[-1] == 1
    channels = shape[2] if depthwise else shape[3]
    kernel = rng.normal(0.0, 1.0 / np.sqrt(shape[0] * shape[1] * (1 if depthwise else shape[2])), shape)
    return Folded(kernel.astype(np.float32), rng.normal(0.1, 0.1, channels).astype(np.float32))


WIDTHS = (8, 8, 16, 16, 16, 24, 24, 24, 24, 24, 24, 24, 32, 32)
"""Of a YAMNet in small."""


def small_yamnet(rng: np.random.Generator) -> Start:
    layers = [folded(rng, 3, 3, 1, WIDTHS[0])]
    for before, width in pairwise(WIDTHS):
        layers += [folded(rng, 3, 3, before, 1), folded(rng, 1, 1, before, width)]
    return Start(tuple(layers))


def small_net(first: int = WIDTHS[1]) -> NetSpec:
    strides = [stride for _, stride in NetSpec().blocks]
    widths = (first, *WIDTHS[2:12], 40, 48)
    return NetSpec(stem=WIDTHS[0], blocks=tuple(zip(widths, strides, strict=True)), of_yamnet=12)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_the_first_layers_hear_what_yamnet_hears() -> None:
    from tocsin_models.net import build

    rng, net, features = np.random.default_rng(5), small_net(), FeatureSpec(window_frames=192)
    start = small_yamnet(rng)
    windows = rng.uniform(-2.0, 4.0, (6, 192, 64, 1)).astype(np.float32)
    model = build(net, features, 3, capped=False)
    start_from_yamnet(model, net, features, start, windows)
    last = of_yamnet(net)[-1]
    learner = with_answers(
        model, Lesson(windows[..., 0].astype(np.float16), np.zeros((6, 2 * 3 + 5), np.float32))
    )
    heard, means = yamnet(start, features, last)(windows, training=False)
    assert means.shape == (6, WIDTHS[-1])
    assert np.abs(np.asarray(heard)).max() > 0.1
    whole, part = learner(windows, training=False), beyond(last, learner)(heard, training=False)
    assert whole.shape == (6, 3 + 5)
    assert np.allclose(np.asarray(whole), np.asarray(part), atol=1e-4)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_network_of_other_widths_than_yamnet_is_refused() -> None:
    from tocsin_models.net import build

    net, windows = small_net(first=24), np.zeros((2, 192, 64, 1), dtype=np.float32)
    features, start = FeatureSpec(window_frames=192), small_yamnet(np.random.default_rng(6))
    with pytest.raises(BadInputError, match="layer2_pointwise: weights of shape"):
        start_from_yamnet(build(net, features, 3, capped=False), net, features, start, windows)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_unknown_targets_cost_nothing_and_forgetting_what_yamnet_hears_does() -> None:
    loss = masked_loss(2, TrainSpec(smoothing=0.0))
    logits = np.full((1, 2 + CLASSES + 2), -9.0, dtype=np.float32)
    logits[0, :4] = [4.0, -4.0, 3.0, -3.0]
    logits[0, -2:] = [1.0, 2.0]

    def cost(
        targets: list[float],
        weights: list[float],
        named: list[float],
        means: tuple[float, float] = (1.0, 2.0),
    ) -> float:
        scores = np.zeros(CLASSES)
        scores[:2] = named
        return float(
            np.asarray(loss(np.array([[*targets, *weights, *scores, *means]], np.float32), logits))[0]
        )

    agreed = cost([1.0, 0.0], [1.0, 1.0], [0.95, 0.05])
    assert cost([0.0, 1.0], [0.0, 0.0], [0.95, 0.05]) < agreed
    assert cost([0.0, 0.0], [1.0, 1.0], [0.95, 0.05]) > agreed + 1.0
    assert cost([1.0, 0.0], [1.0, 1.0], [0.05, 0.95]) > agreed + 0.2
    assert cost([1.0, 0.0], [1.0, 1.0], [0.95, 0.05], (2.0, 1.0)) > agreed + 4.0


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_caps_change_nothing_but_what_leaps_beyond_them() -> None:
    from tocsin_models.net import build

    rng = np.random.default_rng(7)
    net = NetSpec(stem=8, blocks=((16, 2), (16, 2)), of_yamnet=3)
    windows = rng.uniform(-2.0, 4.0, (200, 200, 64, 1)).astype(np.float32)
    wild = build(net, FeatureSpec(), 3, capped=False)
    wild.get_layer("layer2_pointwise_norm").set_weights(
        [10.0 ** rng.uniform(-2.0, 2.0, 16), rng.normal(0.0, 1.0, 16), np.zeros(16), np.ones(16)]
    )
    tamed = capped(wild, net, FeatureSpec(), windows)
    before, after = (np.asarray(model(windows, training=False)) for model in (wild, tamed))
    alike = np.abs(before - after).max(axis=1) < 1e-3 * np.abs(before).max()
    assert alike.mean() > 0.5, "only windows in which a channel leaps differ"
    gamma = tamed.get_layer("layer2_pointwise_norm").get_weights()[0]
    kernel = tamed.get_layer("layer2_pointwise_conv").get_weights()[0]
    assert np.abs(kernel * gamma).max() <= 20.0 * 1.001


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_rounding_keeps_to_a_grid_and_lets_the_gradient_through() -> None:
    import tensorflow as tf

    from tocsin_models.rounding import Conv2D, DepthwiseConv2D, RoundedActivation

    values = tf.Variable([[[[0.001, 0.013, 3.0, 6.0]]]])
    layer = RoundedActivation(6.0, share=1.0)
    with tf.GradientTape() as tape:
        out = layer(values, training=True)
    assert np.allclose(np.asarray(out)[0, 0], [[0.0, 6.0 / 255.0, 128.0 * 6.0 / 255.0, 6.0]], atol=1e-6)
    assert np.asarray(tape.gradient(out, values)).tolist() == [[[[1.0] * 4]]]
    assert np.array_equal(np.asarray(layer(values, training=False)), np.asarray(values))
    many = np.full((400, 1, 1, 1), 0.013, dtype=np.float32)
    assert 0.3 < np.mean(np.asarray(RoundedActivation(6.0)(many, training=True)) == many) < 0.7
    convolution = Conv2D(2, 1, use_bias=False)
    convolution.build((None, 1, 1, 3))
    kernel = np.array([[1.27, 0.1], [0.004, 12.7], [-0.5, 0.06]], dtype=np.float32)[None, None]
    convolution.set_weights([kernel])
    heard = np.asarray(convolution(np.eye(3, dtype=np.float32)[:, None, None])).reshape(3, 2)
    assert np.allclose(heard, [[1.27, 0.1], [0.0, 12.7], [-0.5, 0.1]], atol=1e-5)
    depthwise = DepthwiseConv2D(1, use_bias=False)
    depthwise.build((None, 1, 1, 2))
    depthwise.set_weights([np.array([1.0, 0.3], dtype=np.float32)[None, None, :, None]])
    assert np.allclose(np.asarray(depthwise(np.ones((1, 1, 1, 2), np.float32)))[0, 0], [[1.0, 0.3]])


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_network_that_rounds_has_the_weights_of_one_that_does_not() -> None:
    from tocsin_models.net import build

    net, features = NetSpec(stem=8, blocks=((16, 2), (16, 2)), of_yamnet=3), FeatureSpec()
    plain, rounding = build(net, features, 3), build(net, features, 3, rounded=True)
    rounding.set_weights(plain.get_weights())
    windows = np.random.default_rng(8).uniform(-2.0, 4.0, (4, 200, 64, 1)).astype(np.float32)
    same, near = (np.asarray(model(windows, training=False)) for model in (plain, rounding))
    assert 0.0 < np.abs(same - near).max() < 0.05 * np.abs(same).max() + 0.01
