"""What stands in for samples that carry no gradient, so that a critic can teach the model that made them."""

from __future__ import annotations

from collections.abc import Mapping

from dgmppl.ir.densities import Elementary
from dgmppl.ir.program import Site
from dgmppl.lowering.calls import as_real
from dgmppl.lowering.densities import draw, log_prob
from dgmppl.lowering.estimators import leave_one_out, surrogate
from dgmppl.lowering.expressions import lower_expression
from dgmppl.lowering.layout import Lowered, combine, op, total
from dgmppl.lowering.scope import Scope, unsupported
from dgmppl.objectives.capabilities import Ability, abilities

# (family, parameter) -> the function that makes E[x] of it; None where it is the mean.
_MEANS: Mapping[tuple[str, str], str | None] = {
    ("Normal", "loc"): None,
    ("Laplace", "loc"): None,
    ("Logistic", "loc"): None,
    ("MultivariateNormal", "loc"): None,
    ("LowRankMultivariateNormal", "loc"): None,
    ("Poisson", "rate"): None,
    ("Bernoulli", "probs"): None,
    ("Bernoulli", "logits"): "sigmoid",
    ("OneHotCategorical", "probs"): None,
    ("OneHotCategorical", "logits"): "softmax",
}


# What the critic is shown in the place of a sample.
STAND_INS = ("mean", "straight_through")


def fake(scope: Scope, site: Site, way: str) -> Lowered:
    """A stand-in for a sample of a site.

    Args:
        scope: the function under construction.
        site: the site; its parents have values.
        way: `mean`: E[x | parents]; `straight_through`: a sample whose gradient is that of the mean (Bengio, Leonard
            and Courville 2013), which is biased.

    Raises:
        UnsupportedError: the family's mean is no function of one parameter.
    """
    mean = scope.assign(f"{site.name}_mean", _mean(scope, site))
    if way == "mean":
        return mean
    rest = combine("sub", as_real(draw(scope, site)), mean)
    return combine("add", mean, rest.with_value(op("stop", rest.value)))


def silent(scope: Scope, site: Site) -> bool:
    """Whether samples of a site carry no gradient."""
    return Ability.RSAMPLE not in abilities(scope.program, site)


def log_score(scope: Scope, drawn: list[Site]) -> Lowered | None:
    """log p of all draws that carry no gradient, at their values; None where all carry one."""
    logs = [log_prob(scope, site) for site in drawn if silent(scope, site)]
    return scope.assign("log_score", total(logs)) if logs else None


def with_score(scope: Scope, value: Lowered, score: Lowered) -> Lowered:
    """A loss of samples, one number per row, with the gradient of how they were drawn (Mnih and Rezende 2016).

    The baseline is the mean of the other rows' losses, whose draws are independent of the row's own.
    """
    value = scope.assign("signal", value)
    return combine("add", value, surrogate(score, leave_one_out(value)))


def _mean(scope: Scope, site: Site) -> Lowered:
    density = site.density
    pairs = density.parameters if isinstance(density, Elementary) else ()
    for name, expression in pairs:
        if not isinstance(density, Elementary) or (density.family, name) not in _MEANS:
            continue
        value, function = as_real(lower_expression(scope, expression)), _MEANS[density.family, name]
        if function == "softmax":
            value = value.with_value(op("cumulative", value.value, function=function, axis=-1))
        elif function is not None:
            value = value.with_value(op("call", value.value, function=function))
        shape = site.typed.shape
        ones = Lowered(op("fill", value=1.0, shape=shape), shape)
        return value if value.shape == shape else combine("mul", value, ones)
    raise unsupported(f"the mean of {site.name!r}", site.span)
