"""Weights on the grid of eight bits are stored on it, and nothing that the file says changes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tocsin_models.integers import exact
from tocsin_models.net import NetSpec, build
from tocsin_models.quantize import _logits
from tocsin_models.stored import _on_grid, small
from tocsin_models.variants import convert, convert_between
from tocsin_shared.errors import BadInputError
from tocsin_shared.manifest import FeatureSpec

NET = NetSpec(stem=8, blocks=((16, 2), (24, 2)), capped_from=1)
FEATURES = FeatureSpec(window_frames=96)


def test_only_weights_on_the_grid_are_stored_on_it() -> None:
    weights = np.random.default_rng(1).normal(0.0, 1.0, (8, 3, 3, 5)).astype(np.float32)
    assert _on_grid(weights, 0) is None
    on_grid = exact(weights.transpose(1, 2, 3, 0)).transpose(3, 0, 1, 2)
    found = _on_grid(on_grid, 0)
    assert found is not None
    assert np.allclose(found[0] * found[1][:, None, None, None], on_grid, atol=1e-5)


@pytest.fixture(scope="module")
def network() -> Any:
    """A network of chance whose weights are on the grid."""
    import keras

    keras.utils.set_random_seed(4)
    model = build(NET, FEATURES, 3, batch=1)
    for layer in model.layers:
        if layer.name.endswith("_conv") or layer.name.startswith("logits_of"):
            kernel, *bias = layer.get_weights()
            layer.set_weights([exact(kernel, depthwise="depthwise" in layer.name), *bias])
    return model


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # what Keras and TensorFlow say about themselves is not ours to mend
def test_a_file_with_float_ends_is_small_and_says_what_the_network_says(network: Any, tmp_path: Path) -> None:
    windows = np.random.default_rng(3).uniform(-2.0, 4.0, (30, 96, 64, 1)).astype(np.float32)
    plain, integers = (convert(network, name, windows) for name in ("float32", "int8"))
    mixed = convert_between(network, "layer2_depthwise", "layer2_pointwise", windows)
    wanted = _logits(plain, windows)
    off = [float(np.abs(_logits(content, windows) - wanted).mean()) for content in (mixed, integers)]
    assert 0.0 < off[0] < off[1], "float ends lose less than integers throughout, and more than nothing"
    assert np.abs(_logits(small(plain), windows) - wanted).max() < 1e-4
    with pytest.raises(BadInputError, match="no layers layer9_depthwise"):
        convert_between(network, "layer9_depthwise", "layer9_pointwise", windows)
