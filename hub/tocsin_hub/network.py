"""The one thread that moves what an MQTT client sends and hears; everybody else only queues.

It does what paho's own ``loop_forever`` does, by the functions that paho has for foreign loops, because

- there, whoever publishes or acknowledges writes to the socket itself. Two threads that write at once may
  tear each other's packets, and a TLS connection bears one thread only;
- it asks ``select``, which takes no socket beyond 1,024: with so many dashboards open, a hub whose
  connection broke could never make another one;
- it asks the kernel four times for each packet, and once for each acknowledgement.
"""

import contextlib
import selectors
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import MQTTErrorCode

_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 1.0, 3.0
"""Between two tries to connect: an alarm may be waiting at the broker."""
_TURN_SECONDS = 1.0
"""How often paho looks after its keepalive."""
_READ_BYTES = 65_536
_PACKETS_AT_ONCE = 200
"""So many are read before what waits is sent."""
_MOST_UNSENT_BYTES = 262_144
_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class GatheringSocket:
    """The socket of a connection, which reads ahead, and sends what was gathered when it is told to."""

    def __init__(self, inner: Any) -> None:
        """``inner`` is a connected socket, plain or of TLS."""
        self._inner = inner
        self._decrypted: Callable[[], int] = getattr(inner, "pending", int)
        self._read = b""
        self._at = 0
        self._unsent = bytearray()
        self._failure: OSError | None = None
        self.fileno = inner.fileno
        self.setblocking = inner.setblocking
        self.setsockopt = inner.setsockopt

    def recv(self, size: int) -> bytes:
        """At most ``size`` bytes; none if the other side has closed.

        Raises:
            OSError: there is nothing yet (as a socket that does not block says it), or the connection broke.
        """
        at = self._at
        if at >= len(self._read):
            if self._failure is not None:
                raise self._failure
            self._read, at = self._inner.recv(_READ_BYTES), 0
        self._at = at + size
        return self._read[at : self._at]

    def pending(self) -> bool:
        """Whether :meth:`recv` has something to say that the kernel does not know of."""
        return self._at < len(self._read) or self._failure is not None or self._decrypted() > 0

    def send(self, data: bytes | bytearray) -> int:
        """Keep ``data`` for :meth:`flush`; how much of it.

        Raises:
            BlockingIOError: too much waits already.
        """
        if len(self._unsent) >= _MOST_UNSENT_BYTES:
            raise BlockingIOError
        self._unsent += data
        return len(data)

    def flush(self) -> bool:
        """Send what was kept, as far as the kernel takes it; whether something is left."""
        try:
            while self._unsent:
                del self._unsent[: self._inner.send(self._unsent)]
        except _NOT_NOW:
            return True
        except OSError as error:
            self._failure = error  # the next recv says it: paho expects it there
            self._unsent.clear()
        return False

    def close(self) -> None:
        """Send what was kept, a farewell for the most part, and close."""
        self.flush()
        self._inner.close()


class GatheringClient(Client):
    """A paho client whose connections gather.

    This rests on a function that paho does not promise to keep. Without it, packets are read and sent one
    by one, and nothing else changes.
    """

    def _create_socket(self) -> GatheringSocket:
        return GatheringSocket(super()._create_socket())


class Network:
    """Connects ``client``, moves its packets, and connects it again, until it is stopped."""

    def __init__(self, client: Client, on_failure: Callable[[str], None]) -> None:
        """``client`` knows where to connect to; ``on_failure`` is told why that failed."""
        self._client = client
        self._on_failure = on_failure
        self._stopping = threading.Event()
        self._waking, self._woken = socket.socketpair()
        for end in (self._waking, self._woken):
            end.setblocking(False)
        client.on_socket_register_write = self._wake

    def run(self) -> None:
        """Return when it is stopped; it belongs into a thread of its own."""
        wait = _FIRST_WAIT_SECONDS
        while not self._stopping.is_set():
            if self._one_connection():
                wait = _FIRST_WAIT_SECONDS
            self._stopping.wait(wait)
            wait = min(2.0 * wait, _LONGEST_WAIT_SECONDS)
        self._waking.close()
        self._woken.close()

    def stop(self) -> None:
        """Disconnect and end."""
        self._stopping.set()
        self._client.disconnect()
        self._wake()

    def _wake(self, *_: object) -> None:
        with contextlib.suppress(OSError):  # it was woken often enough already, or has ended
            self._waking.send(b"\0")

    def _one_connection(self) -> bool:
        """One connection from the first packet to the last; whether the broker took it."""
        client = self._client
        try:
            client.reconnect()
        except (OSError, ValueError) as error:  # such as a name that cannot be one
            self._on_failure(f"the broker cannot be reached: {error}")
            return False
        if self._stopping.is_set():  # meanwhile, so that there was nothing to disconnect
            client.disconnect()
        accepted = False
        with selectors.DefaultSelector() as selector:
            selector.register(self._woken, selectors.EVENT_READ)
            line: Any = client.socket()
            if line is not None:
                selector.register(line, selectors.EVENT_READ)
            while client.socket() is not None:
                self._turn(selector, line)
                accepted = accepted or client.is_connected()
        return accepted

    def _turn(self, selector: selectors.BaseSelector, line: Any) -> None:
        """Wait until there is something to do, and do it."""
        client, flush = self._client, getattr(line, "flush", bool)
        unsent = flush() or client.want_write()
        selector.modify(line, selectors.EVENT_READ | (selectors.EVENT_WRITE if unsent else 0))
        woken, speaks = False, _pending(line)
        for key, mask in selector.select(0.0 if speaks else _TURN_SECONDS):
            if key.fileobj is self._woken:
                self._woken.recv(_READ_BYTES)
                woken = True
            elif mask & selectors.EVENT_READ:
                speaks = True
        if speaks:
            self._hear(line)
        # Also when what we were woken for is gone already: else paho takes us for woken, and never wakes us.
        if woken or client.want_write():
            client.loop_write()
        client.loop_misc()

    def _hear(self, line: Any) -> None:
        for _ in range(_PACKETS_AT_ONCE):
            result = self._client.loop_read()
            if result != MQTTErrorCode.MQTT_ERR_SUCCESS or not _pending(line):
                break


def _pending(line: Any) -> bool:
    return bool(getattr(line, "pending", int)())
