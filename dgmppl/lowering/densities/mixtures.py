"""Finite mixtures: log sum_k w_k p_k(x), one component per element (component axis last) or per event (axis first)."""

from __future__ import annotations

from dgmppl.errors import InternalError
from dgmppl.ir.densities import Density, Elementary, MixtureOf, Point
from dgmppl.ir.distributions import DISTRIBUTIONS
from dgmppl.ir.types import Dtype, Shape
from dgmppl.lowering.calls import as_real
from dgmppl.lowering.densities.forms import Variable, draw_from, log_densities, log_density
from dgmppl.lowering.expressions import lower_expression
from dgmppl.lowering.layout import NEVER, Lowered, combine, number, op, raise_rank, reduce_event
from dgmppl.lowering.scope import Scope, unsupported


@log_density.register
def _log_density(
    density: MixtureOf, scope: Scope, variable: Variable, value: Lowered, *, stop: bool = False
) -> Lowered:
    if density.joint:
        raise unsupported(f"the mixture over whole events of {variable.name!r}", variable.span)
    return reduce_event(log_densities(density, scope, variable, value, stop=stop), "sum")


@log_densities.register
def _log_densities(
    density: MixtureOf, scope: Scope, variable: Variable, value: Lowered, *, stop: bool = False
) -> Lowered:
    """log sum_k w_k p_k(x_i) of each element i."""
    weights = _log_weights(density, scope, variable)
    if len(density.components) == 1:
        each = _one_family(density, scope, variable, value, stop)
    else:
        each = _stacked([_component(part, scope, variable, value, stop) for part in density.components])
    joint = combine("add", _stopped(weights, stop), each)
    return joint.with_value(op("reduce", joint.value, function="logsumexp", axes=(-1,)), variable.kind.shape)


def _stopped(value: Lowered, stop: bool) -> Lowered:
    return value.with_value(op("stop", value.value)) if stop else value


def _one_family(density: MixtureOf, scope: Scope, variable: Variable, value: Lowered, stop: bool) -> Lowered:
    """Log-densities of all components, on a last axis of their own."""
    (component,) = density.components
    if not isinstance(component, Elementary) or DISTRIBUTIONS[component.family].event_rank:
        raise unsupported(f"the mixture of vectors {variable.name!r}", variable.span)
    items = (*((None, None, None) for _ in value.shape), None)
    wide = value.with_value(op("index", value.value, items=items, rank=value.rank), (*value.shape, 1))
    shape = (*variable.kind.shape, density.count)
    return log_densities(component, scope, variable.shaped(shape), wide, stop=stop)


def _component(density: Density, scope: Scope, variable: Variable, value: Lowered, stop: bool) -> Lowered:
    if isinstance(density, Point):
        at = lower_expression(scope, density.value)
        inside = combine("eq", value, at)
        return combine("call", inside, number(0.0), number(NEVER), function="where", dtype=Dtype.REAL)
    return log_densities(density, scope, variable, value, stop=stop)


def _stacked(parts: list[Lowered]) -> Lowered:
    rank = max(part.rank for part in parts)
    parts = [raise_rank(part, rank) for part in parts]
    axes = frozenset().union(*(part.axes for part in parts))
    shape: Shape = (*parts[0].shape, len(parts))
    return Lowered(
        op("stack_broadcast", *(part.value for part in parts)),
        shape,
        any(part.batched for part in parts),
        Dtype.REAL,
        axes,
    )


def _log_weights(density: MixtureOf, scope: Scope, variable: Variable) -> Lowered:
    """Normalized log-weights, [*event, K]; a Bernoulli's probability is the weight of the second component."""
    ((name, expression),) = density.weights.parameters
    value = as_real(lower_expression(scope, expression))
    if density.weights.family == "Bernoulli":
        if name != "probs":
            raise InternalError("a gate is a probability")
        second = value.with_value(op("call", value.value, function="log"))
        first = value.with_value(op("call", op("neg", value.value), function="log1p"))
        return _stacked([first, second])
    value = raise_rank(value, len(variable.kind.shape) + 1)
    if name == "logits":
        return value.with_value(op("cumulative", value.value, function="log_softmax", axis=-1))
    return value.with_value(op("call", value.value, function="log"))


@draw_from.register
def _draw(density: MixtureOf, scope: Scope, variable: Variable) -> Lowered:
    """A component by Gumbel noise, then that component's draw; without gradient through the choice."""
    if density.joint:
        raise unsupported(f"draws of the mixture over whole events {variable.name!r}", variable.span)
    weights = _log_weights(density, scope, variable)
    shape = (*variable.kind.shape, density.count)
    gumbel = scope.random(f"{variable.name}.component", "gumbel", shape, variable.kind.plate)
    noisy = combine("add", weights, gumbel)
    chosen = noisy.with_value(op("argmax", noisy.value), variable.kind.shape, Dtype.INTEGER)
    chosen = scope.assign(f"{variable.name}_component", chosen)
    if len(density.components) == 1:
        every = draw_from(density.components[0], scope, variable.shaped(shape))
    else:
        every = _stacked([_part(part, scope, variable, number) for number, part in enumerate(density.components)])
    every = scope.assign(f"{variable.name}_each", every)
    axes, batched = every.axes | chosen.axes, every.batched or chosen.batched
    return Lowered(op("choose", every.value, chosen.value), variable.kind.shape, batched, variable.kind.dtype, axes)


def _part(density: Density, scope: Scope, variable: Variable, position: int) -> Lowered:
    if isinstance(density, Point):
        return as_real(lower_expression(scope, density.value))
    part = Variable(f"{variable.name}.{position}", variable.kind, variable.section, variable.span)
    return as_real(draw_from(density, scope, part))
