"""A whole hub in this process, served over HTTP and Socket.IO: all but the broker is real."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from werkzeug.serving import WSGIRequestHandler, make_server

from tests.hub.parts import birth, heartbeat
from tocsin_hub.root import Hub
from tocsin_shared import codec
from tocsin_shared.topics import node_topic


class _Quiet(WSGIRequestHandler):
    def log_request(self, *_: Any) -> None:
        """One line for each request helps nobody."""


@contextmanager
def served(hub: Hub, port: int) -> Iterator[threading.Event]:
    """Serve ``hub`` on ``port``; set the event to answer 503 only, as a proxy before a dead hub does."""
    deaths: list[str] = []
    down = threading.Event()

    def application(environ: Any, start_response: Any) -> Any:
        if down.is_set():
            start_response("503 Service Unavailable", [("Content-Length", "0")])
            return [b""]
        return hub.app(environ, start_response)

    server = make_server("127.0.0.1", port, application, threaded=True, request_handler=_Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    hub.live.start(deaths.append)
    hub.writer.start(hub.ingest.settle, deaths.append)
    hub.services.phones.start(deaths.append)
    hub.engine.start(deaths.append)
    thread.start()
    try:
        yield down
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()
        hub.stop()
    assert deaths == []


def listen(hub: Hub, node: str = "press-1", room: str = "Press shop", **changes: Any) -> None:
    """A node that listens, or that says what ``changes`` make of its heartbeat."""
    hub.services.rooms.set_hearing(True, hub.services.clock())
    now = datetime.now(UTC)
    for kind, words in (
        ("birth", birth(node=node, room=room, at=now, heartbeat_seconds=60.0)),
        ("hb", heartbeat(node=node, at=now, **changes)),
    ):
        hub.ingest.receive(node_topic(node, kind), codec.encode(words), False, None)
