"""A trust repository of a make-believe site, with all keys at hand."""

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

from securesystemslib.signer import CryptoSigner

from tocsin_shared.trust.bundles import Notes, pack
from tocsin_shared.trust.directive import Directive, signed
from tocsin_shared.trust.repository import FirstKeys, OnlineKeys, Repository, add_bundle, found, renew

NOW = datetime.now(UTC).replace(microsecond=0)


class Site:
    """Keys, and the repository in ``folder`` that they have signed."""

    def __init__(self, folder: Path, now: datetime = NOW) -> None:
        self.root = [CryptoSigner.generate_ed25519() for _ in range(3)]
        self.targets, self.models, self.director = (CryptoSigner.generate_ed25519() for _ in range(3))
        self.online = OnlineKeys(CryptoSigner.generate_ed25519(), CryptoSigner.generate_ed25519())
        keys = FirstKeys(
            self.root,
            self.targets,
            [self.models],
            self.online.snapshot,
            self.online.timestamp,
            self.director.public_key,
        )
        self.repository: Repository = found(folder, keys, now)
        self.seq = 0

    def publish(
        self,
        files: dict[str, bytes],
        release: str = "1.0.0",
        variant: str = "float16",
        *,
        floor: str | None = None,
        hardware: tuple[str, ...] = (),
        min_node: str = "0.1.0",
        now: datetime = NOW,
    ) -> str:
        """Sign an archive of ``files``; its SHA-256."""
        archive = pack(files)
        notes = Notes(
            name="sentry",
            release=release,
            variant=variant,
            floor=floor or release,
            hardware=hardware,
            min_node=min_node,
        )
        add_bundle(self.repository, archive, notes, [self.models], now)
        renew(self.repository, self.online, now)
        return hashlib.sha256(archive).hexdigest()

    def directive(
        self,
        sha256: str,
        release: str = "1.0.0",
        variant: str = "float16",
        *,
        node: str = "press-1",
        seq: int | None = None,
        signer: CryptoSigner | None = None,
        expires: datetime | None = None,
    ) -> bytes:
        """A signed directive; its number grows unless ``seq`` is given."""
        self.seq = self.seq + 1 if seq is None else seq
        made = Directive(
            node=node,
            seq=self.seq,
            issued=NOW,
            expires=expires or NOW + timedelta(days=30),
            rollout="spring",
            name="sentry",
            release=release,
            variant=variant,
            sha256=sha256,
        )
        return signed(made, signer or self.director)
