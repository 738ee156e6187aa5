"""The store's contract: idempotent, the same in whatever order, every change seen by its readers."""

import itertools
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.hub.databases import at
from tests.hub.parts import START_US, Line, after, birth, conn, heartbeat, many, offset_of, ulid
from tests.shared.messages import sound
from tocsin_hub.connection import SqliteReader
from tocsin_hub.migrations import MIGRATIONS
from tocsin_hub.place import Place
from tocsin_hub.recorder import KEPT_QUARANTINE_ROWS, Fate, Quarantined, Recorder, prepare
from tocsin_hub.rooms import NodeRecord, RoomState
from tocsin_hub.store import HistoryFilter, Store
from tocsin_shared.errors import BadInputError, UnavailableError
from tocsin_shared.events import Phase, Presence, ScoredLabel, SoundDetected
from tocsin_shared.labels import Severity

ALL = HistoryFilter()
pytestmark = pytest.mark.both_databases


@pytest.fixture
def path(tmp_path: Path) -> Place:
    made = at(tmp_path / "hub.sqlite")
    prepare(made)
    return made


@pytest.fixture
def recorder(path: Path) -> Iterator[Recorder]:
    made = Recorder(path)
    made.open()
    yield made
    made.close()


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    made = Store(path)
    yield made
    made.close()


def record(recorder: Recorder, *messages: SoundDetected) -> list[Fate]:
    with recorder.transaction():
        return [recorder.record(message, START_US, START_US + 5)[0] for message in messages]


def test_everything_that_a_message_says_is_kept(recorder: Recorder, store: Store) -> None:
    message = sound(ambient_dbfs=None, late=True)
    record(recorder, message)
    event = store.event(message.id)
    assert event is not None
    for name in ("node", "zone", "label", "score", "level_dbfs", "ambient_dbfs", "mono_ns", "boot", "seq"):
        assert getattr(event, name) == getattr(message, name)
    for name in ("clock", "bundle", "phase", "rhythm", "late"):
        assert getattr(event, name) == getattr(message, name)
    assert event.top == (ScoredLabel("smoke_alarm", 0.93), ScoredLabel("siren", 0.21))
    assert (event.onset_us, event.offset_us) == (START_US, None)
    assert (event.first_received_us, event.received_us, event.committed_us) == (
        START_US,
        START_US,
        START_US + 5,
    )


def test_the_same_message_again_changes_nothing(recorder: Recorder, store: Store) -> None:
    assert record(recorder, sound(), sound()) == [Fate.ADDED, Fate.KNOWN]
    assert record(recorder, sound()) == [Fate.KNOWN]
    assert store.event_count() == 1
    assert store.counter("change") == 1


def test_a_later_phase_replaces_an_earlier_one_and_gets_a_new_change(
    recorder: Recorder, store: Store
) -> None:
    onset = sound()
    with recorder.transaction():
        recorder.record(onset, START_US, START_US)
    with recorder.transaction():
        recorder.record(offset_of(onset, seq=9), START_US + 70, START_US + 80)
    event = store.event(onset.id)
    assert event is not None
    assert (event.phase, event.offset_us, event.change) == (Phase.OFFSET, START_US + 4_000_000, 2)
    assert (event.first_received_us, event.received_us, event.committed_us) == (
        START_US,
        START_US + 70,
        START_US + 80,
    )


def test_an_onset_that_comes_after_its_offset_is_known_already(recorder: Recorder, store: Store) -> None:
    assert record(recorder, offset_of(sound(), seq=9), sound()) == [Fate.ADDED, Fate.KNOWN]


def test_the_id_of_another_node_is_not_taken_over(recorder: Recorder, store: Store) -> None:
    assert record(recorder, sound(), sound(node="thief-1", seq=99)) == [Fate.ADDED, Fate.FOREIGN]
    event = store.event(sound().id)
    assert event is not None
    assert event.node == "press-1"


