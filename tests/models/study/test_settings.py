"""The settings that ship load, and wrong ones are refused with the place and the reason."""

from pathlib import Path

import pytest

from tocsin_models.cli import main
from tocsin_models.study.settings import FeatureSettings, StudySettings
from tocsin_shared.errors import SettingsError
from tocsin_shared.manifest import FeatureSpec
from tocsin_shared.settings import example, load

CONFIGS = sorted((Path(__file__).resolve().parents[3] / "models" / "configs").glob("*.toml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_what_ships_loads_under_its_own_name(path: Path) -> None:
    settings = load(path, StudySettings)
    assert settings.name == path.stem
    assert settings.features.window_seconds == 2.0
    assert settings.features.stride_seconds == 1.6
    assert settings.network.stages == (3, 4, 6, 3)


def test_the_defaults_are_the_products_own_features() -> None:
    assert FeatureSettings().spec == FeatureSpec()
    assert FeatureSettings().stride_frames == 160


def test_an_example_with_all_defaults_loads(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(example(StudySettings, "Settings of a study"), encoding="utf-8")
    assert load(path, StudySettings) == StudySettings()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[features]\nstride_seconds = 2.5\n", "must not be longer than window_seconds"),
        ("[features]\nhop_ms = 30.0\n", "whole number of hops of 30 ms"),
        ("[features]\nmel_low_hz = 4000.0\nmel_high_hz = 600.0\n", "must lie below"),
        ("[data]\nmerge = ['dog']\n", "'dog' is not allowed here"),
        ("[data]\nmerge = ['a = b', 'b = c']\n", "on the left and on the right"),
        ("[network]\nstages = [3]\n", "as many numbers"),
        (
            "[training]\nepoch = 3\n",
            "study.toml:2: training.epoch: there is no such key; the nearest is 'epochs'",
        ),
    ],
)
def test_wrong_settings_are_refused_with_the_reason(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "study.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError, match=complaint.replace("[", r"\[")):
        load(path, StudySettings)


@pytest.mark.parametrize("command", ["prepare", "train", "quantize", "compare"])
def test_help_answers_and_missing_options_are_wrong_usage(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--help"]) == 0
    assert "--config" in capsys.readouterr().out
    assert main([command]) == 2
