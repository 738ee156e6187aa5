"""The edge to the interpreter: what is refused before it runs, and that integers and floats agree.

The tiny models are made here by TensorFlow's own converter, in a child process: TensorFlow warns about
its dependencies while it is imported, and warnings are errors in these tests.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from tocsin_shared.classifier import Classifier, preferred_variant
from tocsin_shared.errors import BundleError
from tocsin_shared.features import Frames
from tocsin_shared.manifest import (
    DetectionRule,
    FeatureSpec,
    LabelSpec,
    Manifest,
    VariantSpec,
    shipped_bundle,
)

SPEC = FeatureSpec(window_frames=20, mel_bands=8)
RULE = DetectionRule(on_threshold=0.6, off_threshold=0.4)
LABELS = (LabelSpec(name="siren", rule=RULE), LabelSpec(name="speech"), LabelSpec(name="background"))

MAKE_MODELS = """
import sys
from pathlib import Path
import numpy as np
import keras, tensorflow as tf

folder = Path(sys.argv[1])
keras.utils.set_random_seed(7)
random = np.random.default_rng(7)

def net(outputs=3, bias=None):
    frames = keras.Input((20, 8, 1), batch_size=1)
    x = keras.layers.Conv2D(8, 3, activation="relu")(frames)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(frames, keras.layers.Dense(outputs, bias_initializer=bias or "zeros")(x))

def convert(model, name, integer=False):
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if integer:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        clips = random.uniform(-2, 4, (64, 1, 20, 8, 1)).astype(np.float32)
        converter.representative_dataset = lambda: ([clip] for clip in clips)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
        converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    (folder / name).write_bytes(converter.convert())

