"""The root of a node: builds the parts, runs them in named threads, and stops them in order.

::

    ears        source → pipeline → outbox
    link        the connection to the broker: connects again and again, hears the hub
    sender      outbox → broker
    heartbeat   how the node fares
    warning     the node's own lamp, when the hub does not answer
    watchdog    whether all of them make headway
    clips       short, encrypted recordings of alarms, only where a site wants them
    update      bundles over the air, only where the settings name a hub for them

A thread that fails or stalls takes the process down with exit status 1; whoever supervises it starts it
anew, and what was on the disk is there. On SIGTERM or SIGINT, or at the end of the sound, the source
stops first; then open detections are ended, the outbox gets a moment to empty, and the node says goodbye.
"""

import contextlib
import logging
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from types import FrameType
from typing import TYPE_CHECKING

from tocsin_node import health
from tocsin_node.beats import Beats
from tocsin_node.bundle import load_bundle
from tocsin_node.capture import Source, open_source
from tocsin_node.clips import SPEECH, Clips
from tocsin_node.duet import Duet
from tocsin_node.earwatch import EarWatch
from tocsin_node.home_assistant import discovery
from tocsin_node.lamp import LocalWarning, lamps
from tocsin_node.link import Hooks, Identity, Link
from tocsin_node.metrics import exposition, write_metrics
from tocsin_node.outbox import Outbox
from tocsin_node.pipeline import Detected, Judge, Pipeline, Sound
from tocsin_node.reporter import Place, Reporter, Times, told_level
from tocsin_node.retiming import PLAUSIBLE_SECONDS, boot_token, corrected
from tocsin_node.selftest import LABEL, SelfTest
from tocsin_node.settings import NodeSettings
from tocsin_node.speaker import Speaker
from tocsin_node.systemd import Notifier
from tocsin_node.tls import CertificateWatch
from tocsin_node.troubles import Troubles
from tocsin_node.warning import News, age_seconds
from tocsin_node.watchdog import STOP_SECONDS, Watchdog, last_resort, no_last_resort
from tocsin_shared.broker import make_client
from tocsin_shared.classifier import Classifier
from tocsin_shared.codec import decode
from tocsin_shared.errors import DecodeError, SettingsError, TocsinError, UnavailableError
from tocsin_shared.events import (
    Clock,
    Heartbeat,
    MicState,
    NodeBorn,
    NodeReported,
    Phase,
    SlotState,
    SoundDetected,
    TroubleKind,
)
from tocsin_shared.labels import Severity, severity_of

if TYPE_CHECKING:
    from tocsin_node.update.updater import Updater
    from tocsin_node.update.wiring import Prepared

DRAIN_SECONDS = 2.0
"""How long a node that stops waits for the hub to take what is left."""
LAST_DRAIN_SECONDS = 15.0
"""And how much longer if there are events that no disk has."""
RECALLED_ROWS = 1000
EARS_SECONDS, JOIN_SECONDS = 10.0, 2.0
"""How long the threads may take to end: the ears may still be writing to a slow disk."""
FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS = 1.0, 10.0

log = logging.getLogger("tocsin.node")


