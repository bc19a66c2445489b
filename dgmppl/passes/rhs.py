"""Right-hand sides: what a declaration's expression says about its site, as a density node."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace

from dgmppl.ir.bijectors import Bijector, Step
from dgmppl.ir.densities import (
    Density,
    Deterministic,
    DiffusionChain,
    Elementary,
    Factorized,
    GaussianProcess,
    Implicit,
    Learned,
    MarkovChain,
    MixtureOf,
    Pushforward,
    Restricted,
    TrainedDensity,
    Unnormalized,
)
from dgmppl.ir.distributions import DISTRIBUTIONS
from dgmppl.ir.expressions import Apply, Call, Expression, Index, Name, walk
from dgmppl.ir.program import IndexKind
from dgmppl.passes.combinators import COMBINE
from dgmppl.passes.elementary import resolve_elementary
from dgmppl.passes.learned import resolve_learned
from dgmppl.passes.potentials import POTENTIALS
from dgmppl.passes.problems import shown
from dgmppl.passes.scope import Context, Scope
from dgmppl.passes.terms import lag, resolve_expression

# Functions that are bijections of their only argument by themselves.
_INVERTIBLE = ("exp", "log", "sigmoid", "logit", "softplus", "tanh")


def resolve_density(value: Expression, scope: Scope, context: Context) -> Density:
    """The density node of a right-hand side; a plain expression comes back as `Deterministic`."""
    match value:
        case Call(function=name) if name in DISTRIBUTIONS:
            return _factorize(resolve_elementary(value, scope, context), value, scope, context)
        case Call(function=name) if name in COMBINE:
            return _factorize(COMBINE[name](value, scope, context), value, scope, context)
        case Call(function=name) if name in POTENTIALS:
            return POTENTIALS[name](value, scope, context)
        case Call(function="learned") if context.section == "parameters":
            return resolve_learned(value, scope)
        case Call(function=name) if name in scope.bijectors:
            return _pushforward(value, name, value.arguments, False, scope, context)
        case Call(function="inverse", arguments=(Name(id=name), first, *rest)) if name in scope.bijectors:
            return _pushforward(value, name, (first, *rest), True, scope, context)
        case Call(function=name, arguments=(Name(id=base),)) if name in _INVERTIBLE and is_random_name(
            base, scope, context
        ):
            scope.bijectors.setdefault(name, Bijector(name, (Step(name, f"{name}.0", {}),)))
            return _pushforward(value, name, value.arguments, False, scope, context)
    return Deterministic(resolve_expression(value, scope, context), span=value.span)


def is_random_name(name: str, scope: Scope, context: Context) -> bool:
    """Whether `name` is a random site, and what is declared is data: an elementary function of it is a bijection."""
    site = scope.site(name, context.section)
    observed = any(own in scope.columns for own in context.own)
    return observed and site is not None and site.density is not None and is_random(site.density)


def is_random(density: Density) -> bool:
    """Whether the value is drawn, rather than computed or learned."""
    match density:
        case Deterministic() | Learned():
            return False
        case MarkovChain(transition=transition):
            return is_random(transition)
    return True


def _pushforward(
    value: Call, name: str, arguments: tuple[Expression, ...], inverse: bool, scope: Scope, context: Context
) -> Density:
    if not arguments:
        scope.problems.add("missing-argument", f"{name!r} lacks what it maps", value.span, fix=f"write `{name}(z)`")
        return Deterministic(value, span=value.span)
    first, *others = arguments
    more = tuple(resolve_expression(part, scope, context) for part in others)
    resolved = resolve_expression(first, scope, context)
    if not isinstance(resolved, Name):
        scope.problems.add(
            "unnamed-base",
            f"the bijector {name!r} maps {shown(first)}, which has no name",
            first.span,
            expected="the name of a random site",
            fix=f"name it, `e: {shown(first)[1:-1]}`, and write `{name}(e)`",
        )
        return Deterministic(value, span=value.span)
    site = scope.site(resolved.id, context.section)
    if site is None or site.density is None or not is_random(site.density):
        return Deterministic(replace(value, arguments=(resolved, *more)), span=value.span)
    return Pushforward(resolved.id, name, more, inverse, span=value.span)


def _factorize(density: Density, value: Expression, scope: Scope, context: Context) -> Density:
    if context.kind is not IndexKind.ELEMENT:
        return density
    causal = [
        part.network
        for expression in expressions(density)
        for part in walk(expression)
        if isinstance(part, Apply) and part.causal
    ]
    if not causal:
        return density
    if isinstance(density, Elementary) and DISTRIBUTIONS[density.family].event_rank:
        scope.problems.add(
            "not-elementwise",
            f"{density.family!r} has vector events, and a factorization goes element by element",
            value.span,
            expected="a distribution of scalars",
        )
    return Factorized(density, causal[0], span=value.span)


# ---- what a density reads ----------------------------------------------------------------------------------------


def expressions(density: Density) -> Iterator[Expression]:
    """The expressions of a density and of its parts, in reading order."""
    match density:
        case Elementary(parameters=parameters):
            yield from (value for _, value in parameters)
        case MixtureOf(components=components, weights=weights):
            yield from expressions(weights)
            for part in components:
                yield from expressions(part)
        case MarkovChain(initial=initial, transition=transition):
            for _, part in initial:
                yield from expressions(part)
            yield from expressions(transition)
        case Factorized(conditional=conditional):
            yield from expressions(conditional)
        case Restricted(base=base, low=low, high=high):
            yield from expressions(base)
            yield from (bound for bound in (low, high) if bound is not None)
        case Pushforward(base=name, context=context):
            yield from (Name(name), *context)
        case DiffusionChain(context=context):
            yield from context
        case Unnormalized(energy=energy, base=base_density):
            yield energy
            yield from () if base_density is None else expressions(base_density)
        case TrainedDensity(given=given):
            yield from map(Name, given)
        case GaussianProcess(kernel=kernel, noise=noise):
            yield from (kernel, noise)
        case Implicit(function=function):
            yield function
        case _:
            yield from _leaves(density)


def _leaves(density: Density) -> Iterator[Expression]:
    """Densities whose expressions are plain fields: `Deterministic`, `Point`, `FlatPrior`, `Learned`."""
    assert is_dataclass(density)
    for field in fields(density):
        part = getattr(density, field.name)
        if isinstance(part, Expression):
            yield part


def parents_of(density: Density, own: tuple[str, ...], known: frozenset[str], scope: Scope) -> tuple[str, ...]:
    """The sites that a density reads, in order of appearance, without the ones that it defines.

    A local function that it names is read through.
    """
    found: dict[str, None] = {}
    for expression in expressions(density):
        for node in _through_functions(expression, scope):
            if isinstance(node, Name) and node.id in known and node.id not in own:
                found.setdefault(node.id)
    return tuple(found)


def _through_functions(expression: Expression, scope: Scope) -> Iterator[Expression]:
    for node in walk(expression):
        if isinstance(node, Name) and node.id in scope.functions:
            arguments, body = scope.functions[node.id]
            yield from (part for part in walk(body) if not (isinstance(part, Name) and part.id in arguments))
        else:
            yield node


def lags(density: Density, index: str, own: tuple[str, ...]) -> tuple[int, int]:
    """The largest lag of the sites in `own`, and of any site."""
    largest, furthest = 0, 0
    for expression in expressions(density):
        for node in walk(expression):
            match node:
                case Index(value=Name(id=name), items=(item,)):
                    step = lag(item, index) or 0
                    furthest = max(furthest, step)
                    largest = max(largest, step if name in own else 0)
    return largest, furthest
