"""The channel PUSH: one message to all phones of a person, side by side, with a deadline.

The phones of each push service have threads of their own: a service that hangs delays no other.
"""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import tzinfo

from tocsin_hub import i18n
from tocsin_hub.alerts.model import ChannelName, Message
from tocsin_hub.i18n import Catalogue
from tocsin_hub.incidents.model import IncidentSeverity
from tocsin_hub.people.model import Person
from tocsin_hub.phones import keeping, payload
from tocsin_hub.phones.model import Phone, PhoneTrouble, PhoneTroubleKind
from tocsin_hub.phones.payload import Notice
from tocsin_hub.phones.registry import Registry
from tocsin_hub.phones.sender import Sender, Sent
from tocsin_hub.recorder import Recorder
from tocsin_hub.writer import Outcome, Work
from tocsin_shared.errors import BadInputError, UnavailableError

THREADS = 32
"""For each push service: it answers after a tenth of a second, wherever in the world it is."""
TRIES = 3
_TRY_AGAIN_SECONDS = 0.3
_SPARE_SECONDS = 1.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Job:
    """A message to one phone."""

    service: str
    """The push service, as the settings name it."""
    run: Callable[[], Sent]


class Push:
    """Hands messages to push services. Safe to use from several threads."""

    name = ChannelName.PUSH
    lanes = 64
    """Calls of :meth:`send` at once: each waits for its phones, which have threads for each push service."""

    def __init__(
        self,
        *,
        registry: Registry,
        sender: Sender,
        origin: str,
        timeout_seconds: float,
        zone: tzinfo | None,
        clock: Callable[[], int],
        put: Callable[[Work], None],
        on_trouble: Callable[[PhoneTrouble], None],
    ) -> None:
        self._registry = registry
        self._sender = sender
        self._origin = origin
        self._deadline_seconds = 2 * timeout_seconds
        self._zone = zone
        self._clock = clock
        self._put = put
        self._on_trouble = on_trouble
        self._pools: dict[str, ThreadPoolExecutor] = {}
        self._slots: dict[str, threading.BoundedSemaphore] = {}
        self._held: dict[str, float] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Let go of the threads; what is under way ends by itself."""
        self._stopping.set()
        with self._lock:
            for pool in self._pools.values():
                pool.shutdown(wait=False, cancel_futures=True)
        self._sender.close()

    def reaches(self, person: Person | None) -> bool:
        """Whether the person has a phone."""
        return person is not None and bool(self._registry.of(person.id))

    def send(self, message: Message) -> None:
        """Hand the message to all phones of the person; returns when the first push service took it.

        Raises:
            UnavailableError: none of them took it in time; the sentence says what each answered.
        """
        deadline = time.monotonic() + self._deadline_seconds
        jobs = self._jobs(message)
        # A hand-over to another thread costs as much as half of a message; most people have one phone.
        errors = self._alone(jobs[0], deadline) if len(jobs) == 1 else self._side_by_side(jobs, deadline)
        detail = "; ".join(dict.fromkeys(errors))
        if message.person is not None:
            kind = PhoneTroubleKind.PUSH_REFUSED
            self._on_trouble(PhoneTrouble(kind, message.person.id, bool(detail), detail))
        if detail:
            raise UnavailableError(f"no phone took the message: {detail}")

    def _jobs(self, message: Message) -> list[_Job]:
        """What is to be done for each phone of the person."""
        if message.person is None:
            return []
        incident = message.incident
        urgent = incident.severity is IncidentSeverity.ALARM or incident.help_us is not None
        headers = {"Urgency": "high", "Topic": payload.topic(incident.id)}
        at = payload.time_of_day(self._clock() - round(message.seconds_ago * 1e6), self._zone)
        jobs = []
        for phone in self._registry.of(message.person.id):
            texts = _texts(message.person.language or phone.language)
            notice = payload.alert_notice(message, texts, self._origin, at)
            jobs.append(self._job(phone, notice, texts, headers, urgent=urgent))
        return jobs

    def _alone(self, job: _Job, deadline: float) -> list[str]:
        """Do it in this thread, as soon as a slot of the service is free; why it failed, if it did."""
        slot = self._slot(job.service)
        if not slot.acquire(timeout=max(0.0, deadline - time.monotonic())):
            return [self._too_late()]
        try:
            sent = job.run()
        finally:
            slot.release()
        return [] if sent.accepted else [sent.error]

    def _side_by_side(self, jobs: list[_Job], deadline: float) -> list[str]:
        """Wait until one phone's service took it; the others go on by themselves. Why all failed, if so."""
        errors: list[str] = []
        pending = {self._submit(job) for job in jobs}
        while pending:
            done, pending = wait(pending, max(0.0, deadline - time.monotonic()), FIRST_COMPLETED)
            sent = [future.result() for future in done if not future.cancelled()]
            if any(one.accepted for one in sent):
                return []
            errors += [one.error for one in sent]
            if not done:
                errors.append(self._too_late())
                break
        for future in pending:
            future.cancel()  # what has not even begun would only hold up what comes next
        return errors or ["no phone is registered"]

    def _too_late(self) -> str:
        return f"no answer within {self._deadline_seconds:g} s"

    def show(self, phone: Phone, notice: Notice, language: str) -> Sent:
        """Hand over a notification that is no alert, and wait for the answer; never raises."""
        headers = {"Urgency": "high", "Topic": payload.topic(notice.tag)}
        job = self._job(phone, notice, _texts(language), headers, urgent=True)
        try:
            return self._submit(job).result(self._deadline_seconds + _SPARE_SECONDS)
        except TimeoutError:
            return Sent(accepted=False, again=True, error=self._too_late())

    def _job(
        self, phone: Phone, notice: Notice, texts: Catalogue, headers: dict[str, str], *, urgent: bool
    ) -> _Job:
        def run() -> Sent:
            sent = self._deliver(phone, payload.encode(notice, texts, phone.id), headers, urgent=urgent)
            self._note(phone, sent)
            return sent

        return _Job(self._service(phone), run)

    def _submit(self, job: _Job) -> Future[Sent]:
        try:
            return self._pool(job.service).submit(job.run)
        except RuntimeError:  # the threads were let go of: the hub is stopping
            refused: Future[Sent] = Future()
            refused.set_result(Sent(accepted=False, error="the hub is stopping"))
            return refused

    def _pool(self, service: str) -> ThreadPoolExecutor:
        with self._lock:
            if service not in self._pools:
                self._pools[service] = ThreadPoolExecutor(THREADS, thread_name_prefix=f"push-{service}")
            return self._pools[service]

    def _slot(self, service: str) -> threading.BoundedSemaphore:
        with self._lock:
            return self._slots.setdefault(service, threading.BoundedSemaphore(THREADS))

    def _service(self, phone: Phone) -> str:
        try:
            return self._sender.endpoint(phone.endpoint).service
        except BadInputError:
            return "refused"  # the sender says so, in words

    def _deliver(self, phone: Phone, data: bytes, headers: dict[str, str], *, urgent: bool) -> Sent:
        """Try until it is taken, for as long as that makes sense."""
        deadline = time.monotonic() + self._deadline_seconds
        service = self._service(phone)
        wait_seconds = self._held.get(service, 0.0) - time.monotonic()
        # An alarm is tried all the same: whether it is taken is for the push service to say.
        if wait_seconds > 0 and not urgent:
            return Sent(
                accepted=False, again=True, error=f"{service} asked to wait {wait_seconds:.0f} s more"
            )
        for left in reversed(range(TRIES)):
            sent = self._sender.send(phone, data, headers)
            if sent.accepted or not sent.again:
                break
            pause = _TRY_AGAIN_SECONDS if sent.retry_seconds is None else sent.retry_seconds
            if sent.retry_seconds:
                self._held[service] = time.monotonic() + sent.retry_seconds
            if not left or time.monotonic() + pause >= deadline or self._stopping.wait(pause):
                break
        if sent.accepted:
            self._held.pop(service, None)
        return sent

    def _note(self, phone: Phone, sent: Sent) -> None:
        now_us = self._clock()
        if sent.accepted:
            self._registry.note(
                phone.id, lambda known: replace(known, accepted_us=now_us, failures=0, error="")
            )
            return
        log.warning("a message for a phone of %s was not taken: %s", phone.person or "an admin", sent.error)
        if sent.gone:
            self._remove(phone)
        else:
            self._registry.note(
                phone.id, lambda known: replace(known, failures=known.failures + 1, error=sent.error)
            )

    def _remove(self, phone: Phone) -> None:
        """Forget a phone that its push service does not know any more."""

        def write(recorder: Recorder) -> Outcome:
            keeping.delete_phone(recorder.database, phone.id)
            return Outcome()

        self._registry.drop(phone.id)
        with suppress(UnavailableError):  # it is tried once more after the next start, and refused again
            self._put(Work(write, lambda _: None))


def _texts(language: str) -> Catalogue:
    return i18n.catalogue(language if language in i18n.LANGUAGES else i18n.FALLBACK)
