"""``tocsin hub db copy``: everything arrives once, however often it is interrupted, and is counted."""

import sqlite3
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from tests.hub.databases import DATABASES
from tests.hub.parts import Line, birth, heartbeat, many, wait_until
from tests.shared.messages import sound
from tocsin_hub import cli
from tocsin_hub.lock import DatabaseLock
from tocsin_hub.people.audit import note
from tocsin_hub.place import PostgresPlace, copy_to_postgres, lead_of
from tocsin_hub.recorder import Quarantined, Recorder, prepare
from tocsin_hub.store import Store
from tocsin_hub.times import now_us
from tocsin_shared.errors import BadInputError, UnavailableError


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The database of a hub that is stopped, with something in most of its tables."""
    with Line(tmp_path / "hub.sqlite") as line:
        for message in many(300):
            line.hear(message)
        line.send("birth", birth())
        line.send("hb", heartbeat())
        line.hear(sound(label="scream"))

        def more(recorder: Recorder) -> None:
            note(recorder, None, "room.forgotten", "a\0b – 방", address="cli")
            recorder.quarantine(Quarantined(1, "t", "what it was", 3, b"\x00\xff\x01"))

        line.writer.call(more)
        line.settle()
    return tmp_path / "hub.sqlite"


@pytest.fixture
def target(tmp_path: Path) -> PostgresPlace:
    return DATABASES.empty(tmp_path / "target")


def everything(of: Path | PostgresPlace, source: Path) -> dict[str, list[tuple[object, ...]]]:
    """All rows of the tables of ``source``; a letter that PostgreSQL cannot keep is what it keeps instead."""
    with closing(sqlite3.connect(source)) as connection:
        tables = {
            name: ", ".join(column for _, column, *_ in connection.execute(f"PRAGMA table_info({name})"))
            for (name,) in connection.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND instr(name, 'sqlite_') = 0"
            )
        }
    store = Store(of)
    found = {name: store.rows(f"SELECT {columns} FROM {name}") for name, columns in tables.items()}  # noqa: S608
    store.close()
    return {name: sorted((tuple(map(_kept, row)) for row in rows), key=repr) for name, rows in found.items()}


def _kept(value: object) -> object:
    return value.replace("\0", "\ufffd") if isinstance(value, str) else value


def test_everything_is_copied_and_the_hub_goes_on_with_it(
    source: Path, target: PostgresPlace, tmp_path: Path
) -> None:
    told: list[tuple[str, int, int]] = []
    counts = copy_to_postgres(source, target, now_us(), lambda *said: told.append(said))
    assert counts["events"] == 301
    assert ("events", 301, 301) in told
    theirs, ours = everything(source, source), everything(target, source)
    assert theirs == ours
    filled = {name for name, rows in theirs.items() if rows}
    assert {"events", "incidents", "incident_log", "audit", "quarantine", "nodes", "counters"} <= filled
    prepare(target)  # as the hub does at its start
    DATABASES.engine = "postgresql"
    DATABASES.is_at(tmp_path / "on", target)
    with Line(tmp_path / "on") as line:
        assert line.ingest.stored == 301
        changes = line.store.counter("change")
        line.hear(sound(id="01HZZZZZZZZZZZZZZZZZZZZZZZ", seq=9000, label="glass_breaking"))
        line.writer.call(lambda recorder: note(recorder, None, "room.forgotten", "c", address="cli"))
        wait_until(lambda: line.store.event_count() == 302, "the new event")
        assert line.store.counter("change") > changes
        assert len(line.store.rows("SELECT id FROM audit")) == 2


def test_an_interrupted_copy_holds_the_hub_back_and_goes_on(
    source: Path, target: PostgresPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tocsin_hub.postgres.copying.PIECE_ROWS", 50)
    copied: list[int] = []

    def pull_the_plug(table: str, done: int, _total: int) -> None:
        if table == "events" and done == 150:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copy_to_postgres(source, target, now_us(), pull_the_plug)
    with pytest.raises(UnavailableError, match="has not ended: tocsin hub db copy goes on"):
        prepare(target)

    def go_on(table: str, done: int, _total: int) -> None:
        if table == "events":
            copied.append(done)

    copy_to_postgres(source, target, now_us(), go_on)
    assert copied == [150, 200, 250, 300, 301]
    assert everything(source, source) == everything(target, source)
    prepare(target)


def test_what_is_in_use_or_full_is_refused(source: Path, target: PostgresPlace) -> None:
    def copied() -> None:
        copy_to_postgres(source, target, now_us(), lambda *_: None)

    lock = DatabaseLock(source)
    lock.take()
    with pytest.raises(UnavailableError, match="used by a hub that runs"):
        copied()
    lock.release()
    prepare(target)
    lead = lead_of(target)
    lead.take()
    with pytest.raises(UnavailableError, match="another hub leads"):
        copied()
    lead.release()
    copied()
    copied()  # all of it is there
    with psycopg.connect(target.url, autocommit=True) as connection:
        connection.execute("UPDATE counters SET value = value + 1 WHERE name = 'change'")
    with pytest.raises(
        BadInputError, match=r"something in .* already \(in its table \w+\): make a new database"
    ):
        copied()


def test_counts_that_differ_are_an_error(source: Path, target: PostgresPlace) -> None:
    def thief(table: str, done: int, total: int) -> None:
        if table == "incidents" and done == total:
            with psycopg.connect(target.url, autocommit=True) as connection:
                connection.execute("DELETE FROM events WHERE seq = 7")

    with pytest.raises(UnavailableError, match="events has 299 of 301 rows"):
        copy_to_postgres(source, target, now_us(), thief)
    with pytest.raises(UnavailableError, match="has not ended"):
        prepare(target)


@pytest.mark.parametrize(
    ("source", "target", "words"),
    [
        ("hub.sqlite", "postgresql://a@b/c", "must be sqlite:FILE"),
        ("sqlite:", "postgresql://a@b/c", "must be sqlite:FILE"),
        ("sqlite:x", "sqlite:y", "must be postgresql://USER@HOST:5432/NAME, not 'sqlite:y'"),
        ("sqlite:x", "postgresql://b/c?password=geheim", "put it into a file of its own"),
    ],
)
def test_wrong_arguments_are_named(
    source: str, target: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        cli.main(["db", "copy", source, target])
    said = capsys.readouterr().err
    assert words in said
    assert "geheim" not in said


def test_the_command(source: Path, target: PostgresPlace, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BadInputError, match="no database none"):
        cli.main(["db", "copy", "sqlite:none", target.url])
    assert cli.main(["db", "copy", f"sqlite:{source}", target.url]) == 0
    said = capsys.readouterr().out
    assert "events: 301 in both\n" in said
    assert "Let the hub use it: [store] url" in said
    assert f"{source} was not changed" in said
