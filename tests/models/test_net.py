"""The network has the shape that it promises, and starts from nothing but YAMNet."""

from pathlib import Path

import numpy as np
import pytest

from tocsin_models.dataset import Windows
from tocsin_models.net import NetSpec, convolutions, read_yamnet
from tocsin_models.train import TrainSpec, batches, blot
from tocsin_shared.errors import BadInputError


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
    return Windows(frames, np.zeros((count, 2), dtype=np.float32), np.ones((count, 2), dtype=np.float32))


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
    from tocsin_shared.manifest import FeatureSpec

    model = build(NetSpec(stem=8, blocks=((16, 2), (32, 2))), FeatureSpec(), 7)
    assert model.output_shape == (None, 7)
    assert np.asarray(model(np.zeros((2, 200, 64, 1), dtype=np.float32))).shape == (2, 7)
