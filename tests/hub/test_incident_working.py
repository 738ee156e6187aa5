"""Many events in one commit make of incidents what they make one by one."""

import shutil
import sqlite3
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.hub.parts import START_US, after, heartbeat, ulid
from tests.shared.messages import sound
from tocsin_hub.incidents import keeping
from tocsin_hub.incidents.model import Answer, Drill, IncidentKind
from tocsin_hub.incidents.rules import Limits
from tocsin_hub.incidents.working import working
from tocsin_hub.recorder import Recorder, prepare
from tocsin_hub.rooms import NodeRecord, RoomState
from tocsin_hub.times import from_us
from tocsin_shared.events import Phase, SoundDetected

LIMITS = Limits(hold_seconds=2.0, rejoin_seconds=6.0, late_seconds=10.0)
LABELS = ("smoke_alarm", "siren", "knock", "speech", "vehicle_horn")
NODES = ("press-1", "press-2", "press-3")
PHASES = (Phase.ONSET, Phase.UPDATE, Phase.OFFSET)
STEP_US = 700_000

Step = tuple[str, int, int, int, int]
"""What happens; which sound, label, phase and how many seconds before the onset is."""

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["event"] * 12 + ["review", "acknowledge", "answer", "drill", "end", "prune"]),
        st.integers(0, 7),
        st.integers(0, len(LABELS) - 1),
        st.integers(0, 2),
        st.sampled_from([0, 0, 0, 1, 3, 9, 40]),
    ),
    min_size=1,
    max_size=40,
)


def message(step: Step, number: int, now_us: int) -> SoundDetected:
    """One word about one of a few sounds; the same sound always comes from the same place."""
    _, which, label, phase, before = step
    onset_us = now_us - before * 1_000_000
    return sound(
        id=ulid(which),
        node=NODES[which % 3],
        zone=f"hall-{which % 2}",
        label=LABELS[(which + label) % len(LABELS)],
        phase=PHASES[phase],
        seq=number,
        onset=from_us(onset_us),
        offset=from_us(onset_us + 100_000) if PHASES[phase] is Phase.OFFSET else None,
        score=0.5 + which / 20 + phase / 100,
        level_dbfs=-30.0 + which,
        late=before > 9,
        test=step[1] == 7 and label == 4,
    )


def record_of(node: str) -> NodeRecord | None:
    """One node listens, one is away, one was never heard of."""
    if node == NODES[2]:
        return None
    state = RoomState.LISTENING if node == NODES[0] else RoomState.OFFLINE
    return NodeRecord(
        node, since_us=START_US, boot="b1", state=state, heartbeat=heartbeat(node=node, outbox_depth=0)
    )


def do(recorder: Recorder, step: Step, number: int) -> None:
    """One piece of work, as the writer does it."""
    now_us = START_US + number * STEP_US
    if step[0] == "event":
        _, event = recorder.record(message(step, number, now_us), now_us, now_us)
        if event is not None:
            keeping.fold_event(recorder, event, now_us, LIMITS)
    elif step[0] == "review":
        keeping.review(recorder, record_of, now_us, LIMITS)
    else:
        do_by_hand(recorder, step, number, now_us)


def do_by_hand(recorder: Recorder, step: Step, number: int, now_us: int) -> None:
    """What people do, and what the pruner does."""
    execute = recorder.database.execute
    newest = execute("SELECT id FROM incidents ORDER BY change DESC LIMIT 1").fetchone()
    match step[0]:
        case "acknowledge" if newest:
            keeping.acknowledge(recorder, newest[0], "kim", now_us)
        case "answer" if newest:
            keeping.answer(recorder, newest[0], "kim", list(Answer)[step[2] % 3], now_us)
        case "drill":
            drill = Drill(ulid(500 + number), frozenset({"hall-0"}), "kim", "", now_us, now_us + 5_000_000)
            keeping.start_drill(recorder, drill, (), now_us)
        case "end":
            for [drill_id] in execute("SELECT id FROM drills").fetchall():
                keeping.end_drill(recorder, drill_id, now_us)
        case "prune":
            execute("DELETE FROM events WHERE id = ?", (ulid(step[1]),))


@cache
def empty() -> Path:
    """A database without rows, made once."""
    path = Path(mkdtemp()) / "empty.sqlite"
    prepare(path)
    return path


def play(folder: Path, name: str, steps: Sequence[Step], sizes: Sequence[int], *, alone: bool) -> Any:
    """What the database holds after ``steps``, gathered into commits of ``sizes``."""
    path = folder / f"{name}.sqlite"
    shutil.copy(empty(), path)
    recorder = Recorder(path)
    recorder.open()
    waiting = list(enumerate(steps, start=1))
    turn = 0
    while waiting:
        size = sizes[turn % len(sizes)]
        recorder.alone = alone
        with recorder.transaction():
            recorder.expect([ulid(step[1]) for _, step in waiting[:size] if step[0] == "event"])
            for number, step in waiting[:size]:
                do(recorder, step, number)
        waiting, turn = waiting[size:], turn + 1
    found = contents(recorder)
    recorder.close()
    return found


