"""Unnormalized densities (`Energy`, `Positive`) and diffusions."""

from __future__ import annotations

from collections.abc import Callable

from dgmppl.ir.densities import Density, DiffusionChain, Unnormalized
from dgmppl.ir.expressions import Apply, Call, Expression, Literal, Mapping, Name
from dgmppl.ir.options import DIFFUSION_SCHEDULES, PREDICTIONS, SAMPLERS, VARIANCES, WEIGHTINGS
from dgmppl.ir.types import KINDS, Support
from dgmppl.passes.combinators import ERROR, as_support, check_keywords, component, lacks
from dgmppl.passes.learned import as_number
from dgmppl.passes.options import check_option
from dgmppl.passes.problems import shown
from dgmppl.passes.scope import Context, Scope
from dgmppl.passes.terms import resolve_expression

LINKS = ("exp", "abs", "square", "softplus")


def _energy(call: Call, scope: Scope, context: Context) -> Density:
    check_keywords(call, ("base", "support", "sampler"), scope)
    return _unnormalized(call, None, scope, context)


def _positive(call: Call, scope: Scope, context: Context) -> Density:
    check_keywords(call, ("link", "base", "support", "sampler"), scope)
    link = call.keyword("link")
    if not isinstance(link, Name):
        return lacks(call, "its link", "Positive(f, link=square)", scope)
    if link.id not in LINKS:
        scope.problems.unknown("link", link.id, LINKS, link.span, code="unknown-choice")
    return _unnormalized(call, link.id, scope, context)


def _unnormalized(call: Call, link: str | None, scope: Scope, context: Context) -> Density:
    if not call.arguments:
        return lacks(call, "its potential", f"{call.function}(potential)", scope)
    inside = context.as_potential()
    base, sampler, support = (call.keyword(name) for name in ("base", "sampler", "support"))
    if sampler is not None:
        check_option(sampler, SAMPLERS, "sampler", scope.problems)
    return Unnormalized(
        energy=_potential(call, scope, inside),
        names=context.own,
        base=None if base is None else component(base, scope, context),
        link=link,
        sampler=sampler,
        supports=_supports(support, scope, context)[0],
        span=call.span,
    )


def _potential(call: Call, scope: Scope, context: Context) -> Expression:
    """A network's name stands for its value at the site's own variables, then the context."""
    first, *others = call.arguments
    more = tuple(resolve_expression(part, scope, context) for part in others)
    if isinstance(first, Name) and first.id in scope.networks:
        own = tuple(Name(name, span=first.span) for name in context.own)
        return Apply(first.id, (*own, *more), span=first.span)
    if more:
        scope.problems.add(
            "wrong-arguments",
            "only a network's name takes further arguments here",
            others[0].span,
            fix="use the names inside the potential's expression",
        )
    return resolve_expression(first, scope, context)


def _supports(
    value: Expression | None, scope: Scope, context: Context
) -> tuple[tuple[tuple[str, Support], ...], dict[str, tuple[int, ...]]]:
    match value:
        case None:
            return (), {}
        case Mapping(items=pairs):
            given = dict(pairs)
        case _:
            given = dict.fromkeys(context.own, value)
    supports: list[tuple[str, Support]] = []
    shapes: dict[str, tuple[int, ...]] = {}
    for name, part in given.items():
        read = as_support(part)
        if name not in context.own:
            scope.problems.unknown("variable of this site:", name, context.own, part.span)
        elif read is None:
            known = part.function if isinstance(part, Call) else part.id if isinstance(part, Name) else shown(part)
            scope.problems.unknown("support", known, KINDS, part.span, code="unknown-kind")
        else:
            supports.append((name, read[0]))
            if read[1] is not None:
                shapes[name] = read[1]
    return tuple(supports), shapes


def support_shapes(call: Call, scope: Scope, context: Context) -> dict[str, tuple[int, ...]]:
    """The shapes that `support={h: binary(32)}` gives; its mistakes are reported where the density is read."""
    quiet = Scope(scope.columns, type(scope.problems)())
    return _supports(call.keyword("support"), quiet, context)[1]


def _diffusion(call: Call, scope: Scope, context: Context) -> Density:
    check_keywords(call, ("schedule", "steps", "predict", "weighting", "drop", "variance"), scope)
    first = call.arguments[0] if call.arguments else None
    if not isinstance(first, Name):
        return lacks(call, "its denoiser", "Diffusion(denoiser, schedule=cosine(), steps=1000)", scope)
    if first.id not in scope.networks:
        scope.problems.unknown("network", first.id, scope.networks, first.span)
        return ERROR
    schedule = call.keyword("schedule") or Call("cosine", span=call.span)
    check_option(schedule, DIFFUSION_SCHEDULES, "schedule", scope.problems)
    return DiffusionChain(
        denoiser=first.id,
        context=tuple(resolve_expression(part, scope, context) for part in call.arguments[1:]),
        schedule=schedule,
        steps=_steps(call.keyword("steps"), scope),
        predict=_word(call, "predict", "noise", tuple(PREDICTIONS), scope),
        weighting=_word(call, "weighting", "vlb", tuple(WEIGHTINGS), scope),
        drop=_probability(call.keyword("drop"), scope),
        variance=_word(call, "variance", "posterior", tuple(VARIANCES), scope),
        span=call.span,
    )


def _steps(value: Expression | None, scope: Scope) -> int | None:
    match value:
        case None:
            return None
        case Literal(value=int(steps)) if steps > 0 and not isinstance(steps, bool):
            return steps
    scope.problems.add(
        "bad-option",
        f"steps is {shown(value)}",
        value.span,
        expected="a whole number from 1 on",
        fix="leave `steps` out for continuous time",
    )
    return None


def _probability(value: Expression | None, scope: Scope) -> float:
    number = 0.0 if value is None else as_number(value)
    if number is not None and 0.0 <= number < 1.0:
        return number
    scope.problems.add(
        "bad-option",
        f"drop is {shown(value) if value else number}",
        None if value is None else value.span,
        expected="a probability in [0, 1)",
    )
    return 0.0


def _word(call: Call, key: str, default: str, known: tuple[str, ...], scope: Scope) -> str:
    value = call.keyword(key)
    if value is None:
        return default
    if isinstance(value, Name) and value.id in known:
        return value.id
    scope.problems.unknown(
        f"value of `{key}`:", value.id if isinstance(value, Name) else shown(value), known, value.span
    )
    return default


POTENTIALS: dict[str, Callable[[Call, Scope, Context], Density]] = {
    "Energy": _energy, "Positive": _positive, "Diffusion": _diffusion,
}  # fmt: skip
