"""Constructs that make densities from others: mixtures, restrictions, improper priors, processes, trained models."""

from __future__ import annotations

from collections.abc import Callable

from dgmppl.ir.densities import (
    Density,
    Elementary,
    FlatPrior,
    GaussianProcess,
    MixtureOf,
    Point,
    Restricted,
    TrainedDensity,
)
from dgmppl.ir.distributions import DISTRIBUTIONS
from dgmppl.ir.expressions import Call, Expression, Literal, Name, Sequence
from dgmppl.ir.types import KINDS, Support
from dgmppl.passes.elementary import check_complete, default_of, from_heads, resolve_elementary
from dgmppl.passes.learned import as_number
from dgmppl.passes.problems import shown
from dgmppl.passes.scope import Context, Scope
from dgmppl.passes.terms import resolve_expression

ERROR = Point(Literal(0.0))
MIXING = "mixture_logits"


def check_keywords(call: Call, allowed: tuple[str, ...], scope: Scope) -> None:
    """Refuse keywords that a construct does not have; `shape=` is always allowed."""
    for key, value in call.keywords:
        if key not in allowed and key != "shape":
            scope.problems.unknown_argument(f"argument of {call.function!r}:", key, (*allowed, "shape"), call, value)


def lacks(call: Call, what: str, example: str, scope: Scope) -> Density:
    """Record a missing argument; what comes back stands for the density."""
    scope.problems.add("missing-argument", f"{call.function!r} lacks {what}", call.span, expected=f"`{example}`")
    return ERROR


def component(value: Expression, scope: Scope, context: Context) -> Density:
    """A distribution that stands as an argument: one of the table, or a combinator of one."""
    if isinstance(value, Call) and value.function in DISTRIBUTIONS:
        return resolve_elementary(value, scope, context)
    if isinstance(value, Call) and value.function in COMBINE:
        return COMBINE[value.function](value, scope, context)
    scope.problems.add(
        "not-a-distribution", f"{shown(value)} is no distribution", value.span, expected="for example `Normal(0, 1)`"
    )
    return ERROR


def _flat(call: Call, scope: Scope, context: Context) -> Density:
    check_keywords(call, ("low", "high"), scope)
    support = None if not call.arguments else as_support(call.arguments[0])
    if support is not None and len(call.arguments) == 1 and not call.keyword("low"):
        return FlatPrior(support[0], span=call.span)
    bounds = dict(zip(("low", "high"), call.arguments, strict=False)) | {k: v for k, v in call.keywords if k != "shape"}
    if not bounds:
        return lacks(call, "its support", "Flat(real)` or `Flat(0, 1)", scope)
    if isinstance(call.arguments[0] if call.arguments else None, Name) and len(call.arguments) == 1:
        name = call.arguments[0]
        if isinstance(name, Name) and scope.site(name.id, context.section) is None:
            scope.problems.unknown("support", name.id, KINDS, name.span, code="unknown-kind")
            return ERROR
    low, high = (
        None if bounds.get(key) is None else resolve_expression(bounds[key], scope, context) for key in ("low", "high")
    )
    return FlatPrior(Support("interval", low=_constant(low), high=_constant(high)), low, high, span=call.span)


def _constant(bound: Expression | None) -> float | None:
    return None if bound is None else as_number(bound)


def as_support(value: Expression) -> tuple[Support, tuple[int, ...] | None] | None:
    """`binary`, `binary(32)` (32 elements), `integer(10)` (10 states), `integer(10, 4)`: support and shape, or None."""
    match value:
        case Name(id=kind) if kind in KINDS and kind not in {"interval", "integer"}:
            return Support(kind), None
        case Call(function=kind, arguments=arguments, keywords=(), splats=()) if kind in KINDS and kind != "interval":
            numbers = [part.value for part in arguments if isinstance(part, Literal) and type(part.value) is int]
            if len(numbers) != len(arguments) or not numbers:
                return None
            if kind in {"integer", "simplex"}:
                return Support(kind, size=numbers[-1 if kind == "simplex" else 0]), tuple(
                    numbers[:-1] if kind == "simplex" else numbers[1:]
                ) or None
            return Support(kind), tuple(numbers)
    return None


def _restricted(call: Call, scope: Scope, context: Context) -> Density:
    if not call.arguments:
        return lacks(call, "a distribution", f"{call.function}(Normal(0, 1))", scope)
    allowed = () if call.function == "Ordered" else ("low", "high")
    check_keywords(call, allowed, scope)
    bounds = {name: value for name, value in call.keywords if name in allowed}
    if allowed and not bounds:
        return lacks(call, "a bound", f"{call.function}(Normal(0, 1), low=0)", scope)
    base = component(call.arguments[0], scope, context)
    low, high = (resolve_expression(bounds[key], scope, context) if key in bounds else None for key in ("low", "high"))
    return Restricted(base, call.function.lower(), low, high, span=call.span)


def _process(call: Call, scope: Scope, context: Context) -> Density:
    check_keywords(call, ("kernel", "noise"), scope)
    kernel = call.arguments[0] if call.arguments else call.keyword("kernel")
    noise = call.arguments[1] if len(call.arguments) > 1 else call.keyword("noise")
    if kernel is None or noise is None:
        return lacks(call, "its kernel or its noise variance", "GP(rbf(x, lengthscale=rho), noise=s)", scope)
    return GaussianProcess(
        resolve_expression(kernel, scope, context),
        resolve_expression(noise, scope, context.named("noise")),
        span=call.span,
    )


