"""A channel's own threads and its bounded queue, so that one that hangs or fails delays no other.

What does not get through is tried again, ever more seldom, until a deadline; then it is given up, which
somebody must be told. Nothing here knows what a message means but whether it may be put off: alarms go first.
"""

import heapq
import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import count

from tocsin_hub.alerts.limits import RoadLimits
from tocsin_hub.alerts.model import Channel, ChannelName, Message
from tocsin_hub.incidents.model import IncidentSeverity
from tocsin_hub.threads import end_process, start_thread
from tocsin_shared.errors import UnavailableError

_JOIN_SECONDS = 2.0
_LOOK_SECONDS = 0.5

log = logging.getLogger(__name__)

Report = Callable[[ChannelName, Message, str | None], None]
"""Is told what became of a message: ``None``, the service took it; else why it was given up. Never waits."""


class RoadState(StrEnum):
    """How a channel fares."""

    OK = "ok"
    FAILING = "failing"
    """The last message was not taken."""
    HUNG = "hung"
    """It has not answered for longer than a message may take."""


@dataclass(frozen=True)
class _Item:
    message: Message
    number: int
    deadline: float
    tries: int = 0
    error: str = ""

    @property
    def loud(self) -> bool:
        return is_loud(self.message)


def is_loud(message: Message) -> bool:
    """Whether ``message`` is one that may not be put off."""
    incident = message.incident
    return incident.severity is IncidentSeverity.ALARM or incident.help_us is not None


