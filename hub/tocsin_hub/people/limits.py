"""How often one may ask. Neither what nodes say nor alarms and the answers to them are ever counted.

The counts stand in memory, and a restart forgives everybody. Where a site has web processes they stand in
Redis, so that whoever tries passwords has no more tries for it; while that is away, each process counts for
itself.
"""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

from flask import Blueprint, g, request, session
from flask_limiter import Limiter
from limits import RateLimitItem
from limits.storage import MemoryStorage, Storage
from limits.strategies import STRATEGIES, FixedWindowRateLimiter
from limits.util import WindowStats

from tocsin_hub.people.secret import hashed
from tocsin_hub.services import services
from tocsin_hub.times import now_us

View = TypeVar("View", bound=Callable[..., Any])
ANSWERS = ("/answer", "/acknowledge")


def address() -> str:
    """Where the request comes from."""
    return request.remote_addr or "unknown"


def by_person(what: str) -> Callable[[], str]:
    """Tells apart the persons who do ``what``; for views that only those who are logged in reach."""
    return lambda: f"{what}:{g.person.id}"


class _InTurn(FixedWindowRateLimiter):
    """Counts in windows of fixed length, in memory one thread at a time.

    The library's counts in memory start a timer that tidies them. Two threads that do so at once may start
    the same one, which raises, and a dashboard that is opened asks for several things at once.
    """

    def __init__(self, storage: Storage) -> None:
        super().__init__(storage)
        in_memory = isinstance(storage, MemoryStorage)
        self._turn: AbstractContextManager[Any] = threading.Lock() if in_memory else nullcontext()

    def hit(self, item: RateLimitItem, *identifiers: str, cost: int = 1) -> bool:
        """Count a request; whether it is one of those that may be sent."""
        with self._turn:
            return super().hit(item, *identifiers, cost=cost)

    def test(self, item: RateLimitItem, *identifiers: str, cost: int = 1) -> bool:
        """Whether a request may be sent; none is counted."""
        with self._turn:
            return super().test(item, *identifiers, cost=cost)

    def get_window_stats(self, item: RateLimitItem, *identifiers: str) -> WindowStats:
        """How many requests may still be sent, and until when."""
        with self._turn:
            return super().get_window_stats(item, *identifiers)


_STRATEGY = "fixed-window-in-turn"
STRATEGIES[_STRATEGY] = _InTurn  # Limiter takes a strategy by its name alone
limiter = Limiter(address, strategy=_STRATEGY, headers_enabled=False)


def limit(
    rule: str | Callable[[], str],
    *,
    by: Callable[[], str] = address,
    counts: Callable[[Any], bool] | None = None,
) -> Callable[[View], View]:
    """Answers 429 where a view is asked more often than ``rule`` says, such as ``20 per minute``.

    ``by`` tells apart who asks; ``counts`` says of a response whether it counts, by default each does. Put
    it below the decorators of the route and of who may see it.
    """
    return limiter.limit(rule, key_func=by, deduct_when=counts)  # type: ignore[return-value]


def limit_api(blueprint: Blueprint) -> None:
    """Limits a blueprint and those in it as a whole, generously."""
    limiter.shared_limit(_api_rule, "api", key_func=_asker, exempt_when=_tells_of_alarms)(blueprint)


def seconds_to_wait() -> int:
    """After how many seconds a request that was one too many may be sent again."""
    reached = limiter.current_limit
    return 60 if reached is None else max(1, reached.reset_at - now_us() // 1_000_000)


def _api_rule() -> str:
    return f"{services().settings.access.api_per_minute} per minute"


def _asker() -> str:
    known = session.get("id")
    return hashed(known) if isinstance(known, str) else address()


def _tells_of_alarms() -> bool:
    return request.method == "POST" and (request.path.endswith(ANSWERS) or "/receipts" in request.path)
