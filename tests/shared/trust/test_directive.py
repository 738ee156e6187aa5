"""The director's word: who signed it, for whom, until when; whatever else comes is refused."""

from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.signer import CryptoSigner

from tests.shared.trust.site import NOW, Site
from tocsin_shared.errors import DecodeError
from tocsin_shared.trust.directive import Objection, UnknownKeyError, objection, opened

SHA = "ab" * 32


@pytest.fixture(name="site", scope="module")
def _site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("site") / "repository")


def test_what_was_signed_is_read(site: Site) -> None:
    """Every word of it."""
    directive = opened(site.directive(SHA, seq=7), site.repository.director_keys())
    assert (directive.node, directive.seq, directive.sha256, directive.variant) == (
        "press-1",
        7,
        SHA,
        "float16",
    )
    assert objection(directive, "press-1", NOW, 7) is None


def test_b23_b24_b25_another_node_an_older_number_and_a_late_one_are_refused(site: Site) -> None:
    """Each by its name."""
    directive = opened(site.directive(SHA, seq=7), site.repository.director_keys())
    assert objection(directive, "press-2", NOW, 0) is Objection.NODE
    assert objection(directive, "press-1", NOW, 8) is Objection.SEQ
    assert objection(directive, "press-1", NOW + timedelta(days=31), 0) is Objection.STALE


def test_b26_another_key_and_a_changed_word_are_refused(site: Site) -> None:
    """A retired key, or one letter."""
    keys = site.repository.director_keys()
    with pytest.raises(UnknownKeyError):
        opened(site.directive(SHA, signer=CryptoSigner.generate_ed25519()), keys)
    with pytest.raises(DecodeError, match="signature"):
        opened(site.directive(SHA).replace(b"press-1", b"press-2"), keys)


BODY = msgspec.json.encode({"body": '{"node": "press-1"}', "keyid": SHA, "signature": SHA * 2})


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"[" * 100_000,
        b"{" + b'"a":{' * 30_000,
        b'{"body": NaN, "keyid": 1, "signature": 2}',
        b'{"body": "x", "body": "y", "keyid": 1}',
        b"\xff\xfe",
        b"x" * 1_000_000,
        BODY,
    ],
)
def test_b30_garbage_is_refused_and_ends_nothing(site: Site, payload: bytes) -> None:
    """A megabyte, deep JSON, wrong types, doubled keys, no number."""
    with pytest.raises(DecodeError):
        opened(payload, site.repository.director_keys())


@given(st.binary(max_size=300))
def test_b30_no_bytes_whatever_are_more_than_refused(payload: bytes) -> None:
    """Nothing but the one kind of error."""
    with pytest.raises(DecodeError):
        opened(payload, {})


@pytest.mark.parametrize(
    "change", [{"seq": -1}, {"release": "1"}, {"sha256": "../x"}, {"expires": "soon"}, {"rollout": "a b"}]
)
def test_b30_a_signed_directive_with_a_wrong_field_is_refused(site: Site, change: dict[str, object]) -> None:
    """Even the director can err."""
    keys = site.repository.director_keys()
    directive = opened(site.directive(SHA), keys)
    body = msgspec.json.encode(msgspec.to_builtins(directive) | change)
    signature = site.director.sign(body)
    envelope = {"body": body.decode(), "keyid": signature.keyid, "signature": signature.signature}
    with pytest.raises(DecodeError):
        opened(msgspec.json.encode(envelope), keys)


def test_keys_of_files(tmp_path: Path) -> None:
    """A key comes back from its file with its passphrase, and without it does not."""
    from tocsin_shared.errors import SettingsError
    from tocsin_shared.trust.keys import load_signer, make_key

    path = tmp_path / "models.key"
    made = make_key(path, b"correct horse battery")
    assert load_signer(path, b"correct horse battery").public_key == made.public_key
    assert path.stat().st_mode & 0o777 == 0o600
    for wrong in (None, b"correct horse batterie"):
        with pytest.raises(SettingsError, match="passphrase"):
            load_signer(path, wrong)
    with pytest.raises(SettingsError, match="already"):
        make_key(path, b"correct horse battery")
    with pytest.raises(SettingsError, match="longer"):
        make_key(tmp_path / "short.key", b"horse")
    path.chmod(0o644)
    with pytest.raises(SettingsError, match="others"):
        load_signer(path, b"correct horse battery")
    (tmp_path / "no.key").touch(0o600)
    with pytest.raises(SettingsError, match="no key"):
        load_signer(tmp_path / "no.key")
