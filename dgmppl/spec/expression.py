"""Text -> expressions and keys, by Python's own parser with every node checked.

Nothing is ever evaluated: `ast.parse` builds a tree, and the tree is rebuilt as `dgmppl.ir.expressions` node by node.
What the language does not have is refused with what to write instead.
"""

from __future__ import annotations

import ast
import keyword
import math
import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from dgmppl.errors import SpecError
from dgmppl.ir.expressions import Call, Expression, Index, Literal, Mapping, Name, Operation, Slice
from dgmppl.ir.expressions import Sequence as ListExpression
from dgmppl.source import Diagnostic, Span
from dgmppl.spec.refusals import BINARY_OPERATORS, COMPARISONS, CONSTRUCTS, OPERATORS, Refusal
from dgmppl.spec.syntax import Key
from dgmppl.spec.tokens import Flaw, first_flaw

MAX_DEPTH = 100
MAX_STRING = 1_000
MAX_INTEGER = 2**63 - 1

_WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None}
_BREAKS = re.compile(r"[\n\r\t\x85\u2028\u2029]")


def parse(text: str, span: Span, positions: Sequence[Span] | None = None) -> Expression:
    """The expression that a text describes.

    Args:
        text: the expression.
        span: where it stands.
        positions: the place of each character and of the end; without them, places inside a one-line span are counted
            from its start, and any other place is the whole span.

    Raises:
        SpecError: the text is no expression of the language; one diagnostic for each construct that it does not have.
    """
    parser = _Parser(text, span, positions)
    tree = parser.tree()
    result = parser.convert(tree)
    if parser.problems:
        raise SpecError(parser.problems)
    return result


def parse_key(text: str, span: Span, positions: Sequence[Span] | None = None) -> Key:
    """The key that a text describes: `x`, `x[i]`, `z[0]`, `theta[school]`, `(v, h)`, `rate(s)`.

    Args:
        text: the key.
        span: where it stands.
        positions: as for `parse`.

    Raises:
        SpecError: the text declares nothing.
    """
    stripped = text.strip()
    if keyword.iskeyword(stripped) or stripped in _WORDS:
        message = f"`{stripped}` is a word of the language and cannot be a name"
        raise SpecError([Diagnostic("name-form", message, span, fix=f"another name, such as `{stripped}_`")])
    parser = _Parser(text, span, positions)
    try:
        tree = parser.tree()
        key = _key(parser, tree, stripped.startswith("("))
    except SpecError as error:
        if any(problem.code in {"expression-syntax", "expression-empty"} for problem in error.diagnostics):
            raise SpecError([_no_key(text, span)]) from None
        raise
    if parser.problems:
        raise SpecError(parser.problems)
    return key


def _no_key(text: str, span: Span) -> Diagnostic:
    expected = "a name, `x[i]`, `z[0]`, `z[t]`, `theta[level]`, `(v, h)` or `rate(s)`"
    return Diagnostic("key-form", f"`{text}` declares nothing", span, expected=expected, found=text)


def _key(parser: _Parser, tree: ast.expr, parenthesized: bool) -> Key:
    place, text, span = parser.place, parser.text.strip(), parser.span
    match tree:
        case ast.Name(id=name):
            return Key((name,), span=span)
        case ast.Subscript(value=ast.Name(id=name), slice=index):
            return Key((name,), index=_key_index(parser, index), span=span)
        case ast.Tuple(elts=items) if all(isinstance(item, ast.Name) for item in items) and len(items) > 1:
            names = tuple(item.id for item in items if isinstance(item, ast.Name))
            if not parenthesized:
                message = "several names in a key stand in parentheses"
                raise SpecError([Diagnostic("key-form", message, span, found=text, fix=f"({', '.join(names)})")])
            return Key(_distinct(parser, names, items), span=span)
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if arguments and all(
            isinstance(argument, ast.Name) for argument in arguments
        ):
            names = tuple(argument.id for argument in arguments if isinstance(argument, ast.Name))
            return Key((name,), arguments=_distinct(parser, names, arguments), span=span)
        case ast.Attribute():
            message = "a name holds no dot"
            raise SpecError([Diagnostic("key-form", message, place(tree), found=text, fix=text.replace(".", "_"))])
    raise SpecError([_no_key(text, span)])


