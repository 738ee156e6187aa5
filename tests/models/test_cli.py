"""The command line answers at once, and says what is wrong and what helps."""

import subprocess
import sys
from pathlib import Path

import pytest

from tocsin_models.cli import main
from tocsin_models.corpus import Clip
from tocsin_models.listen import Heard, chosen, listening_table
from tocsin_shared.errors import BadInputError, BundleError


def test_help_imports_no_heavy_package() -> None:
    code = (
        "import sys; from tocsin_models.cli import main; main(['make', '--help']); "
        "sys.exit(any(name in sys.modules for name in ('numpy', 'keras', 'tensorflow', 'scipy')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--corpus" in done.stdout


def test_no_command_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "make" in capsys.readouterr().out
    assert main(["brew"]) == 2


def test_listening_without_recordings_names_the_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--listen"]) == 2
    assert "--corpus" in capsys.readouterr().err


def test_a_corpus_without_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="is not a corpus"):
        main(
            [
                "make",
                "--quick",
                "--corpus",
                str(tmp_path),
                "--run",
                str(tmp_path / "run"),
                "--out",
                str(tmp_path / "a/0.0.1"),
            ]
        )


def test_a_file_that_is_not_yamnet_is_named_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "yamnet.tflite").write_bytes(b"not a model")
    run = tmp_path / "run"
    with pytest.raises(BadInputError, match="not a float32 TFLite file of YAMNet"):
        main(f"make --quick --yamnet {tmp_path}/yamnet.tflite --run {run} --out {tmp_path}/a/0.0.1".split())
    assert not run.exists()


def test_a_folder_that_is_no_bundle_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is not a model bundle"):
        main(["speed", "--bundle", str(tmp_path)])


@pytest.mark.parametrize("out", ["sentry", "Sentry/0.1.0", "sentry/new"])
def test_an_output_folder_that_names_no_release_is_refused_before_any_work(tmp_path: Path, out: str) -> None:
    with pytest.raises(BadInputError, match="NAME/RELEASE"):
        main(["make", "--quick", "--run", str(tmp_path / "run"), "--out", str(tmp_path / out)])
    assert not (tmp_path / "run").exists()


def clip(number: int, label: str, source: str, group: str, note: str = "") -> Clip:
    return Clip(Path(f"{label}-{number}.ogg"), label, source, group, "A", "CC0", note)


def test_what_is_listened_to_is_every_alarm_and_the_same_hundred_others() -> None:
    clips = [clip(n, "siren", "esc50_union", f"fs{n}", "fold4") for n in range(8)]
    clips += [clip(n, "siren", "esc50_union", f"fs{100 + n}", "fold2") for n in range(8)]
    clips += [clip(n, "dog", "esc50_union", f"fs{200 + n}", "fold4") for n in range(80)]
    clips += [clip(n, "speech", "asterisk_speech", "ast_ru") for n in range(40)]
    clips += [clip(n, "ui_sound", "debian:ui_sounds", "ui_sounds") for n in range(40)]
    clips += [clip(n, "no_alarm_room", "icu_alarm", "icu_session") for n in range(40)]
    items = chosen(clips, seed=1)
    assert sum(expected == "siren" for _, expected, _ in items) == 8
    assert sum(expected == "background" for _, expected, _ in items) == 100
    assert items == chosen(clips, seed=1)
    assert items != chosen(clips, seed=2)


def test_the_table_counts_hits_mistakes_and_silence() -> None:
    heard = [
        Heard(clip(1, "siren", "s", "g"), "siren", "siren", ("siren", "vehicle_horn")),
        Heard(clip(2, "siren", "s", "g"), "siren", "siren", ("vehicle_horn",)),
        Heard(clip(3, "siren", "s", "g"), "siren", "siren", ()),
        Heard(clip(4, "dog", "s", "g"), "dogs", "background", ()),
        Heard(clip(5, "dog", "s", "g"), "dogs", "background", ("siren", "siren")),
    ]
    text = listening_table(heard, seed=1)
    assert "| siren → siren | 1 / 3 | 0.06 to 0.79 | vehicle_horn 1 | 1 |" in text
    assert "| dogs | 1 / 2 |" in text
    assert "| **all** | 1 / 2 |" in text
