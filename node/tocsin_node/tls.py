"""The edge to the certificates of the connection: how long the node's own and the broker's are good.

A certificate that ends takes the node off the air at that very moment, years after somebody made it.
"""

import logging
import ssl
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

from tocsin_node.retiming import PLAUSIBLE_SECONDS
from tocsin_shared.broker import BrokerSettings
from tocsin_shared.certificate import WARN_DAYS, days_left, first_certificate, not_after
from tocsin_shared.errors import BadInputError
from tocsin_shared.events import TroubleKind

log = logging.getLogger("tocsin.node.tls")


class CertificateWatch:
    """Days that both certificates are good for; ``trouble`` is told of each that ends soon or has ended.

    ``now`` gives the wall clock in seconds since 1970. Thread-safe: each attribute is set as a whole.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        trouble: Callable[[TroubleKind, str], None] = lambda _kind, _detail: None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._trouble = trouble
        self._now = now
        self._broker_end: datetime | None = None

    def note_connection(self, opened: Any) -> None:
        """Read the certificate that the broker showed on the socket ``opened``, if it is one of TLS."""
        self._broker_end = None
        if not isinstance(opened, ssl.SSLSocket):
            return
        try:
            self._broker_end = not_after(opened.getpeercert(binary_form=True) or b"")
        except (BadInputError, OSError, ValueError) as error:
            log.warning("the broker's certificate cannot be read: %s", error)
        self.check()

    def note_failure(self, error: Exception) -> str:
        """What to say of a connection that failed with ``error``."""
        if not isinstance(error, ssl.SSLCertVerificationError):
            return str(error)
        text = f"the broker's certificate is refused: {error.verify_message}"
        if self._now() < PLAUSIBLE_SECONDS:
            text += "; the clock of this node was never set, and without a time no certificate can be checked"
        else:
            self._trouble(TroubleKind.BROKER_CERTIFICATE, text)
        return text

    def check(self) -> tuple[float | None, float | None]:
        """Days left of the node's own certificate and of the broker's; ``None`` where there is none."""
        own = self._days(TroubleKind.OWN_CERTIFICATE, "the node's own certificate", self._own_end())
        broker = self._days(TroubleKind.BROKER_CERTIFICATE, "the broker's certificate", self._broker_end)
        return own, broker

    def _own_end(self) -> datetime | None:
        # Read anew each time: one that was renewed on the disk is used by the next connection.
        path = self._settings.cert_file
        if path is None:
            return None
        try:
            return not_after(first_certificate(path.read_text(encoding="ascii", errors="replace")))
        except (OSError, BadInputError) as error:
            self._trouble(TroubleKind.OWN_CERTIFICATE, f"{path} cannot be read: {error}")
            return None

    def _days(self, kind: TroubleKind, whose: str, end: datetime | None) -> float | None:
        now = self._now()
        if end is None or now < PLAUSIBLE_SECONDS:
            return None
        left = days_left(end, now)
        if left < WARN_DAYS:
            ends = "has ended" if left < 0 else "ends"
            self._trouble(kind, f"{whose} {ends} on {end:%Y-%m-%d %H:%M} UTC: renew it")
        else:
            self._trouble(kind, "")
        return left
