"""The hub's settings file: what it may say, and what is said about mistakes."""

import re
from pathlib import Path

import pytest

from tocsin_hub import settings
from tocsin_hub.settings import HubSettings, WebSettings
from tocsin_shared.errors import SettingsError


def load(tmp_path: Path, text: str) -> HubSettings:
    path = tmp_path / "hub.toml"
    path.write_text(text, encoding="utf-8")
    return settings.load(path)


def test_the_example_loads_as_the_defaults(tmp_path: Path) -> None:
    read = load(tmp_path, settings.example())
    assert read.web == HubSettings().web
    assert read.broker == HubSettings().broker
    assert read.ingest == HubSettings().ingest
    assert read.database == tmp_path / "hub-state" / "hub.sqlite"


def test_relative_paths_start_at_the_settings_file(tmp_path: Path) -> None:
    read = load(
        tmp_path, 'state_folder = "st"\n[store]\npath = "/data/x.sqlite"\n[broker]\nca_file = "ca.pem"\n'
    )
    assert read.state_folder == tmp_path / "st"
    assert read.database == Path("/data/x.sqlite")
    assert read.broker.ca_file == tmp_path / "ca.pem"
    assert read.broker.cert_file is None


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[web]\nport = 70000\n", r"hub.toml:2: web.port: must be 1 to 65535, not 70000"),
        ("[web]\nprot = 80\n", r"web.prot: there is no such key; the nearest is 'port'"),
        ("[web]\nthreads = 4\n", r"web.threads: must be 12 to 2000"),
        ('[web]\npublic_url = "tocsin.example.org"\n', r"web.public_url"),
        ('[broker]\nprotocol = "4"\n', r"broker.protocol: must be one of 5, 3.1.1"),
        ("[broker]\nkeepalive_ms = 5000\n", r"nearest is 'keepalive_seconds' \(its unit is seconds\)"),
        ('[broker]\nkey_file = "k"\n', r"cert_file and key_file go together"),
        ('[broker]\nkey_file = "k"\ncert_file = "c"\n', r"cert_file needs ca_file"),
        ('[broker]\npassword_file = "p"\n', r"password_file needs username"),
        ("[ingest]\nqueue = 1\n", r"ingest.queue: must be 10 to"),
    ],
)
def test_a_mistake_is_named_with_file_and_key(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint) as caught:
        load(tmp_path, text)
    assert re.search(r"hub\.toml", str(caught.value))


@pytest.mark.parametrize(
    ("web", "origin"),
    [
        (WebSettings(), "http://127.0.0.1:8080"),
        (WebSettings(host="0.0.0.0", port=80), "http://127.0.0.1:80"),  # noqa: S104
        (WebSettings(host="::1"), "http://[::1]:8080"),
        (WebSettings(public_url="https://tocsin.example.org/"), "https://tocsin.example.org"),
    ],
)
def test_the_address_for_people(web: WebSettings, origin: str) -> None:
    assert web.origin == origin
    assert web.secure == origin.startswith("https")
