"""From message to disk to acknowledgement, with real writer and database, and a broker that takes notes."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from tests.hub.parts import START_US, Line, after, birth, conn, heartbeat, many, offset_of, troubles, ulid
from tests.shared.messages import WHEN, sound
from tocsin_hub.ingest import MAX_NODES, REFS_PER_ACK
from tocsin_hub.rooms import RoomState
from tocsin_hub.store import Store
from tocsin_shared import codec
from tocsin_shared.events import Backfill, EventRef, EventsCommitted, Presence, SoundDetected, Trouble

SECOND = 1_000_000


def reasons(line: Line) -> list[str]:
    """Why messages were kept aside, oldest first."""
    line.settle()
    return [row[0] for row in line.store._rows("SELECT reason FROM quarantine ORDER BY id")]


def test_a_live_event_is_stored_acknowledged_and_shown(line: Line) -> None:
    receipt = line.hear(sound())
    line.settle()
    assert line.store.event_count() == 1
    assert line.broker.refs() == [EventRef(id=sound().id, seq=7)]
    assert line.broker.receipts == [receipt]
    assert [event.id for event in line.screen.events] == [sound().id]
    assert line.ingest.stored == 1


def test_pubacks_keep_the_order_of_the_messages_even_of_those_that_leave_nothing_to_write(line: Line) -> None:
    """MQTT-4.6.0-2; rumqttd ends the connection of a client that does not."""
    receipts = [
        receipt
        for message in many(20)
        for receipt in (
            line.hear(message),
            line.send("state", b"{}"),
            line.send("hb", heartbeat()),
            line.send("conn", b""),
            line.send("birth", b"garbage"),
        )
    ]
    line.settle()
    assert line.broker.receipts == receipts


def test_an_event_that_comes_again_is_acknowledged_again_and_stored_once(line: Line) -> None:
    receipts = [line.hear(sound()) for _ in range(3)]
    line.settle()
    assert line.store.event_count() == 1
    assert line.broker.refs() == [EventRef(id=sound().id, seq=7)] * 3
    assert line.broker.receipts == receipts
    assert len(line.screen.events) == 1, "what is known already is not shown again"


def test_every_phase_is_acknowledged_by_its_own_seq_even_when_it_is_overtaken(line: Line) -> None:
    line.hear(offset_of(sound(), seq=9))
    line.hear(sound())
    line.settle()
    assert {ref.seq for ref in line.broker.refs()} == {7, 9}
    assert line.ingest.stored == 1


def test_a_backfill_is_stored_and_acknowledged_as_one(line: Line) -> None:
    events = tuple(sound(id=ulid(n), seq=n, late=True) for n in range(1, 65))
    receipt = line.send("bf", Backfill(events=events))
    line.settle()
    assert line.store.event_count() == 64
    assert [ref.seq for ref in line.broker.refs()] == list(range(1, 65))
    assert line.broker.receipts == [receipt]


def test_acknowledgements_are_grouped_by_node_and_small_enough_for_any_broker(line: Line) -> None:
    with_two = [*many(600), *(sound(id=ulid(10_000 + n), seq=n, node="dock-2") for n in range(3))]
    for message in with_two:
        line.hear(message)
    line.settle()
    assert len(line.broker.refs("press-1")) == 600
    assert len(line.broker.refs("dock-2")) == 3
    for _, payload in line.broker.published:
        assert len(codec.decode(payload, EventsCommitted).refs) <= REFS_PER_ACK
        assert len(payload) < 20_000
    assert len(line.broker.published) < 300, "not one message for each event"


def test_the_longest_acknowledgement_fits(line: Line) -> None:
    refs = tuple(EventRef(id="7" + "Z" * 25, seq=2**63 - 1) for _ in range(REFS_PER_ACK))
    assert len(codec.encode(EventsCommitted(refs=refs))) < 20_480


@pytest.mark.parametrize(
    ("topic", "message", "reason"),
    [
        ("tocsin/v1/n/dock-2/ev/smoke_alarm", sound(), "node press-1 on the topic of dock-2"),
        ("tocsin/v1/n/press-1/ev/siren", sound(), "label smoke_alarm on the topic of siren"),
        ("tocsin/v1/n/dock-2/birth", birth(), "node press-1 on the topic of dock-2"),
        ("tocsin/v1/n/dock-2/hb", heartbeat(), "node press-1 on the topic of dock-2"),
        ("tocsin/v1/n/press-1/ev", sound(), "is not one that a node sends"),
        ("tocsin/v1/n/press-1/birth/x", birth(), "is not one that a node sends"),
        ("tocsin/v1/n/press-1/ack", sound(), "is not one that a node sends"),
        ("tocsin/v1/n/PRESS/ev/smoke_alarm", sound(), "is not one of a Tocsin node"),
        ("tocsin/v1/n/press-1\n/ev/smoke_alarm", sound(), "is not one of a Tocsin node"),
        ("tocsin/v1/hub/state", sound(), "is not one of a Tocsin node"),
        ("", sound(), "is not one of a Tocsin node"),
        ("tocsin/v1/n/press-1/ev/smoke_alarm", birth(), "SoundDetected"),
    ],
)
def test_what_does_not_agree_with_its_topic_is_put_aside(
    line: Line, topic: str, message: SoundDetected, reason: str
) -> None:
    receipt = line.send_raw(topic, codec.encode(message))
    line.settle()
    assert line.store.event_count() == 0
    assert line.broker.published == []
    assert line.broker.receipts == [receipt], "the broker must not send it for ever"
    (why,) = reasons(line)
    assert reason in why


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x00",
        b"null",
        b"[]",
        b"{}",
        b"{" * 60_000,
        b"[" * 60_000,
        b'{"id":' * 10_000,
        b'"' + b"\xed\xa0\x80" + b'"',
        b'{"id":"\\ud800"}',
        b'{"seq":' + b"9" * 5000 + b"}",
        b'{"score":1e999}',
        b"\xff\xfe" * 100,
        b"x" * (codec.MAX_PAYLOAD_BYTES + 1),
        codec.encode(sound()).replace(b'"schema":1', b'"schema":2'),
        codec.encode(sound()).replace(b'"seq":7', b'"seq":9223372036854775808'),
        codec.encode(sound()).replace(b'"seq":7', b'"seq":-1'),
        codec.encode(sound()).replace(b'ABCDEF"', b'ABCDEF\\n"'),
        codec.encode(sound()).replace(b'"smoke_alarm"', b'"smoke_alarm\\n"'),
        codec.encode(sound()).replace(b"2026-11-23T", b"1969-11-23T"),
        codec.encode(sound()).replace(b"2026-11-23T02:38:11.250000Z", b"0001-01-01T00:00:00+14:00"),
        codec.encode(sound()).replace(b"2026-11-23T02:38:11.250000Z", b"9999-12-31T23:59:59-12:00"),
    ],
)
def test_garbage_is_kept_aside_and_the_next_event_is_stored(line: Line, payload: bytes) -> None:
    line.send_raw("tocsin/v1/n/press-1/ev/smoke_alarm", payload)
    line.hear(sound())
    line.settle()
    assert line.store.event_count() == 1
    assert line.ingest.quarantined == 1
    topic, kept, size = line.store._rows("SELECT topic, payload, size_bytes FROM quarantine")[0]
    assert (topic, bytes(kept), size) == ("tocsin/v1/n/press-1/ev/smoke_alarm", payload[:1024], len(payload))


def test_an_id_that_belongs_to_another_node_is_put_aside_and_not_acknowledged(line: Line) -> None:
    line.hear(sound())
    line.hear(sound(node="thief-1", seq=99))
    line.settle()
    assert line.broker.refs("thief-1") == []
    assert "is another node's event" in reasons(line)[0]


def test_topics_that_no_database_column_takes_are_kept_in_words(line: Line) -> None:
    line.send_raw("tocsin/\ud800/x\x00" + "y" * 5000, b"?")
    assert len(reasons(line)) == 1


def test_one_bad_event_does_not_hold_up_the_rest_of_a_backfill(line: Line) -> None:
    good, bad = (
        codec.encode(sound(id=ulid(1), seq=1)),
        codec.encode(sound(id=ulid(2))).replace(b"0.93", b"9.3"),
    )
    strange = codec.encode(sound(id=ulid(3), node="dock-2"))
    line.send_raw("tocsin/v1/n/press-1/bf", b'{"events":[' + b",".join([bad, strange, good]) + b"]}")
    assert len(reasons(line)) == 2
    assert [ref.seq for ref in line.broker.refs()] == [1]
    assert line.broker.refs("dock-2") == []


def test_a_time_of_another_zone_is_stored_as_utc(line: Line) -> None:
    line.hear(sound(onset=WHEN.astimezone(timezone(timedelta(hours=9)))))
    line.settle()
    assert line.store.events_after(0).events[0].onset_us == START_US


def test_a_clock_that_was_never_set_is_no_reason_to_lose_an_alarm(line: Line) -> None:
    line.hear(sound(onset=datetime(1970, 1, 1, tzinfo=UTC)))
    line.settle()
    assert line.store.events_after(0).events[0].onset_us == 0


def test_a_room_goes_from_birth_to_listening_to_offline(line: Line) -> None:
    states = []
    line.send("conn", conn(Presence.ONLINE))
    line.send("birth", birth())
    states.append(line.screen.rooms[-1].state)
    line.send("hb", heartbeat())
    states.append(line.screen.rooms[-1].state)
    line.send("conn", conn(Presence.OFFLINE))
    states.append(line.screen.rooms[-1].state)
    assert states == [RoomState.STARTING, RoomState.LISTENING, RoomState.OFFLINE]


def test_a_room_that_falls_silent_is_noticed_by_the_clock_alone(line: Line) -> None:
    line.send("birth", birth())
    line.send("hb", heartbeat())
    before = len(line.screen.rooms)
    line.now_us += 20 * SECOND
    line.ingest.tick()
    assert len(line.screen.rooms) == before
    line.now_us += 20 * SECOND
    line.ingest.tick()
    line.ingest.tick()
    assert [room.state for room in line.screen.rooms[before:]] == [RoomState.OFFLINE]


def test_sounds_that_lasted_when_the_node_went_away_are_shown_again_as_not_active(line: Line) -> None:
    line.send("birth", birth())
    line.hear(sound())
    line.hear(offset_of(sound(id=ulid(5)), seq=9))
    line.settle()
    line.send("conn", conn(Presence.OFFLINE))
    line.settle()
    record = line.rooms.get("press-1")
    assert record is not None
    *before, last = line.screen.events
    assert last.id == sound().id
    assert last.change > max(event.change for event in before)
    assert not record.has_open(last.boot, last.offset_us)
    assert [event.id for event in line.store.events_after(before[-1].change).events] == [sound().id], (
        "a refetch learns it too"
    )


def test_sounds_of_an_earlier_boot_are_shown_again_when_the_node_starts_anew(line: Line) -> None:
    line.send("birth", birth())
    line.hear(sound())
    line.send("birth", birth(boot="b2"))
    line.settle()
    first, again = line.screen.events
    assert again.id == first.id
    assert again.change > first.change


def test_the_last_state_of_a_room_survives_a_restart(line: Line) -> None:
    line.send("birth", birth())
    line.send("hb", heartbeat())
    line.settle()
    again = Store(line.store.path)
    (record,) = again.nodes()
    again.close()
    assert (record.state, record.room) == (RoomState.LISTENING, "Press shop")
    assert record.heartbeat == heartbeat()


def test_heartbeats_that_change_nothing_are_written_every_ten_seconds_at_most(line: Line) -> None:
    line.send("birth", birth())
    line.send("hb", heartbeat())
    line.settle()
    line.now_us += 5 * SECOND
    line.send("hb", heartbeat(level_dbfs=-10.0))
    line.settle()
    assert line.store.nodes()[0].heartbeat == heartbeat()
    line.now_us += 5 * SECOND
    line.send("hb", heartbeat(level_dbfs=-11.0))
    line.settle()
    assert line.store.nodes()[0].heartbeat == heartbeat(level_dbfs=-11.0)


def test_an_event_alone_makes_its_room_known(line: Line) -> None:
    line.hear(sound(node="dock-2"))
    line.settle()
    assert [room.node for room in line.screen.rooms] == ["dock-2"]
    assert [record.node for record in line.store.nodes()] == ["dock-2"]


def stored_troubles(line: Line) -> dict[str, int | None]:
    """End of every trouble in the database, by kind."""
    line.settle()
    return dict(line.store._rows("SELECT kind, until_us FROM troubles"))


def test_a_trouble_is_shown_kept_over_a_restart_and_ended_by_the_message_that_says_so(line: Line) -> None:
    line.send("birth", birth())
    line.send("troubles", troubles("mic_hum", "mic_dc"))
    assert [one.kind for one in line.screen.rooms[-1].troubles] == ["mic_hum", "mic_dc"]
    assert stored_troubles(line) == {"mic_hum": None, "mic_dc": None}
    assert line.store.nodes()[0].troubles[0].detail == "why mic_hum"
    hum = troubles("mic_hum").troubles[0]
    over = Trouble(id=hum.id, kind=hum.kind, since=hum.since, until=after(9.0), detail=hum.detail)
    line.send("troubles", troubles(troubles=(over,)))
    line.send("troubles", troubles("mic_hum", "mic_dc"))
    line.send("troubles", troubles(troubles=(over,)))
    assert line.screen.rooms[-1].troubles == ()
    ends = stored_troubles(line)
    assert ends["mic_hum"] == START_US + 9 * SECOND, "the node said when"
    assert ends["mic_dc"] == line.now_us, "it was not named any more"
    assert line.ingest.quarantined == 0


def test_a_trouble_of_one_node_is_never_ended_by_another(line: Line) -> None:
    line.send("troubles", troubles("disk"))
    line.send("troubles", troubles(node="dock-2"), node="dock-2")
    stolen = troubles("disk", node="dock-2")
    line.send("troubles", stolen, node="dock-2")
    assert stored_troubles(line) == {"disk": None}
    line.send("troubles", troubles("disk"), node="dock-2")
    assert "on the topic of dock-2" in reasons(line)[0]


def test_a_kind_of_trouble_that_a_newer_node_knows_is_shown_by_its_name(line: Line) -> None:
    line.send("troubles", troubles("flood_in_the_cellar"))
    assert [one.kind for one in line.screen.rooms[-1].troubles] == ["flood_in_the_cellar"]


def test_a_loose_plug_does_not_fill_the_disk(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tocsin_hub.recorder.KEPT_TROUBLE_ROWS", 5)
    for number in range(30):
        one = Trouble(id=ulid(number), kind="mic_absent", since=after(number), until=after(number + 1))
        line.send("troubles", troubles(troubles=(one,)))
    line.settle()
    kept = line.store._rows("SELECT id FROM troubles ORDER BY since_us")
    assert [row[0] for row in kept] == [ulid(number) for number in range(25, 30)]


@pytest.mark.parametrize("topic", [f"tocsin/v1/n/press-1/{kind}" for kind in ("conn", "state", "troubles")])
def test_an_emptied_retained_message_is_no_garbage(line: Line, topic: str) -> None:
    receipt = line.send_raw(topic, b"")
    line.settle()
    assert line.broker.receipts == [receipt]
    assert line.ingest.quarantined == 0


def test_a_retained_presence_does_not_count_as_the_nodes_own_word(line: Line) -> None:
    line.send_raw("tocsin/v1/n/press-1/conn", codec.encode(conn(Presence.ONLINE)), retained=True)
    record = line.rooms.get("press-1")
    assert record is not None
    assert record.last_seen_us is None


def test_made_up_nodes_are_refused_beyond_reason(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tocsin_hub.ingest.MAX_NODES", 2)
    assert MAX_NODES > 2
    for name in ("node-1", "node-2", "node-3", "node-1"):
        line.hear(sound(node=name, id=ulid(hash(name) % 1000)))
    assert "one more than the 2" in reasons(line)[0]
    assert len(line.rooms) == 2
