"""Densities known up to their normalizer: log p(x) + log Z = log base(x) - E(x), or log base(x) + log link(f(x)).

A joint energy is one density of all its names. Units in which it is affine are summed out in closed form (rule
`energy_marginal`); log Z is summed where the support is small (rule `partition_function`) and left out elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from dgmppl.ir.analyses import degree
from dgmppl.ir.densities import Elementary, Unnormalized
from dgmppl.ir.expressions import Call, Literal
from dgmppl.ir.kernel import Define, DensityValue, Draw, Gradient, Number, Return, Value, Var
from dgmppl.ir.program import Program, Role, Site
from dgmppl.ir.types import Dtype
from dgmppl.lowering.calls import as_real
from dgmppl.lowering.densities.forms import Variable, log_density
from dgmppl.lowering.expressions import lookup, lower_expression
from dgmppl.lowering.layout import Lowered, combine, negative, number, op, reduce_event, total
from dgmppl.lowering.scope import Frame, Scope, unsupported
from dgmppl.lowering.summation import bind_states
from dgmppl.objectives.rules.partition_function import RULE as PARTITION_FUNCTION

# ---- values ---------------------------------------------------------------------------------------------------------


def log_unnormalized(scope: Scope, density: Unnormalized) -> Lowered:
    """log p + log Z at the values that are bound, one number per batch element, in nats."""
    function = reduce_event(as_real(lower_expression(scope, density.energy)), "sum")
    value = negative(function) if density.link is None else _LINKS[density.link](function)
    if density.base is None:
        return value
    sites = [scope.program.by_name[name] for name in density.names]
    bases = [log_density(density.base, scope, Variable.of(site), lookup(scope, site.name)) for site in sites]
    return total([*bases, value])


def called(function: str, value: Lowered) -> Lowered:
    """An elementwise function of a value."""
    return combine("call", value, function=function)


# log of each positive function of `Positive(f, link=)`.
_LINKS: dict[str, Callable[[Lowered], Lowered]] = {
    "exp": lambda f: f,
    "abs": lambda f: called("log", called("abs", f)),
    "square": lambda f: combine("mul", number(2.0), called("log", called("abs", f))),
    "softplus": lambda f: called("log", called("softplus", f)),
}


@log_density.register
def _log_density(
    density: Unnormalized, scope: Scope, variable: Variable, value: Lowered, *, stop: bool = False
) -> Lowered:
    if stop:
        raise unsupported(f"an unnormalized density in the guide of {variable.name!r}", variable.span)
    site = scope.program.by_name[variable.name]
    with scope.branch():
        scope.bind(variable.name, value)
        result = log_unnormalized(scope, density)
    if not PARTITION_FUNCTION.predicate(scope.program, site).applies:
        return result
    return combine("sub", result, log_normalizer(scope, density))


def log_normalizer(scope: Scope, density: Unnormalized) -> Lowered:
    """log Z as the sum over all states of all names."""
    with scope.branch():
        scope.frame.values = given(scope)
        for name in reversed(density.names):
            bind_states(scope, scope.program.by_name[name])
        value = log_unnormalized(scope, density)
        for name in density.names:
            if name in value.axes:
                summed = value.with_value(op("reduce_leading", value.value, function="logsumexp"))
                value = replace(summed, axes=summed.axes - {name})
            else:
                kind = scope.program.by_name[name].typed
                value = combine("add", value, number(math.prod(kind.shape) * math.log(states_of(scope, name))))
        return scope.assign("log_z", value)


def given(scope: Scope) -> dict[str, Lowered]:
    """What is bound, without what is computed from other sites: it is computed anew at other values of them."""
    sites = scope.program.by_name
    return {
        name: value
        for name, value in scope.frame.values.items()
        if name not in sites or sites[name].role is not Role.DETERMINISTIC or not sites[name].parents
    }


def states_of(scope: Scope, name: str) -> int:
    """How many values an element of a site has.

    Raises:
        UnsupportedError: infinitely many.
    """
    site = scope.program.by_name[name]
    states = site.typed.support.states
    if states is None:
        raise unsupported(f"a chain of {name!r} on the support {site.typed.support}", site.span)
    return states


# ---- local functions ------------------------------------------------------------------------------------------------


def local_function(scope: Scope, wish: str, names: tuple[str, ...], body: Callable[[], Lowered]) -> str:
    """A local function of the values of some sites; its name."""
    arguments = tuple(scope.fresh(f"{name}_value") for name in names)
    sites = [scope.program.by_name[name] for name in names]
    values = {
        site.name: Lowered(Var(argument), site.typed.shape, True, Dtype.REAL)
        for site, argument in zip(sites, arguments, strict=True)
    }
    return define(scope, wish, arguments, values, body)


def define(
    scope: Scope, wish: str, arguments: tuple[str, ...], values: dict[str, Lowered], body: Callable[[], Lowered]
) -> str:
    """A local function of arguments, which are the values of sites or make them; its name."""
    outer = scope.frame
    with scope.within(Frame(values={**given(scope), **values}, clock=outer.clock)) as frame:
        value = body()
        frame.statements.append(Return((value.value,)))
    function = scope.fresh(wish)
    scope.statements.append(Define(function, ", ".join(arguments), tuple(frame.statements)))
    return function


def joint_function(scope: Scope, visible: Site, hidden: Site) -> str:
    """log p~ as a local function of a site's value and of its hidden units."""
    density = density_of_energy(visible)
    names = (visible.name, hidden.name)
    return local_function(scope, f"log_p_{'_'.join(names)}", names, lambda: log_unnormalized(scope, density))


