"""The trust repository: founded, filled, rotated, renewed; and read by python-tuf as a node reads it."""

from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.ngclient import Updater
from tuf.ngclient.fetcher import FetcherInterface

from tests.shared.trust.site import NOW, Site
from tocsin_shared.errors import BadInputError, SettingsError
from tocsin_shared.trust.bundles import target_path
from tocsin_shared.trust.repository import (
    Replacement,
    Repository,
    found,
    renew,
    replace_key,
    sign_again,
    status,
)
from tocsin_shared.trust.roles import MODELS, ROOT, SNAPSHOT, TARGETS, TERMS, TIMESTAMP

PATH = target_path("sentry", "1.0.0", "float16")


class FromDisk(FetcherInterface):
    """Serves files instead of a web."""

    def _fetch(self, url: str):  # type: ignore[no-untyped-def]
        from tuf.api.exceptions import DownloadHTTPError

        path = Path(unquote(urlsplit(url).path))
        if not path.exists():
            raise DownloadHTTPError("missing", 404)
        return iter([path.read_bytes()])


@pytest.fixture(name="site")
def _site(tmp_path: Path) -> Site:
    return Site(tmp_path / "repository")


def client(repository: Repository, folder: Path) -> Updater:
    folder.mkdir(exist_ok=True)
    return Updater(
        str(folder),
        f"file://{repository.metadata}",
        fetcher=FromDisk(),
        bootstrap=repository.root_bytes(),
    )


def test_a_client_finds_the_director_and_a_published_bundle_with_its_notes(
    site: Site, tmp_path: Path
) -> None:
    """What is signed offline arrives, and nothing else does."""
    digest = site.publish({"manifest.json": b"{}"})
    reader = client(site.repository, tmp_path / "client")
    reader.refresh()
    target = reader.get_targetinfo(PATH)
    assert target is not None
    assert target.hashes == {"sha256": digest}
    assert (site.repository.targets / "models/sentry" / f"{digest}.1.0.0-float16.tar").exists()
    assert target.custom["release"] == "1.0.0"
    assert reader.get_targetinfo("models/sentry/2.0.0-float16.tar") is None
    assert list(site.repository.director_keys()) == [site.director.public_key.keyid]


def test_a_repository_is_founded_once(site: Site) -> None:
    """A second founding would throw the keys of the first away."""
    with pytest.raises(SettingsError, match="already"):
        found(site.repository.folder, None, NOW)  # type: ignore[arg-type]


def test_the_same_release_is_never_published_with_other_bytes(site: Site) -> None:
    """Two nodes with the same release run the same bundle."""
    site.publish({"manifest.json": b"{}"})
    site.publish({"manifest.json": b"{}"})
    with pytest.raises(BadInputError, match="new release"):
        site.publish({"manifest.json": b"{ }"})


def test_only_a_key_of_the_role_can_sign(site: Site) -> None:
    """A wrong key is found where it is used, and nothing is written."""
    before = site.repository.role(MODELS).signed.version
    with pytest.raises(BadInputError, match="may not sign"):
        sign_again(site.repository, MODELS, [site.targets], NOW)
    with pytest.raises(BadInputError, match="may not sign"):
        sign_again(site.repository, ROOT, site.root[:1], NOW)
    assert site.repository.role(MODELS).signed.version == before


def test_root_changes_one_key_with_old_and_new_threshold_and_old_clients_follow(
    site: Site, tmp_path: Path
) -> None:
    """A lost root key is replaced; a client that knows version 1 alone walks to version 3."""
    old = client(site.repository, tmp_path / "client")
    old.refresh()
    fresh = [CryptoSigner.generate_ed25519() for _ in range(2)]
    lost = site.root[2].public_key.keyid
    replace_key(site.repository, Replacement(ROOT, fresh[0], lost), site.root[:2], NOW)
    second = Replacement(ROOT, fresh[1], site.root[0].public_key.keyid)
    replace_key(site.repository, second, [*site.root[:2], fresh[0]], NOW)
    assert site.repository.root().signed.version == 3
    assert lost not in site.repository.root().signed.roles[ROOT].keyids
    third = Replacement(ROOT, CryptoSigner.generate_ed25519(), fresh[0].public_key.keyid)
    with pytest.raises(BadInputError, match="may not sign"):
        replace_key(site.repository, third, [site.root[2]], NOW)
    again = client(site.repository, tmp_path / "client")
    again.refresh()


@pytest.mark.parametrize("role", [TARGETS, SNAPSHOT, TIMESTAMP, MODELS, "director"])
def test_every_other_key_is_replaced(site: Site, tmp_path: Path, role: str) -> None:
    """Clients follow; what only the old key could sign, it can no more."""
    site.publish({"manifest.json": b"{}"})
    new = CryptoSigner.generate_ed25519()
    signers = [site.targets] if role in {MODELS, "director"} else site.root[:2]
    replace_key(site.repository, Replacement(role, new), signers, NOW)
    online = site.online
    if role in {SNAPSHOT, TIMESTAMP}:
        from dataclasses import replace

        with pytest.raises(BadInputError, match="may not sign"):
            renew(site.repository, online, NOW)
        online = replace(online, **{role: new})
    assert renew(site.repository, online, NOW)
    reader = client(site.repository, tmp_path / "client")
    reader.refresh()
    assert reader.get_targetinfo(PATH) is not None
    if role == "director":
        assert list(site.repository.director_keys()) == [new.public_key.keyid]


@pytest.mark.parametrize(
    ("hours", "done"),
    [(1, ()), (7, (TIMESTAMP,)), (7 * 24 + 1, (SNAPSHOT, TIMESTAMP)), (5 * 24, (TIMESTAMP,))],
)
def test_the_hub_signs_again_what_is_due_and_nothing_else(
    site: Site, hours: int, done: tuple[str, ...]
) -> None:
    """Timestamp every 6 hours, snapshot every week, long before either expires."""
    assert renew(site.repository, site.online, NOW + timedelta(hours=hours)) == done


def test_a_forged_role_is_not_taken_into_a_snapshot(site: Site) -> None:
    """Whoever can write into the repository's folder, but holds no key, stops there."""
    forged = site.repository.role(MODELS)
    forged.signed.version += 1
    forged.sign(CryptoSigner.generate_ed25519())
    site.repository.write(forged)
    with pytest.raises(BadInputError, match="may not sign"):
        renew(site.repository, site.online, NOW)


@pytest.mark.parametrize("role", TERMS)
def test_status_warns_before_a_role_expires(site: Site, role: str) -> None:
    """Nobody learns of it by nodes that take no update any more."""
    days = TERMS[role].days - TERMS[role].warn_days
    assert not _words(site, role, NOW + timedelta(days=days - 0.5))
    assert "expires in" in _words(site, role, NOW + timedelta(days=days + 0.5))
    assert "has expired" in _words(site, role, NOW + timedelta(days=TERMS[role].days + 1))


def _words(site: Site, role: str, now: datetime) -> str:
    return next(row.words for row in status(site.repository, now) if row.role == role)
