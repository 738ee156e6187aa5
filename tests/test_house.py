"""The rules of the house that no linter knows."""

import ast
import re
import tomllib
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("node", "hub", "shared", "models")
SOURCES = sorted(chain.from_iterable((ROOT / part).rglob("*.py") for part in PARTS))
MAX_FUNCTION_LINES = 59
VAGUE = {"utils", "util", "helpers", "helper", "manager", "common", "misc", "base"}


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def test_no_function_is_long() -> None:
    """The longest function of the project is under 60 lines."""
    lengths = {
        f"{path.relative_to(ROOT)}:{function.name}": (function.end_lineno or 0) - function.lineno + 1
        for path in SOURCES
        for function in functions(path)
    }
    assert len(lengths) > 100
    assert {name: lines for name, lines in lengths.items() if lines > MAX_FUNCTION_LINES} == {}


def test_every_module_says_what_it_is() -> None:
    """Each module begins with a docstring, and none has a name that says nothing."""
    silent = [path for path in SOURCES if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))]
    assert silent == []
    assert [path for path in SOURCES if path.stem in VAGUE] == []


def test_no_recording_is_part_of_the_repository() -> None:
    """The only sound that ships is made by the project: golden clips."""
    sounds = [
        path
        for part in (*PARTS, "tests", "docs")
        for path in (ROOT / part).rglob("*")
        if path.suffix.lower() in {".wav", ".ogg", ".mp3", ".flac", ".m4a"}
    ]
    assert [path for path in sounds if path.parent.name != "golden"] == []


def test_the_contributing_guide_is_short() -> None:
    """Forty lines are read, four hundred are not."""
    assert len((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").splitlines()) <= 40


def test_constraints_pin_every_direct_dependency() -> None:
    """Each package that an extra names stands in constraints.txt, with an exact version and no address."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {
        name: needs for name, needs in project["optional-dependencies"].items() if name != "node-tflite"
    }
    wanted = chain(project["dependencies"], *extras.values())
    names = {re.split(r"[\[>=;<~! ]", one, maxsplit=1)[0].lower() for one in wanted} - {
        "tocsin",
        "tensorflow",
    }
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line) for line in lines)
    assert names - {re.sub("_", "-", line.split("==")[0].lower()) for line in lines} == set()


@pytest.mark.parametrize("document", sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]))
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    """Every relative link points to a file that is there."""
    targets = re.findall(r"\]\((?!https?://|#)([^)#]+)", document.read_text(encoding="utf-8"))
    assert [target for target in targets if not (document.parent / target).exists()] == []
