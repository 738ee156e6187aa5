"""The director's word: which node is to run which bundle, signed, with an end and a number against replay.

It travels as a :class:`SignedDirective`, retained on ``cmd/desired``. What is signed are the very bytes of
``body``, so nobody has to agree on how JSON is spelled.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta, Struct
from securesystemslib.exceptions import UnverifiedSignatureError, VerificationError
from securesystemslib.signer import CryptoSigner, Key, Signature

from tocsin_shared.codec import decode, encode
from tocsin_shared.errors import DecodeError
from tocsin_shared.events import Count, Message, NodeId, Token, Utc

Hex64 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}(?!\n)$")]
Hex128 = Annotated[str, Meta(pattern=r"^[0-9a-f]{128}(?!\n)$")]
Name = Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,32}(?!\n)$")]
Release = Annotated[str, Meta(pattern=r"^\d{1,4}\.\d{1,4}\.\d{1,4}(?!\n)$")]
MAX_BODY = 4096


class Directive(Struct, frozen=True, kw_only=True):
    """What one node is to run."""

    node: NodeId
    seq: Annotated[int, Meta(ge=1, le=2**53)]
    """Grows with every directive for this node; a lower one is a replay."""
    issued: Utc
    expires: Utc
    """A node that reads it later than this does not begin with it."""
    rollout: Token
    """Names the rollout for people and in reports."""
    name: Name
    release: Release
    variant: Name
    sha256: Hex64
    """Of the bundle's file; must be what the role ``models`` has signed for it."""
    soak_seconds: Annotated[float, Meta(ge=0.0, le=604_800.0)] | None = None
    """How long the node proves the bundle before it keeps it; ``None`` leaves that to its settings."""
    shadow_seconds: Annotated[float, Meta(ge=0.0, le=604_800.0)] | None = None
    """How long it runs unheard beside the active bundle; ``None`` leaves that to its settings."""


class SignedDirective(Message, frozen=True, kw_only=True):
    """A :class:`Directive` as it travels."""

    body: Annotated[str, Meta(max_length=MAX_BODY)]
    """The directive as JSON."""
    keyid: Hex64
    signature: Hex128
    """Ed25519 over the UTF-8 of ``body``."""


class Objection(StrEnum):
    """Why a directive is not followed."""

    NODE = "node"
    STALE = "stale"
    SEQ = "seq"


class UnknownKeyError(DecodeError):
    """Signed by a key that is not known here as the director's."""


def signed(directive: Directive, signer: CryptoSigner) -> bytes:
    """The payload for ``cmd/desired``.

    Raises:
        DecodeError: it would not be readable.
    """
    body = msgspec.json.encode(directive)
    signature = signer.sign(body)
    return encode(SignedDirective(body=body.decode(), keyid=signature.keyid, signature=signature.signature))


def opened(payload: bytes, keys: Mapping[str, Key]) -> Directive:
    """The directive in ``payload``, signed by one of ``keys``, by key id.

    Raises:
        UnknownKeyError: signed by another key; the newest metadata may know it.
        DecodeError: not a directive, or the signature is wrong.
    """
    envelope = decode(payload, SignedDirective)
    key = keys.get(envelope.keyid)
    if key is None:
        raise UnknownKeyError(f"directive signed by {envelope.keyid[:8]}, which is no key of the director")
    try:
        key.verify_signature(Signature(envelope.keyid, envelope.signature), envelope.body.encode())
    except (UnverifiedSignatureError, VerificationError, ValueError) as error:
        raise DecodeError("the signature of the directive is wrong") from error
    try:
        return msgspec.json.decode(envelope.body, type=Directive)
    except (msgspec.MsgspecError, UnicodeError, RecursionError, ValueError) as error:
        raise DecodeError(f"signed directive: {error}") from error


def objection(directive: Directive, node: NodeId, now: datetime, last_seq: Count) -> Objection | None:
    """What ``node`` has against ``directive`` at ``now``, having seen the number ``last_seq`` before."""
    if directive.node != node:
        return Objection.NODE
    if directive.seq < last_seq:
        return Objection.SEQ
    return Objection.STALE if now > directive.expires else None
