"""Messages as no node would send them: seeded mutations of valid ones, random bytes, wrong topics."""

from collections.abc import Iterator
from random import Random

from tests.hub.parts import birth, conn, heartbeat, troubles, ulid
from tests.shared.messages import sound
from tocsin_shared import codec
from tocsin_shared.events import Backfill, Presence
from tocsin_shared.topics import node_topic

_TEMPLATES = (
    ("ev/smoke_alarm", codec.encode(sound(id=ulid(1)))),
    ("bf", codec.encode(Backfill(events=tuple(sound(id=ulid(n), seq=n) for n in range(2, 6))))),
    ("birth", codec.encode(birth())),
    ("hb", codec.encode(heartbeat())),
    ("troubles", codec.encode(troubles("mic_absent", "mic_hum"))),
    ("conn", codec.encode(conn(Presence.ONLINE))),
    ("conn", codec.encode(conn(Presence.OFFLINE))),
)
_TOPICS = (
    "tocsin/v1/n//ev/siren",
    "tocsin/v1/n/press-1/ev/",
    "tocsin/v1/n/press-1/ev/SIREN",
    "tocsin/v1/n/press.1/hb",
    "tocsin/v1/n/" + "x" * 200 + "/birth",
    "tocsin/v1/n/pr\u00e9ss/hb",
    "tocsin/v1/n/press-1/bf",
    "tocsin/v1/n/press-1/state",
)
_VALUES = (
    b"null",
    b"true",
    b"-0",
    b"1e400",
    b"-1",
    b"9" * 400,
    b'""',
    b'"\\u0000"',
    b'"\\ud800"',
    b"[[[[[[]]]]]]",
    b'{"a":{"a":{"a":{}}}}',
    b'"' + b"A" * 9000 + b'"',
    b'"9999-12-31T23:59:59-23:59"',
    b"\xff\xfe",
)


def messages(seed: int, count: int) -> Iterator[tuple[str, bytes]]:
    """``count`` pairs of topic and payload; the same ones for the same ``seed``."""
    random = Random(seed)
    for _ in range(count):
        rest, payload = random.choice(_TEMPLATES)
        topic = node_topic("press-1", rest)
        if random.random() < 0.15:
            topic = random.choice(_TOPICS)
        yield topic, _mutated(payload, random)


def _mutated(payload: bytes, random: Random) -> bytes:
    kind = random.randrange(7)
    if kind == 0:
        return random.randbytes(random.choice((0, 1, 10, 1000)))
    if kind == 1:
        return payload[: random.randrange(len(payload))]
    if kind == 2:
        return _with_a_value_replaced(payload, random)
    if kind == 3:
        return random.choice((b"[", b'{"a":', b'["')) * random.choice((10, 1000, 20_000))
    if kind == 4:
        return payload + payload[: random.randrange(1, len(payload))]
    flipped = bytearray(payload)
    for _ in range(random.choice((1, 2, 20))):
        flipped[random.randrange(len(flipped))] = random.randrange(256)
    return bytes(flipped)


def _with_a_value_replaced(payload: bytes, random: Random) -> bytes:
    colons = [at for at, byte in enumerate(payload) if byte == ord(":")]
    start = random.choice(colons) + 1
    ends = [at for mark in (b",", b"}") if (at := payload.find(mark, start)) >= 0]
    return payload[:start] + random.choice(_VALUES) + payload[min(ends) :]
