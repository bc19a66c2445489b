"""Options of engines, optimizers and schedules: a call in the spec's syntax against a table of defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dgmppl.errors import RunError
from dgmppl.ir.expressions import Call, Expression, Literal, Name, Operation, Sequence, text
from dgmppl.ir.options import REQUIRED, Table
from dgmppl.source import nearest


def bind(call: Call, table: Table, what: str) -> dict[str, Any]:
    """Every option of a call by name: what it gives, the table's defaults for the rest.

    Args:
        call: positional arguments fill the options in the table's order.
        table: the closed table that the call is an entry of.
        what: what the table holds, for the message.

    Raises:
        RunError: the entry or an option is unknown, a required option is missing, or one is given twice.
    """
    if call.function not in table:
        raise RunError(f"there is no {what} {call.function!r}{_meant(call.function, table)}")
    options = {argument.name: argument.default for argument in table[call.function].arguments}
    if len(call.arguments) > len(options):
        raise RunError(f"{text(call)} has more arguments than {call.function} has options ({', '.join(options)})")
    given = dict(zip(options, call.arguments, strict=False))
    for name, expression in call.keywords:
        if name not in options:
            raise RunError(f"{call.function} has no option {name!r}{_meant(name, options)}")
        if name in given:
            raise RunError(f"{text(call)} gives {name} twice")
        given[name] = expression
    bound = {**options, **{name: value(expression) for name, expression in given.items()}}
    missing = [name for name, option in bound.items() if option is REQUIRED]
    if missing:
        raise RunError(f"{text(call)} needs {', '.join(missing)}")
    return bound


def calls(expression: Expression | None) -> tuple[Call, ...]:
    """One choice or a list of choices, each as a call; none where nothing is given."""
    items = expression.items if isinstance(expression, Sequence) else () if expression is None else (expression,)
    return tuple(
        Call(item.id, span=item.span) if isinstance(item, Name) else item
        for item in items
        if isinstance(item, Name | Call)
    )


def value(expression: Expression) -> Any:
    """A literal's value; a name's text; lists as tuples; a call as itself."""
    match expression:
        case Literal(value=literal):
            return literal
        case Operation(operator="neg", operands=(operand,)):
            return -value(operand)
        case Name(id=name):
            return name
        case Sequence(items=items):
            return tuple(value(item) for item in items)
        case Call():
            return expression
        case _:
            raise RunError(f"an option cannot be {text(expression)}")


def spell(call: Call, options: Mapping[str, Any]) -> str:
    """A call with every option filled in, in the spec's syntax."""
    return f"{call.function}({', '.join(f'{name}={_text(option)}' for name, option in options.items())})"


def _text(option: Any) -> str:
    if isinstance(option, Call):
        return text(option)
    if isinstance(option, tuple):
        return f"[{', '.join(map(_text, option))}]"
    return option if isinstance(option, str) else repr(option)


def _meant(name: str, names: Mapping[str, object]) -> str:
    close = nearest(name, names)
    return f"; did you mean {close}?" if close else f"; known: {', '.join(names) or 'none'}"
