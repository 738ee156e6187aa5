"""The command line answers at once, and says what is wrong and what helps."""

import subprocess
import sys
from pathlib import Path

import pytest

from tocsin_models.cli import main
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


def test_a_manifest_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"none\.csv: cannot be read"):
        main(["evaluate", "--manifest", str(tmp_path / "none.csv")])


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
