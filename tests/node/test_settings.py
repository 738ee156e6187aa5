"""The settings of a node: the example loads, and whatever is wrong is named with its remedy."""

from pathlib import Path

import pytest

from tocsin_node import settings
from tocsin_node.settings import NodeSettings
from tocsin_shared.errors import SettingsError

LEAST = 'node = "press-1"\n'


def load(folder: Path, text: str) -> NodeSettings:
    path = folder / "node.toml"
    path.write_text(text, encoding="utf-8")
    return settings.load(path)


def test_the_example_loads_as_it_is_and_says_what_the_defaults_are(tmp_path: Path) -> None:
    read = load(tmp_path, settings.example())
    assert read == load(tmp_path, LEAST)
    assert (read.source.kind, read.model.bundle, read.model.hop_seconds) == ("microphone", "sentry", 0.5)
    assert (read.broker.protocol, read.broker.keepalive_seconds) == ("5", 10)


def test_relative_paths_start_at_the_settings_file(tmp_path: Path) -> None:
    text = LEAST + '[model]\nbundle = "./mine"\n[source]\nkind = "file"\npath = "sounds"\n'
    read = load(tmp_path, text + '[outbox]\npath = "/srv/outbox.sqlite"\n')
    assert read.model.bundle == str(tmp_path / "mine")
    assert read.source.path == tmp_path / "sounds"
    assert read.outbox.path == Path("/srv/outbox.sqlite")
    assert load(tmp_path, LEAST).outbox.path == tmp_path / "node-outbox.sqlite"


def test_a_room_without_a_name_is_called_like_its_node(tmp_path: Path) -> None:
    assert load(tmp_path, LEAST).room_name == "press-1"
    assert load(tmp_path, LEAST + 'room = "프레스 1"\n').room_name == "프레스 1"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "the key 'node' is missing"),
        ('node = "Press 1"', r"node\.toml:1: node: 'Press 1' is not allowed here"),
        ('node = "ab"', "3 to 32"),
        (
            LEAST + "heartbeat_ms = 5",
            r"node\.toml:2: heartbeat_ms: .*'heartbeat_seconds' \(its unit is seconds\)",
        ),
        (LEAST + "[model]\nhop_seconds = 5", r"node\.toml:3: model\.hop_seconds: must be 0\.1 to 2, not 5"),
        (LEAST + '[model]\nhop_seconds = "fast"', "must be a number of seconds, not 'fast'"),
        (LEAST + "[model]\nhop_ms = 500", "'hop_seconds'"),
        (LEAST + '[source]\nkind = "mic"', "must be one of microphone, file, stdin, not 'mic'"),
        (LEAST + '[source]\nkind = "file"', r"node\.toml:2: source: kind file needs path"),
        (LEAST + '[broker]\nprotocol = "4"', "must be one of 5, 3.1.1"),
        (LEAST + "[broker]\nport = 0", "must be 1 to 65535, not 0"),
        (LEAST + '[broker]\ncert_file = "a.pem"', "cert_file and key_file go together"),
        (LEAST + '[broker]\nca_file = "a"\ncert_file = "a"', "cert_file and key_file go together"),
        (LEAST + '[broker]\npassword_file = "a"', "password_file needs username"),
        (LEAST + "[brokre]\nport = 1", "the nearest is 'broker'"),
        (LEAST + "[outbox]\nmax_bytes = 5", "must be 100000 to"),
        (LEAST + "zone = ", "not valid TOML"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        load(tmp_path, text)
