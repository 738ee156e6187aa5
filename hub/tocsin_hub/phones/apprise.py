"""The channel APPRISE: a person's other addresses, such as ntfy on the LAN, through the library of that name.

It is the road that needs no internet. Addresses hold secrets: they never stand in a log or in an answer.
"""

import importlib.util
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import replace
from datetime import tzinfo
from typing import Any

from tocsin_hub import i18n
from tocsin_hub.alerts.model import ChannelName, Message
from tocsin_hub.people.model import Person
from tocsin_hub.phones import keeping, payload, reading
from tocsin_hub.phones.endpoints import is_reachable_on_site
from tocsin_hub.phones.model import Address
from tocsin_hub.phones.sender import Resolver, resolve
from tocsin_hub.phones.settings import ChannelSettings
from tocsin_hub.recorder import Recorder
from tocsin_hub.store import Store
from tocsin_hub.writer import Outcome, Work
from tocsin_shared.errors import BadInputError, UnavailableError

THREADS = 8
MAX_URL = 1024
_ELSEWHERE = frozenset({"pover"})
"""Kinds whose address names no host, although the library calls a part of it so."""

log = logging.getLogger(__name__)


class Apprise:
    """Hands messages to the services that a person's addresses name."""

    name = ChannelName.APPRISE

    def __init__(
        self,
        *,
        store: Store,
        settings: ChannelSettings,
        origin: str,
        zone: tzinfo | None,
        clock: Callable[[], int],
        put: Callable[[Work], None],
        resolver: Resolver = resolve,
    ) -> None:
        self._store = store
        self._settings = settings
        self._origin = origin
        self._zone = zone
        self._clock = clock
        self._put = put
        self._resolve = resolver
        self._lock = threading.Lock()
        self._addresses: dict[str, Address] = {}
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="apprise")
        self.reload()
        # The library writes addresses, with their secrets, into its log.
        logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)

    @property
    def installed(self) -> bool:
        """Whether the library is there."""
        return importlib.util.find_spec("apprise") is not None

    def stop(self) -> None:
        """Let go of the threads; what is under way ends by itself."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def reload(self) -> None:
        """Read all addresses anew, after somebody added one or took one away.

        Raises:
            UnavailableError: the database cannot be used at the moment.
        """
        with self._lock:
            self._addresses = {one.id: one for one in reading.addresses(self._store)}
            url = next((one.url for one in self._addresses.values()), None)
        if url is not None and self.installed:
            # The library reads its 200 plugins at its first use, which takes seconds that no alarm has.
            self._pool.submit(self._plugin, url)

    def of(self, person: str) -> tuple[Address, ...]:
        """The addresses of one person."""
        with self._lock:
            return tuple(one for one in self._addresses.values() if one.person == person)

    def get(self, address: str) -> Address | None:
        """The address called so, if there is one."""
        return self._addresses.get(address)

    def check(self, url: str) -> None:
        """Whether an address may be entered.

        Raises:
            BadInputError: it is not one that the library reads or that this hub allows.
            UnavailableError: the library is not installed.
        """
        kind = url.partition("://")[0].lower()
        if len(url) > MAX_URL or not url.isprintable() or "://" not in url:
            raise BadInputError("url: must be an address such as ntfy://ntfy.site.example/topic")
        if kind not in self._settings.schemas:
            known = ", ".join(self._settings.schemas)
            raise BadInputError(f"url: must begin with one of {known} ([channels] schemas)")
        self._plugin(url)

    def reaches(self, person: Person | None) -> bool:
        """Whether the person has an address, and the library is there."""
        return person is not None and bool(self.of(person.id)) and self.installed

    def send(self, message: Message) -> None:
        """Hand the message to all addresses of the person; returns when the first service took it.

        Raises:
            UnavailableError: none of them took it in time.
        """
        person = message.person
        texts = i18n.catalogue((person.language if person else None) or i18n.FALLBACK)
        at = payload.time_of_day(self._clock() - round(message.seconds_ago * 1e6), self._zone)
        notice = payload.alert_notice(message, texts, self._origin, at)
        body = f"{notice.body}\n{notice.navigate}"
        addresses = self.of(person.id) if person else ()
        pending: set[Future[str]] = {
            self._pool.submit(self._hand_over, one, notice.title, body) for one in addresses
        }
        errors = ["the person has no address"] if not pending else []
        deadline = time.monotonic() + 2 * self._settings.timeout_seconds
        while pending:
            done, pending = wait(pending, max(0.0, deadline - time.monotonic()), FIRST_COMPLETED)
            if any(future.result() == "" for future in done):
                return
            errors += [future.result() for future in done]
            if not done:
                errors.append("no answer in time")
                break
        raise UnavailableError(f"no address took the message: {'; '.join(dict.fromkeys(errors))}")

    def test(self, address: Address, language: str) -> str:
        """Hand over a message that is marked as a test; empty, or why it was not taken."""
        texts = i18n.catalogue(language)
        future = self._pool.submit(
            self._hand_over, address, texts.t("phone.test_title"), texts.t("phone.test_body")
        )
        try:
            return future.result(2 * self._settings.timeout_seconds)
        except TimeoutError:
            return "no answer in time"

    def _hand_over(self, address: Address, title: str, body: str) -> str:
        """Empty if the service took it, else why not, without the address; never raises."""
        try:
            taken = bool(self._plugin(address.url).notify(body=body, title=title, notify_type="failure"))
            error = "" if taken else f"the {address.kind} service did not take it"
        except (BadInputError, UnavailableError) as refused:
            error = str(refused)
        except Exception as unforeseen:  # noqa: BLE001 - one of 200 plugins of others; its words may hold the address
            error = f"the {address.kind} service failed ({type(unforeseen).__name__})"
        self._note(address, error)
        return error

    def _plugin(self, url: str) -> Any:
        if not self.installed:
            raise UnavailableError("apprise is not installed; pip install 'tocsin[channels]'")
        from apprise import Apprise as Library  # noqa: PLC0415 - an extra, and 14 MB

        kind = url.partition("://")[0].lower()
        if kind in {"ntfy", "ntfys"} and "priority=" not in url:
            url += ("&" if "?" in url else "?") + "priority=max"  # long bursts of vibration
        try:
            plugin = Library.instantiate(url)
        except Exception as unforeseen:  # one of 200 readers of addresses, by others
            raise BadInputError(f"url: cannot be read as an address of {kind}") from unforeseen
        if plugin is None:
            raise BadInputError(f"url: is not an address as {kind} needs it")
        if kind not in _ELSEWHERE:
            self._judge(plugin)
        # Without these it would wait and follow as the address tells it to.
        plugin.socket_connect_timeout = plugin.socket_read_timeout = self._settings.timeout_seconds
        plugin.redirects = False
        plugin.retry = 0
        return plugin

    def _judge(self, plugin: Any) -> None:
        for host in {getattr(plugin, "host", None), getattr(plugin, "smtp_host", None)}:
            if not isinstance(host, str) or not host:
                continue
            found: list[str] = []
            with suppress(OSError, UnicodeError):  # a name that leads nowhere is for the library to report
                found = list(self._resolve(host.strip("[]"), plugin.port or 80))
            for one in found:
                if not is_reachable_on_site(one, allow_loopback=self._settings.allow_loopback):
                    raise BadInputError(
                        "url: leads to an address that is not allowed, such as this machine itself "
                        "([channels] allow_loopback)"
                    )

    def _note(self, address: Address, error: str) -> None:
        now_us = self._clock()
        if error:
            log.warning("a message by %s was not taken: %s", address.kind, error)
        with self._lock:
            known = self._addresses.get(address.id)
            if known is None:
                return
            if error:
                newer = replace(known, failures=known.failures + 1, error=error)
            else:
                newer = replace(known, accepted_us=now_us, failures=0, error="")
            self._addresses[address.id] = newer

        def write(recorder: Recorder) -> Outcome:
            keeping.save_address(recorder.database, newer)
            return Outcome()

        with suppress(UnavailableError):
            self._put(Work(write, lambda _: None))
