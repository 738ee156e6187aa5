"""Rules: what a request says becomes a Struct, or a sentence that names the field and says what it must be.

Limits stand in the types, with :class:`msgspec.Meta`. Its ``description`` ends the sentence "must be …";
``extra_json_schema={"x-not-with": […]}`` names parameters that may not be asked together with this one.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import inspect

from tocsin_shared.errors import BadInputError

S = TypeVar("S", bound=msgspec.Struct)
NOT_WITH = "x-not-with"
_SEVERAL = (list, tuple, set, frozenset)
_DIGITS = re.compile(r"-?(0|[1-9][0-9]{0,18})", re.ASCII)
_PLACE = re.compile(r" - at `\$\.?(?P<place>.*)`$")
_SHOWN = 40
_EXACT = 2**53
"""Beyond it, not every whole number has a float of its own."""


def read_query(args: Iterable[tuple[str, str]], kind: type[S]) -> S:
    """The parameters of an address, each given at most once unless its type holds several.

    Raises:
        BadInputError: one is unknown, given twice, not what its type says, or not with another one.
    """
    given: dict[str, list[str]] = {}
    for name, text in args:
        given.setdefault(name, []).append(text)
    types = {field.encode_name: _without_none(field.type) for field in msgspec.structs.fields(kind)}
    for name in given:
        if name not in types:
            known = f"known are {', '.join(types)}" if types else "there are none"
            raise BadInputError(f"{name[:_SHOWN]}: there is no such parameter here; {known}")
        if (other := next((one for one in _not_with(types[name]) if one in given), None)) is not None:
            raise BadInputError(f"{other}: cannot be asked together with {name}")
    values = {name: _parameter(name, texts, types[name]) for name, texts in given.items()}
    return read_values(values, kind)


def read_values(values: Mapping[str, object], kind: type[S]) -> S:
    """``values`` as a ``kind``.

    Raises:
        BadInputError: they are not.
    """
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        raise BadInputError(_sentence(error, "the parameters")) from error


def read_body(body: bytes, kind: type[S]) -> S:
    """The JSON text ``body`` as a ``kind``.

    Raises:
        BadInputError: it is not JSON, or not such a ``kind``.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        if "got `float`" in str(error):
            return _read_numbers(body, kind)
        raise BadInputError(_sentence(error, "the body")) from error
    except (msgspec.DecodeError, UnicodeError, RecursionError, OverflowError, ValueError) as error:
        raise BadInputError(f"the body: is not JSON: {error}") from error


def _read_numbers(body: bytes, kind: type[S]) -> S:
    """``body``, where whole numbers are written as ``10.0``, as JSON may."""
    try:
        return msgspec.convert(_whole(msgspec.json.decode(body)), kind)
    except msgspec.ValidationError as error:
        raise BadInputError(_sentence(error, "the body")) from error


def _whole(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return int(value)
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return {key: _whole(item) for key, item in value.items()} if isinstance(value, dict) else value


def _parameter(name: str, texts: Sequence[str], kind: Any) -> object:
    if get_origin(_bare(kind)) in _SEVERAL:
        return texts
    if len(texts) > 1:
        raise BadInputError(f"{name}: given more than once")
    try:
        return _value(texts[0], kind)
    except (msgspec.ValidationError, ValueError) as error:
        words = _words(kind)
        raise BadInputError(f"{name}: must be {words}" if words else _sentence(error, name)) from error


def _value(text: str, kind: Any) -> object:
    """``text`` as a ``kind``; stricter than msgspec, which takes ``1e3`` for a whole number.

    Raises:
        ValueError: it is not.
        msgspec.ValidationError: it is not.
    """
    info = inspect.type_info(_bare(kind))
    strict = not isinstance(info, inspect.IntType | inspect.FloatType | inspect.BoolType)
    if isinstance(info, inspect.IntType) and not _DIGITS.fullmatch(text):
        raise ValueError("not a whole number")
    if isinstance(info, inspect.BoolType) and text not in {"true", "false"}:
        raise ValueError("neither true nor false")
    value: object = msgspec.convert(text, kind, strict=strict)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("not a finite number")
    return value


def _bare(kind: Any) -> Any:
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def _without_none(kind: Any) -> Any:
    """``kind``, where ``None`` only means that a parameter was not given."""
    if get_origin(kind) not in {Union, UnionType}:
        return kind
    rest = tuple(one for one in get_args(kind) if one is not NoneType)
    return rest[0] if len(rest) == 1 else Union[rest]  # noqa: UP007 - made of values


def _extra(kind: Any) -> dict[str, Any]:
    info = inspect.type_info(kind)
    return (info.extra_json_schema or {}) if isinstance(info, inspect.Metadata) else {}


def _not_with(kind: Any) -> list[str]:
    return list(_extra(kind).get(NOT_WITH, ()))


def _words(kind: Any) -> str:
    """What a value of ``kind`` must be, as the end of a sentence; empty if only msgspec can say it."""
    info = inspect.type_info(kind)
    words = ""
    match info.type if isinstance(info, inspect.Metadata) else info:
        case inspect.IntType(ge=int() as low, le=int() as high):
            words = f"a whole number from {low} to {high}"
        case inspect.IntType():
            words = "a whole number"
        case inspect.BoolType():
            words = "true or false"
        case inspect.EnumType(cls=cls):
            words = f"one of {', '.join(str(one.value) for one in cls)}"
        case inspect.LiteralType(values=values):
            words = f"one of {', '.join(str(one) for one in values if one != '')}"
    return str(_extra(kind).get("description") or words)


def _sentence(error: Exception, whole: str) -> str:
    message = str(error)
    place = _PLACE.search(message)
    where = (place["place"] if place else "").replace("[", ".").replace("]", "") or whole
    said = _PLACE.sub("", message)
    return f"{where[:_SHOWN]}: {said[:1].lower()}{said[1:]}"
