"""Start values that depend on data: `actnorm` steps of the bijections that observed sites are images of."""

from __future__ import annotations

from dgmppl.ir.bijectors import Bijector
from dgmppl.ir.densities import Pushforward
from dgmppl.ir.kernel import Function, Group, Return, Value, WarmStart
from dgmppl.ir.program import Program
from dgmppl.ir.types import Dtype
from dgmppl.lowering.calls import as_real
from dgmppl.lowering.expressions import lookup, lower_expression
from dgmppl.lowering.layout import Lowered, op
from dgmppl.lowering.scope import Scope


def warm_start_function(program: Program, groups: dict[str, Group]) -> Function | None:
    """`warm_start`: parameters of `actnorm` steps by canonical name, from one batch; None where there are none."""
    scope = Scope(program, groups)
    names: list[str] = []
    values: list[Value] = []
    for site in program.observed:
        density = site.density
        if not isinstance(density, Pushforward) or density.inverse or density.bijector in program.frozen_groups:
            continue
        started = _started(program.bijectors[density.bijector])
        if not started:
            continue
        context = tuple(as_real(lower_expression(scope, part)).value for part in density.context)
        data = as_real(lookup(scope, site.name))
        call = WarmStart(scope.use_group(density.bijector), data.value, context, span=site.span)
        found = scope.assign("start_values", Lowered(call, (), False, Dtype.REAL))
        names += started
        values += [op("entry", found.value, key=name.removeprefix(f"{density.bijector}.")) for name in started]
    if not names:
        return None
    scope.statements.append(Return(tuple(values), tuple(names)))
    doc = "start values of every actnorm, so that each gives mean 0 and variance 1 on this batch."
    return scope.function("warm_start", "density", doc)


def _started(bijector: Bijector) -> list[str]:
    """The canonical names of what starts at the data's statistics."""
    steps = tuple(f"{step.path}." for step in bijector.walk() if step.kind == "actnorm")
    return [parameter.name for parameter in bijector.parameters if parameter.name.startswith(steps)]
