"""What is old goes, what lasts stays, and nobody waits for it."""

import sqlite3
import threading
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlite_utils import Database

from tests.hub.parts import START_US, Line, many, ulid, wait_until
from tests.shared.messages import sound
from tocsin_hub.connection import Connection, connect
from tocsin_hub.recorder import Recorder
from tocsin_hub.retention import pruning
from tocsin_hub.retention.pruner import Pruner
from tocsin_hub.retention.pruning import START, count_old, prune_piece
from tocsin_hub.retention.rules import DAY_US, Matter, Term, is_due, next_rows, spare_pages, terms
from tocsin_hub.settings import StoreSettings
from tocsin_hub.store import HistoryFilter

OLD, YOUNG = START_US - 500 * DAY_US, START_US - 5 * DAY_US
KEEP = StoreSettings(
    keep_events_days=100,
    keep_incidents_days=100,
    keep_alerts_days=100,
    keep_audit_days=100,
    keep_quarantine_days=100,
    keep_troubles_days=100,
)


def hear_at(line: Line, at_us: int, number: int, **changes: object) -> None:
    """A detection of which the hub heard at ``at_us``; a test of a node, so that no incident comes of it."""
    line.now_us = at_us
    line.hear(sound(id=ulid(number), seq=number, test=True, **changes))
    line.settle()


def incident(
    line: Line, key: str, at_us: int, *events: int, lasts: bool = False, alert: bool = False
) -> None:
    """An incident of some detections, over after a minute unless it ``lasts``."""
    over = None if lasts else at_us + 60_000_000

    def write(recorder: Recorder) -> None:
        recorder.changes += 1
        execute = recorder.database.execute
        execute(
            "INSERT INTO incidents (id, kind, grouping, label, severity, zone, drill, opened_us, updated_us, "
            "cleared_us, nodes, events, late, detail, change) "
            "VALUES (?, 'sound', 'fire', 'smoke_alarm', 'alarm', 'hall-1', 0, ?, ?, ?, '[]', 1, 0, '', ?)",
            (key, at_us, at_us, over, recorder.changes),
        )
        log = "INSERT INTO incident_log (incident, at_us, step, detail) VALUES (?, ?, 'opened', '')"
        execute(log, (key, at_us))
        for number in events:
            execute("INSERT INTO incident_events (event, incident) VALUES (?, ?)", (ulid(number), key))
        if alert:
            execute(
                "INSERT INTO alerts (id, incident, audience, created_us) VALUES (?, ?, 'in_zone', ?)",
                (f"alert of {key}", key, at_us),
            )
            execute(
                "INSERT INTO deliveries (id, alert, channel, queued_us, error) VALUES (?, ?, 'page', ?, '')",
                (f"delivery of {key}", f"alert of {key}", at_us),
            )

    line.writer.call(write)


def pruner_of(line: Line, keep: StoreSettings = KEEP) -> Pruner:
    line.now_us = START_US
    return Pruner(
        keep, line.store.path, line.writer, lambda: line.now_us, lambda gone: line.ingest.count(-gone)
    )


def left(line: Line, table: str) -> list[str]:
    column = {"incident_log": "incident", "incident_events": "event"}.get(table, "id")
    return [str(key) for (key,) in line.store.rows(f"SELECT {column} FROM {table} ORDER BY 1")]  # noqa: S608


def test_old_detections_go_and_young_ones_stay(line: Line) -> None:
    hear_at(line, OLD, 1)
    hear_at(line, YOUNG, 2)
    pruned = pruner_of(line).prune()
    assert pruned.removed == {"events": 1}
    assert left(line, "events") == [ulid(2)]
    assert (line.store.event_count(), line.ingest.stored) == (1, 1)


def test_the_age_is_told_by_the_hub_not_by_a_node_whose_clock_is_wrong(line: Line) -> None:
    hear_at(line, YOUNG, 1, onset=datetime(1971, 1, 1, tzinfo=UTC))
    assert pruner_of(line).prune().removed == {}


