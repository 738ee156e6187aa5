"""Time to awareness: figures from stamps, their page, and what Prometheus gets."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st

from tests.hub.alerts.cases import incident
from tests.hub.alerts.desk import save_incident
from tests.hub.parts import feed, log_in, person, ulid
from tests.hub.test_pages import get
from tests.shared.messages import sound
from tocsin_hub.alerts import keeping
from tocsin_hub.alerts.awareness import (
    BOUNDS_SECONDS,
    BUDGET_SECONDS,
    Hop,
    Passage,
    bars,
    figures,
    quantile,
    seconds_since,
)
from tocsin_hub.alerts.model import Alert, Audience, ChannelName, Delivery
from tocsin_hub.alerts.pages import plot_of
from tocsin_hub.i18n import catalogue
from tocsin_hub.metrics import LAG_US
from tocsin_hub.people import tokens
from tocsin_hub.people.tokens import Scope
from tocsin_hub.recorder import Recorder
from tocsin_hub.root import Hub, build
from tocsin_hub.settings import HubSettings, MetricsSettings, WebSettings
from tocsin_hub.times import from_us, now_us

SECONDS = st.floats(0, 90_000)


def test_the_budget_is_an_end_of_a_bar() -> None:
    assert BUDGET_SECONDS in BOUNDS_SECONDS
    assert list(BOUNDS_SECONDS) == sorted(BOUNDS_SECONDS)


@given(st.lists(SECONDS, max_size=50))
def test_every_value_falls_into_one_bar(took: list[float]) -> None:
    counts = bars(took)
    assert sum(counts) == len(took)
    within = sum(n for n, end in zip(counts, BOUNDS_SECONDS, strict=False) if end <= BUDGET_SECONDS)
    assert within == sum(seconds <= BUDGET_SECONDS for seconds in took)


@given(st.lists(SECONDS, min_size=1, max_size=50).map(sorted), st.floats(0.01, 1.0))
def test_a_quantile_is_the_least_value_that_suffices(ordered: list[float], share: float) -> None:
    found = quantile(ordered, share)
    assert found is not None
    assert sum(one <= found for one in ordered) >= share * len(ordered)
    assert sum(one < found for one in ordered) < share * len(ordered)


@pytest.mark.parametrize(
    ("later_us", "seconds"),
    [(2_500_000, 2.5), (0, 0.0), (-400_000, 0.0), (-2_000_000, None), (90_000_000_000, None)],
)
def test_clocks_that_disagree_are_left_out(later_us: int, seconds: float | None) -> None:
    assert seconds_since(10**15, 10**15 + later_us) == seconds


def test_each_hop_counts_from_the_onset_and_each_leg_from_the_hop_before() -> None:
    stamps = {Hop.DETECTED: 2_000_000, Hop.RECEIVED: 2_100_000, Hop.SHOWN: 4_100_000}
    found = {one.hop: one for one in figures([Passage(0, stamps), Passage(0, {Hop.SHOWN: 20_000_000})])}
    assert (found[Hop.DETECTED].p50, found[Hop.DETECTED].leg_p50) == (2.0, 2.0)
    assert found[Hop.RECEIVED].leg_p50 == pytest.approx(0.1)
    assert (found[Hop.SHOWN].count, found[Hop.SHOWN].within) == (2, 0.5)
    assert (found[Hop.SHOWN].p50, found[Hop.SHOWN].p99) == (4.1, 20.0)
    assert (found[Hop.ANSWERED].count, found[Hop.ANSWERED].p50, found[Hop.ANSWERED].within) == (0, None, None)


def test_the_line_of_the_budget_stands_between_within_and_over() -> None:
    plot = plot_of(
        figures([Passage(0, {Hop.DETECTED: 9_000_000}), Passage(0, {Hop.DETECTED: 11_000_000})])[0]
    )
    inside = [bar for bar in plot.bars if bar.count and not bar.over]
    outside = [bar for bar in plot.bars if bar.count and bar.over]
    assert len(inside) == len(outside) == 1
    assert inside[0].x < plot.budget_x < outside[0].x + 2
    assert all(bar.y >= 0 and bar.y + bar.height <= plot.height for bar in plot.bars)


def pass_through(hub: Hub, onset_us: int, **stamps: int) -> str:
    """An alarm that passes all hops so many microseconds after its onset; the id of its incident."""
    heard = sound(label="smoke_alarm", onset=from_us(onset_us), onset_mono_ns=1, mono_ns=1 + 1_500_000_000)
    feed(hub, heard)
    rows = hub.services.store.rows("SELECT incident FROM incident_events WHERE event = ?", (heard.id,))
    key = str(rows[0][0])

    def write(recorder: Recorder) -> None:
        alert = Alert(ulid(100), key, "ada", Audience.IN_ZONE, onset_us)
        made = [
            Delivery(ulid(101), alert.id, ChannelName.PUSH, onset_us, onset_us + stamps["accepted"]),
            Delivery(ulid(102), alert.id, ChannelName.PAGE, onset_us, onset_us + stamps["accepted"] + 9),
        ]
        keeping.note_sends(recorder, [alert], [(one, f"sha-{one.id}") for one in made], [])
        keeping.note_shown(recorder, f"sha-{made[1].id}", onset_us + stamps["shown"])
        keeping.note_answers(recorder, {alert.id: (onset_us + stamps["answered"], "safe")})

    hub.writer.call(write)
    return key


STAMPS = {"accepted": 3_000_000, "shown": 4_000_000, "answered": 12_000_000}


def test_the_page_and_the_api_show_the_way_of_an_alarm(hub: Hub, client: FlaskClient) -> None:
    pass_through(hub, now_us() - 2_000_000, **STAMPS)
    late = incident(id=ulid(7005), late=True, first_event=None)
    hub.writer.call(lambda recorder: save_incident(recorder, late))
    answer = client.get("/api/v1/awareness?days=1")
    assert answer.status_code == 200, answer.text
    hops = {one["hop"]: one for one in json.loads(answer.data)["hops"]}
    assert {name: one["count"] for name, one in hops.items()} == dict.fromkeys(map(str, Hop), 1)
    assert hops["detected"]["p50"] == 1.5
    assert [hops[name]["p50"] for name in ("accepted", "shown", "answered")] == [3.0, 4.0, 12.0]
    assert (hops["shown"]["within"], hops["answered"]["within"]) == (1.0, 0.0)
    assert 1.5 < hops["committed"]["p50"] < 60
    for wrong in ("days=0", "days=x", "more=1"):
        assert client.get(f"/api/v1/awareness?{wrong}").status_code == 400
    for language in ("en", "ko"):
        texts = catalogue(language)
        page = get(client, f"/awareness?days=7&lang={language}")
        assert texts.t("awareness.within", share="100.0", seconds="10") in page.text
        assert texts.t("awareness.seconds", seconds="12.0") in page.text
        assert len(page.all("svg", role="img")) == len(Hop)


def test_nothing_measured_is_said_so(client: FlaskClient) -> None:
    page = get(client, "/awareness?lang=en&days=nonsense")
    assert page.text.count(catalogue("en").t("awareness.nothing")) == len(Hop)


# Prometheus


def metrics(client: FlaskClient, **headers: str) -> Any:
    return client.get("/metrics", headers=headers)


def value(text: str, name: str) -> float:
    """The value of one line."""
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    assert found, f"{name} is not in\n{text}"
    return float(found[1])


def test_prometheus_gets_hops_counters_and_states(tmp_path: Path) -> None:
    """The histograms count what happens from the start of the hub on."""
    time = [now_us()]
    hub = build(HubSettings(state_folder=tmp_path / "state"), clock=lambda: time[0])
    hub.writer.start(hub.ingest.settle, lambda name: pytest.fail(f"{name} died"))
    client = hub.app.test_client()
    before = metrics(client).text
    assert value(before, 'tocsin_awareness_seconds_count{hop="shown"}') == 0
    onset_us = time[0] + 1_000_000
    time[0] = onset_us + 2_000_000
    pass_through(hub, onset_us, **STAMPS)
    time[0] = onset_us + 20_000_000 + LAG_US
    for _ in range(2):
        text = metrics(client).text
        for hop in Hop:
            assert value(text, f'tocsin_awareness_seconds_count{{hop="{hop}"}}') == 1, hop
    assert value(text, 'tocsin_awareness_seconds_bucket{hop="answered",le="10.0"}') == 0
    assert value(text, 'tocsin_awareness_seconds_bucket{hop="shown",le="10.0"}') == 1
    assert value(text, "tocsin_detections") == 1
    assert value(text, "tocsin_broker_connected") == 0
    assert value(text, "tocsin_database_ok") == 1
    assert value(text, "tocsin_messages_quarantined_total") == 0
    assert value(text, "tocsin_awareness_budget_seconds") == 10
    assert value(text, 'tocsin_incidents_lasting{acknowledged="false",severity="alarm"}') == 1
    assert value(text, 'tocsin_channel_queue{channel="page"}') == 0
    assert value(text, 'tocsin_channel_state{channel="page",state="ok"}') == 1
    assert 'tocsin_nodes{state="listening"}' in text
    hub.writer.stop()
    hub.services.store.close()


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP"])
def test_a_proxy_on_this_machine_opens_nothing(hub: Hub, header: str) -> None:
    stranger = hub.app.test_client()
    assert metrics(stranger).status_code == 200
    assert metrics(stranger, **{header: "203.0.113.7"}).status_code == 403
    assert metrics(log_in(hub), **{header: "203.0.113.7"}).status_code == 200


@pytest.mark.parametrize(
    ("access", "address", "public_url", "status"),
    [
        ("local", "127.0.0.1", "", 200),
        ("local", "::1", "", 200),
        ("local", "192.0.2.4", "", 403),
        ("local", "127.0.0.1", "https://tocsin.example.org", 403),
        ("nobody", "127.0.0.1", "", 403),
        ("anybody", "192.0.2.4", "https://tocsin.example.org", 200),
    ],
)
def test_who_may_read_the_figures(
    tmp_path: Path, access: str, address: str, public_url: str, status: int
) -> None:
    settings = HubSettings(
        state_folder=tmp_path / "state",
        web=WebSettings(public_url=public_url),
        metrics=MetricsSettings(access=access),
    )
    hub = build(settings)
    answer = hub.app.test_client().get("/metrics", environ_base={"REMOTE_ADDR": address})
    assert answer.status_code == status
    hub.services.store.close()


def test_a_program_reads_the_figures_with_a_token(hub: Hub) -> None:
    def make(scope: Scope) -> str:
        mina = person(hub, f"Mina {scope}")
        return hub.writer.call(
            lambda recorder: tokens.add(
                recorder, "prometheus", mina.id, [scope], now_us=now_us(), expires_us=None
            )
        )

    client = hub.app.test_client()
    for scope, status in ((Scope.METRICS, 200), (Scope.READ, 403)):
        headers = {"Authorization": f"Bearer {make(scope)}", "X-Forwarded-For": "203.0.113.7"}
        assert client.get("/metrics", headers=headers).status_code == status
    wrong = {"Authorization": "Bearer nonsense", "X-Forwarded-For": "203.0.113.7"}
    assert client.get("/metrics", headers=wrong).status_code == 403
