"""Backups: made while the hub writes, whole or not at all, and put back only where no hub runs."""

import os
import sqlite3
import stat
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from tests.hub.parts import START_US, Line, many, ulid, wait_until
from tests.hub.processes import hub_process
from tests.shared.messages import sound
from tocsin_hub import cli
from tocsin_hub.connection import connect
from tocsin_hub.demo.broker import free_port
from tocsin_hub.lock import DatabaseLock
from tocsin_hub.recorder import Recorder, prepare
from tocsin_hub.retention import backup
from tocsin_hub.retention.backup import back_up, look_through, restore
from tocsin_hub.store import Store
from tocsin_shared.errors import BadInputError, UnavailableError

pytestmark = pytest.mark.sqlite  # a PostgreSQL has tools of its own for backups


def beside(folder: Path) -> set[str]:
    """Hidden files in ``folder``: what a failure must not leave behind."""
    return {path.name for path in folder.iterdir() if path.name.startswith(".")}


@pytest.fixture
def filled(line: Line) -> Line:
    for message in many(50, test=True):
        line.hear(message)
    line.settle()
    return line


def test_a_backup_holds_what_was_committed_and_only_its_owner_reads_it(filled: Line, tmp_path: Path) -> None:
    copy = back_up(filled.file, tmp_path / "copy.sqlite")
    assert (copy.path, copy.events) == (tmp_path / "copy.sqlite", 50)
    assert copy.bytes == copy.path.stat().st_size
    assert stat.S_IMODE(copy.path.stat().st_mode) == 0o600
    store = Store(copy.path)
    assert store.event_count() == 50
    assert store.event(ulid(50)) == filled.store.event(ulid(50))
    store.close()
    assert beside(tmp_path) == set()


def test_the_hub_goes_on_writing_meanwhile(filled: Line, tmp_path: Path) -> None:
    stop = threading.Event()
    heard: list[int] = []

    def hear() -> None:
        while not stop.is_set():
            number = 1000 + len(heard)
            filled.hear(sound(id=ulid(number), seq=number, test=True))
            filled.settle()
            heard.append(number)

    thread = threading.Thread(target=hear)
    thread.start()
    try:
        wait_until(lambda: len(heard) > 2, "the first events", 60)
        before = len(heard)
        copies = [back_up(filled.file, tmp_path / f"{n}.sqlite").events for n in range(3)]
        wait_until(lambda: len(heard) > before + 2, "events during the backups", 60)
    finally:
        stop.set()
        thread.join(60)
    assert copies == sorted(copies)
    assert copies[0] >= 50 + before
    assert filled.store.event_count() == 50 + len(heard)


def test_a_file_that_is_there_is_not_overwritten(filled: Line, tmp_path: Path) -> None:
    target = tmp_path / "copy.sqlite"
    target.write_text("precious", encoding="utf-8")
    with pytest.raises(BadInputError, match="--force"):
        back_up(filled.file, target)
    assert target.read_text(encoding="utf-8") == "precious"
    assert back_up(filled.file, target, force=True).events == 50
    assert beside(tmp_path) == set()