def _distinct(parser: _Parser, names: tuple[str, ...], nodes: Sequence[ast.expr]) -> tuple[str, ...]:
    for position, name in enumerate(names):
        if name in names[:position]:
            message = f"`{name}` stands twice in one key"
            parser.refuse("duplicate-name", message, nodes[position], fix="a name for each")
    return names


def _key_index(parser: _Parser, index: ast.expr) -> Expression:
    expected = "a time `z[t]`, the start `z[0]`, an element `x[i]` or a level `theta[school]`"
    match index:
        case ast.Name(id=name) if name not in _WORDS:
            return parser.convert(index)
        case ast.Constant(value=int(value)) if not isinstance(value, bool):
            return parser.convert(index)
        case ast.BinOp():
            fix = "the lag stands on the right: `z[t]: f(z[t-1])`"
            raise SpecError(
                [Diagnostic("index-form", "a key holds no lag", parser.place(index), expected=expected, fix=fix)]
            )
    raise SpecError([Diagnostic("index-form", "a key has no such index", parser.place(index), expected=expected)])


class _Parser:
    """One text on its way from characters to an expression; collects the constructs that it refuses."""

    def __init__(self, text: str, span: Span, positions: Sequence[Span] | None) -> None:
        self.text = _BREAKS.sub(" ", text)
        self.span = span
        self.problems: list[Diagnostic] = []
        self._positions = positions if positions is not None and len(positions) == len(text) + 1 else None
        self._indent = len(self.text) - len(self.text.lstrip(" "))
        self._ascii = self.text.isascii()

    def tree(self) -> ast.expr:
        flaw = first_flaw(self.text)
        if flaw is not None:
            raise SpecError([self._flaw(flaw)])
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return ast.parse(self.text.strip(" "), mode="eval").body
        except SyntaxError as error:
            if "Exceeds the limit" in str(error):
                raise SpecError([self._flaw(_TOO_LARGE)]) from None
            raise SpecError([self._syntax(error)]) from None
        except (RecursionError, MemoryError, ValueError):
            raise SpecError([self._flaw(_TOO_DEEP)]) from None

    def convert(self, node: ast.expr, depth: int = 0) -> Expression:
        if depth > MAX_DEPTH:
            raise SpecError([*self.problems, self._flaw(_TOO_DEEP)])
        handler = _HANDLERS.get(type(node))
        if handler is not None:
            return handler(self, node, depth + 1)
        return self._refused(CONSTRUCTS.get(type(node), _NOT_HERE), node)

    def place(self, node: ast.expr | ast.keyword) -> Span:
        assert node.end_col_offset is not None, "Python's parser gives every expression its end"
        return self._place(self._characters(node.col_offset), self._characters(node.end_col_offset))

    def refuse(self, code: str, message: str, node: ast.expr | ast.keyword, **more: str | None) -> Expression:
        """Notes a problem; what comes back stands in for the expression, so that later problems are found too."""
        self.problems.append(Diagnostic(code, message, self.place(node), **more))  # type: ignore[arg-type]
        return Literal(None, span=self.place(node))

    def _refused(self, refusal: Refusal, node: ast.expr) -> Expression:
        return self.refuse(refusal.code, refusal.message, node, fix=refusal.fix)

    def _characters(self, offset: int) -> int:
        """Python counts bytes of UTF-8; places count characters."""
        if not self._ascii:
            offset = len(self.text.strip(" ").encode()[:offset].decode(errors="ignore"))
        return offset + self._indent

    def _place(self, start: int, end: int) -> Span:
        if self._positions is not None:
            first, last = self._positions[start], self._positions[max(start, end - 1)]
            return Span(first.source, first.line, first.column, last.end_line, last.end_column)
        span = self.span
        if span.line == span.end_line and span.end_column - span.column == len(self.text):
            return Span(span.source, span.line, span.column + start, span.line, span.column + end)
        return span

    def _flaw(self, flaw: Flaw) -> Diagnostic:
        end = len(self.text) if flaw.end < 0 else flaw.end
        return Diagnostic(flaw.code, flaw.message, self._place(flaw.start, end), fix=flaw.fix)

    def _syntax(self, error: SyntaxError) -> Diagnostic:
        # The parser's column is from 1, in characters of the stripped text.
        column = min(max((error.offset or 1) - 1, 0) + self._indent, len(self.text) - 1)
        end = min(max((error.end_offset or 0) - 1 + self._indent, column + 1), len(self.text))
        message, fix = _syntax_message(error.msg or "", self.text[column:end])
        return Diagnostic("expression-syntax", message, self._place(column, end), fix=fix)

    def name(self, node: ast.expr, depth: int) -> Expression:  # noqa: ARG002
        assert isinstance(node, ast.Name)
        if node.id in _WORDS:
            return Literal(_WORDS[node.id], span=self.place(node))
        return Name(node.id, span=self.place(node))

    def constant(self, node: ast.expr, depth: int) -> Expression:  # noqa: ARG002
        assert isinstance(node, ast.Constant)
        value: Any = node.value
        too_large = (isinstance(value, int) and abs(value) > MAX_INTEGER) or (
            isinstance(value, float) and not math.isfinite(value)
        )
        if too_large:
            return self.refuse("expression-limits", "the number is too large", node, expected="at most 64 bits")
        if isinstance(value, str) and len(value) > MAX_STRING:
            message = f"the text has {len(value):,} characters; at most {MAX_STRING:,}"
            return self.refuse("expression-limits", message, node)
        if value is None or isinstance(value, (bool, int, float, str)):
            return Literal(value, span=self.place(node))
        kind = {bytes: "bytes", complex: "complex numbers"}.get(type(value), "`...`")
        return self.refuse("literal-kind", f"there are no {kind}" if kind != "`...`" else "there is no `...`", node,
                           expected="a number, true, false, null or text in quotes")  # fmt: skip

    def binary(self, node: ast.expr, depth: int) -> Expression:
        assert isinstance(node, ast.BinOp)
        operator = BINARY_OPERATORS.get(type(node.op))
        if operator is None:
            return self._refused(OPERATORS[type(node.op)], node)
        operands = (self.convert(node.left, depth), self.convert(node.right, depth))
        return Operation(operator, operands, span=self.place(node))

    def comparison(self, node: ast.expr, depth: int) -> Expression:
        assert isinstance(node, ast.Compare)
        for comparison in node.ops:
            if type(comparison) not in COMPARISONS:
                return self._refused(OPERATORS[type(comparison)], node)
        if len(node.ops) > 1:
            message = "one comparison compares two values"
            return self.refuse("chained-comparison", message, node, fix="multiply two of them: `(a < b) * (b < c)`")
        operands = (self.convert(node.left, depth), self.convert(node.comparators[0], depth))
        return Operation(COMPARISONS[type(node.ops[0])], operands, span=self.place(node))

    def unary(self, node: ast.expr, depth: int) -> Expression:
        assert isinstance(node, ast.UnaryOp)
        if not isinstance(node.op, ast.USub):
            return self._refused(OPERATORS[type(node.op)], node)
        operand = self.convert(node.operand, depth)
        if (
            isinstance(operand, Literal)
            and isinstance(operand.value, (int, float))
            and not isinstance(operand.value, bool)
        ):
            return Literal(-operand.value, span=self.place(node))
        return Operation("neg", (operand,), span=self.place(node))

    def call(self, node: ast.expr, depth: int) -> Expression:
        assert isinstance(node, ast.Call)
        if isinstance(node.func, ast.Attribute):
            return self._refused(CONSTRUCTS[ast.Attribute], node.func)
        if not isinstance(node.func, ast.Name):
            message = "only a name can be called"
            return self.refuse("call-target", message, node.func, fix="give the part a line and a name of its own")
        arguments = tuple(self.convert(argument, depth) for argument in node.args)
        keywords: dict[str, Expression] = {}
        splats: list[Expression] = []
        for argument in node.keywords:
            value = self.convert(argument.value, depth)
            if argument.arg is None:
                splats.append(value if isinstance(value, Call) else self._no_splat(argument))
            elif argument.arg in keywords:
                self.refuse("duplicate-keyword", f"`{argument.arg}=` is given twice", argument, fix="keep one")
            else:
                keywords[argument.arg] = value
        return Call(node.func.id, arguments, tuple(keywords.items()), tuple(splats), span=self.place(node))

    def _no_splat(self, node: ast.keyword) -> Expression:
        message = "`**` takes all parameters from a network's heads"
        return self.refuse("no-star", message, node, expected="a call: `**encoder(x)`")

    def subscript(self, node: ast.expr, depth: int) -> Expression:
        assert isinstance(node, ast.Subscript)
        items = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if not items:
            return self.refuse("index-form", "an index is missing", node, expected="`x[0]`, `x[:i]`, `x[0, 1]`")
        value = self.convert(node.value, depth)
        return Index(value, tuple(self._item(item, depth) for item in items), span=self.place(node))

    def _item(self, node: ast.expr, depth: int) -> Expression:
        if not isinstance(node, ast.Slice):
            return self.convert(node, depth)
        bounds = [
            None if bound is None else self.convert(bound, depth) for bound in (node.lower, node.upper, node.step)
        ]
        return Slice(*bounds, span=self.place(node))

    def sequence(self, node: ast.expr, depth: int) -> Expression:
        assert isinstance(node, (ast.List, ast.Tuple))
        return ListExpression(tuple(self.convert(item, depth) for item in node.elts), span=self.place(node))

    def mapping(self, node: ast.expr, depth: int) -> Expression:
        assert isinstance(node, ast.Dict)
        items: dict[str, Expression] = {}
        for key, value in zip(node.keys, node.values, strict=True):
            name = key.id if isinstance(key, ast.Name) else key.value if isinstance(key, ast.Constant) else None
            if not isinstance(name, str) or not name.isidentifier():
                return self.refuse("key-form", "a key of a mapping is a name", key or value, expected="`{name: value}`")
            if name in items:
                self.refuse("duplicate-keyword", f"`{name}` is given twice", key or value, fix="keep one")
            items[name] = self.convert(value, depth)
        return Mapping(tuple(items.items()), span=self.place(node))


