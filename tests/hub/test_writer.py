"""The one thread that writes: nothing is told before COMMIT, and nothing that was told is ever missing."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.hub.databases import at, refuse
from tests.hub.parts import Line, many, ulid, wait_until
from tests.shared.messages import sound
from tocsin_hub.place import read_from
from tocsin_hub.recorder import Recorder, prepare
from tocsin_hub.settings import IngestSettings
from tocsin_hub.store import Store
from tocsin_hub.writer import Outcome, Receipt, Work, Writer
from tocsin_shared.errors import BadInputError, UnavailableError

pytestmark = pytest.mark.both_databases


def _hold_up(writer: Writer) -> threading.Event:
    """Keep ``writer`` busy with a write of its own, begun already, until the event that is returned."""
    begun, enough = threading.Event(), threading.Event()

    def write(_: Recorder) -> Outcome:
        begun.set()
        assert enough.wait(30)
        return Outcome()

    writer.put(Work(write, lambda _: None))
    assert begun.wait(30)
    return enough


def test_a_node_is_told_only_what_another_connection_can_already_read(tmp_path: Path) -> None:
    """At the moment of the acknowledgement the row is committed, each time."""
    seen: list[bool] = []
    with Line(tmp_path / "hub.sqlite") as line:
        other = read_from(line.store.path)
        tell = line.broker.publish

        def look_and_tell(topic: str, payload: bytes) -> None:
            tell(topic, payload)
            newest = line.broker.refs()[-1]
            seen.append(bool(other.rows("SELECT 1 FROM events WHERE id = ?", (newest.id,))))

        line.broker.publish = look_and_tell  # type: ignore[method-assign]
        for message in many(40):
            line.hear(message)
            line.settle()
        other.close()
    assert seen == [True] * 40


def test_messages_that_come_together_share_a_commit(tmp_path: Path) -> None:
    settled: list[int] = []
    prepare(at(tmp_path / "hub.sqlite"))
    writer = Writer(Recorder(at(tmp_path / "hub.sqlite")), IngestSettings(commit_rows=100))
    writer.start(lambda outcomes, _: settled.append(len(outcomes)), pytest.fail)
    hold = _hold_up(writer)
    for _ in range(250):
        writer.put(Work(lambda _: Outcome(), lambda _: None))
    hold.set()
    writer.stop()
    assert settled == [1, 100, 100, 50]


def test_a_lone_message_does_not_wait_for_others(tmp_path: Path) -> None:
    """Company is waited for only while it comes: a second is allowed, and five messages take far less."""
    with Line(tmp_path / "hub.sqlite", IngestSettings(commit_ms=1000)) as line:
        begun = time.monotonic()
        for message in many(5):
            line.hear(message)
            line.settle()
        assert time.monotonic() - begun < 2.5


def test_a_full_queue_holds_the_sender_back_and_drops_nothing(tmp_path: Path) -> None:
    with Line(tmp_path / "hub.sqlite", IngestSettings(queue=10)) as line:
        hold = _hold_up(line.writer)
        sent = threading.Event()

        def send() -> None:
            for message in many(60):
                line.hear(message)
            sent.set()

        sender = threading.Thread(target=send)
        sender.start()
        assert not sent.wait(0.5), "the sender must wait"
        assert line.store.event_count() == 0
        hold.set()
        assert sent.wait(5)
        sender.join()
        line.settle()
        assert line.store.event_count() == 60
        assert len(line.broker.refs()) == 60


def test_whoever_asks_while_the_disk_is_stuck_is_told_so(tmp_path: Path) -> None:
    with Line(tmp_path / "hub.sqlite", IngestSettings(queue=10)) as line:
        hold = _hold_up(line.writer)
        with pytest.raises(UnavailableError, match="does not answer"):
            line.writer.call(lambda _: None, timeout_seconds=0.1)
        while line.writer.state.waiting < 10:
            line.writer.put(Work(lambda _: Outcome(), lambda _: None))
        with pytest.raises(UnavailableError, match="cannot keep up"):
            line.writer.call(lambda _: None, timeout_seconds=0.1)
        hold.set()


@pytest.mark.sqlite
def test_a_full_disk_is_waited_out_and_nothing_is_acknowledged_meanwhile(
    line: Line, caplog: pytest.LogCaptureFixture
) -> None:
    line.hear(sound(id=ulid(1)))
    line.settle()
    line.writer.call(lambda recorder: _limit_pages(recorder, more=0))
    receipts = [line.hear(message) for message in many(400)]
    wait_until(lambda: line.writer.state.trouble != "", "the trouble")
    assert "full" in line.writer.state.trouble
    acknowledged = len(line.broker.refs())
    assert acknowledged < 401
    time.sleep(0.5)
    assert len(line.broker.refs()) == acknowledged
    # Only the thread that owns the connection may touch it; its next try finds room again.
    line.writer._recorder.transaction = _making_room(line.writer._recorder)  # type: ignore[method-assign]
    wait_until(lambda: line.writer.state.trouble == "", "the end of the trouble")
    line.settle()
    assert line.store.event_count() == 400
    assert set(receipts) <= set(line.broker.receipts)
    assert "nothing is acknowledged" in caplog.text
    assert "takes events again" in caplog.text


def _limit_pages(recorder: Recorder, more: int) -> None:
    pages = recorder.database.execute("PRAGMA page_count").fetchone()[0]
    recorder.database.execute(f"PRAGMA max_page_count = {pages + more}")


def _making_room(recorder: Recorder):  # type: ignore[no-untyped-def]
    plain = type(recorder).transaction

    def transaction():  # type: ignore[no-untyped-def]
        recorder.database.execute("PRAGMA max_page_count = 1000000")
        return plain(recorder)

    return transaction


@pytest.mark.sqlite
def test_a_database_that_somebody_else_holds_is_waited_for(line: Line) -> None:
    line.writer.call(lambda recorder: recorder.database.execute("PRAGMA busy_timeout = 50").fetchone())
    other = sqlite3.connect(line.file)
    other.execute("BEGIN IMMEDIATE")
    receipt = line.hear(sound())
    wait_until(lambda: "locked" in line.writer.state.trouble, "the trouble")
    assert line.broker.refs() == []
    other.rollback()
    other.close()
    wait_until(lambda: line.broker.receipts == [receipt], "the receipt")
    assert line.store.event_count() == 1


def test_one_message_that_the_database_refuses_does_not_hold_up_the_others(line: Line) -> None:
    """The limits of the wire keep such messages out; should one come through, it is put aside."""
    line.writer.call(lambda recorder: refuse(recorder, "events", "NEW.seq = 3"))
    receipts = [line.hear(message) for message in many(5)]
    wait_until(lambda: set(line.broker.receipts) == set(receipts), "all five receipts")
    assert [event.seq for event in line.store.events_after(0).events] == [1, 2, 4, 5]
    assert [ref.seq for ref in line.broker.refs()] == [1, 2, 4, 5]
    assert line.ingest.quarantined == 1


def test_a_refusal_inside_a_work_ends_no_thread_and_takes_no_other_along(line: Line) -> None:
    def refuse(_: Recorder) -> None:
        raise BadInputError("no such zone")

    enough = _hold_up(line.writer)
    receipt = line.hear(sound())
    outcome: list[UnavailableError] = []

    def ask() -> None:
        try:
            line.writer.call(refuse)
        except UnavailableError as error:
            outcome.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    enough.set()
    asking.join(30)
    assert "no such zone" in str(outcome)
    wait_until(lambda: line.broker.receipts == [receipt], "the receipt")


def test_stopping_commits_what_is_queued(tmp_path: Path) -> None:
    with Line(tmp_path / "hub.sqlite") as line:
        for message in many(300):
            line.hear(message)
    store = Store(at(tmp_path / "hub.sqlite"))
    assert store.event_count() == 300
    store.close()


def test_after_stopping_nothing_is_taken(tmp_path: Path) -> None:
    with Line(tmp_path / "hub.sqlite") as line:
        line.writer.stop()
        with pytest.raises(UnavailableError, match="stopping"):
            line.hear(sound())


def test_a_writer_that_dies_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    deaths: list[str] = []
    prepare(at(tmp_path / "hub.sqlite"))
    writer = Writer(Recorder(at(tmp_path / "hub.sqlite")), IngestSettings())

    def settle(_: Sequence[Outcome], _receipts: Sequence[Receipt]) -> None:
        raise KeyError("a mistake of ours")

    writer.start(settle, deaths.append)
    writer.put(Work(lambda _: Outcome(), lambda _: None))
    wait_until(lambda: deaths == ["writer"], "the death")
    assert "a mistake of ours" in caplog.text


_CHILD = """
import sys
from pathlib import Path
from tests.hub.parts import Line, many
from tocsin_hub.settings import IngestSettings

