"""Distributions of the closed table: batched parameters, log-densities, divergences, draws."""

from __future__ import annotations

from dataclasses import replace

from dgmppl.errors import InternalError
from dgmppl.ir.densities import Elementary, GaussianProcess
from dgmppl.ir.distributions import DISTRIBUTIONS
from dgmppl.ir.emission.constants import folded
from dgmppl.ir.kernel import DensityValue, Divergence, Draw, LogProb, Number
from dgmppl.ir.program import Site
from dgmppl.ir.types import Dtype, Shape, TensorType
from dgmppl.lowering.calls import as_real
from dgmppl.lowering.densities.forms import Variable, draw_from, log_densities, log_density, not_lowered
from dgmppl.lowering.densities.processes import process_value
from dgmppl.lowering.expressions import lower_expression
from dgmppl.lowering.layout import Lowered, op, raise_rank
from dgmppl.lowering.scope import Scope
from dgmppl.source import Span


def density_of(scope: Scope, site: Site, *, stop: bool = False) -> tuple[DensityValue, Lowered]:
    """The batched density of a site, and a representative whose layout is that of one sample.

    Args:
        scope: the function under construction.
        site: the site; its parents must have values.
        stop: parameters without gradient.

    Raises:
        UnsupportedError: the site's density is no distribution of the table.
    """
    if isinstance(site.law, GaussianProcess):
        return process_value(scope, site.law, site.typed, site.span, stop=stop)
    if not isinstance(site.law, Elementary):
        raise not_lowered(site.law, Variable.of(site))
    return density_value(scope, site.law, site.typed, site.span, stop=stop)


def density_value(
    scope: Scope, density: Elementary, kind: TensorType, span: Span | None, *, stop: bool = False
) -> tuple[DensityValue, Lowered]:
    """The batched form of an elementary density whose values have the given type."""
    family = DISTRIBUTIONS[density.family]
    outer = len(kind.shape) - family.event_rank
    parameters: list[tuple[str, Lowered]] = []
    for name, expression in density.parameters:
        value = lower_expression(scope, expression)
        if name not in {"total_count", "dim", "bins"}:
            value = as_real(value)
        value = raise_rank(value, outer + family.parameter(name).rank)
        parameters.append((name, value.with_value(op("stop", value.value)) if stop and not _fixed(value) else value))
    like = Lowered(
        Number(0.0),
        kind.shape,
        any(value.batched for _, value in parameters),
        kind.dtype,
        frozenset().union(*(value.axes for _, value in parameters)) if parameters else frozenset(),
    )
    values = tuple((name, value.value) for name, value in parameters)
    return DensityValue(density.family, values, len(kind.shape), kind.shape, span=span), like


def _fixed(value: Lowered) -> bool:
    return value.literal is not None


@log_density.register
def _log_density(
    density: Elementary, scope: Scope, variable: Variable, value: Lowered, *, stop: bool = False
) -> Lowered:
    form, layout = _against(density, scope, variable, value, stop)
    return layout.with_value(LogProb(form, _evaluated(form, value).value, span=variable.span))


@log_densities.register
def _log_densities(
    density: Elementary, scope: Scope, variable: Variable, value: Lowered, *, stop: bool = False
) -> Lowered:
    form, layout = _against(density, scope, variable, value, stop)
    outer = variable.kind.shape[: len(variable.kind.shape) - DISTRIBUTIONS[density.family].event_rank]
    return layout.with_value(LogProb(form, _evaluated(form, value).value, elementwise=True, span=variable.span), outer)


def _against(
    density: Elementary, scope: Scope, variable: Variable, value: Lowered, stop: bool
) -> tuple[DensityValue, Lowered]:
    """The density, and the layout of its value at a point: one real number per batch element."""
    form, like = density_value(scope, density, variable.kind, variable.span, stop=stop)
    layout = Lowered(Number(0.0), (), like.batched or value.batched, Dtype.REAL, like.axes | value.axes)
    return form, layout


def _evaluated(density: DensityValue, value: Lowered) -> Lowered:
    """The value at which a density is evaluated: integers become reals where no parameter makes them so."""
    literal = any(isinstance(folded(parameter), Number) for _, parameter in density.parameters)
    return as_real(value) if literal else value


def divergence(scope: Scope, posterior: Site, prior: Site) -> Lowered:
    """KL(q || p) in closed form, one number per batch element."""
    q, q_like = density_of(scope, posterior)
    p, p_like = density_of(scope, prior)
    layout = Lowered(Number(0.0), (), q_like.batched or p_like.batched, Dtype.REAL, q_like.axes | p_like.axes)
    return layout.with_value(Divergence(_with_an_array(q) if _of_numbers(q, p) else q, p, span=prior.span))


def _of_numbers(*densities: DensityValue) -> bool:
    return all(isinstance(folded(value), Number) for density in densities for _, value in density.parameters)


def _with_an_array(density: DensityValue) -> DensityValue:
    """The density with its first parameter as an array: a divergence of numbers alone would have no dtype."""
    (name, value), *others = density.parameters
    number = folded(value)
    assert isinstance(number, Number)
    return replace(density, parameters=((name, op("fill", value=number.value, shape=())), *others))


def noise_kind(family: str) -> str:
    """What a draw from a family is a function of: `normal`, `uniform`, `gumbel`, or the `library`'s own sampler."""
    return {"Bernoulli": "uniform", "Categorical": "gumbel", "OneHotCategorical": "gumbel"}.get(
        family, DISTRIBUTIONS[family].noise
    )


def noise_shape(name: str, typed: TensorType, kind: str) -> Shape:
    """The event shape of a value's noise: one Gumbel per class for an integer, else one number per element."""
    if kind != "gumbel" or typed.support.kind == "binary":
        return typed.shape
    states = typed.support.states
    if states is None:
        raise InternalError(f"{name!r} has no number of classes")
    return (*typed.shape, states)


@draw_from.register
def _draw(density: Elementary, scope: Scope, variable: Variable) -> Lowered:
    form, like = density_value(scope, density, variable.kind, variable.span)
    kind = noise_kind(density.family)
    shape = noise_shape(variable.name, variable.kind, kind)
    noise = scope.random(variable.name, kind, shape, variable.kind.plate)
    sample = Draw(form, noise.value, span=variable.span)
    batched = noise.batched or like.batched
    return Lowered(sample, variable.kind.shape, batched, variable.kind.dtype, like.axes | noise.axes)
