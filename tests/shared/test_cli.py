"""The command finds its parts, and says what is missing."""

import pytest

from tocsin_shared.cli import main


def test_help_lists_the_parts(capsys: pytest.CaptureFixture[str]) -> None:
    """Help is an answer, no command at all is a wrong usage."""
    assert main(["--help"]) == 0
    assert "tocsin node --help" in capsys.readouterr().out
    assert main([]) == 2


def test_an_unknown_command_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """The error names it and lists the right ones."""
    assert main(["nod"]) == 2
    error = capsys.readouterr().err
    assert "no command 'nod'" in error
    assert "tocsin node" in error


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """One line, name and number."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("tocsin 0.")