def _point(call: Call, scope: Scope, context: Context) -> Density:
    if len(call.arguments) != 1:
        return lacks(call, "its value", "Point(0)", scope)
    return Point(resolve_expression(call.arguments[0], scope, context), span=call.span)


def _zero_inflated(call: Call, scope: Scope, context: Context) -> Density:
    """P(0) = gate + (1 - gate) p(0): a mixture of a point at zero, with weight `gate`, and the distribution."""
    check_keywords(call, ("gate",), scope)
    gate = call.keyword("gate")
    if not call.arguments or gate is None:
        return lacks(call, "a distribution or its gate", "ZeroInflated(Poisson(r), gate=g)", scope)
    gate = resolve_expression(gate, scope, context.named("gate"))
    weights = Elementary("Bernoulli", (("probs", gate),), span=call.span)
    base = component(call.arguments[0], scope, context)
    return MixtureOf((base, Point(Literal(0, span=call.span), span=call.span)), weights, False, 2, span=call.span)


def _mixture(call: Call, scope: Scope, context: Context) -> Density:
    first = call.arguments[0] if call.arguments else None
    match first:
        case Name(id=family) if family in DISTRIBUTIONS:
            return _one_family(call, family, scope, context)
        case Sequence(items=items):
            return _families(call, items, scope, context)
        case Name(id=family, span=span):
            scope.problems.unknown("distribution", family, DISTRIBUTIONS, span)
            return ERROR
    return lacks(call, "its family", "Mixture(Normal, components=4, **net(z))", scope)


def _families(call: Call, items: tuple[Expression, ...], scope: Scope, context: Context) -> Density:
    check_keywords(call, ("weights", "joint"), scope)
    given = call.keyword("weights")
    if given is None:
        return lacks(call, "its weights", "Mixture([Point(0), Poisson(r)], weights=w)", scope)
    weights = Elementary(
        "Categorical", (("probs", resolve_expression(given, scope, context.named("weights"))),), span=call.span
    )
    parts = tuple(component(item, scope, context) for item in items)
    return MixtureOf(parts, weights, _flag(call, "joint", scope), len(parts), span=call.span)


def _one_family(call: Call, name: str, scope: Scope, context: Context) -> Density:
    family = DISTRIBUTIONS[name]
    parameters = tuple(parameter.name for parameter in family.parameters)
    check_keywords(call, ("components", "weights", "joint", *parameters), scope)
    values = {
        key: resolve_expression(value, scope, context.named(key)) for key, value in call.keywords if key in parameters
    }
    given = call.keyword("weights")
    supplied = from_heads(call, family, tuple(values), scope, context, more=() if given is not None else (MIXING,))
    logits = supplied.pop(MIXING, None)
    if given is not None:
        mixing: tuple[str, Expression] = ("probs", resolve_expression(given, scope, context.named("weights")))
    elif logits is not None:
        mixing = ("logits", logits)
    else:
        return lacks(
            call, "its weights", f"Mixture({name}, weights=w, ...)` or `Mixture({name}, components=4, **net(z))", scope
        )
    values.update(supplied)
    inner = tuple(
        (parameter.name, value)
        for parameter in family.parameters
        if (value := values.get(parameter.name, default_of(parameter, call.span))) is not None
        and not any(parameter.name in group and set(group) & set(values) - {parameter.name} for group in family.choices)
    )
    check_complete(call, family, inner, scope)
    base = Elementary(name, inner, span=call.span)
    weights = Elementary("Categorical", (mixing,), span=call.span)
    return MixtureOf((base,), weights, _flag(call, "joint", scope), _count(call, scope), span=call.span)


def _flag(call: Call, key: str, scope: Scope) -> bool:
    value = call.keyword(key)
    match value:
        case None:
            return False
        case Literal(value=bool(flag)):
            return flag
    scope.problems.add("bad-option", f"{key} is {shown(value)}", value.span, expected="true or false")
    return False


def _count(call: Call, scope: Scope) -> int:
    """The number of components; 0 where the weights' own shape decides it."""
    value = call.keyword("components")
    match value:
        case None:
            if call.splats:
                lacks(call, "the number of components", "components=4", scope)
            return 0
        case Literal(value=int(count)) if count > 0 and not isinstance(count, bool):
            return count
    scope.problems.add("bad-size", f"components is {shown(value)}", value.span, expected="a whole number from 1 on")
    return 0


def _trained(call: Call, scope: Scope, context: Context) -> Density:
    check_keywords(call, ("given",), scope)
    match call.arguments:
        case (Literal(value=str(run)),):
            pass
        case _:
            return lacks(call, "the folder of a finished run", 'Trained("runs/prior")', scope)
    given = call.keyword("given")
    parts = given.items if isinstance(given, Sequence) else () if given is None else (given,)
    names: list[str] = []
    for part in parts:
        if isinstance(part, Name):
            names.append(part.id)
            resolve_expression(part, scope, context)
        else:
            scope.problems.add("not-a-name", f"`given` holds {shown(part)}", part.span, expected="names of sites")
    return TrainedDensity(run, tuple(names), span=call.span)


COMBINE: dict[str, Callable[[Call, Scope, Context], Density]] = {
    "Flat": _flat, "Ordered": _restricted, "Truncated": _restricted, "Censored": _restricted, "GP": _process,
    "Mixture": _mixture, "ZeroInflated": _zero_inflated, "Point": _point, "Trained": _trained,
}  # fmt: skip
