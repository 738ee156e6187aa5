"""``tocsin hub`` at the keyboard."""

import tomllib
from pathlib import Path

import pytest

from tocsin_hub import cli
from tocsin_hub.recorder import prepare
from tocsin_hub.store import Store
from tocsin_shared.errors import SettingsError, UnavailableError


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "hub.toml"
    path.write_text("[web]\nport = 18080\n", encoding="utf-8")
    return path


def test_the_example_is_valid_toml(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["config", "example"]) == 0
    tables = {
        "web",
        "broker",
        "store",
        "ingest",
        "incidents",
        "access",
        "oidc",
        "alerts",
        "metrics",
        "push",
        "channels",
        "updates",
    }
    assert set(tomllib.loads(capsys.readouterr().out)) == {"state_folder"} | tables


def test_a_login_link_is_printed_alone_so_that_it_can_be_piped(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(tmp_path / "hub-state" / "hub.sqlite")
    assert cli.main(["login-link", "--config", str(config), "--valid-minutes", "60"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("http://127.0.0.1:18080/login/")
    store = Store(tmp_path / "hub-state" / "hub.sqlite")
    ((valid_us,),) = store._rows("SELECT expires_us - created_us FROM login_links")
    store.close()
    assert valid_us == 3600 * 1_000_000


def test_a_login_link_needs_a_hub_that_was_started(config: Path) -> None:
    with pytest.raises(UnavailableError, match="start the hub first"):
        cli.main(["login-link", "--config", str(config)])


def test_a_settings_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.toml: the settings cannot be read"):
        cli.main(["run", "--config", str(tmp_path / "none.toml")])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "COMMAND"),
        (["walk"], "invalid choice: 'walk'"),
        (["run"], "--config"),
        (["login-link", "--config", "x", "--valid-minutes", "0"], "must be a whole number of minutes"),
        (["login-link", "--config", "x", "--valid-minutes", "soon"], "not 'soon'"),
        (["config"], "COMMAND"),
    ],
)
def test_wrong_usage_is_status_2(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    assert end.value.code == 2
    assert said in capsys.readouterr().err
