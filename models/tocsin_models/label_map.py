"""What the labels of a data set mean to a bundle: a TOML file that users extend for data of their own.

::

    ignore = ["RIR"]                 # no sounds; left out without a word

    [labels]                         # labels of a bundle, any of which is right; none: nothing is to be told
    siren = ["emergency_siren", "evacuation_siren"]
    rain = []

    [may_hold]                       # what may also be heard in it: telling that is neither right nor wrong
    children_playing = ["scream", "speech"]

    [yamnet]                         # numbers of the AudioSet classes that YAMNet, as a peer, is to name
    siren = [390]
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import msgspec

from tocsin_models.teacher import CLASSES
from tocsin_shared.errors import BadInputError

SHIPPED = files("tocsin_models") / "label_maps" / "recordings.toml"
"""Labels of ESC-50, UrbanSound8K and a few other collections."""


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    ignore: tuple[str, ...] = ()
    labels: Mapping[str, tuple[str, ...]] = {}
    may_hold: Mapping[str, tuple[str, ...]] = {}
    yamnet: Mapping[str, tuple[int, ...]] = {}


@dataclass(frozen=True)
class LabelMap:
    """Meaning of every label of a data set."""

    right: Mapping[str, tuple[str, ...]]
    """Labels of a bundle, any of which is right; empty where nothing is to be told."""
    may_hold: Mapping[str, tuple[str, ...]]
    yamnet: Mapping[str, tuple[int, ...]]
    ignored: frozenset[str]

    @classmethod
    def read(cls, own: Path | None = None) -> "LabelMap":
        """The shipped map, with what the file ``own`` says instead of it or beside it.

        Raises:
            BadInputError: the file cannot be read, is no TOML, or says something that a map does not say.
        """
        shipped = _parsed(SHIPPED.read_text(encoding="utf-8"), "the shipped map")
        if own is None:
            return cls(shipped.labels, shipped.may_hold, shipped.yamnet, frozenset(shipped.ignore))
        try:
            text = own.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise BadInputError(f"{own}: cannot be read: {error}") from error
        added = _parsed(text, str(own))
        ignored = (frozenset(shipped.ignore) - set(added.labels)) | frozenset(added.ignore)
        return cls(
            {**shipped.labels, **added.labels},
            {**shipped.may_hold, **added.may_hold},
            {**shipped.yamnet, **added.yamnet},
            ignored,
        )

    def knows(self, label: str) -> bool:
        """Whether ``label`` has a meaning and is not to be left out."""
        return label in self.right and label not in self.ignored


def _parsed(text: str, where: str) -> _File:
    try:
        found = msgspec.convert(tomllib.loads(text), _File)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise BadInputError(f"{where}: {error}; see `tocsin models evaluate --help`") from error
    wrong = [n for numbers in found.yamnet.values() for n in numbers if not 0 <= n < CLASSES]
    if wrong:
        raise BadInputError(f"{where}: yamnet: classes are numbered 0 to {CLASSES - 1}, not {wrong[0]}")
    return found
