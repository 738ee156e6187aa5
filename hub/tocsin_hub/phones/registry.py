"""All phones in memory, so that an alarm waits for no query; what changes is written soon afterwards."""

import threading
from collections.abc import Callable
from dataclasses import fields, replace

from tocsin_hub.phones import reading
from tocsin_hub.phones.model import Phone
from tocsin_hub.store import Store

_PROGRESS = ("accepted_us", "shown_us", "failures", "error", "canary_us", "canary_shown_us")


class Registry:
    """The phones of everybody. Safe to use from several threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._phones: dict[str, Phone] = {}
        self._of: dict[str, tuple[Phone, ...]] = {}
        self._unsaved: set[str] = set()
        self.reload()

    def reload(self) -> None:
        """Read all phones anew, after somebody added one or took one away.

        Raises:
            UnavailableError: the database cannot be used at the moment.
        """
        with self._lock:
            read = {phone.id: phone for phone in reading.phones(self._store)}
            self._unsaved &= read.keys()
            for key in self._unsaved:
                read[key] = _with_progress(read[key], self._phones[key])
            self._phones = read
            self._arrange()

    def all(self) -> tuple[Phone, ...]:
        """Every phone."""
        with self._lock:
            return tuple(self._phones.values())

    def of(self, person: str) -> tuple[Phone, ...]:
        """The phones of one person."""
        return self._of.get(person, ())

    def get(self, phone: str) -> Phone | None:
        """The phone called ``phone``, if there is one."""
        return self._phones.get(phone)

    def note(self, phone: str, change: Callable[[Phone], Phone]) -> None:
        """Note how well a phone is reached; a phone that is gone is left alone."""
        with self._lock:
            known = self._phones.get(phone)
            if known is None:
                return
            self._phones[phone] = change(known)
            self._unsaved.add(phone)
            self._of[known.person] = tuple(self._phones[one.id] for one in self._of[known.person])

    def drop(self, phone: str) -> None:
        """Write no more to a phone; it is deleted from the database by whoever calls this."""
        with self._lock:
            if self._phones.pop(phone, None) is not None:
                self._unsaved.discard(phone)
                self._arrange()

    def unsaved(self) -> tuple[Phone, ...]:
        """The phones of which something new is known that is not in the database; they count as saved now."""
        with self._lock:
            found = tuple(self._phones[key] for key in self._unsaved)
            self._unsaved.clear()
            return found

    def _arrange(self) -> None:
        of: dict[str, list[Phone]] = {}
        for phone in self._phones.values():
            of.setdefault(phone.person, []).append(phone)
        self._of = {person: tuple(phones) for person, phones in of.items()}


def _with_progress(phone: Phone, newer: Phone) -> Phone:
    return replace(
        phone, **{one.name: getattr(newer, one.name) for one in fields(Phone) if one.name in _PROGRESS}
    )
