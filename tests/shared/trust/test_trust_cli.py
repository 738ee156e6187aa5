"""``tocsin trust`` as an administrator uses it."""

from pathlib import Path

import pytest

from tocsin_shared.errors import BadInputError, SettingsError
from tocsin_shared.trust.cli import PASSPHRASE, main
from tocsin_shared.trust.online import director_key, online_keys
from tocsin_shared.trust.repository import Repository


@pytest.fixture(name="place")
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(PASSPHRASE, "correct horse battery")
    folders = [f"--{name}={tmp_path / name}" for name in ("keys", "online", "repository")]
    assert main(["init", *folders]) == 0
    return tmp_path


def test_init_makes_seven_key_files_and_a_repository_that_status_finds_well(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Root 2 of 3; keys of people have a passphrase, those of the hub none."""
    offline = sorted(path.name for path in (place / "keys").iterdir())
    assert offline == ["models.key", "root-1.key", "root-2.key", "root-3.key", "targets.key"]
    assert all(b"ENCRYPTED" in path.read_bytes() for path in (place / "keys").iterdir())
    online_keys(place / "online")
    assert director_key(place / "online").public_key.keyid in Repository(place / "repository").director_keys()
    capsys.readouterr()
    assert main(["status", f"--repository={place / 'repository'}"]) == 0
    assert "2 of 3 keys" in capsys.readouterr().out
    with pytest.raises(SettingsError, match="already"):
        main(["init", *(f"--{name}={place / name}" for name in ("keys", "online", "repository"))])


def test_rotate_needs_two_root_keys_and_makes_the_new_one(place: Path) -> None:
    """Root gets a fourth key in place of a lost one; one root key alone changes nothing."""
    repository = f"--repository={place / 'repository'}"
    keys = [f"--key={place / 'keys' / f'root-{n}.key'}" for n in (1, 2)]
    lost = Repository(place / "repository").root().signed.roles["root"].keyids[2]
    new = [f"--new={place / 'keys' / 'root-4.key'}", f"--old={lost[:8]}"]
    with pytest.raises(BadInputError, match="may not sign"):
        main(["rotate", "root", repository, keys[0], *new])
    assert main(["rotate", "root", repository, *keys, *new]) == 0
    assert main(["rotate", "models", repository, f"--key={place / 'keys/models.key'}"]) == 0
    assert main(["renew", repository, f"--online={place / 'online'}"]) == 0
    assert Repository(place / "repository").root().signed.version == 2


def test_a_wrong_passphrase_is_said(place: Path, tmp_path: Path) -> None:
    """And nothing is signed."""
    (tmp_path / "wrong").write_text("another passphrase\n")
    with pytest.raises(SettingsError, match="passphrase is wrong"):
        main(
            [
                "rotate",
                "models",
                f"--repository={place / 'repository'}",
                f"--key={place / 'keys/models.key'}",
                f"--passphrase-file={tmp_path / 'wrong'}",
            ]
        )
