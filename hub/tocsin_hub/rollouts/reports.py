"""What nodes said last about their bundles, in memory: the broker keeps it for the next start."""

import threading

from tocsin_shared.events import NodeReported


class Reports:
    """The newest word of each node. Safe to use from several threads."""

    def __init__(self) -> None:
        self._known: dict[str, NodeReported] = {}
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