words = st.lists(st.tuples(st.sampled_from(list(Phase)), st.integers(1, 6)), min_size=1, max_size=6)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said=words, order=st.randoms(use_true_random=False))
def test_any_order_and_any_repetition_end_in_the_same_row(
    tmp_path_factory: pytest.TempPathFactory, said: list[tuple[Phase, int]], order: object
) -> None:
    """The row is that of the greatest (phase, seq), however the messages were shuffled or doubled."""
    rank = [Phase.ONSET, Phase.UPDATE, Phase.OFFSET]
    best = max(said, key=lambda word: (rank.index(word[0]), word[1]))
    shuffled = [*said, *said]
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    path = at(tmp_path_factory.mktemp("merge") / "hub.sqlite")
    prepare(path)
    recorder, store = Recorder(path), Store(path)
    recorder.open()
    record(recorder, *(sound(phase=phase, seq=seq, score=seq / 10) for phase, seq in shuffled))
    event = store.event(sound().id)
    recorder.close()
    store.close()
    assert event is not None
    assert (event.phase, event.seq, event.score) == (*best, best[1] / 10)


def test_all_permutations_of_three_phases_end_in_the_same_row(recorder: Recorder, store: Store) -> None:
    onset = sound()
    update = sound(phase=Phase.UPDATE, seq=8, score=0.97)
    for number, order in enumerate(itertools.permutations((onset, update, offset_of(update, seq=9)))):
        fields = [{name: getattr(m, name) for name in m.__struct_fields__} for m in order]
        record(recorder, *(SoundDetected(**{**values, "id": ulid(number)}) for values in fields))
    page = store.events_after(0)
    assert len(page.events) == 6
    assert {(event.phase, event.seq, event.score) for event in page.events} == {(Phase.OFFSET, 9, 0.97)}


def test_a_transaction_that_fails_leaves_nothing_and_no_gap_in_the_changes(
    recorder: Recorder, store: Store
) -> None:
    record(recorder, sound(id=ulid(1)))

    def fail() -> None:
        with recorder.transaction():
            recorder.record(sound(id=ulid(2)), START_US, START_US)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert store.event_count() == 1
    record(recorder, sound(id=ulid(3)))
    assert [event.change for event in store.events_after(0).events] == [1, 2]


def test_changes_go_on_growing_after_a_restart(path: Path, recorder: Recorder, store: Store) -> None:
    record(recorder, sound(id=ulid(1)))
    recorder.close()
    again = Recorder(path)
    again.open()
    record(again, sound(id=ulid(2)))
    again.close()
    assert [event.change for event in store.events_after(0).events] == [1, 2]


def test_pages_after_a_change_come_in_order_and_end(recorder: Recorder, store: Store) -> None:
    record(recorder, *many(7))
    record(recorder, offset_of(many(1)[0], seq=50))
    seen, change, more = [], 0, True
    while more:
        page = store.events_after(change, limit=3)
        seen += [event.change for event in page.events]
        change, more = page.next, page.more
    assert seen == [2, 3, 4, 5, 6, 7, 8]
    empty = store.events_after(change)
    assert (empty.events, empty.next, empty.more) == ((), change, False)


def test_a_cursor_of_another_database_starts_from_the_beginning(recorder: Recorder, store: Store) -> None:
    record(recorder, *many(2))
    page = store.events_after(500)
    assert (page.events, page.next, page.more) == ((), 0, True)


def test_a_reader_that_follows_the_cursor_misses_nothing_while_others_write(tmp_path: Path) -> None:
    """Onsets and offsets are written while a reader pages on: at the end it knows every last word."""
    with Line(tmp_path / "hub.sqlite") as line:
        onsets = many(300)
        done = threading.Event()

        def write() -> None:
            for onset in onsets:
                line.hear(onset)
                line.hear(offset_of(onset, seq=onset.seq + 1000))
            line.settle()
            done.set()

        thread = threading.Thread(target=write)
        thread.start()
        known: dict[str, Phase] = {}
        change, reads = 0, 0
        while True:
            finished = done.is_set()
            page = line.store.events_after(change, limit=17)
            known |= {event.id: event.phase for event in page.events}
            change, reads = page.next, reads + 1
            if finished and not page.more:
                break
        thread.join()
        assert reads > 1
        assert known == {onset.id: Phase.OFFSET for onset in onsets}


