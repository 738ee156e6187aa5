"""The watchdog: a process in which anything stands still is taken down, with the reason, and starts anew.

Three nets below one another. While every thread makes headway, systemd is told so, and a timer of the C
library is wound up. If a thread stalls, it is named in the log and the process stops in order, with exit
status 1. If even that does not come about, because a lock or the whole Python interpreter hangs, the
timer ends the process at once, with status 1 and the place where each thread stood; it needs no Python
for that. And if the timer failed as well, systemd would miss its sign of life.
"""

import faulthandler
import logging
import sys
import sysconfig
import threading
import time
from collections.abc import Callable

from tocsin_node.beats import Beats
from tocsin_node.systemd import Notifier

STOP_SECONDS = 40.0
"""A process that stops, for whatever reason, is ended after this if it still stands."""
_SLOWEST_CHECK_SECONDS = 5.0

log = logging.getLogger("tocsin.node.watchdog")


class Watchdog:
    """Looks after ``beats``; :meth:`run` belongs in a thread of its own.

    ``status`` says in a line how the node fares; ``on_stall`` begins an orderly stop
    for the reason that it is given.
    """

    def __init__(
        self,
        beats: Beats,
        notifier: Notifier,
        status: Callable[[], str],
        on_stall: Callable[[str], None],
    ) -> None:
        self._beats = beats
        self._notifier = notifier
        self._status = status
        self._on_stall = on_stall
        wished = (notifier.watchdog_seconds or 2.0 * _SLOWEST_CHECK_SECONDS) / 2.0
        self._interval = min(_SLOWEST_CHECK_SECONDS, beats.limit_seconds / 4.0, wished)

    def run(self, stop: threading.Event) -> None:
        """Watch until ``stop``, or until a thread stalls."""
        told = ""
        while not stop.is_set():
            if stalled := self._beats.stalled(time.monotonic()):
                reason = "no headway: " + ", ".join(map(str, stalled))
                log.critical("%s; the node stops so that it can start anew", reason)
                self._notifier.tell(STATUS=reason)
                faulthandler.dump_traceback(sys.__stderr__ or 2)
                self._on_stall(reason)
                return
            last_resort(self._beats.limit_seconds + 2.0 * self._interval)
            status = self._status()
            self._notifier.tell(WATCHDOG=1, **({"STATUS": status} if status != told else {}))
            told = status
            stop.wait(self._interval)


def last_resort(seconds: float) -> None:
    """End the process in ``seconds`` with status 1, come what may, unless this is called again before.

    Where Python's locks wait by the wall clock (a C library before glibc 2.30), there is no such end: the
    network sets the clock of a board from 1970 to today, and that would be it.
    """
    if not sysconfig.get_config_var("HAVE_SEM_CLOCKWAIT"):
        return
    faulthandler.dump_traceback_later(seconds, exit=True, file=sys.__stderr__ or 2)


def no_last_resort() -> None:
    """Let the process live."""
    faulthandler.cancel_dump_traceback_later()
