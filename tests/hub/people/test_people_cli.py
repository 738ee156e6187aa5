"""``tocsin hub person`` and ``tocsin hub token`` at the keyboard."""

import io
from pathlib import Path

import pytest

from tocsin_hub import cli
from tocsin_hub.people import audit
from tocsin_hub.people.model import Role
from tocsin_hub.people.reading import People
from tocsin_hub.recorder import prepare
from tocsin_hub.store import Store
from tocsin_shared.errors import BadInputError, UnavailableError


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "hub.toml"
    cheap = "[access]\nargon2_rounds = 1\nargon2_memory_kib = 8192\nargon2_lanes = 1\n"
    path.write_text(f"[web]\nport = 18080\n{cheap}", encoding="utf-8")
    prepare(tmp_path / "hub-state" / "hub.sqlite")
    return path


def run(config: Path, *words: str) -> int:
    return cli.main([*words, "--config", str(config)])


def test_people_are_added_listed_and_shut_out(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("four bells at night\nfour bells at night\n"))
    words = ["person", "add", "Boss", "--role", "admin", "--password-stdin"]
    assert run(config, *words, "--login", "boss") == 0
    assert (
        run(config, "person", "add", "Mina", "--zones", "hall-1", "--login", "mina", "--password-stdin") == 0
    )
    capsys.readouterr()
    assert run(config, "person", "list") == 0
    boss, mina = capsys.readouterr().out.splitlines()
    assert "admin" in boss
    assert "[hall-1]" in mina
    assert run(config, "person", "disable", "MINA") == 0
    with pytest.raises(BadInputError, match="last admin"):
        run(config, "person", "disable", "boss")
    with pytest.raises(BadInputError, match="nobody with the login name"):
        run(config, "person", "disable", "ghost")
    store = Store(tmp_path / "hub-state" / "hub.sqlite")
    people = {one.name: one for one in People(store).all()}
    actions = [line.action for line in audit.lines(store)]
    store.close()
    assert (people["Boss"].role, people["Boss"].enabled) == (Role.ADMIN, True)
    assert (people["Mina"].role, people["Mina"].enabled) == (Role.WORKER, False)
    assert actions == ["person.disabled", "person.added", "person.added"]


def test_an_invitation_is_printed_alone(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(config, "person", "invite", "Jun", "--role", "officer", "--zones", "hall-1,yard") == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("http://127.0.0.1:18080/join/")


def test_a_short_password_is_refused(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("short\n"))
    with pytest.raises(BadInputError, match="password: must have 10"):
        run(config, "person", "add", "Boss", "--login", "boss", "--password-stdin")


def test_tokens_are_made_and_ended(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("four bells at night\n"))
    run(config, "person", "add", "Boss", "--role", "admin", "--login", "boss", "--password-stdin")
    capsys.readouterr()
    assert run(config, "token", "add", "prometheus", "--person", "boss", "--scopes", "metrics,read") == 0
    made = capsys.readouterr().out.strip()
    assert made.startswith("tocsin_")
    run(config, "token", "list")
    line = capsys.readouterr().out
    assert "metrics, read" in line
    assert made not in line
    assert run(config, "token", "revoke", line.split()[0]) == 0
    with pytest.raises(BadInputError, match="no token"):
        run(config, "token", "revoke", line.split()[0])
    with pytest.raises(BadInputError, match="there is no scope all"):
        run(config, "token", "add", "x", "--person", "boss", "--scopes", "all")


def test_a_hub_that_was_never_started_has_no_people(tmp_path: Path) -> None:
    path = tmp_path / "other.toml"
    path.write_text('state_folder = "none"\n', encoding="utf-8")
    with pytest.raises(UnavailableError, match="start the hub first"):
        run(path, "person", "list")
