"""The objective expression of a spec, taken apart: a sum of calls with positive weights.

Names and arguments have been checked against `dgmppl.ir.options.OBJECTIVES` by the passes; here they are read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dgmppl.errors import InternalError, SpecError
from dgmppl.ir.expressions import Call, Expression, Literal, Mapping, Name, Operation, text
from dgmppl.ir.options import OBJECTIVES
from dgmppl.source import Diagnostic, Span

Weight = float | Expression


@dataclass(frozen=True)
class Request:
    """One term that a spec asks for: `weight * call`."""

    call: Call
    weight: Weight = 1.0

    @property
    def span(self) -> Span | None:
        """Where it is written."""
        return self.call.span

    def get(self, name: str) -> Expression | None:
        """An argument as written, by position or keyword; None where it is left out."""
        found = OBJECTIVES[self.call.function].given(self.call, name)
        return None if isinstance(found, Literal) and found.value is None else found

    def scalar(self, name: str) -> Weight:
        """A number or a schedule; the table's default where it is left out."""
        found = self.get(name)
        value = number(found)
        return value if value is not None else found if found is not None else float(_default(self, name))

    def whole(self, name: str) -> int | None:
        """A whole number; None for `auto`."""
        found = self.get(name)
        value = number(found) if found is not None else _default(self, name)
        return int(value) if isinstance(value, int | float) else None

    def flag(self, name: str) -> bool:
        """A truth value."""
        found = self.get(name)
        return bool(found.value) if isinstance(found, Literal) else bool(_default(self, name))

    def word(self, name: str) -> str:
        """A choice by its word; a call such as `alpha(2)` counts by its function."""
        return called(self.get(name)) or str(_default(self, name))

    def mapping(self, name: str) -> tuple[tuple[str, Expression], ...]:
        """The pairs of `{site: choice}`."""
        found = self.get(name)
        return found.items if isinstance(found, Mapping) else ()


def _default(request: Request, name: str) -> int | float | str | bool:
    argument = OBJECTIVES[request.call.function].argument(name)
    if argument is None or not isinstance(argument.default, int | float | str | bool):
        raise InternalError(f"{request.call.function}() has no default for {name!r}")
    return argument.default


def request(function: str, **keywords: Expression) -> Request:
    """A term that the structure calls for, where the spec asks for none."""
    return Request(Call(function, keywords=tuple(keywords.items())))


def requests(expression: Expression | None) -> tuple[Request, ...]:
    """The terms of an objective expression, in order; none where nothing is written."""
    return tuple(_terms(expression, 1.0)) if expression is not None else ()


def _terms(expression: Expression, weight: float) -> Iterator[Request]:
    match expression:
        case Operation(operator="+", operands=(left, right)):
            yield from _terms(left, weight)
            yield from _terms(right, weight)
        case Operation(operator="*", operands=(left, right)):
            factor, term = (left, right) if number(left) is not None else (right, left)
            yield from _terms(term, weight * (number(factor) or 0.0))
        case Name(id=name):
            yield Request(Call(name, span=expression.span), weight)
        case Call():
            yield Request(expression, _weight(expression, weight))
        case _:
            raise InternalError(f"`{text(expression)}` reached the engine as an objective")


def _weight(call: Call, outer: float) -> Weight:
    """A term's weight: the factor before it times its own `weight=`."""
    own = call.keyword("weight")
    value = number(own)
    if own is None:
        return outer
    if value is None:
        return own if outer == 1 else Operation("*", (Literal(outer), own))
    if value <= 0:
        raise problem(
            "objective-weight",
            f"the weight {text(own)} is not positive",
            own.span,
            fix="objectives are minimized sums of positive multiples; leave the term out to switch it off",
        )
    return outer * value


def number(expression: Expression | None) -> float | None:
    """The number that an expression is, or None."""
    match expression:
        case Literal(value=bool()):
            return None
        case Literal(value=int() | float() as value):
            return float(value)
        case Operation(operator="neg", operands=(operand,)):
            inside = number(operand)
            return None if inside is None else -inside
        case _:
            return None


def called(expression: Expression | None) -> str | None:
    """The word that a name or a call starts with: `js`, `gradient(10)` -> `gradient`; None for anything else."""
    match expression:
        case Name(id=word) | Call(function=word):
            return word
        case Literal(value=str() as word):
            return word
        case _:
            return None


def problem(
    code: str,
    message: str,
    span: Span | None,
    *,
    expected: str | None = None,
    found: str | None = None,
    fix: str | None = None,
    notes: tuple[str, ...] = (),
) -> SpecError:
    """An error with a single diagnostic."""
    return SpecError([Diagnostic(code, message, span, expected, found, fix, notes)])
