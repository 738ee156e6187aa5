"""The network has the shape that it promises, and starts from nothing but YAMNet."""

from pathlib import Path

import numpy as np
import pytest

from tocsin_models.dataset import Windows
from tocsin_models.net import (
    Folded,
    NetSpec,
    Start,
    capped,
    convolutions,
    ease,
    read_yamnet,
    start_from_yamnet,
)
from tocsin_models.train import TrainSpec, batches, blot, masked_loss
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
        read_yamnet(path, 7)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="not a float32 TFLite file of YAMNet"):
        read_yamnet(tmp_path / "none.tflite", 7)


def windows(count: int) -> Windows:
    frames = np.arange(count, dtype=np.float16)[:, None, None] * np.ones((1, 20, 16), dtype=np.float16)
    nothing = np.zeros((count, 0), dtype=np.float16)
    return Windows(
        frames, np.zeros((count, 2), dtype=np.float32), np.ones((count, 2), dtype=np.float32), nothing
    )


def test_an_epoch_shows_every_window_once() -> None:
    source = batches(windows(32), TrainSpec(batch=8), np.random.default_rng(1))
    seen = sorted(float(window.max()) for _ in range(4) for window in next(source)[0])
    assert seen == [float(number) for number in range(32)]


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


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_channels_that_are_never_active_can_go_without_a_trace() -> None:
    from tocsin_models.net import build

    rng = np.random.default_rng(5)
    layers = [
        *(folded(rng, 3, 3, 1, 8), folded(rng, 3, 3, 8, 1), folded(rng, 1, 1, 8, 24)),
        *(folded(rng, 3, 3, 24, 1), folded(rng, 1, 1, 24, 16)),
    ]
    dead = [1, 4, 5, 9, 12, 17, 20, 23]
    layers[3].kernel[:, :, dead] = 0.0
    layers[3].bias[dead] = -1.0
    start = Start(tuple(layers), folded(rng, 1, 1, 16, 521))
    features, windows = FeatureSpec(), rng.uniform(-2.0, 4.0, (6, 200, 64, 1)).astype(np.float32)
    answers = []
    for first in (24, 16):
        net = NetSpec(stem=8, blocks=((first, 2), (16, 2)))
        model = build(net, features, 3)
        model.get_layer("logits_of_mean").set_weights([np.full((1, 1, 16, 3), 0.1), np.zeros(3)])
        model.get_layer("logits_of_peak").set_weights([np.full((1, 1, 16, 3), 0.1)])
        start_from_yamnet(model, net, features, start, windows)
        answers.append(np.asarray(model(windows, training=False)))
    assert np.abs(answers[0]).max() > 0.1
    assert np.allclose(answers[0], answers[1], atol=1e-4)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_network_wider_than_yamnet_is_refused() -> None:
    from tocsin_models.net import build

    rng = np.random.default_rng(6)
    start = Start(
        (folded(rng, 3, 3, 1, 8), folded(rng, 3, 3, 8, 1), folded(rng, 1, 1, 8, 16)),
        folded(rng, 1, 1, 16, 521),
    )
    net, windows = NetSpec(stem=8, blocks=((24, 2),)), np.zeros((2, 200, 64, 1), dtype=np.float32)
    with pytest.raises(BadInputError, match="wider than those of YAMNet"):
        start_from_yamnet(build(net, FeatureSpec(), 3), net, FeatureSpec(), start, windows)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_unknown_targets_cost_nothing_and_forgetting_what_yamnet_hears_does() -> None:
    loss = masked_loss(labels=2, smoothing=0.0, teaching=5.0)
    logits = np.array([[4.0, -4.0, 3.0, -3.0]], dtype=np.float32)

    def cost(targets: list[float], weights: list[float], taught: list[float]) -> float:
        return float(np.asarray(loss(np.array([[*targets, *weights, *taught]], np.float32), logits))[0])

    agreed = cost([1.0, 0.0], [1.0, 1.0], [0.95, 0.05])
    assert cost([0.0, 1.0], [0.0, 0.0], [0.95, 0.05]) < agreed
    assert cost([0.0, 0.0], [1.0, 1.0], [0.95, 0.05]) > agreed + 1.0
    assert cost([1.0, 0.0], [1.0, 1.0], [0.05, 0.95]) > agreed + 5.0


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_caps_change_nothing_but_what_leaps_beyond_them() -> None:
    from tocsin_models.net import build

    rng = np.random.default_rng(7)
    net = NetSpec(stem=8, blocks=((16, 2), (16, 2)), capped_from=2)
    windows = rng.uniform(-2.0, 4.0, (200, 200, 64, 1)).astype(np.float32)
    wild = build(net, FeatureSpec(), 3, capped=False)
    wild.get_layer("layer2_pointwise_norm").set_weights(
        [10.0 ** rng.uniform(-2.0, 2.0, 16), rng.normal(0.0, 1.0, 16), np.zeros(16), np.ones(16)]
    )
    tamed = capped(wild, net, FeatureSpec(), windows)
    before, after = (np.asarray(model(windows, training=False)) for model in (wild, tamed))
    alike = np.abs(before - after).max(axis=1) < 1e-3 * np.abs(before).max()
    assert alike.mean() > 0.5, "only windows in which a channel leaps differ"
    ease(tamed, net)
    eased = np.asarray(tamed(windows, training=False))
    assert np.abs(before - eased).max() <= np.abs(before - after).max() + 1e-3
    gamma = tamed.get_layer("layer2_pointwise_norm").get_weights()[0]
    kernel = tamed.get_layer("layer2_pointwise_conv").get_weights()[0]
    assert np.abs(kernel * gamma).max() <= 20.0 * 1.001


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_rounding_keeps_to_a_grid_and_lets_the_gradient_through() -> None:
    import tensorflow as tf

    from tocsin_models.rounding import RoundedActivation, RoundedConv2D

    values = tf.Variable([[[[0.001, 0.013, 3.0, 6.0]]]])
    layer = RoundedActivation(6.0, share=1.0)
    with tf.GradientTape() as tape:
        out = layer(values, training=True)
    assert np.allclose(np.asarray(out)[0, 0], [[0.0, 6.0 / 255.0, 128.0 * 6.0 / 255.0, 6.0]], atol=1e-6)
    assert np.asarray(tape.gradient(out, values)).tolist() == [[[[1.0] * 4]]]
    assert np.array_equal(np.asarray(layer(values, training=False)), np.asarray(values))
    many = np.full((400, 1, 1, 1), 0.013, dtype=np.float32)
    assert 0.3 < np.mean(np.asarray(RoundedActivation(6.0)(many, training=True)) == many) < 0.7
    convolution = RoundedConv2D(2, 1, use_bias=False)
    convolution.build((None, 1, 1, 3))
    kernel = np.array([[1.27, 0.1], [0.004, 12.7], [-0.5, 0.06]], dtype=np.float32)[None, None]
    convolution.set_weights([kernel])
    heard = np.asarray(convolution(np.eye(3, dtype=np.float32)[:, None, None])).reshape(3, 2)
    assert np.allclose(heard, [[1.27, 0.1], [0.0, 12.7], [-0.5, 0.1]], atol=1e-5)
