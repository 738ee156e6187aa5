"""What only a hub on a PostgreSQL does: its tables, its lead, and a server that goes away."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from ulid import ULID

from tests.hub import postgres_server
from tests.hub.brokers import Node, broker
from tests.hub.databases import DATABASES
from tests.hub.parts import START_US, Line, many, offset_of, wait_until
from tests.hub.postgres_server import PostgresServer
from tests.hub.processes import HubProcess
from tests.shared.messages import sound
from tocsin_hub import cli
from tocsin_hub.connection import REFUSALS, ServerError, connect
from tocsin_hub.place import PostgresPlace, lead_of, write_to
from tocsin_hub.postgres import schema
from tocsin_hub.postgres.lead import LeadLostError, PostgresLead
from tocsin_hub.postgres.months import Month, month_called, month_of
from tocsin_hub.recorder import Recorder, prepare
from tocsin_hub.retention.pruner import Pruner
from tocsin_hub.settings import StoreSettings
from tocsin_hub.store import Store
from tocsin_shared.errors import BadInputError, SettingsError, UnavailableError

DAY_US = 86_400_000_000
_FAR = 4_000_000_000_000_000
"""A moment of the year 2096, for which no table was made."""


@pytest.fixture(autouse=True)
def _postgresql() -> None:
    DATABASES.engine = "postgresql"


@pytest.fixture
def place(tmp_path: Path) -> PostgresPlace:
    """A database with the hub's tables."""
    made = DATABASES.at(tmp_path / "hub")
    assert isinstance(made, PostgresPlace)
    return made


@pytest.fixture
def empty(tmp_path: Path) -> PostgresPlace:
    """A database without tables."""
    return DATABASES.empty(tmp_path / "empty")


def ask(place: PostgresPlace, sql: str) -> list[tuple[object, ...]]:
    with psycopg.connect(place.url, autocommit=True) as connection:
        cursor = connection.execute(sql.encode())
        return cursor.fetchall() if cursor.description else []


# The tables


def test_the_tables_have_the_columns_of_those_of_sqlite(place: PostgresPlace, tmp_path: Path) -> None:
    prepare(tmp_path / "hub.sqlite")
    with closing(connect(tmp_path / "hub.sqlite")) as connection:
        names = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' "
            "AND name NOT LIKE '_sqlite_%'"
        ).fetchall()
        theirs = {
            name: {
                (column, bool(must))
                for _, column, _, must, _, _ in connection.execute(f"PRAGMA table_info({name})")
            }
            for (name,) in names
        }
    rows = ask(
        place,
        "SELECT table_name, column_name, is_nullable = 'NO' FROM information_schema.columns "
        "WHERE table_schema = 'public' AND table_name NOT LIKE 'events\\_%' AND table_name <> 'schema_steps'",
    )
    ours: dict[str, set[tuple[str, bool]]] = {}
    for table, column, must in rows:
        ours.setdefault(str(table), set()).add((str(column), bool(must)))
    assert {name: {column for column, _ in columns} for name, columns in ours.items()} == {
        name: {column for column, _ in columns} for name, columns in theirs.items()
    }
    for name, columns in theirs.items():
        assert {pair for pair in columns if pair[1]} <= ours[name], name


