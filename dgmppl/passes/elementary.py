"""Distributions of the closed table: arguments matched to parameters, defaults filled in."""

from __future__ import annotations

from dgmppl.ir.densities import Elementary
from dgmppl.ir.distributions import DISTRIBUTIONS, Distribution, Parameter
from dgmppl.ir.expressions import Call, Expression, Index, Literal, Name, Sequence, Slice, walk
from dgmppl.ir.types import Shape
from dgmppl.passes.problems import shown
from dgmppl.passes.scope import Context, Scope
from dgmppl.passes.terms import apply_network, resolve_expression
from dgmppl.source import Span


def resolve_elementary(call: Call, scope: Scope, context: Context) -> Elementary:
    """`Normal(loc, scale)`, with every parameter by name, in the distribution's order."""
    family = DISTRIBUTIONS[call.function]
    given = _given(call, family, scope)
    values = {name: resolve_expression(value, scope, context.named(name)) for name, value in given.items()}
    values.update(from_heads(call, family, tuple(values), scope, context))
    _check_choices(call, family, values, scope)
    parameters = tuple(
        (parameter.name, value)
        for parameter in family.parameters
        if (value := values.get(parameter.name, default_of(parameter, call.span))) is not None
    )
    check_complete(call, family, parameters, scope)
    return Elementary(call.function, parameters, span=call.span)


def default_of(parameter: Parameter, span: Span | None) -> Expression | None:
    """A parameter's default as a literal."""
    return None if parameter.default is None else Literal(parameter.default, span=span)


def _given(call: Call, family: Distribution, scope: Scope) -> dict[str, Expression]:
    names = [parameter.name for parameter in family.parameters]
    if len(call.arguments) > len(names):
        scope.problems.add(
            "wrong-arguments",
            f"{family.name!r} takes at most {len(names)} parameters",
            call.span,
            expected=f"`{family.name}({', '.join(names)})`",
            found=shown(call),
        )
    given = dict(zip(names, call.arguments, strict=False))
    for key, value in call.keywords:
        if key == "shape":
            continue
        if key not in names:
            scope.problems.unknown_argument(f"parameter of {family.name!r}:", key, [*names, "shape"], call, value)
        elif key in given:
            scope.problems.add(
                "duplicate-argument", f"{key!r} of {family.name!r} is given twice", value.span or call.span
            )
        else:
            given[key] = value
    return given


def from_heads(
    call: Call, family: Distribution, taken: tuple[str, ...], scope: Scope, context: Context, more: tuple[str, ...] = ()
) -> dict[str, Expression]:
    """What `**net(...)` supplies: a head for each parameter that is not given by hand."""
    if not call.splats:
        return {}
    splat = call.splats[0]
    if len(call.splats) > 1 or not isinstance(splat, Call) or splat.function not in scope.networks:
        scope.problems.add(
            "bad-splat",
            f"`**` before {shown(splat)}, which is no network",
            splat.span,
            expected="one call of a network",
            fix="declare it under `networks`",
        )
        return {}
    heads = (
        *more,
        *(name for name in family.head_names if name not in taken and not _other_choice(family, name, taken)),
    )
    return {head: apply_network(splat, scope, context, head) for head in heads}


def _other_choice(family: Distribution, name: str, taken: tuple[str, ...]) -> bool:
    return any(name in group and set(group) & set(taken) for group in family.choices)


def _check_choices(call: Call, family: Distribution, values: dict[str, Expression], scope: Scope) -> None:
    known = {"shape", *(parameter.name for parameter in family.parameters)}
    for group in family.choices:
        present = [name for name in group if name in values]
        misspelt = any(key not in known for key, _ in call.keywords)
        if len(present) == 1 or (not present and (misspelt or call.splats)):
            continue
        message = f"{family.name!r} takes exactly one of {', '.join(f'`{name}=`' for name in group)}"
        scope.problems.add(
            "choose-one",
            message,
            call.span,
            found=" and ".join(present) or "none of them",
            fix=f"write `{family.name}({group[-1]}=...)`",
        )


def check_complete(
    call: Call, family: Distribution, parameters: tuple[tuple[str, Expression], ...], scope: Scope
) -> None:
    """Record the parameters of a distribution that are neither given nor have a default."""
    present = {name for name, _ in parameters} | {name for group in family.choices for name in group}
    missing = [parameter.name for parameter in family.parameters if parameter.name not in present]
    if missing:
        scope.problems.add(
            "missing-argument",
            f"{family.name!r} lacks {', '.join(map(repr, missing))}",
            call.span,
            expected=f"`{family.name}({', '.join(parameter.name for parameter in family.parameters)})`",
            fix=f"write `{missing[0]}=...`",
        )


def shape_hint(call: Call, scope: Scope) -> Shape | None:
    """`shape=` as sizes; None where it is not given."""
    value = call.keyword("shape")
    return None if value is None else sizes(value, scope)


def sizes(value: Expression, scope: Scope) -> Shape | None:
    """`4`, `[]` or `[8, 8]` as a shape."""
    match value:
        case Literal(value=int(size)) if not isinstance(size, bool) and size > 0:
            return (size,)
        case Sequence(items=items) if all(
            isinstance(item, Literal) and type(item.value) is int and item.value > 0 for item in items
        ):
            return tuple(item.value for item in items if isinstance(item, Literal) and isinstance(item.value, int))
    scope.problems.add(
        "bad-size",
        f"the shape is {shown(value)}",
        value.span,
        expected="a whole number from 1 on, or a list of them",
        fix="write `shape=4`, or `shape=[8, 8]`; `shape=[]` is a scalar",
    )
    return None


def reads_before(expression: Expression, index: str, names: tuple[str, ...]) -> bool:
    """Whether `x[:i]` of one of the names stands in the expression."""
    return any(
        isinstance(node, Index)
        and isinstance(node.value, Name)
        and node.value.id in names
        and any(isinstance(item, Slice) and item.stop == Name(index) for item in node.items)
        for node in walk(expression)
    )
