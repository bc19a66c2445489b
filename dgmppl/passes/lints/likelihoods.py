"""Likelihoods that have no maximum, or that cannot reach the data."""

from __future__ import annotations

import math
from collections.abc import Iterator

from dgmppl.ir.densities import Learned, MixtureOf
from dgmppl.ir.expressions import Apply, Call, Expression, Index, Name, free_names
from dgmppl.ir.program import Program, Role, Site
from dgmppl.passes.lints.facts import nodes, parameters, proof, trained, warning
from dgmppl.source import Diagnostic

# Fewer distinct values than this look like classes or counts.
_FEW_VALUES = 20
_SCALES = frozenset({"scale", "scale_tril", "covariance_matrix"})
_COLLAPSE_FIX = "give it a prior such as `HalfNormal(1)`, a floor, `0.01 + ...`, or share one scale"


def collapsing_scales(program: Program) -> Iterator[Diagnostic]:
    """A point estimate of a scale per component, or per datum beside a latent: the likelihood has no maximum.

    A component (or a decoder) that meets one data point exactly gains without bound as its scale goes to zero. Noise of
    `dequantize` and a provable floor exclude it.
    """
    intervals = proof(program)
    for site in program.observed:
        if site.typed.support.discrete or program.columns[site.name].discrete_bins is not None:
            continue
        for name, scale in parameters(site.density):
            reason = _collapses(program, site, scale) if name in _SCALES else None
            if reason is not None and not intervals.bounds(scale).low > 0:
                yield warning(
                    "scale-can-collapse",
                    f"a scale of {site.name!r} is {reason}: the likelihood is unbounded as it shrinks to zero",
                    scale.span or site.span,
                    _COLLAPSE_FIX,
                )


def _collapses(program: Program, site: Site, scale: Expression) -> str | None:
    read = list(nodes(program, scale))
    if any(isinstance(node, Apply) for node in read):
        latent = any(program.by_name[name].role is Role.LATENT for name in site.parents)
        return "a network's own output, beside a latent" if latent else None
    learned = any(
        isinstance(node, Name) and node.id in program.by_name and isinstance(program.by_name[node.id].density, Learned)
        for node in read
    )
    return "learned for each component" if learned and _per_component(program, site, scale, read) else None


def _per_component(program: Program, site: Site, scale: Expression, read: list[Expression]) -> bool:
    """Whether components have scales of their own: an axis of the mixture's, or an index by a discrete latent."""
    if isinstance(site.density, MixtureOf):
        shape = () if scale.type is None else scale.type.shape
        axis = shape[:1] if site.density.joint else shape[-1:]
        return axis == (site.density.count,) and site.density.count > 1
    latent = {one.name for one in program.latents if one.typed.support.discrete}
    return any(latent & free_names(item) for node in read if isinstance(node, Index) for item in node.items)


def discrete_as_continuous(program: Program) -> Iterator[Diagnostic]:
    """A continuous density on few distinct values: it can put all of its mass next to them."""
    for site in program.observed:
        column = program.columns[site.name]
        few = column.distinct is not None and column.distinct <= _FEW_VALUES and (program.rows or 0) > 2 * _FEW_VALUES
        if few and not site.typed.support.discrete and column.discrete_bins is None:
            yield warning(
                "discrete-as-continuous",
                f"{site.name!r} has {column.distinct} distinct values and a continuous density, unbounded there",
                site.span,
                "add `dequantize(n)` to its transforms, or use a discrete distribution",
            )


def bounded_logits(program: Program) -> Iterator[Diagnostic]:
    """Logits that were squashed before they became logits: probabilities near 0 and 1 are out of reach."""
    intervals = proof(program)
    for site in (*program.sites, *program.guide):
        for name, value in parameters(site.density):
            found = intervals.bounds(value)
            if name == "logits" and math.isfinite(found.low) and math.isfinite(found.high) and trained(program, value):
                reach = f"{_sigmoid(found.low):.2g} and {_sigmoid(found.high):.2g}"
                yield warning(
                    "bounded-logits",
                    f"the logits of {site.name!r} lie between {found.low:g} and {found.high:g}: "
                    f"a probability only between {reach}",
                    value.span or site.span,
                    "give the network itself as `logits=`, or write `probs=`",
                )


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value > -500 else 0.0


def exp_of_positive(program: Program) -> Iterator[Diagnostic]:
    """exp of what is positive already, such as a softplus: the parameter never falls below one."""
    intervals = proof(program)
    for site in (*program.sites, *program.guide):
        for name, value in parameters(site.density):
            for node in nodes(program, value):
                if not isinstance(node, Call) or node.function != "exp":
                    continue
                if intervals.bounds(node.arguments[0]).low >= 0 and trained(program, node):
                    yield warning(
                        "exp-of-positive",
                        f"{name!r} of {site.name!r} takes exp of a value that is positive already: it is at least 1",
                        node.span or site.span,
                        "leave out the inner function, or the outer one",
                    )