class Agent:
    """A node. Use :func:`build`, then :meth:`run` once, in the main thread."""

    def __init__(
        self,
        settings: NodeSettings,
        classifier: Classifier,
        pipeline: Pipeline,
        source: Source,
        outbox: Outbox,
        *,
        troubles: Troubles,
        prepared: "Prepared | None" = None,
    ) -> None:
        boot = boot_token(health.machine_boot(), uuid.uuid4().hex[:16])
        self._settings = settings
        self._classifier = classifier
        self._pipeline = Duet(pipeline, settings.model.hop_seconds)
        self._pipeline.changed = self._speaks
        self._source = source
        self._outbox = outbox
        self._boot = boot
        place = Place(settings.node, settings.zone, boot, classifier.name)
        times = Times(time.time, time.monotonic, health.clock)
        self._reporter = Reporter(place, times)
        self._test_reporter = Reporter(place, times)  # its detections have numbers of their own
        self._beat = threading.Event()
        self._troubles_due = threading.Event()
        self._troubles = troubles
        self._watch = EarWatch(
            classifier.manifest.features.sample_rate_hz, troubles, live=settings.source.kind == "microphone"
        )
        troubles.on_change = self._tell_troubles_soon
        self._beats = Beats(settings.watchdog.stall_seconds)
        self._warning = self._made_warning()
        self._news = News()
        self._certificates = CertificateWatch(settings.broker, troubles.note)
        self._link = self._made_link()
        self._supervisor = Notifier()
        self._watchdog = Watchdog(self._beats, self._supervisor, self._status, self._stalled)
        if settings.home_assistant.discovery:
            told, prefix = classifier.manifest.labels, settings.home_assistant.prefix
            self._link.beside = lambda session: discovery(self._born(session), told, prefix)
        self._selftest = _selftest(settings, self._pipeline, troubles)
        self._clips = _clips(settings, classifier, troubles)
        if self._clips is not None:
            self._pipeline.on_window = self._clips.window
        self._link.on_stored = self._selftest.committed
        self._link.on_command = lambda _selftest: self._selftest.request()
        self._open_alarms: set[str] = set()
        self._state_due = threading.Event()
        self._updater = self._made_updater(prepared)
        self._mic = MicState.STARTING
        self._over = threading.Event()
        self._stop_source = threading.Event()
        self._stop_link = threading.Event()
        self._stop_watchdog = threading.Event()
        self._failed = False
        self._depth = 0

    def _made_warning(self) -> LocalWarning:
        return LocalWarning(
            lamps(self._settings.warning),
            self._settings.warning.seconds,
            trouble=lambda detail: self._troubles.note(TroubleKind.WARNING_OUTPUT, detail),
            beat=lambda: self._headway("warning"),
        )

    def _made_link(self) -> Link:
        return Link(
            self._settings.broker,
            Identity(self._settings.node, self._boot),
            self._outbox,
            self._born,
            hooks=Hooks(self._tell_troubles_soon, self._warning.heard, self._headway, self._retimed),
            certificates=self._certificates,
            late_per_second=self._settings.outbox.backfill_per_second,
        )

    def _made_updater(self, prepared: "Prepared | None") -> "Updater | None":
        if prepared is None:
            return None
        from tocsin_node.update.wiring import updater  # noqa: PLC0415  # needs tocsin[ota]

        needed = ((LABEL,) if self._settings.selftest.every_hours else ()) + (
            (SPEECH,) if self._clips else ()
        )
        made = updater(
            self._settings,
            prepared,
            self._pipeline,
            lambda: bool(self._open_alarms),
            needed,
            changed=self._tell_state_soon,
            beat=lambda pause: self._headway("update", pause),
            restart=self._stalled,
            well=lambda: not self._failed,
        )
        self._troubles.note(TroubleKind.MODEL, prepared.begun.trouble)
        self._link.on_directive = made.directive
        return made

    def _speaks(self, judge: Judge) -> None:
        """Another bundle listens from here on; called between two blocks of sound."""
        if not isinstance(judge, Classifier):
            return
        self._classifier = judge
        for reporter in (self._reporter, self._test_reporter):
            reporter.decided_by(judge.name)
        if self._clips is not None:
            self._clips.use(judge.manifest)
        log.info("%s listens from here on", judge.name)
        self._link.send_birth()
        self._tell_state_soon()

    def run(self) -> int:
        """Listen until a signal or the end of the sound; returns the exit status: 0 well, 1 failed.

        Raises:
            SettingsError: the outbox cannot be used as the settings say.
        """
        self._outbox.open()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        log.info(
            "node=%s boot=%s bundle=%s runtime=%s source=%s hop=%gs waiting=%d",
            self._settings.node,
            self._boot,
            self._classifier.name,
            self._classifier.runtime,
            self._source.name,
            self._pipeline.hop_seconds,
            self._outbox.depth().waiting,
        )
        self._recall_alarms()
        ears = self._started("ears", self._listen)
        others = [
            self._started("link", lambda: self._link.run_network(self._stop_link)),
            self._started("sender", lambda: self._link.run_sender(self._stop_link)),
            self._started("heartbeat", self._report_health),
            self._started("warning", lambda: self._warning.run(self._stop_link)),
            self._started("watchdog", lambda: self._watchdog.run(self._stop_watchdog)),
        ]
        if self._clips is not None:
            others.append(self._started("clips", self._clips.run))
        if self._updater is not None and not self._updater.off:
            updater = self._updater
            others.append(self._started("update", lambda: updater.run(self._stop_link)))
        self._supervisor.tell(READY=1)
        self._over.wait()
        self._shut_down(ears, others)
        return 1 if self._failed else 0

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        log.info("stopping: %s", signal.Signals(number).name)
        self._over.set()

    def _headway(self, thread: str, pause_seconds: float = 0.0) -> None:
        self._beats.beat(thread, time.monotonic(), pause_seconds)

    def _stalled(self, reason: str) -> None:
        self._failed = True
        self._troubles.begin(TroubleKind.WATCHDOG, reason)
        self._over.set()

    def _status(self) -> str:
        link = "connected" if self._link.connected else "no broker"
        return f"microphone {self._mic}; {link}; {self._depth} events wait"

    def _retimed(self, event: SoundDetected) -> SoundDetected:
        if event.clock is Clock.NTP or health.clock() is not Clock.NTP:
            return event
        return corrected(event, self._boot, time.time() - time.monotonic())

    def _shut_down(self, ears: threading.Thread, others: Iterable[threading.Thread]) -> None:
        self._stop_watchdog.set()
        self._supervisor.tell(STOPPING=1)
        last_resort(STOP_SECONDS)
        self._stop_source.set()
        ears.join(JOIN_SECONDS if self._failed else EARS_SECONDS)
        delivered = self._link.drain(DRAIN_SECONDS)
        if self._outbox.only_in_memory:
            log.warning("the disk did not take all events; waiting for the hub to do so")
            delivered = self._link.drain(LAST_DRAIN_SECONDS)
        self._link.stop()
        self._stop_link.set()
        self._warning.wake()
        if self._clips is not None:
            self._clips.stop()
        self._beat.set()
        for thread in others:
            thread.join(JOIN_SECONDS)
        left = self._outbox.depth().waiting
        log.info("stopped; %s", "all delivered" if delivered else f"{left} events wait in the outbox")
        self._outbox.close()
        no_last_resort()

    def _started(self, name: str, work: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=self._rooted, args=(name, work), name=name, daemon=True)
        thread.start()
        return thread

    def _rooted(self, name: str, work: Callable[[], None]) -> None:
        try:
            work()
        except TocsinError as error:
            self._failed = True
            log.critical("%s failed: %s", name, error)
        except Exception:  # the root of a thread: without this it would die unseen
            self._failed = True
            log.exception("%s failed", name)
        finally:
            self._over.set()

    def _listen(self) -> None:
        """Ears: hear until the sound ends; a device that is away is tried again and again."""
        wait = FIRST_RETRY_SECONDS
        while not self._stop_source.is_set():
            try:
                self._headway("ears")
                for sound in self._source.sounds(self._stop_source):
                    self._headway("ears")
                    wait = FIRST_RETRY_SECONDS
                    self._watch.heard(sound, self._source.dropped_blocks)
                    self._tell(self._pipeline.push(sound))
                    if self._clips is not None:
                        self._clips.heard(sound.samples)
                    self._test(sound)
                    self._note_mic(MicState.SILENT if self._pipeline.silent else MicState.LISTENING)
                break
            except UnavailableError as error:
                log.warning("%s; next try in %g s", error, wait)
                self._watch.lost(error)
                self._note_mic(MicState.ABSENT)
                self._tell_the_end()
                self._pipeline.restart()
                self._headway("ears", wait)
                self._stop_source.wait(wait)
                wait = min(2.0 * wait, LONGEST_RETRY_SECONDS)
        self._tell_the_end()
        if not self._stop_source.is_set():
            log.info("stopping: end of %s", self._source.name)

    def _tell_the_end(self) -> None:
        """There is no more sound: end what is open."""
        self._tell(self._pipeline.flush())
        self._tell(self._selftest.abandon(), injected=True)
        if self._clips is not None:
            self._clips.finish()

    def _test(self, sound: Sound) -> None:
        self._tell(self._selftest.heard(sound), injected=True)
        self._tell(self._selftest.corrections())

    def _event(self, detected: Detected, seq: int, *, injected: bool) -> SoundDetected:
        """The event, of which the local warning knows before it is on the disk: even that may hang."""
        if injected:
            return self._test_reporter.event(detected, seq, test=True)
        event = self._reporter.event(detected, seq, test=self._selftest.claims(detected))
        if self._news.is_alarm(event):
            self._warning.made(event.id)
        return event

    def _tell(self, found: Iterable[Detected], *, injected: bool = False) -> None:
        """Tell what was found in the room, or in the sound that a test ``injected``."""
        for detected in found:
            try:
                event = self._outbox.add(
                    lambda seq, one=detected: self._event(one, seq, injected=injected)  # type: ignore[misc]
                )
            except DecodeError:
                log.exception("a detection of %s could not be told", detected.change.label)
                continue
            self._link.announce(event.seq)
            if self._clips is not None:
                self._clips.told(event, detected.change.onset_seconds)
            log.info(
                "event seq=%d id=%s label=%s phase=%s score=%.2f",
                event.seq,
                event.id,
                event.label,
                event.phase,
                event.score,
            )
            self._note_alarm(event)
            if event.test:
                self._selftest.told(event)

    def _note_alarm(self, event: SoundDetected) -> None:
        if event.phase is Phase.OFFSET:
            self._open_alarms.discard(event.id)
        elif not event.test and severity_of(event.label) is Severity.ALARM:
            self._open_alarms.add(event.id)

    def _recall_alarms(self) -> None:
        """A process that died while its room was warned is no reason to end the warning."""
        for row in self._outbox.waiting(RECALLED_ROWS):
            with contextlib.suppress(DecodeError):  # the link sets such a row aside
                event = decode(row.payload, SoundDetected)
                age = age_seconds(event, self._boot, time.monotonic())
                if self._news.is_alarm(event) and age is not None:
                    self._warning.made(event.id, age)

    def _note_mic(self, state: MicState) -> None:
        if state is not self._mic:
            log.info("microphone: %s (%s)", state, self._source.name)
            self._mic = state
            self._beat.set()

    def _tell_troubles_soon(self) -> None:
        self._troubles_due.set()
        self._state_due.set()
        self._beat.set()

    def _tell_state_soon(self) -> None:
        self._state_due.set()
        self._beat.set()

    def _state(self) -> NodeReported:
        if self._updater is not None:
            return self._updater.report(self._boot)
        return NodeReported(
            node=self._settings.node,
            boot=self._boot,
            at=datetime.now(UTC),
            enabled=False,
            active=SlotState(bundle=self._classifier.name),
            windows_missed=self._pipeline.missed_windows,
            detail="update.url is empty",
        )

    def _report_health(self) -> None:
        """Heartbeat: now and then, and at once when microphone or troubles change or a connection begins."""
        while not self._stop_link.is_set():
            self._headway("heartbeat", self._settings.heartbeat_seconds)
            if self._troubles_due.is_set():
                self._troubles_due.clear()
                self._link.send_troubles(self._troubles.message(self._settings.node, self._boot))
            if self._state_due.is_set():
                self._state_due.clear()
                self._link.send_state(self._state())
            beat = self._heartbeat()
            self._link.send_heartbeat(beat)
            self._write_metrics(beat)
            self._outbox.settle()
            self._beat.wait(self._settings.heartbeat_seconds)
            self._beat.clear()

    def _write_metrics(self, beat: Heartbeat) -> None:
        path = self._settings.metrics.textfile
        if path is not None:
            known = self._troubles.message(self._settings.node, self._boot).troubles
            open_now = sum(trouble.until is None for trouble in known)
            told = exposition(beat, connected=self._link.connected, troubles=open_now, reported=self._state())
            write_metrics(path, told)

    def _heartbeat(self) -> Heartbeat:
        vitals = self._pipeline.vitals()
        depth = self._outbox.depth()
        self._depth = depth.waiting
        own_days, broker_days = self._certificates.check()
        never_set = time.time() < PLAUSIBLE_SECONDS
        self._troubles.note(TroubleKind.CLOCK, "the clock was never set" if never_set else "")
        return Heartbeat(
            node=self._settings.node,
            boot=self._boot,
            at=datetime.now(UTC),
            mic=self._mic,
            level_dbfs=told_level(vitals.level_dbfs),
            clipped_ratio=vitals.clipped_ratio,
            dropped_blocks=self._source.dropped_blocks,
            inference_p95_ms=vitals.inference_p95_ms,
            outbox_depth=depth.waiting,
            outbox_dropped=depth.dropped,
            outbox_dead=depth.dead,
            temperature_celsius=health.temperature_celsius(),
            throttled=health.throttled(),
            clock=health.clock(),
            own_certificate_days=own_days,
            broker_certificate_days=broker_days,
        )

    def _born(self, session: int) -> NodeBorn:
        return NodeBorn(
            node=self._settings.node,
            zone=self._settings.zone,
            room=self._settings.room_name,
            boot=self._boot,
            session=session,
            at=datetime.now(UTC),
            version=version("tocsin"),
            bundle=self._classifier.name,
            runtime=self._classifier.runtime,
            hardware=health.hardware(),
            source=self._source.name[:120],
            labels=self._classifier.manifest.label_names,
            hop_seconds=self._pipeline.hop_seconds,
            heartbeat_seconds=self._settings.heartbeat_seconds,
            outbox_depth=self._outbox.depth().waiting,
            keeps_clips=self._settings.clips.keep,
            outbox_last=self._outbox.last_seq,
        )


