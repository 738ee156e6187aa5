"""A wrong setting is named with its line, and with the nearest right one."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from tocsin_shared.errors import SettingsError
from tocsin_shared.settings import example, load, setting, table


@dataclass(frozen=True)
class Oven:
    """A table."""

    hop_seconds: float = setting(0.5, "How often to look.", minimum=0.1, maximum=2.0)
    mode: str = setting("auto", "How to bake.", choices=("auto", "manual"))
    racks: int = setting(2, "Number of racks.", minimum=1)
    quiet: bool = setting(False, "No bell.")
    log: Path | None = setting(None, "Where to write.", shown='"/var/log/oven"')
    names: tuple[str, ...] = setting(("a",), "Names of racks.", pattern="[a-z]+")


@dataclass(frozen=True)
class Kitchen:
    """A file."""

    name: str = setting(..., "Name of the kitchen.", shown='"main"')
    oven: Oven = table(Oven, "The oven.")


def read(tmp_path: Path, text: str) -> Kitchen:
    path = tmp_path / "kitchen.toml"
    path.write_text(text, encoding="utf-8")
    return load(path, Kitchen)


def test_defaults_fill_what_is_not_said(tmp_path: Path) -> None:
    """Only required keys must be given; a whole number is good enough for a number."""
    kitchen = read(tmp_path, 'name = "k"\n[oven]\nhop_seconds = 1\nlog = "x"\nnames = ["b", "c"]')
    assert kitchen == Kitchen("k", Oven(hop_seconds=1.0, log=tmp_path / "x", names=("b", "c")))


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (
            'name = "k"\n[oven]\nhop_ms = 500',
            3,
            r"hop_ms: .*nearest is 'hop_seconds' \(its unit is seconds\)",
        ),
        ('name = "k"\nhop_ms = 500', 2, r"hop_ms: .*nearest is 'oven.hop_seconds' \(its unit is seconds\)"),
        ('name = "k"\nracks = 3', 2, r"racks: .*nearest is 'oven.racks'"),
        ('name = "k"\n[oven]\ncolour = 3', 3, r"colour: .*known are hop_seconds, mode"),
        ('name = "k"\n[oven]\n\nrakcs = 3', 4, r"oven\.rakcs: .*nearest is 'racks'"),
        ('name = "k"\n[ovne]\nracks = 3', 2, r"ovne: .*nearest is 'oven'"),
        ('name = "k"\noven.racks = "3"', 2, r"oven\.racks: must be a whole number, not '3'"),
        ('name = "k"\n[oven]\nhop_seconds = "0.5 s"', 3, "must be a number of seconds, not '0.5 s'"),
        ('name = "k"\n[oven]\nhop_seconds = 3', 3, "must be 0.1 to 2, not 3"),
        ('name = "k"\n[oven]\nhop_seconds = nan', 3, "must be 0.1 to 2, not nan"),
        ('name = "k"\n[oven]\nmode = "fast"', 3, "must be one of auto, manual, not 'fast'"),
        ('name = "k"\n[oven]\nracks = true', 3, "must be a whole number, not True"),
        ('name = "k"\n[oven]\nquiet = 1', 3, "must be true or false, not 1"),
        ('name = "k"\n[oven]\nnames = "b"', 3, "must be a list in brackets"),
        ('name = "k"\n[oven]\nnames = ["B"]', 3, "'B' is not allowed here: Names of racks"),
        ('name = "k"\noven = 3', 2, "oven: must be a table"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, text: str, line: int, said: str) -> None:
    """File, line and key path stand in the error, and what would be right."""
    with pytest.raises(SettingsError, match=rf"kitchen\.toml:{line}: .*{said}"):
        read(tmp_path, text)


def test_a_missing_key_says_what_it_is_for(tmp_path: Path) -> None:
    """The sentence under the field becomes the remedy."""
    with pytest.raises(SettingsError, match="the key 'name' is missing: Name of the kitchen"):
        read(tmp_path, "[oven]")


@pytest.mark.parametrize(("content", "said"), [(b"name = ", "not valid TOML"), (b"\xff", "not UTF-8")])
def test_a_file_that_is_not_toml_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    """Broken syntax and broken text are told apart."""
    path = tmp_path / "kitchen.toml"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=said):
        load(path, Kitchen)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """As is a folder where a file should be."""
    with pytest.raises(SettingsError, match=r"none\.toml: the settings cannot be read: No such file"):
        load(tmp_path / "none.toml", Kitchen)
    with pytest.raises(SettingsError, match="Is a directory"):
        load(tmp_path, Kitchen)


def test_the_example_loads_as_it_is(tmp_path: Path) -> None:
    """The commented example is a valid file that holds the defaults."""
    text = example(Kitchen, "Settings of a kitchen.")
    assert read(tmp_path, text) == Kitchen("main")
    assert "# How often to look. 0.1 to 2." in text
    assert '# log = "/var/log/oven"' in text
