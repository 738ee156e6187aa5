"""What pages, the API and the root may do with phones: register, check, take receipts, go round."""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import tzinfo

from ulid import ULID

from tocsin_hub import i18n
from tocsin_hub.alerts.keeping import note_shown
from tocsin_hub.incidents.desk import Desk
from tocsin_hub.incidents.model import Answer
from tocsin_hub.phones import canary, keeping, payload, reading
from tocsin_hub.phones.apprise import Apprise
from tocsin_hub.phones.canary import Reach
from tocsin_hub.phones.model import Address, Phone, PhoneTrouble, PhoneTroubleKind
from tocsin_hub.phones.push import Push
from tocsin_hub.phones.reading import Told
from tocsin_hub.phones.receipts import is_receipt, new_receipt, receipt_sha256
from tocsin_hub.phones.registry import Registry
from tocsin_hub.phones.sender import Sender, Sent
from tocsin_hub.phones.vapid import signer
from tocsin_hub.recorder import Recorder
from tocsin_hub.settings import HubSettings
from tocsin_hub.store import Store
from tocsin_hub.threads import end_process, start_thread
from tocsin_hub.times import from_us
from tocsin_hub.writer import Outcome, Work, Writer
from tocsin_shared.errors import BadInputError, UnavailableError

ROUND_SECONDS = 1.0
ANSWER_HOURS = 24.0
"""A receipt is good for an answer so long; the page is good for one at any time."""

_LONGEST_DETAIL = 1000

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shown:
    """What the hub makes of a receipt."""

    late_note: str = ""
    """For a message that came late: how late, in the person's language."""