def _clips(settings: NodeSettings, classifier: Classifier, troubles: Troubles) -> Clips | None:
    if not settings.clips.keep:
        return None
    return Clips(settings.clips, classifier.manifest, lambda detail: troubles.note(TroubleKind.CLIPS, detail))


def _selftest(settings: NodeSettings, duet: Duet, troubles: Troubles) -> SelfTest:
    rate_hz = duet.judge.manifest.features.sample_rate_hz
    speaker = Speaker(settings.selftest.output, rate_hz)
    return SelfTest(
        3600.0 * settings.selftest.every_hours,
        rate_hz,
        lambda: Pipeline(duet.judge, settings.model.hop_seconds),
        troubles,
        play=speaker.play if settings.selftest.how == "speaker" else None,
    )


def build(settings: NodeSettings) -> Agent:
    """A node as ``settings`` describe it; nothing runs yet.

    Raises:
        TocsinError: a part of the settings cannot be used: bundle, rule, source, certificate, password.
    """
    make_client(
        settings.broker, settings.node
    )  # whatever is wrong with its files is said before anything runs
    model, prepared = settings.model, _prepared(settings)
    classifier = (
        load_bundle(model.bundle, model.variant, model.threads)
        if prepared is None
        else prepared.begun.classifier
    )
    if settings.selftest.every_hours and LABEL not in classifier.manifest.label_names:
        raise SettingsError(
            f"the bundle {classifier.name} has no label {LABEL}, so it cannot be tested; "
            "set selftest.every_hours = 0"
        )
    pipeline = Pipeline(classifier, model.hop_seconds)
    source = open_source(settings.source, classifier.manifest.features.sample_rate_hz)
    troubles = Troubles(time.time, time.monotonic)
    outbox = Outbox(settings.outbox.path, settings.outbox.max_bytes, troubles.note)
    return Agent(settings, classifier, pipeline, source, outbox, troubles=troubles, prepared=prepared)


def _prepared(settings: NodeSettings) -> "Prepared | None":
    if not settings.update.url:
        return None
    try:
        from tocsin_node.update.wiring import prepare  # noqa: PLC0415  # needs tocsin[ota]
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"update.url is set, but the package {error.name} is missing; install it with: "
            "pip install 'tocsin[node,ota]'"
        ) from error
    return prepare(settings)
