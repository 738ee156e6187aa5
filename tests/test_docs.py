"""What the documents promise is there: commands, topics, settings."""

import re
from pathlib import Path

import pytest

from tocsin_shared import topics
from tocsin_shared.cli import main

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted(
    path for place in ("*.md", "docs/**/*.md", "models/zoo/**/*.md") for path in ROOT.glob(place)
)
COMMAND = re.compile(r"\btocsin ((?:node|hub|models|trust|demo)(?: [a-z][a-z-]*)?)")
COMMANDS = sorted({name for path in DOCUMENTS for name in COMMAND.findall(path.read_text(encoding="utf-8"))})


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_in_the_documents_exists(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """``--help`` of it is an answer, not an error."""
    try:
        status: object = main([*command.split(), "--help"])
    except SystemExit as ended:  # argparse leaves by itself
        status = ended.code
    assert status == 0
    assert "usage: tocsin" in capsys.readouterr().out


def test_every_topic_kind_is_documented() -> None:
    """The table in docs/wire.md has a row for whatever a node publishes or hears."""
    wire = (ROOT / "docs" / "wire.md").read_text(encoding="utf-8")
    for kind in (*topics.NODE_KINDS, "ack"):
        assert f"n/{{id}}/{kind}" in wire
