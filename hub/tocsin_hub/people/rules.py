"""Rules: what a name, a login name, a password, a zone and a span of a day may be."""

import re
from collections.abc import Iterable
from typing import Any

from tocsin_hub.people.model import DailySpan
from tocsin_shared.errors import BadInputError
from tocsin_shared.events import ZONE_PATTERN

NAME_MOST = 80
LOGIN_PATTERN = r"[a-z0-9][a-z0-9._@+-]{1,63}"
PASSWORD_MOST = 256
"""Characters; longer ones would only cost time."""
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_SPAN = re.compile(r"(?:([1-7](?:-[1-7])?(?:,[1-7](?:-[1-7])?)*) )?(\d\d?):(\d\d)-(\d\d?):(\d\d)")


class FieldError(BadInputError):
    """What somebody wrote into a field cannot be taken."""

    def __init__(self, field: str, key: str, text: str, **values: object) -> None:
        super().__init__(f"{field}: {text}")
        self.field = field
        self.key = key
        """What the catalogues call it."""
        self.values = values
        """For the placeholders of that text."""


def clean_name(text: str) -> str:
    """``text`` as the name of a person.

    Raises:
        FieldError: it is empty, too long, or holds signs that nobody sees.
    """
    name = " ".join(text.split())
    if not name or len(name) > NAME_MOST or _UNPRINTABLE.search(name):
        raise FieldError(
            "name", "people.bad_name", f"must have 1 to {NAME_MOST} visible characters", most=NAME_MOST
        )
    return name


def clean_login(text: str) -> str:
    """``text`` as a login name: small letters, so that nobody has to remember which were capital.

    Raises:
        FieldError: it is not one.
    """
    login = text.strip().lower()
    if not re.fullmatch(LOGIN_PATTERN, login):
        raise FieldError("login", "people.bad_login", "must be 2 to 64 of a-z, 0-9 and . _ @ + -")
    return login


def clean_zones(names: Iterable[str]) -> frozenset[str]:
    """``names`` as zones; none means all zones.

    Raises:
        FieldError: one of them cannot be a zone.
    """
    zones = frozenset(name.strip() for name in names) - {""}
    for zone in zones:
        if not re.fullmatch(ZONE_PATTERN, zone):
            raise FieldError("zones", "people.bad_zone", "a zone is 1 to 32 of a-z, 0-9 and -")
    return zones


def check_password(password: str, least: int) -> None:
    """Refuse a password that is too short, too long or only one sign over and over (NIST SP 800-63B, 3.1.1).

    Raises:
        FieldError: it cannot be taken.
    """
    if not least <= len(password) <= PASSWORD_MOST or len(set(password)) < 4:
        raise FieldError(
            "password",
            "people.bad_password",
            f"must have {least} to {PASSWORD_MOST} characters, at least four of them different",
            least=least,
            most=PASSWORD_MOST,
        )


def read_spans(text: str, field: str) -> tuple[DailySpan, ...]:
    """Spans as they are written in a form, such as ``1-5 22:00-06:00``: days (Monday is 1), then the time.

    Several are separated by ``;`` or lines; a span without days is for every day.

    Raises:
        FieldError: it is not written like that.
    """
    parts = [" ".join(part.split()) for part in re.split(r"[;\n]", text.replace("–", "-"))]
    return tuple(_read_span(part, field) for part in parts if part)


def _read_span(text: str, field: str) -> DailySpan:
    match = _SPAN.fullmatch(text)
    if match is None or int(match[2]) > 23 or int(match[4]) > 24 or max(int(match[3]), int(match[5])) > 59:
        raise FieldError(field, "people.bad_span", "must look like 1-5 22:00-06:00, Monday is 1")
    start, end = int(match[2]) * 60 + int(match[3]), int(match[4]) * 60 + int(match[5])
    return DailySpan(_read_days(match[1] or ""), start, end % 1440)


def _read_days(text: str) -> frozenset[int]:
    days: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        low, high = int(first), int(last or first)
        days |= set(range(low, high + 1)) if low <= high else {*range(low, 8), *range(1, high + 1)}
    return frozenset(day - 1 for day in days)


def write_spans(spans: Iterable[DailySpan]) -> str:
    """``spans`` as :func:`read_spans` reads them."""
    return "; ".join(
        f"{','.join(str(day + 1) for day in sorted(span.days))} {_clock(span.start_minute)}-"
        f"{_clock(span.end_minute)}".strip()
        for span in spans
    )


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


def as_words(values: Iterable[Any]) -> str:
    """``values`` in a fixed order, for logs."""
    return ", ".join(sorted(str(value) for value in values))
