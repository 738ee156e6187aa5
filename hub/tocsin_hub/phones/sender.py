"""One encrypted message to one push service, at an address that came from outside.

The name of the service is resolved here and every address it has is judged; the connection goes to the
address that was judged, so that a name that changes its meaning in between leads nowhere. Redirects are
not followed.
"""

import email.utils
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from pywebpush import WebPusher, WebPushException

from tocsin_hub.phones.endpoints import Endpoint, is_public, parse_endpoint
from tocsin_hub.phones.model import Phone
from tocsin_hub.phones.settings import PushSettings
from tocsin_hub.phones.vapid import Signer
from tocsin_shared.errors import BadInputError

Resolver = Callable[[str, int], Sequence[str]]
"""IP addresses of a host, as texts; raises OSError."""

_READ_BYTES = 4096
_SHOWN_WORDS = 160
_IDLE_SECONDS = 20.0
"""A connection that was not used for longer is made anew, and the name resolved again."""
_LONGEST_WAIT = 3600.0


@dataclass(frozen=True)
class Sent:
    """What a push service said to a message."""

    accepted: bool
    gone: bool = False
    """The phone is not registered there any more: 404 or 410."""
    retry_seconds: float | None = None
    """It asks to be left alone for so long; ``None``: trying again soon may help or not."""
    again: bool = False
    """The same message may be taken at another try: 429, 5xx, or no answer at all."""
    error: str = ""
    """Why not, for an officer; without the phone's address."""


