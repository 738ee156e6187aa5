"""Settings: a TOML file becomes a tree of frozen dataclasses, or one clear error.

A part declares its settings as frozen dataclasses whose fields are made by :func:`setting`, one
dataclass for each TOML table. :func:`load` reads a file into them and names file, line, key and the
nearest right key for whatever is wrong; :func:`example` prints a commented file that loads as it is.

Units stand in the names of keys (``hop_seconds``), so a key with the wrong unit is an unknown key whose
nearest right one is shown with its unit.
"""

import dataclasses
import difflib
import json
import math
import re
import tomllib
import types
from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from tocsin_shared.errors import SettingsError

T = TypeVar("T")
_UNITS = ("seconds", "ms", "hz", "bytes", "dbfs", "days")


@dataclass(frozen=True)
class Limits:
    """What a value must keep to, and the sentence that explains it."""

    help: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    pattern: str = ""
    shown: str | None = None
    """Value in the example file of a key that has no default or whose default is ``None``."""


def setting(
    default: Any,
    text: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
    pattern: str = "",
    shown: str | None = None,
) -> Any:
    """A field of a settings dataclass; ``...`` as ``default`` makes the key required.

    ``text`` says in one sentence what the value does; ``minimum`` and ``maximum`` are in the unit of the key.
    """
    limits = Limits(text, minimum, maximum, choices, pattern, shown)
    return field(default=MISSING if default is ... else default, metadata={"limits": limits})


def table(kind: type[T], text: str) -> T:
    """A field that is a TOML table of its own, with its defaults where the file does not have it."""
    made: T = field(default_factory=kind, metadata={"limits": Limits(text)})
    return made


