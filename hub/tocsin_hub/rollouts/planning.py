"""Rules: what somebody wants becomes a rollout: which bundle, which nodes, in which rings. Pure."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from tocsin_hub.rollouts.drafts import Draft, Offered
from tocsin_hub.rollouts.gates import readable
from tocsin_hub.rollouts.model import Limits, NodeView, Ring, Rollout, Target, Variant
from tocsin_hub.rollouts.rings import plan_rings
from tocsin_shared.errors import BadInputError
from tocsin_shared.trust.bundles import release_of

PREFERRED = ("full-int8", "int8", "dynamic", "float16", "float32")
"""Variants in the order in which they are offered where nobody says another one: the lightest first."""
_MOST_SECONDS = 7 * 86_400.0
"""As long as a directive may tell a node to soak or to shadow."""


@dataclass(frozen=True)
class Origin:
    """Who made a rollout, when, and under which rule."""

    id: str
    """ULID of the rollout."""
    person: str
    """Id of who made it."""
    at_us: int
    two_persons: bool
    """Whether the settings ask for another person's approval, whatever the draft says."""


def planned(draft: Draft, shelf: Sequence[Offered], views: Mapping[str, NodeView], origin: Origin) -> Rollout:
    """The rollout that ``draft`` asks for, as a draft that nobody has submitted.

    Raises:
        BadInputError: it names what is not there, or what a node would refuse.
    """
    _check_figures(draft)
    chosen = _release(draft.name, draft.release, shelf)
    wanted = _wanted(draft, views)
    rings = [
        (spec, nodes)
        for spec, nodes in zip(draft.rings, plan_rings(draft.rings, wanted), strict=True)
        if nodes
    ]
    return Rollout(
        id=origin.id,
        variants=_variants(draft.variants, chosen),
        rings=tuple(Ring(draft.gate, name=spec) for spec, _ in rings),
        targets=tuple(
            Target(node, views[node].zone, number)
            for number, (_, nodes) in enumerate(rings)
            for node in nodes
        ),
        created_by=origin.person,
        created_us=origin.at_us,
        limits=Limits(max_parallel=draft.max_parallel, offline_grace=draft.offline_grace),
        two_persons=draft.two_persons or origin.two_persons,
        starts_us=draft.starts_us,
        back=_back(draft, chosen, shelf),
        lone_zones=draft.lone_zones,
        soak_seconds=draft.soak_seconds,
        shadow_seconds=draft.shadow_seconds,
    )


def grouped(variants: Iterable[tuple[Variant, str]]) -> tuple[Offered, ...]:
    """Releases of all ``variants``, each with its floor, the newest release of a name first."""
    releases: dict[tuple[str, str], list[tuple[Variant, str]]] = {}
    for one in variants:
        releases.setdefault((one[0].name, one[0].release), []).append(one)
    made = [
        Offered(
            name,
            release,
            max((floor for _, floor in found), key=release_of),
            tuple(sorted((variant for variant, _ in found), key=_preference)),
        )
        for (name, release), found in releases.items()
    ]
    newest = sorted(made, key=lambda one: release_of(one.release), reverse=True)
    return tuple(sorted(newest, key=lambda one: one.name))


def _preference(variant: Variant) -> tuple[int, str]:
    known = variant.variant in PREFERRED
    return PREFERRED.index(variant.variant) if known else len(PREFERRED), variant.variant


def _release(name: str, release: str, shelf: Sequence[Offered]) -> Offered:
    for one in shelf:
        if (one.name, one.release) == (name, release):
            return one
    known = ", ".join(f"{one.name} {one.release}" for one in shelf[:5]) or "none"
    raise BadInputError(f"no bundle {name} {release} is signed; there is: {known}")


def _variants(names: Sequence[str], chosen: Offered) -> tuple[Variant, ...]:
    known = {one.variant: one for one in chosen.variants}
    strange = [name for name in names if name not in known]
    if strange:
        raise BadInputError(
            f"{chosen.name} {chosen.release} has no variant {strange[0]}; it has: {', '.join(known)}"
        )
    return tuple(known[name] for name in dict.fromkeys(names)) or chosen.variants


def _back(draft: Draft, chosen: Offered, shelf: Sequence[Offered]) -> tuple[Variant, ...]:
    if not draft.back:
        return ()
    before = _release(draft.name, draft.back, shelf)
    if release_of(before.release) < release_of(chosen.floor):
        raise BadInputError(
            f"back: nodes that have proven {chosen.release} take nothing below {chosen.floor}; publish the "
            f"content of {before.release} again under a new release"
        )
    if before.release == chosen.release:
        raise BadInputError("back: the release to go back to is the one that is rolled out")
    return before.variants


def _wanted(draft: Draft, views: Mapping[str, NodeView]) -> list[NodeView]:
    zones = {one.zone for one in views.values()}
    _check_known("lone_zones", draft.lone_zones, zones)
    _check_known("nodes", draft.nodes, views)
    wanted = [one for one in views.values() if not draft.nodes or one.node in draft.nodes]
    if not wanted:
        raise BadInputError("nodes: there are none that this rollout is for")
    return wanted


def _check_known(field: str, names: Iterable[str], known: Collection[str]) -> None:
    strange = sorted(name for name in names if name not in known)
    if strange:
        raise BadInputError(f"{field}: {strange[0]!r} is not there")


def _check_figures(draft: Draft) -> None:
    if not readable(draft.gate):
        raise BadInputError(
            "gate: shares are 0 to 1, times are not negative, errors are 3, 20% or 3 or 20%; not "
            f"{draft.gate.errors!r}"
        )
    for name in ("soak_seconds", "shadow_seconds"):
        seconds = getattr(draft, name)
        if seconds is not None and not 0.0 <= seconds <= _MOST_SECONDS:
            raise BadInputError(f"{name}: must be 0 to {_MOST_SECONDS:.0f}")
    if not (draft.max_parallel >= 1 and math.isfinite(draft.offline_grace) and draft.offline_grace >= 0.0):
        raise BadInputError("max_parallel: must be at least 1; offline_grace: must not be negative")
