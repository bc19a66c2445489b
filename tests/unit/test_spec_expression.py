# ruff: noqa: PT017 -- a fuzzed text may be read or refused; both are right
"""Text -> expressions and keys: meaning, places, refusals, round trips."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dgmppl.errors import SpecError
from dgmppl.ir.expressions import (
    Call,
    Expression,
    Index,
    Literal,
    Mapping,
    Name,
    Operation,
    Sequence,
    Slice,
    walk,
)
from dgmppl.ir.expressions import (
    text as show,
)
from dgmppl.source import Source, Span
from dgmppl.spec.expression import MAX_INTEGER, parse, parse_key
from dgmppl.spec.syntax import Key


def span(text: str) -> Span:
    return Span(Source("t", text), 1, 1, 1, len(text) + 1)


def read(text: str) -> Expression:
    return parse(text, span(text))


def codes(text: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        read(text)
    return [problem.code for problem in caught.value.diagnostics]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("true", Literal(True)),
        ("True", Literal(True)),
        ("false", Literal(False)),
        ("null", Literal(None)),
        ("None", Literal(None)),
        ("1e-3", Literal(0.001)),
        ("-1", Literal(-1)),
        ("'a'", Literal("a")),
        ("-x", Operation("neg", (Name("x"),))),
        ("-1 ** 2", Operation("neg", (Operation("**", (Literal(1), Literal(2))),))),
        ("a + b * c", Operation("+", (Name("a"), Operation("*", (Name("b"), Name("c")))))),
        ("X @ beta", Operation("@", (Name("X"), Name("beta")))),
        ("a <= b", Operation("<=", (Name("a"), Name("b")))),
        ("x[:i]", Index(Name("x"), (Slice(stop=Name("i")),))),
        ("ab[item][0]", Index(Index(Name("ab"), (Name("item"),)), (Literal(0),))),
        ("x[0, ::2]", Index(Name("x"), (Literal(0), Slice(step=Literal(2))))),
        ("[1, a]", Sequence((Literal(1), Name("a")))),
        ("(a, b)", Sequence((Name("a"), Name("b")))),
        ("{v: binary}", Mapping((("v", Name("binary")),))),
        ("f(a, b=1)", Call("f", (Name("a"),), (("b", Literal(1)),))),
        ("Normal(**net(x), shape=4)", Call("Normal", (), (("shape", Literal(4)),), (Call("net", (Name("x"),)),))),
        ("python('pkg.module:Name')", Call("python", (Literal("pkg.module:Name"),))),
    ],
)
def test_meaning(text: str, expected: Expression) -> None:
    assert read(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lambda x: x", "no-lambda"),
        ("[a for a in b]", "no-comprehension"),
        ("f(a for a in b)", "no-comprehension"),
        ("{a: b for a in c}", "no-comprehension"),
        ("a and b", "no-boolean-operator"),
        ("not a", "no-boolean-operator"),
        ("a if b else c", "no-conditional"),
        ("(a := 1)", "no-assignment"),
        ("f'{a}'", "no-format-string"),
        ("a.b", "no-attribute"),
        ("a.b(c)", "no-attribute"),
        ("f(*a)", "no-star"),
        ("f(**a)", "no-star"),
        ("a // b", "no-operator"),
        ("a % b", "no-operator"),
        ("a ^ b", "no-operator"),
        ("a | b", "no-operator"),
        ("{a, b}", "no-operator"),
        ("a in b", "no-operator"),
        ("+a", "no-operator"),
        ("a < b < c", "chained-comparison"),
        ("1j", "literal-kind"),
        ("b'a'", "literal-kind"),
        ("...", "literal-kind"),
        ("f(a)(b)", "call-target"),
        ("f(a=1, a=2)", "duplicate-keyword"),
        ("{a: 1, a: 2}", "duplicate-keyword"),
        ("{1: a}", "key-form"),
        ("{**a}", "key-form"),
        ("x[()]", "index-form"),
        ("1e999", "expression-limits"),
        ("9" * 30, "expression-limits"),
        ("9" * 5000, "expression-limits"),
        ("'" + "a" * 2000 + "'", "expression-limits"),
        ("", "expression-empty"),
        ("   ", "expression-empty"),
        ("a ~ b", "expression-character"),
        ("a; b", "expression-character"),
        ("a # b", "expression-character"),
        ("\u03bc", "expression-character"),
        ("a b", "expression-syntax"),
        ("f(", "expression-syntax"),
        ("f(]", "expression-syntax"),
        (")", "expression-syntax"),
        ("'a", "expression-syntax"),
        ("a = 1", "expression-syntax"),
        ("import os", "expression-syntax"),
        ("f(a=1, b)", "expression-syntax"),
        ("007", "expression-syntax"),
        ("await a", "expression-syntax"),
        ("1) + (2", "expression-syntax"),
        ("(" * 80 + "1" + ")" * 80, "expression-limits"),
        ("1+" * 4000 + "1", "expression-limits"),
        ("-" * 9000 + "a", "expression-limits"),
        ("a" * 20_000, "expression-limits"),
        ("x" + "[0]" * 3000, "expression-limits"),
    ],
)
def test_refusals(text: str, expected: str) -> None:
    assert codes(text) == [expected]


def test_all_refusals_at_once() -> None:
    assert codes("f(a.b, c ^ d, not e)") == ["no-attribute", "no-operator", "no-boolean-operator"]


def test_every_node_knows_its_place() -> None:
    text = "Normal(loc[k] + 1, **net(x), shape='\u00e9', s=-a)"
    for node in walk(read(text)):
        assert node.span is not None
        piece = text[node.span.column - 1 : node.span.end_column - 1]
        assert parse(piece, span(piece)) == node


def test_the_place_of_a_parenthesized_part_starts_at_its_text() -> None:
    operation = read("(a + b) * c")
    assert isinstance(operation, Operation)
    left, _ = operation.operands
    assert left.span is not None
    assert (left.span.column, left.span.end_column) == (2, 7)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x", Key(("x",))),
        ("x[i]", Key(("x",), Name("i"))),
        ("z[0]", Key(("z",), Literal(0))),
        ("theta[school]", Key(("theta",), Name("school"))),
        ("(v, h)", Key(("v", "h"))),
        ("(v,h)", Key(("v", "h"))),
        ("rate(s)", Key(("rate",), arguments=("s",))),
        ("f(a, b)", Key(("f",), arguments=("a", "b"))),
    ],
)
def test_keys(text: str, expected: Key) -> None:
    assert parse_key(text, span(text)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "key-form"),
        ("2x", "key-form"),
        ("a.b", "key-form"),
        ("v, h", "key-form"),
        ("f()", "key-form"),
        ("f(1)", "key-form"),
        ("f(a=1)", "key-form"),
        ("a + b", "key-form"),
        ("a b", "key-form"),
        ("z[t-1]", "index-form"),
        ("z[:t]", "index-form"),
        ("z[a, b]", "index-form"),
        ("z[-1]", "index-form"),
        ("z[true]", "index-form"),
        ("(v, v)", "duplicate-name"),
        ("f(a, a)", "duplicate-name"),
        ("lambda", "name-form"),
        ("true", "name-form"),
        ("null", "name-form"),
        ("\u03bc", "expression-character"),
        ("z[t][0]", "key-form"),
    ],
)
def test_bad_keys(text: str, expected: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_key(text, span(text))
    assert [problem.code for problem in caught.value.diagnostics] == [expected]


NAMES = st.sampled_from(["x", "z", "loc", "net", "t", "_a1"])
LITERALS = (
    st.none()
    | st.booleans()
    | st.integers(-MAX_INTEGER, MAX_INTEGER)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
).map(Literal)


def calls(inner: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    keywords = st.dictionaries(NAMES, inner, max_size=2).map(lambda found: tuple(found.items()))
    splats = st.lists(st.builds(Call, NAMES, st.tuples(inner)), max_size=1).map(tuple)
    return st.builds(Call, NAMES, st.lists(inner, max_size=2).map(tuple), keywords, splats)


def compounds(inner: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    binary = st.sampled_from(["+", "-", "*", "/", "**", "@", "<", "<=", ">", ">=", "==", "!="])
    negated = inner.filter(lambda part: not (isinstance(part, Literal) and type(part.value) in (int, float)))
    bound = st.none() | inner
    slices = st.builds(Slice, bound, bound, bound)
    return st.one_of(
        st.builds(Operation, binary, st.tuples(inner, inner)),
        st.builds(Operation, st.just("neg"), st.tuples(negated)),
        calls(inner),
        st.builds(Index, inner, st.lists(inner | slices, min_size=1, max_size=2).map(tuple)),
        st.builds(Sequence, st.lists(inner, max_size=3).map(tuple)),
        st.builds(Mapping, st.dictionaries(NAMES, inner, max_size=2).map(lambda found: tuple(found.items()))),
    )


EXPRESSIONS: st.SearchStrategy[Expression] = st.recursive(LITERALS | NAMES.map(Name), compounds, max_leaves=12)


@settings(deadline=None, max_examples=300)
@given(EXPRESSIONS)
def test_printed_expressions_parse_back(expression: Expression) -> None:
    assert read(show(expression)) == expression


@settings(deadline=None, max_examples=300)
@given(st.text(st.sampled_from("ab01()[]{}:,'\"-+*/@<>=!.^~ \n\\f"), max_size=30) | st.text(max_size=10))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    for parser in (parse, parse_key):
        try:
            parser(text, span(text))
        except SpecError as error:
            assert str(error)