def density_of_energy(site: Site) -> Unnormalized:
    """The energy of a site.

    Raises:
        UnsupportedError: its density is another one.
    """
    if not isinstance(site.density, Unnormalized):
        raise unsupported(f"a chain of {site.name!r}, whose density is no energy,", site.span)
    return site.density


# ---- units in which an energy is affine -----------------------------------------------------------------------------


def hidden_units(program: Program, site: Site) -> tuple[str, ...]:
    """The finite latent names of a joint energy beside observed ones, where it is affine in them together."""
    members = [program.by_name[name] for name in site.joint]
    hidden = tuple(member.name for member in members if member.role is Role.LATENT)
    if len(hidden) in {0, len(members)}:
        return ()
    finite = all(program.by_name[name].typed.support.states is not None for name in hidden)
    density = density_of_energy(site)
    affine = density.link is None and density.base is None
    return hidden if finite and affine and degree(program, density.energy, frozenset(hidden)) <= 1 else ()


def marginal(scope: Scope, site: Site, hidden: tuple[str, ...]) -> Lowered:
    """log of the sum of p~ over hidden units, given the other values that are bound: minus the free energy.

    log p~(v, 0) + sum_j log sum_k exp(k b_j(v)), b_j the derivative of log p~ by the unit j (Hinton 2002).
    """
    with scope.branch():
        _bind_empty(scope, hidden)
        value = log_unnormalized(scope, density_of_energy(site))
    for name in hidden:
        slope = unit_slope(scope, site, name, hidden)
        if states_of(scope, name) == 2:
            units = combine("call", slope, function="softplus")
        else:
            weights = _unit_weights(scope, name, slope)
            units = weights.with_value(op("reduce", weights.value, function="logsumexp", axes=(-1,)), slope.shape)
        value = combine("add", value, reduce_event(units, "sum"))
    return value


def _bind_empty(scope: Scope, names: tuple[str, ...]) -> None:
    """Binds units to zero."""
    for name in names:
        shape = scope.program.by_name[name].typed.shape
        value: Value = op("fill", value=0.0, shape=shape) if shape else Number(0.0)
        scope.bind(name, Lowered(value, shape, False, Dtype.REAL))