def test_history_pages_go_from_the_newest_onset_to_the_oldest(recorder: Recorder, store: Store) -> None:
    messages = many(8)
    same_onset = [sound(id=ulid(n), onset=after(3), seq=n) for n in (100, 101)]
    record(recorder, *messages, *same_onset)
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = store.events_before(cursor, 3, ALL)
        seen += [event.id for event in page.events]
        cursor = page.next
        if cursor is None:
            break
    assert seen == [ulid(n) for n in (8, 7, 6, 5, 4, 101, 100, 3, 2, 1)]


def test_history_pages_stay_put_while_new_events_arrive(recorder: Recorder, store: Store) -> None:
    record(recorder, *many(4))
    first = store.events_before(None, 2, ALL)
    record(recorder, sound(id=ulid(9), onset=after(60)))
    second = store.events_before(first.next, 2, ALL)
    assert [event.id for event in second.events] == [ulid(2), ulid(1)]
    assert second.next is None


def test_history_can_be_narrowed(recorder: Recorder, store: Store) -> None:
    record(
        recorder,
        sound(id=ulid(1)),
        sound(id=ulid(2), label="glass_breaking", node="dock-2"),
        sound(id=ulid(3), label="some_new_label"),
        sound(id=ulid(4), label="speech"),
    )

    def numbers(only: HistoryFilter) -> list[str]:
        return [event.id for event in store.events_before(None, 10, only).events]

    assert numbers(HistoryFilter(node="dock-2")) == [ulid(2)]
    assert numbers(HistoryFilter(label="smoke_alarm")) == [ulid(1)]
    assert numbers(HistoryFilter(severity=Severity.ALARM)) == [ulid(1)]
    assert numbers(HistoryFilter(severity=Severity.WARNING)) == [ulid(3), ulid(2)], (
        "unknown labels are warnings"
    )
    assert numbers(HistoryFilter(severity=Severity.NONE)) == [ulid(4)]
    assert numbers(HistoryFilter(severity=Severity.NOTICE)) == []
    assert numbers(HistoryFilter(node="press-1", severity=Severity.WARNING)) == [ulid(3)]


@pytest.mark.parametrize(
    "cursor", ["x", "", "MQ", "MS4y", "ÿ", "9" * 5000, "LTEuMDFKREI4WjZRNFQzTTBWNVg3WTlBQkNERUY"]
)
def test_a_cursor_of_somebody_elses_making_is_refused(store: Store, cursor: str) -> None:
    with pytest.raises(BadInputError, match="cursor"):
        store.events_before(cursor, 5, ALL)


def test_what_is_known_of_a_node_survives(recorder: Recorder, store: Store) -> None:
    known = NodeRecord(
        node="press-1",
        since_us=START_US,
        state=RoomState.SILENT,
        birth=birth(),
        conn=conn(Presence.ONLINE),
        heartbeat=heartbeat(),
        boot="b1",
        last_seen_us=START_US + 1,
    )
    bare = NodeRecord(node="dock-2", since_us=5)
    with recorder.transaction():
        recorder.save_node(bare)
        recorder.save_node(NodeRecord(node="press-1", since_us=1))
        recorder.save_node(known)
    assert sorted(store.nodes(), key=lambda record: record.node) == [bare, known]


def test_words_of_a_node_that_this_version_cannot_read_are_left_out(recorder: Recorder, store: Store) -> None:
    with recorder.transaction():
        recorder.save_node(NodeRecord(node="press-1", since_us=1, birth=birth()))
        recorder.database.execute("UPDATE nodes SET birth = '{\"schema\": 99}', state = 'asleep'")
    assert store.nodes() == [NodeRecord(node="press-1", since_us=1)]


def test_quarantine_keeps_the_newest_and_counts_all(recorder: Recorder, store: Store) -> None:
    extra = 25
    with recorder.transaction():
        for number in range(KEPT_QUARANTINE_ROWS + extra):
            recorder.quarantine(Quarantined(number, "t", "r", 3, b"\x00\xff\x00"))
    rows = recorder.database.execute("SELECT min(at_us), max(at_us), count(*) FROM quarantine").fetchone()
    assert rows == (extra, KEPT_QUARANTINE_ROWS + extra - 1, KEPT_QUARANTINE_ROWS)
    assert store.counter("quarantined") == KEPT_QUARANTINE_ROWS + extra


