"""Improper uniform densities whose bounds are values: log p is 0 inside and -inf outside."""

from __future__ import annotations

from dgmppl.ir.densities import FlatPrior
from dgmppl.ir.kernel import FLAT, DensityValue
from dgmppl.ir.program import Site
from dgmppl.lowering.densities.forms import Variable, log_density
from dgmppl.lowering.layout import Lowered, number, op, reduce_event, total
from dgmppl.lowering.moving import bounds, moving_bounds
from dgmppl.lowering.scope import Scope


def flat_value(scope: Scope, site: Site) -> DensityValue:
    """The improper uniform on a parameter's support, with the bounds that move as its parameters."""
    shape = site.typed.shape
    return DensityValue(FLAT, moving_bounds(scope, site), len(shape), shape, span=site.span)


@log_density.register
def _log_density(
    density: FlatPrior, scope: Scope, variable: Variable, value: Lowered, *, stop: bool = False
) -> Lowered:
    """The bounds themselves may lie in the wrong order: no value is inside then."""
    del density, stop
    low, high = bounds(scope, scope.program.by_name[variable.name])
    sides = [(name, end) for name, end in (("at_least", low), ("at_most", high)) if end is not None]
    parts = [reduce_event(value.with_value(op(name, value.value, end.value)), "sum") for name, end in sides]
    return total(parts) if parts else number(0.0)
