"""Points: all that an energy's chain or score moves together, as one value of real numbers that nothing bounds.

A point holds the density's sites but the hidden units that are summed out: one site as it is, several joined. Bounded
sites stand in it by the bijection of the reals onto their support (positive by logarithm, unit and intervals by logit,
a simplex by stick-breaking), with the logarithm of its slope in the density.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace

from dgmppl.ir.kernel import Draw, Var
from dgmppl.ir.program import Program, Site
from dgmppl.ir.types import Dtype, Support
from dgmppl.lowering.calls import as_real
from dgmppl.lowering.densities.forms import Variable, draw_from
from dgmppl.lowering.densities.unnormalized import (
    base_of,
    define,
    density_of_energy,
    hidden_units,
    marginal,
    state_noise,
    states_of,
    uniform_states,
)
from dgmppl.lowering.expressions import lookup
from dgmppl.lowering.layout import Lowered, combine, flat, op, reduce_event, reshaped, total
from dgmppl.lowering.scope import Scope, unsupported

# Bounded supports that points stand for; intervals too, where both ends are numbers.
_MOVED = frozenset({"positive", "unit", "simplex"})


def members(program: Program, site: Site) -> tuple[Site, ...]:
    """The sites that chains and scores of a density move together: all of its names but hidden units."""
    names, hidden = density_of_energy(site).names, hidden_units(program, site)
    kept = tuple(program.by_name[name] for name in names if name not in hidden)
    for one in kept:
        support = one.typed.support
        if not (support.discrete or support.kind == "real" or _moved(support)):
            raise unsupported(f"a chain or a score of {one.name!r} on the support {support}", one.span)
    kinds = {(one.typed.support.discrete, one.typed.support.states) for one in kept}
    if len(kinds) > 1:
        raise unsupported(f"a chain of {', '.join(one.name for one in kept)}, whose supports differ,", site.span)
    return kept


def point_shape(program: Program, site: Site) -> tuple[int, ...]:
    """The shape of a point: that of the site's part, of several sites one axis with all of their elements."""
    shapes = [_free_shape(one) for one in members(program, site)]
    return shapes[0] if len(shapes) == 1 else (sum(map(math.prod, shapes)),)


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
    return {one.name: _bounded(one, part) for one, part in _parts(program, site, point)}


def _parts(program: Program, site: Site, point: Lowered) -> list[tuple[Site, Lowered]]:
    """Each site with its part of a point."""
    sites = members(program, site)
    if len(sites) == 1:
        return [(sites[0], point)]
    shapes = [_free_shape(one) for one in sites]
    ends = list(itertools.accumulate(map(math.prod, shapes), initial=0))
    return [
        (one, reshaped(_part(point, first, last), shape))
        for one, shape, first, last in zip(sites, shapes, ends, ends[1:], strict=False)
    ]


def _part(point: Lowered, first: int, last: int) -> Lowered:
    value = op("index", point.value, items=((first, last, None),), rank=1)
    return point.with_value(value, (last - first,))


def freed(site: Site, value: Lowered) -> Lowered:
    """A site's value as its part of a point: real numbers without bounds."""
    return _mapped(site, value, "inverse", _free_shape(site))


def _bounded(site: Site, part: Lowered) -> Lowered:
    """The value that a part of a point stands for."""
    return _mapped(site, part, "forward", site.typed.shape)


def _mapped(site: Site, value: Lowered, way: str, shape: tuple[int, ...]) -> Lowered:
    """A direction of the bijection of the reals onto a site's support; the value itself where nothing bounds it."""
    support = site.typed.support
    if not _moved(support):
        return value
    return value.with_value(op("constrain", value.value, support=support, way=way), shape)


def _moved(support: Support) -> bool:
    """Whether points stand for values of a support by its bijection."""
    return support.kind in _MOVED or (support.kind == "interval" and support.confined)


def _free_shape(site: Site) -> tuple[int, ...]:
    """The shape of a site's part of a point: one number less than a simplex has."""
    shape = site.typed.shape
    return (*shape[:-1], shape[-1] - 1) if site.typed.support.kind == "simplex" else shape


def _log_slope(program: Program, site: Site, point: Lowered) -> Lowered | None:
    """log |det d value / d point| of bounded supports; None where the two are the same."""
    slopes = []
    for one, part in _parts(program, site, point):
        if _moved(one.typed.support):
            kept = part.shape[:-1] if one.typed.support.kind == "simplex" else part.shape
            slopes.append(reduce_event(_mapped(one, part, "log_det", kept), "sum"))
    return total(slopes) if slopes else None


def point_function(scope: Scope, wish: str, site: Site, body: Callable[[], Lowered], *further: str) -> str:
    """A log-density as a local function of a point, in whose body each site of it has its value; its name.

    `further` arguments stand behind the point; the body binds them.
    """
    names = [one.name for one in members(scope.program, site)]
    argument = scope.fresh(f"{names[0]}_value" if len(names) == 1 else "point")
    point = Lowered(Var(argument), point_shape(scope.program, site), True, Dtype.REAL)

    def whole() -> Lowered:
        for name, part in split(scope.program, site, point).items():
            scope.bind(name, scope.assign(name, part))
        value, slope = body(), _log_slope(scope.program, site, point)
        return value if slope is None else combine("add", value, slope)

    return define(scope, f"{wish}_{'_'.join(names)}", (argument, *further), {}, whole)


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
