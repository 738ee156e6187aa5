"""What decodes is valid, and nothing from outside gets past the decoder in any other way."""

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.shared.messages import sound
from tocsin_shared.codec import MAX_PAYLOAD_BYTES, decode, encode
from tocsin_shared.errors import DecodeError
from tocsin_shared.events import Backfill, Heartbeat, NodeBorn, SoundDetected


def altered(**changes: Any) -> bytes:
    """A valid event with some JSON values replaced; ``None`` stays, ``...`` removes the key."""
    fields = {**json.loads(encode(sound())), **changes}
    return json.dumps({key: value for key, value in fields.items() if value is not ...}).encode()


def test_a_message_survives_the_wire() -> None:
    """Decoding what was encoded gives the same message."""
    event = sound(level_dbfs=None, late=True)
    assert decode(encode(event), SoundDetected) == event


def test_unknown_fields_are_ignored() -> None:
    """A newer node may say more than this hub knows."""
    assert decode(altered(colour="red"), SoundDetected) == sound()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"label": ...}, "label"),
        ({"label": "Smoke Alarm"}, "label"),
        ({"label": "a/b"}, "label"),
        ({"node": "No.Dots"}, "node"),
        ({"id": "not-a-ulid"}, "id"),
        ({"score": 1.5}, "score"),
        ({"score": "high"}, "score"),
        ({"level_dbfs": 1e9}, "level_dbfs"),
        ({"onset": "2026-11-23T02:38:11"}, "onset"),
        ({"onset": 0}, "onset"),
        ({"seq": -1}, "seq"),
        ({"seq": 2**63}, "seq"),
        ({"mono_ns": 10**40}, "mono_ns"),
        ({"phase": "middle"}, "phase"),
        ({"top": [["siren", 0.1]] * 4}, "top"),
        ({"schema": 2}, "schema"),
        ({"boot": ""}, "boot"),
    ],
)
def test_a_wrong_field_is_named(changes: dict[str, Any], named: str) -> None:
    """The error names the field, so that whoever reads the quarantine knows what to mend."""
    with pytest.raises(DecodeError, match=named):
        decode(altered(**changes), SoundDetected)


@pytest.mark.parametrize(
    "payload",
    [b"", b"null", b"[]", b"\xff\xfe", b'{"schema":1', b"NaN", b"[" * 50_000, b'{"a":' * 9_000, b"1e999999"],
)
def test_garbage_is_refused(payload: bytes) -> None:
    """Neither emptiness, broken text nor deep nesting raises anything but a DecodeError."""
    with pytest.raises(DecodeError):
        decode(payload, SoundDetected)


def test_an_oversize_payload_is_refused_before_it_is_parsed() -> None:
    """The limit holds for reading …"""
    with pytest.raises(DecodeError, match="at most 65536"):
        decode(b" " * (MAX_PAYLOAD_BYTES + 1), SoundDetected)


def test_an_unreadable_message_cannot_be_sent() -> None:
    """… and for sending, since a message that nobody can read would be sent for ever."""
    with pytest.raises(DecodeError, match="score"):
        encode(sound(score=2.0))
    full = Backfill(events=(sound(),) * 64)
    assert len(encode(full)) < MAX_PAYLOAD_BYTES


@given(st.binary(max_size=400))
def test_random_bytes_never_crash(payload: bytes) -> None:
    """Any bytes either decode or raise DecodeError."""
    for kind in (SoundDetected, Heartbeat, NodeBorn, Backfill):
        with pytest.raises(DecodeError):
            decode(payload, kind)


def test_mutated_messages_never_crash() -> None:
    """A valid message with a few bytes changed decodes to something valid or is refused."""
    rng = random.Random(7)
    payload = encode(sound())
    decoded = 0
    for _ in range(3000):
        mutated = bytearray(payload)
        for _ in range(rng.randint(1, 4)):
            mutated[rng.randrange(len(mutated))] = rng.randrange(256)
        try:
            event = decode(bytes(mutated), SoundDetected)
        except DecodeError:
            continue
        decoded += 1
        encode(event)  # whatever decodes can be encoded, and so stored
    assert 0 < decoded < 3000