class Phones:
    """The phones of everybody, and the ways to them."""

    def __init__(
        self,
        *,
        settings: HubSettings,
        store: Store,
        writer: Writer,
        clock: Callable[[], int],
        desk: Desk,
        names: Callable[[Iterable[str]], Mapping[str, str]],
        zone: tzinfo | None = None,
    ) -> None:
        self._settings = settings
        self._store = store
        self._writer = writer
        self._clock = clock
        self._desk = desk
        self._names = names
        self._zone = zone
        self._lasting: dict[PhoneTroubleKind, dict[str, str]] = {kind: {} for kind in PhoneTroubleKind}
        self._untold: set[PhoneTroubleKind] = set(PhoneTroubleKind)
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._canaries = ThreadPoolExecutor(4, thread_name_prefix="canary")
        origin = settings.web.origin
        self.signer = signer(settings.state_folder, settings.push.subject or _subject(origin))
        self.sender = Sender(settings.push, self.signer)
        self.registry = Registry(store)
        self.push = Push(
            registry=self.registry,
            sender=self.sender,
            origin=origin,
            timeout_seconds=settings.push.timeout_seconds,
            zone=zone,
            clock=clock,
            put=self._put,
            on_trouble=self._tell,
        )
        self.apprise = Apprise(
            store=store,
            settings=settings.channels,
            origin=origin,
            zone=zone,
            clock=clock,
            put=self._put,
        )

    def start(self, on_death: Callable[[str], None] = end_process) -> None:
        """Start the thread that makes the round."""
        start_thread("phones", self._run, on_death)

    def stop(self) -> None:
        """Stop everything; call it before the writer is stopped."""
        self._stopping.set()
        with suppress(UnavailableError):
            self._save()
        self._canaries.shutdown(wait=False, cancel_futures=True)
        self.push.stop()
        self.apprise.stop()

    def _put(self, work: Work) -> None:
        self._writer.put(work, 2.0)

    # What a person does

    def register(
        self, person: str, *, endpoint: str, p256dh: str, auth: str, language: str, user_agent: str
    ) -> Phone:
        """Add a phone of ``person``, or bring it up to date; of too many, the least used are forgotten.

        Raises:
            BadInputError: the endpoint is not one that this hub sends to.
            UnavailableError: the database did not take it.
        """
        self.sender.endpoint(endpoint)
        phone = Phone(
            id=str(ULID()),
            person=person,
            endpoint=endpoint,
            p256dh=p256dh,
            auth=auth,
            language=language,
            user_agent=user_agent,
            created_us=self._clock(),
        )

        def write(recorder: Recorder) -> None:
            keeping.save_phone(recorder.database, phone)
            keeping.drop_oldest(recorder.database, person, self._settings.push.phones_per_person)

        self._writer.call(write)
        self.registry.reload()
        self._tell(PhoneTrouble(PhoneTroubleKind.PUSH_REFUSED, person, lasts=False))
        return next((one for one in self.registry.of(person) if one.endpoint == endpoint), phone)

    def forget(self, person: str, phone: str) -> bool:
        """Take a phone of ``person`` away; whether there was one."""
        found = self._writer.call(lambda recorder: keeping.delete_phone(recorder.database, phone, person))
        self.registry.reload()
        if found and not self.registry.of(person):
            self._tell(PhoneTrouble(PhoneTroubleKind.PUSH_REFUSED, person, lasts=False))
        return found

    def check(self, phone: Phone, *, is_canary: bool) -> Sent:
        """Send a notification that is no alert: the daily one, or a test that somebody asked for.

        Raises:
            UnavailableError: the database did not take the note about it, so nothing was sent.
        """
        receipt = new_receipt()
        now_us = self._clock()
        self._writer.call(
            lambda recorder: keeping.add_check(
                recorder.database, receipt_sha256(receipt), phone.id, is_canary, now_us
            )
        )
        texts = i18n.catalogue(phone.language)
        make = payload.canary_notice if is_canary else payload.test_notice
        sent = self.push.show(phone, make(texts, self._settings.web.origin, receipt), phone.language)
        if sent.accepted:
            self._tell(PhoneTrouble(PhoneTroubleKind.PUSH_REFUSED, phone.person, lasts=False))
        return sent

    def reach(self, person: str) -> Reach:
        """Whether a person's phone is reached."""
        minutes = self._settings.push.canary_minutes
        return canary.reach(self.registry.of(person), self._clock(), minutes)

    def add_address(self, person: str, url: str) -> Address:
        """Give a person another address.

        Raises:
            BadInputError: the address cannot be used, or she has as many as she may.
            UnavailableError: the library is not installed, or the database did not take it.
        """
        most = self._settings.channels.addresses_per_person
        if len(self.apprise.of(person)) >= most:
            raise BadInputError(f"url: a person may have {most} addresses; take one away first")
        self.apprise.check(url)
        address = Address(str(ULID()), person, url, self._clock())
        self._writer.call(lambda recorder: keeping.add_address(recorder.database, address))
        self.apprise.reload()
        return address

    def forget_address(self, address: str) -> bool:
        """Take an address away; whether there was one."""
        found = self._writer.call(lambda recorder: keeping.delete_address(recorder.database, address))
        self.apprise.reload()
        return found

    # What a phone says

    def told(self, receipt: str) -> Told | None:
        """What a receipt was given out for; ``None`` if it is not one of ours."""
        return reading.told(self._store, receipt_sha256(receipt)) if is_receipt(receipt) else None

    def shown(self, receipt: str, told: Told, phone: str) -> Shown:
        """Note that a phone shows a notification. The hub's clock counts; a phone's may be years off.

        Raises:
            UnavailableError: the database did not take it.
        """
        now_us = self._clock()

        def write(recorder: Recorder) -> bool:
            if told.phone is not None:
                return keeping.check_shown(recorder.database, receipt_sha256(receipt), now_us)
            return note_shown(recorder, receipt_sha256(receipt), now_us)

        self._writer.call(write)
        known = self.registry.get(told.phone or phone)
        if known is None or (told.phone is None and known.person != told.person):
            return Shown()
        self.registry.note(
            known.id,
            lambda one: replace(
                one, shown_us=now_us, canary_shown_us=now_us if told.canary else one.canary_shown_us
            ),
        )
        return Shown(self._late(told, known, now_us))

    def _late(self, told: Told, phone: Phone, now_us: int) -> str:
        seconds = (now_us - told.sent_us) / 1e6
        if seconds < payload.LATE_SECONDS:
            return ""
        texts = i18n.catalogue(phone.language)
        return texts.t("phone.late", duration=texts.duration(seconds))

    def answered(self, told: Told, answer: Answer) -> bool:
        """Note what a person answers from her lock screen; ``False`` if it is too late for that way.

        Raises:
            UnavailableError: the database did not take it.
        """
        now_us = self._clock()
        incident = told.incident
        if incident is None or told.person is None or now_us - told.sent_us > ANSWER_HOURS * 3600e6:
            return False
        self._desk.answer(incident, told.person, answer)
        return True

    # The round

    def _run(self) -> None:
        while not self._stopping.wait(ROUND_SECONDS):
            with suppress(UnavailableError):  # the next round tries again
                self.round()

    def round(self) -> None:
        """Save what is new, check the phones that are due, and tell who is not reached.

        Raises:
            UnavailableError: the database cannot be used at the moment.
        """
        now_us = self._clock()
        moment_us = canary.last_moment_us(
            from_us(now_us).astimezone(self._zone), self._settings.push.canary_at
        )
        for phone in canary.due(self.registry.all(), now_us, moment_us):
            self.registry.note(phone.id, lambda one: replace(one, canary_us=now_us))
            self._canaries.submit(self._canary, phone)
        self._save()
        self._review()
        self._tell_officers()

    def _canary(self, phone: Phone) -> None:
        try:
            self.check(phone, is_canary=True)
        except UnavailableError as error:
            log.warning("a phone could not be checked: %s", error)

    def _save(self) -> None:
        phones = self.registry.unsaved()
        if not phones:
            return

        def write(recorder: Recorder) -> Outcome:
            keeping.save_progress(recorder.database, phones)
            return Outcome()

        self._put(Work(write, lambda _: None))

    def _review(self) -> None:
        minutes = self._settings.push.canary_minutes
        known = {phone.person for phone in self.registry.all()}
        for person in known | self._lasting[PhoneTroubleKind.NOT_REACHED].keys():
            found = self.reach(person)
            if found is Reach.NOT_REACHED:
                detail = f"no phone showed the daily check within {minutes:g} minutes"
                self._tell(PhoneTrouble(PhoneTroubleKind.NOT_REACHED, person, lasts=True, detail=detail))
            elif found in {Reach.REACHED, Reach.NO_PHONE}:
                self._tell(PhoneTrouble(PhoneTroubleKind.NOT_REACHED, person, lasts=False))

    def _tell(self, trouble: PhoneTrouble) -> None:
        """Note what is new; the next round opens or clears the incident. Never waits."""
        with self._lock:
            lasting = self._lasting[trouble.kind]
            if trouble.lasts and trouble.person not in lasting:
                lasting[trouble.person] = trouble.detail
            elif trouble.lasts or lasting.pop(trouble.person, None) is None:
                return
            self._untold.add(trouble.kind)

    def _tell_officers(self) -> None:
        """Bring the incident of each kind of trouble up to date: one for all persons, who are named in it."""
        with self._lock:
            untold = {kind: dict(self._lasting[kind]) for kind in self._untold}
        for kind, persons in untold.items():
            if persons:
                names = self._names(persons)
                each = [f"{names.get(one) or 'no name'}: {detail}" for one, detail in persons.items()]
                self._desk.open_trouble(kind, "", "; ".join(sorted(each))[:_LONGEST_DETAIL])
            else:
                self._desk.close_trouble(kind, "")
            with self._lock:
                if self._lasting[kind].keys() == persons.keys():
                    self._untold.discard(kind)


def _subject(origin: str) -> str:
    # Push services want somebody to write to; Apple refuses what is neither https nor a real address.
    return origin if origin.startswith("https://") else "mailto:tocsin@example.org"
