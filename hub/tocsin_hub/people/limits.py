"""How often one may ask. Neither what nodes say nor alarms and the answers to them are ever counted.

The counts stand in memory, and a restart forgives everybody. Where a site has web processes they stand in
Redis, so that whoever tries passwords has no more tries for it; while that is away, each process counts for
itself.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from flask import Blueprint, g, request, session
from flask_limiter import Limiter

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


limiter = Limiter(address, strategy="fixed-window", headers_enabled=False)


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
