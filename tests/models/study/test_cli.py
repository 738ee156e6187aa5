"""The command line of the study, as its user meets it."""

from pathlib import Path

import pytest

from tests.models.study import trees
from tocsin_models.cli import main
from tocsin_shared.errors import BadInputError


@pytest.fixture(name="config")
def _config(tmp_path: Path) -> Path:
    path = tmp_path / "study.toml"
    path.write_text("[features]\nhop_ms = 20.0\nmel_bands = 16\n", encoding="utf-8")
    return path


def test_prepare_writes_figure_and_report_and_says_where(
    tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = trees.folders(tmp_path / "set"), tmp_path / "out"
    order = ["prepare", "--config", str(config), "--data", str(data), "--out", str(out), "--workers", "1"]
    assert main(order) == 0
    said = capsys.readouterr()
    assert said.out == f"2 classes, 20 windows: {out}\n"
    assert "3 of 3 shards" in said.err
    assert (out / "distribution.png").read_bytes().startswith(b"\x89PNG")
    assert (out / "problems.txt").read_text(encoding="utf-8") == ""


def test_prepare_ends_with_1_and_names_what_misleads(
    tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = trees.folders(tmp_path / "자료", ("경적", "비명"))
    trees.write(data / "혼자" / "하나.wav", trees.tone(900.0))
    (data / "경적" / "깨진.wav").write_bytes(b"RIFF")
    order = ["prepare", "--config", str(config), "--data", str(data), "--out", str(tmp_path / "out")]
    assert main([*order, "--workers", "1"]) == 1
    said = capsys.readouterr()
    assert "class: 혼자: 1 recordings, 3 are needed" in said.out
    assert "깨진.wav" in said.out
    assert "would mislead: 1 of 22 recordings cannot be used" in said.err


def test_two_data_sets_are_prepared_together(tmp_path: Path, config: Path) -> None:
    first = trees.folders(tmp_path / "one", each=5)
    second = trees.folders(tmp_path / "two", ("hum", "whine", "buzz"), each=5)
    order = ["prepare", "--config", str(config), "--workers", "1", "--out", str(tmp_path / "out")]
    # The same sounds in both: a leak, unless the split happens to keep them together.
    assert main([*order, "--data", str(first), "--data", str(second)]) == 1
    text = (tmp_path / "out" / "problems.txt").read_text(encoding="utf-8")
    assert "leak: " in text


def test_a_file_without_classes_is_named(tmp_path: Path, config: Path) -> None:
    (tmp_path / "classes.txt").write_text("\n\n", encoding="utf-8")
    order = ["prepare", "--config", str(config), "--data", str(tmp_path), "--out", str(tmp_path / "out")]
    with pytest.raises(BadInputError, match=r"classes\.txt: names no class"):
        main([*order, "--classes", str(tmp_path / "classes.txt")])


@pytest.mark.parametrize("command", ["train", "quantize", "compare"])
def test_what_comes_later_names_what_must_come_first(tmp_path: Path, config: Path, command: str) -> None:
    order = [
        command,
        "--config",
        str(config),
        "--data",
        str(tmp_path / "none"),
        "--run",
        str(tmp_path / "run"),
    ]
    order += ["--out", str(tmp_path / "out")] if command == "compare" else []
    with pytest.raises(BadInputError, match="not prepared; run `tocsin models prepare"):
        main(order)
