"""Rollouts in the database: compare and set, the log, the numbers of directives."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.hub.databases import at
from tests.hub.rollouts.site import Site
from tocsin_hub.connection import REFUSALS
from tocsin_hub.recorder import Recorder, prepare
from tocsin_hub.rollouts import keeping, reading
from tocsin_hub.rollouts.actions import Action, act
from tocsin_hub.rollouts.keeping import ChangedMeanwhileError
from tocsin_hub.rollouts.model import Pause, Status
from tocsin_hub.rollouts.rules import step
from tocsin_hub.store import Store


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    prepare(at(tmp_path / "hub.db"))
    recorder = Recorder(at(tmp_path / "hub.db"))
    recorder.open()
    yield recorder
    recorder.close()


@pytest.fixture
def store(recorder: Recorder) -> Iterator[Store]:
    store = Store(recorder.path)
    yield store
    store.close()


def test_what_is_written_is_what_is_read(recorder: Recorder, store: Store) -> None:
    site = Site((("a-1", "b-1"), ("a-2", "b-2"))).begin()
    with recorder.transaction():
        keeping.create(recorder, site.rollout, "ada")
    assert reading.rollout(store, site.rollout.id) == site.rollout
    assert reading.rollout(store, "no such") is None
    for _ in range(40):
        before = site.rollout
        decision = site.step(30.0)
        with recorder.transaction():
            site.rollout = keeping.decide(recorder, before, decision, site.now)
        assert reading.rollout(store, site.rollout.id) == site.rollout
        site.hear()
        for node in site.nodes.values():
            node.move()
        site.hear()
    assert site.rollout.status is Status.SUCCEEDED
    assert reading.seqs(store) == {"a-1": 1, "a-2": 1, "b-1": 1, "b-2": 1}
    codes = [one.code for one in reading.log_of(store, site.rollout.id)]
    assert codes[0] == "created"
    assert codes[-1] == "succeeded"
    assert codes.count("ring_passed") == 2
    assert reading.rollouts(store) == [site.rollout.id]
    assert reading.rollouts(store, (Status.PAUSED,)) == []


def test_nothing_new_writes_nothing(recorder: Recorder, store: Store) -> None:
    site = Site((("a-1",), ("a-2",))).begin()
    with recorder.transaction():
        keeping.create(recorder, site.rollout, "ada")
        after = keeping.decide(recorder, site.rollout, step(site.rollout, site.world(), site.now), site.now)
        assert keeping.decide(recorder, after, step(after, site.world(), site.now), site.now) is after
    assert after.version == site.rollout.version + 1


def test_case_64_of_two_who_act_at_once_one_wins(recorder: Recorder, store: Store) -> None:
    site = Site((("a-1",), ("a-2",))).begin()
    before = site.rollout
    with recorder.transaction():
        keeping.create(recorder, before, "ada")
    paused = act(before, Action.PAUSE, "ada", site.now)
    aborted = act(before, Action.ABORT, "bo", site.now)
    with recorder.transaction():
        keeping.change(recorder, before, paused, action="pause", person="ada", at_us=site.now)
    with pytest.raises(ChangedMeanwhileError, match="changed meanwhile"), recorder.transaction():
        keeping.change(recorder, before, aborted, action="abort", person="bo", at_us=site.now)
    stored = reading.rollout(store, before.id)
    assert stored is not None
    assert (stored.status, stored.pause, stored.version) == (Status.PAUSED, Pause.MANUAL, 2)
    assert [one.code for one in reading.log_of(store, before.id)] == ["created", "pause"]


def test_case_63_the_number_of_a_directive_is_given_out_once(recorder: Recorder, store: Store) -> None:
    site = Site((("a-1",), ("a-2",))).begin()
    other = replace(site.rollout, id="01HZY0000000000000000000R9")
    decision = step(site.rollout, site.world(), site.now)
    rival = step(other, site.world(), site.now)
    with recorder.transaction():
        keeping.create(recorder, site.rollout, "ada")
        keeping.create(recorder, other, "ada")
        keeping.decide(recorder, site.rollout, decision, site.now)
    with pytest.raises(ChangedMeanwhileError, match="given out already"), recorder.transaction():
        keeping.decide(recorder, other, rival, site.now)
    assert reading.rollout(store, other.id) == other


def test_case_74_a_refusal_stands_in_the_log(recorder: Recorder, store: Store) -> None:
    site = Site((("a-1",), ("a-2",))).begin()
    with recorder.transaction():
        keeping.create(recorder, site.rollout, "ada")
        keeping.refused(recorder, site.rollout, "approve", "bo", site.now)
    last = reading.log_of(store, site.rollout.id)[-1]
    assert (last.code, last.person, last.detail) == ("refused", "bo", "approve while running")


@pytest.mark.parametrize("sql", ["UPDATE rollout_log SET code = 'x'", "DELETE FROM rollout_log"])
def test_the_log_only_grows(recorder: Recorder, sql: str) -> None:
    site = Site((("a-1",), ("a-2",)))
    with recorder.transaction():
        keeping.create(recorder, site.rollout, "ada")
    with pytest.raises(REFUSALS, match="only added to"):
        recorder.database.execute(sql)
    recorder.database.rollback()


def test_an_id_is_used_once(recorder: Recorder) -> None:
    site = Site((("a-1",), ("a-2",)))
    with recorder.transaction():
        keeping.create(recorder, site.rollout, "ada")
    with pytest.raises(ChangedMeanwhileError, match="already"), recorder.transaction():
        keeping.create(recorder, site.rollout, "ada")