def contents(recorder: Recorder) -> dict[str, list[tuple[Any, ...]]]:
    """All rows, with incidents named by the event that opened them."""

    def rows(sql: str) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = recorder.database.execute(sql).fetchall()
        return found

    names = dict(rows("SELECT id, first_event FROM incidents"))
    lines = rows(
        "SELECT at_us, incident, step, person, node, event, detail FROM incident_log ORDER BY at_us, id"
    )
    links = rows("SELECT event, ended_us, incident FROM incident_events ORDER BY event")
    return {
        "incidents": sorted([row[1:] for row in rows("SELECT * FROM incidents")], key=repr),
        "links": [(*row[:2], names[row[2]]) for row in links],
        "lines": [(row[0], names[row[1]], *row[2:]) for row in lines],
        "events": rows("SELECT * FROM events ORDER BY id"),
        "changes": rows("SELECT value FROM counters WHERE name = 'change'"),
    }


@settings(deadline=None, max_examples=60)
@given(STEPS, st.lists(st.integers(1, 12), min_size=1, max_size=4))
def test_commits_of_many_decide_as_commits_of_one(steps: list[Step], sizes: list[int]) -> None:
    """Rows are the same, to the last column, however the works were gathered."""
    with TemporaryDirectory() as folder:
        one_by_one = play(Path(folder), "one", steps, [1], alone=True)
        gathered = play(Path(folder), "many", steps, sizes, alone=False)
    assert gathered == one_by_one


def test_a_rollback_forgets_what_was_gathered(tmp_path: Path) -> None:
    """After it the rules see what is on the disk, and nothing else."""
    path = tmp_path / "hub.sqlite"
    prepare(path)
    recorder = Recorder(path)
    recorder.open()
    step = ("event", 0, 0, 0, 0)
    with pytest.raises(ZeroDivisionError), recorder.transaction():  # noqa: PT012 - what rolls back
        do(recorder, step, 1)
        assert recorder.pending is not None
        raise ZeroDivisionError
    assert recorder.pending is None
    with recorder.transaction():
        do(recorder, step, 1)
    [(events, nodes, changes)] = recorder.database.execute(
        "SELECT events, nodes, change FROM incidents"
    ).fetchall()
    assert (events, nodes, changes) == (1, '["press-1"]', 2)
    recorder.close()


def test_whoever_asks_in_the_same_transaction_sees_what_was_gathered(tmp_path: Path) -> None:
    """It is written before the database is handed out, and read anew after it."""
    path = tmp_path / "hub.sqlite"
    prepare(path)
    recorder = Recorder(path)
    recorder.open()
    with recorder.transaction():
        do(recorder, ("event", 0, 0, 0, 0), 1)
        [(incident,)] = recorder.database.execute("SELECT id FROM incidents").fetchall()
        assert recorder.pending is None
        recorder.database.execute("UPDATE incidents SET detail = 'seen' WHERE id = ?", (incident,))
        standing = working(recorder).by_id(incident)
        assert standing is not None
        assert standing.incident.detail == "seen"
        assert standing.incident.kind is IncidentKind.SOUND
    recorder.close()


def test_a_fault_in_what_is_written_is_found_by_the_one_that_made_it(tmp_path: Path) -> None:
    """In a commit of one work the event is kept, alone; the fault keeps no alarm back."""
    path = tmp_path / "hub.sqlite"
    prepare(path)
    recorder = Recorder(path)
    recorder.open()
    with recorder.transaction():
        recorder.database.execute(
            "CREATE TRIGGER broken BEFORE INSERT ON incident_log WHEN NEW.step = 'heard' "
            "BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
    first, second = sound(id=ulid(1)), sound(id=ulid(2), node="press-2", onset=after(1), seq=8)
    recorder.alone = True
    with recorder.transaction():
        _, event = recorder.record(first, START_US, START_US)
        assert event is not None
        assert keeping.fold_event(recorder, event, START_US)
    recorder.alone = False
    with pytest.raises(sqlite3.IntegrityError), recorder.transaction():  # noqa: PT012 - what rolls back
        _, event = recorder.record(second, START_US, START_US)
        assert event is not None
        assert keeping.fold_event(recorder, event, START_US)
    recorder.alone = True
    with recorder.transaction():
        _, event = recorder.record(second, START_US, START_US)
        assert event is not None
        assert keeping.fold_event(recorder, event, START_US)
    links = recorder.database.execute("SELECT event, incident FROM incident_events").fetchall()
    assert {event for event, _ in links} == {ulid(1), ulid(2)}
    assert len({incident for _, incident in links}) == 2
    recorder.close()


def test_the_values_of_a_later_word_are_stored_whole(tmp_path: Path) -> None:
    """Even one that says another place than the first: what was stored says so too."""
    path = tmp_path / "hub.sqlite"
    prepare(path)
    recorder = Recorder(path)
    recorder.open()
    first = sound(id=ulid(1))
    moved = msgspec.structs.replace(first, zone="hall-9", label="siren", boot="b2", seq=8, onset=after(-1))
    later = msgspec.structs.replace(moved, score=0.99, seq=9, phase=Phase.OFFSET, offset=after(3))
    for word in (first, moved, later):
        with recorder.transaction():
            _, event = recorder.record(word, START_US, START_US)
            assert event is not None
        row = recorder.database.execute(
            "SELECT zone, label, boot, onset_us, score, seq, phase FROM events"
        ).fetchone()
        assert row == (
            event.zone,
            event.label,
            event.boot,
            event.onset_us,
            event.score,
            event.seq,
            event.phase,
        )
    recorder.close()
