"""The support of a density: where its values lie."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from dgmppl.ir.bijectors import BIJECTORS
from dgmppl.ir.densities import (
    Density,
    Deterministic,
    Elementary,
    Factorized,
    FlatPrior,
    Implicit,
    Learned,
    MarkovChain,
    MixtureOf,
    Point,
    Pushforward,
    Restricted,
    TrainedDensity,
    Unnormalized,
)
from dgmppl.ir.distributions import DISTRIBUTIONS
from dgmppl.ir.expressions import Expression
from dgmppl.ir.program import Program, Site
from dgmppl.ir.types import POSITIVE, REAL, Shape, Support, TensorType, integer
from dgmppl.passes.bounds import bounds_of
from dgmppl.passes.learned import as_number
from dgmppl.passes.solve import Solution
from dgmppl.passes.supports import column_support

_LEARNED: dict[str, Support] = {
    "positive": POSITIVE, "ordered": Support("ordered"), "orthogonal": Support("orthogonal"),
    "cholesky": Support("cholesky"),
}  # fmt: skip


def density_support(
    density: Density, site: Site, solution: Solution, types: Mapping[str, TensorType], computed: Support
) -> Support:
    """The support of a site's density.

    Args:
        density: of the site, or a part of it.
        site: the site itself, for its shape and, in a joint density, its name.
        solution: the solved shapes.
        types: the types of earlier sites.
        computed: the support of a computed value.
    """

    def inner(part: Density) -> Support:
        return density_support(part, site, solution, types, computed)

    match density:
        case Elementary():
            return _elementary(density, solution.shapes.get(site.name, ()), solution.classes_of(site.name, density))
        case Restricted(base=base, kind=kind, low=low, high=high):
            return _restricted(inner(base), kind, low, high)
        case MixtureOf(components=components):
            return next((inner(part) for part in components if not isinstance(part, Point)), REAL)
        case Factorized(conditional=part) | MarkovChain(transition=part):
            return inner(part)
        case Pushforward():
            return _image(density, solution.program, types)
        case Unnormalized(supports=supports, base=base):
            declared = dict(supports).get(site.name)
            return declared or (inner(base) if base is not None else _data_support(site, solution.program))
        case Learned(kind=kind, shape=shape):
            return Support("simplex", size=shape[-1]) if kind == "simplex" and shape else _LEARNED.get(kind, REAL)
        case FlatPrior(support=support):
            return support
        case Deterministic() | Implicit():
            return computed
        case TrainedDensity():
            return _data_support(site, solution.program)
    return REAL


def _data_support(site: Site, program: Program) -> Support:
    """Data that nothing constrains otherwise lie where their column says."""
    column = program.columns.get(site.name)
    return REAL if column is None else column_support(column)


def _elementary(density: Elementary, shape: Shape, classes: int | None) -> Support:
    family = DISTRIBUTIONS[density.family]
    match density.family:
        case "Uniform":
            return Support(
                "interval", low=as_number(density.parameter("low")), high=as_number(density.parameter("high"))
            )
        case "Categorical":
            return Support("integer", size=classes)
        case "Dirichlet":
            return Support("simplex", size=shape[-1] if shape else None)
        case "DiscretizedLogistic":
            bins = as_number(density.parameter("bins"))
            return Support("integer") if bins is None else integer(int(bins))
    return family.support_of({})


def _restricted(base: Support, kind: str, low: Expression | None, high: Expression | None) -> Support:
    if kind == "ordered":
        return Support("positive_ordered" if base.within(POSITIVE) else "ordered")
    if base.discrete:
        return base
    edges = bounds_of(base)
    bounds = _end(low, edges.low, max), _end(high, edges.high, min)
    if kind == "truncated" and bounds == (0.0, None) and high is None:
        return POSITIVE
    return Support("interval", low=bounds[0], high=bounds[1])


def _end(bound: Expression | None, edge: float, inner: Callable[[float, float], float]) -> float | None:
    """An end of a support, given the end of what is cut off there; None where it is open or no number."""
    found = edge if bound is None else as_number(bound)
    end = None if found is None else inner(found, edge)
    return None if end is None or math.isinf(end) else float(end)


def _image(density: Pushforward, program: Program, types: Mapping[str, TensorType]) -> Support:
    """Where a bijector maps its base: the codomain of its last step that changes the set."""
    steps = program.bijectors[density.bijector].steps
    base = types.get(density.base)
    support = REAL if base is None else base.support
    for step in reversed(steps) if density.inverse else steps:
        kind = BIJECTORS[step.kind]
        if not kind.rearranges:
            support = kind.domain if density.inverse is not step.inverted else kind.codomain
    return support
