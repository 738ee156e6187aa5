"""What nodes said last about their bundles: in the database, and in memory for whoever looks often."""

import logging
import threading
from collections.abc import Mapping

from tocsin_hub.recorder import Recorder
from tocsin_hub.store import Store
from tocsin_shared import codec
from tocsin_shared.errors import DecodeError
from tocsin_shared.events import NodeReported

log = logging.getLogger(__name__)


def save(recorder: Recorder, report: NodeReported) -> None:
    """Keep the newest word of a node. Call it inside the writer's transaction."""
    recorder.database.execute(
        "INSERT INTO node_reports (node, document) VALUES (?, ?) "
        "ON CONFLICT (node) DO UPDATE SET document = excluded.document",
        (report.node, codec.encode(report).decode()),
    )


def saved(store: Store) -> dict[str, NodeReported]:
    """The newest word of every node, by node; what cannot be read was never said.

    Raises:
        UnavailableError: the database cannot be used at the moment.
    """
    found = {}
    for node, document in store.rows("SELECT node, document FROM node_reports"):
        try:
            found[node] = codec.decode(document.encode(), NodeReported)
        except DecodeError as error:
            log.warning("what %s said of its bundles cannot be read: %s", node, error)
    return found


class Reports:
    """The newest word of each node, beginning with those that are ``known``. Safe from several threads."""

    def __init__(self, known: Mapping[str, NodeReported]) -> None:
        self._known = dict(known)
        self._lock = threading.Lock()

    def take(self, report: NodeReported) -> bool:
        """Keep ``report``; whether it says anything new."""
        with self._lock:
            before = self._known.get(report.node)
            self._known[report.node] = report
        return before != report

    def all(self) -> dict[str, NodeReported]:
        """Every word, by node."""
        with self._lock:
            return dict(self._known)
