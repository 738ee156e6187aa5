"""From nothing but made sounds to a bundle that runs; tiny, because the way is tested and not the model."""

import json
from pathlib import Path

import numpy as np
import pytest

from tocsin_models.bundle import golden_clip, misheard
from tocsin_models.cli import main
from tocsin_models.recipe import LABELS
from tocsin_shared.classifier import Classifier
from tocsin_shared.errors import BadInputError
from tocsin_shared.features import log_mel
from tocsin_shared.manifest import read_manifest, read_variant
from tocsin_shared.synthesis import LABELS as MADE
from tocsin_shared.synthesis import sound


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(bundle, run folder)"""
    folder = tmp_path_factory.mktemp("make")
    bundle, run = folder / "sentry" / "9.9.9", folder / "run"
    assert main(["make", "--quick", "--out", str(bundle), "--run", str(run)]) == 0
    return bundle, run


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # what Keras and TensorFlow say about themselves is not ours to mend
def test_made_sounds_alone_become_a_bundle_that_runs(made: tuple[Path, Path]) -> None:
    bundle, _ = made
    manifest = read_manifest(bundle)
    assert (manifest.name, manifest.release) == ("sentry", "9.9.9")
    assert manifest.label_names == LABELS
    assert [variant.name for variant in manifest.variants] == ["full-int8", "int8", "float16", "float32"]
    for variant in manifest.variants:
        read_variant(bundle, variant)
        scores = Classifier.load(bundle, variant.name).scores(Classifier.load(bundle).silence())
        assert scores.shape == (len(LABELS),)
    assert not list(bundle.rglob(".*"))


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_integers_answer_as_floats_do(made: tuple[Path, Path]) -> None:
    bundle, _ = made
    plain, small = Classifier.load(bundle, "float32"), Classifier.load(bundle, "full-int8")
    differences = []
    for seed, label in enumerate(MADE):
        frames = log_mel(sound(label, 2.1, np.random.default_rng(seed)), plain.manifest.features)[:192]
        differences.append(float(np.abs(plain.scores(frames) - small.scores(frames)).max()))
    assert max(differences) < 0.15


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_the_card_says_how_to_repeat_it_and_names_no_path_of_this_machine(made: tuple[Path, Path]) -> None:
    bundle, run = made
    card = (bundle / "card.md").read_text(encoding="utf-8")
    assert "tocsin models make --seed 1 --out models/zoo/sentry/9.9.9" in card
    assert "no recording was used" in card
    assert str(run.parent) not in card


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_run_goes_on_where_it_was_and_refuses_other_settings(
    made: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, run = made
    weights = (run / "float.weights.h5").stat().st_mtime_ns
    (run / "full-int8.tflite").unlink()
    (run / "variants.json").unlink()
    assert main(["make", "--until", "quantize", "--quick", "--out", str(bundle), "--run", str(run)]) == 0
    assert (run / "full-int8.tflite").exists()
    assert (run / "float.weights.h5").stat().st_mtime_ns == weights
    assert "training" not in capsys.readouterr().err
    with pytest.raises(BadInputError, match="holds a run with other settings"):
        main(["make", "--until", "train", "--quick", "--seed", "2", "--out", str(bundle), "--run", str(run)])
    assert json.loads((run / "run.json").read_text(encoding="utf-8"))["seed"] == 1


def test_golden_clips_are_short_and_always_the_same() -> None:
    first = golden_clip("emergency_siren", 3)
    assert first == golden_clip("emergency_siren", 3)
    assert len(first) < 80_000


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_golden_clips_of_a_bundle_are_heard_as_what_they_are(made: tuple[Path, Path]) -> None:
    bundle, _ = made
    assert misheard(bundle) == {}
