"""Bytes ⇄ messages. Whatever comes from outside either decodes into a valid message or is refused."""

from typing import TypeVar

import msgspec

from tocsin_shared.errors import DecodeError
from tocsin_shared.events import SCHEMA, Message

MAX_PAYLOAD_BYTES = 64 * 1024
"""Largest payload that is sent or read; models never travel over MQTT."""

M = TypeVar("M", bound=Message)

_encoder = msgspec.json.Encoder()
_decoders: dict[type[Message], msgspec.json.Decoder[Message]] = {}


def encode(message: Message) -> bytes:
    """``message`` as JSON in UTF-8.

    Raises:
        DecodeError: the result would be larger than :data:`MAX_PAYLOAD_BYTES`, or breaks a limit that
            its own reader would refuse. A message that cannot be read is better refused here, where
            somebody can act, than sent for ever.
    """
    payload = _encoder.encode(message)
    decode(payload, type(message))
    return payload


def decode(payload: bytes, kind: type[M]) -> M:
    """``payload`` as a message of ``kind``; unknown fields are ignored.

    Raises:
        DecodeError: too large, not JSON, a field missing or outside its limits, or a newer schema.
    """
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise DecodeError(f"{kind.__name__} of {len(payload)} bytes; at most {MAX_PAYLOAD_BYTES} are read")
    try:
        message = _decoder(kind).decode(payload)
    except (msgspec.MsgspecError, UnicodeError, RecursionError, OverflowError, ValueError) as error:
        raise DecodeError(f"{kind.__name__}: {error}") from error
    if message.schema > SCHEMA:
        raise DecodeError(f"{kind.__name__} of schema {message.schema}; this version reads up to {SCHEMA}")
    return message


def _decoder(kind: type[M]) -> msgspec.json.Decoder[M]:
    if kind not in _decoders:
        _decoders[kind] = msgspec.json.Decoder(kind)
    return _decoders[kind]  # type: ignore[return-value]
