"""Frozen values that differ a little from others, for the few places that make one for each message."""

from typing import Any, TypeVar

T = TypeVar("T")


def changed(value: T, **news: Any) -> T:
    """What :func:`dataclasses.replace` returns, for a frozen dataclass without slots and ``__post_init__``.

    It hands no field to ``__init__``: an incident takes 1 µs instead of 6, of some 200 that a message takes.

    Raises:
        TypeError: there is no such field.
    """
    fields = vars(value)
    if not news.keys() <= fields.keys():
        raise TypeError(f"{type(value).__name__} has no {', '.join(sorted(news.keys() - fields.keys()))}")
    made = object.__new__(type(value))
    vars(made).update(fields, **news)
    return made
