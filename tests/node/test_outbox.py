"""Nothing is lost: what the outbox keeps through full disks, broken files and the death of its process."""

import contextlib
import random
import re
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

import tocsin_node.outbox
from tests.node.events import event
from tocsin_node.outbox import MAX_TRIES, SPARE_ROWS, Outbox
from tocsin_node.outbox_table import Counts, Row
from tocsin_shared.codec import decode
from tocsin_shared.errors import DecodeError, SettingsError
from tocsin_shared.events import EventRef, ScoredLabel, SoundDetected, TroubleKind


def opened(path: Path, max_bytes: int = 10_000_000) -> Outbox:
    outbox = Outbox(path, max_bytes)
    outbox.open()
    return outbox


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.sqlite"


@pytest.fixture
def outbox(path: Path) -> Iterator[Outbox]:
    made = opened(path)
    yield made
    made.close()


def ref(kept: SoundDetected) -> EventRef:
    return EventRef(kept.id, kept.seq)


@contextlib.contextmanager
def disk_full(path: Path) -> Iterator[None]:
    """No file of this process may grow beyond what the database has now: the kernel's own refusal."""
    largest = max(Path(f"{path}{suffix}").stat().st_size for suffix in ("", "-wal"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)


def fill(outbox: Outbox, path: Path) -> int:
    """Add until the disk has refused; returns how many were added."""
    for number in range(1, 500):
        outbox.add(event)
        with contextlib.closing(sqlite3.connect(path)) as other:
            if other.execute("SELECT count(*) FROM outbox").fetchone()[0] < number:
                return number
    raise AssertionError("the disk never refused")


def test_an_event_carries_its_own_number_and_is_on_the_disk_when_add_returns(
    outbox: Outbox, path: Path
) -> None:
    first, second = outbox.add(event), outbox.add(event)
    assert (first.seq, second.seq) == (1, 2)
    with contextlib.closing(sqlite3.connect(path)) as other:
        kept = other.execute("SELECT seq, id, payload FROM outbox ORDER BY seq").fetchall()
    assert [(seq, key) for seq, key, _ in kept] == [(1, first.id), (2, second.id)]
    assert decode(kept[1][2], SoundDetected) == second


def test_the_disk_is_written_through_and_ahead(outbox: Outbox) -> None:
    connection = outbox._disk._connection  # type: ignore[union-attr]
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)


def test_a_row_goes_only_when_id_and_number_agree(outbox: Outbox) -> None:
    kept = outbox.add(event)
    other = outbox.add(event)
    assert outbox.acknowledge([EventRef(other.id, kept.seq), EventRef(kept.id, 99)]) == []
    assert [row.seq for row in outbox.waiting(9)] == [1, 2]
    assert outbox.acknowledge([ref(kept), ref(kept)]) == [1]
    assert outbox.acknowledge([ref(kept)]) == []
    assert [row.seq for row in outbox.waiting(9)] == [2]


def test_alarms_go_first_and_then_the_oldest(outbox: Outbox) -> None:
    for label in ("dog_bark", "siren", "dog_bark", "smoke_alarm"):
        outbox.add(lambda seq, label=label: event(seq, label))  # type: ignore[misc]
    assert [row.seq for row in outbox.waiting(9)] == [2, 4, 1, 3]
    assert [row.seq for row in outbox.waiting(2)] == [2, 4]
    assert [row.seq for row in outbox.waiting(9, after=2, without=[4])] == [3]


def test_a_number_is_never_used_twice_not_even_over_a_restart(path: Path) -> None:
    outbox = opened(path)
    outbox.acknowledge([ref(outbox.add(event)), ref(outbox.add(event))])
    outbox.close()
    again = opened(path)
    assert (again.last_seq, again.add(event).seq) == (2, 3)
    again.close()


def test_what_the_wire_refuses_is_refused_here_and_leaves_no_gap(outbox: Outbox) -> None:
    with pytest.raises(DecodeError):
        outbox.add(lambda seq: event(seq, "Not A Label"))
    assert outbox.add(event).seq == 1


