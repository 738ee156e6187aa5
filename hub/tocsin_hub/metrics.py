"""Figures for Prometheus at ``/metrics``: how the hub fares, and how long it takes until people know."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress

from flask import Blueprint, Response, current_app, request
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tocsin_hub.alerts.awareness import BOUNDS_SECONDS, BUDGET_SECONDS, Hop, seconds_since
from tocsin_hub.alerts.passages import stamped
from tocsin_hub.alerts.roads import RoadState
from tocsin_hub.incidents.model import IncidentSeverity
from tocsin_hub.people import access, tokens
from tocsin_hub.people.model import Role
from tocsin_hub.people.tokens import Scope
from tocsin_hub.rollouts.model import Status
from tocsin_hub.rooms import RoomState
from tocsin_hub.services import Services, services
from tocsin_shared.errors import UnavailableError

EXTENSION = "tocsin_metrics"
LAG_US = 5_000_000
"""What is stamped is looked for this much later, when it is surely on the disk."""
_LOOPBACK = frozenset({"127.0.0.1", "::1", "::ffff:127.0.0.1"})
_FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP")

metrics = Blueprint("metrics", __name__)


class Metrics(Collector):
    """All figures of one hub. The histograms count from its start, as Prometheus wants it."""

    def __init__(self, hub: Services) -> None:
        self._hub = hub
        self._lock = threading.Lock()
        self._seen_us = hub.clock() - LAG_US
        self._registry = CollectorRegistry(auto_describe=False)
        self._hops = Histogram(
            "tocsin_awareness_seconds",
            "From the onset of a sound until it passed a hop on its way to a person; the budget is 10 s.",
            ["hop"],
            buckets=BOUNDS_SECONDS,
            registry=self._registry,
        )
        for hop in Hop:
            self._hops.labels(str(hop))
        self._registry.register(self)

    def text(self) -> bytes:
        """The figures as they stand, in the text format of Prometheus."""
        self._advance()
        return generate_latest(self._registry)

    def _advance(self) -> None:
        """Count what was stamped since the last look."""
        with self._lock:
            until_us = self._hub.clock() - LAG_US
            if until_us <= self._seen_us:
                return
            try:
                found = list(stamped(self._hub.store, self._seen_us, until_us))
            except UnavailableError:
                return  # it is counted when the database answers again
            self._seen_us = until_us
        for hop, onset_us, at_us in found:
            seconds = seconds_since(onset_us, at_us)
            if seconds is not None:
                self._hops.labels(str(hop)).observe(seconds)

    def collect(self) -> Iterator[Metric]:
        """Called by the registry."""
        yield from self._ingest()
        yield from self._nodes()
        yield from self._incidents()
        yield from self._roads()
        if self._hub.rollouts.trust is not None:
            yield from self._updates()
        budget = GaugeMetricFamily("tocsin_awareness_budget_seconds", "The budget for the hop accepted.")
        budget.add_metric([], BUDGET_SECONDS)
        yield budget

    def _ingest(self) -> Iterator[Metric]:
        health = self._hub.health()
        if health.web_processes is not None:
            beside = GaugeMetricFamily("tocsin_web_processes", "Web processes that the hub hears.")
            beside.add_metric([], health.web_processes)
            yield beside
        for name, text, value in (
            ("tocsin_detections", "Detections in the database.", health.stored),
            ("tocsin_ingest_queue", "Messages that wait for the disk.", health.queue),
            ("tocsin_broker_connected", "1 if the broker is connected.", int(health.broker_connected)),
            ("tocsin_database_ok", "1 if what comes can be stored.", int(health.database == "ok")),
            ("tocsin_commit_seconds", "How long the last commit took.", (health.last_commit_ms or 0.0) / 1e3),
        ):
            gauge = GaugeMetricFamily(name, text)
            gauge.add_metric([], value)
            yield gauge
        for name, text, value in (
            ("tocsin_messages_quarantined", "Messages ever kept aside.", health.quarantined),
            ("tocsin_changes", "Changes of events and incidents.", self._hub.latest_change()),
        ):
            counter = CounterMetricFamily(name, text)
            counter.add_metric([], value)
            yield counter

    def _nodes(self) -> Iterator[Metric]:
        counts = Counter(record.state for record in self._hub.rooms.all())
        gauge = GaugeMetricFamily("tocsin_nodes", "Nodes by what their microphone does.", labels=["state"])
        for state in RoomState:
            gauge.add_metric([str(state)], counts[state])
        yield gauge

    def _incidents(self) -> Iterator[Metric]:
        try:
            lasting = self._hub.incidents.open()
        except UnavailableError:
            return
        counts = Counter((one.severity, one.acknowledged) for one in lasting)
        gauge = GaugeMetricFamily(
            "tocsin_incidents_lasting", "Incidents that last.", labels=["severity", "acknowledged"]
        )
        for severity in IncidentSeverity:
            for acknowledged in (False, True):
                gauge.add_metric([str(severity), str(acknowledged).lower()], counts[severity, acknowledged])
        yield gauge

    def _updates(self) -> Iterator[Metric]:
        pacing = self._hub.pacing
        ends = GaugeMetricFamily(
            "tocsin_trust_expires_seconds", "Until the signed metadata of a role ends.", labels=["role"]
        )
        for one in self._hub.rollouts.roles:
            ends.add_metric([one.role], one.days * 86_400.0)
        under_way = GaugeMetricFamily("tocsin_update_downloads", "Bundles that are sent now.")
        under_way.add_metric([], pacing.under_way)
        sent = CounterMetricFamily("tocsin_update_bytes", "Bytes of bundles that were sent.")
        sent.add_metric([], pacing.sent_bytes)
        away = CounterMetricFamily("tocsin_update_waits", "Nodes that were told to come again.")
        away.add_metric([], pacing.turned_away)
        yield from (ends, under_way, sent, away)
        with suppress(UnavailableError):
            standing = Counter(self._hub.rollouts.statuses())
            gauge = GaugeMetricFamily("tocsin_rollouts", "Rollouts by where they stand.", labels=["state"])
            for status in Status:
                gauge.add_metric([str(status)], standing[status])
            yield gauge

    def _roads(self) -> Iterator[Metric]:
        waiting = GaugeMetricFamily("tocsin_channel_queue", "Messages under way.", labels=["channel"])
        state = GaugeMetricFamily(
            "tocsin_channel_state", "1 for the state that holds.", labels=["channel", "state"]
        )
        sent = CounterMetricFamily(
            "tocsin_deliveries", "Messages that got through or did not.", labels=["channel", "result"]
        )
        for name, road in self._hub.engine.roads.items():
            waiting.add_metric([str(name)], road.waiting)
            for one in RoadState:
                state.add_metric([str(name), str(one)], int(road.state is one))
            sent.add_metric([str(name), "accepted"], road.accepted)
            sent.add_metric([str(name), "failed"], road.failed)
        yield from (waiting, state, sent)


@metrics.get("/metrics")
def figures() -> Response:
    """The figures, for whoever may read them."""
    if not _may_read():
        words = "log in as an officer, send an API token, or set [metrics] access\n"
        return Response(words, 403, mimetype="text/plain")
    made: Metrics = current_app.extensions[EXTENSION]
    return Response(made.text(), content_type=CONTENT_TYPE_LATEST)


def _may_read() -> bool:
    allowed = services().settings.metrics.access
    if allowed == "anybody" or (allowed == "local" and _is_local()):
        return True
    try:
        return _is_officer()
    except UnavailableError:
        return False


def _is_officer() -> bool:
    sent = request.headers.get("Authorization")
    if sent is None:
        person = access.current()
        return person is not None and person.may(Role.OFFICER)
    token = tokens.read_header(sent)
    acting = None if token is None else tokens.acting(services(), token)
    return acting is not None and acting.person.may(Role.OFFICER) and Scope.METRICS in acting.scopes


def _is_local() -> bool:
    """Whether the request surely comes from this machine: a proxy on it would make every request look so."""
    forwarded = any(name in request.headers for name in _FORWARDED)
    return request.remote_addr in _LOOPBACK and not forwarded and not services().settings.web.public_url