def unit_slope(scope: Scope, site: Site, name: str, hidden: tuple[str, ...]) -> Lowered:
    """The derivative of log p~ by one name's units, in which it is affine: [.., *units]."""
    density, kind = density_of_energy(site), scope.program.by_name[name].typed

    def body() -> Lowered:
        _bind_empty(scope, tuple(other for other in hidden if other != name))
        return log_unnormalized(scope, density)

    function = local_function(scope, f"log_p_of_{name}", (name,), body)
    like = as_real(lookup(scope, next(other for other in density.names if other not in hidden)))
    empty = op("origin", like.value, rank=like.rank, shape=kind.shape)
    slope = Gradient(function, empty, len(kind.shape), span=site.span)
    return scope.assign(f"{name}_slope", Lowered(slope, kind.shape, True, Dtype.REAL, like.axes))


def _unit_weights(scope: Scope, name: str, slope: Lowered) -> Lowered:
    """The log-weights k b_j of the values of units, on a last axis of their own."""
    states = states_of(scope, name)
    items = (*((None, None, None) for _ in slope.shape), None)
    wide = slope.with_value(op("index", slope.value, items=items, rank=slope.rank), (*slope.shape, 1))
    values = Lowered(op("constant", values=tuple(map(float, range(states)))), (states,))
    return combine("mul", wide, values)


def unit_probabilities(scope: Scope, site: Site, name: str, hidden: tuple[str, ...]) -> Lowered:
    """p(h_j = 1 | v) of binary units, [.., *units]; of more states p(h_j = k | v), [.., *units, states]."""
    slope = unit_slope(scope, site, name, hidden)
    if states_of(scope, name) == 2:
        return combine("call", slope, function="sigmoid")
    weights = _unit_weights(scope, name, slope)
    return weights.with_value(op("cumulative", weights.value, function="softmax", axis=-1))


def draw_units(scope: Scope, site: Site, name: str, hidden: tuple[str, ...]) -> Lowered:
    """Hidden units drawn given the visible ones, which are bound."""
    kind, slope = scope.program.by_name[name].typed, unit_slope(scope, site, name, hidden)
    states, rank = states_of(scope, name), len(kind.shape)
    if states == 2:
        noise = scope.random(name, "uniform", kind.shape, kind.plate)
        form = DensityValue("Bernoulli", (("logits", slope.value),), rank, kind.shape, span=site.span)
    else:
        noise = scope.random(name, "gumbel", (*kind.shape, states), kind.plate)
        weights = _unit_weights(scope, name, slope)
        form = DensityValue("Categorical", (("logits", weights.value),), rank, kind.shape, span=site.span)
    return slope.with_value(Draw(form, noise.value, span=site.span), dtype=kind.dtype)


# ---- where chains begin ---------------------------------------------------------------------------------------------


_STANDARD = {
    "real": Elementary("Normal", (("loc", Literal(0.0)), ("scale", Literal(1.0)))),
    "positive": Elementary("LogNormal", (("loc", Literal(0.0)), ("scale", Literal(1.0)))),
    "unit": Elementary("Uniform", (("low", Literal(0.0)), ("high", Literal(1.0)))),
}


def base_of(density: Unnormalized, site: Site) -> Elementary | None:
    """The normalized density that a chain begins with: the base; without one a standard one of the support."""
    if isinstance(density.base, Elementary):
        return density.base
    if density.base is None and site.typed.support.discrete:
        return None
    support = site.typed.support
    if density.base is None and support.kind in _STANDARD:
        return _STANDARD[support.kind]
    if density.base is None and support.kind == "simplex" and support.size is not None:
        return Elementary("Dirichlet", (("concentration", Call("ones", (Literal(support.size),))),))
    raise unsupported(f"a chain of {site.name!r} on the support {site.typed.support}", site.span)


def uniform_states(states: int, shape: tuple[int, ...]) -> DensityValue:
    """The uniform distribution over 0..states-1 of each element."""
    if states == 2:
        return DensityValue("Bernoulli", (("probs", Number(0.5)),), len(shape), shape)
    flat = op("fill", value=0.0, shape=(*shape, states))
    return DensityValue("Categorical", (("logits", flat),), len(shape), shape)


def state_noise(states: int, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    """Kind and shape of the noise by which units with so many values are drawn."""
    return ("uniform", shape) if states == 2 else ("gumbel", (*shape, states))
