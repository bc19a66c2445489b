"""Expressions: the small, pure language in which a spec's mathematics is written.

The parser builds these nodes without types; `passes` resolves names and returns the same trees with `type` filled in.
Equality ignores places and types, so that a spec written in YAML and one built in Python compare equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from dgmppl.ir.types import TensorType
from dgmppl.source import Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What every expression carries besides its meaning."""

    span: Span | None = field(default=None, compare=False, repr=False)
    type: TensorType | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Literal(Node):
    """A number, truth value, string or null."""

    value: bool | int | float | str | None


@dataclass(frozen=True, slots=True)
class Name(Node):
    """A reference to a site, a data column, a network, an option's value (`js`), or the index of a chain (`t`)."""

    id: str


@dataclass(frozen=True, slots=True)
class Operation(Node):
    """An operator applied to one or two operands: `+ - * / ** @ < <= > >= == !=`, and `neg` (unary minus)."""

    operator: str
    operands: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Call(Node):
    """`function(*arguments, **keywords)`; `splats` are the calls after `**` (all parameters from a network's heads)."""

    function: str
    arguments: tuple[Expression, ...] = ()
    keywords: tuple[tuple[str, Expression], ...] = ()
    splats: tuple[Expression, ...] = ()

    def keyword(self, name: str) -> Expression | None:
        """The value of a keyword, or None where it is not given."""
        return next((value for key, value in self.keywords if key == name), None)


@dataclass(frozen=True, slots=True)
class Index(Node):
    """`value[items]`; an item is an expression or a `Slice`."""

    value: Expression
    items: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Slice(Node):
    """`start:stop:step` inside an index."""

    start: Expression | None = None
    stop: Expression | None = None
    step: Expression | None = None


@dataclass(frozen=True, slots=True)
class Sequence(Node):
    """A list `[a, b]`, or a tuple where a key holds one."""

    items: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Mapping(Node):
    """`{key: value}` as some options take it: `support={v: binary, h: binary(32)}`."""

    items: tuple[tuple[str, Expression], ...]


@dataclass(frozen=True, slots=True)
class Apply(Node):
    """A network applied to inputs; made by `passes.resolve` from a `Call`.

    Attributes:
        network: the network's name, a group of parameters.
        inputs: what it reads, in order; for a causal network the first is the causal one.
        head: the output that is taken; None for a network with a single output.
        causal: the first input is read causally (`net(x[:i])`).
    """

    network: str
    inputs: tuple[Expression, ...]
    head: str | None = None
    causal: bool = False


Expression: TypeAlias = Literal | Name | Operation | Call | Index | Slice | Sequence | Mapping | Apply


def children(expression: Expression) -> tuple[Expression, ...]:
    """The direct sub-expressions, in reading order."""
    match expression:
        case Literal() | Name():
            return ()
        case Operation(operands=parts) | Sequence(items=parts) | Apply(inputs=parts):
            return parts
        case Call(arguments=arguments, keywords=keywords, splats=splats):
            return (*arguments, *(value for _, value in keywords), *splats)
        case Index(value=value, items=items):
            return (value, *items)
        case Slice(start=start, stop=stop, step=step):
            return tuple(part for part in (start, stop, step) if part is not None)
        case Mapping(items=pairs):
            return tuple(value for _, value in pairs)


def walk(expression: Expression) -> Iterator[Expression]:
    """The expression and all below it, parents first."""
    yield expression
    for child in children(expression):
        yield from walk(child)


def rebuild(expression: Expression, change: Callable[[Expression], Expression]) -> Expression:
    """The same node with `change` applied to each direct sub-expression."""
    match expression:
        case Literal() | Name():
            return expression
        case Operation(operands=operands):
            return replace(expression, operands=tuple(map(change, operands)))
        case Sequence(items=items):
            return replace(expression, items=tuple(map(change, items)))
        case Apply(inputs=inputs):
            return replace(expression, inputs=tuple(map(change, inputs)))
        case Call(arguments=arguments, keywords=keywords, splats=splats):
            return replace(
                expression,
                arguments=tuple(map(change, arguments)),
                keywords=tuple((key, change(value)) for key, value in keywords),
                splats=tuple(map(change, splats)),
            )
        case Index(value=value, items=items):
            return replace(expression, value=change(value), items=tuple(map(change, items)))
        case Slice(start=start, stop=stop, step=step):
            parts = [part if part is None else change(part) for part in (start, stop, step)]
            return replace(expression, start=parts[0], stop=parts[1], step=parts[2])
        case Mapping(items=pairs):
            return replace(expression, items=tuple((key, change(value)) for key, value in pairs))


def free_names(expression: Expression) -> frozenset[str]:
    """The names that an expression refers to, networks included."""
    names = {node.id for node in walk(expression) if isinstance(node, Name)}
    networks = {node.network for node in walk(expression) if isinstance(node, Apply)}
    return frozenset(names | networks)


def substitute(expression: Expression, bindings: dict[str, Expression]) -> Expression:
    """The expression with names replaced by expressions, simultaneously."""
    if isinstance(expression, Name):
        return bindings.get(expression.id, expression)
    return rebuild(expression, lambda child: substitute(child, bindings))


_PRECEDENCE = {
    "<": 1, "<=": 1, ">": 1, ">=": 1, "==": 1, "!=": 1, "+": 2, "-": 2, "*": 3, "/": 3, "@": 3, "neg": 4, "**": 5,
}  # fmt: skip
_NOT_LEFT_ASSOCIATIVE = frozenset({"<", "<=", ">", ">=", "==", "!=", "**"})


def text(expression: Expression, outer: int = 0) -> str:
    """The expression in the spec's own syntax; parsing the text gives the expression back."""
    match expression:
        case Literal(value=value):
            negative = isinstance(value, (int, float)) and value < 0
            body, level = repr(value), 4 if negative else 6
        case Name(id=name):
            return name
        case Operation(operator="neg", operands=(operand,)):
            body, level = f"-{text(operand, 4)}", 4
        case Operation(operator=operator, operands=(left, right)):
            level = _PRECEDENCE[operator]
            left_level = level + (operator in _NOT_LEFT_ASSOCIATIVE)
            right_level = level + (operator != "**")
            body = f"{text(left, left_level)} {operator} {text(right, right_level)}"
        case Operation():
            raise AssertionError(f"operator {expression.operator!r} with {len(expression.operands)} operands")
        case Call(function=function, arguments=arguments, keywords=keywords, splats=splats):
            parts = [text(argument) for argument in arguments]
            parts += [f"**{text(splat)}" for splat in splats]
            parts += [f"{key}={text(value)}" for key, value in keywords]
            return f"{function}({', '.join(parts)})"
        case Apply(network=network, inputs=inputs, head=head, causal=causal):
            names = [text(part) for part in inputs]
            if causal:
                names[0] = f"{names[0]}[:i]"
            return f"{network}({', '.join(names)})" + (f".{head}" if head else "")
        case Index(value=value, items=items):
            return f"{text(value, 6)}[{', '.join(map(text, items))}]"
        case Slice(start=start, stop=stop, step=step):
            bounds = ["" if part is None else text(part) for part in (start, stop)]
            return ":".join(bounds + ([text(step)] if step is not None else []))
        case Sequence(items=items):
            return f"[{', '.join(map(text, items))}]"
        case Mapping(items=pairs):
            return "{" + ", ".join(f"{key}: {text(value)}" for key, value in pairs) + "}"
    return f"({body})" if level < outer else body
