"""The root of a node: builds the parts, runs them in named threads, and stops them in order.

::

    ears        source → pipeline → outbox
    link        the connection to the broker: connects again and again, hears the hub
    sender      outbox → broker
    heartbeat   how the node fares

A thread that fails takes the process down with exit status 1; whoever supervises it starts it anew, and
what was on the disk is there. On SIGTERM or SIGINT, or at the end of the sound, the source stops first;
then open detections are ended, the outbox gets a moment to empty, and the node says goodbye.
"""

import logging
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from types import FrameType

from tocsin_node import health
from tocsin_node.bundle import load_bundle
from tocsin_node.capture import Source, open_source
from tocsin_node.earwatch import EarWatch
from tocsin_node.link import Identity, Link
from tocsin_node.outbox import Outbox
from tocsin_node.pipeline import Detected, Pipeline, Sound
from tocsin_node.reporter import Place, Reporter, Times, told_level
from tocsin_node.selftest import LABEL, SelfTest
from tocsin_node.settings import NodeSettings
from tocsin_node.speaker import Speaker
from tocsin_node.troubles import Troubles
from tocsin_shared.broker import make_client
from tocsin_shared.classifier import Classifier
from tocsin_shared.errors import DecodeError, SettingsError, TocsinError, UnavailableError
from tocsin_shared.events import Heartbeat, MicState, NodeBorn, SoundDetected

DRAIN_SECONDS = 2.0
"""How long a node that stops waits for the hub to take what is left."""
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
    ) -> None:
        boot = uuid.uuid4().hex
        self._settings = settings
        self._classifier = classifier
        self._pipeline = pipeline
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
        self._link = Link(
            settings.broker,
            Identity(settings.node, boot),
            outbox,
            self._born,
            on_connected=self._tell_troubles_soon,
        )
        self._selftest = _selftest(settings, classifier, troubles)
        self._link.on_stored = self._selftest.committed
        self._link.on_command = lambda _selftest: self._selftest.request()
        self._mic = MicState.STARTING
        self._over = threading.Event()
        self._stop_source = threading.Event()
        self._stop_link = threading.Event()
        self._failed = False

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
        ears = self._started("ears", self._listen)
        others = [
            self._started("link", lambda: self._link.run_network(self._stop_link)),
            self._started("sender", lambda: self._link.run_sender(self._stop_link)),
            self._started("heartbeat", self._report_health),
        ]
        self._over.wait()
        self._shut_down(ears, others)
        return 1 if self._failed else 0

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        log.info("stopping: %s", signal.Signals(number).name)
        self._over.set()

    def _shut_down(self, ears: threading.Thread, others: Iterable[threading.Thread]) -> None:
        self._stop_source.set()
        ears.join(EARS_SECONDS)
        delivered = self._link.drain(DRAIN_SECONDS)
        self._link.stop()
        self._stop_link.set()
        self._beat.set()
        for thread in others:
            thread.join(JOIN_SECONDS)
        left = self._outbox.depth().waiting
        log.info("stopped; %s", "all delivered" if delivered else f"{left} events wait in the outbox")
        self._outbox.close()

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
                for sound in self._source.sounds(self._stop_source):
                    wait = FIRST_RETRY_SECONDS
                    self._watch.heard(sound, self._source.dropped_blocks)
                    self._tell(self._pipeline.push(sound))
                    self._test(sound)
                    self._note_mic(MicState.SILENT if self._pipeline.silent else MicState.LISTENING)
                break
            except UnavailableError as error:
                log.warning("%s; next try in %g s", error, wait)
                self._watch.lost(error)
                self._note_mic(MicState.ABSENT)
                self._tell_the_end()
                self._pipeline.restart()
                self._stop_source.wait(wait)
                wait = min(2.0 * wait, LONGEST_RETRY_SECONDS)
        self._tell_the_end()
        if not self._stop_source.is_set():
            log.info("stopping: end of %s", self._source.name)

    def _tell_the_end(self) -> None:
        """There is no more sound: end what is open."""
        self._tell(self._pipeline.flush())
        self._tell(self._selftest.abandon(), injected=True)

    def _test(self, sound: Sound) -> None:
        self._tell(self._selftest.heard(sound), injected=True)
        self._tell(self._selftest.corrections())

    def _event(self, detected: Detected, seq: int, *, injected: bool) -> SoundDetected:
        if injected:
            return self._test_reporter.event(detected, seq, test=True)
        return self._reporter.event(detected, seq, test=self._selftest.claims(detected))

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
            log.info(
                "event seq=%d id=%s label=%s phase=%s score=%.2f",
                event.seq,
                event.id,
                event.label,
                event.phase,
                event.score,
            )
            if event.test:
                self._selftest.told(event)

    def _note_mic(self, state: MicState) -> None:
        if state is not self._mic:
            log.info("microphone: %s (%s)", state, self._source.name)
            self._mic = state
            self._beat.set()

    def _tell_troubles_soon(self) -> None:
        self._troubles_due.set()
        self._beat.set()

    def _report_health(self) -> None:
        """Heartbeat: now and then, and at once when microphone or troubles change or a connection begins."""
        while not self._stop_link.is_set():
            if self._troubles_due.is_set():
                self._troubles_due.clear()
                self._link.send_troubles(self._troubles.message(self._settings.node, self._boot))
            self._link.send_heartbeat(self._heartbeat())
            self._outbox.settle()
            self._beat.wait(self._settings.heartbeat_seconds)
            self._beat.clear()

    def _heartbeat(self) -> Heartbeat:
        vitals = self._pipeline.vitals()
        depth = self._outbox.depth()
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
        )


def _selftest(settings: NodeSettings, classifier: Classifier, troubles: Troubles) -> SelfTest:
    rate_hz = classifier.manifest.features.sample_rate_hz
    speaker = Speaker(settings.selftest.output, rate_hz)
    return SelfTest(
        3600.0 * settings.selftest.every_hours,
        rate_hz,
        lambda: Pipeline(classifier, settings.model.hop_seconds),
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
    model = settings.model
    classifier = load_bundle(model.bundle, model.variant, model.threads)
    if settings.selftest.every_hours and LABEL not in classifier.manifest.label_names:
        raise SettingsError(
            f"the bundle {classifier.name} has no label {LABEL}, so it cannot be tested; "
            "set selftest.every_hours = 0"
        )
    pipeline = Pipeline(classifier, model.hop_seconds)
    source = open_source(settings.source, classifier.manifest.features.sample_rate_hz)
    outbox = Outbox(settings.outbox.path, settings.outbox.max_bytes)
    return Agent(settings, classifier, pipeline, source, outbox, troubles=Troubles(time.time, time.monotonic))
