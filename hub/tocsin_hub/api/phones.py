"""A person's phones over HTTP, what they say without a session, and her other addresses."""

import re
import time
from http import HTTPStatus
from typing import Annotated, Any

import msgspec
from flask import Blueprint, jsonify, make_response, request
from flask.typing import ResponseReturnValue

from tocsin_hub import i18n
from tocsin_hub.api.parts import described, needs, problem, who
from tocsin_hub.incidents.model import Answer
from tocsin_hub.people.model import Role
from tocsin_hub.phones.canary import Reach
from tocsin_hub.phones.limits import Buckets
from tocsin_hub.phones.model import Address, Phone
from tocsin_hub.phones.reading import Told
from tocsin_hub.services import services
from tocsin_hub.times import iso
from tocsin_shared.errors import BadInputError

phones = Blueprint("phones", __name__)
receipts = Blueprint("receipts", __name__, url_prefix="/api/v1")
"""Outside of the API's own blueprint: a phone that shows a notification has no session."""

_BURST, _PER_SECOND = 60, 1.0
_wrong = Buckets(_BURST, _PER_SECOND)
"""Only receipts that the hub did not give out are counted, so that no flood of them stops a true one."""
_tests = Buckets(5, 1 / 10)
_MAX_AGENT = 300


class PhoneKeys(msgspec.Struct):
    """The keys of a push subscription, base64url."""

    p256dh: Annotated[str, msgspec.Meta(min_length=86, max_length=88, pattern=r"^[A-Za-z0-9_-]{86,87}=?=?$")]
    auth: Annotated[str, msgspec.Meta(min_length=21, max_length=24, pattern=r"^[A-Za-z0-9_-]{21,22}=?=?$")]


class NewPhone(msgspec.Struct):
    """What a browser knows of itself once it has registered with its push service."""

    endpoint: Annotated[str, msgspec.Meta(min_length=8, max_length=2048)]
    keys: PhoneKeys
    language: Annotated[str, msgspec.Meta(max_length=8)] = i18n.FALLBACK


class PhoneWords(msgspec.Struct):
    """One phone of the person; its endpoint and keys are not told."""

    id: str
    user_agent: str
    created: str
    accepted: str | None
    shown: str | None
    checked: str | None
    check_shown: str | None
    failures: int
    error: str


class PhoneList(msgspec.Struct):
    """All phones of the person, and whether she is reached."""

    at: str
    reach: Reach
    phones: list[PhoneWords]


class PushKey(msgspec.Struct):
    """The hub's public key, base64url: what ``pushManager.subscribe`` wants."""

    key: str


class Done(msgspec.Struct):
    """It is done."""

    ok: bool


class Tried(msgspec.Struct):
    """What became of a test."""

    accepted: bool
    error: str


class Tries(msgspec.Struct):
    """What became of a test, phone by phone."""

    phones: dict[str, Tried]


class AddressWords(msgspec.Struct):
    """One other address of a person: only its kind is told, because secrets stand in it."""

    id: str
    kind: str
    created: str
    accepted: str | None
    failures: int
    error: str


class AddressList(msgspec.Struct):
    """All other addresses of a person."""

    addresses: list[AddressWords]


class NewAddress(msgspec.Struct):
    """An address as apprise reads it, such as ``ntfy://ntfy.site.example/topic``."""

    url: Annotated[str, msgspec.Meta(min_length=4, max_length=1024)]


class Receipt(msgspec.Struct):
    """A phone shows a notification."""

    receipt: Annotated[str, msgspec.Meta(max_length=128)]
    phone: Annotated[str, msgspec.Meta(max_length=32)] = ""


class ReceiptNoted(msgspec.Struct):
    """The receipt counts; what is to be added to a notification that came late."""

    late_note: str


class LockScreenAnswer(msgspec.Struct):
    """An answer by a button of the notification."""

    receipt: Annotated[str, msgspec.Meta(max_length=128)]
    answer: Answer


@phones.get("/me/phones/key")
@described("phones", answer=PushKey)
def push_key() -> ResponseReturnValue:
    """The hub's public key."""
    return jsonify(key=services().phones.signer.public_key)


@phones.get("/me/phones")
@described("phones", answer=PhoneList)
def list_phones() -> ResponseReturnValue:
    """The phones of whoever asks."""
    hub = services()
    mine = hub.phones.registry.of(who().id)
    return jsonify(
        at=iso(hub.clock()),
        reach=str(hub.phones.reach(who().id)),
        phones=[phone_json(one) for one in mine],
    )


@phones.post("/me/phones")
@described("phones", body=NewPhone, answer=PhoneWords, judged=True)
def add_phone() -> ResponseReturnValue:
    """Register a phone, or bring it up to date; a page does so whenever it is opened."""
    new: NewPhone = request.context.json  # type: ignore[attr-defined]
    made = services().phones.register(
        who().id,
        endpoint=new.endpoint,
        p256dh=new.keys.p256dh.rstrip("="),
        auth=new.keys.auth.rstrip("="),
        language=new.language if new.language in i18n.LANGUAGES else i18n.FALLBACK,
        user_agent=_agent(),
    )
    return jsonify(phone_json(made))


# The length of a ULID keeps this path apart from its neighbours, which allow other methods.
@phones.delete("/me/phones/<string(length=26):phone>")
@described("phones", answer=Done)
def delete_phone(phone: str) -> ResponseReturnValue:
    """Take one of her phones away."""
    if services().phones.forget(who().id, phone):
        return jsonify(ok=True)
    return problem(HTTPStatus.NOT_FOUND, "not_found", "You have no phone of this id.")


