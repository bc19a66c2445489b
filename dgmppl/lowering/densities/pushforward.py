"""Images of random variables under bijections: log p(x) = log p_z(f^-1(x)) + log |det d f^-1 / dx|.

A draw keeps its preimage, so that a density at the drawn value runs no inverse: for an inverse autoregressive flow that
inverse is one pass per element (Kingma et al. 2016, section 3).
"""

from __future__ import annotations

from dgmppl.ir.bijectors import BIJECTORS
from dgmppl.ir.densities import Pushforward
from dgmppl.ir.kernel import Assign, BijectorCall, NoiseEntry, Value, Var
from dgmppl.ir.program import Site
from dgmppl.ir.types import Dtype
from dgmppl.lowering.calls import as_real
from dgmppl.lowering.densities.forms import Variable, draw_from, draw_site, log_density
from dgmppl.lowering.expressions import lookup, lower_expression, value_of
from dgmppl.lowering.layout import Lowered, combine
from dgmppl.lowering.scope import Preimage, Scope


@log_density.register
def _log_density(
    density: Pushforward, scope: Scope, variable: Variable, value: Lowered, *, stop: bool = False
) -> Lowered:
    base = _base(density, scope, variable)
    known = scope.preimage(variable.section, variable.name)
    if known is not None and known.image == value.value:
        scope.bind(base.name, known.base)
        log_p = log_density(base.law, scope, Variable.of(base), known.base, stop=stop)
        return combine("sub", log_p, known.log_det)
    mapped, log_det = _mapped(density, scope, variable, as_real(value), base.name, backwards=True)
    scope.bind(base.name, mapped)
    return combine("add", log_density(base.law, scope, Variable.of(base), mapped, stop=stop), log_det)


@draw_from.register
def _draw(density: Pushforward, scope: Scope, variable: Variable) -> Lowered:
    base = _base(density, scope, variable)
    drawn = scope.value(base.name)
    if drawn is None:
        drawn = draw_site(scope, base)
    if not scope.scored:
        return _image(density, scope, variable, drawn, backwards=False, log_det=False)
    mapped, log_det = _mapped(density, scope, variable, drawn, variable.name, backwards=False)
    scope.keep_preimage(variable.section, variable.name, Preimage(mapped.value, drawn, log_det))
    return mapped


@value_of.register
def _value(density: Pushforward, scope: Scope, site: Site) -> Lowered:
    """The image of a base that was drawn itself, as a guide may draw it."""
    base = lookup(scope, density.base)
    return scope.assign(site.name, _image(density, scope, Variable.of(site), base, backwards=False, log_det=False))


def _base(density: Pushforward, scope: Scope, variable: Variable) -> Site:
    guided = scope.program.guide_by_name.get(density.base) if variable.section == "guide" else None
    return guided or scope.program.by_name[density.base]


def _mapped(
    density: Pushforward, scope: Scope, variable: Variable, value: Lowered, wish: str, *, backwards: bool
) -> tuple[Lowered, Lowered]:
    """Image and log-determinant as two variables of one call."""
    both = _image(density, scope, variable, value, backwards=backwards, log_det=True)
    target, log_det = scope.fresh(wish), scope.fresh(f"{wish}_log_det")
    scope.statements.append(Assign((target, log_det), both.value, scope.comment(both)))
    return both.with_value(Var(target)), both.with_value(Var(log_det), ())


def _image(
    density: Pushforward, scope: Scope, variable: Variable, value: Lowered, *, backwards: bool, log_det: bool
) -> Lowered:
    context = [as_real(lower_expression(scope, part)) for part in density.context]
    parts = (value, *context)
    call = BijectorCall(
        scope.use_group(density.bijector),
        value.value,
        tuple(part.value for part in context),
        inverse=backwards != density.inverse,
        log_det=log_det,
        probe=_probe(density, scope, variable) if log_det else None,
        span=variable.span,
    )
    axes = frozenset().union(*(part.axes for part in parts))
    shape = _base(density, scope, variable).typed.shape if backwards else variable.kind.shape
    return Lowered(call, shape, any(part.batched for part in parts), Dtype.REAL, axes)


def _probe(density: Pushforward, scope: Scope, variable: Variable) -> Value | None:
    """Noise for the bijector's stochastic trace, where one of its steps estimates it."""
    steps = scope.program.bijectors[density.bijector].steps
    if not any(BIJECTORS[step.kind].continuous and step.options.get("trace") == "hutchinson" for step in steps):
        return None
    probe = scope.random(f"{variable.name}.probe", "normal", variable.kind.shape, variable.kind.plate)
    assert isinstance(probe.value, NoiseEntry)
    return probe.value