def load(path: Path, kind: type[T]) -> T:
    """The settings of ``kind`` in the TOML file ``path``; relative paths in it start at its folder.

    Raises:
        SettingsError: no such file, not TOML, or a key or value that is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
        document = tomllib.loads(text)
    except OSError as error:
        raise SettingsError(f"{path}: the settings cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: the settings are not UTF-8 text") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: not valid TOML: {error}") from error
    return _anchored(_Reader(str(path), text, kind).table(document, kind, ()), path.resolve().parent)


def _anchored(part: T, folder: Path) -> T:
    changes: dict[str, Any] = {}
    for spec in dataclasses.fields(part):  # type: ignore[arg-type]
        value = getattr(part, spec.name)
        if isinstance(value, Path):
            changes[spec.name] = folder / value
        elif dataclasses.is_dataclass(value):
            changes[spec.name] = _anchored(value, folder)
    made: T = dataclasses.replace(part, **changes)  # type: ignore[type-var]
    return made


class _Reader:
    """Builds dataclasses from one document and points at the line of whatever is wrong."""

    def __init__(self, source: str, text: str, root: type) -> None:
        self._source = source
        self._everywhere = tuple(_key_paths(root))
        self._lines = text.splitlines()

    def table(self, values: dict[str, Any], kind: type[T], at: tuple[str, ...]) -> T:
        hints = get_type_hints(kind)
        fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
        for key in values:
            if key not in fields:
                raise self._error((*at, key), _unknown_key(key, tuple(fields), self._everywhere))
        read = {}
        for name, spec in fields.items():
            if name in values:
                read[name] = self._value(values[name], hints[name], spec.metadata["limits"], (*at, name))
            elif spec.default is MISSING and spec.default_factory is MISSING:
                raise self._error(at, f"the key {name!r} is missing: {spec.metadata['limits'].help}")
        return self._built(kind, read, at)

    def _built(self, kind: type[T], read: dict[str, Any], at: tuple[str, ...]) -> T:
        try:
            return kind(**read)
        except ValueError as error:  # raised by a __post_init__ that compares keys with one another
            raise self._error(at, str(error)) from error

    def _value(self, value: Any, hint: Any, limits: Limits, at: tuple[str, ...]) -> Any:
        hint = _without_none(hint)
        if dataclasses.is_dataclass(hint):
            if not isinstance(value, dict):
                raise self._error(at, "must be a table")
            return self.table(value, hint, at)  # type: ignore[arg-type]
        if get_origin(hint) is tuple:
            if not isinstance(value, list):
                raise self._error(at, f"must be a list in brackets, not {value!r}")
            return tuple(self._value(item, get_args(hint)[0], limits, at) for item in value)
        return self._scalar(value, hint, limits, at)

    def _scalar(self, value: Any, hint: Any, limits: Limits, at: tuple[str, ...]) -> Any:
        if hint is float and type(value) is int:
            value = float(value)
        wanted = str if hint is Path else hint
        if type(value) is not wanted:
            raise self._error(at, f"must be {_kind_name(hint, at[-1])}, not {value!r}")
        if isinstance(value, int | float) and not isinstance(value, bool):
            self._check_range(value, limits, at)
        if limits.choices and value not in limits.choices:
            raise self._error(at, f"must be one of {', '.join(limits.choices)}, not {value!r}")
        if limits.pattern and not re.fullmatch(limits.pattern, value):
            raise self._error(at, f"{value!r} is not allowed here: {limits.help}")
        return Path(value) if hint is Path else value

    def _check_range(self, value: float, limits: Limits, at: tuple[str, ...]) -> None:
        low, high = limits.minimum, limits.maximum
        outside = (low is not None and value < low) or (high is not None and value > high)
        if outside or not math.isfinite(value):
            bounds = f"{'…' if low is None else _number(low)} to {'…' if high is None else _number(high)}"
            raise self._error(at, f"must be {bounds}, not {_number(value)}")

    def _error(self, at: tuple[str, ...], text: str) -> SettingsError:
        line = self._line_of(at)
        place = f"{self._source}:{line}" if line else self._source
        return SettingsError(f"{place}: {'.'.join(at)}: {text}" if at else f"{place}: {text}")

    def _line_of(self, at: tuple[str, ...]) -> int | None:
        """Line, from 1, on which the key path stands; that of its nearest table if it does not."""
        inside: tuple[str, ...] = ()
        best = None
        for number, line in enumerate(self._lines, start=1):
            if header := re.match(r"\s*\[+\s*([^\]]+?)\s*\]+", line):
                inside = tuple(part.strip().strip("\"'") for part in header[1].split("."))
                best = number if inside == at[: len(inside)] else best
            elif (entry := re.match(r"\s*([\w.\"'-]+)\s*=", line)) and (
                inside + tuple(part.strip("\"'") for part in entry[1].split(".")) == at
            ):
                return number
        return best


def _unknown_key(key: str, known: tuple[str, ...], everywhere: tuple[str, ...]) -> str:
    """What to say of ``key``, which is not among the ``known`` of its table, or not even ``everywhere``."""
    for paths, likeness in ((known, 0.5), (everywhere, 0.8)):
        if (near := _nearest(key, paths, likeness)) is not None:
            path, unit = near
            return f"there is no such key; the nearest is {path!r}{unit and f' (its unit is {unit})'}"
    return f"there is no such key; known are {', '.join(known)}"


def _nearest(key: str, paths: tuple[str, ...], likeness: float) -> tuple[str, str] | None:
    """The path whose last name is most like ``key``, and its unit where only that differs."""
    by_name = {path.rsplit(".", 1)[-1]: path for path in paths}
    stem, _, unit = key.rpartition("_")
    stem = stem if unit in _UNITS else key
    for name, path in by_name.items():
        if name != key and name.rpartition("_")[0] == stem and name.rpartition("_")[2] in _UNITS:
            return path, name.rpartition("_")[2]
    near = difflib.get_close_matches(key, by_name, n=1, cutoff=likeness)
    return (by_name[near[0]], "") if near else None


def _key_paths(kind: type, at: str = "") -> list[str]:
    """Every key of ``kind`` and its tables, dotted."""
    hints = get_type_hints(kind)
    paths: list[str] = []
    for spec in dataclasses.fields(kind):
        inner = _without_none(hints[spec.name])
        if isinstance(inner, type) and dataclasses.is_dataclass(inner):
            paths += _key_paths(inner, f"{at}{spec.name}.")
        else:
            paths.append(at + spec.name)
    return paths


def _number(value: float) -> str:
    return str(int(value)) if math.isfinite(value) and value == int(value) else f"{value:g}"


def _without_none(hint: Any) -> Any:
    if get_origin(hint) in {Union, types.UnionType}:
        return next(part for part in get_args(hint) if part is not type(None))
    return hint


def _kind_name(hint: Any, key: str) -> str:
    unit = key.rsplit("_", 1)[-1]
    of_unit = f" of {unit}" if unit in _UNITS else ""
    names = {float: f"a number{of_unit}", int: f"a whole number{of_unit}", bool: "true or false"}
    return names.get(hint, "text in quotes")


def example(kind: type, title: str) -> str:
    """A commented TOML file of ``kind`` with every key at its default; keys without one are commented out."""
    lines = [f"# {title}", ""]
    _example_table(kind, (), lines)
    return "\n".join(lines).rstrip() + "\n"


def _example_table(kind: type, at: tuple[str, ...], lines: list[str]) -> None:
    hints = get_type_hints(kind)
    fields = dataclasses.fields(kind)
    tables = [f for f in fields if dataclasses.is_dataclass(_without_none(hints[f.name]))]
    for spec in fields:
        if spec not in tables:
            lines += _example_key(spec, hints[spec.name])
    for spec in tables:
        path = (*at, spec.name)
        lines += ["", f"# {spec.metadata['limits'].help}", f"[{'.'.join(path)}]"]
        _example_table(_without_none(hints[spec.name]), path, lines)


def _example_key(spec: "dataclasses.Field[Any]", hint: Any) -> list[str]:
    limits: Limits = spec.metadata["limits"]
    remark = f"# {limits.help}"
    if limits.choices:
        remark += f" One of: {', '.join(limits.choices)}."
    if limits.minimum is not None and limits.maximum is not None:
        remark += f" {_number(limits.minimum)} to {_number(limits.maximum)}."
    if spec.default is MISSING:
        return [remark, f"{spec.name} = {limits.shown}"]
    if spec.default is None:
        return [remark, f"# {spec.name} = {limits.shown}"]
    return [remark, f"{spec.name} = {_toml_value(spec.default)}"]


def _toml_value(value: Any) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml_value(item) for item in value) + "]"
    if isinstance(value, Path):
        return json.dumps(str(value), ensure_ascii=False)
    return json.dumps(value, ensure_ascii=False)