model = net()
convert(model, "float32.tflite")
convert(model, "full-int8.tflite", integer=True)
convert(net(outputs=5), "five.tflite")
convert(net(bias=keras.initializers.Constant(float("nan"))), "nan.tflite")
"""

KERAS_PYTHON = os.environ.get("TOCSIN_KERAS_PYTHON", sys.executable)
"""What makes the models: another Python where this one has the forerunner of the interpreter."""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    done = subprocess.run(
        [KERAS_PYTHON, "-c", MAKE_MODELS, str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder


def bundle(folder: Path, files: dict[str, bytes], labels: tuple[LabelSpec, ...] = LABELS) -> Path:
    """A bundle whose hashes are right, whatever its files hold."""
    variants = []
    for name, content in files.items():
        (folder / f"{name}.tflite").write_bytes(content)
        sha256 = hashlib.sha256(content).hexdigest()
        size = max(1, len(content))
        variants.append(VariantSpec(name=name, file=f"{name}.tflite", sha256=sha256, size_bytes=size))
    manifest = Manifest(
        name="tiny",
        release="0.1.0",
        created="today",
        features=SPEC,
        labels=labels,
        variants=tuple(variants),
    )
    (folder / "manifest.json").write_bytes(msgspec.json.encode(manifest))
    return folder


def shipped(models: Path, folder: Path) -> Path:
    return bundle(
        folder, {name: (models / f"{name}.tflite").read_bytes() for name in ("float32", "full-int8")}
    )


def windows(count: int) -> list[Frames]:
    random = np.random.default_rng(3)
    return [random.uniform(-2, 4, (20, 8)).astype(np.float32) for _ in range(count)]


@pytest.mark.slow
def test_the_integer_build_is_preferred_and_names_itself(models: Path, tmp_path: Path) -> None:
    classifier = Classifier.load(shipped(models, tmp_path))
    assert classifier.name == "tiny-0.1.0+full-int8"
    package, number = classifier.runtime.split(" ")
    assert package in {"ai-edge-litert", "tflite-runtime"}
    assert number[0].isdigit()


@pytest.mark.slow
def test_integer_and_float_builds_give_scores_that_differ_by_quantization_only(
    models: Path, tmp_path: Path
) -> None:
    folder = shipped(models, tmp_path)
    whole, floating = Classifier.load(folder, "full-int8"), Classifier.load(folder, "float32", threads=2)
    for window in windows(20):
        expected = floating.scores(window)
        assert expected.shape == (3,)
        assert expected.dtype == np.float32
        assert ((expected > 0.0) & (expected < 1.0)).all()
        np.testing.assert_allclose(whole.scores(window), expected, atol=0.03)


@pytest.mark.slow
def test_scores_are_those_of_the_same_window_however_often_it_is_judged(models: Path, tmp_path: Path) -> None:
    classifier = Classifier.load(shipped(models, tmp_path))
    first, second = windows(2)
    before = classifier.scores(first)
    classifier.scores(second)
    np.testing.assert_array_equal(classifier.scores(first), before)


@pytest.mark.slow
def test_values_far_outside_the_range_are_clipped_and_do_not_wrap_round(models: Path, tmp_path: Path) -> None:
    classifier = Classifier.load(shipped(models, tmp_path), "full-int8")
    highest = np.full((20, 8), SPEC.clip_high, dtype=np.float32)
    np.testing.assert_allclose(classifier.scores(highest * 100), classifier.scores(highest), atol=0.01)


@pytest.mark.slow
def test_a_model_with_another_number_of_outputs_is_refused(models: Path, tmp_path: Path) -> None:
    folder = bundle(tmp_path, {"float32": (models / "five.tflite").read_bytes()})
    with pytest.raises(BundleError, match=r"output has shape \[1, 5\]; the manifest needs \[1, 3\]"):
        Classifier.load(folder)


@pytest.mark.slow
def test_a_model_that_answers_with_no_numbers_is_refused(models: Path, tmp_path: Path) -> None:
    folder = bundle(tmp_path, {"float32": (models / "nan.tflite").read_bytes()})
    with pytest.raises(BundleError, match="no numbers"):
        Classifier.load(folder)


@pytest.mark.slow
@pytest.mark.parametrize("kept", [9, 100, 1000])
def test_a_truncated_model_is_refused_even_with_a_hash_that_agrees(
    models: Path, tmp_path: Path, kept: int
) -> None:
    folder = bundle(tmp_path, {"full-int8": (models / "full-int8.tflite").read_bytes()[:kept]})
    with pytest.raises(BundleError):
        Classifier.load(folder)


@pytest.mark.slow
def test_every_flipped_bit_is_noticed_before_anything_runs(models: Path, tmp_path: Path) -> None:
    folder = shipped(models, tmp_path)
    path = folder / "full-int8.tflite"
    whole = path.read_bytes()
    random = np.random.default_rng(11)
    for position in random.integers(0, len(whole), 50):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << int(random.integers(0, 8))
        path.write_bytes(damaged)
        with pytest.raises(BundleError, match="SHA-256"):
            Classifier.load(folder, "full-int8")


@pytest.mark.parametrize("content", [b"", b"TFL3", b"\x1c\x00\x00\x00TFL", b"not a model at all" * 20])
def test_what_is_no_model_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    folder = bundle(tmp_path, {"float32": content})
    with pytest.raises(BundleError, match=r"float32\.tflite"):
        Classifier.load(folder)


@pytest.mark.parametrize("seed", range(5))
def test_random_bytes_behind_the_right_identifier_are_refused(tmp_path: Path, seed: int) -> None:
    # Offset 0 is the root table; beyond the end, so that the verifier of every runtime must see it.
    random = np.random.default_rng(seed).bytes(4096)
    folder = bundle(tmp_path, {"float32": b"\xff\xff\xff\x7fTFL3" + random})
    with pytest.raises(BundleError):
        Classifier.load(folder)


def test_a_missing_folder_an_unknown_variant_and_a_missing_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"no manifest\.json"):
        Classifier.load(tmp_path / "nowhere")
    folder = bundle(tmp_path, {"float32": b"x" * 20})
    with pytest.raises(BundleError, match="'int4'; it has: float32"):
        Classifier.load(folder, "int4")
    (folder / "float32.tflite").unlink()
    with pytest.raises(BundleError, match="cannot be read"):
        Classifier.load(folder)


def test_the_preference_goes_from_small_and_fast_to_large_and_falls_back_to_the_first(tmp_path: Path) -> None:
    def chosen(*names: str) -> str:
        variants = tuple(
            VariantSpec(name=n, file=f"{n}.tflite", sha256="0" * 64, size_bytes=1) for n in names
        )
        manifest = Manifest(
            name="x", release="1.0.0", created="", features=SPEC, labels=LABELS, variants=variants
        )
        return preferred_variant(manifest).name

    assert chosen("float32", "float16", "int8", "full-int8") == "full-int8"
    assert chosen("float32", "float16", "int8") == "int8"
    assert chosen("float32", "float16") == "float16"
    assert chosen("dynamic", "odd") == "dynamic"


def test_the_newest_shipped_bundle_is_copied_whole_and_still_loads(tmp_path: Path) -> None:
    """What a site installs is a copy; nothing in a bundle may hang on where it lies."""
    folder = Path(shutil.copytree(shipped_bundle(), tmp_path / "copy"))
    classifier = Classifier.load(folder)
    assert classifier.scores(classifier.silence()).shape == (len(classifier.manifest.labels),)
