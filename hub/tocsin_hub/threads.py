"""How the hub's threads begin and end: each has a name, and one that dies takes the process down."""

import logging
import os
import threading
from collections.abc import Callable

DEATH_STATUS = 70
"""Exit status of a process whose thread died (EX_SOFTWARE)."""

log = logging.getLogger(__name__)


def end_process(name: str) -> None:
    """Leave at once: half a hub, which takes no events or stores none, is worse than one that starts anew."""
    logging.shutdown()
    os._exit(DEATH_STATUS)


def start_thread(
    name: str, run: Callable[[], None], on_death: Callable[[str], None] = end_process
) -> threading.Thread:
    """Start ``run`` in a thread called ``name``; when it raises, log why and call ``on_death``."""

    def root() -> None:
        try:
            run()
        except Exception:  # the root of a thread: whatever ends it must be seen, and must not go unnoticed
            log.critical("the thread %s died; the hub process ends and is started anew", name, exc_info=True)
            on_death(name)

    thread = threading.Thread(target=root, name=name, daemon=True)
    thread.start()
    return thread
