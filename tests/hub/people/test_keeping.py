"""Persons are kept, read from memory, and never without an admin."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tests.hub.parts import log_in_as, person
from tocsin_hub.people import keeping
from tocsin_hub.people.keeping import Entry
from tocsin_hub.people.model import DailySpan, Person, Role
from tocsin_hub.people.rules import FieldError
from tocsin_hub.recorder import Recorder
from tocsin_hub.root import Hub
from tocsin_hub.times import now_us


def ask(hub: Hub, write: Callable[[Recorder], Any]) -> Any:
    return keeping.ask(hub.writer, write)


def test_a_person_is_read_as_she_was_written(hub: Hub) -> None:
    boss = person(hub, "Boss", role=Role.ADMIN)
    span = DailySpan(frozenset({0, 4}), 360, 840)
    made = person(
        hub,
        "김민아",
        role=Role.WORKER,
        language="ko",
        zones=frozenset({"hall-1", "yard"}),
        buddy=boss.id,
        shift=(span,),
        quiet=(DailySpan(frozenset(), 1320, 360),),
        muted=frozenset({"dog_bark"}),
    )
    people = hub.services.people
    assert people.get(made.id) == made
    assert people.all() == (boss, made)
    assert people.by_login("mina") is None
    assert people.get("nobody") is None


def test_persons_are_read_anew_only_when_one_changed(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    made = person(hub)
    people = hub.services.people
    asked: list[object] = []
    rows = hub.services.store.rows

    def counted(sql: str) -> list[tuple[Any, ...]]:
        asked.append(sql)
        return rows(sql)

    monkeypatch.setattr(hub.services.store, "rows", counted)
    assert [people.get(made.id) for _ in range(50)] == [made] * 50
    assert len(asked) == 1
    ask(hub, lambda recorder: keeping.change(recorder, made.id, name="Mina Kim"))
    assert people.get(made.id) == Person(made.id, "Mina Kim", Role.OFFICER)
    assert len(asked) == 2


def test_the_last_admin_can_neither_be_disabled_nor_demoted(hub: Hub) -> None:
    one = person(hub, "One", role=Role.ADMIN)
    person(hub, "Of one zone", role=Role.ADMIN, zones=frozenset({"hall-1"}))
    changes: list[dict[str, Any]] = [
        {"enabled": False},
        {"role": Role.OFFICER},
        {"zones": frozenset({"hall-1"})},
    ]
    for fields in changes:
        with pytest.raises(FieldError, match="last admin"):
            ask(hub, partial(keeping.change, person_id=one.id, **fields))
    assert hub.services.people.get(one.id) == one
    two = person(hub, "Two", role=Role.ADMIN)
    ask(hub, lambda recorder: keeping.disable(recorder, one.id))
    with pytest.raises(FieldError, match="last admin"):
        ask(hub, lambda recorder: keeping.disable(recorder, two.id))


def test_a_disabled_person_is_out_with_her_next_request(hub: Hub) -> None:
    person(hub, "Boss", role=Role.ADMIN)
    made = person(hub)
    client = log_in_as(hub, made)
    assert client.get("/api/v1/rooms").status_code == 200
    ask(hub, lambda recorder: keeping.disable(recorder, made.id))
    assert client.get("/api/v1/rooms").status_code == 401
    ask(hub, lambda recorder: keeping.change(recorder, made.id, enabled=True))
    assert client.get("/api/v1/rooms").status_code == 401, "her sessions ended for good"


def test_a_new_role_and_new_zones_hold_with_the_next_request(hub: Hub) -> None:
    boss = person(hub, "Boss", role=Role.ADMIN)
    person(hub, "Other", role=Role.ADMIN)
    client = log_in_as(hub, boss)
    assert client.get("/admin/people").status_code == 200
    ask(hub, lambda recorder: keeping.change(recorder, boss.id, role=Role.OFFICER))
    assert client.get("/admin/people").status_code == 403


def test_a_login_name_belongs_to_one(hub: Hub) -> None:
    def add(name: str) -> Person:
        made = Person("", name, Role.OFFICER)
        return keeping.ask(hub.writer, lambda recorder: keeping.add(recorder, made, Entry("mina"), now_us()))

    first = add("Mina")
    with pytest.raises(FieldError, match="somebody else"):
        add("Mina 2")
    assert hub.services.people.by_login("mina") == first


def test_a_session_that_is_not_used_ends_sooner_and_one_that_is_used_does_not(hub: Hub) -> None:
    day, start = 86_400 * 1_000_000, now_us()
    used, left = log_in_as(hub, person(hub, "A")), log_in_as(hub, person(hub, "B"))
    phone = log_in_as(hub, person(hub, "C", role=Role.WORKER))
    for days in (3, 6, 9):
        object.__setattr__(hub.services, "clock", lambda days=days: start + days * day)
        assert used.get("/api/v1/rooms").status_code == 200
        hub.writer.call(lambda _: None)
    assert left.get("/api/v1/rooms").status_code == 401
    assert phone.get("/api/v1/rooms").status_code == 200, "a worker's phone is her key"
    object.__setattr__(hub.services, "clock", lambda: start + 31 * day)
    assert used.get("/api/v1/rooms").status_code == 401
