"""Point parameters: `learned(kind)` in `parameters`, and inline in the guide."""

from __future__ import annotations

from dgmppl.ir.densities import Learned
from dgmppl.ir.expressions import Call, Expression, Literal, Name, Operation
from dgmppl.passes.problems import shown
from dgmppl.passes.scope import Context, Scope

LEARNED_KINDS = ("normal", "zeros", "ones", "positive", "simplex", "ordered", "orthogonal", "cholesky")

# Matrices: a single size n is that of an n x n matrix.
_SQUARE = frozenset({"cholesky", "orthogonal"})


def resolve_learned(call: Call, scope: Scope) -> Learned:
    """`learned(positive(3, 4))` or `learned(0.5)` as a density node."""
    match call:
        case Call(arguments=(argument,), keywords=(), splats=()):
            pass
        case _:
            scope.problems.add(
                "wrong-arguments",
                "`learned` takes one kind with its sizes, or one number to start from",
                call.span,
                expected=f"one of {', '.join(LEARNED_KINDS)}, as `learned(positive(3))`; or `learned(0.5)`",
            )
            return Learned("zeros", span=call.span)
    number = as_number(argument)
    if number is not None:
        return Learned("constant", (), number, span=call.span)
    kind = argument.id if isinstance(argument, Name) else argument.function if isinstance(argument, Call) else None
    if kind not in LEARNED_KINDS:
        scope.problems.unknown(
            "kind of learned parameter:", kind or shown(argument), LEARNED_KINDS, argument.span, code="unknown-kind"
        )
        return Learned("zeros", span=call.span)
    if not isinstance(argument, Call):
        return Learned(kind, span=call.span)
    return _sized(kind, argument, scope)


def _sized(kind: str, call: Call, scope: Scope) -> Learned:
    sizes: list[int] = []
    for part in call.arguments:
        match part:
            case Literal(value=int(size)) if not isinstance(size, bool) and size > 0:
                sizes.append(size)
            case _:
                scope.problems.add(
                    "bad-size", f"{shown(part)} is no size", part.span, expected="a whole number from 1 on"
                )
    value = 1.0
    for key, option in call.keywords:
        number = as_number(option)
        if key != "scale" or kind != "normal":
            allowed = ("scale",) if kind == "normal" else ()
            scope.problems.unknown_argument(f"option of `{kind}`:", key, allowed, call, option)
        elif number is None or number <= 0:
            scope.problems.add("bad-option", f"scale is {shown(option)}", option.span, expected="a positive number")
        else:
            value = number
    if kind in _SQUARE and len(sizes) == 1:
        sizes *= 2
    if kind in {"simplex", "ordered", *_SQUARE} and not sizes:
        scope.problems.add("bad-size", f"`{kind}` needs the size of its last axis", call.span, fix=f"write `{kind}(3)`")
    return Learned(kind, tuple(sizes), value, span=call.span)


def as_number(expression: Expression) -> float | None:
    """The value of a literal number, with its sign; None for anything else."""
    match expression:
        case Literal(value=bool()):
            return None
        case Literal(value=int(value) | float(value)):
            return float(value)
        case Operation(operator="neg", operands=(operand,)):
            positive = as_number(operand)
            return None if positive is None else -positive
    return None


def hoist(call: Call, scope: Scope, context: Context) -> Expression:
    """An inline `learned(...)` of the guide, as a named site of its own: `guide.z.loc`."""
    if context.prefix is None:
        scope.problems.add(
            "misplaced-learned",
            "`learned(...)` stands inside an expression",
            call.span,
            fix="name it under `parameters`, `w: learned(...)`, and use `w` here",
        )
        return call
    name = context.prefix
    number = 1
    while name in scope.hoisted:
        number += 1
        name = f"{context.prefix}{number}"
    scope.hoisted[name] = resolve_learned(call, scope)
    return Name(name, span=call.span)