def test_what_an_incident_that_lasts_is_about_stays(line: Line) -> None:
    for number in (1, 2, 3):
        hear_at(line, OLD, number)
    incident(line, "lasts", OLD, 1, lasts=True, alert=True)
    incident(line, "over", OLD, 2, alert=True)
    assert pruner_of(line).prune().removed == {"alerts": 1, "incidents": 1, "events": 2}
    assert left(line, "events") == [ulid(1)]
    for table in ("incidents", "incident_log"):
        assert left(line, table) == ["lasts"]
    assert left(line, "incident_events") == [ulid(1)]
    assert left(line, "alerts") == ["alert of lasts"]
    assert left(line, "deliveries") == ["delivery of lasts"]


def test_an_incident_stays_while_it_is_kept_who_was_told(line: Line) -> None:
    incident(line, "over", OLD, alert=True)
    longer = StoreSettings(keep_incidents_days=100, keep_alerts_days=1000)
    assert pruner_of(line, longer).prune().removed == {}
    assert left(line, "incidents") == ["over"]


def test_zero_days_keep_for_ever(line: Line) -> None:
    hear_at(line, OLD, 1)
    for_ever = StoreSettings(
        keep_events_days=0,
        keep_incidents_days=0,
        keep_alerts_days=0,
        keep_audit_days=0,
        keep_quarantine_days=0,
        keep_troubles_days=0,
    )
    assert terms(for_ever, START_US) == ()
    assert pruner_of(line, for_ever).prune().removed == {}


def test_the_small_tables_are_pruned_too(line: Line) -> None:
    def write(recorder: Recorder) -> None:
        execute = recorder.database.execute
        for at_us in (OLD, YOUNG):
            execute(
                "INSERT INTO audit (at_us, action, subject, detail, address) VALUES (?, 'x', '', '', '')",
                (at_us,),
            )
            execute(
                "INSERT INTO troubles (id, node, kind, since_us, until_us, detail) "
                "VALUES (?, 'n', 'k', ?, ?, '')",
                (str(at_us), at_us, at_us),
            )
            execute(
                "INSERT INTO drills (id, zones, note, started_us, ends_us) VALUES (?, '[]', '', ?, ?)",
                (str(at_us), at_us, at_us),
            )
        execute(
            "INSERT INTO troubles (id, node, kind, since_us, detail) VALUES ('lasts', 'n', 'k', ?, '')",
            (OLD,),
        )

    line.writer.call(write)
    for at_us in (OLD, YOUNG):
        line.now_us = at_us
        line.send_raw("tocsin/v1/nonsense", b"")
        line.settle()
    removed = pruner_of(line).prune().removed
    assert removed == {"drills": 1, "audit": 1, "quarantine": 1, "troubles": 1}
    assert left(line, "troubles") == [str(YOUNG), "lasts"]


def test_a_live_event_is_stored_while_old_ones_go(line: Line) -> None:
    """Pieces queue like messages: a live event waits for one of them at most."""
    line.now_us = OLD
    for message in many(3000, test=True):
        line.hear(message)
    line.settle()
    pruner = pruner_of(line)
    thread = threading.Thread(target=pruner.prune)
    thread.start()
    heard = left = 0
    wait_until(lambda: line.store.event_count() < 3000, "the first piece to go", 60)
    while thread.is_alive() and heard < 20:
        receipt = line.hear(sound(id=ulid(10_000 + heard), seq=10_000 + heard, test=True))
        wait_until(lambda: receipt in line.broker.receipts, "the live event to be stored", 60)  # noqa: B023
        heard += 1
        left = max(left, line.store.event_count() - heard)
    thread.join(120)
    assert pruner.last is not None
    assert pruner.last.removed == {"events": 3000}
    assert heard > 0, "the pruning was over before anything was heard"
    assert left > 0, "nothing was heard while pieces went"
    assert line.store.event_count() == heard


def test_pieces_are_bounded_by_what_they_take() -> None:
    assert next_rows(100, 0.001) == 200
    assert next_rows(100, 0.03) == 100
    assert next_rows(100, 0.2) == 50
    assert next_rows(10, 9.0) == 10
    assert next_rows(2000, 0.0) == 2000


