"""The edge to systemd: datagrams to the socket that NOTIFY_SOCKET names; without one, nothing happens.

The protocol is that of sd_notify(3): lines ``KEY=value`` in one datagram to a unix socket, whose name
begins with ``@`` if it lies in the abstract namespace.
"""

import logging
import os
import socket
from collections.abc import Mapping

log = logging.getLogger("tocsin.node.systemd")


class Notifier:
    """Tells whoever supervises this process how it fares."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        name = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + name[1:] if name.startswith("@") else name
        self.watchdog_seconds = _watchdog_seconds(environ)
        """The supervisor wants to hear of this process at least this often; ``None``: it does not care."""

    def tell(self, **lines: str | int) -> None:
        """Send ``lines``, such as ``READY=1``; a supervisor that does not listen is no error."""
        if not self._address:
            return
        text = "\n".join(f"{key}={str(value).replace(chr(10), ' ')}" for key, value in lines.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.settimeout(1.0)
                sender.connect(self._address)
                sender.send(text.encode("utf-8", "replace"))
        except OSError as error:
            log.warning("the supervisor's socket %r cannot be reached: %s", self._address, error)


def _watchdog_seconds(environ: Mapping[str, str]) -> float | None:
    """WATCHDOG_USEC, if it is meant for this process; see sd_watchdog_enabled(3)."""
    meant_for = environ.get("WATCHDOG_PID", "")
    if meant_for and meant_for != str(os.getpid()):
        return None
    text = environ.get("WATCHDOG_USEC", "")
    return int(text) / 1e6 if text.isascii() and text.isdecimal() and int(text) > 0 else None