def resolve(host: str, port: int) -> Sequence[str]:
    """All addresses of ``host``, as the system knows them.

    Raises:
        OSError: there is none.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(item[4][0]) for item in found))


class Sender:
    """Sends. Safe to use from several threads; connections are kept and used again."""

    def __init__(
        self,
        settings: PushSettings,
        signer: Signer,
        resolver: Resolver = resolve,
        trusted: ssl.SSLContext | None = None,
    ) -> None:
        self._settings = settings
        self._signer = signer
        self._resolve = resolver
        self._tls = trusted or ssl.create_default_context()
        self._parse = lru_cache(4096)(lambda text: parse_endpoint(text, settings.hosts, settings.test_port))
        self._lock = threading.Lock()
        self._kept: dict[tuple[str, int], list[tuple[http.client.HTTPConnection, float]]] = {}
        self._closed = False

    def close(self) -> None:
        """Close the connections that nobody uses; the others are closed when they are given back."""
        with self._lock:
            self._closed = True
            kept = [one for many in self._kept.values() for one, _ in many]
            self._kept.clear()
        for connection in kept:
            connection.close()

    def endpoint(self, text: str) -> Endpoint:
        """The parts of an endpoint that these settings allow.

        Raises:
            BadInputError: they do not.
        """
        return self._parse(text)

    def send(self, phone: Phone, payload: bytes, headers: dict[str, str]) -> Sent:
        """Encrypt ``payload`` for ``phone`` and hand it over; never raises."""
        try:
            endpoint = self.endpoint(phone.endpoint)
            keys = {"p256dh": phone.p256dh, "auth": phone.auth}
            body = WebPusher({"endpoint": phone.endpoint, "keys": keys}).encode(payload)["body"]
        except BadInputError as error:
            return Sent(accepted=False, error=str(error))
        except (WebPushException, ValueError, TypeError, LookupError) as error:
            return Sent(accepted=False, gone=True, error=f"the phone's key cannot be used: {error}")
        try:
            return self._post(endpoint, body, headers)
        except TimeoutError:
            words = f"{endpoint.host} did not answer within {self._settings.timeout_seconds:g} s"
            return Sent(accepted=False, again=True, error=words)
        except (OSError, http.client.HTTPException) as error:
            return Sent(
                accepted=False, again=True, error=f"{endpoint.host} cannot be reached: {_words(error)}"
            )

    def _post(self, endpoint: Endpoint, body: bytes, headers: dict[str, str]) -> Sent:
        whole = {
            "TTL": str(self._settings.ttl_seconds),
            "Content-Encoding": "aes128gcm",
            "Content-Type": "application/octet-stream",
            "Authorization": self._signer.authorization(endpoint.origin),
            **headers,
        }
        connection = self._take(endpoint)
        if connection is not None:
            try:
                return self._asking(connection, endpoint, body, whole)
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
                pass  # the service closed a connection that had rested: the message did not get there
        return self._asking(self._connect(endpoint), endpoint, body, whole)

    def _asking(
        self, connection: http.client.HTTPConnection, endpoint: Endpoint, body: bytes, headers: dict[str, str]
    ) -> Sent:
        try:
            answer = _ask(connection, endpoint, body, headers)
        except BaseException:
            connection.close()
            raise
        self._give_back(connection, endpoint, usable=not answer.will_close)
        return _judge(endpoint, answer)

    def _take(self, endpoint: Endpoint) -> http.client.HTTPConnection | None:
        """A connection to the service that rests, if there is one that has not rested for too long."""
        now = time.monotonic()
        found = None
        with self._lock:
            resting = self._kept.get((endpoint.host, endpoint.port), [])
            while resting and found is None:
                connection, last = resting.pop()
                if now - last < _IDLE_SECONDS:
                    found = connection
                else:
                    connection.close()
        return found

    def _give_back(self, connection: http.client.HTTPConnection, endpoint: Endpoint, *, usable: bool) -> None:
        with self._lock:
            if usable and not self._closed:
                resting = self._kept.setdefault((endpoint.host, endpoint.port), [])
                resting.append((connection, time.monotonic()))
                return
        connection.close()

    def _connect(self, endpoint: Endpoint) -> http.client.HTTPConnection:
        seconds = self._settings.timeout_seconds
        if endpoint.scheme == "http":  # a test's
            return http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=seconds)
        addresses = list(self._resolve(endpoint.host, endpoint.port))
        if not addresses or not all(is_public(address) for address in addresses):
            raise OSError("its name leads to an address that is not on the internet")
        return _Pinned(endpoint.host, endpoint.port, addresses, self._tls, seconds)


class _Pinned(http.client.HTTPSConnection):
    """A connection to one of the addresses that were judged, with the certificate of the name."""

    def __init__(
        self, host: str, port: int, addresses: Sequence[str], tls: ssl.SSLContext, seconds: float
    ) -> None:
        super().__init__(host, port, timeout=seconds, context=tls)
        self._addresses = addresses
        self._tls = tls
        self._seconds = seconds

    def connect(self) -> None:
        """Called by http.client before the first request."""
        raw = self._reach()
        try:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.sock = self._tls.wrap_socket(raw, server_hostname=self.host)
        except BaseException:
            raw.close()
            raise

    def _reach(self) -> socket.socket:
        deadline = time.monotonic() + self._seconds
        reason: OSError = OSError("it has no address")
        for address in self._addresses:
            rest = deadline - time.monotonic()
            if rest <= 0:
                break
            try:
                raw = socket.create_connection((address, self.port), timeout=rest)
            except OSError as error:
                reason = error
            else:
                raw.settimeout(self._seconds)
                return raw
        raise reason


@dataclass(frozen=True)
class _Answer:
    status: int
    retry_after: str
    words: str
    will_close: bool


def _ask(
    connection: http.client.HTTPConnection, endpoint: Endpoint, body: bytes, headers: dict[str, str]
) -> _Answer:
    connection.request("POST", endpoint.target, body, headers)
    response = connection.getresponse()
    text = response.read(_READ_BYTES)
    # What is longer than that is left unread, so the connection cannot be used again.
    will_close = response.will_close or not response.isclosed()
    words = text.decode("utf-8", "replace")
    return _Answer(response.status, response.getheader("Retry-After") or "", words, will_close)


def _judge(endpoint: Endpoint, answer: _Answer) -> Sent:
    status = answer.status
    if status in {200, 201, 202, 204}:
        return Sent(accepted=True)
    if status in {404, 410}:
        error = f"{endpoint.host} does not know the phone any more ({status}); open its page to register anew"
        return Sent(accepted=False, gone=True, error=error)
    if status == 429 or status >= 500:
        wait = _wait_seconds(answer.retry_after)
        asks = "" if wait is None else f" and asks to wait {wait:.0f} s"
        return Sent(False, again=True, retry_seconds=wait, error=f"{endpoint.host} answered {status}{asks}")
    if 300 <= status < 400:
        return Sent(
            False,
            error=f"{endpoint.host} answered {status}: it wants the message elsewhere, where none is sent",
        )
    return Sent(
        False, error=f"{endpoint.host} refused the message ({status}): {_clean(answer.words)}".rstrip(": ")
    )


def _wait_seconds(text: str) -> float | None:
    """Seconds in a header ``Retry-After``: a number, or a date (RFC 9110, section 10.2.3)."""
    if text.isascii() and text.isdigit() and len(text) < 10:
        return min(float(text), _LONGEST_WAIT)
    try:
        at = email.utils.parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(0.0, at - time.time()), _LONGEST_WAIT)


def _words(error: Exception) -> str:
    return _clean(getattr(error, "strerror", None) or str(error) or type(error).__name__)


def _clean(text: str) -> str:
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())[:_SHOWN_WORDS]