class Road:
    """One channel with its threads. Safe to use from several threads."""

    def __init__(
        self,
        channel: Channel,
        limits: RoadLimits,
        report: Report,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.channel = channel
        self._limits = limits
        self._report = report
        self._monotonic = monotonic
        self._condition = threading.Condition()
        self._ready: list[tuple[bool, int, _Item]] = []
        self._resting: list[tuple[float, int, _Item]] = []
        self._under_way: dict[int, _Item] = {}
        self._given_up: set[int] = set()
        """Numbers of those under way of which it was already said that they failed."""
        self._numbers = count()
        self._failing = False
        self._stopping = False
        self._threads: list[threading.Thread] = []
        self.accepted = 0
        """Messages that the service took."""
        self.failed = 0
        """Messages that were given up."""

    @property
    def name(self) -> ChannelName:
        """The channel's name."""
        return self.channel.name

    @property
    def waiting(self) -> int:
        """Messages of which it is not known whether they get through."""
        with self._condition:
            return len(self._ready) + len(self._resting) + len(self._under_way)

    @property
    def state(self) -> RoadState:
        """How the channel fares."""
        with self._condition:
            if self._given_up:
                return RoadState.HUNG
            return RoadState.FAILING if self._failing else RoadState.OK

    def start(self, on_death: Callable[[str], None] = end_process) -> None:
        """Start the threads."""
        lanes = max(1, int(getattr(self.channel, "lanes", 1)))
        names = [f"alerts-{self.name}-{number}" for number in range(lanes)]
        self._threads = [start_thread(name, self._run, on_death) for name in names]

    def stop(self) -> None:
        """End the threads; what waits stays unsettled in the database and goes out at the next start."""
        with self._condition:
            self._stopping = True
            self._condition.notify_all()
        deadline = self._monotonic() + _JOIN_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - self._monotonic()))

    def offer(self, messages: Iterable[Message]) -> list[Message]:
        """Take messages, never waiting; returns those for which there is no room.

        An alarm takes the place of something that is none; what had to go is among those returned.
        """
        left: list[Message] = []
        deadline = self._monotonic() + self._limits.deadline_seconds
        with self._condition:
            for message in messages:
                item = _Item(message, next(self._numbers), deadline)
                if len(self._ready) + len(self._resting) >= self._limits.queue:
                    gone = self._make_room(item)
                    left.append(gone.message)
                    if gone is item:
                        continue
                heapq.heappush(self._ready, (not item.loud, item.number, item))
            self._condition.notify(len(self._ready))
        return left

    def _make_room(self, item: _Item) -> _Item:
        """Take something out that matters less than ``item``; if nothing does, ``item`` itself."""
        quiet = [entry for entry in self._ready if not entry[2].loud]
        resting = [entry for entry in self._resting if not entry[2].loud]
        if not item.loud or not (quiet or resting):
            return item
        if quiet:
            gone = max(quiet)
            self._ready.remove(gone)
            heapq.heapify(self._ready)
            return gone[2]
        late = max(resting)
        self._resting.remove(late)
        heapq.heapify(self._resting)
        return late[2]

    def give_up_overdue(self) -> None:
        """Report whatever is beyond its deadline; called from outside, because a thread here may hang."""
        with self._condition:
            now = self._monotonic()
            overdue = [entry[2] for entry in (*self._ready, *self._resting) if entry[2].deadline <= now]
            if overdue:
                self._ready = [entry for entry in self._ready if entry[2].deadline > now]
                self._resting = [entry for entry in self._resting if entry[2].deadline > now]
                heapq.heapify(self._ready)
                heapq.heapify(self._resting)
            hung = [
                item
                for item in self._under_way.values()
                if item.deadline <= now and item.number not in self._given_up
            ]
            self._given_up.update(item.number for item in hung)
        for item in (*overdue, *hung):
            self._fail(item, item.error or "it did not answer in time")

    def _run(self) -> None:
        while (item := self._next()) is not None:
            error = self._send(item.message)
            self._settle(item, error)

    def _next(self) -> _Item | None:
        """The next message that may go out; ``None`` when the road is being closed."""
        with self._condition:
            while not self._stopping:
                now = self._monotonic()
                while self._resting and self._resting[0][0] <= now:
                    item = heapq.heappop(self._resting)[2]
                    heapq.heappush(self._ready, (not item.loud, item.number, item))
                if self._ready:
                    item = heapq.heappop(self._ready)[2]
                    self._under_way[item.number] = item
                    return item
                pause = self._resting[0][0] - now if self._resting else None
                self._condition.wait(None if pause is None else min(pause, _LOOK_SECONDS))
        return None

    def _send(self, message: Message) -> str | None:
        try:
            self.channel.send(message)
        except UnavailableError as error:
            return str(error) or "it was not taken"
        except (
            Exception
        ) as error:  # a channel talks to services of others; whatever it meets, the next one goes on
            log.exception("the channel %s failed in a way that it does not know", self.name)
            return f"it failed ({type(error).__name__})"
        return None

    def _settle(self, item: _Item, error: str | None) -> None:
        with self._condition:
            self._under_way.pop(item.number, None)
            told = item.number in self._given_up
            self._given_up.discard(item.number)
            self._failing = error is not None
            again = None if error is None or told or self._stopping else self._again(item, error)
            if again is not None:
                heapq.heappush(self._resting, again)
                self._condition.notify()
        if error is None:
            self.accepted += 1
            self._report(self.name, item.message, None)
        elif again is None and not told and not self._stopping:
            self._fail(item, error)

    def _again(self, item: _Item, error: str) -> tuple[float, int, _Item] | None:
        """When ``item`` is tried again; ``None`` if that would be too late."""
        waits = self._limits.retry_seconds or (1.0,)
        at = self._monotonic() + waits[min(item.tries, len(waits) - 1)]
        if at >= item.deadline:
            return None
        return at, item.number, replace(item, tries=item.tries + 1, error=error)

    def _fail(self, item: _Item, error: str) -> None:
        self.failed += 1
        level = logging.ERROR if item.loud else logging.WARNING
        log.log(level, "the channel %s did not deliver %s: %s", self.name, item.message.delivery, error)
        self._report(self.name, item.message, error)


def roads_of(channels: Sequence[Channel], limits: RoadLimits, report: Report) -> dict[ChannelName, Road]:
    """A road for each channel, by name."""
    return {channel.name: Road(channel, limits, report) for channel in channels}
