"""Serves the trust repository to nodes: metadata, and bundles in parts, at a rate that leaves the line free.

Nobody logs in here: what is served is signed, a node believes nothing else of it, and it is no secret. Only
names that a repository has are looked for, so no address leads out of its folder.
"""

import os
import random
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO

from flask import Blueprint, Response, abort, request
from werkzeug.http import parse_range_header, quote_etag

from tocsin_hub.people.limits import limit
from tocsin_hub.rollouts.pacing import Pacing
from tocsin_hub.services import services

updates = Blueprint("updates", __name__, url_prefix="/updates")
CHUNK_BYTES = 32 * 1024
RETRY_SECONDS = (5, 20)
"""A node that found no slot comes again after so long; not all at once, or they would hold up alarms."""
STALLED_SECONDS = 30.0
"""A node that does not take one chunk in this time is cut off; it goes on where it was."""
_METADATA = re.compile(r"(?:[0-9]{1,9}\.(?:root|targets|models|snapshot)|timestamp)\.json")
_FOLDER = re.compile(r"config|models/[a-z0-9-]{1,32}")
_FILE = re.compile(r"(?P<sha256>[0-9a-f]{64})\.[A-Za-z0-9][A-Za-z0-9._-]{0,120}")


@dataclass(frozen=True)
class Part:
    """Bytes of a file that are asked for: from ``start`` on, ``stop`` is the first that is not."""

    start: int
    stop: int
    length: int
    """Of the whole file."""

    @property
    def whole(self) -> bool:
        """Whether nothing is left out."""
        return (self.start, self.stop) == (0, self.length)


def _rule() -> str:
    return f"{services().settings.access.api_per_minute} per minute"


@updates.get("/metadata/<name>")
@limit(_rule)
def metadata(name: str) -> Response:
    """One file of signed metadata, whole."""
    if not _METADATA.fullmatch(name):
        abort(HTTPStatus.NOT_FOUND)
    try:
        content = (_folder() / "metadata" / name).read_bytes()
    except OSError:
        abort(HTTPStatus.NOT_FOUND)
    return Response(content, mimetype="application/json")


@updates.get("/targets/<path:folder>/<name>")
@limit(_rule)
def target(folder: str, name: str) -> Response:
    """A bundle, or a part of it; 503 with ``Retry-After`` while as many as may be are under way."""
    found = _FILE.fullmatch(name)
    if found is None or not _FOLDER.fullmatch(folder):
        abort(HTTPStatus.NOT_FOUND)
    pacing = services().pacing
    if not pacing.take():
        busy = Response("as many downloads as may be are under way; come again\n", 503, mimetype="text/plain")
        busy.headers["Retry-After"] = str(random.randint(*RETRY_SECONDS))  # noqa: S311 - no secret
        return busy
    try:
        return _answer(_folder() / "targets" / folder / name, found["sha256"], pacing)
    except BaseException:
        pacing.give_back()
        raise


def _folder() -> Path:
    folder = services().settings.updates.repository
    if folder is None:
        abort(HTTPStatus.NOT_FOUND)
    return folder


def _answer(path: Path, sha256: str, pacing: Pacing) -> Response:
    """The answer, whose body gives the slot of ``pacing`` back."""
    try:
        file = path.open("rb")
    except OSError:
        abort(HTTPStatus.NOT_FOUND)
    part = wanted(
        os.fstat(file.fileno()).st_size, sha256, request.headers.get("Range"), request.headers.get("If-Range")
    )
    if part is None:
        length = os.fstat(file.fileno()).st_size
        file.close()
        pacing.give_back()
        beyond = Response(status=HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
        beyond.headers["Content-Range"] = f"bytes */{length}"
        return beyond
    body = _Body(file, part, pacing, request.environ.get("gunicorn.socket"))
    status = HTTPStatus.OK if part.whole else HTTPStatus.PARTIAL_CONTENT
    answer = Response(body if request.method == "GET" else b"", status, mimetype="application/octet-stream")
    answer.call_on_close(body.close)
    answer.headers["Content-Length"] = str(part.stop - part.start)
    answer.headers["Accept-Ranges"] = "bytes"
    answer.headers["ETag"] = quote_etag(sha256)
    if not part.whole:
        answer.headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{part.length}"
    return answer


def wanted(length: int, sha256: str, ranges: str | None, if_range: str | None) -> Part | None:
    """Which part of a file of ``length`` bytes is asked for; ``None`` if there is no such part.

    One range is served, and only of the very content that the asker has begun with (RFC 9110, 13.1.5 and
    14.2); for several ranges, or ones that nobody understands, the whole file is.
    """
    whole = Part(0, length, length)
    asked = parse_range_header(ranges) if ranges else None
    if asked is None or asked.units != "bytes" or len(asked.ranges) != 1:
        return whole
    if if_range is not None and if_range.strip() != quote_etag(sha256):
        return whole
    bounds = asked.range_for_length(length)
    return None if bounds is None else Part(*bounds, length)


class _Body:
    """Chunks of a part of a file, as fast as may be. It is read by one thread."""

    def __init__(self, file: BinaryIO, part: Part, pacing: Pacing, line: socket.socket | None) -> None:
        self._file, self._part, self._pacing, self._line = file, part, pacing, line
        self._closed = False

    def __iter__(self) -> Iterator[bytes]:
        if self._line is not None:  # a node that takes nothing must not keep a slot and a thread
            self._line.settimeout(STALLED_SECONDS)
        self._file.seek(self._part.start)
        left = self._part.stop - self._part.start
        try:
            while left and (chunk := self._file.read(min(CHUNK_BYTES, left))):
                left -= len(chunk)
                self._pacing.wait(len(chunk))
                yield chunk
        finally:
            self.close()

    def close(self) -> None:
        """Called once the answer was sent, or nobody takes it any more."""
        if self._closed:
            return
        self._closed = True
        if self._line is not None:
            self._line.settimeout(None)
        self._file.close()
        self._pacing.give_back()
