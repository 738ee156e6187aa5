"""Whatever comes in over MQTT: no thread dies, and the events between the garbage are stored."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.hub import fuzz
from tests.hub.parts import Line, after, ulid
from tests.shared.messages import sound


def test_ten_thousand_fuzzed_messages(line: Line) -> None:
    """Every message gets its PUBACK, garbage is counted, and each valid event is stored and acknowledged."""
    receipts, valid = [], []
    for number, (topic, payload) in enumerate(fuzz.messages(seed=2026, count=10_000)):
        receipts.append(line.send_raw(topic, payload))
        if number % 100 == 0:
            event = sound(id=ulid(1_000_000 + number), seq=number, onset=after(number), node="dock-2")
            receipts.append(line.hear(event))
            valid.append(event)
    line.settle()
    assert line.broker.receipts == receipts, "PUBACKs must keep the order of the messages"
    assert [ref.id for ref in line.broker.refs("dock-2")] == [event.id for event in valid]
    assert {event.id for event in valid} <= {row[0] for row in line.store._rows("SELECT id FROM events")}
    assert 6_000 < line.ingest.quarantined < 10_500
    assert line.store.counter("quarantined") == line.ingest.quarantined
    assert line.store._rows("SELECT count(*) FROM quarantine") == [(1000,)]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    topic=st.text(max_size=30) | st.sampled_from(["ev/siren", "bf", "birth", "hb", "conn", "state"]),
    payload=st.binary(max_size=200)
    | st.text(max_size=50).map(lambda text: text.encode("utf-8", "surrogatepass")),
    retained=st.booleans(),
)
def test_any_text_as_topic_and_any_bytes_as_payload(
    line: Line, topic: str, payload: bytes, retained: bool
) -> None:
    receipt = line.send_raw(f"tocsin/v1/n/press-1/{topic}", payload, retained)
    line.settle()
    assert receipt in line.broker.receipts
