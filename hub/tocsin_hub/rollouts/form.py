"""Rules: the form of a new rollout, as it was typed, becomes a draft, or says which field is wrong. Pure."""

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo

import msgspec

from tocsin_hub.rollouts.drafts import Draft, Offered
from tocsin_hub.rollouts.gates import parse_errors
from tocsin_hub.rollouts.model import Gate
from tocsin_hub.rollouts.rehearse import Fault, FaultLine, Script, SiteLine
from tocsin_hub.times import to_us
from tocsin_shared.errors import BadInputError
from tocsin_shared.trust.bundles import release_of

KINDS = ("count", "share", "zone", "node", "rest")
"""What a ring can be made of."""
ROWS = 5
NO_FAULT, ALARM = "none", "alarm"
_NUMBER = re.compile(r"[0-9]{1,6}([.,][0-9]{1,3})?")
_NAMES = re.compile(r"[^,+\s]+")
_ALARM_SECONDS = (600.0, 1800.0)
"""From when until when the alarm of a rehearsal lasts."""


class FormError(BadInputError):
    """A field of the form cannot be used; :attr:`fault` has its words in the catalogue."""

    def __init__(self, fault: str) -> None:
        self.fault = fault
        super().__init__(fault)


@dataclass(frozen=True)
class Row:
    """One ring of the form."""

    number: int
    """From 1."""
    kind: str = ""
    """One of :data:`KINDS`; empty is no ring."""
    value: str = ""


FIRST_ROWS = (Row(1, "count", "1"), Row(2, "share", "25"), Row(3, "rest"))


@dataclass(frozen=True)
class Typed:
    """The form as it was typed."""

    bundle: str = ""
    """Name and release with a blank between them."""
    variant: str = ""
    back: str = ""
    rows: tuple[Row, ...] = FIRST_ROWS
    lone_zones: frozenset[str] = frozenset()
    success: str = "100"
    """Per cent."""
    soak: str = "10"
    """Minutes."""
    errors: str = "1"
    disagreement: str = "5"
    """Per cent."""
    drift: str = "50"
    """Per cent."""
    longest: str = "24"
    """Hours."""
    begin: str = ""
    """As a browser sends a date and time: ``2026-11-25T22:00``."""
    shadow: str = ""
    """Minutes."""
    trial: str = ""
    """Minutes."""
    two_persons: bool = True
    fault: str = NO_FAULT


@dataclass(frozen=True)
class Circumstances:
    """What a form is read with."""

    shelf: Sequence[Offered] = ()
    """What is signed."""
    zone: tzinfo = field(default=UTC)
    """Time zone of the site."""
    now_us: int = 0


def typed_in(sent: Mapping[str, str], zones: Collection[str]) -> Typed:
    """The form as it came; ``zones`` are those that were ticked."""
    rows = tuple(
        Row(number, sent.get(f"kind-{number}", ""), sent.get(f"value-{number}", "").strip()[:2000])
        for number in range(1, ROWS + 1)
    )
    names = (
        "bundle",
        "variant",
        "back",
        "success",
        "soak",
        "errors",
        "disagreement",
        "drift",
        "longest",
        "begin",
        "shadow",
        "trial",
        "fault",
    )
    texts = {name: sent.get(name, "").strip()[:200] for name in names}
    return Typed(rows=rows, lone_zones=frozenset(zones), two_persons="two_persons" in sent, **texts)


def read(typed: Typed, around: Circumstances) -> Draft:
    """The draft that the form describes.

    Raises:
        FormError: a field cannot be used.
    """
    chosen = next((one for one in around.shelf if f"{one.name} {one.release}" == typed.bundle), None)
    if chosen is None:
        raise FormError("release")
    if typed.variant and typed.variant not in {one.variant for one in chosen.variants}:
        raise FormError("variant")
    return Draft(
        name=chosen.name,
        release=chosen.release,
        variants=(typed.variant,) if typed.variant else (),
        rings=_rings(typed.rows),
        gate=_gate(typed),
        back=_back(typed.back, chosen, around.shelf),
        starts_us=_begin(typed.begin, around),
        two_persons=typed.two_persons,
        lone_zones=typed.lone_zones,
        shadow_seconds=60.0 * _figure(typed.shadow) if typed.shadow else None,
        soak_seconds=60.0 * _figure(typed.trial) if typed.trial else None,
    )


def _rings(rows: Sequence[Row]) -> tuple[str, ...]:
    specs = tuple(_spec(row) for row in rows if row.kind)
    if not specs:
        raise FormError("rings")
    return specs


def _spec(row: Row) -> str:
    if row.kind == "rest":
        return "rest"
    if (
        row.kind == "count"
        and row.value.isascii()
        and row.value.isdecimal()
        and 0 < int(row.value[:7]) < 10**6
    ):
        return str(int(row.value))
    if row.kind == "share":
        share = _figure(row.value.removesuffix("%").strip(), "rings")
        if 0.0 < share <= 100.0:
            return f"{share:g}%"
    names = _NAMES.findall(row.value)
    if row.kind in {"zone", "node"} and names:
        return f"{row.kind}:{'+'.join(names)}"
    raise FormError("rings")


def _gate(typed: Typed) -> Gate:
    if parse_errors(typed.errors) is None:
        raise FormError("errors")
    return Gate(
        success_share=_share(typed.success),
        soak_seconds=60.0 * _figure(typed.soak),
        errors=typed.errors,
        max_disagreement=_share(typed.disagreement),
        max_alarm_drift=_figure(typed.drift) / 100.0,
        ring_seconds=3600.0 * _figure(typed.longest),
    )


def _figure(text: str, fault: str = "figures") -> float:
    if not (text.isascii() and _NUMBER.fullmatch(text)):
        raise FormError(fault)
    return float(text.replace(",", "."))


def _share(text: str) -> float:
    share = _figure(text.removesuffix("%").strip())
    if share > 100.0:
        raise FormError("figures")
    return share / 100.0


def _back(release: str, chosen: Offered, shelf: Sequence[Offered]) -> str | None:
    if not release:
        return None
    known = {one.release for one in shelf if one.name == chosen.name} - {chosen.release}
    if release not in known or release_of(release) < release_of(chosen.floor):
        raise FormError("back")
    return release


def _begin(text: str, around: Circumstances) -> int | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        begin_us = to_us(moment.replace(tzinfo=around.zone) if moment.tzinfo is None else moment)
    except (ValueError, OverflowError) as error:
        raise FormError("begin") from error
    if begin_us <= around.now_us:
        raise FormError("begin")
    return begin_us


def script(fault: str) -> Script:
    """What is to go wrong in the rehearsal; a name that is none is nothing."""
    if fault == ALARM:
        return Script(site=(SiteLine("alarm", *_ALARM_SECONDS),))
    if fault in set(Fault):
        return Script(faults=(FaultLine(Fault(fault)),))
    return Script()


def mark(draft: Draft) -> str:
    """A short sign of all that ``draft`` says, to know whether it was changed since."""
    return hashlib.sha256(msgspec.json.encode(draft, order="deterministic")).hexdigest()[:16]
