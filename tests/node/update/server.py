"""A small web server for a trust repository that can cut, stall, drip and lie."""

import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote


@dataclass
class Mischief:
    """What goes wrong with files whose name ends in ``about``; nothing by default."""

    about: str = ".tar"
    cut_at: list[int] = field(default_factory=list)
    """Total bytes after which a connection is cut, one for each connection."""
    status: int = 0
    """Answer this instead."""
    no_range: bool = False
    wrong_range: bool = False
    other_etag: bool = False
    longer: int = 0
    """So many bytes more than there are."""
    drip_seconds: float = 0.0
    """One byte each."""
    stall: bool = False
    redirect: str = ""
    change: Callable[[bytes], bytes] | None = None
    chunked: bool = False


class Server:
    """Serves ``folder`` on a port of 127.0.0.1."""

    def __init__(self, folder: Path, certificate: Path | None = None) -> None:
        self.folder, self.mischief = folder, Mischief()
        self.scheme = "http" if certificate is None else "https"
        self.sent = 0
        """Bytes of bodies of files that mischief is about."""
        self.requests: list[tuple[str, str]] = []
        """Path and Range of each."""
        self.released = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *_: Any) -> None:
                return

        return Handler

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path = unquote(request.path)
        self.requests.append((path, request.headers.get("Range", "")))
        file = self.folder / path.lstrip("/")
        mischief = self.mischief if path.endswith(self.mischief.about) else Mischief(about="")
        if mischief.redirect:
            request.send_response(302)
            request.send_header("Location", mischief.redirect)
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        if mischief.status or not file.is_file():
            request.send_error(mischief.status or 404)
            return
        content = file.read_bytes()
        content = content if mischief.change is None else mischief.change(content)
        self._body(request, content + b"x" * mischief.longer, file.name.split(".")[0], mischief)

    def _body(self, request: BaseHTTPRequestHandler, content: bytes, tag: str, mischief: Mischief) -> None:
        start = self._start(request, content, tag, mischief)
        if start is None:
            request.send_error(416)
            return
        shown = start + 1 if mischief.wrong_range and start else start
        request.send_response(206 if start else 200)
        request.send_header("ETag", '"other"' if mischief.other_etag else f'"{tag}"')
        if start:
            request.send_header("Content-Range", f"bytes {shown}-{len(content) - 1}/{len(content)}")
        if mischief.chunked:
            request.send_header("Transfer-Encoding", "chunked")
        else:
            request.send_header("Content-Length", str(len(content) - start))
        request.end_headers()
        self._send(request, content, start, mischief)

    def _start(
        self, request: BaseHTTPRequestHandler, content: bytes, tag: str, mischief: Mischief
    ) -> int | None:
        wanted = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
        if wanted is None or mischief.no_range:
            return 0
        if request.headers.get("If-Range", "").strip('"') != tag and not mischief.other_etag:
            return 0
        return int(wanted[1]) if int(wanted[1]) < len(content) else None

    def _send(self, request: BaseHTTPRequestHandler, content: bytes, start: int, mischief: Mischief) -> None:
        end = mischief.cut_at.pop(0) if mischief.cut_at else len(content)
        try:
            if mischief.stall:
                request.wfile.write(content[start : start + 100])
                request.wfile.flush()
                self.released.wait(60)
            elif mischief.drip_seconds:
                for at in range(start, end):
                    request.wfile.write(content[at : at + 1])
                    request.wfile.flush()
                    time.sleep(mischief.drip_seconds)
            elif mischief.chunked:
                for at in range(start, end, 4096):
                    piece = content[at : at + 4096]
                    request.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                request.wfile.write(b"0\r\n\r\n")
            else:
                request.wfile.write(content[start:end])
        except OSError:
            return
        if mischief.about:
            self.sent += max(0, end - start)
        if end < len(content):
            request.close_connection = True
            request.wfile.flush()


@contextmanager
def serving(folder: Path, certificate: Path | None = None) -> Iterator[Server]:
    """A server until the end of the block; over TLS with the key and certificate in ``certificate``."""
    server = Server(folder, certificate)
    try:
        yield server
    finally:
        server.close()
