"""A settled network holds weights that integers hold exactly, and a release can go on from an earlier one."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tocsin_models.earlier import earlier
from tocsin_models.integers import exact, folded, settled, settled_shape
from tocsin_models.net import NetSpec, Weights, build, convolutions
from tocsin_models.variants import convert
from tocsin_shared.errors import BadInputError
from tocsin_shared.manifest import FeatureSpec

NET = NetSpec(stem=8, blocks=((16, 2), (24, 2)), capped_from=3)
FEATURES = FeatureSpec(window_frames=96)


@pytest.fixture(scope="module")
def windows() -> Weights:
    values = np.random.default_rng(3).uniform(-2.0, 4.0, (60, 96, 64, 1))
    return values.astype(np.float32)


@pytest.fixture(scope="module")
def wild() -> Any:
    """A network of chance whose channels reach a hundred times as far as one another."""
    import keras

    keras.utils.set_random_seed(4)
    model, rng = build(NET, FEATURES, 3, capped=False), np.random.default_rng(5)
    for name in convolutions(NET):
        norm = model.get_layer(f"{name}_norm")
        count = len(norm.get_weights()[0])
        parts = (10.0 ** rng.uniform(-1.0, 1.0, count), rng.normal(0.3, 0.3, count))
        norm.set_weights([*parts, rng.normal(0.0, 0.1, count), rng.uniform(0.5, 2.0, count)])
    return model


def heard(content: bytes, windows: Weights) -> Weights:
    from tocsin_models.quantize import _logits

    logits: Weights = _logits(content, windows)
    return logits


def test_exact_weights_have_at_most_127_steps_of_each_output_and_stay_as_they_are() -> None:
    rng = np.random.default_rng(6)
    for depthwise, shape in ((False, (3, 3, 1, 8)), (False, (1, 1, 8, 5)), (True, (3, 3, 8, 1))):
        kernel = rng.normal(0.0, 10.0 ** rng.uniform(-2.0, 2.0, shape[-2:]), shape).astype(np.float32)
        once = exact(kernel, depthwise=depthwise)
        outputs = once.reshape(-1, 8).T if depthwise else once.reshape(-1, shape[-1]).T
        for weights in outputs:
            steps = weights / np.abs(weights).max() * 127.0
            assert np.abs(steps - np.round(steps)).max() < 1e-3
        assert np.allclose(exact(once, depthwise=depthwise), once, rtol=1e-5)
        assert np.abs(once - kernel).max() <= np.abs(kernel).max() / 127.0


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # what Keras and TensorFlow say about themselves is not ours to mend
def test_a_settled_network_says_the_same_and_keeps_saying_it_in_integers(wild: Any, windows: Weights) -> None:
    tame = settled(wild, NET, FEATURES, windows)
    before, after = (np.asarray(model(windows, training=False)) for model in (wild, tame))
    spread = before.std(axis=0).max()
    assert np.abs(after - before).mean() < 0.5 * spread
    assert np.corrcoef(before.ravel(), after.ravel())[0, 1] > 0.98
    for name, layer in zip(convolutions(NET), folded(tame, settled_shape(NET)), strict=True):
        assert np.allclose(exact(layer.kernel, depthwise=name.endswith("depthwise")), layer.kernel, rtol=1e-4)
    losses = []
    for model, net in ((wild, NET), (tame, settled_shape(NET))):
        one = build(net, FEATURES, 3, batch=1, capped=net is not NET)
        one.set_weights(model.get_weights())
        integers, floats = (heard(convert(one, name, windows), windows) for name in ("int8", "float32"))
        losses.append(float(np.abs(integers - floats).mean()))
    assert losses[1] < losses[0], "integers lose less of it than of the network before"


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_an_earlier_release_is_read_back_as_it_was(wild: Any, windows: Weights, tmp_path: Path) -> None:
    capped = build(NET, FEATURES, 3, batch=1)
    capped.set_weights(wild.get_weights())
    path = tmp_path / "float32.tflite"
    path.write_bytes(convert(capped, "float32", windows))
    again = earlier(path, NET, FEATURES, 3)
    assert np.allclose(
        np.asarray(again(windows, training=False)), heard(path.read_bytes(), windows), atol=1e-3
    )
    with pytest.raises(BadInputError, match="not the float32 file of a release"):
        earlier(path, replace(NET, blocks=((16, 2),)), FEATURES, 3)
    path.write_bytes(convert(capped, "float16", windows))
    with pytest.raises(BadInputError, match="not the float32 file of a release"):
        earlier(path, NET, FEATURES, 3)
    path.write_bytes(b"nothing")
    with pytest.raises(BadInputError, match="not the float32 file of a release"):
        earlier(path, NET, FEATURES, 3)