def test_a_row_that_is_refused_again_and_again_is_set_aside_and_kept(outbox: Outbox) -> None:
    bad, good = outbox.add(event), outbox.add(event)
    for _ in range(MAX_TRIES - 1):
        outbox.count_try([bad.seq])
    assert [row.tries for row in outbox.waiting(9)] == [MAX_TRIES - 1, 0]
    outbox.count_try([bad.seq])
    assert [row.seq for row in outbox.waiting(9)] == [good.seq]
    assert outbox.depth() == Counts(waiting=1, dead=1, dropped=0)


def test_a_row_that_cannot_be_sent_at_all_is_set_aside_at_once(outbox: Outbox) -> None:
    bad = outbox.add(event)
    outbox.set_aside([bad.seq])
    assert outbox.waiting(9) == []
    assert outbox.depth().dead == 1


def test_when_full_the_oldest_of_the_least_severe_go_but_never_an_alarm(path: Path) -> None:
    outbox = opened(path, max_bytes=100_000)
    alarms = [outbox.add(event) for _ in range(20)]
    for _ in range(200):
        outbox.add(lambda seq: event(seq, "dog_bark"))
    depth = outbox.depth()
    waiting = {row.seq for row in outbox.waiting(1000)}
    assert {alarm.seq for alarm in alarms} <= waiting
    assert depth.dropped > 0
    assert depth.waiting == 220 - depth.dropped
    assert waiting - {alarm.seq for alarm in alarms} == set(range(221 - (depth.waiting - 20), 221))
    outbox.close()
    again = opened(path, max_bytes=100_000)
    assert again.depth() == depth
    again.close()


def test_an_outbox_full_of_alarms_grows_rather_than_forget_one(path: Path) -> None:
    outbox = opened(path, max_bytes=100_000)
    for _ in range(300):
        outbox.add(event)
    assert outbox.depth() == Counts(waiting=300, dead=0, dropped=0)
    outbox.close()