def publish(topic, payload):
    for ref in __import__("json").loads(payload)["refs"]:
        sys.stdout.write(ref["id"] + "\\n")
    sys.stdout.flush()

with Line(Path(sys.argv[1]), IngestSettings(commit_rows=7)) as line:
    line.broker.publish = publish
    for message in many(100_000):
        line.hear(message)
"""


@pytest.mark.slow
def test_kill_9_in_mid_load_leaves_every_acknowledged_row(tmp_path: Path) -> None:
    """A child acknowledges on its standard output; killed with -9, its database holds all that it said."""
    path = tmp_path / "hub.sqlite"
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(path)], stdout=subprocess.PIPE, cwd=root, text=True
    ) as child:
        assert child.stdout is not None
        acknowledged = [child.stdout.readline().strip() for _ in range(200)]
        os.kill(child.pid, signal.SIGKILL)
        acknowledged += [line.strip() for line in child.stdout if line.endswith("\n")]
    assert len(acknowledged) < 100_000, "it must have been killed in the middle"
    store = Store(path)
    stored = {row[0] for row in store._rows("SELECT id FROM events")}
    held = {row[0] for row in store._rows("SELECT event FROM incident_events")}
    counted = store._rows("SELECT sum(events) FROM incidents")
    store.close()
    assert set(acknowledged) <= stored
    assert held == stored, "an event and its incident are on the disk together"
    assert counted == [(len(stored),)]