@phones.post("/me/phones/test")
@described("phones", answer=Tries)
def test_phones() -> ResponseReturnValue:
    """Send a test to each of her phones."""
    hub = services()
    if not _tests.take(who().id, time.monotonic()):
        return _too_many()
    sent = {one.id: hub.phones.check(one, is_canary=False) for one in hub.phones.registry.of(who().id)}
    return jsonify(phones={key: {"accepted": one.accepted, "error": one.error} for key, one in sent.items()})


@phones.get("/me/addresses")
@described("phones", answer=AddressList)
def list_my_addresses() -> ResponseReturnValue:
    """The other addresses of whoever asks."""
    return _addresses(who().id)


@phones.post("/me/addresses/<address>/test")
@described("phones", answer=Tried)
def test_my_address(address: str) -> ResponseReturnValue:
    """Send a test to one of her other addresses."""
    return _test_address(who().id, address)


@phones.get("/people/<person>/addresses")
@needs(Role.OFFICER)
@described("phones", answer=AddressList)
def list_addresses(person: str) -> ResponseReturnValue:
    """The other addresses of a person."""
    return _addresses(person)


@phones.post("/people/<person>/addresses")
@needs(Role.ADMIN)
@described("phones", body=NewAddress, answer=AddressWords, judged=True)
def add_address(person: str) -> ResponseReturnValue:
    """Give a person another address."""
    new: NewAddress = request.context.json  # type: ignore[attr-defined]
    return jsonify(address_json(services().phones.add_address(person, new.url)))


@phones.delete("/people/<person>/addresses/<address>")
@needs(Role.ADMIN)
@described("phones", answer=Done)
def delete_address(person: str, address: str) -> ResponseReturnValue:
    """Take an address of a person away."""
    hub = services()
    known = hub.phones.apprise.get(address)
    if known is None or known.person != person or not hub.phones.forget_address(address):
        return _no_address()
    return jsonify(ok=True)


@phones.post("/people/<person>/addresses/<address>/test")
@needs(Role.OFFICER)
@described("phones", answer=Tried)
def test_address(person: str, address: str) -> ResponseReturnValue:
    """Send a test to an address of a person."""
    return _test_address(person, address)


@receipts.post("/receipts")
@described("receipts", body=Receipt, answer=ReceiptNoted, errors=(404,), public=True)
def note_receipt() -> ResponseReturnValue:
    """A phone shows a notification: the token that came with it is the right to say so."""
    said: Receipt = request.context.json  # type: ignore[attr-defined]
    told = services().phones.told(said.receipt)
    if told is None:
        return _unknown()
    return jsonify(late_note=services().phones.shown(said.receipt, told, said.phone).late_note)


@receipts.post("/receipts/answer")
@described("receipts", body=LockScreenAnswer, answer=Done, errors=(404,), public=True)
def answer_receipt() -> ResponseReturnValue:
    """A person answers on the lock screen: the token says for which alert."""
    said: LockScreenAnswer = request.context.json  # type: ignore[attr-defined]
    told: Told | None = services().phones.told(said.receipt)
    if told is None:
        return _unknown()
    if services().phones.answered(told, said.answer):
        return jsonify(ok=True)
    return problem(HTTPStatus.BAD_REQUEST, "not_answerable", "This message cannot be answered any more.")


@receipts.errorhandler(BadInputError)
def _bad_input(error: BadInputError) -> ResponseReturnValue:
    return problem(HTTPStatus.BAD_REQUEST, "bad_parameter", str(error))


def phone_json(phone: Phone) -> dict[str, Any]:
    """``phone`` for its owner."""
    return {
        "id": phone.id,
        "user_agent": phone.user_agent,
        "created": iso(phone.created_us),
        "accepted": iso(phone.accepted_us),
        "shown": iso(phone.shown_us),
        "checked": iso(phone.canary_us),
        "check_shown": iso(phone.canary_shown_us),
        "failures": phone.failures,
        "error": phone.error,
    }


def address_json(address: Address) -> dict[str, Any]:
    """``address`` without its secrets."""
    return {
        "id": address.id,
        "kind": address.kind,
        "created": iso(address.created_us),
        "accepted": iso(address.accepted_us),
        "failures": address.failures,
        "error": address.error,
    }


def _agent() -> str:
    text = re.sub(r"[^ -~]", "", request.headers.get("User-Agent", ""))
    return text[:_MAX_AGENT]


def _addresses(person: str) -> ResponseReturnValue:
    return jsonify(addresses=[address_json(one) for one in services().phones.apprise.of(person)])


def _test_address(person: str, address: str) -> ResponseReturnValue:
    hub = services()
    known = hub.phones.apprise.get(address)
    if known is None or known.person != person:
        return _no_address()
    if not _tests.take(person, time.monotonic()):
        return _too_many()
    language = who().language or i18n.FALLBACK
    error = hub.phones.apprise.test(known, language if language in i18n.LANGUAGES else i18n.FALLBACK)
    return jsonify(accepted=not error, error=error)


def _no_address() -> ResponseReturnValue:
    return problem(HTTPStatus.NOT_FOUND, "not_found", "This person has no address of this id.")


def _unknown() -> ResponseReturnValue:
    """A token that is not ours: counted, so that nobody tries all of them."""
    if _wrong.take(request.remote_addr or "", time.monotonic()):
        words = "This receipt is not one that this hub gave out."
        return problem(HTTPStatus.FORBIDDEN, "unknown_receipt", words)
    return _too_many()


def _too_many() -> ResponseReturnValue:
    answer = make_response(
        problem(HTTPStatus.TOO_MANY_REQUESTS, "too_many", "Too many tries; wait a little.")
    )
    answer.headers["Retry-After"] = "10"
    return answer