def test_a_full_disk_costs_nothing_as_long_as_the_process_lives(
    outbox: Outbox, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = outbox.add(event)
    with disk_full(path):
        added = fill(outbox, path)
        assert "the disk refuses" in caplog.text
        assert [row.seq for row in outbox.waiting(1000)] == list(range(1, added + 2))
        assert outbox.acknowledge([ref(first)]) == [1]
        assert 1 not in {row.seq for row in outbox.waiting(1000)}
    outbox.settle()
    assert "takes events again" in caplog.text
    with contextlib.closing(sqlite3.connect(path)) as other:
        kept = [seq for (seq,) in other.execute("SELECT seq FROM outbox ORDER BY seq")]
    assert kept == list(range(2, added + 2))
    assert outbox.add(event).seq == added + 2


def test_a_disk_that_became_read_only_is_treated_like_a_full_one(
    outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    connection = outbox._disk._connection  # type: ignore[union-attr]
    connection.execute("PRAGMA query_only = 1")
    kept = outbox.add(event)
    assert "readonly" in caplog.text
    assert [row.seq for row in outbox.waiting(9)] == [kept.seq]
    connection.execute("PRAGMA query_only = 0")
    outbox.add(event)
    assert connection.execute("SELECT count(*) FROM outbox").fetchone() == (2,)


def test_events_in_memory_are_acknowledged_like_any_other(outbox: Outbox, path: Path) -> None:
    with disk_full(path):
        fill(outbox, path)
        waiting = outbox.waiting(1000)
        acked = outbox.acknowledge([EventRef(row.id, row.seq) for row in waiting])
        assert acked == [row.seq for row in waiting]
        assert outbox.waiting(1000) == []
        assert outbox.depth().waiting == 0
    outbox.settle()
    assert outbox.waiting(1000) == []
    assert outbox.depth() == Counts(0, 0, 0)


def test_memory_is_bounded_and_gives_up_the_least_severe_first(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "never-opened.sqlite", 10_000_000)
    outbox._reopen_at = float("inf")  # a disk that is away for the whole test
    alarm = outbox.add(event)
    for _ in range(SPARE_ROWS + 10):
        outbox.add(lambda seq: event(seq, "dog_bark"))
    depth = outbox.depth()
    assert (depth.waiting, depth.dropped) == (SPARE_ROWS, 11)
    assert outbox.waiting(1)[0].seq == alarm.seq


@pytest.mark.parametrize(
    "content", [b"this is a text file, not a database\n" * 50, b"SQLite format 3\0" * 99]
)
def test_a_file_that_is_no_database_is_moved_aside_and_a_fresh_one_begins(
    path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_bytes(content)
    outbox = opened(path)
    assert outbox.add(event).seq == 1
    outbox.close()
    (aside,) = path.parent.glob("outbox.sqlite.broken-*")
    assert aside.read_bytes() == content
    assert "cannot be read" in caplog.text


def test_a_database_of_a_newer_version_is_kept_aside(path: Path) -> None:
    opened(path).close()
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA user_version = 99")
    outbox = opened(path)
    assert outbox.depth() == Counts(0, 0, 0)
    outbox.close()
    assert len(list(path.parent.glob("outbox.sqlite.broken-*"))) >= 1


def test_a_database_that_breaks_while_it_is_open_does_not_stop_the_numbers(
    outbox: Outbox, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(50):
        outbox.add(event)
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (path.stat().st_size - 4096))
    outbox._disk._connection.execute("PRAGMA shrink_memory")  # type: ignore[union-attr]
    assert outbox.add(event).seq == 51
    assert [row.seq for row in outbox.waiting(9)] == [51]
    assert "moved to" in caplog.text


def test_two_nodes_cannot_share_an_outbox(outbox: Outbox, path: Path) -> None:
    with pytest.raises(SettingsError, match="another node has it open"):
        opened(path)


@pytest.mark.parametrize("place", ["file/outbox.sqlite", "folder"])
def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    with pytest.raises(SettingsError, match=r"outbox\.path"):
        opened(tmp_path / place)


def test_what_can_still_be_read_of_a_broken_database_is_saved(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A few bad pages in the middle, as a worn memory card gives them, cost the rows there and no others."""
    outbox = opened(path)
    kept = [outbox.add(lambda seq: event(seq, "dog_bark")) for _ in range(200)]
    alarm = outbox.add(event)
    outbox.acknowledge([ref(kept[0])])
    outbox.close()
    pages = path.stat().st_size // 4096
    with path.open("r+b") as file:
        file.seek(4096 * (pages // 2))
        file.write(b"\xa5" * 4096 * 3)
    again = opened(path)
    saved = {row.seq: row.id for row in again.waiting(1000)}
    assert saved.items() <= {one.seq: one.id for one in [*kept, alarm]}.items()
    assert 1 not in saved
    assert {2, alarm.seq} <= saved.keys(), "from both ends"
    assert len(saved) > 100
    assert f"{len(saved)} events were saved" in caplog.text
    assert again.add(event).seq == alarm.seq + 1
    again.close()
    assert len(list(path.parent.glob("outbox.sqlite.broken-*"))) >= 1


@pytest.mark.parametrize("seed", range(12))
def test_however_a_database_is_broken_the_outbox_goes_on(path: Path, seed: int) -> None:
    chance = random.Random(seed)
    outbox = opened(path)
    for _ in range(30):
        outbox.add(event)
    outbox.close()
    content = bytearray(path.read_bytes())
    for _ in range(chance.choice([1, 20, 2000])):
        content[chance.randrange(len(content))] = chance.randrange(256)
    path.write_bytes(content[: chance.choice([len(content), len(content) // 2, 4096])])
    again = opened(path)
    fresh = again.add(event)
    assert fresh.id in {row.id for row in again.waiting(1000)}
    assert again.acknowledge([ref(fresh)]) == [fresh.seq]
    again.close()


def test_a_database_whose_damage_cannot_even_be_spelled_is_broken_and_no_more(path: Path) -> None:
    """SQLite quotes damaged names in its errors; bytes that are no UTF-8 make Python fail to tell them."""
    outbox = opened(path)
    outbox.add(event)
    outbox.close()
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA writable_schema = ON")
        database.execute("UPDATE sqlite_master SET name = CAST(x'DE41' AS TEXT), sql = 'no sql'")
        database.commit()
    again = opened(path)
    fresh = again.add(event)
    assert fresh.id in {row.id for row in again.waiting(1000)}
    again.close()


def test_one_row_with_a_letter_that_is_none_does_not_hide_the_others(path: Path) -> None:
    outbox = opened(path)
    kept = [outbox.add(event) for _ in range(3)]
    outbox.close()
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE outbox SET id = CAST(x'DE41' AS TEXT) WHERE seq = 2")
        database.commit()
    again = opened(path)
    assert {kept[0].id, kept[2].id} <= {row.id for row in again.waiting(1000)}
    again.close()


def test_an_index_that_lacks_a_row_hides_no_event(path: Path) -> None:
    outbox = opened(path)
    first = outbox.add(event)
    outbox.close()
    with contextlib.closing(sqlite3.connect(path)) as database:
        (index,) = database.execute("SELECT * FROM sqlite_master WHERE name = 'outbox_order'")
        database.execute("PRAGMA writable_schema = ON")
        database.execute("DELETE FROM sqlite_master WHERE name = 'outbox_order'")
        database.commit()
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute(
            "INSERT INTO outbox (id, label, priority, payload)"
            " SELECT 'unlisted', label, priority, payload FROM outbox"
        )
        database.execute("PRAGMA writable_schema = ON")
        database.execute("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", index)
        database.commit()
    again = opened(path)
    assert {row.id for row in again.waiting(1000)} == {first.id, "unlisted"}
    again.close()


class Told:
    """What was told of troubles, in the order of the telling."""

    def __init__(self) -> None:
        self.all: list[tuple[TroubleKind, str]] = []

    def __call__(self, kind: TroubleKind, detail: str) -> None:
        self.all.append((kind, detail))

    def kinds(self) -> list[tuple[str, bool]]:
        """Each kind, and whether it began."""
        return [(str(kind), bool(detail)) for kind, detail in self.all]


def test_a_full_disk_is_told_as_a_trouble_that_ends_when_the_disk_works_again(path: Path) -> None:
    told = Told()
    outbox = Outbox(path, 10_000_000, told)
    outbox.open()
    outbox.add(event)
    with disk_full(path):
        fill(outbox, path)
        outbox.settle()
        assert told.kinds() == [("disk", True)]
        assert outbox.only_in_memory > 0
    outbox.settle()
    assert outbox.only_in_memory == 0
    assert told.kinds() == [("disk", True), ("disk", False)]
    assert "events are kept in memory only" in told.all[0][1]
    outbox.close()


def test_a_disk_that_only_failed_to_be_read_is_looked_at_again(path: Path) -> None:
    """Nothing waits to be brought to it, and the trouble ends all the same."""
    told = Told()
    outbox = Outbox(path, 10_000_000, told)
    outbox.open()
    outbox._refused(sqlite3.OperationalError("disk I/O error"))
    outbox.settle()
    assert told.kinds() == [("disk", True), ("disk", False)]
    outbox.close()


def test_a_disk_that_is_away_at_the_start_and_comes_later_gets_what_was_kept_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tocsin_node.outbox, "_REOPEN_SECONDS", 0.0)
    away, path = tmp_path / "stick", tmp_path / "outbox.sqlite"
    path.symlink_to(away / "outbox.sqlite")
    told = Told()
    outbox = Outbox(path, 10_000_000, told)
    outbox.open()
    kept = [outbox.add(event) for _ in range(3)]
    assert [row.id for row in outbox.waiting(9)] == [one.id for one in kept]
    assert told.kinds() == [("disk", True)]
    away.mkdir()
    outbox.settle()
    assert told.kinds() == [("disk", True), ("disk", False)]
    outbox.close()
    with contextlib.closing(sqlite3.connect(away / "outbox.sqlite")) as other:
        assert other.execute("SELECT seq, id FROM outbox ORDER BY seq").fetchall() == [
            (one.seq, one.id) for one in kept
        ]


def test_a_disk_that_refuses_for_long_is_opened_anew(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with a stick that was pulled out and put back: the old connection never works again."""
    monkeypatch.setattr(tocsin_node.outbox, "_RENEW_SECONDS", 0.0)
    dead = outbox._disk
    dead._connection.execute("PRAGMA query_only = 1")  # type: ignore[union-attr]
    kept = outbox.add(event)
    outbox.settle()
    assert outbox._disk is not dead
    assert [row.seq for row in outbox._disk.waiting(9)] == [kept.seq]  # type: ignore[union-attr]


def test_a_broken_database_is_kept_under_its_date_and_told_as_a_trouble(path: Path) -> None:
    path.write_bytes(b"this is a text file, not a database" * 50)
    told = Told()
    outbox = Outbox(path, 10_000_000, told)
    outbox.open()
    outbox.close()
    (aside,) = path.parent.glob("outbox.sqlite.broken-*")
    assert re.fullmatch(r"outbox\.sqlite\.broken-\d{8}T\d{6}-\d{9}", aside.name)
    ((kind, detail),) = told.all
    assert kind is TroubleKind.OUTBOX_CORRUPT
    assert aside.name in detail[:120], "a trouble's detail is cut to 120 letters"


def test_a_full_outbox_is_told_until_it_has_room_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tocsin_node.outbox, "_DROP_ROWS", 4)
    told = Told()
    outbox = Outbox(path, 100_000, told)
    outbox.open()
    for _ in range(300):
        outbox.add(lambda seq: event(seq, "dog_bark"))
    assert told.kinds() == [("outbox_full", True)]
    assert outbox.depth().dropped > 0
    while rows := outbox.waiting(50):
        outbox.acknowledge([EventRef(row.id, row.seq) for row in rows])
    outbox.settle()
    assert told.kinds() == [("outbox_full", True), ("outbox_full", False)]
    outbox.close()


def test_an_event_larger_than_the_wire_bears_is_refused_before_it_is_kept(outbox: Outbox) -> None:
    def too_large(seq: int) -> SoundDetected:
        top = tuple(ScoredLabel("x" * 64, 0.5) for _ in range(400))
        return msgspec.structs.replace(event(seq), top=top)

    with pytest.raises(DecodeError):
        outbox.add(too_large)
    assert outbox.depth() == Counts(0, 0, 0)


def test_the_newest_rows_are_found_quickly_behind_any_number_of_old_ones(outbox: Outbox) -> None:
    """By the rows' own numbers: the index of the order would be read from its severest row on."""
    disk = outbox._disk
    with disk.transaction():  # type: ignore[union-attr]
        disk.insert(Row(seq, f"id-{seq}", "siren", b"{}") for seq in range(1, 5001))  # type: ignore[union-attr]
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    disk._connection.set_progress_handler(count, 1)  # type: ignore[union-attr]
    assert [row.seq for row in outbox.waiting(20, after=4998)] == [4999, 5000]
    newest, steps = steps, 0
    assert [row.seq for row in outbox.waiting(2)] == [1, 2]
    oldest = steps
    disk._connection.set_progress_handler(None, 1)  # type: ignore[union-attr]
    assert newest < 1000
    assert oldest < 1000


@pytest.mark.parametrize("kept_share", [0.0, 0.2, 0.5, 0.8, 0.99])
def test_94_a_log_whose_tail_a_power_loss_took_keeps_all_before_it(
    outbox: Outbox, path: Path, tmp_path: Path, kept_share: float
) -> None:
    """What was added last may be gone, and then it was acknowledged by nobody; nothing else is."""
    added = [outbox.add(event).id for _ in range(30)]
    copy = tmp_path / "copy.sqlite"
    copy.write_bytes(path.read_bytes())
    log = Path(f"{path}-wal").read_bytes()
    Path(f"{copy}-wal").write_bytes(log[: round(len(log) * kept_share)])
    found = opened(copy)
    ids = [row.id for row in found.waiting(100)]
    again = found.add(event)
    found.close()
    assert sorted(ids) == sorted(added[: len(ids)]), "no hole in what is left"
    assert len(ids) >= 30 * kept_share - 3
    assert again.id not in ids


ADDER = """
import sys
from pathlib import Path
from tests.node.events import event
from tocsin_node.outbox import Outbox

outbox = Outbox(Path(sys.argv[1]), 10_000_000)
outbox.open()
while True:
    kept = outbox.add(event)
    print(kept.seq, kept.id, flush=True)
"""


@pytest.mark.slow
def test_killed_in_the_middle_of_adding_every_committed_event_survives(path: Path) -> None:
    told: dict[int, str] = {}
    for _ in range(3):
        child = subprocess.Popen([sys.executable, "-c", ADDER, str(path)], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        line = child.stdout.readline()
        time.sleep(0.3)
        child.kill()
        for entry in [line, *child.stdout.readlines()]:
            seq, key = entry.split()
            assert int(seq) not in told
            told[int(seq)] = key
        child.stdout.close()
        child.wait()
    outbox = opened(path)
    kept = {row.seq: row.id for row in outbox.waiting(100_000)}
    outbox.close()
    # Killed between COMMIT and print, a child may have kept one event more than it told.
    assert told.items() <= kept.items()
    assert len(kept) <= len(told) + 3
    assert len(told) > 30
