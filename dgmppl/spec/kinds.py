"""Kinds of option values: each reads a YAML node, says what it expects, and prints itself as JSON Schema.

An option is declared once, in `sections`, with its kind; reader, editor schema and documentation follow from that.
`containers` has the kinds that are made of others.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from dgmppl.errors import Problem, SpecError
from dgmppl.ir.expressions import Expression, Literal
from dgmppl.ir.expressions import Sequence as ListExpression
from dgmppl.source import Diagnostic, Edit, nearest
from dgmppl.spec.expression import MAX_INTEGER, parse
from dgmppl.spec.syntax import Option
from dgmppl.spec.yaml_reader import List, Node, Scalar, Table, positions

Schema: TypeAlias = dict[str, Any]
T = TypeVar("T")
R = TypeVar("R")

_SHOWN = 20
EXPRESSION_SCHEMA: Schema = {"$ref": "#/$defs/expression"}


class Kind(ABC):
    """What an option's value may be."""

    @property
    def expected(self) -> str:
        """The values in words, as `expected:` shows them."""
        return self._words()

    def accepts(self, node: Node) -> bool:
        """Whether a node has this kind's form; its range is checked by `read`."""
        return self._accepts(node)

    def read(self, node: Node, name: str) -> Option:
        """The value of a node.

        Args:
            node: what stands in the spec.
            name: what it is called in a message.

        Raises:
            SpecError: the node is of another form, or out of range.
        """
        if not self._accepts(node):
            raise wrong_type(node, self.expected, name)
        return self._read(node)

    def schema(self) -> Schema:
        """The values as JSON Schema."""
        return self._schema()

    @abstractmethod
    def _words(self) -> str: ...

    @abstractmethod
    def _accepts(self, node: Node) -> bool: ...

    @abstractmethod
    def _read(self, node: Node) -> Option: ...

    @abstractmethod
    def _schema(self) -> Schema: ...


def describe(node: Node) -> str:
    """What stands at a node, as `found:` shows it."""
    match node:
        case List():
            return "a list"
        case Table():
            return "a mapping"
        case Scalar() if is_null(node):
            return "nothing"
    shown = node.text if len(node.text) <= 60 else node.text[:57] + "..."
    return f'"{shown}"' if node.style == "quoted" else shown


def listing(names: Iterable[str]) -> str | None:
    """Known names as `expected:` shows them: the first few; None where there are none."""
    known = list(names)
    more = [f"... ({len(known) - _SHOWN} more)"] if len(known) > _SHOWN else []
    return ", ".join([*known[:_SHOWN], *more]) or None


def is_null(node: Node) -> bool:
    """Whether a node is YAML's null: `null`, `~` or nothing at all."""
    return isinstance(node, Scalar) and node.style == "plain" and node.value is None


def wrong_type(node: Node, expected: str, name: str = "this") -> SpecError:
    """The error for a node of another form than expected."""
    code = "missing-value" if is_null(node) else "wrong-type"
    message = f"{name} has no value" if is_null(node) else f"{name} has a value of the wrong type"
    return SpecError([Diagnostic(code, message, node.span, expected=expected, found=describe(node))])


def expression(node: Node) -> Expression:
    """The expression that stands at a node: text, a number, or a list of expressions.

    Raises:
        SpecError: it holds no expression; all of its problems at once.
    """
    match node:
        case Scalar():
            return _scalar_expression(node)
        case List(items=items):
            return ListExpression(tuple(gather(items, expression)), span=node.span)
    fix = "put an expression that holds `{...}` in quotes"
    raise SpecError(
        [Diagnostic("wrong-type", "an expression is no YAML mapping", node.span, expected="an expression", fix=fix)]
    )


def _scalar_expression(node: Scalar) -> Expression:
    value = node.value
    if is_null(node):
        raise wrong_type(node, "an expression", "the expression")
    if isinstance(value, (int, float)):
        # A Python int of any length: it is compared before anything makes a float of it.
        fits = abs(value) <= MAX_INTEGER if isinstance(value, int) else math.isfinite(value)
        if fits:
            return Literal(value, span=node.span)
        message = "the number is too large" if isinstance(value, int) else "the number is not finite"
        raise SpecError([Diagnostic("expression-limits", message, node.span, expected="a finite number of 64 bits")])
    one_line = node.style == "plain" and node.span.line == node.span.end_line
    return parse(node.text, node.span, None if one_line else positions(node))


