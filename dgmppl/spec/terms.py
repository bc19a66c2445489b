"""Expressions as Python objects: names, operators, indexing and calls build the tree that the text would parse to."""

from __future__ import annotations

from collections.abc import Mapping as MappingType
from numbers import Integral, Real
from typing import TypeAlias

from dgmppl.errors import SpecError
from dgmppl.ir.expressions import Call, Expression, Index, Literal, Mapping, Name, Operation, Sequence, Slice
from dgmppl.ir.expressions import text as show
from dgmppl.source import Diagnostic, Source, Span
from dgmppl.spec.expression import parse

Liftable: TypeAlias = (
    "Term | str | bool | int | float | list[Liftable] | tuple[Liftable, ...] | dict[str, Liftable] | None"
)

# Their string arguments are text (a path, a module), not expressions.
_TEXT_ARGUMENTS = frozenset({"Trained", "python"})
_SPLAT = "**"


class Term:
    """An expression under construction.

    It takes part in `+ - * / ** @`, comparisons, unary minus, indexing; a term that is a name can be called; and
    `Normal(**term)` takes all parameters from the heads of the network that the term calls.
    """

    __slots__ = ("expression",)
    __iter__ = None  # Python would otherwise iterate by indexing, without end.

    def __init__(self, expression: Expression) -> None:
        self.expression = expression

    def __repr__(self) -> str:
        return show(self.expression)

    def __call__(self, *arguments: Liftable, **keywords: Liftable) -> Term:
        """The call of a function, network or bijector of this name."""
        if not isinstance(self.expression, Name):
            raise _refusal("call-target", f"`{self!r}` cannot be called: only a name can")
        return call(self.expression.id, arguments, keywords)

    def __getitem__(self, key: Liftable | slice | tuple[Liftable | slice, ...]) -> Term:
        if isinstance(key, str) and key.startswith(_SPLAT):
            return self
        items = key if isinstance(key, tuple) else (key,)
        return Term(Index(self.expression, tuple(_item(item) for item in items)))

    def keys(self) -> list[str]:
        """One marker, by which `f(**term)` hands the whole term over."""
        return [f"{_SPLAT}{self!r}"]

    def __bool__(self) -> bool:
        raise _refusal(
            "no-boolean-operator", "a term has no truth value while the spec is written", "`where(condition, a, b)`"
        )

    def __neg__(self) -> Term:
        if isinstance(self.expression, Literal) and isinstance(self.expression.value, (int, float)):
            return Term(Literal(-self.expression.value))
        return Term(Operation("neg", (self.expression,)))

    def __add__(self, other: Liftable) -> Term:
        return _operation("+", self, other)

    def __radd__(self, other: Liftable) -> Term:
        return _operation("+", other, self)

    def __sub__(self, other: Liftable) -> Term:
        return _operation("-", self, other)

    def __rsub__(self, other: Liftable) -> Term:
        return _operation("-", other, self)

    def __mul__(self, other: Liftable) -> Term:
        return _operation("*", self, other)

    def __rmul__(self, other: Liftable) -> Term:
        return _operation("*", other, self)

    def __truediv__(self, other: Liftable) -> Term:
        return _operation("/", self, other)

    def __rtruediv__(self, other: Liftable) -> Term:
        return _operation("/", other, self)

    def __pow__(self, other: Liftable) -> Term:
        return _operation("**", self, other)

    def __rpow__(self, other: Liftable) -> Term:
        return _operation("**", other, self)

    def __matmul__(self, other: Liftable) -> Term:
        return _operation("@", self, other)

    def __rmatmul__(self, other: Liftable) -> Term:
        return _operation("@", other, self)

    def __lt__(self, other: Liftable) -> Term:
        return _operation("<", self, other)

    def __le__(self, other: Liftable) -> Term:
        return _operation("<=", self, other)

    def __gt__(self, other: Liftable) -> Term:
        return _operation(">", self, other)

    def __ge__(self, other: Liftable) -> Term:
        return _operation(">=", self, other)

    def __eq__(self, other: object) -> Term:  # type: ignore[override]
        return _operation("==", self, other)  # type: ignore[arg-type]

    def __ne__(self, other: object) -> Term:  # type: ignore[override]
        return _operation("!=", self, other)  # type: ignore[arg-type]

    def __hash__(self) -> int:
        return hash(self.expression)


def call(function: str, arguments: tuple[Liftable, ...], keywords: MappingType[str, Liftable]) -> Term:
    """`function(*arguments, **keywords)` as a term; a keyword that starts with `**` hands over a whole term."""
    as_text = function in _TEXT_ARGUMENTS
    positional = tuple(
        Literal(argument) if as_text and isinstance(argument, str) else lift(argument) for argument in arguments
    )
    named = tuple((name, lift(value)) for name, value in keywords.items() if not name.startswith(_SPLAT))
    splats = tuple(lift(value) for name, value in keywords.items() if name.startswith(_SPLAT))
    return Term(Call(function, positional, named, splats))


def lift(value: Liftable) -> Expression:
    """A Python value as an expression; strings are parsed.

    Raises:
        SpecError: it is no expression.
    """
    match value:
        case Term():
            return value.expression
        case str():
            source = Source("<python>", value)
            return parse(value, Span(source, 1, 1, 1, len(value) + 1))
        case None | bool():
            return Literal(value)
        case Integral():
            return Literal(int(value))
        case Real():
            return Literal(float(value))
        case list() | tuple():
            return Sequence(tuple(map(lift, value)))
        case dict():
            return Mapping(tuple((name, lift(part)) for name, part in value.items()))
    raise _refusal(
        "python-value", f"an expression cannot hold a {type(value).__name__}", "numbers, text, terms, lists of them"
    )


def _item(item: Liftable | slice) -> Expression:
    if not isinstance(item, slice):
        return lift(item)
    bounds = [None if bound is None else lift(bound) for bound in (item.start, item.stop, item.step)]
    return Slice(*bounds)


def _operation(operator: str, left: Liftable, right: Liftable) -> Term:
    return Term(Operation(operator, (lift(left), lift(right))))


def _refusal(code: str, message: str, fix: str | None = None) -> SpecError:
    return SpecError([Diagnostic(code, message, fix=fix)])