@hypothesis_settings(deadline=None)
@given(st.integers(1, 5000), st.floats(0, 100))
def test_a_piece_never_grows_after_a_slow_one(rows: int, seconds: float) -> None:
    assert 1 <= next_rows(rows, seconds) <= 2 * rows or rows < 10
    if seconds > 0.05:
        assert next_rows(rows, seconds) <= max(10, rows)


HOUR_US = DAY_US // 24


@pytest.mark.parametrize(
    ("since_hours", "hour", "due"),
    [
        (None, 12, True),
        (26, 12, True),
        (24, 3, True),
        (24, 12, False),
        (1, 3, False),
        (-1, 3, False),
        (-26, 12, True),
    ],
)
def test_it_is_looked_at_in_the_quiet_hour_or_when_that_was_missed(
    since_hours: int | None, hour: int, due: bool
) -> None:
    last_us = None if since_hours is None else START_US - since_hours * HOUR_US
    assert is_due(START_US, last_us, hour, 3) is due


def test_the_thread_looks_at_its_start_and_keeps_the_report(line: Line) -> None:
    hear_at(line, OLD, 1)
    pruner = pruner_of(line)
    deaths: list[str] = []
    pruner.start(deaths.append)
    wait_until(lambda: pruner.last is not None, "the first look")
    pruner.stop()
    kept = line.writer.call(lambda recorder: pruning.last(recorder.database))
    assert kept == pruner.last
    assert kept is not None
    assert (kept.at_us, kept.removed) == (START_US, {"events": 1})
    again = pruner_of(line)
    again.start(deaths.append)
    wait_until(lambda: again.last is not None, "the report")
    again.stop()
    assert again.last == kept, "it was looked at this very day"
    assert deaths == []


def test_a_failure_is_told_and_tried_again(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = True

    def piece(*arguments: object) -> pruning.Piece:
        if broken:
            raise sqlite3.IntegrityError("refused")
        return prune_piece(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(pruning, "prune_piece", piece)
    monkeypatch.setattr("tocsin_hub.retention.pruner._LOOK_SECONDS", 0.01)
    hear_at(line, OLD, 1)
    pruner = pruner_of(line)
    pruner.start()
    wait_until(lambda: "refused" in pruner.trouble, "the trouble")
    broken = False
    wait_until(lambda: pruner.last is not None and not pruner.trouble, "the next try")
    pruner.stop()
    assert line.store.event_count() == 0


@pytest.mark.sqlite
@pytest.mark.parametrize("matter", Matter)
def test_every_window_walks_an_index(line: Line, matter: Matter) -> None:
    way = pruning._WAYS[matter]
    with closing(sqlite3.connect(line.file)) as connection:
        parameters = {"before": START_US, "first": -1, "second": "", "rows": 10}
        plan = [row[-1] for row in connection.execute(f"EXPLAIN QUERY PLAN {way.window}", parameters)]
    assert plan[0].startswith(f"SEARCH {matter}") or matter is Matter.DRILLS, plan
    assert not any("TEMP B-TREE" in step for step in plan) or matter is Matter.DRILLS, plan
    assert not any(step.startswith("SCAN") for step in plan[1:]), plan


def test_what_would_go_can_be_counted(line: Line) -> None:
    for number in (1, 2, 3):
        hear_at(line, OLD, number)
    hear_at(line, YOUNG, 4)
    incident(line, "lasts", OLD, 1, lasts=True)
    assert count_old(line.store, Term(Matter.EVENTS, START_US - 100 * DAY_US)) == 2
    assert line.store.event_count() == 4


@pytest.mark.sqlite
@hypothesis_settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), max_size=12), st.integers(1, 5))
def test_however_small_the_pieces_the_same_goes(rows: list[tuple[bool, bool, bool]], size: int) -> None:
    """Each row: is it old, does its incident last, has it an incident."""
    from tocsin_hub.migrations import MIGRATIONS

    database = connect(Path(":memory:"))
    MIGRATIONS.apply(Database(database))
    stay = set()
    for number, (old, lasts, linked) in enumerate(rows, start=1):
        at_us = OLD if old else YOUNG
        _insert(database, number, at_us, lasts=lasts, linked=linked)
        if not old or (linked and lasts):
            stay.add(number)
    place: pruning.Place | None = START
    pieces = 0
    while place is not None:
        piece = prune_piece(database, Term(Matter.EVENTS, START_US - 100 * DAY_US), place, size)
        place, pieces = piece.place, pieces + 1
        assert pieces <= len(rows) + 2
    # Behind a window in which nothing is old, nothing is looked for: rows are in the order of their commits.
    found = {change for (change,) in database.execute("SELECT change FROM events")}
    assert stay <= found
    if all(old for old, _, _ in rows):
        assert found == stay


