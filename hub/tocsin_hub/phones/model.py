"""What a phone is to the hub: a browser that a push service reaches, and how well that goes."""

from dataclasses import dataclass
from enum import StrEnum


class PhoneTroubleKind(StrEnum):
    """What can be wrong with the way to a person."""

    PUSH_REFUSED = "push_refused"
    """No push service takes messages for her."""
    NOT_REACHED = "phone_not_reached"
    """None of her phones showed the daily check."""


@dataclass(frozen=True)
class PhoneTrouble:
    """The way to a person is not what it must be, or is so again."""

    kind: PhoneTroubleKind
    person: str
    lasts: bool
    detail: str = ""
    """What exactly, in English, for whoever mends it; nothing secret."""


@dataclass(frozen=True)
class Phone:
    """One browser of a person that shows notifications; times are microseconds of UTC, the hub's own."""

    id: str
    """ULID."""
    person: str
    endpoint: str
    """Address at its push service; whoever knows it and the keys can write to the phone, so it is secret."""
    p256dh: str
    """Public key of the browser, base64url of an uncompressed point on P-256."""
    auth: str
    """Secret of 16 bytes that the browser shares with us, base64url."""
    language: str
    """Language of the page on which it was registered."""
    user_agent: str
    created_us: int
    accepted_us: int | None = None
    """When its push service last took a message."""
    shown_us: int | None = None
    """When it last said that it shows one."""
    failures: int = 0
    """Messages in a row that its push service did not take."""
    error: str = ""
    """Why the last one was not taken."""
    canary_us: int | None = None
    """When the last daily check was sent to it."""
    canary_shown_us: int | None = None
    """When it showed that check."""

    @property
    def unanswered(self) -> bool:
        """Whether it has not shown the last daily check."""
        if self.canary_us is None:
            return False
        return self.canary_shown_us is None or self.canary_shown_us < self.canary_us


@dataclass(frozen=True)
class Address:
    """Where else a person is told; times are microseconds of UTC."""

    id: str
    """ULID."""
    person: str
    url: str
    """As apprise reads it, with its secrets: never in a log, a page or an answer."""
    created_us: int
    accepted_us: int | None = None
    failures: int = 0
    error: str = ""

    @property
    def kind(self) -> str:
        """What of it may be shown. Everywhere else in it, even in place of the host, secrets may stand."""
        return self.url.partition("://")[0].lower()