@dataclass(frozen=True, slots=True)
class Expr(Kind):
    """An expression."""

    words: str = "an expression"

    def _words(self) -> str:
        return self.words

    def _accepts(self, node: Node) -> bool:
        return not isinstance(node, Table) and not is_null(node)

    def _read(self, node: Node) -> Option:
        return expression(node)

    def _schema(self) -> Schema:
        return EXPRESSION_SCHEMA


@dataclass(frozen=True, slots=True)
class Text(Kind):
    """Text, taken as it stands."""

    words: str = "text"

    def _words(self) -> str:
        return self.words

    def _accepts(self, node: Node) -> bool:
        return isinstance(node, Scalar) and not is_null(node)

    def _read(self, node: Node) -> Option:
        assert isinstance(node, Scalar)
        return node.text

    def _schema(self) -> Schema:
        return {"type": ["string", "number", "boolean"]}


@dataclass(frozen=True, slots=True)
class Boolean(Kind):
    """`true` or `false`."""

    def _words(self) -> str:
        return "true or false"

    def _accepts(self, node: Node) -> bool:
        return isinstance(node, Scalar) and isinstance(node.value, bool)

    def _read(self, node: Node) -> Option:
        assert isinstance(node, Scalar)
        return node.value

    def _schema(self) -> Schema:
        return {"type": "boolean"}


@dataclass(frozen=True, slots=True)
class Choice(Kind):
    """One of a few words."""

    words: tuple[str, ...]

    def _words(self) -> str:
        return " | ".join(self.words)

    def _accepts(self, node: Node) -> bool:
        return isinstance(node, Scalar) and isinstance(node.value, str)

    def _read(self, node: Node) -> Option:
        assert isinstance(node, Scalar)
        if node.text in self.words:
            return node.text
        close = nearest(node.text, self.words)
        edit = Edit(node.span, close) if close is not None and node.style == "plain" else None
        fix = f"write `{close}`" if close is not None else None
        message = f"there is no `{node.text}` here"
        raise SpecError([Diagnostic("unknown-choice", message, node.span, self.expected, node.text, fix, edit=edit)])

    def _schema(self) -> Schema:
        return {"enum": list(self.words)}


@dataclass(frozen=True, slots=True)
class Integer(Kind):
    """A whole number of at least `minimum`."""

    minimum: int

    def _words(self) -> str:
        return f"an integer of at least {self.minimum}"

    def _accepts(self, node: Node) -> bool:
        return isinstance(node, Scalar) and isinstance(node.value, int) and not isinstance(node.value, bool)

    def _read(self, node: Node) -> Option:
        assert isinstance(node, Scalar)
        assert isinstance(node.value, int)
        if self.minimum <= node.value <= MAX_INTEGER:
            return node.value
        raise SpecError([Diagnostic("out-of-range", "the number is out of range", node.span, self.expected, node.text)])

    def _schema(self) -> Schema:
        return {"type": "integer", "minimum": self.minimum, "maximum": MAX_INTEGER}


@dataclass(frozen=True, slots=True)
class Number(Kind):
    """A number above `low`, and below `high` (or up to it, where `closed`)."""

    low: float
    high: float = math.inf
    closed: bool = False

    def _words(self) -> str:
        if math.isinf(self.high):
            return f"a number above {self.low:g}"
        return f"a number above {self.low:g} and {'at most' if self.closed else 'below'} {self.high:g}"

    def _accepts(self, node: Node) -> bool:
        return isinstance(node, Scalar) and isinstance(node.value, (int, float)) and not isinstance(node.value, bool)

    def _read(self, node: Node) -> Option:
        assert isinstance(node, Scalar)
        assert isinstance(node.value, (int, float))
        value = node.value
        if self.low < value < self.high or (self.closed and value == self.high):
            return float(value)
        raise SpecError([Diagnostic("out-of-range", "the number is out of range", node.span, self.expected, node.text)])

    def _schema(self) -> Schema:
        schema: Schema = {"type": "number", "exclusiveMinimum": self.low}
        if not math.isinf(self.high):
            schema["maximum" if self.closed else "exclusiveMaximum"] = self.high
        return schema


def gather(items: Iterable[T], read: Callable[[T], R]) -> list[R]:
    """Each item as read; the problems of all items together in one SpecError."""
    found: list[R] = []
    problems: list[Problem] = []
    for item in items:
        try:
            found.append(read(item))
        except SpecError as error:
            problems += error.diagnostics
    if problems:
        raise SpecError(problems)
    return found
