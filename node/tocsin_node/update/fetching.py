"""The edge to the hub's web server, for everything that an update fetches: urllib3, without trust in it.

No redirect is followed, nothing is unpacked on the way, and no reading lasts longer than it may, however
slowly the bytes drip.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import urllib3
from tuf.api.exceptions import DownloadHTTPError, SlowRetrievalError
from tuf.ngclient.fetcher import FetcherInterface

CHUNK_BYTES = 16 * 1024


@dataclass(frozen=True)
class Answer:
    """The begin of an answer, and its body as it comes."""

    status: int
    headers: Mapping[str, str]
    chunks: Iterator[bytes]


class Web:
    """GET over HTTP or HTTPS. ``ca_file`` names the authorities that are believed instead of the system's."""

    def __init__(self, ca_file: Path | None = None, socket_seconds: float = 10.0) -> None:
        self._pool = urllib3.PoolManager(
            ca_certs=None if ca_file is None else str(ca_file),
            timeout=urllib3.Timeout(connect=socket_seconds, read=socket_seconds),
            retries=False,
        )

    @contextlib.contextmanager
    def get(self, url: str, headers: Mapping[str, str] | None = None) -> Iterator[Answer]:
        """The answer to a GET of ``url``.

        Raises:
            OSError, urllib3.exceptions.HTTPError: as they come; the callers map them.
        """
        sent = {"Accept-Encoding": "identity", "User-Agent": "tocsin-node"} | dict(headers or {})
        response = self._pool.request(
            "GET", url, headers=sent, preload_content=False, redirect=False, decode_content=False
        )
        try:
            yield Answer(response.status, response.headers, _chunks(response))
        finally:
            response.close()  # not back into the pool: what was not read would be taken for the next answer


def _chunks(response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    while chunk := response.read1(CHUNK_BYTES, decode_content=False):
        yield chunk


class MetadataFetcher(FetcherInterface):
    """Fetches metadata for python-tuf, all of it within ``seconds``."""

    def __init__(self, web: Web, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._web, self._clock = web, clock
        self._until = clock() + seconds

    def _fetch(self, url: str) -> Iterator[bytes]:
        with self._web.get(url) as answer:
            if answer.status != 200:
                raise DownloadHTTPError(f"{url}: HTTP {answer.status}", answer.status)
            for chunk in answer.chunks:
                if self._clock() > self._until:
                    raise SlowRetrievalError(f"{url}: metadata came too slowly")
                yield chunk
