"""Linear-Gaussian latents in closed form.

Every latent is written as an affine function of standard normals, u = m + L eps, so each child is y = d + W eps + noise
with W = dy / d eps. Both d and W come from one evaluation of the children's means at the origin and at the unit vectors
of eps: no symbolic linear algebra, and nothing that depends on how the affine map was written.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from dgmppl.ir.densities import Elementary
from dgmppl.ir.kernel import Number, Var
from dgmppl.ir.program import Site
from dgmppl.lowering.densities import density_of
from dgmppl.lowering.expressions import lookup
from dgmppl.lowering.layout import POINTS, Lowered, combine, flat, number, op, raise_rank, reshaped
from dgmppl.lowering.scope import Scope, unsupported
from dgmppl.objectives.algebra import LogIntegral


@dataclass(frozen=True, slots=True)
class LinearGaussian:
    """y = offset + loading eps + noise, noise ~ Normal(0, diag(variance)), eps ~ Normal(0, I_n).

    Attributes:
        value: y, [.., D].
        offset: [.., D].
        loading: [.., D, n].
        variance: [.., D].
        latents: name, offset [.., size] and loading [.., size, n] of each latent, where they were asked for.
    """

    value: Lowered
    offset: Lowered
    loading: Lowered
    variance: Lowered
    latents: tuple[tuple[str, Lowered, Lowered], ...]


def log_marginal(scope: Scope, term: LogIntegral) -> Lowered:
    """log of the integral: log Normal(y; offset, loading loading^T + diag(variance))."""
    parts = linear_gaussian(scope, term)
    operands = (parts.value, parts.offset, parts.loading, parts.variance)
    axes = frozenset().union(*(part.axes for part in operands))
    span = scope.program.by_name[term.children[0]].span
    density = replace(op("low_rank_normal", *(part.value for part in operands)), span=span)
    value = Lowered(density, (), True, axes=axes)
    return scope.assign("log_p", value)


def linear_gaussian(scope: Scope, term: LogIntegral, *, latent: bool = False) -> LinearGaussian:
    """The children, and with `latent` the latents too, as affine functions of standard normals."""
    latents = [scope.program.by_name[name] for name in term.names]
    size = sum(site.typed.size for site in latents)
    observed = [flat(lookup(scope, name)) for name in term.children]
    with scope.branch():
        points = _points(scope, latents, size)
        children = [scope.program.by_name[name] for name in term.children]
        means, variances = zip(*(_normal(scope, site) for site in children), strict=True)
        mean = scope.assign("mean", joined(list(means)))
        variance = joined(list(variances))
        maps = [(site.name, *affine(scope, value, f"{site.name}_", size)) for site, value in points if latent]
        offset, loading = affine(scope, mean, "", size)
    return LinearGaussian(joined(observed), offset, loading, variance, tuple(maps))


def _points(scope: Scope, latents: list[Site], size: int) -> list[tuple[Site, Lowered]]:
    """Each latent at the origin and the unit vectors of eps, on a new left axis of `size + 1`."""
    basis = Lowered(op("simplex_points", size=size, trailing=scope.trailing), (size,), True, axes=frozenset({POINTS}))
    basis = scope.assign("eps", basis)
    scope.trailing += 1
    start, result = 0, []
    for site in latents:
        stop = start + site.typed.size
        part = basis
        if len(latents) > 1:
            items = ((start, stop, None),)
            part = basis.with_value(op("index", basis.value, items=items, rank=1), (stop - start,))
        value = scope.assign(site.name, _transformed(scope, site, reshaped(part, site.typed.shape)))
        scope.bind(site.name, value)
        result.append((site, flat(value)))
        start = stop
    return result


def _transformed(scope: Scope, site: Site, eps: Lowered) -> Lowered:
    """loc + scale * eps, or loc + L eps; loc = 0 and scale = 1 leave eps as it is."""
    density, like = density_of(scope, site)
    parameters = dict(density.parameters)
    layout = replace(like, batched=True, axes=like.axes | eps.axes)
    if density.family == "MultivariateNormal" and "scale_tril" in parameters:
        moved = layout.with_value(op("matvec", parameters["scale_tril"], eps.value))
    elif density.family == "Normal":
        unit = isinstance(parameters["scale"], Number) and parameters["scale"].value == 1
        moved = eps if unit else combine("mul", layout.with_value(parameters["scale"]), eps)
    else:
        raise unsupported(f"the linear-Gaussian marginal over the {density.family} {site.name!r}", site.span)
    zero = isinstance(parameters["loc"], Number) and parameters["loc"].value == 0
    return moved if zero else combine("add", layout.with_value(parameters["loc"]), moved)


def _normal(scope: Scope, site: Site) -> tuple[Lowered, Lowered]:
    """Mean and variance of a child, flattened; the variance broadcast to the event."""
    if not isinstance(site.density, Elementary) or site.density.family != "Normal":
        raise unsupported(f"the linear-Gaussian marginal of {site.name!r}, which is no Normal,", site.span)
    density, like = density_of(scope, site)
    parameters = dict(density.parameters)
    mean = _broadcast(like.with_value(parameters["loc"]), site)
    scale = like.with_value(parameters["scale"])
    variance = scale.with_value(op("call", scale.value, function="square"))
    if scale.literal is not None:
        variance = number(scale.literal**2)
    return flat(mean), flat(_broadcast(variance, site))


def _broadcast(value: Lowered, site: Site) -> Lowered:
    shape = site.typed.shape
    if not shape:
        return value
    if value.literal is not None:
        return Lowered(op("fill", value=value.literal, shape=shape), shape)
    return value.with_value(op("broadcast", raise_rank(value, len(shape)).value, shape=shape), shape)


def joined(parts: list[Lowered]) -> Lowered:
    """Vectors one after the other."""
    if len(parts) == 1:
        return parts[0]
    axes = frozenset().union(*(part.axes for part in parts))
    width = sum(part.size for part in parts)
    return Lowered(op("concat_broadcast", *(part.value for part in parts), axis=-1), (width,), True, axes=axes)


def affine(scope: Scope, value: Lowered, prefix: str, size: int) -> tuple[Lowered, Lowered]:
    """(f(0), [f(e_1) - f(0), ..., f(e_n) - f(0)]) from the values on the left axis."""
    if not isinstance(value.value, Var):
        value = scope.assign(f"{prefix}points", value)
    value = replace(value, axes=value.axes - {POINTS})
    offset = scope.assign(f"{prefix}offset", value.with_value(op("leading", value.value, item=0)))
    shifted = op("sub", op("leading", value.value, item=(1, None)), offset.value)
    loading = value.with_value(op("moveaxis", shifted, source=0, target=-1), (*value.shape, size))
    return offset, scope.assign(f"{prefix}loading", loading)
