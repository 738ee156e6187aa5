"""Nothing is lost: what the outbox keeps through full disks, broken files and the death of its process."""

import contextlib
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.node.events import event
from tocsin_node.outbox import MAX_TRIES, SPARE_ROWS, Outbox
from tocsin_node.outbox_table import Counts
from tocsin_shared.codec import decode
from tocsin_shared.errors import DecodeError, SettingsError
from tocsin_shared.events import EventRef, SoundDetected


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
