"""Rules: who goes first. Rings from the list of nodes, and the variant that fits a node."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence

from tocsin_hub.rollouts.model import NodeView, Variant
from tocsin_shared.errors import BadInputError
from tocsin_shared.trust.bundles import release_of

_COUNT = re.compile(r"[0-9]{1,6}")
_SHARE = re.compile(r"([0-9]{1,3}(?:\.[0-9]+)?)%")


def plan_rings(specs: Sequence[str], nodes: Iterable[NodeView]) -> tuple[tuple[str, ...], ...]:
    """Nodes of each ring; every node is in one ring exactly.

    A spec is ``2`` (so many), ``25%`` (of all nodes, rounded up), ``zone:a+b``, ``node:x+y`` or ``rest``.
    Counts and shares take nodes of as many zones as they can, those of zones with one node last: such a node
    is offered nothing unless somebody allows it.

    Raises:
        BadInputError: a spec is none of these, names what is not there, or nodes are left over.
    """
    left = {one.node: one for one in nodes}
    total = len(left)
    zones = Counter(one.zone for one in left.values())
    rings = []
    for spec in specs:
        ring = _taken(spec, left, total, zones)
        rings.append(ring)
        for node in ring:
            del left[node]
    if left:
        raise BadInputError(
            f"{len(left)} nodes are in no ring, such as {min(left)}; end with the ring 'rest'"
        )
    return tuple(rings)


def _taken(spec: str, left: dict[str, NodeView], total: int, zones: Counter[str]) -> tuple[str, ...]:
    kind, _, names = spec.partition(":")
    share = _SHARE.fullmatch(spec)
    if spec == "rest":
        return _spread(left.values(), zones)
    if _COUNT.fullmatch(spec):
        return _spread(left.values(), zones)[: int(spec)]
    if share and float(share[1]) <= 100.0:
        return _spread(left.values(), zones)[: math.ceil(total * float(share[1]) / 100.0)]
    if kind == "zone" and names:
        return _named(spec, {one.zone for one in left.values()}, left, zones, by_zone=True)
    if kind == "node" and names:
        return _named(spec, set(left), left, zones, by_zone=False)
    raise BadInputError(f"ring {spec!r}: say 2, 25%, zone:a+b, node:x+y or rest")


def _named(
    spec: str, known: set[str], left: dict[str, NodeView], zones: Counter[str], *, by_zone: bool
) -> tuple[str, ...]:
    wanted = set(spec.partition(":")[2].split("+"))
    if wanted - known:
        raise BadInputError(f"ring {spec!r}: {min(wanted - known)!r} is not there, or in an earlier ring")
    return _spread((one for one in left.values() if (one.zone if by_zone else one.node) in wanted), zones)


def _spread(nodes: Iterable[NodeView], zones: Counter[str]) -> tuple[str, ...]:
    """By name, but the first of each zone before the second of any, and zones with one node last."""
    seen: Counter[str] = Counter()
    ranked = []
    for one in sorted(nodes, key=lambda view: view.node):
        seen[one.zone] += 1
        ranked.append((zones[one.zone] == 1, seen[one.zone], one.zone, one.node))
    return tuple(node for _, _, _, node in sorted(ranked))


def fits(variant: Variant, node: NodeView) -> bool:
    """Whether ``node`` would take ``variant``: the same questions as it asks itself."""
    return (
        release_of(variant.min_node) <= release_of(node.version)
        and (not variant.runtimes or node.runtime.startswith(variant.runtimes))
        and (not variant.hardware or _on(variant.hardware, node))
    )


def choose_variant(variants: Sequence[Variant], node: NodeView) -> Variant | None:
    """The first variant that fits, one that was measured to be the best on this board before others."""
    fitting = [one for one in variants if fits(one, node)]
    best = [one for one in fitting if _on(one.best_on, node)]
    return next(iter(best or fitting), None)


def _on(parts: Sequence[str], node: NodeView) -> bool:
    return any(part.lower() in node.hardware.lower() for part in parts)