def test_a_file_that_comes_meanwhile_is_not_overwritten(
    filled: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "copy.sqlite"
    looked = look_through

    def slow(path: Path) -> backup.Copy:
        target.write_text("precious", encoding="utf-8")
        return looked(path)

    monkeypatch.setattr(backup, "look_through", slow)
    with pytest.raises(BadInputError, match="--force"):
        back_up(filled.file, target)
    assert target.read_text(encoding="utf-8") == "precious"
    assert beside(tmp_path) == set()


@pytest.mark.parametrize("place", ["nowhere/copy.sqlite", "."])
def test_a_place_that_cannot_be_written_is_named(filled: Line, tmp_path: Path, place: str) -> None:
    with pytest.raises(UnavailableError, match="cannot be written"):
        back_up(filled.file, tmp_path / place, force=True)


def test_a_full_disk_leaves_nothing_behind(
    filled: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "copy.sqlite"

    def full(_: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(backup, "_to_disk", full)
    with pytest.raises(UnavailableError, match="No space left on device"):
        back_up(filled.file, target)
    assert not target.exists()
    assert beside(tmp_path) == set()


def test_a_copy_that_is_not_whole_does_not_count(filled: Line, tmp_path: Path) -> None:
    """Damage in the middle of the database ends the backup, and there is none of its name."""
    filled.writer.stop()
    with closing(sqlite3.connect(filled.file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with filled.file.open("r+b") as file:
        file.seek(4096 * 12)
        file.write(b"\xff" * 4096 * 8)
    with pytest.raises(UnavailableError):
        back_up(filled.file, tmp_path / "copy.sqlite")
    assert not (tmp_path / "copy.sqlite").exists()
    assert beside(tmp_path) == set()


@pytest.fixture
def stopped(filled: Line, tmp_path: Path) -> Path:
    """A backup of 50 detections; the database got 50 more since, and is not in use any more."""
    back_up(filled.file, tmp_path / "copy.sqlite")
    for message in many(100, test=True)[50:]:
        filled.hear(message)
    filled.settle()
    filled.writer.stop()
    filled.store.close()
    return tmp_path / "copy.sqlite"


def test_a_backup_is_put_back_and_the_old_database_kept(line: Line, stopped: Path) -> None:
    database = line.file
    aside = restore(stopped, database, START_US)
    assert aside == database.with_name("hub.sqlite.before-restore-20261123T023811Z")
    for path, events in ((database, 50), (aside, 100)):
        store = Store(path)
        assert store.event_count() == events
        store.close()
    assert stat.S_IMODE(database.stat().st_mode) == 0o600
    prepare(database)
    recorder = Recorder(database)
    recorder.open()
    assert recorder.changes == 50, "numbers of changes go on from the backup's"
    recorder.close()
    assert beside(database.parent) == set()


def test_a_log_of_the_old_database_is_not_taken_for_one_of_the_backup(line: Line, stopped: Path) -> None:
    """As after a crash: the write-ahead log lies there, and the database cannot take it in."""
    database = line.file
    database.write_bytes(b"SQLite format 3\0" + b"\xff" * 8000)
    database.with_name("hub.sqlite-wal").write_bytes(b"\x37\x7f\x06\x82" + b"\x01" * 9000)
    aside = restore(stopped, database, START_US)
    assert aside is not None
    assert aside.with_name(aside.name + "-wal").exists()
    store = Store(database)
    assert store.event_count() == 50
    store.close()


def test_what_root_puts_back_belongs_to_the_hubs_user(
    stopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[str, int, int]] = []
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("os.chown", lambda path, user, group: given.append((Path(path).name, user, group)))
    database = tmp_path / "new" / "hub.sqlite"
    restore(stopped, database, START_US)
    folder = database.parent.stat()
    assert {(user, group) for _, user, group in given} == {(folder.st_uid, folder.st_gid)}
    names = [name for name, _, _ in given]
    assert "hub.sqlite.lock" in names
    assert any(name.startswith(".hub.sqlite.") for name in names)


def test_where_there_was_no_database_there_is_one(stopped: Path, tmp_path: Path) -> None:
    assert restore(stopped, tmp_path / "new" / "hub.sqlite", START_US) is None
    assert look_through(tmp_path / "new" / "hub.sqlite").events == 50


def test_nothing_is_put_back_while_a_hub_holds_the_lock(line: Line, stopped: Path) -> None:
    lock = DatabaseLock(line.file)
    lock.take()
    with pytest.raises(UnavailableError, match="is used by a hub that runs"):
        restore(stopped, line.file, START_US)
    lock.release()
    assert restore(stopped, line.file, START_US) is not None


def _garbage(path: Path) -> None:
    path.write_bytes(os.urandom(10_000))


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _foreign(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE other (x)")


def _newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE _sqlite_migrations SET name = 'm999_future' WHERE name = 'm001_events'")


def _gone(path: Path) -> None:
    path.unlink()


def _without_a_row(path: Path) -> None:
    """An index that lacks a row: what would not be found."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA writable_schema = 1")
        connection.execute(
            "UPDATE sqlite_schema SET sql = sql || ' WHERE seq > 25' WHERE name LIKE 'idx_events_label%'"
        )


@pytest.mark.parametrize("damage", [_garbage, _cut, _foreign, _newer, _gone, _without_a_row])
def test_a_backup_that_is_none_changes_nothing(line: Line, stopped: Path, damage: object) -> None:
    damage(stopped)  # type: ignore[operator]
    with pytest.raises(UnavailableError):
        restore(stopped, line.file, START_US)
    assert look_through(line.file).events == 100
    assert beside(line.file.parent) == set()
    assert not list(line.file.parent.glob("*before-restore*"))


def test_a_database_damaged_beyond_spelling_is_a_clear_error(line: Line, stopped: Path) -> None:
    """SQLite quotes a name in its complaint, and that name is no UTF-8."""
    path = line.file
    raw = path.read_bytes()
    for whole, broken in (
        (b'CREATE TABLE "nodes"', b'CREATE TABLX "nodes"'),
        (b"tablenodesnodes", b"tablen\xff\xfeesn\xff\xfees"),
    ):
        assert whole in raw
        raw = raw.replace(whole, broken)
    path.write_bytes(raw)
    with closing(sqlite3.connect(path)) as plain, pytest.raises(UnicodeDecodeError):
        plain.execute("SELECT * FROM events")
    with closing(connect(path)) as ours, pytest.raises(sqlite3.DatabaseError, match="beyond spelling"):
        ours.update("events", ("seq", "id"), [(1, "x")])
    with pytest.raises(UnavailableError, match="tocsin hub restore"):
        prepare(path)
    assert restore(stopped, path, START_US) is not None
    prepare(path)


@pytest.fixture
def config(line: Line, tmp_path: Path) -> Path:
    path = tmp_path / "hub.toml"
    path.write_text(f'state_folder = "state"\n[store]\npath = "{line.file}"\n', encoding="utf-8")
    return path


def test_the_commands(line: Line, stopped: Path, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = stopped.with_name("second.sqlite")
    assert cli.main(["backup", str(target), "--config", str(config)]) == 0
    words = capsys.readouterr().out
    assert "100 detections" in words
    assert "state" in words.splitlines()[1]
    assert cli.main(["restore", str(stopped), "--config", str(config)]) == 0
    assert "50 detections" in capsys.readouterr().out
    assert cli.main(["prune", "--dry-run", "--config", str(config)]) == 0
    assert "events: 0 older than 20" in capsys.readouterr().out
    assert cli.main(["prune", "--config", str(config)]) == 0
    assert "done" in capsys.readouterr().out
    store = Store(line.file)
    assert store.event_count() == 50
    store.close()


def test_pruning_by_hand_is_refused_while_a_hub_runs(line: Line, config: Path) -> None:
    lock = DatabaseLock(line.file)
    lock.take()
    with pytest.raises(UnavailableError, match="or leave it to the hub"):
        cli.main(["prune", "--config", str(config)])
    lock.release()


@pytest.mark.slow
def test_a_real_hub_holds_the_lock_and_is_backed_up(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tocsin_shared", "hub"]

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        full = [*command, *arguments, "--config", str(tmp_path / "hub.toml")]
        return subprocess.run(full, capture_output=True, text=True, check=False, timeout=120)

    with hub_process(tmp_path, free_port(), status=503) as hub:  # no broker: it is degraded, and runs
        made = run("backup", str(tmp_path / "copy.sqlite"))
        assert made.returncode == 0, made.stderr
        for arguments in (("restore", str(tmp_path / "copy.sqlite")), ("prune",)):
            refused = run(*arguments)
            assert refused.returncode != 0
            assert "is used by a hub that runs" in refused.stderr
            assert "Traceback" not in refused.stderr
        assert hub.stop() == 0
        back = run("restore", str(tmp_path / "copy.sqlite"))
        assert back.returncode == 0, back.stderr
        hub.start(503)
        assert hub.health()["database"] == "ok"
