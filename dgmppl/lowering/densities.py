"""Densities of sites -> densities of batched values, their log-probabilities and draws."""

from __future__ import annotations

from dgmppl.errors import InternalError
from dgmppl.ir.densities import Density, Elementary
from dgmppl.ir.distributions import DISTRIBUTIONS
from dgmppl.ir.emission.constants import folded
from dgmppl.ir.kernel import DensityValue, Divergence, Draw, LogProb, Number
from dgmppl.ir.program import Role, Site
from dgmppl.ir.types import Dtype, Shape, TensorType
from dgmppl.lowering.calls import as_real
from dgmppl.lowering.expressions import lookup, lower_expression
from dgmppl.lowering.layout import PARTICLES, Lowered, combine, op, raise_rank, reduce_event
from dgmppl.lowering.scope import Scope, unsupported
from dgmppl.source import Span


def density_of(scope: Scope, site: Site, *, stop: bool = False) -> tuple[DensityValue, Lowered]:
    """The batched density of a site, and a representative whose layout is that of one sample.

    Args:
        scope: the function under construction.
        site: the site; its parents must have values.
        stop: parameters without gradient.
    """
    return density_value(scope, _elementary(site.density, site), site.typed, site.span, stop=stop)


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


def _elementary(density: Density | None, site: Site) -> Elementary:
    if isinstance(density, Elementary):
        return density
    if density is None:
        raise InternalError(f"{site.name!r} has no density")
    raise unsupported(f"the {_WORDS.get(type(density).__name__, type(density).__name__)} of {site.name!r}", site.span)


_WORDS = {
    "Restricted": "truncated, censored or ordered density",
    "MixtureOf": "mixture density",
    "Pushforward": "bijection",
    "Factorized": "factorization",
    "MarkovChain": "chain",
    "DiffusionChain": "diffusion",
    "Unnormalized": "unnormalized density",
    "Implicit": "implicit density",
    "TrainedDensity": "trained model",
    "GaussianProcess": "Gaussian process",
    "FlatPrior": "flat prior with bounds of its own",
}


def log_prob(scope: Scope, site: Site, *, stop: bool = False) -> Lowered:
    """log p(site | parents) at the site's value, one number per batch element.

    Entries that the data lack do not count: they are masked before the sum over the event.
    """
    density, like = density_of(scope, site, stop=stop)
    value = _evaluated(density, lookup(scope, site.name))
    layout = Lowered(Number(0.0), (), like.batched or value.batched, Dtype.REAL, like.axes | value.axes)
    if site.name in value.axes or not _masked(scope, site):
        return layout.with_value(LogProb(density, value.value, span=site.span))
    outer = site.typed.shape[: len(site.typed.shape) - DISTRIBUTIONS[density.family].event_rank]
    each = layout.with_value(LogProb(density, value.value, elementwise=True, span=site.span), outer)
    mask = scope.mask(site.name)
    return reduce_event(combine("mul", each, as_real(mask.with_value(mask.value, outer))), "sum")


def _evaluated(density: DensityValue, value: Lowered) -> Lowered:
    """The value at which a density is evaluated: integers become reals where no parameter makes them so."""
    literal = any(isinstance(folded(parameter), Number) for _, parameter in density.parameters)
    return as_real(value) if literal else value


def _masked(scope: Scope, site: Site) -> bool:
    column = scope.program.columns.get(site.name)
    drawn = scope.program.guide_by_name.get(site.name)
    return site.section == "model" and site.role is Role.OBSERVED and bool(column and column.missing) and drawn is None


def divergence(scope: Scope, posterior: Site, prior: Site) -> Lowered:
    """KL(q || p) in closed form, one number per batch element."""
    q, q_like = density_of(scope, posterior)
    p, p_like = density_of(scope, prior)
    layout = Lowered(Number(0.0), (), q_like.batched or p_like.batched, Dtype.REAL, q_like.axes | p_like.axes)
    return layout.with_value(Divergence(q, p, span=prior.span))


def noise_kind(family: str) -> str:
    """What a draw from a family is a function of: `normal`, `uniform`, `gumbel`, or the `library`'s own sampler."""
    return {"Bernoulli": "uniform", "Categorical": "gumbel", "OneHotCategorical": "gumbel"}.get(
        family, DISTRIBUTIONS[family].noise
    )


def noise_shape(site: Site, kind: str) -> Shape:
    """The event shape of a site's noise: one Gumbel per class for an integer, else one number per element."""
    if kind != "gumbel" or site.typed.support.kind == "binary":
        return site.typed.shape
    states = site.typed.support.states
    if states is None:
        raise InternalError(f"{site.name!r} has no number of classes")
    return (*site.typed.shape, states)


def draw(scope: Scope, site: Site, *, stop: bool = False) -> Lowered:
    """A draw of a site as a function of its noise, bound to the site's name."""
    density, like = density_of(scope, site)
    kind = noise_kind(density.family)
    plate = site.typed.plate
    name = scope.draw_noise(site.name, kind, noise_shape(site, kind), plate)
    axes = like.axes | ({PARTICLES} if scope.particles and plate == "data" else frozenset())
    sample = Lowered(Draw(density, name, span=site.span), site.typed.shape, plate is not None, site.typed.dtype, axes)
    if stop:
        sample = sample.with_value(op("stop", sample.value))
    result = scope.assign(site.name, sample)
    scope.bind(site.name, result)
    return result
