"""Points: all that an energy's chain or score moves together, as one value of real numbers that nothing bounds.

A point holds the density's sites but the hidden units that are summed out: one site as it is, several joined; positive
and unit sites by their logarithm and logit, with the logarithm of the way back's slope in the density.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace

from dgmppl.ir.kernel import Draw, Var
from dgmppl.ir.program import Program, Site
from dgmppl.ir.types import Dtype
from dgmppl.lowering.calls import as_real
from dgmppl.lowering.densities.forms import Variable, draw_from
from dgmppl.lowering.densities.unnormalized import (
    base_of,
    called,
    define,
    density_of_energy,
    hidden_units,
    marginal,
    state_noise,
    states_of,
    uniform_states,
)
from dgmppl.lowering.expressions import lookup
from dgmppl.lowering.layout import Lowered, combine, flat, negative, op, reduce_event, reshaped
from dgmppl.lowering.scope import Scope, unsupported


def members(program: Program, site: Site) -> tuple[Site, ...]:
    """The sites that chains and scores of a density move together: all of its names but hidden units."""
    names, hidden = density_of_energy(site).names, hidden_units(program, site)
    kept = tuple(program.by_name[name] for name in names if name not in hidden)
    for one in kept:
        support = one.typed.support
        if not support.discrete and support.kind not in {"real", *_FREED}:
            raise unsupported(f"a chain or a score of {one.name!r} on the support {support}", one.span)
    kinds = {(one.typed.support.kind, one.typed.support.states) for one in kept}
    if len(kinds) > 1:
        raise unsupported(f"a chain of {', '.join(one.name for one in kept)}, whose supports differ,", site.span)
    return kept


def point_shape(program: Program, site: Site) -> tuple[int, ...]:
    """The shape of a point: the site's own, of several sites one axis with all of their elements."""
    sites = members(program, site)
    return site.typed.shape if len(sites) == 1 else (sum(math.prod(one.typed.shape) for one in sites),)


def point_of(scope: Scope, site: Site) -> Lowered:
    """The present point, in real numbers."""
    sites = members(scope.program, site)
    return join([freed(one, as_real(lookup(scope, one.name))) for one in sites])


def join(parts: list[Lowered]) -> Lowered:
    """Several sites' values as one point."""
    if len(parts) == 1:
        return parts[0]
    flattened = [flat(part) for part in parts]
    value = op("concat_broadcast", *(part.value for part in flattened), axis=-1)
    axes = frozenset[str]().union(*(part.axes for part in parts))
    batched = any(part.batched for part in parts)
    return Lowered(value, (sum(part.size for part in flattened),), batched, Dtype.REAL, axes)


def split(program: Program, site: Site, point: Lowered) -> dict[str, Lowered]:
    """The value of each site in a point."""
    sites = members(program, site)
    if len(sites) == 1:
        return {sites[0].name: _bounded(sites[0], point)}
    ends = list(itertools.accumulate((math.prod(one.typed.shape) for one in sites), initial=0))
    return {
        one.name: _bounded(one, reshaped(_part(point, first, last), one.typed.shape))
        for one, first, last in zip(sites, ends, ends[1:], strict=False)
    }


def _part(point: Lowered, first: int, last: int) -> Lowered:
    value = op("index", point.value, items=((first, last, None),), rank=1)
    return point.with_value(value, (last - first,))


# Bounded support -> the function to the reals, the one back, and the logarithm of the latter's slope.
_FREED: dict[str, tuple[str, str, Callable[[Lowered], Lowered]]] = {
    "positive": ("log", "exp", lambda point: point),
    "unit": (
        "logit",
        "sigmoid",
        lambda point: negative(combine("add", called("softplus", point), called("softplus", negative(point)))),
    ),
}


def freed(site: Site, value: Lowered) -> Lowered:
    """A site's value as its part of a point: real numbers without bounds."""
    known = _FREED.get(site.typed.support.kind)
    return value if known is None else called(known[0], value)


def _bounded(site: Site, part: Lowered) -> Lowered:
    """The value that a part of a point stands for."""
    known = _FREED.get(site.typed.support.kind)
    return part if known is None else called(known[1], part)


def _log_slope(scope: Scope, site: Site, point: Lowered) -> Lowered | None:
    """log |d value / d point| of bounded supports; None where the two are the same."""
    known = _FREED.get(members(scope.program, site)[0].typed.support.kind)
    return None if known is None else reduce_event(known[2](point), "sum")


def point_function(scope: Scope, wish: str, site: Site, body: Callable[[], Lowered]) -> str:
    """A log-density as a local function of a point, in whose body each site of it has its value; its name."""
    names = [one.name for one in members(scope.program, site)]
    argument = scope.fresh(f"{names[0]}_value" if len(names) == 1 else "point")
    point = Lowered(Var(argument), point_shape(scope.program, site), True, Dtype.REAL)

    def whole() -> Lowered:
        for name, part in split(scope.program, site, point).items():
            scope.bind(name, scope.assign(name, part))
        value, slope = body(), _log_slope(scope, site, point)
        return value if slope is None else combine("add", value, slope)

    return define(scope, f"{wish}_{'_'.join(names)}", (argument,), {}, whole)


def density_function(scope: Scope, site: Site, hidden: tuple[str, ...] = ()) -> str:
    """log p~ as a local function of a site's point, with hidden units summed out."""
    return point_function(scope, "log_p", site, lambda: marginal(scope, site, hidden))


def draw_base(scope: Scope, site: Site) -> Lowered:
    """A draw of the point that a chain begins with, in real numbers; uniform over finite states."""
    return join([freed(one, _draw_part(scope, site, one)) for one in members(scope.program, site)])


def _draw_part(scope: Scope, density: Site, site: Site) -> Lowered:
    base = base_of(density_of_energy(density), site)
    name = f"{site.name}.start"
    if base is not None:
        return as_real(draw_from(base, scope, replace(Variable.of(site), name=name)))
    kind, states = site.typed, states_of(scope, site.name)
    form, noise = uniform_states(states, kind.shape), scope.random(name, *state_noise(states, kind.shape), kind.plate)
    return as_real(Lowered(Draw(form, noise.value), kind.shape, True, kind.dtype, noise.axes))
