"""Redis between the hub and its web processes: what dashboards are shown, and the beats of all processes.

It is the message queue of Socket.IO. What is sent while Redis is away is dropped, and never waited for:
dashboards fetch what they missed from the database.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import msgspec
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from socketio.pubsub_manager import PubSubManager

from tocsin_hub.threads import end_process, start_thread
from tocsin_hub.web.beats import FRESH_SECONDS, Beat, Beats, Changed
from tocsin_shared.errors import SettingsError

CHANNEL = "tocsin"
ANSWER_SECONDS = 2.0
"""A Redis that does not answer for so long is away."""
_AGAIN_SECONDS = 1.0
_MOST_WAITING = 5000
_AT_ONCE = 500
_OURS = (b'{"method":"beat"', b'{"method":"changed"')
"""How messages of our own begin; all others are Socket.IO's."""
_FAULTS = (redis.RedisError, OSError)

log = logging.getLogger(__name__)


def connect(url: str, password: str | None) -> "redis.Redis":
    """A Redis that is asked in vain for at most :data:`ANSWER_SECONDS`; it connects with the first question.

    Raises:
        SettingsError: ``url`` is not one of a Redis.
    """
    try:
        return redis.Redis.from_url(
            url,
            password=password,
            socket_timeout=ANSWER_SECONDS,
            socket_connect_timeout=ANSWER_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
    except (ValueError, TypeError) as error:
        raise SettingsError(f"web.redis: {error}") from error


class RedisBus(PubSubManager):  # type: ignore[misc]
    """Carries what one process emits to the dashboards of all others."""

    name = "redis"

    def __init__(
        self, server: "redis.Redis", beats: Beats, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(channel=CHANNEL)
        self._redis = server
        self._beats = beats
        self._monotonic = monotonic
        self._mine = self.host_id.encode()
        self._heard_mine: float | None = None
        self._started = monotonic()
        self._on_changed: Callable[[], None] = lambda: None
        self._on_again: Callable[[], None] = lambda: None
        self._waiting: deque[bytes] = deque(maxlen=_MOST_WAITING)
        self._something = threading.Event()
        self._away = ""
        self._dropped = False
        self._stopping = threading.Event()

    def initialize(self) -> None:
        """Called by Socket.IO with the first browser; the threads run before, because beats need them."""

    def start(
        self,
        on_changed: Callable[[], None] = lambda: None,
        on_again: Callable[[], None] = lambda: None,
        on_death: Callable[[str], None] = end_process,
    ) -> None:
        """Start to listen and to send.

        ``on_changed`` is told when another process has written something, ``on_again`` when something may
        have been missed.
        """
        self._on_changed, self._on_again = on_changed, on_again
        self._started = self._monotonic()
        start_thread("bus-out", self._send, on_death)
        start_thread("bus-in", self._receive, on_death)

    def stop(self) -> None:
        """Send what waits, such as a farewell, and end the threads."""
        self._stopping.set()
        self._something.set()

    @property
    def own_seconds(self) -> float | None:
        """How long ago this process heard itself; ``None`` if it never did."""
        return None if self._heard_mine is None else self._monotonic() - self._heard_mine

    @property
    def trouble(self) -> str:
        """Why others cannot be heard; empty when all is well, or began a moment ago."""
        silent = self._monotonic() - (self._heard_mine or self._started)
        return (self._away or "it does not answer") if silent > FRESH_SECONDS else ""

    def beat(self, *, leads: bool, pages: Mapping[str, int], hears: bool = False, since_us: int = 0) -> None:
        """Tell the others what this process says of itself."""
        said = Beat(host_id=self.host_id, leads=leads, hears=hears, since_us=since_us, pages=dict(pages))
        self._put(msgspec.json.encode(said))

    def changed(self) -> None:
        """Tell the hub that this process has written something."""
        self._say(msgspec.json.encode(Changed(host_id=self.host_id)))

    # What Socket.IO asks of a queue

    def _publish(self, data: Mapping[str, Any]) -> None:
        self._say(msgspec.json.encode(data))

    def _listen(self) -> Iterator[bytes]:
        while True:
            try:
                yield from self._heard()
            except _FAULTS as error:
                self._note_away(error)
            if self._stopping.wait(_AGAIN_SECONDS):
                raise SystemExit  # the library takes a listener that merely returns for a fault

    # Sending

    def _say(self, message: bytes) -> None:
        # A beat each second finds out whether Redis is there again; what else is said until then is lost.
        if self._away:
            self._dropped = True
        else:
            self._put(message)

    def _put(self, message: bytes) -> None:
        self._dropped |= len(self._waiting) == _MOST_WAITING
        self._waiting.append(message)
        self._something.set()

    def _send(self) -> None:
        while True:
            self._something.wait()
            self._something.clear()
            while self._waiting:
                self._send_some()
            if self._stopping.is_set():
                return

    def _send_some(self) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        for _ in range(min(_AT_ONCE, len(self._waiting))):
            pipeline.publish(CHANNEL, self._waiting.popleft())
        try:
            pipeline.execute()
        except _FAULTS as error:
            self._note_away(error)
            self._waiting.clear()
            self._dropped = True
            return
        if self._away:
            log.warning("Redis is there again")
            self._away = ""
        if self._dropped and not self._waiting:
            self._dropped = False
            self._on_again()

    def _note_away(self, error: Exception) -> None:
        if not self._away:
            log.error("Redis is away: %s; dashboards of other processes ask the database", error)
        self._away = str(error) or type(error).__name__

    # Listening

    def _receive(self) -> None:
        with suppress(SystemExit):
            self._thread()

    def _heard(self) -> Iterator[bytes]:
        with self._redis.pubsub(ignore_subscribe_messages=True) as subscription:  # type: ignore[no-untyped-call]
            subscription.subscribe(CHANNEL)
            subscribed = self._monotonic()
            self._on_again()
            while not self._stopping.is_set():
                message = subscription.get_message(timeout=_AGAIN_SECONDS)
                data = message["data"] if message else b""
                if data.startswith(_OURS):
                    self._take(data)
                elif data.startswith(b"{") and self._mine not in data:
                    yield data  # of anything but an object the library would end, and subscribe anew
                # Redis lets go of who listens too slowly, and a line may be dead without a word.
                if self._monotonic() - max(subscribed, self._heard_mine or 0.0) > FRESH_SECONDS:
                    return

    def _take(self, data: bytes) -> None:
        try:
            said = msgspec.json.decode(data, type=Beat | Changed)
        except msgspec.MsgspecError as error:
            log.warning("a message of another process cannot be read: %s", error)
            return
        if said.host_id == self.host_id:
            self._heard_mine = self._monotonic()
        elif isinstance(said, Changed):
            self._on_changed()
        else:
            self._beats.take(said, self._monotonic())
