"""What Python's expression grammar has and the spec language does not: for each construct, what to write instead."""

from __future__ import annotations

import ast
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Refusal:
    """A construct that is refused.

    Attributes:
        code: the diagnostic's code.
        message: what is wrong.
        fix: what to write instead.
    """

    code: str
    message: str
    fix: str


_COMPREHENSION = Refusal(
    "no-comprehension", "there are no comprehensions", "`repeat(n, [...])` copies steps; arrays broadcast"
)
_FORMAT = Refusal("no-format-string", "there are no format strings", "write plain text in quotes")
_ASYNC = Refusal("expression-syntax", "an expression is a formula, not a program", "write a formula")

CONSTRUCTS: dict[type[ast.expr], Refusal] = {
    ast.Attribute: Refusal(
        "no-attribute", "there are no attributes: a dot stands only in numbers and in names of data sets",
        "call a function: `inverse(flow)`, not `flow.inverse`",
    ),
    ast.Lambda: Refusal(
        "no-lambda", "there are no lambdas", "declare a local function in `model`: `rate(s): a * s`, and write `rate`"
    ),
    ast.ListComp: _COMPREHENSION,
    ast.SetComp: _COMPREHENSION,
    ast.DictComp: _COMPREHENSION,
    ast.GeneratorExp: _COMPREHENSION,
    ast.BoolOp: Refusal(
        "no-boolean-operator", "there is no `and` or `or`", "multiply truth values for `and`; `where(c, a, b)` chooses"
    ),
    ast.IfExp: Refusal("no-conditional", "there is no `if ... else`", "`where(condition, a, b)`"),
    ast.NamedExpr: Refusal("no-assignment", "there is no `:=`", "give the part a line of its own: `h: encoder(x)`"),
    ast.JoinedStr: _FORMAT,
    ast.FormattedValue: _FORMAT,
    ast.Set: Refusal("no-operator", "there are no sets", "a list is written `[a, b]`, a mapping `{key: value}`"),
    ast.Starred: Refusal("no-star", "`*` unpacks nothing here", "write them out; `**net(x)` fills a distribution"),
    ast.Await: _ASYNC,
    ast.Yield: _ASYNC,
    ast.YieldFrom: _ASYNC,
}  # fmt: skip

BINARY_OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "**", ast.MatMult: "@",
}  # fmt: skip

COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
}  # fmt: skip

OPERATORS: dict[type[ast.operator] | type[ast.cmpop] | type[ast.unaryop], Refusal] = {
    ast.FloorDiv: Refusal("no-operator", "there is no `//`", "`/` divides"),
    ast.Mod: Refusal("no-operator", "there is no `%`", "write the remainder out, or prepare it in the data"),
    ast.BitXor: Refusal("no-operator", "there is no `^`", "a power is written `**`"),
    ast.BitAnd: Refusal("no-operator", "there is no `&`", "multiply truth values: `(a < b) * (b < c)`"),
    ast.BitOr: Refusal("no-operator", "there is no `|`", "a condition is an argument: `f(x, c)`"),
    ast.LShift: Refusal("no-operator", "there is no `<<`", "multiply by a power of 2"),
    ast.RShift: Refusal("no-operator", "there is no `>>`", "divide by a power of 2"),
    ast.In: Refusal("no-operator", "there is no `in`", "compare with `==`"),
    ast.NotIn: Refusal("no-operator", "there is no `not in`", "compare with `!=`"),
    ast.Is: Refusal("no-operator", "there is no `is`", "compare with `==`"),
    ast.IsNot: Refusal("no-operator", "there is no `is not`", "compare with `!=`"),
    ast.Not: Refusal("no-boolean-operator", "there is no `not`", "`1 - c` negates a truth value c"),
    ast.Invert: Refusal("no-operator", "there is no `~`", "a distribution follows the colon: `z: Normal(0, 1)`"),
    ast.UAdd: Refusal("no-operator", "there is no unary `+`", "leave it out"),
}

# Characters that people type or paste for an operator, and what the language calls it.
CHARACTERS: dict[str, str] = {
    "\u2212": "-", "\u2013": "-", "\u2014": "-", "\u00d7": "*", "\u00b7": "*", "\u22c5": "*", "\u00f7": "/",
    "\u2264": "<=", "\u2265": ">=", "\u2260": "!=", "\u00b2": "** 2", "\u00b3": "** 3", "\u2018": "'", "\u2019": "'",
    "\u201c": '"', "\u201d": '"', "\u221e": "a large number", "~": "a distribution after the colon: `z: Normal(0, 1)`",
    "$": "a plain name", "!": "!=", "?": "a plain name", ";": "one expression for each key", "`": "quotes",
    "\\": "one line, or brackets over several", "#": "a comment outside of the quotes",
}  # fmt: skip
