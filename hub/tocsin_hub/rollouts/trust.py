"""The edge to the trust repository and the hub's keys: what is signed, until when, and our own word."""

import logging
import threading
from datetime import UTC, datetime
from pathlib import Path

from securesystemslib.signer import CryptoSigner

from tocsin_hub.rollouts.drafts import Offered
from tocsin_hub.rollouts.model import Order, Variant
from tocsin_hub.rollouts.planning import grouped
from tocsin_hub.rollouts.settings import UpdateSettings
from tocsin_hub.times import from_us
from tocsin_shared.errors import BundleError, SettingsError
from tocsin_shared.trust import directive, online, repository
from tocsin_shared.trust.bundles import read_notes
from tocsin_shared.trust.repository import OnlineKeys, Repository
from tocsin_shared.trust.roles import MODELS, RoleStatus

log = logging.getLogger(__name__)


class Trust:
    """The repository in a folder, and the keys in another one. Safe to use from several threads.

    The keys are read when they are first needed: a hub that cannot read them hears alarms all the same.
    """

    def __init__(self, folder: Path, keys: Path) -> None:
        self.repository = Repository(folder)
        self.writing = threading.Lock()
        """Held by whoever writes to the repository."""
        self._folder = keys
        self._online: OnlineKeys | None = None
        self._director: CryptoSigner | None = None

    def offered(self) -> tuple[Offered, ...]:
        """Every release that is signed; what this version does not understand is left out.

        Raises:
            SettingsError: the repository cannot be read.
        """
        found = []
        for path, target in self.repository.role(MODELS).signed.targets.items():
            try:
                notes = read_notes(target.custom)
            except BundleError as error:
                log.warning("%s: %s", path, error)
                continue
            variant = Variant(
                notes.name,
                notes.release,
                notes.variant,
                target.hashes["sha256"],
                notes.runtime,
                notes.hardware,
                notes.min_node,
            )
            found.append((variant, notes.floor))
        return grouped(found)

    def renew(self, now_us: int) -> tuple[str, ...]:
        """Sign snapshot and timestamp again where that is due; what was signed.

        Raises:
            SettingsError, BadInputError: the repository is damaged, or the keys are not the right ones.
            UnavailableError: the disk does not take it.
        """
        with self.writing:
            if self._online is None:
                self._online = online.online_keys(self._folder)
            return repository.renew(self.repository, self._online, _moment(now_us))

    def status(self, now_us: int) -> tuple[RoleStatus, ...]:
        """How every role stands.

        Raises:
            SettingsError: the repository cannot be read.
        """
        return tuple(repository.status(self.repository, _moment(now_us)))

    def check_director(self) -> None:
        """See whether nodes would believe this hub's directives.

        Raises:
            SettingsError: the key cannot be read, or is not the one that the repository names.
        """
        if self._signer().public_key.keyid not in self.repository.director_keys():
            raise SettingsError(
                f"{self._folder}: director.key is not the one that the repository names; "
                "tocsin trust rotate director"
            )

    def signed(self, order: Order) -> bytes:
        """The directive of ``order`` as it travels; the same order gives the same bytes.

        Raises:
            SettingsError: the key cannot be read.
        """
        made = directive.Directive(
            node=order.node,
            seq=order.seq,
            issued=from_us(order.issued_us),
            expires=from_us(order.expires_us),
            rollout=order.rollout,
            name=order.variant.name,
            release=order.variant.release,
            variant=order.variant.variant,
            sha256=order.variant.sha256,
            soak_seconds=order.soak_seconds,
            shadow_seconds=order.shadow_seconds,
        )
        return directive.signed(made, self._signer())

    def _signer(self) -> CryptoSigner:
        if self._director is None:
            self._director = online.director_key(self._folder)
        return self._director


def trust_of(settings: UpdateSettings) -> Trust | None:
    """The trust that ``settings`` name; ``None`` where nothing goes over the air.

    Raises:
        SettingsError: there is a repository, but no folder of keys.
    """
    if settings.repository is None:
        return None
    if settings.keys is None:
        raise SettingsError("updates.repository is set: set updates.keys, too (tocsin trust init --online)")
    return Trust(settings.repository, settings.keys)


def _moment(now_us: int) -> datetime:
    return from_us(now_us).astimezone(UTC)
