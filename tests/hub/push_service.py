"""A push service for tests, which takes, refuses or hangs as the path says, and browsers that can decrypt."""

import base64
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import http_ece
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tocsin_hub.phones.model import Phone


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def unpadded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass
class Browser:
    """Has keys, and reads what was encrypted for it."""

    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    auth: bytes = field(default_factory=lambda: os.urandom(16))

    @property
    def p256dh(self) -> str:
        public = self.key.public_key().public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        )
        return base64url(public)

    def subscription(self, endpoint: str, language: str = "en") -> dict[str, Any]:
        """What its page posts to the hub."""
        keys = {"p256dh": self.p256dh, "auth": base64url(self.auth)}
        return {"endpoint": endpoint, "keys": keys, "language": language}

    def phone(self, endpoint: str, person: str = "p1", number: int = 1, **changes: Any) -> Phone:
        """How the hub knows it."""
        fields: dict[str, Any] = {
            "id": f"phone-{number}",
            "person": person,
            "endpoint": endpoint,
            "p256dh": self.p256dh,
            "auth": base64url(self.auth),
            "language": "en",
            "user_agent": "a browser",
            "created_us": number,
        }
        return Phone(**{**fields, **changes})

    def read(self, body: bytes) -> dict[str, Any]:
        """Decrypt a message (RFC 8291)."""
        text = http_ece.decrypt(body, private_key=self.key, auth_secret=self.auth, version="aes128gcm")
        message: dict[str, Any] = json.loads(text)
        return message


@dataclass(frozen=True)
class Taken:
    """A request that arrived."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: float
    """Seconds since 1970, by the clock of this machine."""


class PushService:
    """Answers ``/STATUS/…`` with that status, ``/hang/…`` late, ``/redirect/…`` with another place."""

    def __init__(self) -> None:
        self.taken: list[Taken] = []
        self.retry_after = ""
        self.location = "http://127.0.0.1:9/inside"
        self.released = threading.Event()
        self.connections = 0
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self) -> None:
                service.connections += 1
                super().setup()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                service.taken.append(Taken(self.path, dict(self.headers.items()), body, time.time()))
                service.answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        kind = handler.path.split("/")[1]
        if kind == "hang":
            self.released.wait(60)
        status = {"hang": 503, "redirect": 307, "once": 201 if len(self.taken) > 1 else 503}.get(kind)
        handler.send_response(int(kind) if status is None else status)
        if kind == "redirect":
            handler.send_header("Location", self.location)
        if self.retry_after:
            handler.send_header("Retry-After", self.retry_after)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}/{path}"

    def stop(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def push_service() -> Iterator[PushService]:
    """A push service for the life of the ``with`` block."""
    service = PushService()
    try:
        yield service
    finally:
        service.stop()