def test_touching_open_events_gives_them_a_new_change(recorder: Recorder, store: Store) -> None:
    record(
        recorder,
        sound(id=ulid(1)),
        sound(id=ulid(2), boot="b0"),
        offset_of(sound(id=ulid(3)), seq=9),
        sound(id=ulid(4), node="dock-2"),
    )
    with recorder.transaction():
        touched = recorder.touch_open("press-1", ("b1",))
    assert [(event.id, event.change) for event in touched] == [(ulid(1), 5)]
    assert [event.id for event in store.events_after(4).events] == [ulid(1)]


def test_a_readers_connection_cannot_write(recorder: Recorder, store: Store) -> None:
    with pytest.raises(UnavailableError, match=r"read-?only"):
        store._rows("DELETE FROM events")


def test_many_threads_read_at_once(recorder: Recorder, store: Store) -> None:
    record(recorder, sound())
    seen: list[int] = []
    threads = [threading.Thread(target=lambda: seen.append(store.event_count())) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [1] * 40


@pytest.mark.sqlite
def test_each_thread_reads_by_a_connection_of_its_own(path: Path) -> None:
    reader = SqliteReader(path)
    seen: list[int] = []
    threads = [threading.Thread(target=lambda: seen.append(id(reader._connection()))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert id(reader._connection()) not in seen
    reader.close()


def test_preparing_again_changes_nothing(path: Path, recorder: Recorder, store: Store) -> None:
    record(recorder, sound())
    prepare(path)
    assert store.event_count() == 1


@pytest.mark.sqlite
def test_a_database_of_a_newer_hub_is_refused(path: Path) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES (?, 'm999_later', '')",
            (MIGRATIONS.name,),
        )
    connection.close()
    with pytest.raises(UnavailableError, match=r"newer version .*m999_later.*\[store\] path"):
        prepare(path)


@pytest.mark.sqlite
def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "hub.sqlite"
    path.write_text("this is not a database, but long enough to be looked at as one" * 20)
    with pytest.raises(UnavailableError, match=r"hub\.sqlite cannot be used: file is not a database"):
        prepare(path)


@pytest.mark.sqlite
def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UnavailableError, match=r"folder .*file/state cannot be made"):
        prepare(tmp_path / "file" / "state" / "hub.sqlite")


@pytest.mark.sqlite
def test_an_interrupted_migration_goes_on_where_it_stopped(tmp_path: Path) -> None:
    path = tmp_path / "hub.sqlite"
    connection = sqlite3.connect(path)
    from sqlite_utils import Database

    MIGRATIONS.apply(Database(connection), stop_before="m003_quarantine")
    connection.close()
    prepare(path)
    store = Store(path)
    assert store.counter("change") == 0
    store.close()


DYING = """
import os, signal, sys
from pathlib import Path
from tocsin_hub import connection
from tocsin_hub.recorder import prepare

left = int(sys.argv[2])

class Dying(connection._Connection):
    def execute(self, *arguments):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().execute(*arguments)

connection._Connection = Dying
prepare(Path(sys.argv[1]))
"""


@pytest.mark.slow
@pytest.mark.sqlite
@pytest.mark.parametrize("statements", range(1, 400, 45))
def test_a_hub_that_is_killed_while_it_makes_the_tables_goes_on(tmp_path: Path, statements: int) -> None:
    """In the middle of a step, too: the next start has the same tables as one that was not killed."""
    killed, whole = tmp_path / "killed.sqlite", tmp_path / "whole.sqlite"
    command = [sys.executable, "-c", DYING, str(killed), str(statements)]
    assert subprocess.run(command, check=False, timeout=60).returncode == -signal.SIGKILL
    made = []
    for path in (killed, whole):
        prepare(path)
        with closing(sqlite3.connect(path)) as connection:
            made.append(
                connection.execute("SELECT type, name, sql FROM sqlite_master ORDER BY 1, 2").fetchall()
            )
    assert made[0] == made[1]


@pytest.mark.sqlite
def test_each_commit_is_forced_to_the_disk(recorder: Recorder) -> None:
    pragmas = {
        name: recorder.database.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous")
    }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2}