def test_a_step_that_was_interrupted_left_nothing_and_is_done_again(
    empty: PostgresPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(schema, "STEPS", ("p001_tables", "p002_that_there_is_not"))
        with pytest.raises(FileNotFoundError):
            prepare(empty)
    assert ask(empty, "SELECT name FROM schema_steps") == [("p001_tables",)]
    prepare(empty)
    store = Store(empty)
    assert store.counter("change") == 0
    store.close()


def test_a_hub_that_is_killed_while_it_makes_the_tables(empty: PostgresPlace) -> None:
    """The server takes back what was not committed; the next start makes all of it."""
    with psycopg.connect(empty.url) as killed:
        step = Path(schema.__file__).with_name("steps") / "p001_tables.sql"
        killed.execute(step.read_bytes())
        ask(empty, f"SELECT pg_terminate_backend({killed.info.backend_pid})")
        with pytest.raises(psycopg.OperationalError):
            killed.execute("SELECT 1")
    prepare(empty)
    assert ask(empty, "SELECT name FROM schema_steps") == [("p001_tables",)]


def test_a_database_of_a_newer_hub_is_refused(place: PostgresPlace) -> None:
    ask(place, "INSERT INTO schema_steps (name) VALUES ('p999_later')")
    with pytest.raises(UnavailableError, match=r"newer version .*p999_later.*\[store\] url"):
        prepare(place)


def test_a_database_that_sorts_otherwise_is_refused_with_the_remedy() -> None:
    """Cursors are compared by their bytes: in another order pages would leave rows out."""
    server = DATABASES.server()
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute("CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
    try:
        with pytest.raises(UnavailableError, match=r"LATIN1 .*createdb --template=template0"):
            prepare(PostgresPlace(server.url("latin")))
    finally:
        with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
            connection.execute("DROP DATABASE latin")


@pytest.mark.parametrize(
    ("url", "words"),
    [("postgresql://tocsin@127.0.0.1:1/x", "Connection refused"), ("{server}/nosuch", 'database "nosuch"')],
)
def test_a_server_that_cannot_be_used_is_named(url: str, words: str) -> None:
    place = PostgresPlace(url.replace("{server}", DATABASES.server().url("").rstrip("/")))
    with pytest.raises(
        UnavailableError, match=f"the database postgresql://.* cannot be used: (FATAL: )?{words}"
    ):
        prepare(place)


def test_a_password_file_that_is_not_there_is_named(place: PostgresPlace, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"store\.password_file: .*none.* cannot be read"):
        prepare(PostgresPlace(place.url, tmp_path / "none"))


# Months


def test_events_are_kept_by_the_month_of_their_id(tmp_path: Path) -> None:
    with Line(tmp_path / "hub") as line:
        now = time.time_ns() // 1000
        ids = [str(ULID.from_timestamp(at / 1e6)) for at in (now, now + 32 * DAY_US, _FAR)]
        for number, key in enumerate(ids):
            line.hear(sound(id=key, seq=number))
        line.settle()
        assert line.store.event_count() == 3
        place = line.store.path
        assert isinstance(place, PostgresPlace)
        tables = [month_of(now).table, month_of(now + 32 * DAY_US).table, "events_other"]
        rows = ask(place, "SELECT tableoid::regclass::text, id FROM events ORDER BY id")
        assert rows == list(zip(tables, ids, strict=True))
        # When that time has come, they move into the table of their month.
        schema.tidy(place, _FAR)
        (kept,) = ask(place, "SELECT tableoid::regclass::text FROM events ORDER BY id DESC LIMIT 1")
        assert kept == (month_of(_FAR).table,)
        assert line.store.event_count() == 3, "what moves is not counted twice"


def test_a_month_that_is_over_and_empty_is_dropped_by_the_pruner(tmp_path: Path) -> None:
    with Line(tmp_path / "hub") as line:
        place = line.store.path
        assert isinstance(place, PostgresPlace)
        old = month_of(START_US - 400 * DAY_US)
        with psycopg.connect(place.url, autocommit=True) as connection:
            schema.make_months(connection, [old])
        line.now_us = START_US - 400 * DAY_US
        line.hear(sound(id=str(ULID.from_timestamp(line.now_us / 1e6)), test=True))
        line.settle()
        line.now_us = START_US
        keep = StoreSettings(keep_events_days=500)
        assert Pruner(keep, place, line.writer, lambda: START_US).prune().removed == {}
        assert old in schema._months(connection_of(place))
        keep = StoreSettings(keep_events_days=300)
        assert Pruner(keep, place, line.writer, lambda: START_US).prune().removed == {"events": 1}
        assert old not in schema._months(connection_of(place))
        assert line.store.event_count() == 0


class connection_of:  # noqa: N801 - used as a function
    """Asks by a connection of its own each time."""

    def __init__(self, place: PostgresPlace) -> None:
        self._place = place

    def execute(self, sql: str) -> list[tuple[object, ...]]:
        return ask(self._place, sql)


def test_names_of_months() -> None:
    december = Month(2026, 12)
    assert (december.table, december.next) == ("events_2026_12", Month(2027, 1))
    assert month_called("events_2026_12") == december
    assert month_called("events_other") is None
    assert december.first_id < december.next.first_id


# Writing


def test_a_failure_that_was_overlooked_is_no_commit(place: PostgresPlace) -> None:
    """COMMIT after a failed statement rolls back and says nothing: an acknowledged alarm would be gone."""
    connection = write_to(place)
    connection.begin()
    connection.execute("INSERT INTO retired_nodes (node, at_us, done) VALUES ('a', 1, 1)")
    with pytest.raises(REFUSALS):
        connection.execute("INSERT INTO retired_nodes (node, at_us, done) VALUES ('a', 1, 1)")
    with pytest.raises(REFUSALS, match="failed before"):
        connection.commit()
    connection.close()
    assert ask(place, "SELECT * FROM retired_nodes") == []


def test_a_connection_that_ends_in_a_transaction_is_not_replaced_within_it(place: PostgresPlace) -> None:
    """Somebody who overlooks the first fault must not commit the rest of a transaction that is gone."""
    lead = PostgresLead(place)
    lead.take()
    connection = write_to(place, lead)
    connection.begin()
    connection.execute("INSERT INTO retired_nodes (node, at_us, done) VALUES ('a', 1, 1)")
    ask(place, f"SELECT pg_terminate_backend({lead.connection().info.backend_pid})")
    for _ in range(2):
        with pytest.raises(ServerError):
            connection.execute("INSERT INTO retired_nodes (node, at_us, done) VALUES ('b', 1, 1)")
    with pytest.raises(ServerError):
        connection.commit()
    connection.rollback()
    assert ask(place, "SELECT node FROM retired_nodes") == []
    connection.begin()
    connection.execute("INSERT INTO retired_nodes (node, at_us, done) VALUES ('c', 1, 1)")
    connection.commit()
    connection.close()
    lead.release()
    assert ask(place, "SELECT node FROM retired_nodes") == [("c",)]


def test_a_database_in_which_another_writes_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tocsin_hub.postgres.connection.BUSY_SECONDS", 0.3)
    with Line(tmp_path / "hub") as line:
        place = line.store.path
        assert isinstance(place, PostgresPlace)
        other = write_to(place)
        other.begin()
        receipts = [line.hear(message) for message in many(5)]
        wait_until(lambda: "lock timeout" in line.writer.state.trouble, "the trouble")
        time.sleep(2)
        assert line.broker.receipts == []
        other.rollback()
        other.close()
        wait_until(lambda: set(line.broker.receipts) == set(receipts), "the receipts")
        assert [event.seq for event in line.store.events_after(0).events] == [1, 2, 3, 4, 5]
        assert line.ingest.quarantined == 0


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """A server of its own that may be ended; it waits for its disk."""
    made = postgres_server.made(safe=True)
    made.start()
    yield made
    made.remove()


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["immediate", "fast"])
def test_while_the_server_is_away_nothing_is_acknowledged_and_nothing_is_lost(
    tmp_path: Path, server: PostgresServer, mode: str
) -> None:
    place = server.new("hub")
    DATABASES.is_at(tmp_path / "hub", place)
    with Line(tmp_path / "hub") as line:
        first = [line.hear(message) for message in many(20)]
        wait_until(lambda: set(line.broker.receipts) == set(first), "the first receipts")
        server.stop(mode)
        later = [line.hear(message) for message in many(60)[20:]]
        wait_until(lambda: line.writer.state.trouble != "", "the trouble")
        time.sleep(2)
        assert set(line.broker.receipts) == set(first)
        with pytest.raises(UnavailableError, match="cannot be used"):
            line.store.event_count()
        server.start()
        wait_until(lambda: set(line.broker.receipts) == {*first, *later}, "all receipts", 60)
        assert line.writer.state.trouble == ""
        assert [event.seq for event in line.store.events_after(0).events] == list(range(1, 61))
        assert line.store.event_count() == 60


@pytest.mark.slow
def test_a_server_that_stands_still_holds_nobody_for_ever(
    tmp_path: Path, server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It accepts what is sent to it, and answers nothing: only the hub's own patience ends that."""
    monkeypatch.setattr("tocsin_hub.postgres.connection._Writing.answer_seconds", 2.0)
    monkeypatch.setattr("tocsin_hub.postgres.connection._Reading.answer_seconds", 1.0)
    DATABASES.is_at(tmp_path / "hub", server.new("hub"))
    with Line(tmp_path / "hub") as line:
        line.hear(many(1)[0])
        line.settle()
        assert line.store.event_count() == 1
        server.signal(signal.SIGSTOP)
        try:
            later = [line.hear(message) for message in many(30)[1:]]
            with pytest.raises(UnavailableError, match="has not answered within 1 s"):
                line.store.event_count()
            wait_until(lambda: "answered" in line.writer.state.trouble, "the trouble", 20)
            assert not set(line.broker.receipts) & set(later)
        finally:
            server.signal(signal.SIGCONT)
        wait_until(lambda: set(later) <= set(line.broker.receipts), "all receipts", 60)
        assert [event.seq for event in line.store.events_after(0).events] == list(range(1, 31))
        assert line.store.event_count() == 30


# The lead


def test_one_hub_leads(place: PostgresPlace) -> None:
    first, second = lead_of(place), lead_of(place)
    first.take()
    with pytest.raises(UnavailableError, match="another hub leads"):
        second.take(0.2)
    first.release()
    second.take(5)
    second.release()


def test_who_leads_goes_on_after_its_connection_was_cut(tmp_path: Path, place: PostgresPlace) -> None:
    lead = PostgresLead(place)
    lead.take()
    recorder = Recorder(place, lead)
    recorder.open()
    ask(place, f"SELECT pg_terminate_backend({lead.connection().info.backend_pid})")
    with pytest.raises(Exception, match="terminat"), recorder.transaction():
        recorder.record(sound(), START_US, START_US)
    with recorder.transaction():
        recorder.record(sound(), START_US, START_US)
    recorder.close()
    lead.release()
    assert ask(place, "SELECT count(*) FROM events") == [(1,)]


def test_who_lost_the_lead_to_another_writes_nothing_and_ends(
    place: PostgresPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tocsin_hub.postgres.lead._GRACE_SECONDS", 0.5)
    lead, other = PostgresLead(place), PostgresLead(place)
    lead.take()
    recorder = Recorder(place, lead)
    recorder.open()
    ask(place, f"SELECT pg_terminate_backend({lead.connection().info.backend_pid})")
    other.take(5)
    errors: list[Exception] = []

    def lost() -> bool:
        try:
            with recorder.transaction():
                recorder.record(sound(), START_US, START_US)
        except Exception as error:  # noqa: BLE001 - of which kind is what is looked at
            errors.append(error)
        return isinstance(errors[-1], LeadLostError)

    wait_until(lost, "the end of its patience")
    recorder.close()
    other.release()
    assert ask(place, "SELECT count(*) FROM events") == [(0,)]


@pytest.mark.slow
@pytest.mark.broker
@pytest.mark.parametrize("end", ["kill", "freeze"])
def test_a_hub_that_stands_by_takes_over_and_nothing_is_lost(
    tmp_path: Path, empty: PostgresPlace, end: str
) -> None:
    """The first is killed in the middle of alarms, or hangs until its server gives it up."""
    with broker("mosquitto", tmp_path) as port:
        first = HubProcess(tmp_path / "first", port, database=empty.url)
        second = HubProcess(tmp_path / "second", port, database=empty.url)
        try:
            first.start()
            second.start(None)
            wait_until(lambda: "stands by" in second.log, "the second to stand by", 20)
            assert second.health_status() == 0
            node = Node(port)
            for message in many(30):
                node.tell(message)
            if end == "kill":
                first.kill()
            else:
                os.kill(first.worker, signal.SIGSTOP)
                # What a machine that is gone looks like to the server, 15 s later.
                ask(
                    empty,
                    "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted",
                )
            for message in many(60)[30:]:
                node.tell(message)
            second.wait_for()
            repeat_until_acknowledged(node, 60)
            assert "takes over" in second.log
            assert ask(empty, "SELECT count(*), count(DISTINCT seq) FROM events") == [(60, 60)]
            if end == "freeze":
                os.kill(first.worker, signal.SIGCONT)
                node.tell(offset_of(many(60)[0], seq=100))
                time.sleep(1)
                assert ask(empty, "SELECT count(*), count(DISTINCT seq) FROM events") == [(60, 60)]
            node.close()
        finally:
            first.kill()
            second.kill()


def repeat_until_acknowledged(node: Node, number: int) -> None:
    """What a node's outbox does: say again what no hub has acknowledged."""
    deadline = time.monotonic() + 60
    while missing := {message.seq for message in many(number)} - {ref.seq for ref in node.refs}:
        assert time.monotonic() < deadline, missing
        for message in many(number):
            if message.seq in missing:
                node.tell(message)
        time.sleep(2)


# At the keyboard


def test_a_copy_by_its_own_tools_goes_into_a_new_database(tmp_path: Path) -> None:
    with Line(tmp_path / "hub") as line:
        for message in many(50):
            line.hear(message)
        line.settle()
        place = line.store.path
        assert isinstance(place, PostgresPlace)
        dump = tmp_path / "dump"
        subprocess.run(["pg_dump", "--format=custom", f"--file={dump}", place.url], check=True, timeout=60)
    new = DATABASES.empty(tmp_path / "new")
    subprocess.run(["pg_restore", "--exit-on-error", f"--dbname={new.url}", dump], check=True, timeout=60)
    prepare(new)
    store = Store(new)
    assert [event.seq for event in store.events_after(0).events] == list(range(1, 51))
    assert store.event_count() == 50
    store.close()


def test_what_a_postgresql_has_tools_of_its_own_for_is_left_to_them(
    place: PostgresPlace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "hub.toml"
    config.write_text(f'[store]\nurl = "{place.url}"\n', encoding="utf-8")
    for command, tool in (("backup", "pg_dump"), ("restore", "pg_restore")):
        with pytest.raises(BadInputError, match=tool):
            cli.main(["hub", command, "copy", "--config", str(config)][1:])
    assert cli.main(["prune", "--dry-run", "--config", str(config)]) == 0
    assert "events: 0 older than" in capsys.readouterr().out
    assert cli.main(["prune", "--config", str(config)]) == 0
    assert "done in" in capsys.readouterr().out
    lead = lead_of(place)
    lead.take()
    with pytest.raises(UnavailableError, match=r"another hub leads.*prunes by itself"):
        cli.main(["prune", "--config", str(config)])
    lead.release()
