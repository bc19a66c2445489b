"""Flow matching: the regression of a field on the velocities of paths from base to data (Lipman et al. 2023, eq. 9)."""

from __future__ import annotations

import math

from dgmppl.ir.bijectors import BIJECTORS
from dgmppl.ir.densities import Pushforward
from dgmppl.ir.kernel import Velocity
from dgmppl.ir.types import Dtype
from dgmppl.lowering.calls import as_real
from dgmppl.lowering.densities.forms import Variable, draw_from
from dgmppl.lowering.expressions import lookup, lower_expression
from dgmppl.lowering.layout import Lowered, combine, number, op, raise_rank, reduce_event
from dgmppl.lowering.scope import Scope, unsupported
from dgmppl.objectives.algebra import VelocityRegression


def velocity_regression(scope: Scope, term: VelocityRegression) -> Lowered:
    """|| field(x_t, t) - d x_t / dt ||^2, summed over the event, one number per datum."""
    site = scope.program.by_name[term.site]
    density = site.density
    assert isinstance(density, Pushforward)
    steps = scope.program.bijectors[density.bijector].steps
    if len(steps) != 1 or not BIJECTORS[steps[0].kind].continuous or density.inverse:
        raise unsupported(f"flow matching of {site.name!r} through further steps", site.span, "one `ode(field)`")
    base = scope.program.by_name[density.base]
    data = as_real(lookup(scope, site.name))
    start = scope.assign(base.name, draw_from(base.law, scope, Variable.of(base)))
    if term.coupling == "optimal_transport":
        start = scope.assign(f"{base.name}_paired", start.with_value(op("coupled", start.value, data.value)))
    time = scope.random(f"{site.name}.time", "uniform", ())
    time = scope.assign("t", time)
    point, velocity = _PATHS[term.path](scope, start, data, raise_rank(time, data.rank))
    context = [as_real(lower_expression(scope, part)) for part in density.context]
    call = Velocity(
        scope.use_group(density.bijector),
        point.value,
        time.value,
        tuple(part.value for part in context),
        span=site.span,
    )
    field = scope.assign("field", Lowered(call, data.shape, True, Dtype.REAL, point.axes))
    residual = combine("sub", field, velocity)
    return reduce_event(combine("call", residual, function="square"), "sum")


def _linear(scope: Scope, start: Lowered, data: Lowered, time: Lowered) -> tuple[Lowered, Lowered]:
    """x_t = (1 - t) x0 + t x1, whose velocity is x1 - x0."""
    velocity = scope.assign("velocity", combine("sub", data, start))
    return scope.assign("x_t", combine("add", start, combine("mul", time, velocity))), velocity


def _variance_preserving(scope: Scope, start: Lowered, data: Lowered, time: Lowered) -> tuple[Lowered, Lowered]:
    """x_t = cos(a) x0 + sin(a) x1 with a = pi t / 2, whose velocity is pi / 2 (cos(a) x1 - sin(a) x0)."""
    quarter = number(math.pi / 2)
    angle = combine("mul", quarter, time)
    cosine = scope.assign("cosine", combine("call", angle, function="cos"))
    sine = scope.assign("sine", combine("call", angle, function="sin"))
    point = combine("add", combine("mul", cosine, start), combine("mul", sine, data))
    turned = combine("sub", combine("mul", cosine, data), combine("mul", sine, start))
    return scope.assign("x_t", point), scope.assign("velocity", combine("mul", quarter, turned))


_PATHS = {"linear": _linear, "variance_preserving": _variance_preserving}
