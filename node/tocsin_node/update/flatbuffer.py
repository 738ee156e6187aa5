"""What a TFLite file says of itself, read without the interpreter: version and operators. Pure.

The interpreter is native code that trusts offsets; a file is looked at here first. Layout: FlatBuffers
internals (google.github.io/flatbuffers), tables Model and OperatorCode of TFLite's schema.fbs, version 3.
"""

import struct

from tocsin_shared.errors import BundleError

IDENTIFIER = b"TFL3"
VERSION = 3
CUSTOM = 32
"""BuiltinOperator.CUSTOM: code that comes from elsewhere."""
MAX_OPERATORS = 256
_VERSION_FIELD, _OPERATOR_CODES_FIELD, _SUBGRAPHS_FIELD = 0, 1, 2
_DEPRECATED_CODE_FIELD, _CUSTOM_FIELD, _CODE_FIELD = 0, 1, 3
_PLACEHOLDER = 127
"""In the old field of one byte: the operator stands in the newer one."""


def operators(content: bytes) -> tuple[int, ...]:
    """Numbers of the operators that the model ``content`` uses, as in BuiltinOperator.

    Raises:
        BundleError: not a TFLite file of version 3, an offset that leads out of it, or a custom operator.
    """
    if content[4:8] != IDENTIFIER:
        raise BundleError(f"not a TFLite model: its bytes 4 to 8 are not {IDENTIFIER.decode()}")
    try:
        return _operators(content)
    except (struct.error, IndexError) as error:
        raise BundleError("the model is damaged: an offset leads out of the file") from error


def _operators(content: bytes) -> tuple[int, ...]:
    model = _uint(content, 0)
    version_at = _field(content, model, _VERSION_FIELD)
    version = _uint(content, version_at) if version_at else 0
    if version != VERSION:
        raise BundleError(f"the model is of TFLite version {version}; {VERSION} is read")
    tables, graphs = (_vector(content, model, one) for one in (_OPERATOR_CODES_FIELD, _SUBGRAPHS_FIELD))
    if len(graphs) != 1:
        raise BundleError(f"the model has {len(graphs)} graphs; one is read")
    return tuple(_operator(content, table) for table in tables)


def _operator(content: bytes, table: int) -> int:
    old, new = (_field(content, table, one) for one in (_DEPRECATED_CODE_FIELD, _CODE_FIELD))
    code = content[old] if old else 0
    if new and code in {0, _PLACEHOLDER}:
        code = max(code if code != _PLACEHOLDER else 0, _uint(content, new))
    if code == CUSTOM or _field(content, table, _CUSTOM_FIELD):
        raise BundleError("the model uses an operator that is no part of TFLite")
    return code


def _uint(content: bytes, at: int) -> int:
    if at < 0:
        raise IndexError(at)
    number: int = struct.unpack_from("<I", content, at)[0]
    return number


def _field(content: bytes, table: int, number: int) -> int:
    """Where field ``number`` of the table at ``table`` stands, or 0."""
    vtable = table - struct.unpack_from("<i", content, table)[0]
    if vtable < 0:
        raise IndexError(vtable)
    length = struct.unpack_from("<H", content, vtable)[0]
    slot = 4 + 2 * number
    offset = struct.unpack_from("<H", content, vtable + slot)[0] if slot + 2 <= length else 0
    return table + offset if offset else 0


def _vector(content: bytes, table: int, number: int) -> tuple[int, ...]:
    """Where the tables stand that are in the vector of field ``number``."""
    at = _field(content, table, number)
    if not at:
        return ()
    start = at + _uint(content, at)
    count = _uint(content, start)
    if count > MAX_OPERATORS:
        raise IndexError(count)
    return tuple(start + 4 + 4 * n + _uint(content, start + 4 + 4 * n) for n in range(count))