def _insert(database: Connection, number: int, at_us: int, *, lasts: bool, linked: bool) -> None:
    database.execute(
        "INSERT INTO events (id, node, zone, label, score, top, onset_us, mono_ns, boot, seq, clock, bundle, "
        "phase, rhythm, late, first_received_us, received_us, committed_us, change) VALUES "
        "(?, 'n', 'z', 'l', 1.0, '[]', ?, 0, 'b', 0, 'ntp', 'b', 'offset', 'none', 0, ?, ?, ?, ?)",
        (ulid(number), at_us, at_us, at_us, at_us, number),
    )
    if linked:
        database.execute(
            "INSERT INTO incidents (id, kind, grouping, label, severity, zone, drill, opened_us, updated_us, "
            "cleared_us, nodes, events, late, detail, change) "
            "VALUES (?, 'sound', 'g', 'l', 'alarm', 'z', 0, ?, ?, ?, '[]', 1, 0, '', ?)",
            (f"i{number}", at_us, at_us, None if lasts else at_us, number),
        )
        database.execute(
            "INSERT INTO incident_events (event, incident) VALUES (?, ?)", (ulid(number), f"i{number}")
        )


@pytest.mark.sqlite
def test_pages_that_are_free_go_back_to_the_file_system(line: Line) -> None:
    line.now_us = OLD
    for message in many(3000, test=True):
        line.hear(message)
    line.settle()
    with closing(sqlite3.connect(line.file)) as connection:
        (before,) = connection.execute("PRAGMA page_count").fetchone()
        pruner_of(line).prune()
        (after,) = connection.execute("PRAGMA page_count").fetchone()
    assert after < before / 3
    assert spare_pages(50, 1000) == 0
    assert spare_pages(500, 1000) == 400


def test_the_database_itself_counts_its_detections(line: Line) -> None:
    for message in many(5):
        line.hear(message)
    line.hear(many(1)[0])
    line.settle()
    assert line.store.event_count() == 5
    assert line.store.rows("SELECT count(*) FROM events") == [(5,)]


def test_a_filter_by_severity_finds_every_label_of_it_page_by_page(line: Line) -> None:
    labels = ["engine", "glass_breaking", "drone", "knock", "vehicle_horn", "smoke_alarm", "drone", "speech"]
    for number, label in enumerate(labels * 3, start=1):
        line.hear(sound(id=ulid(number), seq=number, label=label, test=label == "knock"))
    line.settle()
    every = line.store.events_before(None, 100, HistoryFilter()).events
    for severity in {event.severity for event in every}:
        wanted = [event.id for event in every if event.severity is severity and not event.test]
        found: list[str] = []
        cursor: str | None = None
        while True:
            page = line.store.events_before(cursor, 2, HistoryFilter(severity=severity))
            found += [event.id for event in page.events]
            if (cursor := page.next) is None:
                break
        assert found == wanted


def test_the_report_is_in_healthz(tmp_path: Path) -> None:
    from tocsin_hub.root import build
    from tocsin_hub.settings import HubSettings

    hub = build(HubSettings(state_folder=tmp_path))
    hub.writer.start(hub.ingest.settle)
    try:
        hub.pruner.prune()
        pruning_words = hub.app.test_client().get("/healthz").json["pruning"]  # type: ignore[index]
        assert pruning_words["status"] == "ok"
        assert pruning_words["last"].endswith("Z")
        assert pruning_words["removed"] == {}
    finally:
        hub.writer.stop()
        hub.services.store.close()