_TOO_DEEP = Flaw("expression-limits", "the expression is too deep", 0, -1, "give its parts names of their own")
_TOO_LARGE = Flaw("expression-limits", "the expression holds a number that is too large", 0, -1)
_NOT_HERE = Refusal("expression-syntax", "this cannot stand here", "write a formula")

_HANDLERS: dict[type[ast.expr], Callable[[_Parser, ast.expr, int], Expression]] = {
    ast.Name: _Parser.name,
    ast.Constant: _Parser.constant,
    ast.BinOp: _Parser.binary,
    ast.Compare: _Parser.comparison,
    ast.UnaryOp: _Parser.unary,
    ast.Call: _Parser.call,
    ast.Subscript: _Parser.subscript,
    ast.List: _Parser.sequence,
    ast.Tuple: _Parser.sequence,
    ast.Dict: _Parser.mapping,
}


def _syntax_message(message: str, found: str) -> tuple[str, str | None]:
    """Python's complaint in the language's words."""
    if found == "=" or "Maybe you meant '==' or ':='" in message or "cannot assign" in message:
        return "`=` stands only before a keyword's value inside a call", "compare with `==`"
    if "positional argument follows" in message:
        return "an argument without a name follows one with a name", "put the unnamed arguments first"
    if "perhaps you forgot a comma" in message.lower():
        return "two values stand side by side", "put a comma or an operator between them"
    if "leading zeros" in message:
        return "a number starts with a zero", "leave the zero out"
    if keyword.iskeyword(found):
        return f"`{found}` is a word that expressions do not have", None
    return "this is no expression", None
