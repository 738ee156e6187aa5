"""The process that serves: gunicorn with one worker of many threads, in which a whole hub lives.

The hub is built and started in the worker, so that a worker that dies takes its threads along and the
master starts a whole one again. One worker only: a second hub could not lead. Web processes are served
alike, each a process of its own.
"""

import errno
import gc
import logging
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from flask import Flask
from gunicorn.app.base import BaseApplication

from tocsin_hub.root import build as build_hub
from tocsin_hub.settings import HubSettings, WebSettings
from tocsin_shared.errors import TocsinError, UnavailableError

_GRACE_SECONDS = 1
"""A worker that ends waits this long for answers under way; open dashboards connect again anyway."""
_END_SECONDS = 25
"""A worker gets this long to end, its last commit included, before it is killed."""
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - gunicorn makes a file of its own in it

log = logging.getLogger(__name__)


class Served(Protocol):
    """What a worker serves."""

    @property
    def app(self) -> Flask:
        """Its application."""

    def start(self) -> None:
        """Start all threads."""

    def stop(self) -> None:
        """Stop all threads; what was received is committed."""


def serve(settings: HubSettings, build: Callable[[HubSettings], Served] = build_hub) -> int:
    """Serve what is built until the process is told to end; the exit status."""
    try:
        _Server(settings, build).run()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    return 0


def check_address(web: WebSettings) -> None:
    """Try whether the address can be listened on, for a clear word where gunicorn would try and try.

    Raises:
        UnavailableError: it is in use, not of this machine, or not allowed.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            web.host, web.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except OSError as error:
        remedy = "end the program that uses it, or change" if error.errno == errno.EADDRINUSE else "change"
        raise UnavailableError(
            f"cannot listen on {web.host} port {web.port}: {error.strerror}; {remedy} [web] host or port"
        ) from error


def fit_python() -> None:
    """Set Python itself for a process that has much to do in several threads.

    Its collector passes over what was there at the start, and waits for more than 700 new objects: each
    message makes some thirty that live until its commit, and hardly any in cycles, and by default a third of
    a message's time went into looking for those.

    Threads take turns every 0.5 ms, not 5: the writer asks for its turn after every statement, and while a
    storm was read, a commit of 500 took 150 ms instead of 15.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    sys.setswitchinterval(0.0005)


class _Server(BaseApplication):  # type: ignore[misc]
    """gunicorn, told all it needs without a command line."""

    def __init__(self, settings: HubSettings, build: Callable[[HubSettings], Served]) -> None:
        self._settings = settings
        self._build = build
        self._served: Served | None = None
        super().__init__()

    def load_config(self) -> None:
        """Called by gunicorn for its settings."""
        web = self._settings.web
        host = f"[{web.host}]" if ":" in web.host else web.host
        for name, value in {
            "bind": f"{host}:{web.port}",
            "worker_class": "gthread",
            "workers": 1,
            "threads": web.threads,
            # More than threads: a connection that waits for its next request holds no thread.
            "worker_connections": web.threads + 256,
            "graceful_timeout": _END_SECONDS,
            "proc_name": "tocsin-hub",
            # The worker's sign of life is a file; on an SD card it would be written every second.
            "worker_tmp_dir": str(_SHARED_MEMORY) if _SHARED_MEMORY.is_dir() else None,
            "control_socket_disable": True,
            # gunicorn has one setting for both times; the worker has its own copy of it.
            "post_worker_init": lambda worker: worker.cfg.set("graceful_timeout", _GRACE_SECONDS),
            "worker_exit": self._worker_exit,
        }.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        """Called by gunicorn in the worker for the application: here it begins to live."""
        try:
            self._served = self._build(self._settings)
            self._served.start()
        except TocsinError as error:
            log.critical("cannot start: %s", error)
            raise
        fit_python()
        return self._served.app

    def _worker_exit(self, _arbiter: object, _worker: object) -> None:
        """Called by gunicorn in the worker when it ends."""
        if self._served is not None:
            self._served.stop()
            logging.shutdown()
            sys.stdout.flush()
            # Threads of open dashboards would hold the process back until they are closed.
            os._exit(0)
