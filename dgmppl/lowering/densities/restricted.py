"""Truncated, censored and ordered densities.

Truncated: p(x) / P(low < X < high) between the bounds. Censored: the density of clip(X, low, high), with respect to
Lebesgue measure plus one atom at each bound. Ordered: n! prod_i p(x_i) on ascending vectors, the density of n
independent draws, sorted.
"""

from __future__ import annotations

from dataclasses import replace

from dgmppl.ir.densities import Elementary, Restricted
from dgmppl.ir.distributions import DISTRIBUTIONS
from dgmppl.ir.emission.constants import folded
from dgmppl.ir.expressions import Expression
from dgmppl.ir.kernel import Assign, DensityValue, LogProb, Number, Restriction, Value, Var
from dgmppl.ir.types import Dtype
from dgmppl.lowering.calls import as_real
from dgmppl.lowering.densities.elementary import density_value
from dgmppl.lowering.densities.forms import Variable, draw_from, log_densities, log_density
from dgmppl.lowering.expressions import lower_expression
from dgmppl.lowering.layout import Lowered, number, op, raise_rank, reduce_event
from dgmppl.lowering.scope import Scope, unsupported


@log_density.register
def _log_density(
    density: Restricted, scope: Scope, variable: Variable, value: Lowered, *, stop: bool = False
) -> Lowered:
    if density.kind != "ordered":
        return reduce_event(log_densities(density, scope, variable, value, stop=stop), "sum")
    each = log_densities(density.base, scope, variable, value, stop=stop)
    vectors = Restriction("ordered", (each.value, value.value), span=variable.span)
    return reduce_event(each.with_value(vectors, variable.kind.shape[:-1]), "sum")


@log_densities.register
def _log_densities(
    density: Restricted, scope: Scope, variable: Variable, value: Lowered, *, stop: bool = False
) -> Lowered:
    if density.kind == "ordered":
        raise unsupported(f"missing entries of {variable.name!r}, whose elements depend on each other,", variable.span)
    form, layout = _base(density, scope, variable, stop)
    bounds = _bounds(density, scope, variable, stop)
    inside = LogProb(form, value.value, elementwise=True, span=variable.span)
    at = Restriction(density.kind, (inside, value.value), form, *map(_value, bounds), span=variable.span)
    return _over(variable, at, layout, value, *bounds)


@draw_from.register
def _draw(density: Restricted, scope: Scope, variable: Variable) -> Lowered:
    """Sorted or clipped draws of the base; of a truncated one by the inverse of its distribution function."""
    if density.kind == "ordered":
        each = draw_from(density.base, scope, variable)
        return each.with_value(Restriction("ascending", (each.value,), span=variable.span))
    bounds = _bounds(density, scope, variable, stop=False)
    if density.kind == "censored":
        each = draw_from(density.base, scope, variable)
        clipped = Restriction("clipped", (each.value,), None, *map(_value, bounds), span=variable.span)
        return _over(variable, clipped, each, *bounds)
    form, layout = _base(density, scope, variable, stop=False)
    noise = scope.random(variable.name, "uniform", variable.kind.shape, variable.kind.plate)
    between = Restriction("between", (noise.value,), form, *map(_value, bounds), span=variable.span)
    return _over(variable, between, layout, noise, *bounds)


def _base(density: Restricted, scope: Scope, variable: Variable, stop: bool) -> tuple[DensityValue, Lowered]:
    """The distribution that is cut off, its parameters named: density and distribution function both read them.

    Raises:
        UnsupportedError: its distribution function is none of the runtimes'.
    """
    base = density.base
    if not isinstance(base, Elementary):
        raise unsupported(f"the {density.kind} density of {variable.name!r}, whose base is composed itself,", base.span)
    if not DISTRIBUTIONS[base.family].tails:
        raise unsupported(
            f"the {density.kind} {base.family} of {variable.name!r}, whose distribution function has no closed form "
            "with a derivative in each parameter,", density.span,
            f"use one of {', '.join(name for name, family in DISTRIBUTIONS.items() if family.tails)}",
        )  # fmt: skip
    form, layout = density_value(scope, base, variable.kind, variable.span, stop=stop)
    named = tuple((name, _named(scope, f"{variable.name}_{name}", value)) for name, value in form.parameters)
    return replace(form, parameters=named), layout


def _named(scope: Scope, wish: str, value: Value) -> Value:
    if isinstance(folded(value), Number | Var):
        return value
    name = scope.fresh(wish)
    scope.statements.append(Assign((name,), value))
    return Var(name)


def _bounds(density: Restricted, scope: Scope, variable: Variable, stop: bool) -> tuple[Lowered | None, Lowered | None]:
    low, high = (
        None if bound is None else _bound(bound, scope, variable, stop) for bound in (density.low, density.high)
    )
    return low, high


def _bound(bound: Expression, scope: Scope, variable: Variable, stop: bool) -> Lowered:
    value = raise_rank(as_real(lower_expression(scope, bound)), len(variable.kind.shape))
    if value.literal is not None:
        return number(float(value.literal))
    return value.with_value(op("stop", value.value)) if stop else value


def _value(bound: Lowered | None) -> Value | None:
    return None if bound is None else bound.value


def _over(variable: Variable, value: Value, *parts: Lowered | None) -> Lowered:
    """A value per element that varies over whatever a part of it varies over."""
    present = [part for part in parts if part is not None]
    axes = frozenset().union(*(part.axes for part in present))
    return Lowered(value, variable.kind.shape, any(part.batched for part in present), Dtype.REAL, axes)
