"""Draws of indicators that carry a gradient, which is that of another expectation: biased, and said so.

A relaxed draw at temperature T lies between the indicators (Jang, Gu and Poole 2017; Maddison, Mnih and Teh 2017):

    softmax((l + g) / T)        of a vector with logits l, g Gumbel
    sigmoid((l - logit u) / T)  of a number with logit l, u uniform

As T goes to 0 it becomes the hard draw of the same noise. Log-densities of indicators are linear in them, so they are
evaluated at it as they stand.
"""

from __future__ import annotations

from dgmppl.ir.densities import Elementary
from dgmppl.ir.program import Site
from dgmppl.lowering.calls import as_real
from dgmppl.lowering.densities import noise_kind, noise_shape
from dgmppl.lowering.expressions import lower_expression
from dgmppl.lowering.fakes import fake
from dgmppl.lowering.layout import Lowered, combine, op
from dgmppl.lowering.scope import Scope, unsupported

# (parameter, noise of the family) -> the function of the parameter that gives logits; None where it is them.
_LOGITS = {
    ("logits", "gumbel"): None,
    ("logits", "uniform"): None,
    ("probs", "gumbel"): "log",
    ("probs", "uniform"): "logit",
}


def relaxed_draw(scope: Scope, site: Site, temperature: Lowered) -> Lowered:
    """A relaxed draw of a site, bound to its name.

    Args:
        scope: the function under construction.
        site: the site; its parents have values.
        temperature: T > 0.

    Raises:
        UnsupportedError: the site's values are no indicators with probabilities of their own.
    """
    density = site.law
    if not isinstance(density, Elementary) or site.typed.support.kind != "binary":
        raise unsupported(f"a relaxed draw of {site.name!r}", site.span, "score_function or enumerate")
    scope.remark(f"{site.name} is relaxed, which biases the loss and its gradient")
    kind = noise_kind(density.family)
    logits = _logits(scope, density, kind)
    noise = scope.random(site.name, kind, noise_shape(site.name, site.typed, kind), site.typed.plate)
    if kind == "gumbel":
        scores = combine("div", combine("add", logits, noise), temperature)
        between = op("cumulative", scores.value, function="softmax", axis=-1)
    else:
        threshold = noise.with_value(op("call", noise.value, function="logit"))
        scores = combine("div", combine("sub", logits, threshold), temperature)
        between = op("call", scores.value, function="sigmoid")
    soft = scope.assign(site.name, scores.with_value(between))
    scope.bind(site.name, soft)
    return soft


def straight_through_draw(scope: Scope, site: Site) -> Lowered:
    """A hard draw with the gradient of the mean (Bengio, Leonard and Courville 2013), bound to the site's name.

    Raises:
        UnsupportedError: the family's mean is no function of one parameter.
    """
    scope.remark(f"{site.name} has the gradient of its mean, which is biased")
    value = scope.assign(f"{site.name}_through", fake(scope, site, "straight_through"))
    scope.bind(site.name, value)
    return value


def _logits(scope: Scope, density: Elementary, kind: str) -> Lowered:
    (name, expression), *_ = density.parameters
    value, function = as_real(lower_expression(scope, expression)), _LOGITS[name, kind]
    return value if function is None else value.with_value(op("call", value.value, function=function))
